"""Results for people: tables for the terminal and the timeline picture."""

import io
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from tierenv.experiments import Experiment
from tierenv.files import atomic_write_bytes
from tierenv.objective import objective_row, objective_words
from tierenv.render import Timeline, add_legend, add_panels, num_rows_for, printed
from tierenv.scenario import Scenario
from tierenv.train.distil import TOLERANCE, Distillation
from tierenv.train.evaluate import BASELINE, MAX_TIME_MULTIPLE, Evaluation, Row
from tierenv.train.fidelity import Fidelity
from tierenv.train.imports.importing import Imported
from tierenv.train.processes import ends_whatever, last_to_end
from tierenv.train.replay import Replay
from tierenv.train.search.results import Budget, SearchResult, SuiteSearchResult
from tierenv.train.statistics import Estimate, mean_estimate
from tierenv.train.texts import four_digits, with_interval
from tierenv.units import PAGE_BYTES, format_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMN_INCHES = 5.0
_LEAST_INCHES = 7.5
"""Width of a figure, for its legend."""
_DPI = 100
MOST_PHASE_COLUMNS = 6
"""Of a table of an imported workload."""


def evaluation_tables(evaluation: Evaluation) -> list[Table]:
    """Two tables for each scenario, time and what moves, and, where policies can gain anything, one over all."""
    scenarios = dict.fromkeys(row.scenario.name for row in evaluation.rows)
    tables = [table for scenario in scenarios for table in _scenario_tables(evaluation, scenario)]
    aggregates = {policy: evaluation.aggregate(policy) for policy in evaluation.policies}
    left_out = evaluation.without_bounds
    if len(scenarios) > 1 and any(aggregates.values()):
        table = _table(f"suite {evaluation.suite}", ["policy", "gap closed, interquartile mean"])
        for policy, estimate in aggregates.items():
            table.add_row(policy, _with_interval(estimate, ".1%"))
        if left_out:
            table.caption = f"without {', '.join(left_out)}: bounds hold for times alone"
        tables.append(table)
    return tables


def _scenario_tables(evaluation: Evaluation, scenario: str) -> list[Table]:
    rows = [row for row in evaluation.rows if row.scenario.name == scenario]
    of_processes = [_process_table(rows)] if rows[0].scenario.corunners else []
    return [_time_table(evaluation, rows), *of_processes, _movement_table(rows)]


def _time_table(evaluation: Evaluation, rows: list[Row]) -> Table:
    scenario, bounds = rows[0].scenario, rows[0].bounds
    columns: dict[str, Callable[[Row], str]] = {
        "policy": lambda row: row.policy,
        _heading(scenario): lambda row: ">= " * bool(row.num_truncated) + _judged(scenario, row.objective),
    }
    if scenario.objective != "last-end":
        columns["run [s]"] = lambda row: ">= " * bool(row.num_truncated) + _with_interval(row.seconds, ".1f")
    if bounds is not None:
        columns |= {"gap closed": lambda row: _percent(row.gap_closed), "regret": lambda row: _percent(row.regret)}
    if any(row.policy == BASELINE for row in rows):
        columns[_heading(scenario, f"less {BASELINE}")] = lambda row: _judged(
            scenario, row.difference_to_baseline, sign="+", more_digits=1
        )
    table = _table(str(scenario), list(columns))
    for row in rows:
        table.add_row(*(make_cell(row) for make_cell in columns.values()))
    caption = f"{len(evaluation.seeds)} episodes, {objective_words(scenario.objective)}"
    if bounds is not None:
        caption += (
            f"; bounds: all fast {bounds.all_fast.mean():.1f} s, clairvoyant {bounds.clairvoyant.mean():.1f} s, "
            f"no migration {bounds.no_migration.mean():.1f} s"
        )
    if any(row.num_truncated for row in rows):
        caption += f"; >=: given up at {MAX_TIME_MULTIPLE:g} x all fast"
    table.caption = "; ".join([caption, *_what_nobody_changes(rows)])
    return table


def _heading(scenario: Scenario, title: str | None = None) -> str:
    """Of a column of what is judged, or of differences of it."""
    row = objective_row(scenario.objective)
    return f"{title or row.title} [{row.shown_unit}]" if row.shown_unit else title or row.title


