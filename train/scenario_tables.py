"""A scenario of an evaluation for people, on a terminal: times, processes, what moves, and what that costs."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from tierenv.objective import objective_words
from tierenv.train.episodes import CPU_TIMES, MAX_TIME_MULTIPLE
from tierenv.train.evaluation import Row
from tierenv.train.judging import BASELINE
from tierenv.train.limits import LIMITS
from tierenv.train.processes import ends_whatever, last_to_end
from tierenv.train.recovery import REGAINED
from tierenv.train.statistics import mean_estimate
from tierenv.train.tables import AT_LEAST, estimated, heading, judged, table
from tierenv.train.texts import counted, percent
from tierenv.units import PAGE_BYTES, format_bytes

COST_WORDS = (
    f"recovery: after a change, until {REGAINED:.0%} of the access rate there is to regain is; where it never is, the "
    "length of the phase; threads: what NUMA balancing takes of the processes'"
)


def scenario_tables(rows: list[Row]) -> list[Table]:
    """What policies come to on one scenario: rows of an evaluation."""
    of_processes = [_process_table(rows)] if rows[0].scenario.corunners else []
    return [_time_table(rows), *of_processes, _movement_table(rows), _cost_table(rows)]


def _time_table(rows: list[Row]) -> Table:
    scenario, bounds = rows[0].scenario, rows[0].bounds
    columns: dict[str, Callable[[Row], str]] = {
        "policy": lambda row: row.policy,
        heading(scenario): lambda row: AT_LEAST * bool(row.num_truncated) + judged(scenario, row.objective),
    }
    if scenario.objective != "last-end":
        columns["run [s]"] = lambda row: AT_LEAST * bool(row.num_truncated) + estimated(row.seconds, ".1f")
    if bounds is not None:
        columns |= {"gap closed": lambda row: percent(row.gap_closed), "regret": lambda row: percent(row.regret)}
    if any(row.policy == BASELINE for row in rows):
        columns[heading(scenario, f"less {BASELINE}")] = lambda row: judged(
            scenario, row.difference_to_baseline, sign="+", more_digits=1
        )
    shown = table(str(scenario), list(columns))
    for row in rows:
        shown.add_row(*(make_cell(row) for make_cell in columns.values()))
    caption = f"{counted(len(rows[0].episodes.seconds), 'episode')}, {objective_words(scenario.objective)}"
    if bounds is not None:
        limits = [f"{limit.title} {bounds.limits[key].mean():.1f} s" for key, limit in LIMITS.items()]
        caption += f"; {', '.join(limits)}, no migration {bounds.no_migration.mean():.1f} s"
    if any(row.num_truncated for row in rows):
        caption += f"; >=: given up at {MAX_TIME_MULTIPLE:g} x all fast"
    shown.caption = "; ".join([caption, *_what_nobody_changes(rows)])
    return shown


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
    shown = table("", columns if is_any_endless else columns[:-1], text_columns=2)
    for row in rows:
        for index, result in enumerate(row.processes):
            is_awaited = result.process.is_awaited
            end = AT_LEAST * (not result.has_ended.all()) + estimated(mean_estimate(result.seconds), ".1f")
            cells = [
                row.policy if index == 0 else "",
                result.name if is_awaited else f"{result.name} ({result.process.lifetime})",
                end if is_awaited else "-",
                _mean_of_known(result.slowdown, 1, ".3f"),
                _mean_of_known(result.access_s, 1e9, ".1f"),
            ]
            shown.add_row(*cells, *(["-" if is_awaited else f"{result.rounds.mean():.1f}"] * is_any_endless))
    shown.caption = "slow-down: time over time alone with all memory fast"
    return shown


def _mean_of_known(values: NDArray[np.float64], factor: float, number: str) -> str:
    """Mean over the episodes that have one."""
    known = values[np.isfinite(values)]
    return format(factor * known.mean(), number) if len(known) else "-"


def _movement_table(rows: list[Row]) -> Table:
    """Means over the episodes: pages moved, entries that failed, and the memory of the longest list."""
    shown = table("", ["policy", "promoted", "wasted", "demoted", "failed", "list"])
    for row in rows:
        counts = {key: float(values.mean()) for key, values in row.episodes.counts.items()}
        moved = (counts[key] * PAGE_BYTES for key in ("promoted_pages", "wasted_promotions", "demoted_pages"))
        failed = f"{counts['failed_migrations']:.3g}"
        shown.add_row(row.policy, *map(format_bytes, moved), failed, format_bytes(counts["peak_list_bytes"]))
    return shown


def _cost_table(rows: list[Row]) -> Table:
    """How long changes are felt, and whose CPU time it takes: means over the episodes."""
    shown = table("", ["policy", "recovery [s]", "regained", "CPU [s]", *CPU_TIMES])
    for row in rows:
        times = [f"{row.cpu_s[key].value:.1f}" for key in ("total", *CPU_TIMES)]
        shown.add_row(row.policy, estimated(row.recovery_s, ".1f"), percent(row.regained), *times)
    shown.caption = COST_WORDS
    return shown
