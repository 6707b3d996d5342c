"""Observations: what the daemon's kernel exports, as features in [-1, 1].

Everything here comes from counters, the tunables in force and the size of process and fast node, so what is
trained in the model can run on the kernel. Scaling is fixed: no running normalisation, and only log2,
multiplication and clipping with constants that are powers of two, so that fixed-point arithmetic can follow
it.

    log       2 log2(1 + x / unit) / octaves - 1
    linear    (x - middle) / half

both clipped to [-1, 1].
"""

from dataclasses import dataclass

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from tierenv.action import ActionCodec
from tierenv.counters import (
    COUNTER_INDEX,
    COUNTERS,
    FREE_PAGES,
    MIGADDED,
    MIGRATE_FAILED,
    MIGRATED,
    MIGRATOR_NS,
)
from tierenv.daemon import DaemonVariant
from tierenv.errors import ConfigError
from tierenv.tunables import NUM_TUNABLES
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
class Feature:
    """One row of the table."""

    name: str
    meaning: str
    unit: str
    scale: LogScale | LinearScale
    counters: tuple[str, ...] = ()
    """Counters it is made of, by kernel name."""
    is_run_time_tunable: bool = False
    """Whether it exists only on a daemon whose tunables can be written at run time."""

    def is_supplied_by(self, daemon: DaemonVariant) -> bool:
        """Whether the variant's kernel exports what it is made of; an unknown variant exports all."""
        known = {variant for counter in COUNTERS for variant in counter.variants}
        exporters = (COUNTERS[COUNTER_INDEX[name]].variants for name in self.counters)
        is_exported = daemon.name not in known or all(daemon.name in names for names in exporters)
        return is_exported and (daemon.tunable_at_run_time or not self.is_run_time_tunable)


PER_PAGE_SECOND = "1 / (resident page s)"
RATE = LogScale(unit=2.0**-16, octaves=18)
"""A rate per resident page: 2^-16 to 4 per second; 1 MiB/s of a 64 GiB process is 2^-16."""
COORDINATE = LinearScale(middle=0, half=1)

# Log scales first: the encoder takes the logarithm of the leading columns.
FEATURES = (
    Feature("accessed_slow", "slow-tier pages found accessed", PER_PAGE_SECOND, RATE, ("nr_kmmscand_slowtier",)),
    Feature("idle", "pages of either tier found idle", PER_PAGE_SECOND, RATE, ("nr_kmmscand_idlepage",)),
    Feature("queued", "entries queued for promotion", PER_PAGE_SECOND, RATE, ("nr_kmmscand_migadded",)),
    Feature("promoted", "pages promoted", PER_PAGE_SECOND, RATE, ("nr_kmmscand_migrated",)),
    Feature("failed", "entries that ended otherwise", PER_PAGE_SECOND, RATE, ("nr_kmmscand_migrate_failed",)),
    Feature("fast_visited", "top-tier pages scanned", PER_PAGE_SECOND, RATE, ("nr_kmmscand_toptier",)),
    Feature("demoted", "pages demoted", PER_PAGE_SECOND, RATE, ("pgdemote_kswapd",)),
    Feature(
        "backlog",
        "entries queued and not yet handled",
        "entries / resident page",
        LogScale(unit=2.0**-12, octaves=16),
        ("nr_kmmscand_migadded", "nr_kmmscand_migrated", "nr_kmmscand_migrate_failed"),
    ),
    # fine near the watermarks (1 to 2 %), where promotions begin to fail
    Feature(
        "free_fast",
        "free share of the fast node",
        "1",
        LogScale(2.0**-8, octaves=8),
        ("node0/nr_free_pages",),
    ),
    Feature(
        "migrator_busy",
        "share of the time the migrator ran",
        "1",
        LinearScale(0.5, 0.5),
        ("kmmmigrated/schedstat",),
    ),
    Feature("scan_period", "scan period in force", "action coordinate", COORDINATE),
    Feature("scan_size", "scan size in force", "action coordinate", COORDINATE),
    Feature("throttle", "throttle in force", "action coordinate", COORDINATE, is_run_time_tunable=True),
    Feature("resident", "resident memory of the process", "log2(GiB)", LinearScale(middle=4, half=8)),
)
"""All features; `ObservationEncoder.features` are those of a variant, in this order."""

