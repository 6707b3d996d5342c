"""The generated part of docs/model.md: `python -m tierenv.train.model_doc` rewrites it from the report on a fit."""

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tierenv.files import atomic_write_text
from tierenv.records import packaged
from tierenv.train.calibrate import report_path
from tierenv.train.run_dir import read_json

MODEL_DOC = Path(__file__).resolve().parent.parent / "docs" / "model.md"
PLATFORM = "amd-epyc-cxl"
_PART = re.compile(r"(<!-- begin calibration -->\n).*?(<!-- end calibration -->)", re.DOTALL)


def calibration_part(report: dict[str, Any]) -> str:
    """Measured and modelled times, and the fitted parameters, as Markdown."""
    cells = {(row["system"], row["size_gb"]): row for row in report["cells"]}
    systems = list(dict.fromkeys(system for system, _ in cells))
    sizes = list(dict.fromkeys(size for _, size in cells))
    times = [[system, *(_time(cells.get((system, size))) for size in sizes)] for system in systems]
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
    mean, worst, left_out = (
        100 * report[key] for key in ("mean_absolute_error", "worst_error", "worst_error_left_out")
    )
    return "\n".join(
        (
            "Measured time, modelled time and error; in brackets the error of a fit that has not seen the size:",
            "",
            *_markdown(["system", *(f"{size:g} GB" for size in sizes)], times),
            "",
            f"Mean absolute error {mean:.1f} %, worst {worst:.1f} %, worst of a size left out {left_out:.1f} %.",
            "",
            *_markdown(["parameter", "fitted", "95 % interval", "prior", "source of the prior"], parameters),
        )
    )


def render(text: str) -> str:
    """The document with its generated part made anew."""
    part = calibration_part(read_json(report_path(packaged("platforms")[PLATFORM])))
    text, count = _PART.subn(lambda match: f"{match[1]}{part}\n{match[2]}", text)
    if count != 1:
        raise ValueError(f"{MODEL_DOC}: the part calibration must stand there once, found {count} times")
    return text


def _time(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    error, left_out = 100 * row["error"], 100 * row["error_left_out"]
    return f"{row['measured_s']:.1f} s, {row['modelled_s']:.1f} s, {error:+.1f} % ({left_out:+.1f} %)"


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns), *rows)]


def main() -> int:
    """Rewrite docs/model.md. Returns the exit code."""
    atomic_write_text(MODEL_DOC, render(MODEL_DOC.read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
