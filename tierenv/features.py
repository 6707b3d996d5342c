"""Features: what an observation is made of, a row each.

Everything here comes from counters, the tunables in force and the sizes of processes and fast node, so what is trained
in the model can run on the kernel. Scaling is fixed: no running normalisation, and only log2, multiplication and
clipping with constants, so that fixed-point arithmetic can follow it. Clipped to [-1, 1] are

    log       2 log2(1 + x / unit) / octaves - 1
    linear    (x - middle) / half
    octaves   (log2(x / unit) - middle) / half

A row of `FEATURES` says all there is to say of a feature: the encoder (`tierenv.observation`), integer form, C, the
definition in a bundle and the documents derive from it. Which of them a policy observes, and what of their past, is up
to the policy (`tierenv.observation_spec`): to all of these an observation is a tuple of rows, one for each history, so
that a feature may stand there more than once.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from tierenv.counters import COUNTER_INDEX, COUNTERS
from tierenv.daemon import Daemon
from tierenv.history import NO_HISTORY, History, average_of
from tierenv.tunables import TUNABLES
from tierenv.units import GIB, PAGE_BYTES


@dataclass(frozen=True)
class LogScale:
    """2 log2(1 + x / unit) / octaves - 1: about linear below the unit, full at unit 2^octaves."""

    unit: float
    octaves: float

    @property
    def gain_and_offset(self) -> tuple[float, float]:
        """What follows the logarithm."""
        return 2.0 / self.octaves, -1.0

    def invert(self, scaled: float) -> float:
        """What the feature was before scaling."""
        return self.unit * (2.0 ** ((scaled + 1) * self.octaves / 2) - 1)

    def __str__(self) -> str:
        """The scaling for people."""
        return f"2 log2(1 + x / 2^{math.log2(self.unit):g}) / {self.octaves:g} - 1"


@dataclass(frozen=True)
class LinearScale:
    """(x - middle) / half."""

    middle: float
    half: float

    @property
    def gain_and_offset(self) -> tuple[float, float]:
        """The same as gain x + offset."""
        return 1.0 / self.half, -self.middle / self.half

    def invert(self, scaled: float) -> float:
        """What the feature was before scaling."""
        return self.middle + self.half * scaled

    def __str__(self) -> str:
        """The scaling for people."""
        return "x" if (self.middle, self.half) == (0, 1) else f"(x - {self.middle:g}) / {self.half:g}"


@dataclass(frozen=True)
class OctaveScale:
    """(log2(x / unit) - middle) / half, for what is never 0."""

    unit: float
    middle: float
    half: float

    @property
    def gain_and_offset(self) -> tuple[float, float]:
        """What follows the logarithm."""
        return 1.0 / self.half, -self.middle / self.half

    def invert(self, scaled: float) -> float:
        """What the feature was before scaling."""
        return self.unit * 2.0 ** (self.middle + self.half * scaled)

    def __str__(self) -> str:
        """The scaling for people."""
        octaves = math.log2(self.unit)
        quotient = f"x / 2^{octaves:g}" if octaves else "x"
        return f"(log2({quotient}) {'-' if self.middle >= 0 else '+'} {abs(self.middle):g}) / {self.half:g}"


Scale = LogScale | LinearScale | OctaveScale


@dataclass(frozen=True)
class Size:
    """Something of a machine that a count is divided by or that is observed itself."""

    symbol: str
    """Field of a kernel's sample."""
    meaning: str
    per_unit: float = 1.0
    """The encoder's unit, in that of the field."""


RESIDENT_PAGES = Size("resident_pages", "resident pages of the processes")
FAST_NODE_PAGES = Size("fast_node_pages", "pages of the fast node")
ELAPSED = Size("elapsed_ns", "time since the last decision", per_unit=1e9)
LATENCY_GAP = Size("latency_gap_ns", "latency of the slow tier less that of the fast one [ns], at least 1")
FAST_BANDWIDTH = Size("fast_bandwidth_mb_per_s", "read bandwidth of a node of the fast tier [MB/s]")
SLOW_BANDWIDTH = Size("slow_bandwidth_mb_per_s", "read bandwidth of a node of the slow tier [MB/s]")
TIER_FACTS = (LATENCY_GAP, FAST_BANDWIDTH, SLOW_BANDWIDTH)
"""What firmware tells of the tiers (HMAT), for reads of a machine that is idle; it never changes."""
SIZES = (FAST_NODE_PAGES, RESIDENT_PAGES, *TIER_FACTS)
"""Those a system tells of a machine."""


