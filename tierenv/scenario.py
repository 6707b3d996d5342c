"""Platform, daemon variant, workload and scenario: frozen records read from YAML.

Every record refuses unknown keys and values outside their range with a `ConfigError` of one line. A scenario names its
platform, daemon and workload; names resolve to the packaged files under `tierenv.configs`, paths to the user's own.
"""

import itertools
import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, Self, TypeVar, cast

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from tierenv.errors import ConfigError, close_match
from tierenv.tunables import TUNABLES, TunableSetting
from tierenv.units import GIB, MIB, PAGE_BYTES, format_bytes, parse_bytes, parse_bytes_per_s, parse_seconds

Bytes = Annotated[int, BeforeValidator(parse_bytes), PlainSerializer(lambda size: f"{size}B")]
BytesPerSecond = Annotated[
    float,
    BeforeValidator(parse_bytes_per_s),
    PlainSerializer(lambda rate: "unlimited" if math.isinf(rate) else f"{rate!r}B/s"),
]
Seconds = Annotated[float, BeforeValidator(parse_seconds), PlainSerializer(lambda seconds: f"{seconds!r}s")]
Fraction = Annotated[float, Field(ge=0, le=1)]

Quantity = TypeVar("Quantity")

HELD_OUT_EVERY = 5
"""One phase order in this many (by lexicographic rank) is held out of training."""

PhaseOrders = Literal["training", "held-out"]
Control = Literal["tunables", "kernel-rule", "off"]
NumaBalancingMode = Literal[0, 1, 2]


class Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MemoryTier(Record):
    """One memory tier as a socket's threads see it."""

    idle_latency: Seconds
    """Load-to-use latency of an unloaded tier."""
    queueing_latency: Seconds
    """Slope a of the loaded latency idle + a u / (1 - u), u the share of the bandwidth in use."""
    bandwidth: BytesPerSecond


class Platform(Record):
    """A machine: its tiers and what the kernel's actions cost on it. Sources stand in the YAML file."""

    name: str
    dram: MemoryTier
    cxl: MemoryTier
    overlap: Annotated[float, Field(gt=0)]
    """Memory-level parallelism: the latency of an access is divided by it [1]."""
    page_walk_per_doubling: Seconds
    """Page-walk time an access gains with each doubling of the footprint beyond 1 GiB."""
    scan_per_page: Seconds
    """Scanner time for one PTE."""
    accessed_bit: Seconds
    """Time a page walk takes longer when it has to set an Accessed bit the scanner cleared."""
    migration_per_page_at_8gib: Seconds
    """Migrator time for one promotion (isolate, unmap, copy, remap) at 8 GiB resident."""
    migration_footprint_exponent: Annotated[float, Field(ge=0, le=2)]
    """Growth of that time with the footprint: (resident / 8 GiB) ** exponent."""
    failed_migration: Seconds
    """Migrator time for an entry whose destination has no room."""
    stale_entry: Seconds
    """Migrator time for an entry whose page has already moved."""
    reclaim_visit: Seconds
    """kswapd time to look at one page."""
    demotion_per_page: Seconds
    """kswapd time to demote one page."""
    shootdown_receiver: Seconds
    """Time each application thread loses to one TLB shootdown."""
    demotion_batch_pages: Annotated[int, Field(ge=1)]
    """Pages demoted per shootdown."""
    kernel_memory: Bytes
    """Free DRAM outside the fast node, from which the kernel takes the entries of the migration list."""
    promotion_watermark: Fraction
    """Free share of the fast node below which a promotion fails and wakes kswapd (the high watermark)."""
    kswapd_target: Fraction
    """Free share of the fast node at which kswapd goes back to sleep."""
    numa_fault: Seconds = 2e-6
    """Time a thread loses to a NUMA hint fault, migration left out."""
    numa_mark_per_page: Seconds = 0.5e-6
    """Time a thread takes to mark one page for a hint fault."""
    numa_window_interval: Annotated[Seconds, Field(gt=0)] = 1.4
    """Time between two scan windows of NUMA balancing while the threads scan every second; scales with that period."""
    numa_shared_move_share: Fraction = 0.01
    """Share of repeated hint faults by different threads at which mode 1 promotes the page."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.promotion_watermark < self.kswapd_target < 1:
            raise ValueError(
                f"kswapd_target={self.kswapd_target}: must be above promotion_watermark={self.promotion_watermark} "
                "and below 1"
            )
        return self


class Range(Record, Generic[Quantity]):
    """Least and greatest value of a tunable and the value at start."""

    min: Quantity
    max: Quantity
    start: Quantity

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
    scan_size: Range[Bytes]
    throttle: Range[BytesPerSecond]

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


class DaemonVariant(Record):
    """What distinguishes one daemon of the series from another."""

    name: str
    summary: str
    access_rule: Literal["first-access", "second-access"]
    """first-access: touched at least once since demotion or start, sticky. second-access: in two windows in a row."""
    chunk_rule: Literal["whole-vma", "scan-size"]
    """Whether a chunk ends with the VMA that fills it, or with the scan size."""
    tunable_at_run_time: bool
    """Whether writes reach a running process (otherwise they only seed new ones)."""
    ranges: TunableRanges
    initial_delay: Seconds
    scan_sleep: Seconds
    """The scanner looks for a due process this often."""
    migrate_sleep: Seconds
    """The migrator's sleep between two drains of its list."""
    throttle_window: Annotated[Seconds, Field(gt=0)]
    """The throttle grants a budget of this much time at its rate; entries beyond it are dropped until the next one."""
    list_entry: Bytes
    """Memory one migration-list entry takes."""
    decay_shift: Annotated[int, Field(ge=0, le=16)]
    ignore_threshold_pages: Annotated[int, Field(ge=0)]
    period_step_percent: Annotated[int, Field(ge=0, le=100)]
    period_jump_shift: Annotated[int, Field(ge=0, le=8)]

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


