"""The draws of the model against their distributions. Seeds are fixed; a test that fits the distribution would fail for
one seed in 10,000 (`SIGNIFICANCE`)."""

import numba
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from tierenv.sim.lumped.state import STATE
from tierenv.sim.random import binomial, hypergeometric, normal, round_randomly, uniform

SIGNIFICANCE = 1e-4
DRAWS = 200_000
NORMAL_ERROR = 0.0015
"""Largest error of a distribution function where a normal number stands for a binomial one."""


@numba.njit
def draw_uniform(state, out):
    for index in range(len(out)):
        out[index] = uniform(state)


@numba.njit
def draw_normal(state, out):
    for index in range(len(out)):
        out[index] = normal(state)


@numba.njit
def draw_binomial(state, n, p, q, out):
    for index in range(len(out)):
        out[index] = binomial(state, n, p, q)


@numba.njit
def draw_hypergeometric(state, wanted, marked, total, out):
    for index in range(len(out)):
        out[index] = hypergeometric(state, wanted, marked, total)


@numba.njit
def draw_rounded(state, number, out):
    for index in range(len(out)):
        out[index] = round_randomly(state, number)


def stream(seed: int) -> np.void:
    """A machine's state, as far as draws are concerned."""
    states = np.zeros(1, STATE)  # the whole of it: numba takes a smaller record for a kind of that, and warns
    states["random_counter"] = np.random.default_rng(seed).integers(2**64, dtype=np.uint64)
    return states[0]


