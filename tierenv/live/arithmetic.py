"""Fixed point in plain integers: logarithms, features on their scales, tunables and their coordinates.

The tables and widths are those of `tierenv.agents.integer` and of the exported C, which take them from here; every
function has its counterpart there, and a test compares all three bit by bit.
"""

import math
from collections.abc import Sequence

LOG_BITS = 24
"""Fractional bits of logarithms and of what is multiplied with them."""
ACTION_BITS = 20
"""Fractional bits of observations, actions and activations."""
AVERAGE_BITS = 8
"""More fractional bits that a moving average keeps, so that it comes to rest where its values are."""
LOG_ONE = 1 << LOG_BITS
ONE = 1 << ACTION_BITS
UNLIMITED = 2**64 - 1
"""A throttle without a limit."""
TANH_LIMIT = 8 * ONE
"""Beyond it tanh is 1 to the last bit."""

LOG2_TABLE = tuple(round(math.log2(1 + step / 256) * LOG_ONE) for step in range(257))
EXP2_TABLE = tuple(round(2 ** (step / 256) * 2**30) for step in range(257))
TANH_TABLE = tuple(round(math.tanh(step / 128) * ONE) for step in range(1025))
"""No entry is near the middle of two integers (a test looks), so all mathematics libraries round it alike."""


def clamped(value: int, low: int, high: int) -> int:
    """The value, or the end of the range that it lies beyond."""
    return max(low, min(high, value))


def shift_rounded(value: int, bits: int) -> int:
    """Divide by 2^bits to the nearest, halves up."""
    return (value + (1 << (bits - 1))) >> bits


def log2_of(value: int) -> int:
    """log2 of a value from 1 to 2^64 - 1, 24 fractional bits."""
    exponent = value.bit_length() - 1
    mantissa = value << (63 - exponent)
    index, rest = (mantissa >> 55) & 255, (mantissa >> 31) & 0xFFFFFF
    step_height = LOG2_TABLE[index + 1] - LOG2_TABLE[index]
    return exponent * LOG_ONE + LOG2_TABLE[index] + shift_rounded(step_height * rest, 24)


def exp2_of(exponent: int, bits: int) -> int:
    """2^exponent with `bits` fractional bits; exponent has 24, and exponent + bits is below 63."""
    index, rest = (exponent >> 16) & 255, exponent & 0xFFFF
    mantissa = EXP2_TABLE[index] + (((EXP2_TABLE[index + 1] - EXP2_TABLE[index]) * rest + 0x8000) >> 16)
    shift = (exponent >> LOG_BITS) + bits - 30
    if shift >= 0:
        return mantissa << shift
    return mantissa >> -shift if shift > -32 else 0


def tanh_of(value: int) -> int:
    """Tanh of a value in [-8, 8], both with 20 fractional bits."""
    magnitude = abs(value)
    if magnitude >= TANH_LIMIT:
        result = TANH_TABLE[1024]
    else:
        index, rest = magnitude >> 13, magnitude & 0x1FFF
        result = TANH_TABLE[index] + (((TANH_TABLE[index + 1] - TANH_TABLE[index]) * rest + 0x1000) >> 13)
    return -result if value < 0 else result


def relu_of(value: int) -> int:
    """The positive part."""
    return max(value, 0)


def feature_of(value: int, gain: int, offset: int) -> int:
    """Gain x + offset in [-1, 1], 20 fractional bits, for a value and a gain with 24."""
    return clamped(shift_rounded(value * gain, 28) + offset, -ONE, ONE)


def log_feature(count: int, log2_unit: int, octaves: int, gain: int) -> int:
    """2 log2(1 + ratio) / octaves - 1; `log2_unit` turns log2(count) into log2(ratio)."""
    if count <= 0:
        return -ONE
    ratio = clamped(log2_of(count) + log2_unit, -32 * LOG_ONE, octaves)
    return feature_of(log2_of(LOG_ONE + exp2_of(ratio, LOG_BITS)) - LOG_BITS * LOG_ONE, gain, -ONE)


def share_feature(count: int, log2_unit: int, gain: int, offset: int) -> int:
    """A share of at most 1 on a linear scale."""
    if count <= 0:
        return feature_of(0, gain, offset)
    return feature_of(exp2_of(clamped(log2_of(count) + log2_unit, -32 * LOG_ONE, 0), LOG_BITS), gain, offset)


def octave_feature(count: int, log2_unit: int, gain: int, offset: int) -> int:
    """(log2(ratio) - middle) / half; what is 0 counts as 1."""
    return feature_of(log2_of(max(count, 1)) + log2_unit, gain, offset)


def average(kept: int, value: int, shift: int) -> int:
    """A moving average with `AVERAGE_BITS` more fractional bits, drawn a 2^shift-th of the way to a value."""
    return kept + shift_rounded((value << AVERAGE_BITS) - kept, shift)


def encode(span: dict[str, int], value: int) -> int:
    """Coordinate of a tunable's value in force, on its range."""
    if value < span["min"]:
        return -ONE
    if value > span["max"]:
        return ONE
    units = shift_rounded((log2_of(value) - span["log2_min"]) * span["units_per_octave"], 28)
    return clamped(span["low_edge"] + units, span["low_edge"], span["high_edge"])


def decode(span: dict[str, int], action: int) -> int:
    """A tunable's value for a coordinate; 0 and UNLIMITED in the dead zones."""
    action = clamped(action, -ONE, ONE)
    if action < span["low_edge"]:
        return 0
    if action > span["high_edge"]:
        return UNLIMITED
    octaves = shift_rounded((action - span["low_edge"]) * span["octaves_per_unit"], 20)
    return clamped((exp2_of(span["log2_min"] + octaves, 16) + 0x8000) >> 16, span["min"], span["max"])


def layer_sum(weights: Sequence[int], inputs: Sequence[int], bias: int) -> int:
    """What a unit of a network adds up."""
    return sum(weight * value for weight, value in zip(weights, inputs)) + bias
