"""Daemons: what promotes pages, as data (configs/daemons). What distinguishes one from another is in its record alone.

There are two mechanisms. A daemon of the kmmscand series finds hot pages by their Accessed bits; NUMA balancing finds
them by hint faults.
"""

import math
from typing import Annotated, Literal, Self, cast

from pydantic import AllowInfNan, BeforeValidator, Field, PlainSerializer, model_validator

from tierenv.errors import ConfigError, close_match
from tierenv.live.kernel import MEMORY_TIERING
from tierenv.records import Bytes, BytesPerSecond, NamedRecord, Record, Seconds, load_record, packaged
from tierenv.tunables import TUNABLES, UNLIMITED_BYTES_PER_S, WINDOWS_OF_SECOND_ACCESS, Setting
from tierenv.units import GIB, MIB, PAGE_BYTES

Tick = Annotated[Seconds, Field(ge=1e-3)]
"""Time between two things a kernel thread does: kernels count it in milliseconds."""
MAX_COUNT = (1 << 31) - 1
"""Kernels hold counts in 32 bits."""


class TunableRange(Record):
    """Least and greatest value of a tunable and the value at start, in the unit of the tunable's symbol."""

    min: float
    """Least value a policy can set."""
    max: float
    """Greatest value a policy can set."""
    start: Annotated[float, AllowInfNan(True)]
    """Value at start, within the range; for the throttle also 0 or unlimited."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not 0 < self.min < self.max < math.inf:
            raise ValueError(f"max={self.max:g}: must be above min={self.min:g}, and both above 0")
        return self


def _with_units_read(ranges: object) -> object:
    """Ranges with numbers where a file has texts. Raises ValueError."""
    if not isinstance(ranges, dict):
        return ranges
    for name in ranges:
        if name not in TUNABLES:
            raise ValueError(f"{name}: unknown tunable{close_match(str(name), TUNABLES)}; known: {', '.join(TUNABLES)}")
    # the table's order is that of columns, whatever a file's
    return {name: _numbers(name, ranges[name]) for name in TUNABLES if ranges.get(name) is not None}


def _numbers(name: str, values: object) -> object:
    if not isinstance(values, dict):
        return values
    numbers = dict(values)
    for field in numbers.keys() & TunableRange.model_fields.keys():
        try:
            numbers[field] = TUNABLES[name].quantity.read(numbers[field])
        except ValueError as error:
            raise ValueError(f"{name}.{field}: {error}") from None
    return numbers


def _with_units_written(ranges: dict[str, TunableRange]) -> dict[str, dict[str, str]]:
    return {
        name: {field: TUNABLES[name].quantity.exact_text(getattr(bounds, field)) for field in TunableRange.model_fields}
        for name, bounds in ranges.items()
    }


TunableRanges = Annotated[
    dict[str, TunableRange], BeforeValidator(_with_units_read), PlainSerializer(_with_units_written)
]


class DaemonRecord(NamedRecord):
    """What all daemons have."""

    tunables: TunableRanges = {}
    """Tunables it has, out of `TUNABLES`, with their ranges; null takes out one of the daemon that it is like."""
    tunable_at_run_time: bool = True
    """Whether writes reach a running process (otherwise they only seed new ones)."""

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        self.check_setting(self.start_setting)
        return self

    @property
    def start_setting(self) -> Setting:
        """Tunables in force when a process starts."""
        return Setting({name: bounds.start for name, bounds in self.tunables.items()})

    def check_setting(self, setting: Setting) -> None:
        """Raise `ConfigError` unless every tunable lies in its range (or is an allowed 0 or infinity)."""
        for name, bounds in self.tunables.items():
            row, value = TUNABLES[name], setting[name]
            special = (row.has_zero and value == 0) or (row.has_unlimited and value == math.inf)
            if not special and not bounds.min <= value <= bounds.max:
                extra = " or 0" * row.has_zero + " or inf" * row.has_unlimited
                raise ConfigError(
                    f"{row.symbol}={value:g}: daemon {self.name} allows {bounds.min:g} to {bounds.max:g}{extra}"
                )
            if not special and row.quantity.nearest(value) != value:
                raise ConfigError(f"{row.symbol}={value:.10g}: must be a whole number of {row.quantity.unit}")

    @property
    def can_be_tuned(self) -> bool:
        """Whether a policy can set anything while it runs."""
        return self.tunable_at_run_time and bool(self.tunables)


class AccessedBitDaemon(DaemonRecord):
    """A daemon that scans Accessed bits, lists hot pages of the slow tier and migrates them (kmmscand.md)."""

    mechanism: Literal["accessed-bits"]
    """Pages are found hot by their Accessed bits."""
    access_rule: Literal["first-access", "second-access"]
    """first-access: touched at least once since demotion or start, sticky. second-access: in two windows in a row, or
    in as many as the tunable access_threshold says."""
    first_visit_resets: bool = False
    """Whether a first visit of a slow-tier page only clears its Accessed bit: nobody knows since when it was set."""
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
    failure_window: Annotated[int, Field(ge=1, le=MAX_COUNT)] | None
    """Migrations of a process after which the share that failed lengthens its period anew (kmmscand.md section 6.5);
    None: it never does."""
    has_migration_thread: bool
    """Whether a thread of its own migrates; otherwise the scanner does, after each chunk."""
    counts_all_slow_pages: bool
    """Whether the counters "slowtier" and "idlepage" mean every slow-tier page visited and those not listed, or
    slow-tier pages listed and pages of either tier found idle."""
    initial_delay: Seconds
    """Time from a process's start to its first chunk."""
    scan_sleep: Tick
    """The scanner looks for a due process this often."""
    mms_to_scan: Annotated[int, Field(ge=1, le=MAX_COUNT)]
    """Visits of processes, due or not, between two sleeps of the scanner."""
    migrate_sleep: Tick
    """The migrator's sleep between two drains of its list."""
    throttle_window: Tick
    """The throttle grants a budget of this much time at its rate; entries beyond it are dropped until the next one."""
    list_entry: Annotated[Bytes, Field(gt=0)]
    """Memory one migration-list entry takes."""
    decay_shift: Annotated[int, Field(ge=0, le=62)]
    """A 2^decay_shift-th of the last chunk's useful pages counts in the next."""
    ignore_threshold_pages: Annotated[int, Field(ge=0, le=MAX_COUNT)]
    """Useful pages below which the adaptation rule counts none."""
    period_step_percent: Annotated[int, Field(ge=0, le=100)]
    """Change of the scan period where chunks go on to find, or not to find, useful pages [percent]."""
    period_jump_shift: Annotated[int, Field(ge=0, le=8)]
    """Where that changes, the period jumps by 2 to this power."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("scan_period", "scan_size"):
            if name not in self.tunables:
                raise ValueError(f"tunables: a daemon that scans Accessed bits needs the range of {name}")
        if self.tunables["scan_size"].min < PAGE_BYTES:
            raise ValueError(f"tunables.scan_size.min: must be at least a page, {PAGE_BYTES}B")
        if "access_threshold" in self.tunables and self.access_rule != "second-access":
            raise ValueError(
                f"tunables.access_threshold: counts windows in a row, which access_rule={self.access_rule} does not; "
                "must go with second-access"
            )
        return self

    @property
    def start_threshold(self) -> int:
        """Windows in a row that must have found a page accessed for it to be listed, at start."""
        if self.access_rule == "first-access":
            return 1
        return round(self.start_setting.values.get("access_threshold", WINDOWS_OF_SECOND_ACCESS))

    @property
    def most_streak(self) -> int:
        """Windows in a row from which on no setting asks for more; 0 where there is nothing to count them for."""
        bounds = self.tunables.get("access_threshold")
        return 0 if bounds is None else round(bounds.max)


class HintFaultKnobs(Record):
    """Knobs of the kernel's NUMA balancing, with the kernel's defaults (kmmscand.md section 7.1)."""

    scan_delay: Annotated[Seconds, Field(ge=10e-3)] = 1.0
    """Time to a process's first scan window, and the scan period its threads start with."""
    scan_period_min: Tick = 1.0
    """Shortest pass over a process."""
    scan_period_max: Tick = 60.0
    """Longest pass over a process, at a thread's slowest scan period."""
    scan_size: Annotated[Bytes, Field(ge=PAGE_BYTES)] = 256 * MIB
    """Memory marked in one window."""
    scan_rate_limit: BytesPerSecond = 2560.0 * MIB
    """Most memory that a thread may mark in a second, in whole windows; one at least (MAX_SCAN_WINDOW)."""
    hot_threshold: Tick = 1.0
    """Mode 2: a page is hot if it is touched this soon after it was marked."""
    is_threshold_adaptive: bool = True
    """Mode 2: whether the threshold moves, once a longest scan period; kernels before it learned to are studied so."""
    promote_rate_limit: BytesPerSecond = UNLIMITED_BYTES_PER_S
    """Mode 2: most memory promoted in a second, unless the fast node has space to spare; 0 promotes nothing more."""
    spare: Bytes = GIB
    """Mode 2: memory the fast node has to spare if more than this and a sixteenth of it is free, beyond kswapd's
    target."""