class PageClass(Record):
    """Pages of equal heat in every phase."""

    name: str
    fraction: Annotated[float, Field(gt=0, le=1)]
    """Share of the resident pages."""


class Phase(Record):
    """A stretch of work with one distribution of accesses."""

    name: str
    work: Annotated[float, Field(gt=0)] = 1.0
    """Relative amount of work."""
    access_share: dict[str, Fraction]
    """Share of the accesses that falls on each class."""


class Workload(Record):
    """A closed-loop application: threads that access pages of a few classes of heat."""

    name: str
    summary: str
    threads: Annotated[int, Field(ge=1)]
    think: Seconds = 0.0
    """Time between two accesses of a thread."""
    accesses_per_page: Annotated[float, Field(gt=0)]
    """Total work: accesses of all threads per resident page."""
    classes: Annotated[tuple[PageClass, ...], Field(min_length=1)]
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    layout: Literal["scattered", "contiguous"] = "scattered"
    """scattered: each class lies everywhere; contiguous: each class is one run of addresses, in random order."""
    phase_order: Literal["fixed", "shuffled"] = "fixed"
    phase_length_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Relative half-width of the uniform variation of each phase's length; total work stays the same."""
    initial_placement: Literal["slow", "random"] = "slow"
    """slow: every page starts on the slow node; random: a random subset of pages fills the fast node."""
    rest_vma: Bytes = 0
    """Length of the other mappings (stacks, libraries), which V1 visits in turn with the big one."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [page_class.name for page_class in self.classes]
        if len(set(names)) < len(names):
            raise ValueError(f"classes: names must differ, got {', '.join(names)}")
        total = sum(page_class.fraction for page_class in self.classes)
        if not math.isclose(total, 1, abs_tol=1e-6):
            raise ValueError(f"classes: fractions must add up to 1, got {total:g}")
        for phase in self.phases:
            if set(phase.access_share) != set(names):
                raise ValueError(f"phases.{phase.name}.access_share: must name the classes {', '.join(names)}")
            share = sum(phase.access_share.values())
            if not math.isclose(share, 1, abs_tol=1e-6):
                raise ValueError(f"phases.{phase.name}.access_share: must add up to 1, got {share:g}")
        return self

    def phase_orders(self, split: PhaseOrders) -> list[tuple[int, ...]]:
        """Phase orders of a split; a workload whose order is fixed has only that one, in both splits."""
        return self._phase_orders[split]

    @cached_property
    def _phase_orders(self) -> dict[PhaseOrders, list[tuple[int, ...]]]:
        """Orders in which two neighbouring phases have the same hottest class are left out: nothing would move."""
        identity = tuple(range(len(self.phases)))
        if self.phase_order == "fixed":
            return {"training": [identity], "held-out": [identity]}
        hottest = [max(phase.access_share, key=phase.access_share.__getitem__) for phase in self.phases]
        orders = [
            order
            for order in itertools.permutations(identity)
            if all(hottest[before] != hottest[after] for before, after in itertools.pairwise(order))
        ]
        held_out = orders[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
        return {"training": [order for order in orders if order not in held_out], "held-out": held_out}


class NumaBalancing(Record):
    """Knobs of the kernel's NUMA balancing, with the kernel's defaults (kmmscand.md section 7.1)."""

    scan_delay: Annotated[Seconds, Field(gt=0)] = 1.0
    """Time to a process's first scan window, and the scan period its threads start with."""
    scan_period_min: Annotated[Seconds, Field(gt=0)] = 1.0
    """Shortest pass over a process."""
    scan_period_max: Annotated[Seconds, Field(gt=0)] = 60.0
    """Longest pass over a process, at a thread's slowest scan period."""
    scan_size: Annotated[Bytes, Field(ge=PAGE_BYTES)] = 256 * MIB
    """Memory marked in one window."""
    hot_threshold: Annotated[Seconds, Field(gt=0)] = 1.0
    """Mode 2: a page is hot if it is touched this soon after it was marked."""
    promote_rate_limit: Annotated[BytesPerSecond, Field(gt=0)] = 65536.0 * MIB
    """Mode 2: most memory promoted in a second, unless the fast node has space to spare."""


