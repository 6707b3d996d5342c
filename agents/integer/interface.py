"""What passes between a kernel and a policy in integers: samples of raw numbers, settings, and what features remember.

The counterpart of `tierenv.observation`, derived from the same rows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tierenv.agents.integer.arithmetic import (
    Ints,
    TunableRange,
    at_least_one,
    average,
    fixed,
    log2_of,
    log_feature,
    octave_feature,
    share_feature,
    shift_rounded,
    tunable_ranges,
)
from tierenv.counters import COUNTER_INDEX
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.features import (
    ELAPSED,
    SIZES,
    Count,
    Feature,
    InForce,
    LinearScale,
    LogScale,
    OctaveScale,
    Size,
    feature_columns,
)
from tierenv.live.arithmetic import ACTION_BITS, AVERAGE_BITS, UNLIMITED
from tierenv.observation_spec import Observation, observation_rows
from tierenv.tunables import TUNABLES, columns_of

_NUMPY_TYPES = {"uint32_t": np.uint32, "uint64_t": np.uint64}


@dataclass(frozen=True)
class FeatureRule:
    """How a feature follows from a sample.

    Raises `ConfigError` for a feature that has no integer form.
    """

    feature: Feature
    tunables: tuple[str, ...]
    """Of the daemon."""

    def __post_init__(self) -> None:
        scale, source = self.feature.scale, self.feature.source
        is_share = isinstance(scale, LinearScale) and scale.middle + scale.half <= 1
        if not isinstance(source, InForce) and isinstance(scale, LinearScale) and not is_share:
            raise ConfigError(f"feature {self.feature.name}: {scale}: a linear scale is for shares, at most 1, alone")

    @property
    def tunable(self) -> int | None:
        """Number of the tunable in force that it observes."""
        source = self.feature.source
        return self.tunables.index(source.tunable) if isinstance(source, InForce) else None

    @property
    def symbol(self) -> str:
        """Field of the sample that it observes."""
        source = self.feature.source
        return TUNABLES[source.tunable].symbol if isinstance(source, InForce) else source.symbol

    @property
    def log2_unit(self) -> int:
        """Added to the logarithm of the quotient of fields, 24 fractional bits."""
        source, scale = self.feature.source, self.feature.scale
        unit = source.unit if isinstance(source, Count) else 1.0
        unit *= math.prod(size.per_unit for size in self.feature.per)
        return fixed(math.log2(unit if isinstance(scale, LinearScale) else unit / scale.unit))

    @property
    def gain(self) -> int:
        """24 fractional bits."""
        return fixed(self.feature.scale.gain_and_offset[0])

    @property
    def offset(self) -> int:
        """20 fractional bits."""
        return fixed(self.feature.scale.gain_and_offset[1], ACTION_BITS)

    @property
    def octaves(self) -> int:
        """Of a logarithmic feature, 24 fractional bits."""
        return fixed(self.feature.scale.octaves) if isinstance(self.feature.scale, LogScale) else 0

    def apply(self, samples: NDArray[np.void], ranges: Sequence[TunableRange]) -> Ints:
        """The feature of every sample, 20 fractional bits, before its history."""
        if self.tunable is not None:
            return ranges[self.tunable].encode(samples["in_force"][self.symbol].astype(np.uint64))
        log2_unit = np.full(len(samples), self.log2_unit)
        for size in self.feature.per:
            log2_unit -= log2_of(at_least_one(samples[size.symbol]))
        count = samples[self.symbol]
        if isinstance(self.feature.scale, LogScale):
            return log_feature(count, log2_unit, self.octaves, self.gain)
        if isinstance(self.feature.scale, OctaveScale):
            return octave_feature(count, log2_unit, self.gain, self.offset)
        return share_feature(count, log2_unit, self.gain, self.offset)


@dataclass
class IntegerState:
    """The past of n machines; `Interface.initial_state` makes it, and another one begins anew."""

    kept: Ints
    """int64[n, numbers]: averages with more fractional bits than features, stacked values as they were."""
    is_started: bool = False


class Interface:
    """Samples, settings and state of the policies of a daemon that observe the same.

    Args:
        daemon: whose tunables they set.
        observation: what they observe; None for all features that it supplies.

    Raises:
        ConfigError: for a tunable or a feature that integers cannot express.
    """

    def __init__(self, daemon: Daemon, observation: Observation = None) -> None:
        self.tunables = tuple(TUNABLES[name] for name in daemon.tunables)
        self.ranges = tunable_ranges(daemon)
        features = observation_rows(observation, daemon)
        self.columns = feature_columns(features)
        self.rules = [FeatureRule(feature, tuple(daemon.tunables)) for feature in features]
        """How each row of the observation follows from a sample."""
        self.setting = np.dtype([(row.symbol, _NUMPY_TYPES[row.quantity.c_type]) for row in self.tunables], align=True)
        """struct tierenv_setting."""
        counts: dict[str, Count] = {}
        for rule in self.rules:
            source = rule.feature.source
            if isinstance(source, Count) and counts.setdefault(source.symbol, source) != source:
                raise ConfigError(f"feature {rule.feature.name}: {source.symbol} is another count for another feature")
        self.increments = {symbol: count for symbol, count in counts.items() if count.is_increment}
        """Fields of a sample that hold what was counted since the last one."""
        self.levels = {symbol: count for symbol, count in counts.items() if not count.is_increment}
        """Fields that hold where counters stand."""
        used = {size for rule in self.rules for size in rule.feature.sizes}
        self.sizes = [size for size in SIZES if size in used]
        """Fields that hold sizes."""
        names = [*self.increments, ELAPSED.symbol, *self.levels, *(size.symbol for size in self.sizes)]
        self.sample = np.dtype([(name, np.int64) for name in names] + [("in_force", self.setting)], align=True)
        """struct tierenv_sample."""
        self._columns = columns_of(daemon.tunables)

    @property
    def num_kept(self) -> int:
        """Numbers that the features remember."""
        return sum(rule.feature.history.num_kept for rule in self.rules)

    @property
    def num_columns(self) -> int:
        """Length of an observation."""
        return len(self.columns)

    def initial_state(self, num_machines: int) -> IntegerState:
        """The past of machines that have none."""
        return IntegerState(np.zeros((num_machines, self.num_kept), np.int64))

    def observe(self, samples: NDArray[np.void], state: IntegerState) -> Ints:
        """Observations int64[n, columns], 20 fractional bits, of machines whose state takes the samples in."""
        columns, first, values = [], 0, dict[str, Ints]()
        for rule in self.rules:
            name, history = rule.feature.name, rule.feature.history
            if name not in values:
                values[name] = rule.apply(samples, self.ranges)
            value = values[name]
            kept = state.kept[:, first : first + history.num_kept]
            first += history.num_kept
            if history.kind == "average":
                moved = average(kept[:, 0], value, history.shift) if state.is_started else value << AVERAGE_BITS
                kept[:, 0] = moved
                columns.append(shift_rounded(moved, AVERAGE_BITS)[:, None])
            elif history.kind == "stack":
                kept[:, 1:] = kept[:, :-1] if state.is_started else value[:, None]
                kept[:, 0] = value
                columns.append(kept.copy())
            else:
                columns.append(value[:, None])
        state.is_started = True
        return np.concatenate(columns, axis=1)

    def samples_of(
        self,
        previous_counters: Ints,
        counters: Ints,
        step_s: NDArray[np.float64],
        tunables: NDArray[np.float64],
        sizes: Mapping[Size, Ints],
    ) -> NDArray[np.void]:
        """What a kernel would put into its samples, for the arguments of `ObservationEncoder.observe`."""
        samples = np.zeros(len(counters), self.sample)
        for fields, numbers in ((self.increments, counters - previous_counters), (self.levels, counters)):
            for symbol, count in fields.items():
                samples[symbol] = sum(sign * numbers[:, COUNTER_INDEX[name]] for sign, name in count.terms)
        samples[ELAPSED.symbol] = np.round(step_s * ELAPSED.per_unit)
        for size in self.sizes:
            samples[size.symbol] = sizes[size]
        samples["in_force"] = self.settings_of(tunables)
        return samples

    def settings_of(self, tunables: NDArray[np.float64]) -> NDArray[np.void]:
        """Tunables float64[n, len(TUNABLES)] to the nearest whole numbers, infinity to UNLIMITED."""
        settings = np.zeros(len(tunables), self.setting)
        for row, values in zip(self.tunables, tunables[:, self._columns].T, strict=True):
            is_finite = np.isfinite(values)
            whole = np.round(np.where(is_finite, values, 0)).astype(np.uint64)
            settings[row.symbol] = np.where(is_finite, whole, np.uint64(UNLIMITED)) if row.has_unlimited else whole
        return settings

    def tunables_of(self, settings: NDArray[np.void]) -> NDArray[np.float64]:
        """The inverse: float64[n, len(TUNABLES)], NaN where the daemon lacks one."""
        tunables = np.full((len(settings), len(TUNABLES)), np.nan)
        for row, column in zip(self.tunables, self._columns, strict=True):
            values = settings[row.symbol].astype(np.float64)
            is_unlimited = row.has_unlimited & (settings[row.symbol] == UNLIMITED)
            tunables[:, column] = np.where(is_unlimited, np.inf, values)
        return tunables

    def decode(self, actions: Ints) -> NDArray[np.void]:
        """Settings for actions int64[n, T], 20 fractional bits."""
        settings = np.zeros(len(actions), self.setting)
        for row, span, action in zip(self.tunables, self.ranges, actions.T, strict=True):
            settings[row.symbol] = span.decode(action)
        return settings
