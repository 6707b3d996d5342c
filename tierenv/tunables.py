"""The table of tunables: what a policy can set, in which unit and on which scale.

A daemon lists those it has, with their ranges (`tierenv.daemon`). Everything that speaks of tunables (action space and
codec, grids, observation of what is in force, exporters, integer arithmetic, documentation) derives from `TUNABLES` and
that list.

An array of tunables is `float64[..., len(TUNABLES)]`: columns as `TUNABLES`, each in the unit of its symbol, infinity
for unlimited, NaN where a daemon lacks one.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tierenv.units import (
    DAY_S,
    MAX_BYTES,
    MIB,
    format_bytes,
    format_bytes_per_s,
    format_ms,
    format_number,
    format_windows,
    parse_bytes,
    parse_bytes_per_s,
    parse_ms,
    parse_number,
    parse_windows,
)

if TYPE_CHECKING:  # this module needs the standard library alone
    import numpy as np
    from numpy.typing import NDArray

Number = TypeVar("Number", float, "NDArray[np.float64]")


@dataclass(frozen=True)
class Quantity:
    """A kind of number, and how it is written."""

    unit: str
    """For people; "" for a plain number."""
    suffix: str
    """The unit at the end of a symbol."""
    c_type: str
    """Its type in C, an unsigned one."""
    short_unit: str
    """Unit of a bare number in "static:1,2,3"."""
    per_short_unit: float
    """That unit, in `unit`."""
    parse: Callable[[object], float]
    """A number from a text with its unit; raises ValueError."""
    text: Callable[[float], str]
    """A number for people."""
    exact_unit: str
    """Unit in which `parse` reads a number back to the last bit."""
    least: float
    """Least number of a range."""
    most: float
    """Greatest number of a range: what the C type and the models hold."""
    is_whole: bool = False
    """Whether only whole numbers can be in force."""

    def read(self, text: object) -> float:
        """A number of a range, or 0 or infinity, from a text. Raises ValueError."""
        number = self.parse(text)
        if 0 < number < math.inf and not self.least <= number <= self.most:
            raise ValueError(f"{text!r} must be from {self.text(self.least)} to {self.text(self.most)}")
        return number

    def nearest(self, number: Number) -> Number:
        """What can be in force of a number, or of an array of them: where that is whole ones the nearest, halves up."""
        return (number + 0.5) // 1 if self.is_whole else number

    def exact_text(self, number: float) -> str:
        """A text that `parse` reads back as the very number."""
        return "unlimited" if math.isinf(number) else f"{number!r}{self.exact_unit}"


def _bytes(text: object) -> float:
    return float(parse_bytes(text))


MILLISECONDS = Quantity(
    unit="ms",
    suffix="_ms",
    c_type="uint32_t",
    short_unit="ms",
    per_short_unit=1,
    parse=parse_ms,
    text=format_ms,
    exact_unit="ms",
    least=1,
    most=1e3 * DAY_S,
)
BYTES = Quantity(
    unit="bytes",
    suffix="_bytes",
    c_type="uint64_t",
    short_unit="MiB",
    per_short_unit=MIB,
    parse=_bytes,
    text=format_bytes,
    exact_unit="B",
    least=1,
    most=MAX_BYTES,
)
RATE = Quantity(
    unit="bytes/s",
    suffix="_bytes_per_s",
    c_type="uint64_t",
    short_unit="MiB/s",
    per_short_unit=MIB,
    parse=parse_bytes_per_s,
    text=format_bytes_per_s,
    exact_unit="B/s",
    least=1,
    most=MAX_BYTES,
)
WINDOWS = Quantity(
    unit="windows",
    suffix="_windows",
    c_type="uint32_t",
    short_unit="windows",
    per_short_unit=1,
    parse=parse_windows,
    text=format_windows,
    exact_unit="",
    least=1,
    most=255,
    is_whole=True,
)
NUMBER = Quantity(
    unit="",
    suffix="",
    c_type="uint32_t",
    short_unit="",
    per_short_unit=1,
    parse=parse_number,
    text=format_number,
    exact_unit="",
    least=1e-6,
    most=(1 << 32) - 1,
)


@dataclass(frozen=True)
class Tunable:
    """One row of the table."""

    name: str
    """In YAML, and of the feature that observes it."""
    quantity: Quantity
    meaning: str
    grid_points: int
    """Points of a search grid along it, settings of its own included."""
    has_zero: bool = False
    """Whether 0 is a setting of its own (off), below the range."""
    has_unlimited: bool = False
    """Whether infinity is a setting of its own, above the range."""
    v1_path: str | None = None
    """Where the series' V1 exposes it (kmmscand.md section 2), None where it does not."""

    @property
    def symbol(self) -> str:
        """Name with its unit: in JSON, in info, in C."""
        return self.name + self.quantity.suffix


