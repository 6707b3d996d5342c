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
"""Mean from which on a normal number, corrected for skewness, stands for a binomial one."""

_URN_LIMIT = 32
"""Draws up to which a hypergeometric number is made one by one."""


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


@njit
def _binomial_minority(state, n, p, q):
    """Binomial(n, p) for p <= 0.5."""
    mean = n * p
    if mean >= _INVERSION_LIMIT:
        # MODEL: Cornish-Fisher expansion to the third cumulant, whose distribution function is within 0.0015 of the
        # binomial one at mean 10, and 0.0005 at 30; three times faster than an exact rejection method
        z = normal(state)
        k = math.floor(mean + math.sqrt(mean * q) * z + (q - p) * (z * z - 1.0) / 6.0 + 0.5)
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


@njit
def hypergeometric(state, wanted, marked, total):
    """How many of `wanted` things drawn from `total` without replacement are among the `marked`."""
    least = max(0, wanted - (total - marked))
    most = min(wanted, marked)
    if least >= most:
        return np.int64(most)
    if wanted <= _URN_LIMIT:
        found = 0
        for drawn in range(wanted):
            if uniform(state) * (total - drawn) < marked - found:
                found += 1
        return np.int64(found)
    # MODEL: a normal number of the right mean and variance
    share = marked / total
    variance = wanted * share * (1.0 - share) * (total - wanted) / (total - 1.0)
    number = math.floor(wanted * share + math.sqrt(variance) * normal(state) + 0.5)
    return np.int64(max(least, min(number, most)))
