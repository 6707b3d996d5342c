"""The generated parts of README.md: `python -m tierenv.train.studies.readme` rewrites them from results/*.json.

A test checks that all are current.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tierenv.reading import read_json
from tierenv.train.judging import Standing, bounded, in_classes, standings
from tierenv.train.outcomes import AT_STAKE, Outcome
from tierenv.train.results import opening_words, read_evaluation
from tierenv.train.statistics import Estimate
from tierenv.train.studies.generated import (
    FIDELITY,
    RESULTS,
    ROOT,
    Cell,
    calibration_report,
    markdown_table,
    measured_times,
    rewrite,
    with_parts,
)
from tierenv.train.studies.pieces import GENERALISTS
from tierenv.train.verdicts import verdict

README = ROOT / "README.md"

DEFAULTS = "numab2"
MOST_EXCESS = 0.01
"""Share of that time by which a setting may be slower."""


def comparison() -> str:
    """Policies by scenarios: time and gap closed, from results/first-round.json."""
    rows = read_json(RESULTS / "first-round.json")["rows"]
    scenarios = list(dict.fromkeys(row["scenario"] for row in rows))
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    cells = {(row["policy"], row["scenario"]): _seconds(row) for row in rows}
    bounds = {row["scenario"]: row["bounds"] for row in rows}
    lines = [[f"`{_short(policy)}`", *(cells[policy, scenario] for scenario in scenarios)] for policy in policies]
    for key, title in (("clairvoyant", "*clairvoyant bound*"), ("all_fast", "*all memory fast*")):
        lines.append([title, *(f"{bounds[scenario][key]:.1f}" for scenario in scenarios)])
    return markdown_table(["policy", *scenarios], lines, numbers_from=1)


def by_scenario(name: str = "numa-balancing") -> str:
    """Scenarios by policies, and what best-static saves of the defaults' time, from a result of `evaluate`."""
    outcomes = _outcomes(name)
    policies = list(dict.fromkeys(policy for outcome in outcomes for policy in outcome.rows))
    lines = [
        [
            f"`{outcome.scenario}`",
            f"{100 * outcome.at_stake:.1f} %",
            *(_seconds(outcome.rows[policy], outcome.at_stake > AT_STAKE) for policy in policies),
            f"{outcome.clairvoyant_s:.1f}",
            _shares(outcome.saved(DEFAULTS, "best-static")),
        ]
        for outcome in outcomes
    ]
    columns = ["scenario", "at stake", *(f"`{_short(policy)}`" for policy in policies), "*clairvoyant*", "saved"]
    return markdown_table(columns, lines, numbers_from=1)


def bars(name: str = "numa-balancing") -> str:
    """What best-static comes to on a suite, in words."""
    outcomes = _outcomes(name)
    staked = [outcome for outcome in outcomes if outcome.at_stake > AT_STAKE]
    beaten = [outcome for outcome in staked if outcome.saved(DEFAULTS, "best-static").low > 0]
    others = [f"`{outcome.scenario}`" for outcome in staked if outcome not in beaten]
    excess = {outcome.scenario: -outcome.saved("no-migration", "best-static").value for outcome in outcomes}
    slower = [f"`{scenario}` ({100 * share:.1f} %)" for scenario, share in excess.items() if share > MOST_EXCESS]
    missed = f" (not on {', '.join(others)})" if others else ""
    stake, most = (f"{100 * share:.0f} %" for share in (AT_STAKE, MOST_EXCESS))
    return (
        f"More than {stake} is at stake on {len(staked)} of {len(outcomes)} scenarios; there best-static beats the "
        f"defaults, with 95 % intervals above 0, on {len(beaten)}{missed}. More than {most} slower than no migration "
        f"it is on {', '.join(slower) or 'none'}. Mean over all scenarios of time over time without migration: "
        f"{', '.join(_relative(outcomes, policy) for policy in outcomes[0].rows if policy != 'no-migration')}."
    )


def training_seeds(name: str = "moving-hot-set") -> str:
    """Each training seed against best-static, from a result of `evaluate` on one scenario."""
    rows = read_json(RESULTS / f"{name}.json")["rows"]
    lines = []
    for row in rows:
        difference = row["difference_to_best_static_s"]
        low, high = row["seconds"]["ci95"]
        gain = "" if difference is None else f"{-difference['mean']:.2f}"
        interval = "" if difference is None else f"{-difference['ci95'][1]:.2f} to {-difference['ci95'][0]:.2f}"
        name = f"`{_short(row['policy'])}`"
        seconds = f"{row['seconds']['mean']:.1f}"
        lines.append([name, seconds, f"{low:.1f} to {high:.1f}", gain, interval, f"{100 * row['gap_closed']:.0f} %"])
    columns = ["policy", "mean [s]", "95 % interval", "faster than best-static [s]", "95 % interval", "gap closed"]
    return markdown_table(columns, lines, numbers_from=1)


