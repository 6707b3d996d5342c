"""Results for people: tables for the terminal and the timeline picture; those of evaluations in `evaluation_tables`."""

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from tierenv.experiments import Experiment
from tierenv.files import atomic_write_bytes
from tierenv.objective import objective_row
from tierenv.render import Timeline, add_legend, add_panels, num_rows_for, printed
from tierenv.train.distil import TOLERANCE, Distillation
from tierenv.train.fidelity import Fidelity
from tierenv.train.imports.importing import Imported
from tierenv.train.replay import Replay
from tierenv.train.search.results import Budget, SearchResult, SuiteSearchResult
from tierenv.train.statistics import Estimate, mean_estimate
from tierenv.train.tables import heading, judged, plain_table, table
from tierenv.train.texts import four_digits, percent
from tierenv.units import format_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMN_INCHES = 5.0
_LEAST_INCHES = 7.5
"""Width of a figure, for its legend."""
_DPI = 100
MOST_PHASE_COLUMNS = 6
"""Of a table of an imported workload."""


def search_tables(result: SearchResult | SuiteSearchResult) -> list[Table]:
    """The finalists of a search and its budget, of a suite for each scenario and for all together."""
    if isinstance(result, SearchResult):
        return [_search_table(result)]
    shown = table(
        f"one setting for all of {result.suite}",
        ["setting", "as a policy", f"{_what(result)} / no migration", "when picked"],
    )
    for finalist in result.finalists:
        numbers = (finalist.relative_time, finalist.screening)
        shown.add_row(str(finalist.setting), finalist.setting.policy_name, *(f"{number:.4f}" for number in numbers))
    shown.caption = f"mean over {len(result.results)} scenarios; {_cost(result.budget)}"
    return [*map(_search_table, result.results), shown]


def _what(result: SuiteSearchResult) -> str:
    """What is compared with that without migration."""
    is_time = all(objective_row(each.scenario.objective).judges_end_of for each in result.results)
    return "time" if is_time else "objective"


def _search_table(result: SearchResult) -> Table:
    """The finalists of a search and its budget."""
    shown = table(
        f"best static settings of {result.scenario.name} ({result.sampler})",
        ["setting", "as a policy", heading(result.scenario), heading(result.scenario, "when picked")],
    )
    for finalist in result.finalists:
        shown.add_row(
            str(finalist.setting),
            finalist.setting.policy_name,
            judged(result.scenario, finalist.objective, more_digits=1),
            judged(result.scenario, Estimate(finalist.screening, math.nan, math.nan), more_digits=1),
        )
    shown.add_row("no migration", "no-migration", judged(result.scenario, result.no_migration, more_digits=1), "-")
    shown.caption = f"{_cost(result.budget)}; judged on {len(result.fresh_seeds)} fresh seeds"
    return shown


def _cost(budget: Budget) -> str:
    """What a search cost."""
    return (
        f"{budget.trials} settings, {budget.episodes} runs, {budget.env_steps:,} environment steps or "
        f"{budget.machine_s / 3600:.1f} h of a real machine, {budget.wall_s:.1f} s"
    )


def distillation_table(result: Distillation) -> Table:
    """A tree beside its teacher."""
    units = {objective_row(row.scenario.objective).shown_unit for row in result.rows}
    is_mixed = len(units) > 1  # then a row tells its own
    titles = ("teacher", "tree", "difference", "on held-out orders")
    headings = titles if is_mixed else (heading(result.rows[0].scenario, title) for title in titles)
    columns = ["scenario", *headings, "agreement"]
    teacher = result.source.origin.policy
    shown = table(f"{result.tree.num_leaves} leaves, depth {result.tree.depth}, distilled from {teacher}", columns)
    for row in result.rows:
        shown.add_row(
            heading(row.scenario, row.scenario.name) if is_mixed else row.scenario.name,
            judged(row.scenario, mean_estimate(row.teacher.objective)),
            judged(row.scenario, mean_estimate(row.tree.objective)),
            judged(row.scenario, row.difference, sign="+", more_digits=1),
            judged(row.scenario, row.held_out_difference, sign="+", more_digits=1),
            ", ".join(f"{share:.0%}" for share in row.fidelity.agreement),
        )
    chosen = result.rounds[result.best_round]
    shown.caption = (
        f"{len(result.rows[0].tree.seconds)} episodes; the tree of round {result.best_round + 1} of "
        f"{len(result.rounds)}, fitted to {chosen.decisions:,} decisions; agreement: "
        f"{', '.join(result.source.daemon.tunables)} within {TOLERANCE:.0%} of the teacher's where the tree gets to"
    )
    return shown


def fidelity_tables(result: Fidelity) -> list[Table]:
    """Every row of each experiment, and what fitted ones and checks come to."""
    tables = [_experiment_table(result, experiment) for experiment in result.experiments]
    columns = ["rows", "number", "median error", "mean error", "within tolerance", "sign holds", "required holds"]
    summary = table(f"all rows, means of {len(result.seeds)} runs", columns)
    for role, rows in result.summaries().items():
        held = [f"{held} of {number}" if number else "-" for held, number in (rows.within, rows.signs, rows.required)]
        errors = map(percent, (rows.median_error, rows.mean_error))
        summary.add_row(role, str(len(rows.rows)), *errors, *held)
    return [*tables, summary]


