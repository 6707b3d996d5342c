"""Daemon variants: what distinguishes one daemon of the series from another, as data (configs/daemons)."""

import math
from functools import cached_property
from typing import Annotated, Generic, Literal, NamedTuple, Self, cast

from pydantic import Field, model_validator

from tierenv.errors import ConfigError
from tierenv.records import Bytes, BytesPerSecond, NamedRecord, Quantity, Record, Seconds
from tierenv.tunables import TUNABLES, TunableSetting


class Range(Record, Generic[Quantity]):
    """Least and greatest value of a tunable and the value at start."""

    min: Quantity
    """Least value a policy can set."""
    max: Quantity
    """Greatest value a policy can set."""
    start: Quantity
    """Value at start, within the range or unlimited."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high, start = cast("tuple[float, float, float]", (self.min, self.max, self.start))
        if not 0 < low < high:
            raise ValueError(f"max={high:g}: must be above min={low:g}, and both above 0")
        if not (low <= start <= high or start == math.inf):
            raise ValueError(f"start={start:g}: must lie between min={low:g} and max={high:g}")
        return self


class Bounds(NamedTuple):
    """A range in the unit of the tunable's name."""

    min: float
    max: float
    start: float


class TunableRanges(Record):
    """The range of every tunable of a variant."""

    scan_period: Range[Seconds]
    """Time from the end of one chunk to the start of the next."""
    scan_size: Range[Bytes]
    """Address space scanned in one chunk."""
    throttle: Range[BytesPerSecond]
    """Ceiling on successful promotions."""

    @cached_property
    def by_name(self) -> dict[str, Bounds]:
        """Ranges keyed by the name of the tunable, in the table's order and units."""
        period, size, throttle = self.scan_period, self.scan_size, self.throttle
        rows = (
            Bounds(1e3 * period.min, 1e3 * period.max, 1e3 * period.start),
            Bounds(size.min, size.max, size.start),
            Bounds(throttle.min, throttle.max, throttle.start),
        )
        return {row.name: bounds for row, bounds in zip(TUNABLES, rows, strict=True)}


class DaemonVariant(NamedRecord):
    """What distinguishes one daemon of the series from another."""

    access_rule: Literal["first-access", "second-access"]
    """first-access: touched at least once since demotion or start, sticky. second-access: in two windows in a row."""
    chunk_rule: Literal["whole-vma", "scan-size"]
    """Whether a chunk ends with the VMA that fills it, or with the scan size."""
    walks_on_without_hits: bool
    """Whole VMAs: a chunk that has filled its size goes on to the next VMA as long as it has listed nothing."""
    rechecks_hotness: bool
    """Whether the migrator drops a page that nobody has touched since the visit that listed it."""
    target_rule: Literal["fixed", "most-scanned", "most-accessed"]
    """Node promotions of a process go to: the sysfs one, or the top-tier node of which its last chunk visited (found
    accessed) most pages; the sysfs one if it saw none."""
    scale_rule: Literal["ignored", "zero-skips", "lengthens-period"]
    """What prctl's scan scale does: nothing, 0 takes a process out of the scan, or it does and 2 to 10 lengthen the
    period, by up to its double."""
    failure_window: Annotated[int, Field(ge=1)] | None
    """Migrations of a process after which the share that failed lengthens its period anew (kmmscand.md section 6.5);
    None: it never does."""
    has_migration_thread: bool
    """Whether a thread of its own migrates; otherwise the scanner does, after each chunk."""
    counts_all_slow_pages: bool
    """Whether the counters "slowtier" and "idlepage" mean every slow-tier page visited and those not listed, or
    slow-tier pages listed and pages of either tier found idle."""
    tunable_at_run_time: bool
    """Whether writes reach a running process (otherwise they only seed new ones)."""
    ranges: TunableRanges
    """Ranges of its tunables."""
    initial_delay: Seconds
    """Time from a process's start to its first chunk."""
    scan_sleep: Seconds
    """The scanner looks for a due process this often."""
    mms_to_scan: Annotated[int, Field(ge=1)]
    """Visits of processes, due or not, between two sleeps of the scanner."""
    migrate_sleep: Seconds
    """The migrator's sleep between two drains of its list."""
    throttle_window: Annotated[Seconds, Field(gt=0)]
    """The throttle grants a budget of this much time at its rate; entries beyond it are dropped until the next one."""
    list_entry: Bytes
    """Memory one migration-list entry takes."""
    decay_shift: Annotated[int, Field(ge=0, le=62)]
    """A 2^decay_shift-th of the last chunk's useful pages counts in the next."""
    ignore_threshold_pages: Annotated[int, Field(ge=0)]
    """Useful pages below which the adaptation rule counts none."""
    period_step_percent: Annotated[int, Field(ge=0, le=100)]
    """Change of the scan period where chunks go on to find, or not to find, useful pages [percent]."""
    period_jump_shift: Annotated[int, Field(ge=0, le=8)]
    """Where that changes, the period jumps by 2 to this power."""

    @property
    def start_setting(self) -> TunableSetting:
        """Tunables in force when a process starts."""
        return TunableSetting(*(row.start for row in self.ranges.by_name.values()))

    def check_setting(self, setting: TunableSetting) -> None:
        """Raise `ConfigError` unless every tunable lies in its range (or is an allowed 0 or infinity)."""
        for row, value in zip(TUNABLES, setting, strict=True):
            bounds = self.ranges.by_name[row.name]
            special = (row.has_zero and value == 0) or (row.has_unlimited and value == math.inf)
            if not special and not bounds.min <= value <= bounds.max:
                extra = " or 0" * row.has_zero + " or inf" * row.has_unlimited
                raise ConfigError(
                    f"{row.name}={value:g}: daemon {self.name} allows {bounds.min:g} to {bounds.max:g}{extra}"
                )