def speed() -> str:
    """What `tierenv bench` measured, from results/bench.json."""
    result = read_json(RESULTS / "bench.json")
    machine = result["machine"]
    lines = [[row["name"], f"{row['value']:,.4g}", row["unit"]] for row in result["measurements"]]
    return f"{machine['cpu']}, {machine['cores']} cores:\n\n" + markdown_table(
        ["measurement", "value", "unit"], lines, numbers_from=1
    )


def calibration() -> str:
    """Measured times, and what the fitted platform makes of them, from the report beside the platform file."""
    report = calibration_report()
    cells = {(row["system"], row["size_gb"]): row for row in report["cells"]}
    sizes = dict.fromkeys(size for _, size in cells)
    gains = ", ".join(
        f"{_saved(cells, size, 'measured'):.1f} ({_saved(cells, size, 'modelled'):.1f})" for size in sizes
    )
    times = measured_times(report, "measured [s], error of the model", _error)
    return f"{times} Time kmmscand-v1 saves against numab2, measured (modelled): {gains} %."


def fidelity() -> str:
    """Experiments by what the model makes of them, from results/fidelity.json."""
    result = read_json(FIDELITY)
    parts = {f"`{each['name']}`": each["rows"] for each in result["experiments"]} | {"*all*": result["summary"]}
    lines = [
        [
            name,
            role,
            str(part["rows"]),
            "-" if part["median_absolute_error"] is None else f"{100 * part['median_absolute_error']:.1f} %",
            *(_held(part[key]) for key in ("within", "signs", "required")),
        ]
        for name, roles in parts.items()
        for role, part in roles.items()
        if part["rows"]
    ]
    columns = ["experiment", "role", "rows", "median error", "within tolerance", "sign holds", "required holds"]
    return markdown_table(columns, lines, numbers_from=2)


def kernel() -> str:
    """What the daemon counts in a real kernel beside the model, from results/fidelity.json."""
    cells: dict[str, dict[str, str]] = {}
    for row in read_json(FIDELITY)["rows"]:
        if row["experiment"] == "kernel":
            run, _, name = row["id"].partition(": ")
            cells.setdefault(run, {})[name] = _beside(row)
    names = list(dict.fromkeys(name for counts in cells.values() for name in counts))
    lines = [[run, *(counts.get(name, "-") for name in names)] for run, counts in cells.items()]
    return markdown_table(
        ["period, throttle", *(_COUNT_TITLES.get(name, name) for name in names)], lines, numbers_from=1
    )


_COUNT_TITLES = {"chunks": "chunks/s"}


def _beside(row: dict[str, Any]) -> str:
    """A number and, in brackets, what the model is off by."""
    number = row["published"]
    error = "0" if row["modelled"] == number else "-" if row["error"] is None else f"{100 * row['error']:+.1f} %"
    return f"{number:,.0f} ({error})" if number >= 1000 or number == 0 else f"{number:.3g} ({error})"


def generalist(name: str) -> str:
    """A policy for machines and programs it has not seen beside its rivals, by stake, from what `evaluate` wrote.

    Of settings for several scenarios those of other daemons are left out.
    """
    result = read_evaluation(RESULTS / f"{name}.json")
    known = bounded(result.outcomes())
    classes = [(stake.short_words, members, _by_name(members)) for stake, members in in_classes(known)]
    classes.append(("all", known, _by_name(known)))
    titles = [f"{title.replace('<=', '≤')} ({len(members)})" for title, members, _ in classes]
    own = next(row.daemon for row in result.rows if row.kind == "learned")
    elsewhere = {row.policy for row in result.rows if row.kind == "constant" and row.daemon != own}
    lines = []
    for standing in classes[-1][2].values():
        if standing.name in elsewhere:
            continue
        title = f"`{_short(standing.name)}`" if standing.name in result.policies else f"*{standing.title}*"
        ratios = [_over(of_class.get(standing.name), len(members)) for _, members, of_class in classes]
        gap = standing.gap_closed and Estimate(*(100 * limit for limit in standing.gap_closed))
        over, worst = standing.over_best_static, standing.worst.over_no_migration.value
        lines.append([title, *ratios, _estimated(over, ".3f"), _estimated(gap, ".0f"), f"{worst:.3f}"])
    columns = ["policy", *titles, "over best-static", "gap closed [%]", "worst"]
    told = [f"Verdict: {found.words}." for found in [verdict(known)] if found is not None]
    told.append(f"The set was {opening_words(result.openings)}.")
    return f"{markdown_table(columns, lines, numbers_from=1)}\n\n{' '.join(told)}"


