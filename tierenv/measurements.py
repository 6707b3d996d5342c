"""What was measured of runs on a machine: the CSV a calibration reads, and what the names in it stand for."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from tierenv.daemon import Daemon, HintFaultDaemon, load_daemon
from tierenv.errors import ConfigError, close_match
from tierenv.quantities import QUANTITIES
from tierenv.reading import read_text, with_point
from tierenv.records import resolve, validate_record
from tierenv.scenario import Control, NumaBalancingMode, Scenario
from tierenv.units import GIB, PAGE_BYTES
from tierenv.workload import Workload

COLUMNS = ("size_gb", "system", "seconds", "stdev_percent")
COLUMNS_OF_ANY_KIND = ("size_gb", "system", "quantity", "value", "stdev_percent")
OPTIONAL = ("size_gb", "quantity", "stdev_percent")
"""Columns that may be left out, or left empty in a row."""

TIME = "seconds"
MEASURED_QUANTITIES = tuple(
    name for name, row in QUANTITIES.items() if row.of_run is not None and (name == TIME or name.endswith("_per_s"))
)
"""Values of the column `quantity`: rows of QUANTITIES that say something of a run however long one looked at it."""

MAX_BYTES = 64 << 10
"""Of a file: a thousand rows and more."""
MAX_NUMBER = 1e9
"""Of sizes and times: an EiB, thirty years."""
MAX_RATE = 1e15
"""Of what is counted in a second."""


@dataclass(frozen=True)
class MeasuredSystem:
    """What promoted pages on the measured kernel."""

    daemon: str | None = None
    """The daemon that ran with its own adaptation rule; None where none did."""
    numa_balancing_mode: NumaBalancingMode | None = None
    """NUMA balancing beside it."""
    fast_share: float | None = None
    """Share of the memory on the fast tier from start to end; None: where the workload's placement puts it at first."""


SYSTEMS = {
    "no-migration": MeasuredSystem(numa_balancing_mode=0),
    "numab1": MeasuredSystem(daemon="numab1"),
    "numab2": MeasuredSystem(daemon="numab2"),
    "kmmscand-v0": MeasuredSystem(daemon="kmmscand-v0", numa_balancing_mode=0),
    "kmmscand-v1": MeasuredSystem(daemon="kmmscand-v1", numa_balancing_mode=1),
    "all-fast": MeasuredSystem(numa_balancing_mode=0, fast_share=1.0),
    "all-slow": MeasuredSystem(numa_balancing_mode=0, fast_share=0.0),
}
"""Values of the column `system`; V0 was measured with NUMA balancing off, V1 with mode 1 on. Under the last two nothing
moves and all memory is on one tier, as under `numactl --membind`."""


@dataclass(frozen=True)
class Cell:
    """One measured number."""

    size_gib: float | None
    """None: the size of the scenario that was measured."""
    system: str
    value: float
    """In the unit of the quantity."""
    stdev_percent: float
    """Standard deviation of the repeats, in percent of the mean."""
    quantity: str = TIME
    """One of MEASURED_QUANTITIES."""

    def scenario(self, like: Scenario) -> Scenario:
        """What was measured, as a scenario: platform, workload and capacity of `like`."""
        measured = SYSTEMS[self.system]
        daemon = _packaged_daemon(measured.daemon) if measured.daemon else _switched_off(like.daemon)
        control: Control = "off" if measured.daemon is None else "kernel-rule"
        changes: dict[str, Any] = {
            "daemon": daemon,
            "control": control,
            "numa_balancing_mode": measured.numa_balancing_mode,
        }
        if self.size_gib is not None:
            changes["size"] = round(self.size_gib * GIB)
        scenario = like.model_copy(update=changes)
        return scenario if measured.fast_share is None else _on_one_tier(scenario, measured.fast_share)


@cache
def _packaged_daemon(name: str) -> Daemon:
    return load_daemon(name)


def _switched_off(daemon: Daemon) -> Daemon:
    """A daemon that decides nothing where it is off: NUMA balancing would have a mode of its own."""
    return _packaged_daemon("kmmscand-tunable") if isinstance(daemon, HintFaultDaemon) else daemon


def _on_one_tier(scenario: Scenario, fast_share: float) -> Scenario:
    """The scenario with all memory on one tier, which has room for it: how much it holds decides nothing else."""
    room = math.ceil(scenario.pages / (1 - scenario.platform.kswapd_target) + 2) * PAGE_BYTES
    platform, tier = scenario.platform, "dram" if fast_share else "cxl"
    node = getattr(platform, tier)
    node = node.model_copy(update={"capacity": max(node.capacity, room)})
    return scenario.model_copy(
        update={
            "platform": platform.model_copy(update={tier: node}),
            "workload": _placed(scenario.workload, fast_share),
            "corunners": tuple(
                process.model_copy(update={"workload": _placed(process.workload, fast_share)})
                for process in scenario.corunners
            ),
            "fast_capacity": max(scenario.fast_capacity, room) if fast_share else scenario.fast_capacity,
            "slow_capacity": scenario.slow_capacity if fast_share else None,
        }
    )


