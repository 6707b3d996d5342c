"""The search: where it ends for models whose answer is known, and what is known there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierenv.fit import Posterior, Problem
from tierenv.progress import unreported

COVARIANCE = np.diag([0.01, 0.02, 0.015, 0.03]) ** 2 + 0.01**2
PRIOR_SDS = np.array([0.5, 0.7, 0.2])


def linear(seed: int) -> tuple[Problem, np.ndarray, np.ndarray]:
    """Returns a problem, its slopes and what was measured."""
    rng = np.random.default_rng(seed)
    slopes = rng.normal(0, 1, (4, 3))
    slopes[:, 2] = 0  # nothing tells of the last
    measured = rng.normal(0, 0.3, 4)
    problem = Problem(
        log_measured=measured,
        covariance=COVARIANCE,
        prior_sds=PRIOR_SDS,
        bounds=np.array([-3.5 * PRIOR_SDS, 3.5 * PRIOR_SDS]),
        evaluate=lambda points: points @ slopes.T,
    )
    return problem, slopes, measured


def optimum(slopes: np.ndarray, measured: np.ndarray, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
    """Returns where the posterior of a linear model has its maximum."""
    weights = np.linalg.inv(COVARIANCE[rows][:, rows])
    curvature = slopes[rows].T @ weights @ slopes[rows] + np.diag(PRIOR_SDS**-2)
    return np.linalg.solve(curvature, slopes[rows].T @ weights @ measured[rows])


@given(seed=st.integers(0, 1000))
def test_a_linear_model_is_solved(seed: int) -> None:
    problem, slopes, measured = linear(seed)
    expected = optimum(slopes, measured)
    if (np.abs(expected) > 3.4 * PRIOR_SDS).any():
        return  # it ends at a bound
    found = problem.solve(unreported)
    assert np.linalg.norm(found.errors - (slopes @ found.offsets - measured)) < 1e-12
    distance = found.offsets - expected
    assert distance @ np.linalg.solve(found.covariance, distance) < 0.02
    assert found.offsets[2] == 0 and found.covariance[2, 2] == pytest.approx(PRIOR_SDS[2] ** 2)
    assert (np.diag(found.covariance) <= PRIOR_SDS**2 * (1 + 1e-9)).all()


@given(seed=st.integers(0, 1000), row=st.integers(0, 3))
def test_leaving_out_is_exact_for_a_linear_model(seed: int, row: int) -> None:
    _, slopes, measured = linear(seed)
    offsets = optimum(slopes, measured)
    posterior = Posterior(offsets, slopes @ offsets - measured, slopes, COVARIANCE, PRIOR_SDS)
    group = np.arange(4) == row
    without = optimum(slopes, measured, np.flatnonzero(~group))
    assert posterior.left_out(group) == pytest.approx(slopes[group] @ without - measured[group], abs=1e-9)


def test_bounds_are_never_left_and_a_bent_model_is_solved() -> None:
    seen = []

    def evaluate(points: np.ndarray) -> np.ndarray:
        seen.extend(points)
        return np.array([[np.expm1(3 * x), np.tanh(x)] for [x] in points])

    problem = Problem(
        log_measured=np.array([np.expm1(1.5), np.tanh(0.5)]),
        covariance=1e-4 * np.eye(2),
        prior_sds=np.array([1.0]),
        bounds=np.array([[0.0], [0.6]]),
        evaluate=evaluate,
    )
    found = problem.solve(unreported)
    assert found.offsets[0] == pytest.approx(0.5, abs=0.002)
    assert all(0 <= x <= 0.6 for [x] in seen)
    assert len(seen) == len({x for [x] in seen}), "nothing is evaluated twice"


def test_progress_grows_to_what_was_announced() -> None:
    told: list[tuple[int, int]] = []
    linear(1)[0].solve(lambda done, total, _doing: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert all(done < total for done, total in told)