def _judged(scenario: Scenario, estimate: Estimate | None, sign: str = "", more_digits: int = 0) -> str:
    """A mean of what is judged, or a difference of it, in the unit of its heading."""
    if estimate is None:
        return "-"
    row = objective_row(scenario.objective)
    shown = Estimate(*(row.shown_factor * number for number in estimate))
    return _with_interval(shown, f"{sign}.{row.shown_digits + more_digits}f")


def _what_nobody_changes(rows: list[Row]) -> list[str]:
    """Which process every run ends with, and which ends at the same time whatever the policy."""
    results = [row.processes for row in rows]
    last = last_to_end(results)
    said = [f"the last to end is {last}"] if last else []
    return said + [
        f"{result.name} ends at {result.mean_end_s:.1f} s whatever the policy" for result in ends_whatever(results)
    ]


def _process_table(rows: list[Row]) -> Table:
    """Each process under each policy: when it ended, and how far it got if it never does."""
    columns = ["policy", "process", "ends [s]", "slow-down", "access [ns]", "rounds"]
    is_any_endless = any(not process.is_awaited for process in rows[0].scenario.processes)
    table = _table("", columns if is_any_endless else columns[:-1], text_columns=2)
    for row in rows:
        for index, result in enumerate(row.processes):
            is_awaited = result.process.is_awaited
            end = ">= " * (not result.has_ended.all()) + _with_interval(mean_estimate(result.seconds), ".1f")
            cells = [
                row.policy if index == 0 else "",
                result.name if is_awaited else f"{result.name} ({result.process.lifetime})",
                end if is_awaited else "-",
                _mean_of_known(result.slowdown, 1, ".3f"),
                _mean_of_known(result.access_s, 1e9, ".1f"),
            ]
            table.add_row(*cells, *(["-" if is_awaited else f"{result.rounds.mean():.1f}"] * is_any_endless))
    table.caption = "slow-down: time over time alone with all memory fast"
    return table


def _mean_of_known(values: NDArray[np.float64], factor: float, number: str) -> str:
    """Mean over the episodes that have one."""
    known = values[np.isfinite(values)]
    return format(factor * known.mean(), number) if len(known) else "-"


def _movement_table(rows: list[Row]) -> Table:
    """Means over the episodes: pages moved, entries that failed, and the memory of the longest list."""
    table = _table("", ["policy", "promoted", "wasted", "demoted", "failed", "list"])
    for row in rows:
        counts = {key: float(values.mean()) for key, values in row.episodes.counts.items()}
        moved = (counts[key] * PAGE_BYTES for key in ("promoted_pages", "wasted_promotions", "demoted_pages"))
        failed = f"{counts['failed_migrations']:.3g}"
        table.add_row(row.policy, *map(format_bytes, moved), failed, format_bytes(counts["peak_list_bytes"]))
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def search_tables(result: SearchResult | SuiteSearchResult) -> list[Table]:
    """The finalists of a search and its budget, of a suite for each scenario and for all together."""
    if isinstance(result, SearchResult):
        return [_search_table(result)]
    table = _table(
        f"one setting for all of {result.suite}",
        ["setting", "as a policy", f"{_what(result)} / no migration", "when picked"],
    )
    for finalist in result.finalists:
        numbers = (finalist.relative_time, finalist.screening)
        table.add_row(str(finalist.setting), finalist.setting.policy_name, *(f"{number:.4f}" for number in numbers))
    table.caption = f"mean over {len(result.results)} scenarios; {_cost(result.budget)}"
    return [*map(_search_table, result.results), table]


def _what(result: SuiteSearchResult) -> str:
    """What is compared with that without migration."""
    is_time = all(objective_row(each.scenario.objective).judges_end_of for each in result.results)
    return "time" if is_time else "objective"


