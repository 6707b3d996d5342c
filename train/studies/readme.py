"""The generated parts of README.md: `python -m tierenv.train.studies.readme` rewrites them from results/*.json.

A test checks that all are current.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tierenv.reading import read_json
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

README = ROOT / "README.md"


def comparison(name: str = "first-round") -> str:
    """Policies by scenarios: time and gap closed, from a result of `evaluate`."""
    rows = read_json(RESULTS / f"{name}.json")["rows"]
    scenarios = list(dict.fromkeys(row["scenario"] for row in rows))
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    cells = {(row["policy"], row["scenario"]): _seconds(row) for row in rows}
    bounds = {row["scenario"]: row["bounds"] for row in rows}
    lines = [[f"`{_short(policy)}`", *(cells[policy, scenario] for scenario in scenarios)] for policy in policies]
    for key, title in (("clairvoyant", "*clairvoyant bound*"), ("all_fast", "*all memory fast*")):
        lines.append([title, *(f"{bounds[scenario][key]:.1f}" for scenario in scenarios)])
    return markdown_table(["policy", *scenarios], lines, numbers_from=1)


def training_seeds() -> str:
    """Each training seed against best-static, from results/moving-hot-set.json."""
    rows = read_json(RESULTS / "moving-hot-set.json")["rows"]
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
        f"{_saved(cells, size, 'measured_s'):.1f} ({_saved(cells, size, 'modelled_s'):.1f})" for size in sizes
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


PARTS: dict[str, Callable[[], str]] = {
    "comparison": comparison,
    "numa-balancing": partial(comparison, "numa-balancing"),
    "training-seeds": training_seeds,
    "calibration": calibration,
    "fidelity": fidelity,
    "speed": speed,
}


def render(text: str) -> str:
    """The README with every part made anew."""
    return with_parts(README, text, PARTS)


def _held(count: dict[str, int]) -> str:
    return f"{count['held']} of {count['of']}" if count["of"] else "-"


def _error(cell: Cell) -> str:
    return f"{cell['measured_s']:.1f}, {100 * cell['error']:+.1f} %"


def _saved(cells: dict[tuple[str, float], Cell], size: float, key: str) -> float:
    return 100 * (1 - cells["kmmscand-v1", size][key] / cells["numab2", size][key])


def _seconds(row: dict[str, Any]) -> str:
    prefix = "≥ " if row["truncated_runs"] else ""
    gap = "" if row["gap_closed"] is None else f" ({100 * row['gap_closed']:.0f} %)"
    return f"{prefix}{row['seconds']['mean']:.1f}{gap}"


def _short(policy: str) -> str:
    return Path(policy).name if "/" in policy else policy


def main() -> int:
    """Rewrite README.md. Returns the exit code."""
    return rewrite(README, render)


if __name__ == "__main__":
    sys.exit(main())
