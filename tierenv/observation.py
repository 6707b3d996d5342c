"""Observations: what the daemon's kernel exports, as features in [-1, 1].

Everything here comes from counters, the tunables in force and the size of process and fast node, so what is
trained in the model can run on the kernel. Scaling is fixed: no running normalisation, and only log2,
multiplication and clipping with constants that are powers of two, so that fixed-point arithmetic can follow
it. Clipped to [-1, 1] are

    log       2 log2(1 + x / unit) / octaves - 1
    linear    (x - middle) / half
    octaves   (log2(x / unit) - middle) / half

A row of `FEATURES` says all there is to say of a feature: encoder, integer form, exported C, the definition in a bundle
and the documents derive from it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from tierenv.action import ActionCodec
from tierenv.counters import COUNTER_INDEX, COUNTERS, NUM_COUNTERS
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.history import NO_HISTORY, History, HistoryState
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
        return self.unit * float(np.exp2((scaled + 1) * self.octaves / 2) - 1)

    def __str__(self) -> str:
        """The scaling for people."""
        return f"2 log2(1 + x / 2^{np.log2(self.unit):g}) / {self.octaves:g} - 1"


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
        return self.unit * float(np.exp2(self.middle + self.half * scaled))

    def __str__(self) -> str:
        """The scaling for people."""
        return f"(log2(x / 2^{np.log2(self.unit):g}) - {self.middle:g}) / {self.half:g}"


Scale = LogScale | LinearScale | OctaveScale


@dataclass(frozen=True)
class Size:
    """Something of a machine that a count is divided by or that is observed itself."""

    symbol: str
    """Field of a kernel's sample."""
    meaning: str
    per_unit: float = 1.0
    """The encoder's unit, in that of the field."""


RESIDENT_PAGES = Size("resident_pages", "resident pages of the process")
FAST_NODE_PAGES = Size("fast_node_pages", "pages of the fast node")
ELAPSED = Size("elapsed_ns", "time since the last decision, which the encoder takes in s", per_unit=1e9)
SIZES = (RESIDENT_PAGES, FAST_NODE_PAGES, ELAPSED)


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

    @property
    def counters(self) -> tuple[str, ...]:
        """Counters it is made of, by kernel name."""
        return self.source.counters if isinstance(self.source, Count) else ()

    def is_supplied_by(self, daemon: Daemon) -> bool:
        """Whether a kernel with this daemon exports what it is made of."""
        if isinstance(self.source, InForce):
            return self.source.tunable in daemon.tunables
        return all(COUNTERS[COUNTER_INDEX[name]].is_exported(daemon) for name in self.counters)


PER_PAGE_SECOND = "1 / (resident page s)"
RATE = LogScale(unit=2.0**-16, octaves=18)
"""A rate per resident page: 2^-16 to 4 per second; 1 MiB/s of a 64 GiB process is 2^-16."""


def _rate(name: str, meaning: str, counter: str) -> Feature:
    return Feature(name, meaning, PER_PAGE_SECOND, increment(counter), (RESIDENT_PAGES, ELAPSED), RATE)


def _in_force(tunable: str) -> Feature:
    meaning = f"{tunable.replace('_', ' ')} in force"
    return Feature(tunable, meaning, "action coordinate", InForce(tunable), (), LinearScale(middle=0, half=1))


