"""Statistics of few runs: means with intervals, interquartile means, paired differences.

Follows "Deep RL at the edge of the statistical precipice" (Agarwal et al., 2021), whose library rliable
does not import beside pandas 3.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

CONFIDENCE = 0.95
RESAMPLES = 2000
BOOTSTRAP_SEED = 0
"""Fixed, so that the same runs always give the same interval."""


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


def stratified_mean(strata: Sequence[ArrayLike]) -> Estimate:
    """The mean of the strata's means, each of which counts the same, with Student's t interval.

    Its degrees of freedom are those of Satterthwaite, "An approximate distribution of estimates of variance components"
    (1946); of one stratum it is `mean_estimate`.
    """
    runs = [np.asarray(stratum, dtype=np.float64) for stratum in strata]
    mean = float(np.mean([stratum.mean() for stratum in runs]))
    if min(stratum.size for stratum in runs) < 2:
        return Estimate(mean, math.nan, math.nan)
    variances = np.array([stratum.var(ddof=1) / stratum.size for stratum in runs])
    freedom = np.array([stratum.size - 1 for stratum in runs])
    total = float(variances.sum())
    spread = float((variances**2 / freedom).sum())
    if spread == 0:  # no stratum varies, or too little to be squared
        return Estimate(mean, mean, mean)
    half_width = float(stdtrit(total**2 / spread, 0.5 + CONFIDENCE / 2)) * math.sqrt(total) / len(runs)
    return Estimate(mean, mean - half_width, mean + half_width)


def interquartile_mean(values: ArrayLike) -> NDArray[np.float64]:
    """The mean over the last axis without its lowest and highest quarter (whole runs, as in rliable)."""
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    cut = ordered.shape[-1] // 4
    kept: NDArray[np.float64] = ordered[..., cut : ordered.shape[-1] - cut]
    return kept.mean(axis=-1)


def stratified_bootstrap(
    strata: Sequence[ArrayLike],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]] = interquartile_mean,
    *,
    resamples: int = RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
) -> Estimate:
    """A statistic of the pooled runs with its percentile interval, resampling the runs of each stratum apart.

    Args:
        strata: the runs of each stratum (scenario).
        statistic: maps `[..., runs]` to `[...]`.
        resamples: number of bootstrap samples.
        seed: seed of the resampling.
    """
    generator = np.random.default_rng(seed)
    runs = [np.asarray(stratum, dtype=np.float64) for stratum in strata]
    value = float(statistic(np.concatenate(runs)))
    if max(stratum.size for stratum in runs) < 2:
        return Estimate(value, math.nan, math.nan)
    drawn = [stratum[generator.integers(stratum.size, size=(resamples, stratum.size))] for stratum in runs]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(statistic(np.concatenate(drawn, axis=-1)), [tail, 1 - tail])
    return Estimate(value, float(low), float(high))
