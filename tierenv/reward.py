"""Reward: what an objective grows by in a step, and an optional shaping that leaves the best policy as it is.

The reward of a step is minus the growth of the scenario's objective (`tierenv.objective`) over what it comes to with
every page fast, so an episode's return is minus its normalised objective. Evaluation counts nothing else. With
objective last-end that is minus the duration of the step over the reference time. Once an application has ended whose
end alone is judged, its episode goes on without reward until the run is complete. The growth of worst-slowdown is 0
while no process is slower than the slowest so far; that of a percentile may be negative.

Shaping (Ng, Harada and Russell, 1999) adds gamma Phi' - Phi with Phi = -(what the objective still grows by if the rest
of the present phases runs at the present placement, and later phases on the fast tier) / the same scale; with gamma = 1
it telescopes to Phi_end - Phi_0.
"""

import numpy as np
from numpy.typing import NDArray

from tierenv.checks import positive_number
from tierenv.score import Score

Floats = NDArray[np.float64]


def time_reward(step_s: Floats, reference_s: Floats) -> Floats:
    """float64[n]: minus the duration of a step in units of the reference time."""
    return -step_s / reference_s


class Shaping:
    """Potential-based shaping of the machines of a model.

    Phi is 0 at termination, where nothing follows, and kept at truncation, where the learner bootstraps.

    Args:
        score: of the machines.
        gamma: the learner's discount factor, in (0, 1].

    Raises:
        ConfigError: for a gamma outside of that, and for objectives that cannot be shaped.
    """

    def __init__(self, score: Score, gamma: float) -> None:
        self._score = score
        self._gamma = positive_number("shaping_gamma", gamma, most=1.0)
        score.check_shaping()
        self._potential = np.zeros_like(score.all_fast)

    def follow(self, score: Score) -> None:
        """Go by another score of the same machines, those under way as before. Raises `ConfigError` as when made."""
        score.check_shaping()
        self._score = score

    def restart(self, mask: NDArray[np.bool_]) -> None:
        """Take the potential of the episodes that begin, on the machines under the mask bool[n]."""
        self._potential[mask] = -self._score.remaining()[mask]

    def reward(self) -> Floats:
        """float64[n]: gamma Phi' - Phi of the step that led here."""
        potential = -self._score.remaining()
        potential[self._score.system.is_done] = 0.0
        shaping = self._gamma * potential - self._potential
        self._potential = potential
        return shaping
