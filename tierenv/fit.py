"""Least squares under priors for a model that is slow and a little rough: few evaluations, in batches.

Points are logarithms of parameters over the medians of their priors. Slopes are taken by differences in one batch, kept
up to date by what is evaluated anyway (Broyden's update), and taken again where the search has ended. Broyden, A class
of methods for solving nonlinear simultaneous equations, 1965.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from tierenv.progress import ReportProgress

Floats = NDArray[np.float64]

Remember = Callable[[list[Any], Callable[[], Floats]], Floats]
"""Gives what the second makes, or what it has made before for the first, which JSON can hold."""

STEP = 0.05
"""Step of the finite differences in the logarithm of a parameter: far above what a run's random draws do."""
ENOUGH = 0.01
"""Reduction of the sum of squares at which the search stops: a tenth of a standard deviation of one parameter."""
MOST_ROUNDS = 3
"""Of taking slopes and going down by them; nearly always the first ends near where it begins."""
NEAR = 0.3
"""Standard deviations of the posterior within which slopes still hold."""
MOST_STEPS = 12
"""Of one way down."""
LEAST_SHARE = 0.1
"""Of a step, below which none is tried."""
USUAL_EVALUATIONS = 10
"""Of all ways down together, for the time left."""


def evaluated_anew(decides: list[Any], evaluate: Callable[[], Floats]) -> Floats:
    """Keeps nothing: see `Remember`."""
    return evaluate()


@dataclass(frozen=True)
class Posterior:
    """Where a search has ended, and what is known there."""

    offsets: Floats
    """float64[parameters]."""
    errors: Floats
    """float64[rows]: logarithms of modelled over measured."""
    slopes: Floats
    """float64[rows, parameters]: of the errors."""
    error_covariance: Floats
    """float64[rows, rows]."""
    prior_sds: Floats
    """float64[parameters]."""

    @property
    def covariance(self) -> Floats:
        """float64[parameters, parameters]: inverse of the curvature."""
        return np.linalg.inv(self._curvature(np.ones(len(self.errors), dtype=np.bool_))).astype(np.float64)

    def left_out(self, group: NDArray[np.bool_]) -> Floats:
        """Errors of the rows of a group if only the others had been fitted, exact to first order in the change.

        With errors linear in the offsets, the optimum of the other rows is one step of Gauss and Newton away.
        """
        rest = ~group
        weights = np.linalg.inv(self.error_covariance[np.ix_(rest, rest)])
        gradient = self.slopes[rest].T @ weights @ self.errors[rest] + self.offsets / self.prior_sds**2
        step = -np.linalg.solve(self._curvature(rest), gradient)
        return self.errors[group] + self.slopes[group] @ step

    def _curvature(self, is_used: NDArray[np.bool_]) -> Floats:
        weights = np.linalg.inv(self.error_covariance[np.ix_(is_used, is_used)])
        return self.slopes[is_used].T @ weights @ self.slopes[is_used] + np.diag(self.prior_sds**-2)


@dataclass(frozen=True)
class Problem:
    """What is to be fitted to what."""

    log_measured: Floats
    """float64[rows]."""
    covariance: Floats
    """float64[rows, rows], of the errors of these."""
    prior_sds: Floats
    """float64[parameters]."""
    bounds: Floats
    """float64[2, parameters]: least and greatest offsets."""
    evaluate: Callable[[Floats], Floats]
    """Logarithms of what the model makes of the rows, float64[points, rows], at points, float64[points, parameters]."""

    def solve(self, report_progress: ReportProgress) -> Posterior:
        """Find the optimum."""
        return _Search(self, report_progress).solve()


class _Search:
    """One search."""

    def __init__(self, problem: Problem, report_progress: ReportProgress) -> None:
        self._problem = problem
        self._report_progress = report_progress
        self._whiten = np.linalg.inv(np.linalg.cholesky(problem.covariance))
        self._errors: dict[bytes, Floats] = {}
        """Of what has been evaluated, by point."""
        self._expected = 3 * len(problem.prior_sds) + USUAL_EVALUATIONS

    def solve(self) -> Posterior:
        """See `Problem.solve`."""
        offsets = np.clip(np.zeros(len(self._problem.prior_sds)), *self._problem.bounds)
        offsets = self._go_down(offsets, self._slopes(offsets, both_ways=False))
        for _ in range(MOST_ROUNDS):
            start, slopes = offsets, self._slopes(offsets)
            offsets = self._go_down(start, slopes)
            posterior = self._posterior(offsets, slopes)
            if (offsets - start) @ np.linalg.solve(posterior.covariance, offsets - start) < NEAR**2:
                break
        return posterior

    def _posterior(self, offsets: Floats, slopes: Floats) -> Posterior:
        problem = self._problem
        [errors] = self._evaluated([offsets])
        return Posterior(offsets, errors, slopes, problem.covariance, problem.prior_sds)

    def _slopes(self, offsets: Floats, both_ways: bool = True) -> Floats:
        """float64[rows, parameters] at a point: by differences that do not leave the bounds, in one batch."""
        low, high = self._problem.bounds
        steps = STEP * np.eye(len(offsets))
        ups = np.minimum(offsets + steps, high)
        downs = np.maximum(offsets - steps, low) if both_ways else np.tile(offsets, (len(offsets), 1))
        if not both_ways:  # the other way where there is no room
            ups = np.where(ups > downs, ups, np.maximum(offsets - steps, low))
        errors = self._evaluated([offsets, *ups, *downs])
        up_errors, down_errors = np.split(np.array(errors[1:]), 2)
        return ((up_errors - down_errors) / np.diag(ups - downs)[:, None]).T

    def _go_down(self, start: Floats, slopes: Floats) -> Floats:
        """The optimum that slopes lead to from a point, kept up to date on the way."""
        problem = self._problem
        best, share = start, 1.0
        slopes_here = np.concatenate((self._whiten @ slopes, np.diag(1 / problem.prior_sds)))
        for _ in range(MOST_STEPS):
            residuals = self._residuals(best)
            whole = lsq_linear(slopes_here, -residuals, bounds=problem.bounds - best, method="bvls").x
            step = np.clip(best + share * whole, *problem.bounds) - best
            expected = residuals + slopes_here @ step
            if residuals @ residuals - expected @ expected < ENOUGH:
                break
            found = self._residuals(best + step)
            if np.abs(step).max() > 0.5 * STEP:  # shorter ones tell of the run's draws
                scaled = step / problem.prior_sds
                change = np.outer(found - expected, scaled / (scaled @ scaled)) / problem.prior_sds
                slopes_here = slopes_here + change
            if found @ found < residuals @ residuals:
                best, share = best + step, min(1.0, 2 * share)
            elif (share := share / 2) < LEAST_SHARE:
                break  # what is left are steps of the model's own
        return best

    def _residuals(self, offsets: Floats) -> Floats:
        """float64[rows + parameters]: errors in their standard deviations, made independent, and those from priors."""
        [errors] = self._evaluated([offsets])
        return np.concatenate((self._whiten @ errors, offsets / self._problem.prior_sds))

    def _evaluated(self, points: Sequence[Floats]) -> list[Floats]:
        """Errors at points, of which those that are new are one batch."""
        new = {point.tobytes(): point for point in points if point.tobytes() not in self._errors}
        if new:
            done = len(self._errors)
            self._expected = max(self._expected, done + len(new))
            self._report_progress(done, self._expected, "points of the search")
            found = self._problem.evaluate(np.array(list(new.values()))) - self._problem.log_measured
            self._errors |= zip(new, found, strict=True)
        return [self._errors[point.tobytes()] for point in points]
