"""The table of tunables: what a policy sets, in which unit and on which scale.

Everything that speaks of tunables (action space, ranges, documentation, exporters) derives from `TUNABLES`.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from tierenv.units import MIB, format_bytes, format_bytes_per_s


@dataclass(frozen=True)
class Tunable:
    """One row of the table."""

    name: str
    """Name with its unit; the column of every `float64[n, 3]` tunables array follows the table's order."""
    meaning: str
    has_zero: bool
    """Whether 0 is a setting of its own (off), below the range."""
    has_unlimited: bool
    """Whether infinity is a setting of its own, above the range."""
    v1_path: str | None
    """Where the series' V1 exposes it (kmmscand.md section 2), None where it does not."""


TUNABLES = (
    Tunable(
        name="scan_period_ms",
        meaning="time from the end of one scan chunk to the start of the next",
        has_zero=False,
        has_unlimited=False,
        v1_path="/sys/kernel/mm/kmmscand/mm_scan_period_ms",
    ),
    Tunable(
        name="scan_size_bytes",
        meaning="address space scanned in one chunk",
        has_zero=False,
        has_unlimited=False,
        v1_path=None,
    ),
    Tunable(
        name="throttle_bytes_per_s",
        meaning="ceiling on successful promotions; 0 promotes nothing",
        has_zero=True,
        has_unlimited=True,
        v1_path=None,
    ),
)
"""Ranges belong to the daemon variant (`DaemonVariant.ranges`)."""

NUM_TUNABLES = len(TUNABLES)


class TunableSetting(NamedTuple):
    """One setting of every tunable, in the order of `TUNABLES`."""

    scan_period_ms: float
    scan_size_bytes: float
    throttle_bytes_per_s: float

    def __str__(self) -> str:
        """The setting for people: "100ms, 16GiB, 512MiB/s"."""
        throttle = format_bytes_per_s(self.throttle_bytes_per_s)
        return f"{self.scan_period_ms:.4g}ms, {format_bytes(self.scan_size_bytes)}, {throttle}"

    @property
    def policy_name(self) -> str:
        """The name under which `evaluate --policy` takes this setting."""
        throttle = self.throttle_bytes_per_s
        mib_per_s = "inf" if math.isinf(throttle) else f"{throttle / MIB:.10g}"
        return f"static:{self.scan_period_ms:.10g},{self.scan_size_bytes / MIB:.10g},{mib_per_s}"