@dataclass(frozen=True)
class Count:
    """A sum of counters: how it grew in a step, or where it stands."""

    symbol: str
    """Field of a kernel's sample."""
    terms: tuple[tuple[int, str], ...]
    """Sign and name of each counter."""
    is_increment: bool
    unit: float = 1.0
    """What one of it is worth in the feature's unit."""

    @property
    def counters(self) -> tuple[str, ...]:
        """Names of its counters."""
        return tuple(name for _, name in self.terms)

    @property
    def meaning(self) -> str:
        """For a comment in C."""
        if len(self.terms) == 1:
            return COUNTERS[COUNTER_INDEX[self.counters[0]]].meaning
        (_, first), *others = self.terms
        return first + "".join(f" {'+' if sign > 0 else '-'} {name}" for sign, name in others)


@dataclass(frozen=True)
class InForce:
    """A tunable in force, as a coordinate of the action."""

    tunable: str


def increment(counter: str, unit: float = 1.0) -> Count:
    """How much a counter grew in the step."""
    return Count(COUNTERS[COUNTER_INDEX[counter]].symbol, ((1, counter),), is_increment=True, unit=unit)


def level(symbol: str, plus: str, *minus: str) -> Count:
    """Where a counter stands, less others."""
    return Count(symbol, ((1, plus), *((-1, name) for name in minus)), is_increment=False)


@dataclass(frozen=True)
class Feature:
    """One row of the table."""

    name: str
    meaning: str
    unit: str
    """Before scaling."""
    source: Count | Size | InForce
    """What is observed."""
    per: tuple[Size, ...]
    """What it is divided by."""
    scale: Scale
    history: History = NO_HISTORY
    mechanism: str = ""
    """Of the daemons whose pace it tells; empty for all."""
    is_of_machine: bool = False
    """Whether it tells what a machine is rather than what happens on it: observed only where it is asked for, and
    without a past."""

    @property
    def sizes(self) -> frozenset[Size]:
        """What it needs to know of a machine."""
        return frozenset(size for size in (self.source, *self.per) if isinstance(size, Size))

    @property
    def column_names(self) -> tuple[str, ...]:
        """Of the columns that it takes."""
        return self.history.column_names(self.name)

    @property
    def counters(self) -> tuple[str, ...]:
        """Counters it is made of, by kernel name."""
        return self.source.counters if isinstance(self.source, Count) else ()

    def is_supplied_by(self, daemon: Daemon) -> bool:
        """Whether a kernel with this daemon exports what it is made of."""
        if isinstance(self.source, InForce):
            return self.source.tunable in daemon.tunables
        if self.mechanism not in ("", daemon.mechanism):
            return False
        return all(COUNTERS[COUNTER_INDEX[name]].is_exported(daemon) for name in self.counters)


PER_PAGE_SECOND = "1 / (resident page s)"
RATE = LogScale(unit=2.0**-16, octaves=18)
"""A rate per resident page: 2^-16 to 4 per second; 1 MiB/s of a 64 GiB process is 2^-16."""


def _rate(name: str, meaning: str, counter: str, history: History = NO_HISTORY, mechanism: str = "") -> Feature:
    per = (RESIDENT_PAGES, ELAPSED)
    return Feature(name, meaning, PER_PAGE_SECOND, increment(counter), per, RATE, history, mechanism)


SEVERAL_WINDOWS = average_of(4)
"""Windows of NUMA balancing come in bursts, one in some seconds."""


def _burst(name: str, meaning: str, counter: str) -> Feature:
    return _rate(name, meaning, counter, SEVERAL_WINDOWS, "hint-faults")


def _in_force(tunable: str) -> Feature:
    meaning = f"{tunable.replace('_', ' ')} in force"
    return Feature(tunable, meaning, "action coordinate", InForce(tunable), (), LinearScale(middle=0, half=1))


def _of_machine(name: str, meaning: str, unit: str, quotient: tuple[Size, ...], scale: Scale) -> Feature:
    source, *per = quotient
    return Feature(name, meaning, unit, source, tuple(per), scale, is_of_machine=True)


