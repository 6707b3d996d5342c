"""Measured completion times: the CSV a calibration reads, and what the names in it stand for."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError, close_match
from tierenv.reading import read_text
from tierenv.records import resolve, validate_record
from tierenv.scenario import Control, NumaBalancingMode, Scenario
from tierenv.units import GIB

COLUMNS = ("size_gb", "system", "seconds", "stdev_percent")

MAX_BYTES = 64 << 10
"""Of a file: a thousand rows and more."""
MAX_NUMBER = 1e9
"""Of whatever a file gives: an EiB, thirty years."""


@dataclass(frozen=True)
class MeasuredSystem:
    """What promoted pages on the measured kernel."""

    daemon: str | None
    """The daemon that ran with its own adaptation rule; None where none did."""
    numa_balancing_mode: NumaBalancingMode | None = None
    """NUMA balancing beside it."""


SYSTEMS = {
    "no-migration": MeasuredSystem(daemon=None, numa_balancing_mode=0),
    "numab1": MeasuredSystem(daemon="numab1"),
    "numab2": MeasuredSystem(daemon="numab2"),
    "kmmscand-v0": MeasuredSystem(daemon="kmmscand-v0", numa_balancing_mode=0),
    "kmmscand-v1": MeasuredSystem(daemon="kmmscand-v1", numa_balancing_mode=1),
}
"""Values of the column `system`; V0 was measured with NUMA balancing off, V1 with mode 1 on."""


@dataclass(frozen=True)
class Cell:
    """One measured completion time."""

    size_gib: float
    system: str
    seconds: float
    stdev_percent: float
    """Standard deviation of the repeats, in percent of the mean."""

    def scenario(self, like: Scenario) -> Scenario:
        """What was measured, as a scenario: platform, workload and capacity of `like`."""
        measured = SYSTEMS[self.system]
        daemon = like.daemon if measured.daemon is None else load_daemon(measured.daemon)
        control: Control = "off" if measured.daemon is None else "kernel-rule"
        changes = {
            "size": round(self.size_gib * GIB),
            "daemon": daemon,
            "control": control,
            "numa_balancing_mode": measured.numa_balancing_mode,
        }
        return like.model_copy(update=changes)


def read_measurements(name_or_path: str) -> list[Cell]:
    """Read a CSV of COLUMNS (the last may be left out), lines that start with # apart. Raises `ConfigError`.

    Spreadsheets of some countries separate values by semicolons or tabs, and write decimal commas: both are taken.
    """
    path = resolve("measurements", name_or_path)
    text = read_text(path, MAX_BYTES)
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#"]
    if not lines:
        raise ConfigError(f"{path}: is empty; its first line must name the columns {', '.join(COLUMNS)}")
    delimiter = next((mark for mark in ";\t" if mark in lines[0][1]), ",")
    rows = [[value.strip() for value in next(csv.reader([line], delimiter=delimiter))] for _, line in lines]
    header = _checked_header(path, rows[0])
    cells: dict[tuple[float, str], Cell] = {}
    for (number, _), values in zip(lines[1:], rows[1:], strict=True):
        cell = _read_cell(f"{path}:{number}", header, values)
        if cells.setdefault((cell.size_gib, cell.system), cell) is not cell:
            raise ConfigError(f"{path}:{number}: {cell.system} at {cell.size_gib:g} GiB is given twice")
    return list(cells.values())


def _checked_header(path: Path, header: list[str]) -> list[str]:
    missing = [name for name in COLUMNS[:3] if name not in header]
    unknown = [name for name in header if name not in COLUMNS]
    problem = ""
    if missing:
        problem = f"lacks column {missing[0]}"
    elif unknown:
        problem = f"has an unknown column {unknown[0]!r}"
    elif len(set(header)) < len(header):
        problem = "has a column twice"
    if problem:
        raise ConfigError(f"{path}: {problem}; the columns are {', '.join(COLUMNS)}")
    return header


def _read_cell(where: str, header: list[str], values: list[str]) -> Cell:
    if len(values) != len(header):
        raise ConfigError(f"{where}: has {len(values)} values, the header names {len(header)}")
    row = dict(zip(header, values, strict=True))
    system = row["system"]
    if system not in SYSTEMS:
        raise ConfigError(
            f"{where}: system={system!r}: unknown{close_match(system, SYSTEMS)}; allowed: {', '.join(SYSTEMS)}"
        )
    return Cell(
        size_gib=_number(where, "size_gb", row["size_gb"]),
        system=system,
        seconds=_number(where, "seconds", row["seconds"]),
        stdev_percent=_number(where, "stdev_percent", row.get("stdev_percent", "0"), can_be_zero=True),
    )


def _number(where: str, name: str, text: str, can_be_zero: bool = False) -> float:
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    if not (0 < number <= MAX_NUMBER or (can_be_zero and number == 0)):
        allowed = "a number of at least 0" if can_be_zero else "a number above 0"
        raise ConfigError(f"{where}: {name}={text!r}: must be {allowed}, and {MAX_NUMBER:g} at most")
    return number


def check_sizes(cells: list[Cell], like: Scenario, origin: str) -> None:
    """Raise `ConfigError` for a size that the scenario cannot have."""
    for size_gib in sorted({cell.size_gib for cell in cells}):
        values = like.model_dump() | {"size": f"{round(size_gib * GIB)}B"}
        validate_record(Scenario, values, f"{origin}: size_gb={size_gib:g}")
