"""Observation and action in integers: what the exported C computes, bit for bit, many samples at once.

The counterpart of `tierenv.observation` and `tierenv.action`, from raw counters on. Every step has its line in
agents/export/c_source: a change here is a change there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tierenv.action import DEAD_ZONE_EDGE
from tierenv.counters import COUNTER_INDEX, FREE_PAGES, MIGADDED, MIGRATE_FAILED, MIGRATED, MIGRATOR_NS
from tierenv.daemon import DaemonVariant
from tierenv.errors import ConfigError
from tierenv.observation import PER_PAGE_SECOND, Feature, LogScale, ObservationEncoder
from tierenv.tunables import TUNABLES
from tierenv.units import GIB, PAGE_BYTES

Ints = NDArray[np.int64]

LOG_BITS = 24
"""Fractional bits of logarithms and of what is multiplied with them."""
ACTION_BITS = 20
"""Fractional bits of observations, actions and activations."""
LOG_ONE = 1 << LOG_BITS
ONE = 1 << ACTION_BITS
UNLIMITED = 2**64 - 1

LOG2_TABLE = np.round(np.log2(1 + np.arange(257) / 256) * LOG_ONE).astype(np.int64)
EXP2_TABLE = np.round(np.exp2(np.arange(257) / 256) * 2**30).astype(np.int64)

SETTING = np.dtype(
    [("scan_period_ms", np.uint32), ("scan_size_bytes", np.uint64), ("throttle_bytes_per_s", np.uint64)], align=True
)
"""struct tierenv_setting."""
INCREMENTS = (
    "nr_kmmscand_slowtier",
    "nr_kmmscand_idlepage",
    "nr_kmmscand_migadded",
    "nr_kmmscand_migrated",
    "nr_kmmscand_migrate_failed",
    "nr_kmmscand_toptier",
    "pgdemote_kswapd",
    "migrator_ns",
)
"""Fields of a sample that hold the increment of a counter."""
GAUGES = ("pending_entries", "free_fast_pages", "fast_node_pages", "resident_pages")
SAMPLE = np.dtype(
    [(name, np.int64) for name in (*INCREMENTS, "elapsed_ns", *GAUGES)] + [("in_force", SETTING)], align=True
)
"""struct tierenv_sample."""

_GREATEST_VALUE_BITS = 44
"""Room for the values of tunables: exp2 keeps 16 fractional bits below them."""


def shift_rounded(value: Ints, bits: int) -> Ints:
    """Divide by 2^bits to the nearest, halves up."""
    return (value + (1 << (bits - 1))) >> bits


def log2_of(value: NDArray[np.uint64]) -> Ints:
    """log2 of values above 0, 24 fractional bits."""
    exponent = np.zeros(value.shape, np.uint64)
    for step in (32, 16, 8, 4, 2, 1):
        exponent += np.where((value >> exponent) >> np.uint64(step) > 0, np.uint64(step), np.uint64(0))
    mantissa = value << (np.uint64(63) - exponent)
    index = ((mantissa >> np.uint64(55)) & np.uint64(255)).astype(np.int64)
    rest = ((mantissa >> np.uint64(31)) & np.uint64(0xFFFFFF)).astype(np.int64)
    step_height = LOG2_TABLE[index + 1] - LOG2_TABLE[index]
    return exponent.astype(np.int64) * LOG_ONE + LOG2_TABLE[index] + shift_rounded(step_height * rest, 24)


def exp2_of(exponent: Ints, bits: int) -> Ints:
    """2^exponent with `bits` fractional bits; exponent has 24, and exponent + bits is below 63."""
    index, rest = (exponent >> 16) & 255, exponent & 0xFFFF
    mantissa = EXP2_TABLE[index] + (((EXP2_TABLE[index + 1] - EXP2_TABLE[index]) * rest + 0x8000) >> 16)
    shift = (exponent >> LOG_BITS) + bits - 30
    shrunk = np.where(shift > -32, mantissa >> np.clip(-shift, 0, 32), 0)
    return np.where(shift >= 0, mantissa << np.clip(shift, 0, 32), shrunk)


def fixed(value: float, bits: int = LOG_BITS) -> int:
    """A number with `bits` fractional bits."""
    return round(value * (1 << bits))


def feature_of(value: Ints, gain: int, offset: int) -> Ints:
    """Gain x + offset in [-1, 1], 20 fractional bits, for a value and a gain with 24."""
    return np.clip(shift_rounded(value * gain, 28) + offset, -ONE, ONE)


def log_feature(count: Ints, log2_unit: Ints, octaves: int, gain: int) -> Ints:
    """2 log2(1 + ratio) / octaves - 1; `log2_unit` turns log2(count) into log2(ratio)."""
    ratio = np.clip(log2_of(_at_least_one(count)) + log2_unit, -32 * LOG_ONE, octaves)
    logarithm = log2_of((LOG_ONE + exp2_of(ratio, LOG_BITS)).astype(np.uint64)) - LOG_BITS * LOG_ONE
    return np.where(count <= 0, -ONE, feature_of(logarithm, gain, -ONE))


def share_feature(count: Ints, log2_unit: Ints, gain: int, offset: int) -> Ints:
    """A share of at most 1 on a linear scale."""
    ratio = np.clip(log2_of(_at_least_one(count)) + log2_unit, -32 * LOG_ONE, 0)
    return feature_of(np.where(count <= 0, 0, exp2_of(ratio, LOG_BITS)), gain, offset)


def _at_least_one(value: Ints) -> NDArray[np.uint64]:
    return np.maximum(value, 1).astype(np.uint64)


@dataclass(frozen=True)
class TunableRange:
    """struct range: a tunable on its logarithmic scale."""

    min: int
    max: int
    log2_min: int
    octaves_per_unit: int
    units_per_octave: int
    low_edge: int
    high_edge: int

    def encode(self, value: NDArray[np.uint64]) -> Ints:
        """Coordinates of values in force."""
        inside = np.clip(value, np.uint64(self.min), np.uint64(self.max))
        units = shift_rounded((log2_of(inside) - self.log2_min) * self.units_per_octave, 28)
        coordinate = np.clip(self.low_edge + units, self.low_edge, self.high_edge)
        return np.where(value < self.min, -ONE, np.where(value > self.max, ONE, coordinate))

    def decode(self, action: Ints) -> NDArray[np.uint64]:
        """Values of coordinates; 0 and UNLIMITED in the dead zones."""
        action = np.clip(action, -ONE, ONE)
        units = np.clip(action, self.low_edge, self.high_edge) - self.low_edge
        octaves = shift_rounded(units * self.octaves_per_unit, 20)
        inside = np.clip((exp2_of(self.log2_min + octaves, 16) + 0x8000) >> 16, self.min, self.max).astype(np.uint64)
        below = np.where(action < self.low_edge, np.uint64(0), inside)
        return np.where(action > self.high_edge, np.uint64(UNLIMITED), below)


def tunable_ranges(daemon: DaemonVariant) -> list[TunableRange]:
    """Of every tunable. Raises `ConfigError` for one that whole milliseconds and bytes cannot express."""
    ranges = []
    for row in TUNABLES:
        low, high, _ = daemon.ranges.by_name[row.name]
        for name, value in (("min", low), ("max", high)):
            if not math.isclose(value, round(value), rel_tol=1e-9) or not 1 <= value < 2**_GREATEST_VALUE_BITS:
                raise ConfigError(
                    f"daemon {daemon.name}: {row.name}: {name}={value:g}: must be a whole number from 1 to "
                    f"2^{_GREATEST_VALUE_BITS} for integer arithmetic"
                )
        octaves = math.log2(round(high) / round(low))
        low_edge = -DEAD_ZONE_EDGE if row.has_zero else -1.0
        high_edge = DEAD_ZONE_EDGE if row.has_unlimited else 1.0
        octaves_per_unit = octaves / (high_edge - low_edge)
        ranges.append(
            TunableRange(
                min=round(low),
                max=round(high),
                log2_min=fixed(math.log2(round(low))),
                octaves_per_unit=fixed(octaves_per_unit),
                units_per_octave=fixed(1 / octaves_per_unit),
                low_edge=fixed(low_edge, ACTION_BITS),
                high_edge=fixed(high_edge, ACTION_BITS),
            )
        )
    return ranges


@dataclass(frozen=True)
class FeatureRule:
    """How a feature follows from a sample."""

    feature: Feature
    field: str = ""
    """Of the sample, of a logarithmic or linear feature: the count."""
    divisors: tuple[str, ...] = ()
    """Fields of the sample the count is divided by."""
    log2_unit: int = 0
    """Added to the logarithm of the quotient, 24 fractional bits."""
    tunable: int | None = None
    """Column of a tunable in force."""

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
        """The feature of every sample, 20 fractional bits."""
        if self.tunable is not None:
            return ranges[self.tunable].encode(samples["in_force"][TUNABLES[self.tunable].name].astype(np.uint64))
        divisor = sum(
            (log2_of(_at_least_one(samples[name])) for name in self.divisors), start=np.zeros(len(samples), np.int64)
        )
        count, log2_unit = samples[self.field], self.log2_unit - divisor
        if isinstance(self.feature.scale, LogScale):
            return log_feature(count, log2_unit, self.octaves, self.gain)
        if self.divisors:
            return share_feature(count, log2_unit, self.gain, self.offset)
        return feature_of(log2_of(_at_least_one(count)) + self.log2_unit, self.gain, self.offset)


def samples_of(
    previous_counters: Ints,
    counters: Ints,
    step_s: NDArray[np.float64],
    tunables: NDArray[np.float64],
    resident_pages: Ints,
    fast_capacity_pages: Ints,
) -> NDArray[np.void]:
    """What a kernel would put into its samples, for the arguments of `ObservationEncoder.observe`."""
    samples = np.zeros(len(counters), SAMPLE)
    increments = counters - previous_counters
    for name in INCREMENTS[:-1]:
        samples[name] = increments[:, COUNTER_INDEX[name]]
    samples["migrator_ns"] = increments[:, MIGRATOR_NS]
    samples["elapsed_ns"] = np.round(step_s * 1e9)
    samples["pending_entries"] = counters[:, MIGADDED] - counters[:, MIGRATED] - counters[:, MIGRATE_FAILED]
    samples["free_fast_pages"] = counters[:, FREE_PAGES]
    samples["fast_node_pages"] = fast_capacity_pages
    samples["resident_pages"] = resident_pages
    samples["in_force"] = settings_of(tunables)
    return samples


def settings_of(tunables: NDArray[np.float64]) -> NDArray[np.void]:
    """Tunables float64[n, 3] to the nearest whole numbers, infinity to UNLIMITED."""
    settings = np.zeros(len(tunables), SETTING)
    for row, values in zip(TUNABLES, tunables.T, strict=True):
        is_finite = np.isfinite(values)
        whole = np.round(np.where(is_finite, values, 0)).astype(np.uint64)
        settings[row.name] = np.where(is_finite, whole, np.uint64(UNLIMITED)) if row.has_unlimited else whole
    return settings


def tunables_of(settings: NDArray[np.void]) -> NDArray[np.float64]:
    """The inverse: float64[n, 3]."""
    columns = [settings[row.name].astype(np.float64) for row in TUNABLES]
    unlimited = [row.has_unlimited & (settings[row.name] == UNLIMITED) for row in TUNABLES]
    return np.where(np.stack(unlimited, axis=1), np.inf, np.stack(columns, axis=1))


def feature_rules(daemon: DaemonVariant) -> list[FeatureRule]:
    """Of the features the daemon supplies, in their order. Raises `ConfigError` for one there is no rule for."""
    return [_rule(feature) for feature in ObservationEncoder(daemon).features]


_TUNABLES_IN_FORCE = {"scan_period": 0, "scan_size": 1, "throttle": 2}


def _rule(feature: Feature) -> FeatureRule:
    if feature.name in _TUNABLES_IN_FORCE:
        return FeatureRule(feature, tunable=_TUNABLES_IN_FORCE[feature.name])
    if feature.name == "resident":
        return FeatureRule(feature, "resident_pages", log2_unit=-fixed(math.log2(GIB / PAGE_BYTES)))
    if feature.name == "migrator_busy":
        return FeatureRule(feature, "migrator_ns", ("elapsed_ns",))
    per_unit = 1 / feature.scale.unit if isinstance(feature.scale, LogScale) else math.nan
    if feature.name == "backlog":
        return FeatureRule(feature, "pending_entries", ("resident_pages",), fixed(math.log2(per_unit)))
    if feature.name == "free_fast":
        return FeatureRule(feature, "free_fast_pages", ("fast_node_pages",), fixed(math.log2(per_unit)))
    if feature.unit == PER_PAGE_SECOND and feature.counters[0] in INCREMENTS:
        log2_unit = fixed(math.log2(1e9 * per_unit))
        return FeatureRule(feature, feature.counters[0], ("resident_pages", "elapsed_ns"), log2_unit)
    raise ConfigError(f"observation feature {feature.name!r}: has no integer form yet (tierenv.agents.fixed_point)")
