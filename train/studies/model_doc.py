"""The generated parts of docs/model.md, from reports and results: `python -m tierenv.train.studies.model_doc`."""

import sys
from collections.abc import Callable

from tierenv.daemon import load_daemon
from tierenv.features import all_features
from tierenv.reading import read_json
from tierenv.records import packaged
from tierenv.scenario import load_scenario
from tierenv.train.report import FIDELITY_COLUMNS, fidelity_cells
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
from tierenv.train.studies.no_foresight import best_policy
from tierenv.train.studies.open_loop import FIGURES, figures
from tierenv.tunables import TUNABLES
from tierenv.units import GIB

MODEL_DOC = ROOT / "docs" / "model.md"
CONVERGENCE = RESULTS / "convergence.json"
FIRST_ROUND = RESULTS / "first-round.json"
EQUIVALENCE = RESULTS / "equivalence.json"
READINGS = RESULTS / "readings.json"
NO_FORESIGHT = RESULTS / "no-foresight.json"
OPEN_LOOP = RESULTS / "open-loop.json"


def calibration_part() -> str:
    """Measured and modelled times, and the fitted parameters."""
    report = calibration_report()
    parameters = [
        [
            f"`{row['field']}`",
            f"{row['value']:g} {row['unit']}".strip(),
            f"{row['ci95'][0]:.3g} to {row['ci95'][1]:.3g}",
            f"{row['prior']:g}",
            row["source"],
        ]
        for row in report["parameters"]
    ]
    return "\n".join(
        (
            "Measured time, modelled time and error; in brackets the error of a fit that has not seen the size:",
            "",
            measured_times(report, "system", _time),
            "",
            markdown_table(
                ["parameter", "fitted", "95 % interval", "prior", "source of the prior"], parameters, numbers_from=5
            ),
        )
    )


def fidelity_part() -> str:
    """Every published row beside the model's."""
    rows = [[row["experiment"], *fidelity_cells(row)] for row in read_json(FIDELITY)["rows"]]
    return markdown_table(["experiment", *FIDELITY_COLUMNS], rows, numbers_from=3)


def readings_part() -> str:
    """What each class of card makes of abench, and of another workload."""
    rows = read_json(READINGS)["rows"]
    fields = list(rows[0]["fit"]["values"])
    fits = [
        [
            f"`{row['card']}`",
            f"{row['idle_latency_ns']:g} ns, {row['bandwidth_gb_per_s']:g} GB/s",
            _percent(row["fit"]["mean_absolute_error"]),
            _percent(row["fit"]["worst_error"]),
            *(f"{row['fit']['values'][field]:g}" for field in fields),
        ]
        for row in rows
    ]
    names = [f"`{field.partition('.')[2]}`" for field in fields]
    parts = [markdown_table(["card of", "latency, bandwidth", "mean error", "worst", *names], fits, numbers_from=2)]
    for case, shares in rows[0]["saved"].items():
        cells = [[f"`{row['card']}`", *(_percent(share) for share in row["saved"][case].values())] for row in rows]
        parts.append(markdown_table([f"`skewed` {case}", *(f"`{name}`" for name in shares)], cells, numbers_from=1))
    return "\n\n".join(parts)


def no_foresight_part() -> str:
    """Shares of the gap that the estimate without foresight closes, and the best policy."""
    lines = []
    for row in read_json(NO_FORESIGHT)["rows"]:
        name, share = best_policy(row)
        lines.append([row["scenario"], f"`{row['daemon']}`", f"{row['gap_closed']:.3f}", f"`{name}`", share])
    return markdown_table(["scenario", "daemon", "estimate", "best policy", "its share"], lines, numbers_from=2)


def open_loop_part() -> str:
    """Shares of the gap that known futures close."""
    lines = [
        [row["scenario"], f"`{row['daemon']}`", row["search"], *figures(row)] for row in read_json(OPEN_LOOP)["rows"]
    ]
    return markdown_table(["scenario", "daemon", "search", *FIGURES], lines, numbers_from=3)