def _experiment_table(result: Fidelity, experiment: Experiment) -> Table:
    title = f"{experiment.name}: {experiment.summary}" if experiment.summary else experiment.name
    shown = table(title, FIDELITY_COLUMNS)
    for row in result.rows:
        if row.experiment is experiment:
            shown.add_row(*fidelity_cells(row.to_json()))
    shown.caption = experiment.source or None
    return shown


def replay_table(result: Replay) -> Table:
    """Counters of a record beside the model's; off by interval is what has grown in another one, or in one alone."""
    columns = ["counter", "unit", "recorded", "modelled", "error", "off by interval"]
    shown = table(f"{result.record} ({result.kernel}) beside {result.scenario}", columns, text_columns=2)
    for row in result.rows:
        counter = row.counter
        shown.add_row(
            counter.name + ", mean" * counter.is_gauge,
            counter.unit,
            four_digits(row.recorded),
            four_digits(row.modelled),
            percent(row.error, signed=True),
            percent(row.interval_error),
        )
    shown.caption = f"{result.compared_intervals} intervals, {result.compared_s:.1f} s"
    return shown


FIDELITY_COLUMNS = ["row", "unit", "published", "modelled", "error", "sign", "tolerance", "verdict", "fitted"]


def fidelity_cells(row: Mapping[str, Any]) -> list[str]:
    """A row of a fidelity result for people, who want no digits that say nothing."""
    sign = {None: "-", True: "holds", False: "wrong"}[row["sign_ok"]]
    verdict = {None: "-", True: "within", False: "off"}[row["within"]]
    if row["failed"]:
        verdict = "failed"
    return [
        row["id"],
        row["unit"],
        four_digits(row["published"]),
        four_digits(row["modelled"]),
        "-" if row["error"] is None else f"{100 * row['error']:+.1f} %",
        sign,
        row["tolerance"] or "-",
        verdict,
        "yes" if row["fitted"] else "no",
    ]


def import_tables(imported: Imported) -> list[Table]:
    """What was found in a record, its classes, and what it does not tell."""
    workload, end_s = imported.workload, imported.phase_end_s
    facts = [
        ("observations", f"{imported.num_observations:,}"),
        (
            "resident memory",
            f"{format_bytes(imported.size_bytes)}, looked at in steps of {format_bytes(imported.step_bytes)}",
        ),
        ("time recorded", f"{end_s[-1]:.4g} s" if end_s else "-"),
        ("time of the run", "-" if imported.run_s is None else f"{imported.run_s:.4g} s"),
        ("accesses per page", four_digits(workload.accesses_per_page)),
        (
            "an access of a thread",
            "-" if imported.access_ns is None else f"{imported.access_ns:.4g} ns, computing and memory",
        ),
        ("phases", ", ".join(f"{phase.work:.0%}" for phase in workload.phases) + " of the accesses"),
        ("misplaced by the classes", f"{imported.misplaced:.1%} of the accesses"),
    ]
    classes = [
        [
            each.name,
            format_bytes(each.fraction * imported.size_bytes),
            f"{each.fraction:.2%}",
            *(f"{phase.access_share.get(each.name, 0.0):.2%}" for phase in workload.phases[:MOST_PHASE_COLUMNS]),
        ]
        for each in workload.classes
    ]
    columns = ["class", "size", "pages", *(phase.name for phase in workload.phases[:MOST_PHASE_COLUMNS])]
    class_table = plain_table("classes, in order of address, and their shares of the accesses", columns, classes)
    if len(workload.phases) > MOST_PHASE_COLUMNS:
        class_table.caption = f"and {len(workload.phases) - MOST_PHASE_COLUMNS} phases more, in the file"
    return [
        plain_table(f"{imported.record}: {imported.format}", ["what", "value"], facts),
        class_table,
        plain_table("what was assumed, left out or cannot be known", [""], ([note] for note in imported.notes)),
    ]


def bench_table(result: dict[str, Any]) -> Table:
    """The measurements of a machine."""
    machine = result["machine"]
    title = f"{machine['cpu']}, {machine['cores']} cores, {result['threads']['simulator']} for the model"
    rows = [[row["name"], f"{row['value']:,.4g}", row["unit"]] for row in result["measurements"]]
    shown = plain_table(title, ["measurement", "value", "unit"], rows)
    shown.columns[1].justify = "right"
    return shown


def write_plot(path: Path, timelines: dict[str, Timeline]) -> None:
    """Draw the timelines of several policies side by side into a PNG file."""
    buffer = io.BytesIO()
    timeline_figure(timelines).savefig(buffer, format="png", dpi=_DPI)
    atomic_write_bytes(path, buffer.getvalue())


def timeline_figure(timelines: dict[str, Timeline]) -> "Figure":
    """Panels for each policy, on common axes: fast tier by class, tunables, phase changes as lines."""
    from matplotlib.figure import Figure  # not pyplot, which keeps figures alive and wants a display

    columns = math.ceil(len(timelines) / num_rows_for(len(timelines)))
    figure = Figure(figsize=(max(_LEAST_INCHES, _COLUMN_INCHES * columns), 1.0), layout="constrained")
    named: list[tuple[str, Any]] = []
    for panels, (policy, timeline) in zip(add_panels(figure, *timelines.values()), timelines.items(), strict=True):
        named = timeline.draw(panels)
        title = f"{printed(policy, most_characters=40)}: {timeline.elapsed_s[-1]:.1f} s"
        panels.occupancy.set_title(title, fontsize="medium", parse_math=False)
    add_legend(figure, named)
    return figure
