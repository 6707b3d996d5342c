"""Random draws of the model: one counter-based stream per machine, independent of batch size and thread count.

The generator is splitmix64 (Steele, Lea, Flood 2014): a 64-bit counter stepped by the golden ratio and mixed. The
counter is `state.random_counter`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tierenv.sim.jit import njit, njit_inlined

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
_TO_UNIT = 2.0**-53

_INVERSION_LIMIT = 10.0
"""Mean below which inversion is faster than transformed rejection (Hoermann 1993)."""

_NORMAL_LIMIT = 100.0
"""Variance above which a normal number, corrected for skewness, stands for a binomial one."""


@njit_inlined
def _next_bits(state):
    """64 random bits."""
    state.random_counter += _GOLDEN
    mixed = state.random_counter
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_A
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_B
    return mixed ^ (mixed >> np.uint64(31))


@njit_inlined
def uniform(state):
    """A uniform number in [0, 1)."""
    return np.float64(_next_bits(state) >> np.uint64(11)) * _TO_UNIT


def _ziggurat() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right edges and densities of 256 layers of equal area under exp(-x**2 / 2) (Marsaglia and Tsang 2000)."""
    edges = np.empty(257)
    edges[256] = 0.0
    edges[1] = _ZIGGURAT_TAIL
    edges[0] = _ZIGGURAT_AREA / math.exp(-0.5 * _ZIGGURAT_TAIL**2)
    for layer in range(2, 256):
        height = _ZIGGURAT_AREA / edges[layer - 1] + math.exp(-0.5 * edges[layer - 1] ** 2)
        edges[layer] = math.sqrt(-2.0 * math.log(height))
    return edges, np.exp(-0.5 * edges**2)


_ZIGGURAT_TAIL = 3.6541528853610088
_ZIGGURAT_AREA = 0.00492867323399
_EDGES, _DENSITIES = _ziggurat()


@njit
def normal(state):
    """A standard normal number (ziggurat)."""
    while True:
        bits = _next_bits(state)
        layer = np.int64(bits & np.uint64(255))
        sign = 1.0 if bits & np.uint64(256) else -1.0
        x = np.float64(bits >> np.uint64(11)) * _TO_UNIT * _EDGES[layer]
        if x < _EDGES[layer + 1]:
            return sign * x
        if layer == 0:
            while True:
                x = -math.log(1.0 - uniform(state)) / _ZIGGURAT_TAIL
                y = -math.log(1.0 - uniform(state))
                if 2.0 * y > x * x:
                    return sign * (_ZIGGURAT_TAIL + x)
        density = _DENSITIES[layer] + uniform(state) * (_DENSITIES[layer + 1] - _DENSITIES[layer])
        if density < math.exp(-0.5 * x * x):
            return sign * x


@njit
def round_randomly(state, number):
    """An integer whose expectation is `number` (>= 0): its floor, or one more."""
    whole = math.floor(number)
    fraction = number - whole
    if fraction > 0.0 and uniform(state) < fraction:
        whole += 1
    return np.int64(whole)


@njit_inlined
def _stirling_error(k):
    """log(k!) minus Stirling's approximation of it, to 1e-8 (three terms of the series; table below 10)."""
    if k == 0:
        return 0.08106146679532726
    if k == 1:
        return 0.04134069595540929
    if k == 2:
        return 0.02767792568499834
    if k == 3:
        return 0.02079067210376509
    inverse = 1.0 / (k + 1.0)
    square = inverse * inverse
    return (1.0 / 12.0 - (1.0 / 360.0 - square / 1260.0) * square) * inverse


@njit
def _binomial_rejection(state, n, p, q):
    """Hoermann's BTRS for n p >= 10 and p <= 0.5 (J. Stat. Comput. Simul. 46, 1993)."""
    deviation = math.sqrt(n * p * q)
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * p
    centre = n * p + 0.5
    alpha = (2.83 + 5.1 / b) * deviation
    squeeze = 0.92 - 4.2 / b
    odds = p / q
    mode = math.floor((n + 1) * p)
    while True:
        u = uniform(state) - 0.5
        v = uniform(state)
        distance = 0.5 - abs(u)
        k = math.floor((2.0 * a / distance + b) * u + centre)
        if distance >= 0.07 and v <= squeeze:
            return np.int64(k)
        if k < 0 or k > n:
            continue
        log_v = math.log(v * alpha / (a / (distance * distance) + b))
        bound = (
            (mode + 0.5) * math.log((mode + 1.0) / (odds * (n - mode + 1.0)))
            + (n + 1.0) * math.log((n - mode + 1.0) / (n - k + 1.0))
            + (k + 0.5) * math.log(odds * (n - k + 1.0) / (k + 1.0))
            + _stirling_error(mode)
            + _stirling_error(n - mode)
            - _stirling_error(k)
            - _stirling_error(n - k)
        )
        if log_v <= bound:
            return np.int64(k)


@njit
def _binomial_minority(state, n, p, q):
    """Binomial(n, p) for p <= 0.5."""
    mean = n * p
    if mean >= _INVERSION_LIMIT:
        variance = mean * q
        if variance < _NORMAL_LIMIT:
            return _binomial_rejection(state, n, p, q)
        # MODEL: Cornish-Fisher expansion to the third cumulant; its distribution function is within 1e-3
        z = normal(state)
        k = math.floor(mean + math.sqrt(variance) * z + (q - p) * (z * z - 1.0) / 6.0 + 0.5)
        return np.int64(max(0.0, min(k, n)))
    u = uniform(state)
    if u < 1.0 - mean:  # (1 - p)**n >= 1 - n p: no success, without an exponential
        return np.int64(0)
    probability = math.exp(n * math.log1p(-p))
    odds = p / q
    k = 0
    while u >= probability and k < n:
        u -= probability
        k += 1
        probability *= odds * (n - k + 1) / k
    return np.int64(k)


@njit
def binomial(state, n, p, q):
    """Binomial(n, p). `q` is 1 - p, given by the caller because p may be within rounding of 1."""
    if n <= 0 or p <= 0.0:
        return np.int64(0)
    if q <= 0.0:
        return np.int64(n)
    if p <= 0.5:
        return _binomial_minority(state, n, p, q)
    return n - _binomial_minority(state, n, q, p)
