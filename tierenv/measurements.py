"""Measured completion times: the CSV a calibration reads, and what the names in it stand for."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError, close_match
from tierenv.records import resolve, validate_record
from tierenv.scenario import Control, NumaBalancingMode, Platform, Scenario
from tierenv.units import GIB

COLUMNS = ("size_gb", "system", "seconds", "stdev_percent")


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

    def scenario(self, like: Scenario, platform: Platform) -> Scenario:
        """What was measured, as a scenario: workload and capacity of `like`, on the platform."""
        measured = SYSTEMS[self.system]
        daemon = like.daemon if measured.daemon is None else load_daemon(measured.daemon)
        control: Control = "off" if measured.daemon is None else "kernel-rule"
        changes = {
            "size": round(self.size_gib * GIB),
            "platform": platform,
            "daemon": daemon,
            "control": control,
            "numa_balancing_mode": measured.numa_balancing_mode,
        }
        return like.model_copy(update=changes)


def read_measurements(name_or_path: str) -> list[Cell]:
    """Read a CSV of COLUMNS (the last may be left out), lines that start with # apart. Raises `ConfigError`."""
    path = resolve("measurements", name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#"]
    if not lines:
        raise ConfigError(f"{path}: is empty; its first line must name the columns {', '.join(COLUMNS)}")
    header = [name.strip() for name in next(csv.reader([lines[0][1]]))]
    missing = [name for name in COLUMNS[:3] if name not in header]
    unknown = [name for name in header if name not in COLUMNS]
    if missing or unknown:
        problem = f"lacks column {missing[0]}" if missing else f"has an unknown column {unknown[0]!r}"
        raise ConfigError(f"{path}: {problem}; the columns are {', '.join(COLUMNS)}")
    cells: list[Cell] = []
    for number, line in lines[1:]:
        cell = _read_cell(path, number, header, next(csv.reader([line])))
        if any((cell.size_gib, cell.system) == (other.size_gib, other.system) for other in cells):
            raise ConfigError(f"{path}:{number}: {cell.system} at {cell.size_gib:g} GiB is given twice")
        cells.append(cell)
    return cells


def _read_cell(path: Path, number: int, header: list[str], values: list[str]) -> Cell:
    where = f"{path}:{number}"
    if len(values) != len(header):
        raise ConfigError(f"{where}: has {len(values)} values, the header names {len(header)}")
    row = {name: value.strip() for name, value in zip(header, values, strict=True)}
    system = row["system"]
    if system not in SYSTEMS:
        raise ConfigError(
            f"{where}: system={system!r}: unknown{close_match(system, SYSTEMS)}; allowed: {', '.join(SYSTEMS)}"
        )
    cell = Cell(
        size_gib=_number(where, "size_gb", row["size_gb"]),
        system=system,
        seconds=_number(where, "seconds", row["seconds"]),
        stdev_percent=_number(where, "stdev_percent", row.get("stdev_percent", "0"), can_be_zero=True),
    )
    return cell


def _number(where: str, name: str, text: str, can_be_zero: bool = False) -> float:
    allowed = "a number of at least 0" if can_be_zero else "a number above 0"
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and (number > 0 or (can_be_zero and number == 0))):
        raise ConfigError(f"{where}: {name}={text!r}: must be {allowed}")
    return number


def check_sizes(cells: list[Cell], like: Scenario, origin: str) -> None:
    """Raise `ConfigError` for a size that the scenario cannot have."""
    for size_gib in sorted({cell.size_gib for cell in cells}):
        values = like.model_dump() | {"size": f"{round(size_gib * GIB)}B"}
        validate_record(Scenario, values, f"{origin}: size_gb={size_gib:g}")
