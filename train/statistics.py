"""Statistics of few runs: means with intervals, interquartile means, paired differences.

Follows "Deep RL at the edge of the statistical precipice" (Agarwal et al., 2021), whose library rliable
does not import beside pandas 3.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
RESAMPLES = 2000
MOST_RESAMPLED = 4_000_000
"""Numbers that are drawn at once, of whatever many strata."""
BOOTSTRAP_SEED = 0
"""Fixed, so that the same runs always give the same interval."""

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A point estimate with its 95 % confidence interval; NaN limits where one run allows none."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> list[float] | None:
        """[low, high] for JSON, None where there is none."""
        return None if math.isnan(self.low) else [self.low, self.high]

    def to_json(self) -> dict[str, Any]:
        """What results hold of it."""
        return {"mean": self.value, "ci95": self.interval}


def mean_estimate(values: ArrayLike) -> Estimate:
    """The mean of independent runs with Student's t interval."""
    runs = np.asarray(values, dtype=np.float64)
    mean = float(runs.mean())
    if runs.size < 2:
        return Estimate(mean, math.nan, math.nan)
    quantile = float(stdtrit(runs.size - 1, 0.5 + CONFIDENCE / 2))
    half_width = quantile * float(runs.std(ddof=1)) / math.sqrt(runs.size)
    return Estimate(mean, mean - half_width, mean + half_width)


def paired_difference(first: ArrayLike, second: ArrayLike) -> Estimate:
    """Mean of first minus second over runs that share seeds, with Student's t interval of the differences."""
    return mean_estimate(np.subtract(first, second))


class _Mean(NamedTuple):
    """The mean of the means of strata, its standard error and the degrees of freedom of that; NaN where unknown."""

    value: float
    error: float
    freedom: float

    @property
    def estimate(self) -> Estimate:
        if not self.error > 0:  # no stratum varies, or too little to be squared; or nothing is known
            return Estimate(self.value, self.value - self.error, self.value + self.error)
        half_width = float(stdtrit(self.freedom, 0.5 + CONFIDENCE / 2)) * self.error
        return Estimate(self.value, self.value - half_width, self.value + half_width)


def _mean_of_means(strata: Sequence[ArrayLike]) -> _Mean:
    """Degrees of freedom of Satterthwaite, "An approximate distribution of estimates of variance components" (1946)."""
    runs = [np.asarray(stratum, dtype=np.float64) for stratum in strata]
    mean = float(np.mean([stratum.mean() for stratum in runs]))
    if min(stratum.size for stratum in runs) < 2:
        return _Mean(mean, math.nan, math.nan)
    variances = np.array([stratum.var(ddof=1) / stratum.size for stratum in runs])
    freedom = np.array([stratum.size - 1 for stratum in runs])
    total = float(variances.sum())
    spread = float((variances**2 / freedom).sum())
    if spread == 0:
        return _Mean(mean, 0.0, math.nan)
    return _Mean(mean, math.sqrt(total) / len(runs), total**2 / spread)


def stratified_mean(strata: Sequence[ArrayLike]) -> Estimate:
    """The mean of the strata's means, each of which counts the same, with Student's t interval.

    Of one stratum it is `mean_estimate`.
    """
    return _mean_of_means(strata).estimate


def stratified_p_value(strata: Sequence[ArrayLike]) -> float:
    """Two-sided p-value of Student's t for that the mean of `stratified_mean` is 0; 1 where one run tells nothing."""
    mean = _mean_of_means(strata)
    if math.isnan(mean.error):
        return 1.0
    if mean.error == 0:
        return float(mean.value == 0)
    return float(2 * stdtr(mean.freedom, -abs(mean.value) / mean.error))


def ratio_of_totals(tops: Sequence[ArrayLike], bottoms: Sequence[ArrayLike]) -> Estimate:
    """Sum of the means of the strata of one over that of the other, runs of both on the same seeds, with its interval.

    Strata are fixed: the interval is Student's t for the sum of top - ratio x bottom, to first order ("delta method",
    Cochran, "Sampling techniques", section 6.11), so that what runs on one seed have in common cancels.
    """
    pairs = [
        (np.asarray(top, np.float64), np.asarray(bottom, np.float64)) for top, bottom in zip(tops, bottoms, strict=True)
    ]
    total = sum(float(bottom.mean()) for _, bottom in pairs)
    ratio = sum(float(top.mean()) for top, _ in pairs) / total
    rest = stratified_mean([(top - ratio * bottom) * (len(pairs) / total) for top, bottom in pairs])
    return Estimate(ratio, ratio + (rest.low - rest.value), ratio + (rest.high - rest.value))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for that they are several.

    Holm, "A simple sequentially rejective multiple test procedure" (1979): rejecting what has an adjusted one of at
    most 0.05 is wrong anywhere with a probability of at most that.
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted


