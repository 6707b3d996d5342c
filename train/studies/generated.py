"""Documents of which parts are generated: tables in Markdown between marks that a program finds again.

A part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tierenv.files import atomic_write_text
from tierenv.reading import read_json
from tierenv.records import packaged
from tierenv.train.calibrate import report_path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
FIDELITY = RESULTS / "fidelity.json"
PLATFORM = "amd-epyc-cxl"
"""The platform whose calibration the documents show."""

Cell = dict[str, Any]


def calibration_report() -> dict[str, Any]:
    """The report beside the platform file."""
    return read_json(report_path(packaged("platforms")[PLATFORM]))


def measured_times(report: dict[str, Any], title: str, text: Callable[[Cell], str]) -> str:
    """The cells of a calibration as a table of systems by sizes, and a sentence on its accuracy."""
    cells = {(row["system"], row["size_gb"]): row for row in report["cells"]}
    sizes = list(dict.fromkeys(size for _, size in cells))
    rows = [
        [f"`{system}`", *(text(cells[system, size]) if (system, size) in cells else "-" for size in sizes)]
        for system in dict.fromkeys(system for system, _ in cells)
    ]
    mean, worst, left_out = (
        100 * report[key] for key in ("mean_absolute_error", "worst_error", "worst_error_left_out")
    )
    return (
        markdown_table([title, *(f"{size:g} GB" for size in sizes)], rows, numbers_from=1)
        + f"\n\nMean absolute error {mean:.1f} %, worst {worst:.1f} %; worst at a size that the fit has not seen "
        f"{left_out:.1f} %."
    )


def rewrite(path: Path, render: Callable[[str], str]) -> int:
    """Write a document anew. Returns the exit code."""
    atomic_write_text(path, render(path.read_text(encoding="utf-8")))
    return 0


def with_parts(path: Path, text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """The text of a document with every part made anew. Raises `ValueError` unless each stands there once."""
    for name, make in parts.items():
        pattern = re.compile(f"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        part = make().replace("\\", r"\\")
        text, count = pattern.subn(rf"\g<1>{part}\n\g<2>", text)
        if count != 1:
            raise ValueError(f"{path}: part {name} must stand there once, found {count} times")
    return text


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int) -> str:
    """A table whose columns from `numbers_from` on are aligned to the right."""
    rule = ["---" if index < numbers_from else "---:" for index in range(len(columns))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, rule, *rows))
