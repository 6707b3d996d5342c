"""Results for people: tables for the terminal and the timeline picture."""

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from tierenv.experiments import Experiment
from tierenv.files import atomic_write_bytes
from tierenv.render import Timeline, add_legend, add_panels, printed
from tierenv.train.distil import TOLERANCE, Distillation
from tierenv.train.evaluate import BASELINE, MAX_TIME_MULTIPLE, OBJECTIVE, Evaluation, Row
from tierenv.train.fidelity import Fidelity
from tierenv.train.imports.importing import Imported
from tierenv.train.replay import Replay
from tierenv.train.search import SearchResult, SuiteSearchResult
from tierenv.train.statistics import Estimate, mean_estimate
from tierenv.units import PAGE_BYTES, format_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMN_INCHES = 5.0
_HEIGHT_INCHES = 6.0
_DPI = 100
MOST_PHASE_COLUMNS = 6
"""Of a table of an imported workload."""


def evaluation_tables(evaluation: Evaluation) -> list[Table]:
    """Two tables for each scenario, time and what moves, and, where policies can gain anything, one over all."""
    scenarios = dict.fromkeys(row.scenario.name for row in evaluation.rows)
    tables = [table for scenario in scenarios for table in _scenario_tables(evaluation, scenario)]
    aggregates = {policy: evaluation.aggregate(policy) for policy in evaluation.policies}
    if len(scenarios) > 1 and any(aggregates.values()):
        table = _table(f"suite {evaluation.suite}", ["policy", "gap closed, interquartile mean"])
        for policy, estimate in aggregates.items():
            table.add_row(policy, _with_interval(estimate, ".1%"))
        tables.append(table)
    return tables


def _scenario_tables(evaluation: Evaluation, scenario: str) -> tuple[Table, Table]:
    rows = [row for row in evaluation.rows if row.scenario.name == scenario]
    return _time_table(evaluation, rows), _movement_table(rows)


def _time_table(evaluation: Evaluation, rows: list[Row]) -> Table:
    columns: dict[str, Callable[[Row], str]] = {
        "policy": lambda row: row.policy,
        "time [s]": lambda row: (">= " if row.num_truncated else "") + _with_interval(row.seconds, ".1f"),
        "gap closed": lambda row: _percent(row.bounds.mean_gap_closed(row.episodes.seconds)),
        "regret": lambda row: _percent(row.bounds.regret(row.episodes.seconds)),
    }
    if rows[0].scenario.corunners:
        columns["ends [s]"] = lambda row: ", ".join(
            f"{name} {end.value:.1f}"
            for (name, end), process in zip(row.process_seconds, row.scenario.processes, strict=True)
            if process.lifetime == "once"
        )
    if any(row.policy == BASELINE for row in rows):
        columns[f"less {BASELINE} [s]"] = lambda row: _with_interval(row.difference_to_baseline, "+.2f")
    table = _table(str(rows[0].scenario), list(columns))
    for row in rows:
        table.add_row(*(make_cell(row) for make_cell in columns.values()))
    bounds = rows[0].bounds
    table.caption = (
        f"{len(evaluation.seeds)} episodes, {OBJECTIVE}; bounds: all fast {bounds.all_fast.mean():.1f} s, "
        f"clairvoyant {bounds.clairvoyant.mean():.1f} s, no migration {bounds.no_migration.mean():.1f} s"
    )
    if any(row.num_truncated for row in rows):
        table.caption += f"; >=: given up at {MAX_TIME_MULTIPLE:g} x all fast"
    return table


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
        f"one setting for all of {result.suite}", ["setting", "as a policy", "time / no migration", "when picked"]
    )
    for finalist in result.finalists:
        numbers = (finalist.relative_time, finalist.screening)
        table.add_row(str(finalist.setting), finalist.setting.policy_name, *(f"{number:.4f}" for number in numbers))
    table.caption = f"mean over {len(result.results)} scenarios"
    return [*map(_search_table, result.results), table]


def _search_table(result: SearchResult) -> Table:
    """The finalists of a search and its budget."""
    table = _table(
        f"best static settings of {result.scenario.name} ({result.sampler})",
        ["setting", "as a policy", "time [s]", "when picked [s]"],
    )
    for finalist in result.finalists:
        table.add_row(
            str(finalist.setting),
            finalist.setting.policy_name,
            _with_interval(finalist.seconds, ".2f"),
            f"{finalist.screening_s:.2f}",
        )
    budget = result.budget
    table.caption = (
        f"{budget.trials} settings, {budget.episodes} runs, {budget.env_steps:,} environment steps, "
        f"{budget.wall_s:.1f} s; judged on {len(result.fresh_seeds)} fresh seeds"
    )
    return table


def distillation_table(result: Distillation) -> Table:
    """A tree beside its teacher."""
    columns = ["scenario", "teacher [s]", "tree [s]", "difference [s]", "on held-out orders [s]", "agreement"]
    teacher = result.source.origin.policy
    table = _table(f"{result.tree.num_leaves} leaves, depth {result.tree.depth}, distilled from {teacher}", columns)
    for row in result.rows:
        table.add_row(
            row.scenario.name,
            _with_interval(mean_estimate(row.teacher.seconds), ".1f"),
            _with_interval(mean_estimate(row.tree.seconds), ".1f"),
            _with_interval(row.difference, "+.2f"),
            _with_interval(row.held_out_difference, "+.2f"),
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
            _four_digits(row.recorded),
            _four_digits(row.modelled),
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
        _four_digits(row["published"]),
        _four_digits(row["modelled"]),
        "-" if row["error"] is None else f"{100 * row['error']:+.1f} %",
        sign,
        row["tolerance"] or "-",
        verdict,
        "yes" if row["fitted"] else "no",
    ]


def _four_digits(number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


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
        ("accesses per page", _four_digits(workload.accesses_per_page)),
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
    """A column for each policy, on common axes: fast tier by class, tunables, phase changes as lines."""
    from matplotlib.figure import Figure  # not pyplot, which keeps figures alive and wants a display

    size = (_COLUMN_INCHES * len(timelines), _HEIGHT_INCHES)
    figure = Figure(figsize=size, layout="constrained")
    columns, tunables = add_panels(figure, *timelines.values())
    for axes, (policy, timeline) in zip(columns.T, timelines.items(), strict=True):
        classes = timeline.draw(axes, tunables)
        axes[0].sharey(columns[0, 0])  # the tunables' axes differ: ranges belong to the daemon variant
        title = f"{printed(policy, most_characters=40)}: {timeline.elapsed_s[-1]:.1f} s"
        axes[0].set_title(title, fontsize="medium", parse_math=False)
    add_legend(figure, classes)
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
    if estimate.interval is None:
        return format(estimate.value, number)
    low, high = estimate.interval
    return f"{estimate.value:{number}} [{low:{number}}, {high:{number}}]"