def interquartile_mean(values: ArrayLike) -> NDArray[np.float64]:
    """The mean over the last axis without its lowest and highest quarter (whole runs, as in rliable)."""
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    cut = ordered.shape[-1] // 4
    kept: NDArray[np.float64] = ordered[..., cut : ordered.shape[-1] - cut]
    return kept.mean(axis=-1)


def stratified_bootstrap(
    strata: Sequence[ArrayLike],
    statistic: Callable[[Floats], Floats] = interquartile_mean,
    *,
    resamples: int = RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
) -> Estimate:
    """A statistic of the pooled runs with its percentile interval, resampling the runs of each stratum apart.

    Args:
        strata: the runs of each stratum (scenario), which are fixed: nothing is said of others.
        statistic: maps `[..., runs]` to `[...]`.
        resamples: number of bootstrap samples.
        seed: seed of the resampling.
    """
    runs = [np.asarray(stratum, dtype=np.float64) for stratum in strata]
    value = float(statistic(np.concatenate(runs)))

    def resampled(generator: np.random.Generator, number: int) -> Floats:
        return statistic(
            np.concatenate([stratum[_drawn(generator, stratum.size, number)] for stratum in runs], axis=-1)
        )

    return _percentile_interval(value, [stratum.size for stratum in runs], resampled, resamples, seed)


def probability_of_improvement(
    first: Sequence[ArrayLike],
    second: Sequence[ArrayLike],
    ties: Sequence[float] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
) -> Estimate:
    """Mean over strata of P(X < Y) + P(X = Y) / 2, with a percentile interval: rliable's, where less is better.

    X and Y are any two runs of a stratum, not those of one seed: the Mann-Whitney statistic. The bootstrap draws seeds,
    and with each both its runs, so that the interval knows what they have in common.

    Args:
        first: float[runs] of each stratum.
        second: the same of the other.
        ties: of each stratum, the greatest difference that is none; by default 0.
        resamples: number of bootstrap samples.
        seed: seed of the resampling.
    """
    wins = []
    for x, y, tie in zip(first, second, ties or [0.0] * len(first), strict=True):
        difference = np.subtract.outer(np.asarray(x, np.float64), np.asarray(y, np.float64))
        wins.append(np.where(np.abs(difference) <= tie, 0.5, difference < 0))
    value = float(np.mean([each.mean() for each in wins]))

    def resampled(generator: np.random.Generator, number: int) -> Floats:
        total = np.zeros(number)
        for each in wins:
            draws = _drawn(generator, len(each), number)
            counts = np.zeros((number, len(each)))
            np.add.at(counts, (np.arange(number)[:, None], draws), 1.0 / len(each))
            total += ((counts @ each) * counts).sum(axis=1)
        return total / len(wins)

    return _percentile_interval(value, [len(each) for each in wins], resampled, resamples, seed)


def _drawn(generator: np.random.Generator, runs: int, number: int) -> NDArray[np.int64]:
    """int64[number, runs]: runs of a stratum for each bootstrap sample."""
    return generator.integers(runs, size=(number, runs))


def _percentile_interval(
    value: float,
    sizes: Sequence[int],
    resampled: Callable[[np.random.Generator, int], Floats],
    resamples: int,
    seed: int,
) -> Estimate:
    """With the percentiles of a statistic's bootstrap samples, drawn as many at once as memory is to hold."""
    if max(sizes) < 2:
        return Estimate(value, math.nan, math.nan)
    generator = np.random.default_rng(seed)
    at_once = max(1, MOST_RESAMPLED // sum(sizes))
    parts = [resampled(generator, min(at_once, resamples - start)) for start in range(0, resamples, at_once)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(parts), [tail, 1 - tail])
    return Estimate(value, float(low), float(high))