FEATURES = {
    row.name: row
    for row in (
        _rate("accessed_slow", "slow-tier pages found accessed", "nr_kmmscand_slowtier"),
        _rate("idle", "pages of either tier found idle", "nr_kmmscand_idlepage"),
        _rate("queued", "entries queued for promotion", "nr_kmmscand_migadded"),
        _rate("promoted", "pages promoted", "nr_kmmscand_migrated"),
        _rate("failed", "entries that ended otherwise", "nr_kmmscand_migrate_failed"),
        _rate("fast_visited", "top-tier pages scanned", "nr_kmmscand_toptier"),
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
            "resident memory of the process",
            "pages",
            RESIDENT_PAGES,
            (),
            OctaveScale(unit=float(GIB // PAGE_BYTES), middle=4, half=8),
        ),
    )
}
"""By name. Every tunable in force is a feature, too, without a row of its own: see `all_features`."""

_SHORTEST_STEP_S = 1e-9
"""A machine that stands still has counted nothing: its rates are 0, not 0 / 0."""


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
    """Features that a kernel with this daemon supplies, in the order of `all_features`."""
    return tuple(feature for feature in all_features() if feature.is_supplied_by(daemon))


def observed_columns(daemon: Daemon) -> tuple[Column, ...]:
    """Columns of an observation: of each feature those that its history gives it."""
    return tuple(
        Column(name, feature)
        for feature in supplied_features(daemon)
        for name in feature.history.column_names(feature.name)
    )


Columns = slice | NDArray[np.intp]


@dataclass(frozen=True)
class _CountGroup:
    """Features that one division computes."""

    columns: Columns
    signs: NDArray[np.int64]
    """int64[NUM_COUNTERS, features]: of each counter in each feature."""
    only_counter: NDArray[np.intp] | None
    """intp[features]: where each is one counter alone."""
    is_increment: bool
    unit: float
    per: tuple[Size, ...]


class ObservationEncoder:
    """Computes the observations of one machine or of a batch.

    Args:
        daemons: one for all machines, or one for each; all must supply the same features.

    Raises:
        ConfigError: if they do not.
    """

    def __init__(self, *daemons: Daemon) -> None:
        self.features = supplied_features(daemons[0])
        """Those the daemons supply."""
        for daemon in daemons:
            if supplied_features(daemon) != self.features:
                raise ConfigError(
                    f"daemon={daemon.name}: exports other features than {daemons[0].name}; "
                    "the machines of one batch must share theirs"
                )
        self.columns = observed_columns(daemons[0])
        self._codec = ActionCodec(*daemons)
        self._counts = _count_groups(self.features)
        self._sizes = [(i, row.source) for i, row in enumerate(self.features) if isinstance(row.source, Size)]
        in_force = [(i, row.source) for i, row in enumerate(self.features) if isinstance(row.source, InForce)]
        self._in_force = _neighbours([column for column, _ in in_force])
        self._coordinates = _neighbours([self._codec.names.index(source.tunable) for _, source in in_force])
        scales = [row.scale for row in self.features]
        self._log = _neighbours([i for i, scale in enumerate(scales) if isinstance(scale, LogScale)])
        self._per_log_unit = np.array([1 / scale.unit for scale in scales if isinstance(scale, LogScale)])
        self._octaves = _neighbours([i for i, scale in enumerate(scales) if isinstance(scale, OctaveScale)])
        self._per_octave_unit = np.array([1 / scale.unit for scale in scales if isinstance(scale, OctaveScale)])
        self._gain, self._offset = np.array([scale.gain_and_offset for scale in scales]).reshape(-1, 2).T
        self._histories = [row.history for row in self.features]
        self._has_history = any(history.num_kept for history in self._histories)

    @property
    def space(self) -> Box[np.float32]:
        """float32[columns] in [-1, 1]."""
        return Box(-1.0, 1.0, (len(self.columns),), np.float32)

    def initial_state(self, num_machines: int) -> HistoryState:
        """The past of machines that have none."""
        return HistoryState(self._histories, num_machines)

    def observe(
        self,
        previous_counters: NDArray[np.int64],
        counters: NDArray[np.int64],
        step_s: NDArray[np.float64],
        tunables: NDArray[np.float64],
        resident_pages: NDArray[np.int64],
        fast_capacity_pages: NDArray[np.int64],
        state: HistoryState,
        mask: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Observations of a step, float32[n, columns], a fresh array.

        Args:
            previous_counters: int64[n, NUM_COUNTERS], at the start of the step.
            counters: int64[n, NUM_COUNTERS], at its end.
            step_s: float64[n], its real duration; 0 for a machine that has just started or stands still.
            tunables: float64[n, len(TUNABLES)], in force.
            resident_pages: int64[n], memory of the process.
            fast_capacity_pages: int64[n], size of the fast node.
            state: the machines' past, which takes the step in.
            mask: bool[n], machines whose past takes it in; None for all.
        """
        sizes = {
            RESIDENT_PAGES: resident_pages,
            FAST_NODE_PAGES: fast_capacity_pages,
            ELAPSED: np.maximum(step_s, _SHORTEST_STEP_S),
        }
        increments = counters - previous_counters
        raw = np.empty((len(counters), len(self.features)))
        for group in self._counts:
            numbers = increments if group.is_increment else counters
            if group.only_counter is not None:
                count = numbers[:, group.only_counter]
            else:
                count = np.maximum(numbers @ group.signs, 0)
            divisor = math.prod((sizes[size] for size in group.per), start=np.ones(len(counters)))
            raw[:, group.columns] = count * group.unit / divisor[:, None]
        for column, size in self._sizes:
            raw[:, column] = sizes[size]
        raw[:, self._in_force] = self._codec.encode(tunables)[:, self._coordinates]

        raw[:, self._log] = np.log2(1.0 + raw[:, self._log] * self._per_log_unit)
        raw[:, self._octaves] = np.log2(raw[:, self._octaves] * self._per_octave_unit)
        scaled = np.minimum(np.maximum(raw * self._gain + self._offset, -1.0), 1.0)
        if self._has_history:
            scaled = state.extend(scaled, np.ones(len(scaled), dtype=np.bool_) if mask is None else mask)
        return scaled.astype(np.float32)


def _count_groups(features: Sequence[Feature]) -> list[_CountGroup]:
    """The features made of counters, those together that are divided by the same."""
    members: dict[tuple[bool, float, tuple[Size, ...]], list[tuple[int, Count]]] = {}
    for column, feature in enumerate(features):
        if isinstance(feature.source, Count):
            key = feature.source.is_increment, feature.source.unit, feature.per
            members.setdefault(key, []).append((column, feature.source))
    groups = []
    for (is_increment, unit, per), rows in members.items():
        signs = np.zeros((NUM_COUNTERS, len(rows)), dtype=np.int64)
        for index, (_, count) in enumerate(rows):
            for sign, name in count.terms:
                signs[COUNTER_INDEX[name], index] = sign
        is_single = all(count.terms == ((1, count.counters[0]),) for _, count in rows)
        only_counter = signs.argmax(axis=0) if is_single else None
        columns = _neighbours([column for column, _ in rows])
        groups.append(_CountGroup(columns, signs, only_counter, is_increment, unit, per))
    return groups


def _neighbours(columns: Sequence[int]) -> Columns:
    """An index of columns: a slice, which numpy reads in place, where they are neighbours."""
    first = columns[0] if columns else 0
    if list(columns) == list(range(first, first + len(columns))):
        return slice(first, first + len(columns))
    return np.array(columns, dtype=np.intp)