def _by_name(outcomes: Sequence[Outcome]) -> dict[str, Standing]:
    return {standing.name: standing for standing in standings(outcomes)}


def _over(standing: Standing | None, num_scenarios: int) -> str:
    """Total time over that without migration, and of how many scenarios where it is not of all."""
    if standing is None:
        return "-"
    fewer = f" ({standing.num_scenarios})" if standing.num_scenarios < num_scenarios else ""
    return f"{'≥ ' * bool(standing.num_given_up)}{standing.over_no_migration.value:.3f}{fewer}"


def _estimated(estimate: Estimate | None, number: str) -> str:
    if estimate is None:
        return "-"
    if estimate.interval is None:
        return f"{estimate.value:{number}}"
    return f"{estimate.value:{number}} ({estimate.low:{number}} to {estimate.high:{number}})"


PARTS: dict[str, Callable[[], str]] = {
    **{name: partial(generalist, name) for name in GENERALISTS.values()},
    "comparison": comparison,
    "numa-balancing": by_scenario,
    "numa-balancing-bars": bars,
    "numa-balancing-seeds": partial(training_seeds, "numa-balancing-seeds"),
    "numa-balancing-seeds-far": partial(training_seeds, "numa-balancing-seeds-far"),
    "training-seeds": training_seeds,
    "calibration": calibration,
    "fidelity": fidelity,
    "kernel": kernel,
    "speed": speed,
}


def render(text: str) -> str:
    """The README with every part made anew."""
    return with_parts(README, text, PARTS)


@dataclass(frozen=True)
class _Outcome(Outcome):
    """With what `evaluate` wrote of it."""

    rows: dict[str, Cell] = field(kw_only=True)
    """By policy."""


def _outcomes(name: str) -> list[_Outcome]:
    rows = read_json(RESULTS / f"{name}.json")["rows"]
    scenarios = dict.fromkeys(row["scenario"] for row in rows)
    return [_outcome(scenario, [row for row in rows if row["scenario"] == scenario]) for scenario in scenarios]


def _outcome(scenario: str, rows: list[Cell]) -> _Outcome:
    runs = {row["policy"]: np.array(row["seconds"]["runs"]) for row in rows}
    bounds = rows[0]["bounds"]
    by_policy = {row["policy"]: row for row in rows}
    no_migration, clairvoyant = np.array([bounds["no_migration"]]), np.array([bounds["clairvoyant"]])
    return _Outcome(scenario, runs, no_migration, {"clairvoyant": clairvoyant}, rows=by_policy)


def _relative(outcomes: list[_Outcome], policy: str) -> str:
    shares = [1 - outcome.saved("no-migration", policy).value for outcome in outcomes]
    return f"`{_short(policy)}` {np.mean(shares):.2f}"


def _shares(estimate: Estimate) -> str:
    value, low, high = (100 * share for share in estimate)
    return f"{value:.1f} ({low:.1f} to {high:.1f}) %"


def _held(count: dict[str, int]) -> str:
    return f"{count['held']} of {count['of']}" if count["of"] else "-"


def _error(cell: Cell) -> str:
    return f"{cell['measured']:.1f}, {100 * cell['error']:+.1f} %"


def _saved(cells: dict[tuple[str, float], Cell], size: float, key: str) -> float:
    return 100 * (1 - cells["kmmscand-v1", size][key] / cells["numab2", size][key])


def _seconds(row: dict[str, Any], has_gap: bool = True) -> str:
    prefix = "≥ " if row["truncated_runs"] else ""
    gap = "" if row["gap_closed"] is None or not has_gap else f" ({100 * row['gap_closed']:.0f} %)"
    return f"{prefix}{row['seconds']['mean']:.1f}{gap}"


def _short(policy: str) -> str:
    return Path(policy).name if "/" in policy else policy


def main() -> int:
    """Rewrite README.md. Returns the exit code."""
    return rewrite(README, render)


if __name__ == "__main__":
    sys.exit(main())