class Scenario(Record):
    """A workload of a given size on a platform whose fast tier has a given capacity, under a daemon."""

    name: str
    summary: str
    platform: Platform
    daemon: DaemonVariant
    workload: Workload
    size: Annotated[Bytes, Field(ge=64 * PAGE_BYTES)]
    """Resident memory of the application."""
    fast_capacity: Annotated[Bytes, Field(ge=64 * PAGE_BYTES)]
    demotion: bool = True
    """Whether kswapd demotes cold pages of the fast tier (/sys/kernel/mm/numa/demotion_enabled)."""
    control: Control = "tunables"
    """Who sets the tunables: the caller, the kernel's adaptation rule, or nobody because the daemon is off."""
    numa_balancing_mode: NumaBalancingMode = 0
    """/proc/sys/kernel/numa_balancing: 0 off, 1 normal, 2 memory tiering."""
    numa_balancing: NumaBalancing = NumaBalancing()
    control_interval: Annotated[Seconds, Field(gt=0)] = 2.0
    regions: Annotated[int, Field(ge=1, le=65536)] = 64
    """Resolution of the model: lumps per class."""

    @property
    def pages(self) -> int:
        """Resident pages."""
        return self.size // PAGE_BYTES

    @property
    def fast_capacity_pages(self) -> int:
        """Pages the fast tier holds."""
        return self.fast_capacity // PAGE_BYTES

    @property
    def total_accesses(self) -> float:
        """Work of one run [accesses of all threads]."""
        return self.workload.accesses_per_page * self.pages

    @property
    def class_pages(self) -> list[int]:
        """Pages of each class, rounded so that they add up to `pages`."""
        edges = [0.0, *itertools.accumulate(page_class.fraction for page_class in self.workload.classes)]
        ends = [round(edge * self.pages) for edge in edges]
        ends[-1] = self.pages
        return [high - low for low, high in itertools.pairwise(ends)]

    @property
    def migration_s(self) -> float:
        """Migrator time for one promotion at this footprint [s]."""
        growth = (self.size / (8 * GIB)) ** self.platform.migration_footprint_exponent
        return self.platform.migration_per_page_at_8gib * growth

    @property
    def page_walk_s(self) -> float:
        """Page-walk time of one access at this footprint, before overlap [s]."""
        return self.platform.page_walk_per_doubling * max(0.0, math.log2(self.size / GIB))

    def replace(self, **changes: Any) -> "Scenario":
        """A copy with other fields, validated; values as in YAML ("16GiB"), or whole records."""
        new = {key: value.model_dump() if isinstance(value, Record) else value for key, value in changes.items()}
        return validate_record(Scenario, self.model_dump() | new, f"scenario {self.name}")

    def __str__(self) -> str:
        """One line for people."""
        fast = format_bytes(self.fast_capacity)
        return f"{self.name}: {format_bytes(self.size)} on {self.platform.name}, fast tier {fast}, {self.daemon.name}"