FEATURES = {
    row.name: row
    for row in (
        _rate("accessed_slow", "slow-tier pages found accessed", "nr_kmmscand_slowtier"),
        _rate("idle", "pages of either tier found idle", "nr_kmmscand_idlepage"),
        _rate("queued", "entries queued for promotion", "nr_kmmscand_migadded"),
        _rate("promoted", "pages promoted", "nr_kmmscand_migrated"),
        _rate("failed", "entries that ended otherwise", "nr_kmmscand_migrate_failed"),
        _rate("fast_visited", "top-tier pages scanned", "nr_kmmscand_toptier"),
        _burst("marked", "pages marked for a hint fault", "numa_pte_updates"),
        _burst("faulted", "hint faults", "numa_hint_faults"),
        _burst("candidates", "hot slow-tier pages at a hint fault", "pgpromote_candidate"),
        _rate("promoted_at_faults", "pages promoted at a hint fault", "pgpromote_success", mechanism="hint-faults"),
        _rate("demoted", "pages demoted", "pgdemote_kswapd"),
        Feature(
            "backlog",
            "entries queued and not yet handled",
            "entries / resident page",
            level("pending_entries", "nr_kmmscand_migadded", "nr_kmmscand_migrated", "nr_kmmscand_migrate_failed"),
            (RESIDENT_PAGES,),
            LogScale(unit=2.0**-12, octaves=16),
        ),
        # fine near the watermarks (1 to 2 %), where promotions begin to fail
        Feature(
            "free_fast",
            "free share of the fast node",
            "1",
            level("free_fast_pages", "node0/nr_free_pages"),
            (FAST_NODE_PAGES,),
            LogScale(2.0**-8, octaves=8),
        ),
        Feature(
            "migrator_busy",
            "share of the time the migrator ran",
            "1",
            increment("kmmmigrated/schedstat", unit=1e-9),
            (ELAPSED,),
            LinearScale(0.5, 0.5),
        ),
        Feature(
            "resident",
            "resident memory of the processes",
            "pages",
            RESIDENT_PAGES,
            (),
            OctaveScale(unit=float(GIB // PAGE_BYTES), middle=4, half=8),
        ),
        # 1/32 to 8: the share of the memory that the fast tier could hold
        _of_machine(
            "fast_share",
            "size of the fast node over resident memory",
            "1",
            (FAST_NODE_PAGES, RESIDENT_PAGES),
            OctaveScale(unit=1.0, middle=-1, half=4),
        ),
        # 8 ns to 2 us: from the other socket's DRAM to what is no memory any more
        _of_machine(
            "latency_gap",
            "latency of the slow tier less that of the fast one",
            "ns",
            (LATENCY_GAP,),
            OctaveScale(unit=1.0, middle=7, half=4),
        ),
        # 1 GB/s to 1 TB/s: from a DIMM of persistent memory to a socket of HBM
        _of_machine(
            "slow_bandwidth",
            "read bandwidth of the slow tier",
            "MB/s",
            (SLOW_BANDWIDTH,),
            OctaveScale(unit=1.0, middle=15, half=5),
        ),
        _of_machine(
            "bandwidth_ratio",
            "read bandwidth of the slow tier over that of the fast one",
            "1",
            (SLOW_BANDWIDTH, FAST_BANDWIDTH),
            OctaveScale(unit=1.0, middle=-2, half=4),
        ),
    )
}
"""By name. Every tunable in force is a feature, too, without a row of its own: see `all_features`."""


class Column(NamedTuple):
    """One number of an observation."""

    name: str
    feature: Feature


def all_features() -> tuple[Feature, ...]:
    """What is made of counters, then the tunables in force, then sizes: each in the order of its table."""
    counted = [row for row in FEATURES.values() if isinstance(row.source, Count)]
    sizes = [row for row in FEATURES.values() if isinstance(row.source, Size)]
    return (*counted, *map(_in_force, TUNABLES), *sizes)


def supplied_features(daemon: Daemon) -> tuple[Feature, ...]:
    """What is observed of a daemon where nobody says otherwise: all that it supplies, in the order of `all_features`.

    Of the machine nothing is among them.
    """
    return tuple(feature for feature in all_features() if feature.is_supplied_by(daemon) and not feature.is_of_machine)


def feature_columns(features: Iterable[Feature]) -> tuple[Column, ...]:
    """Columns of an observation of these rows: of each those that its history gives it."""
    return tuple(Column(name, feature) for feature in features for name in feature.column_names)


def observed_columns(daemon: Daemon) -> tuple[Column, ...]:
    """Columns of the observation of a daemon where nobody says otherwise."""
    return feature_columns(supplied_features(daemon))
