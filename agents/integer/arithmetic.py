"""Fixed point: logarithms, features on their scales, tunables and their coordinates, many numbers at once.

Every function has its counterparts in agents/export/c_source/arithmetic.c and tierenv/live/arithmetic.py: a change here
is a change there.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tierenv.action import edges_of
from tierenv.daemon import DaemonRecord
from tierenv.errors import ConfigError
from tierenv.live import arithmetic
from tierenv.live.arithmetic import ACTION_BITS, AVERAGE_BITS, LOG_BITS, LOG_ONE, ONE, UNLIMITED
from tierenv.tunables import TUNABLES

Ints = NDArray[np.int64]

LOG2_TABLE = np.array(arithmetic.LOG2_TABLE, dtype=np.int64)
EXP2_TABLE = np.array(arithmetic.EXP2_TABLE, dtype=np.int64)

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
    ratio = np.clip(log2_of(at_least_one(count)) + log2_unit, -32 * LOG_ONE, octaves)
    logarithm = log2_of((LOG_ONE + exp2_of(ratio, LOG_BITS)).astype(np.uint64)) - LOG_BITS * LOG_ONE
    return np.where(count <= 0, -ONE, feature_of(logarithm, gain, -ONE))


def share_feature(count: Ints, log2_unit: Ints, gain: int, offset: int) -> Ints:
    """A share of at most 1 on a linear scale."""
    ratio = np.clip(log2_of(at_least_one(count)) + log2_unit, -32 * LOG_ONE, 0)
    return feature_of(np.where(count <= 0, 0, exp2_of(ratio, LOG_BITS)), gain, offset)


def octave_feature(count: Ints, log2_unit: Ints, gain: int, offset: int) -> Ints:
    """(log2(ratio) - middle) / half; what is 0 counts as 1."""
    return feature_of(log2_of(at_least_one(count)) + log2_unit, gain, offset)


def average(kept: Ints, value: Ints, shift: int) -> Ints:
    """A moving average with `AVERAGE_BITS` more fractional bits, drawn a 2^shift-th of the way to a value."""
    return kept + shift_rounded((value << AVERAGE_BITS) - kept, shift)


def at_least_one(value: Ints) -> NDArray[np.uint64]:
    """For a logarithm."""
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


def tunable_ranges(daemon: DaemonRecord) -> list[TunableRange]:
    """Of every tunable. Raises `ConfigError` for one that whole numbers of its unit cannot express."""
    ranges = []
    for name, bounds in daemon.tunables.items():
        row = TUNABLES[name]
        for end, value in (("min", bounds.min), ("max", bounds.max)):
            if not math.isclose(value, round(value), rel_tol=1e-9) or not 1 <= value < 2**_GREATEST_VALUE_BITS:
                raise ConfigError(
                    f"daemon {daemon.name}: {row.symbol}: {end}={value:g}: must be a whole number from 1 to "
                    f"2^{_GREATEST_VALUE_BITS} for integer arithmetic"
                )
        low, high = round(bounds.min), round(bounds.max)
        low_edge, high_edge = edges_of(row)
        octaves_per_unit = math.log2(high / low) / (high_edge - low_edge)
        ranges.append(
            TunableRange(
                min=low,
                max=high,
                log2_min=fixed(math.log2(low)),
                octaves_per_unit=fixed(octaves_per_unit),
                units_per_octave=fixed(1 / octaves_per_unit),
                low_edge=fixed(low_edge, ACTION_BITS),
                high_edge=fixed(high_edge, ACTION_BITS),
            )
        )
    return ranges