_RATE_COLUMNS = [COUNTER_INDEX[feature.counters[0]] for feature in FEATURES if feature.scale is RATE]
_NUM_RATES = len(_RATE_COLUMNS)
_NUM_LOG = sum(isinstance(feature.scale, LogScale) for feature in FEATURES)
_PER_UNIT = np.array([1 / feature.scale.unit for feature in FEATURES if isinstance(feature.scale, LogScale)])
_GAIN, _OFFSET = np.array([feature.scale.gain_and_offset for feature in FEATURES]).T
_BACKLOG, _FREE, _BUSY, _FIRST_TUNABLE = range(_NUM_RATES, _NUM_RATES + 4)
_RESIDENT = _FIRST_TUNABLE + NUM_TUNABLES

_SHORTEST_STEP_S = 1e-9
"""A machine that stands still has counted nothing: its rates are 0, not 0 / 0."""


class ObservationEncoder:
    """Computes the features of one machine or of a batch.

    Args:
        daemons: one variant for all machines, or one for each; all must supply the same features.
    """

    def __init__(self, *daemons: DaemonVariant) -> None:
        supplied = [tuple(feature.is_supplied_by(daemon) for feature in FEATURES) for daemon in daemons]
        for daemon, row in zip(daemons, supplied, strict=True):
            if row != supplied[0]:
                raise ConfigError(
                    f"daemon={daemon.name}: exports other features than {daemons[0].name}; "
                    "the machines of one batch must share theirs"
                )
        self.features = tuple(feature for feature, is_in in zip(FEATURES, supplied[0], strict=True) if is_in)
        self._columns = None if all(supplied[0]) else np.flatnonzero(supplied[0])
        self._codec = ActionCodec(*daemons)

    @property
    def space(self) -> Box[np.float32]:
        """float32[features] in [-1, 1]."""
        return Box(-1.0, 1.0, (len(self.features),), np.float32)

    def observe(
        self,
        previous_counters: NDArray[np.int64],
        counters: NDArray[np.int64],
        step_s: NDArray[np.float64],
        tunables: NDArray[np.float64],
        resident_pages: NDArray[np.int64],
        fast_capacity_pages: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Features of a step, float32[n, features], a fresh array.

        Args:
            previous_counters: int64[n, NUM_COUNTERS], at the start of the step.
            counters: int64[n, NUM_COUNTERS], at its end.
            step_s: float64[n], its real duration; 0 for a machine that has just started or stands still.
            tunables: float64[n, 3], in force.
            resident_pages: int64[n], memory of the process.
            fast_capacity_pages: int64[n], size of the fast node.
        """
        increments = counters - previous_counters
        step_s = np.maximum(step_s, _SHORTEST_STEP_S)
        raw = np.empty((len(counters), len(FEATURES)))
        raw[:, :_NUM_RATES] = increments[:, _RATE_COLUMNS]
        raw[:, :_NUM_RATES] /= (resident_pages * step_s)[:, None]
        pending = counters[:, MIGADDED] - counters[:, MIGRATED] - counters[:, MIGRATE_FAILED]
        raw[:, _BACKLOG] = np.maximum(pending, 0) / resident_pages
        raw[:, _FREE] = counters[:, FREE_PAGES] / fast_capacity_pages
        raw[:, _BUSY] = increments[:, MIGRATOR_NS] * 1e-9 / step_s
        raw[:, _FIRST_TUNABLE:_RESIDENT] = self._codec.encode(tunables)
        raw[:, _RESIDENT] = np.log2(resident_pages * (PAGE_BYTES / GIB))

        raw[:, :_NUM_LOG] = np.log2(1.0 + raw[:, :_NUM_LOG] * _PER_UNIT)
        scaled = np.minimum(np.maximum(raw * _GAIN + _OFFSET, -1.0), 1.0)
        return (scaled if self._columns is None else scaled[:, self._columns]).astype(np.float32)
