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

from tierenv.units import (
    MIB,
    format_bytes,
    format_bytes_per_s,
    format_ms,
    format_number,
    parse_bytes,
    parse_bytes_per_s,
    parse_ms,
    parse_number,
)


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

    def exact_text(self, number: float) -> str:
        """A text that `parse` reads back as the very number."""
        return "unlimited" if math.isinf(number) else f"{number!r}{self.exact_unit}"


def _bytes(text: object) -> float:
    return float(parse_bytes(text))


MILLISECONDS = Quantity("ms", "_ms", "uint32_t", "ms", 1, parse_ms, format_ms, "ms")
BYTES = Quantity("bytes", "_bytes", "uint64_t", "MiB", MIB, _bytes, format_bytes, "B")
RATE = Quantity("bytes/s", "_bytes_per_s", "uint64_t", "MiB/s", MIB, parse_bytes_per_s, format_bytes_per_s, "B/s")
NUMBER = Quantity("", "", "uint32_t", "", 1, parse_number, format_number, "")


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
            meaning="time from the end of one scan chunk to the start of the next",
            grid_points=6,
            v1_path="/sys/kernel/mm/kmmscand/mm_scan_period_ms",
        ),
        Tunable(
            name="scan_size",
            quantity=BYTES,
            meaning="address space scanned in one chunk",
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
    )
}
"""By name; their order is that of columns and coordinates."""


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