def _placed(workload: Workload, fast_share: float) -> Workload:
    classes = tuple(each.model_copy(update={"fast_at_start": fast_share}) for each in workload.classes)
    return workload.model_copy(update={"classes": classes})


def read_measurements(name_or_path: str) -> list[Cell]:
    """Read a CSV, lines that start with # apart: COLUMNS or COLUMNS_OF_ANY_KIND, OPTIONAL ones if need be.

    Spreadsheets of some countries separate values by semicolons or tabs, and write decimal commas: both are taken.
    Raises `ConfigError`.
    """
    path = resolve("measurements", name_or_path)
    text = read_text(path, MAX_BYTES)
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#"]
    if not lines:
        raise ConfigError(f"{path}: is empty; its first line must name the columns {', '.join(COLUMNS)}")
    delimiter = next((mark for mark in ";\t" if mark in lines[0][1]), ",")
    rows = [[value.strip() for value in next(csv.reader([line], delimiter=delimiter))] for _, line in lines]
    if delimiter != ",":
        rows[1:] = [[with_point(value) for value in row] for row in rows[1:]]
    header = _checked_header(path, rows[0])
    if not rows[1:]:
        raise ConfigError(f"{path}: has no row below its header")
    cells: dict[tuple[float | None, str, str], Cell] = {}
    for (number, _), values in zip(lines[1:], rows[1:], strict=True):
        cell = _read_cell(f"{path}:{number}", header, values)
        if cells.setdefault((cell.size_gib, cell.system, cell.quantity), cell) is not cell:
            raise ConfigError(f"{path}:{number}: {_called(cell)} is given twice")
    return list(cells.values())


def _called(cell: Cell) -> str:
    size = "" if cell.size_gib is None else f" at {cell.size_gib:g} GiB"
    return ("" if cell.quantity == TIME else f"{cell.quantity} of ") + cell.system + size


def _checked_header(path: Path, header: list[str]) -> list[str]:
    columns = COLUMNS_OF_ANY_KIND if {"quantity", "value"} & set(header) else COLUMNS
    missing = [name for name in columns if name not in (*header, *OPTIONAL)]
    unknown = [name for name in header if name not in columns]
    problem = ""
    if missing:
        problem = f"lacks column {missing[0]}"
    elif unknown:
        problem = f"has an unknown column {unknown[0][:40]!r}"
    elif len(set(header)) < len(header):
        problem = "has a column twice"
    if problem:
        raise ConfigError(
            f"{path}: {problem}; the columns are {', '.join(COLUMNS)}, or {', '.join(COLUMNS_OF_ANY_KIND)}"
        )
    return header


def _read_cell(where: str, header: list[str], values: list[str]) -> Cell:
    if len(values) != len(header):
        raise ConfigError(f"{where}: has {len(values)} values, the header names {len(header)}")
    row = dict(zip(header, values, strict=True))
    system, size = row["system"], row.get("size_gb") or None
    _check_word(where, "system", system, tuple(SYSTEMS))
    quantity = row.get("quantity") or TIME
    _check_word(where, "quantity", quantity, MEASURED_QUANTITIES)
    column = "value" if "value" in row else TIME
    return Cell(
        size_gib=None if size is None else _number(where, "size_gb", size),
        system=system,
        value=_number(where, column, row[column], MAX_NUMBER if quantity == TIME else MAX_RATE, quantity != TIME),
        stdev_percent=_number(where, "stdev_percent", row.get("stdev_percent") or "0", can_be_zero=True),
        quantity=quantity,
    )


def _check_word(where: str, name: str, word: str, known: Sequence[str]) -> None:
    if word not in known:
        raise ConfigError(
            f"{where}: {name}={word[:40]!r}: unknown{close_match(word, known)}; allowed: {', '.join(known)}"
        )


def _number(where: str, name: str, text: str, most: float = MAX_NUMBER, can_be_zero: bool = False) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (0 < number <= most or (can_be_zero and number == 0)):
        allowed = "a number of at least 0" if can_be_zero else "a number above 0"
        raise ConfigError(f"{where}: {name}={text[:40]!r}: must be {allowed}, and {most:g} at most")
    return number


def at_size(cells: Sequence[Cell], like: Scenario, origin: str) -> list[Cell]:
    """Cells with sizes, the scenario's where they named none. Raises `ConfigError` for one given twice."""
    placed = [replace(cell, size_gib=like.size / GIB) if cell.size_gib is None else cell for cell in cells]
    known: dict[tuple[float | None, str, str], Cell] = {}
    for cell in placed:
        if known.setdefault((cell.size_gib, cell.system, cell.quantity), cell) is not cell:
            raise ConfigError(f"{origin}: {_called(cell)}, the size of scenario {like.name}, is given twice")
    return placed


def check_runs(cells: Sequence[Cell], like: Scenario, origin: str) -> None:
    """Raise `ConfigError` for a row of which no scenario can be made, such as one of a size that finds no room."""
    for cell in {(cell.size_gib, cell.system): cell for cell in cells}.values():
        size = like.size / GIB if cell.size_gib is None else cell.size_gib
        validate_record(Scenario, cell.scenario(like).model_dump(), f"{origin}: {cell.system}, size_gb={size:g}")
