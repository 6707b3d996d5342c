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
LEAST_RUNS = 3
"""Of every stratum, below which a bootstrap has too few values to draw from to tell of what was not seen."""
RESAMPLES = 2000
MOST_RESAMPLED = 4_000_000
"""Numbers that are drawn at once, of whatever many strata."""
BOOTSTRAP_SEED = 0
"""Fixed, so that the same runs always give the same interval."""

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A point estimate with its 95 % confidence interval; NaN limits where so few runs allow none."""

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


def stratified_mean(strata: Sequence[ArrayLike]) -> Estimate:
    """The mean of the strata's means, each of which counts the same, with Student's t interval.

    Of one stratum it is `mean_estimate`.
    """
    mean, error, freedom = (float(each) for each in _mean_of_means(strata))
    if not error > 0:  # no stratum varies, or too little to be squared; or nothing is known
        return Estimate(mean, mean - error, mean + error)
    half_width = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * error
    return Estimate(mean, mean - half_width, mean + half_width)


def stratified_p_values(strata: Sequence[ArrayLike]) -> Floats:
    """Two-sided p-values of Student's t for that means as `stratified_mean` has them are 0.

    Args:
        strata: of each float[..., runs].

    Returns:
        float[...]; 1 where one run tells nothing.
    """
    mean, error, freedom = _mean_of_means(strata)
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = 2 * stdtr(freedom, -np.abs(mean) / error)
    found: Floats = np.where(error > 0, p_values, np.where(np.isnan(error) | (mean == 0), 1.0, 0.0))
    return found


def _mean_of_means(strata: Sequence[ArrayLike]) -> tuple[Floats, Floats, Floats]:
    """Means over the last axes of strata, their standard errors and the degrees of freedom of these; NaN where unknown.

    Degrees of freedom are those of Satterthwaite, "An approximate distribution of estimates of variance components"
    (1946).
    """
    runs = [np.asarray(stratum, dtype=np.float64) for stratum in strata]
    mean = np.mean([stratum.mean(axis=-1) for stratum in runs], axis=0)
    sizes = [stratum.shape[-1] for stratum in runs]
    if min(sizes) < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    variances = np.array([stratum.var(axis=-1, ddof=1) / stratum.shape[-1] for stratum in runs])
    total = variances.sum(axis=0)
    spread = np.array([variance**2 / (size - 1) for variance, size in zip(variances, sizes, strict=True)]).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return mean, np.where(spread > 0, np.sqrt(total), 0.0) / len(runs), total**2 / spread


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


def interquartile_mean(values: ArrayLike) -> Floats:
    """The mean over the last axis without its lowest and highest quarter (whole runs, as in rliable)."""
    runs = np.asarray(values, dtype=np.float64)
    number = runs.shape[-1]
    cut = number // 4
    kept: Floats = np.partition(runs, [cut, number - cut - 1], axis=-1)[..., cut : number - cut]
    return kept.mean(axis=-1)


def stratified_bootstrap(
    strata: Sequence[ArrayLike],
    statistic: Callable[[Floats], Floats] = interquartile_mean,
    *,
    resamples: int = RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
) -> Estimate:
    """A statistic of the pooled runs with its percentile interval, resampling the runs of each stratum apart.

    The interval is too short where strata are: it holds the truth 82 times of 100 with 3 runs each, 90 with 5, 93 with
    10. With fewer than `LEAST_RUNS` there is none.

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
    pairs = [
        _Pairs(np.asarray(x, np.float64), np.asarray(y, np.float64), tie)
        for x, y, tie in zip(first, second, ties or [0.0] * len(first), strict=True)
    ]

    def resampled(generator: np.random.Generator, number: int) -> Floats:
        found = [each.probability(_drawn(generator, each.num_runs, number)) for each in pairs]
        return np.mean(found, axis=0)

    value = float(np.mean([each.probability(np.arange(each.num_runs)[None]) for each in pairs]))
    return _percentile_interval(value, [each.num_runs for each in pairs], resampled, resamples, seed)


class _Pairs:
    """All pairs of a run of one and a run of the other, in the order of the other's."""

    def __init__(self, first: Floats, second: Floats, tie: float) -> None:
        self.num_runs = len(first)
        self._order = np.argsort(second)
        self._slower_from = np.searchsorted(second[self._order], first + tie, side="right")
        self._alike_from = np.searchsorted(second[self._order], first - tie, side="left")

    def probability(self, draws: NDArray[np.int64]) -> Floats:
        """float[samples]: P(X < Y) + P(X = Y) / 2, of samples int[samples, draws] of seeds."""
        samples = len(draws)
        cells = (np.arange(samples)[:, None] * self.num_runs + draws).ravel()
        counts = np.bincount(cells, minlength=samples * self.num_runs).reshape(samples, -1) / draws.shape[1]
        below = np.zeros((samples, self.num_runs + 1))  # share of the other's runs before each, in their order
        np.cumsum(counts[:, self._order], axis=1, out=below[:, 1:])
        faster = 1 - 0.5 * (below[:, self._slower_from] + below[:, self._alike_from])
        probability: Floats = (counts * faster).sum(axis=1)
        return probability


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
    if min(sizes) < LEAST_RUNS:
        return Estimate(value, math.nan, math.nan)
    generator = np.random.default_rng(seed)
    at_once = max(1, MOST_RESAMPLED // sum(sizes))
    parts = [resampled(generator, min(at_once, resamples - start)) for start in range(0, resamples, at_once)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(parts), [tail, 1 - tail])
    return Estimate(value, float(low), float(high))