RecordType = TypeVar("RecordType", bound=Record)

CONFIG_KINDS = (
    "platforms",
    "daemons",
    "workloads",
    "scenarios",
    "suites",
    "algorithms",
    "measurements",
    "policies",
)


def packaged(kind: str) -> dict[str, Path]:
    """Packaged configurations of a kind (a folder of configs/), by name."""
    folder = Path(str(resources.files("tierenv.configs"))) / kind
    # a dot in the stem marks what belongs to another file, such as the report beside a calibrated platform
    found = (path for path in folder.iterdir() if not path.name.startswith("_") and "." not in path.stem)
    return {path.stem if path.is_file() else path.name: path for path in sorted(found)}


def resolve(kind: str, name_or_path: str) -> Path:
    """The file (or bundle folder) a name or path stands for.

    A word without a slash and without a suffix is a packaged name; anything else is a path. Raises `ConfigError`.
    """
    path = Path(name_or_path)
    if "/" in name_or_path or path.suffix or path.exists():
        if not path.exists():
            raise ConfigError(f"{name_or_path}: no such file; for packaged {kind} run: tierenv list {kind}")
        return path
    known = packaged(kind)
    if name_or_path not in known:
        raise ConfigError(
            f"unknown {kind.removesuffix('s')} {name_or_path!r}{close_match(name_or_path, known)}; "
            f"run: tierenv list {kind}"
        )
    return known[name_or_path]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds. Raises `ConfigError` for unreadable files and other content."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML: {reason}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold a mapping of keys to values, got {type(content).__name__}")
    return content


def load_record(kind: str, record: type[RecordType], name_or_path: str) -> RecordType:
    """Read one record from a packaged name or a path; its `name` defaults to the file's."""
    path = resolve(kind, name_or_path)
    return validate_record(record, {"name": path.stem} | read_yaml(path), str(path))


def validate_record(record: type[RecordType], values: dict[str, Any], origin: str) -> RecordType:
    """Build a record; the first thing wrong becomes a `ConfigError` that starts with `origin`."""
    try:
        return record.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_first_problem(record, error)}") from None


def load_scenario(name_or_path: str) -> Scenario:
    """Read a scenario and the platform, daemon and workload it names. Raises `ConfigError`."""
    path = resolve("scenarios", name_or_path)
    return _load_scenario(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _load_scenario(path: Path, _modified_ns: int) -> Scenario:
    values = {"name": path.stem} | read_yaml(path)
    parts: Sequence[tuple[str, str, type[Record]]] = (
        ("platform", "platforms", Platform),
        ("daemon", "daemons", DaemonVariant),
        ("workload", "workloads", Workload),
    )
    for field, kind, record in parts:
        if isinstance(values.get(field), str):
            try:
                values[field] = load_record(kind, record, values[field])
            except ConfigError as error:
                raise ConfigError(f"{path}: {field}: {error}") from None
    return validate_record(Scenario, values, str(path))


def _first_problem(record: type[Record], error: ValidationError) -> str:
    # a misspelt key is missing too: what stands in the file says more than what does not
    problem = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    location = [str(part) for part in problem["loc"]]
    field = ".".join(location)
    if problem["type"] == "extra_forbidden":
        known = _fields_at(record, location[:-1])
        return f"{field}: unknown key{close_match(location[-1], known)}; allowed: {', '.join(known)}"
    if problem["type"] == "missing":
        return f"{field}: required key is missing"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should", "must")
    if problem["type"] == "value_error":
        return f"{field}: {message}" if field else message
    return f"{field}={problem['input']!r}: {message}"


def _fields_at(record: type[Record], location: list[str]) -> list[str]:
    fields = record.model_fields
    for part in location:
        nested = getattr(fields.get(part), "annotation", None)
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            fields = nested.model_fields
    return list(fields)