TUNABLES = {
    row.name: row
    for row in (
        Tunable(
            name="scan_period",
            quantity=MILLISECONDS,
            meaning="time from the end of one scan chunk to the start of the next; of NUMA balancing, of a pass",
            grid_points=6,
            v1_path="/sys/kernel/mm/kmmscand/mm_scan_period_ms",
        ),
        Tunable(
            name="scan_size",
            quantity=BYTES,
            meaning="address space scanned in one chunk, or marked in one window",
            grid_points=4,
        ),
        Tunable(
            name="throttle",
            quantity=RATE,
            meaning="ceiling on successful promotions; 0 promotes nothing",
            grid_points=6,
            has_zero=True,
            has_unlimited=True,
        ),
        Tunable(
            name="hot_threshold",
            quantity=MILLISECONDS,
            meaning="time after its marking in which a page that is touched counts as hot, at first",
            grid_points=4,
        ),
        Tunable(
            name="access_threshold",
            quantity=WINDOWS,
            meaning="windows in a row, from visit to visit, that must have found a page accessed for it to be listed",
            grid_points=4,
        ),
    )
}
"""By name; their order is that of columns and coordinates."""


UNLIMITED_BYTES_PER_S = 65536.0 * MIB
"""What an unlimited throttle is for NUMA balancing: its rate limit as booted, which no memory comes up to."""

WINDOWS_OF_SECOND_ACCESS = 2
"""What the access threshold is for a daemon that lacks it and lists pages at their second access."""


@dataclass(frozen=True)
class Setting:
    """A value for every tunable of a daemon, in the order of `TUNABLES`."""

    values: Mapping[str, float]
    """By name, in the unit of the tunable's symbol."""

    def __getitem__(self, name: str) -> float:
        """The value of a tunable. Raises KeyError for one that the daemon lacks."""
        return self.values[name]

    def __str__(self) -> str:
        """The setting for people: "100ms, 16GiB, 512MiB/s"."""
        return ", ".join(TUNABLES[name].quantity.text(value) for name, value in self.values.items())

    @property
    def policy_name(self) -> str:
        """The name under which `evaluate --policy` takes this setting on its daemon."""
        numbers = (value / TUNABLES[name].quantity.per_short_unit for name, value in self.values.items())
        return "static:" + ",".join(f"{number:.10g}" for number in numbers)

    @property
    def row(self) -> tuple[float, ...]:
        """A row of an array of tunables."""
        return tuple(self.values.get(name, math.nan) for name in TUNABLES)

    def to_json(self) -> dict[str, float | None]:
        """Values by symbol, None for unlimited: JSON has no infinity."""
        return {TUNABLES[name].symbol: value if math.isfinite(value) else None for name, value in self.values.items()}


def setting_of(row: Iterable[float], names: Collection[str]) -> Setting:
    """The setting that a row of an array of tunables holds for a daemon with these."""
    return Setting({name: float(value) for name, value in zip(TUNABLES, row, strict=True) if name in names})


def columns_of(names: Iterable[str]) -> list[int]:
    """Columns of these tunables."""
    order = list(TUNABLES)
    return [order.index(name) for name in names]