def convergence_part() -> str:
    """Change of the completion time at twice the resolution, policies by scenarios."""
    rows = read_json(CONVERGENCE)["rows"]
    scenarios = list(dict.fromkeys(row["scenario"] for row in rows))
    cells = {(row["policy"], row["scenario"]): row for row in rows}
    lines = []
    for policy in dict.fromkeys(row["policy"] for row in rows):
        kinds = [
            (cells[policy, scenario]["substeps_halved"], cells[policy, scenario]["lumps_doubled"])
            for scenario in scenarios
        ]
        lines.append([f"`{policy}`", *(", ".join(f"{100 * kind['change']:+.2f} %" for kind in pair) for pair in kinds)])
    return markdown_table(["policy", *scenarios], lines, numbers_from=1)


def equivalence_part() -> str:
    """The lumped model against the pages model, outcomes by scenarios."""
    rows = read_json(EQUIVALENCE)["rows"]
    lines = [["-" if cell is None else _percent(cell) for cell in row.values()] for row in rows]
    return markdown_table(list(rows[0]), lines, numbers_from=1)


def list_part() -> str:
    """The migration list of kmmscand-v1 on abench, and what a formula makes of its length."""
    rows = [row for row in read_json(FIRST_ROUND)["rows"] if row["policy"] == "kmmscand-v1"]
    lines: dict[str, list[str]] = {}
    for row in rows:
        scenario = load_scenario(row["scenario"])
        if scenario.workload.name != "abench":
            continue
        pages, platform = scenario.pages, scenario.platform
        expected = pages * scenario.migration_s / (2 * (1.016 + pages * platform.scan_per_page))
        figures = {
            "scenario": scenario.name,
            "longest list, entries a page": f"{row['peak_list_entries'] / pages:.1f}",
            "the formula": f"{expected:.1f}",
            "memory it takes [GiB]": f"{row['peak_list_bytes'] / GIB:.1f}",
            "entries lost for want of memory": f"{row['list_allocation_failures']:.0f}",
        }
        for name, figure in figures.items():
            lines.setdefault(name, []).append(figure)
    return markdown_table(["scenario", *lines.pop("scenario")], [[name, *row] for name, row in lines.items()], 1)


def tunables_part() -> str:
    """The table of tunables."""
    rows = [
        [
            f"`{row.symbol}`",
            row.meaning,
            ", ".join(["0"] * row.has_zero + ["unlimited"] * row.has_unlimited) or "-",
            str(row.grid_points),
            ", ".join(f"`{name}`" for name in packaged("daemons") if row.name in load_daemon(name).tunables),
        ]
        for row in TUNABLES.values()
    ]
    columns = ["tunable", "meaning", "beyond its range", "points of a grid", "daemons"]
    return markdown_table(columns, rows, numbers_from=len(columns))


def features_part() -> str:
    """The table of features."""
    rows = [
        [
            f"`{row.name}`",
            row.meaning,
            row.unit,
            str(row.scale),
            row.history.kind if row.history.length == 1 else f"{row.history.kind} over {row.history.length} steps",
            ", ".join(f"`{name}`" for name in row.counters) or "-",
        ]
        for row in all_features()
    ]
    columns = ["feature", "meaning", "unit", "scale", "history", "counters"]
    return markdown_table(columns, rows, numbers_from=len(columns))


PARTS: dict[str, Callable[[], str]] = {
    "tunables": tunables_part,
    "features": features_part,
    "calibration": calibration_part,
    "fidelity": fidelity_part,
    "readings": readings_part,
    "convergence": convergence_part,
    "equivalence": equivalence_part,
    "list": list_part,
    "no-foresight": no_foresight_part,
    "open-loop": open_loop_part,
}


def render(text: str) -> str:
    """The document with its generated parts made anew."""
    return with_parts(MODEL_DOC, text, PARTS)


def _percent(cell: str | float) -> str:
    return cell if isinstance(cell, str) else f"{100 * cell:+.2f} %"


def _time(row: Cell) -> str:
    error, left_out = 100 * row["error"], 100 * row["error_left_out"]
    return f"{row['measured']:.1f} s, {row['modelled']:.1f} s, {error:+.1f} % ({left_out:+.1f} %)"


def main() -> int:
    """Rewrite docs/model.md. Returns the exit code."""
    return rewrite(MODEL_DOC, render)


if __name__ == "__main__":
    sys.exit(main())