class HintFaultDaemon(DaemonRecord):
    """NUMA balancing: takes access rights away and promotes at the faults that follow (kmmscand.md section 7)."""

    mechanism: Literal["hint-faults"]
    """Pages are found hot by hint faults."""
    mode: Literal[1, 2]
    """/proc/sys/kernel/numa_balancing: 1 normal, 2 memory tiering."""
    knobs: HintFaultKnobs = HintFaultKnobs()
    """As booted. Tunables start so: of `scan_period` that is the longest pass, and the shortest until it is written."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.tunables:
            self._check_tunables()
        return self

    def _check_tunables(self) -> None:
        """Refuse other tunables than the four there are knobs for, and starts that are not as booted."""
        knobs = self.knobs
        is_limited = knobs.promote_rate_limit < UNLIMITED_BYTES_PER_S
        booted = {
            "scan_period": 1e3 * knobs.scan_period_max,
            "scan_size": float(knobs.scan_size),
            "throttle": knobs.promote_rate_limit if is_limited else math.inf,
            "hot_threshold": 1e3 * knobs.hot_threshold,
        }
        if self.mode != MEMORY_TIERING or set(self.tunables) != set(booted):
            raise ValueError(
                f"tunables: mode {MEMORY_TIERING} of NUMA balancing has {', '.join(booted)}, mode 1 has none; got "
                f"{', '.join(self.tunables)} in mode {self.mode}"
            )
        for name, value in booted.items():
            if self.tunables[name].start != value:
                quantity = TUNABLES[name].quantity
                raise ValueError(
                    f"tunables.{name}.start={quantity.text(self.tunables[name].start)}: must be "
                    f"{quantity.text(value)}, as booted (knobs)"
                )


Daemon = Annotated[AccessedBitDaemon | HintFaultDaemon, Field(discriminator="mechanism")]
"""One of them, told apart by `mechanism`."""


def load_daemon(name_or_path: str) -> Daemon:
    """Read a daemon from a packaged name or a path. Raises `ConfigError`."""
    return cast("Daemon", load_record("daemons", Daemon, name_or_path))


def tunable_daemons() -> str:
    """Names of the packaged daemons that can be tuned while they run, for messages."""
    return " or ".join(name for name in packaged("daemons") if load_daemon(name).can_be_tuned)