def _search_table(result: SearchResult) -> Table:
    """The finalists of a search and its budget."""
    table = _table(
        f"best static settings of {result.scenario.name} ({result.sampler})",
        ["setting", "as a policy", _heading(result.scenario), _heading(result.scenario, "when picked")],
    )
    for finalist in result.finalists:
        table.add_row(
            str(finalist.setting),
            finalist.setting.policy_name,
            _judged(result.scenario, finalist.objective, more_digits=1),
            _judged(result.scenario, Estimate(finalist.screening, math.nan, math.nan), more_digits=1),
        )
    table.add_row("no migration", "no-migration", _judged(result.scenario, result.no_migration, more_digits=1), "-")
    table.caption = f"{_cost(result.budget)}; judged on {len(result.fresh_seeds)} fresh seeds"
    return table


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
    headings = titles if is_mixed else (_heading(result.rows[0].scenario, title) for title in titles)
    columns = ["scenario", *headings, "agreement"]
    teacher = result.source.origin.policy
    table = _table(f"{result.tree.num_leaves} leaves, depth {result.tree.depth}, distilled from {teacher}", columns)
    for row in result.rows:
        table.add_row(
            _heading(row.scenario, row.scenario.name) if is_mixed else row.scenario.name,
            _judged(row.scenario, mean_estimate(row.teacher.objective)),
            _judged(row.scenario, mean_estimate(row.tree.objective)),
            _judged(row.scenario, row.difference, sign="+", more_digits=1),
            _judged(row.scenario, row.held_out_difference, sign="+", more_digits=1),
            ", ".join(f"{share:.0%}" for share in row.fidelity.agreement),
        )
    chosen = result.rounds[result.best_round]
    table.caption = (
        f"{len(result.rows[0].tree.seconds)} episodes; the tree of round {result.best_round + 1} of "
        f"{len(result.rounds)}, fitted to {chosen.decisions:,} decisions; agreement: "
        f"{', '.join(result.source.daemon.tunables)} within {TOLERANCE:.0%} of the teacher's where the tree gets to"
    )
    return table


def fidelity_tables(result: Fidelity) -> list[Table]:
    """Every row of each experiment, and what fitted ones and checks come to."""
    tables = [_experiment_table(result, experiment) for experiment in result.experiments]
    columns = ["rows", "number", "median error", "mean error", "within tolerance", "sign holds", "required holds"]
    summary = _table(f"all rows, means of {len(result.seeds)} runs", columns)
    for role, rows in result.summaries().items():
        held = [f"{held} of {number}" if number else "-" for held, number in (rows.within, rows.signs, rows.required)]
        errors = map(_percent, (rows.median_error, rows.mean_error))
        summary.add_row(role, str(len(rows.rows)), *errors, *held)
    return [*tables, summary]


def _experiment_table(result: Fidelity, experiment: Experiment) -> Table:
    title = f"{experiment.name}: {experiment.summary}" if experiment.summary else experiment.name
    table = _table(title, FIDELITY_COLUMNS)
    for row in result.rows:
        if row.experiment is experiment:
            table.add_row(*fidelity_cells(row.to_json()))
    table.caption = experiment.source or None
    return table


def replay_table(result: Replay) -> Table:
    """Counters of a record beside the model's; off by interval is what has grown in another one, or in one alone."""
    columns = ["counter", "unit", "recorded", "modelled", "error", "off by interval"]
    table = _table(f"{result.record} ({result.kernel}) beside {result.scenario}", columns, text_columns=2)
    for row in result.rows:
        counter = row.counter
        table.add_row(
            counter.name + ", mean" * counter.is_gauge,
            counter.unit,
            four_digits(row.recorded),
            four_digits(row.modelled),
            "-" if row.error is None else f"{row.error:+.1%}",
            _percent(row.interval_error),
        )
    table.caption = f"{result.compared_intervals} intervals, {result.compared_s:.1f} s"
    return table


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


def plain_table(title: str, columns: list[str], rows: Iterable[Iterable[str]]) -> Table:
    """A table of texts."""
    table = _table(title, columns, text_columns=len(columns))
    for row in rows:
        table.add_row(*row)
    return table


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
    table = plain_table(title, ["measurement", "value", "unit"], rows)
    table.columns[1].justify = "right"
    return table


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


def _table(title: str, columns: list[str], text_columns: int = 1) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left", box=SIMPLE_HEAD)
    for index, column in enumerate(columns):
        is_text = index < text_columns
        table.add_column(column, justify="left" if is_text else "right", overflow="fold")
    return table


def _with_interval(estimate: Estimate | None, number: str) -> str:
    if estimate is None:
        return "-"
    return with_interval(estimate.value, estimate.interval, number)