def chi_square_p_value(numbers: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """P-value of integers from 0, the rare ones pooled until ten of a kind are expected."""
    expected = probabilities * len(numbers)
    common = expected >= 10
    observed = np.bincount(numbers, minlength=len(expected))
    assert len(observed) == len(expected), "a number out of range"
    seen = np.append(observed[common], observed[~common].sum())
    due = np.append(expected[common], expected[~common].sum())
    if due[-1] < 10:
        seen = np.append(seen[:-2], seen[-2] + seen[-1])
        due = np.append(due[:-2], due[-2] + due[-1])
    return float(stats.chisquare(seen, due * seen.sum() / due.sum()).pvalue)


def largest_error(numbers: NDArray[np.int64], distribution: stats.rv_discrete) -> float:
    """Largest distance of the empirical distribution function from the true one."""
    values = np.arange(numbers.max() + 1)
    empirical = np.cumsum(np.bincount(numbers)) / len(numbers)
    return float(np.abs(empirical - distribution.cdf(values)).max())


def sampling_error(significance: float) -> float:
    """Distance an empirical distribution function keeps from the true one, up to `significance` (Massart's bound)."""
    return float(np.sqrt(np.log(2 / significance) / (2 * DRAWS)))


def test_uniform_numbers_fill_the_unit_interval_evenly() -> None:
    numbers = np.empty(DRAWS)
    draw_uniform(stream(1), numbers)
    assert 0 <= numbers.min() and numbers.max() < 1
    cells = np.histogram(numbers, bins=256, range=(0, 1))[0]
    assert stats.chisquare(cells).pvalue > SIGNIFICANCE


def test_successive_uniform_numbers_are_independent() -> None:
    numbers = np.empty(DRAWS)
    draw_uniform(stream(2), numbers)
    cells = np.histogram2d(numbers[::2], numbers[1::2], bins=16)[0]
    assert stats.chisquare(cells.ravel()).pvalue > SIGNIFICANCE


def test_streams_of_neighbouring_counters_differ() -> None:
    first, second = stream(3), stream(3)
    second["random_counter"] += 1
    numbers, others = np.empty(1000), np.empty(1000)
    draw_uniform(first, numbers)
    draw_uniform(second, others)
    assert abs(np.corrcoef(numbers, others)[0, 1]) < 0.15


def test_normal_numbers_are_normal_far_into_the_tail() -> None:
    numbers = np.empty(DRAWS)
    draw_normal(stream(4), numbers)
    assert stats.kstest(numbers, "norm").pvalue > SIGNIFICANCE
    beyond = int((np.abs(numbers) > 3.7).sum())
    assert stats.binomtest(beyond, DRAWS, 2 * stats.norm.sf(3.7)).pvalue > SIGNIFICANCE


@pytest.mark.parametrize(
    ("n", "p"),
    [(1, 0.3), (20, 0.1), (19, 0.5), (7, 0.9), (100, 0.0005), (1000, 0.005), (50, 0.97), (100_000, 3e-5)],
)
def test_binomial_numbers_of_small_mean_are_exact(n: int, p: float) -> None:
    numbers = np.empty(DRAWS, dtype=np.int64)
    draw_binomial(stream(5), n, p, 1 - p, numbers)
    assert chi_square_p_value(numbers, stats.binom.pmf(np.arange(n + 1), n, p)) > SIGNIFICANCE


@pytest.mark.parametrize(
    ("n", "p"), [(20, 0.5), (100, 0.1), (100, 0.9), (1000, 0.01), (400, 0.3), (65_536, 0.999), (10**6, 0.4)]
)
def test_binomial_numbers_of_larger_mean_are_nearly_exact(n: int, p: float) -> None:
    numbers = np.empty(DRAWS, dtype=np.int64)
    draw_binomial(stream(6), n, p, 1 - p, numbers)
    assert 0 <= numbers.min() and numbers.max() <= n
    assert largest_error(numbers, stats.binom(n, p)) < NORMAL_ERROR + sampling_error(SIGNIFICANCE)
    mean_error = np.sqrt(n * p * (1 - p) / DRAWS)
    assert abs(numbers.mean() - n * p) < stats.norm.isf(SIGNIFICANCE / 2) * mean_error + 0.01


@pytest.mark.parametrize(("n", "p", "q", "expected"), [(0, 0.5, 0.5, 0), (9, 0.0, 1.0, 0), (9, 1.0, 0.0, 9)])
def test_binomial_numbers_without_a_choice(n: int, p: float, q: float, expected: int) -> None:
    assert binomial(stream(7), n, p, q) == expected


def test_probability_within_rounding_of_one_leaves_the_complement_exact() -> None:
    n, q = 10**6, 1e-6
    numbers = np.empty(DRAWS, dtype=np.int64)
    draw_binomial(stream(8), n, 1 - q, q, numbers)
    assert chi_square_p_value(n - numbers, stats.binom.pmf(np.arange(40), n, q)) > SIGNIFICANCE


@pytest.mark.parametrize(("wanted", "marked", "total"), [(5, 3, 10), (30, 40, 50), (1, 1, 1000), (32, 500, 1000)])
def test_few_draws_without_replacement_are_exact(wanted: int, marked: int, total: int) -> None:
    numbers = np.empty(DRAWS, dtype=np.int64)
    draw_hypergeometric(stream(9), wanted, marked, total, numbers)
    probabilities = stats.hypergeom.pmf(np.arange(wanted + 1), total, marked, wanted)
    assert chi_square_p_value(numbers, probabilities) > SIGNIFICANCE


@pytest.mark.parametrize(("wanted", "marked", "total"), [(100, 300, 1000), (900, 500, 1000), (5000, 20_000, 80_000)])
def test_many_draws_without_replacement_have_the_right_moments(wanted: int, marked: int, total: int) -> None:
    numbers = np.empty(DRAWS, dtype=np.int64)
    draw_hypergeometric(stream(10), wanted, marked, total, numbers)
    exact = stats.hypergeom(total, marked, wanted)
    assert max(0, wanted + marked - total) <= numbers.min() and numbers.max() <= min(wanted, marked)
    assert numbers.mean() == pytest.approx(exact.mean(), abs=5 * exact.std() / np.sqrt(DRAWS))
    # rounding to integers adds 1/12 to the variance
    assert numbers.var() == pytest.approx(exact.var() + 1 / 12, rel=0.02)


@pytest.mark.parametrize(("wanted", "marked", "expected"), [(0, 5, 0), (10, 5, 5), (4, 0, 0), (4, 10, 4)])
def test_draws_without_replacement_without_a_choice(wanted: int, marked: int, expected: int) -> None:
    assert hypergeometric(stream(11), wanted, marked, 10) == expected


@pytest.mark.parametrize("number", [0.0, 0.25, 3.0, 41.9, 1e6 + 0.5])
def test_random_rounding_keeps_the_mean(number: float) -> None:
    numbers = np.empty(DRAWS, dtype=np.int64)
    draw_rounded(stream(12), number, numbers)
    assert set(numbers) <= {int(np.floor(number)), int(np.ceil(number))}
    fraction = number - np.floor(number)
    rounded_up = int((numbers > number).sum())
    assert stats.binomtest(rounded_up, DRAWS, fraction).pvalue > SIGNIFICANCE
