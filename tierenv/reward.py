"""Reward: the time a step took, and an optional shaping that leaves the best policy as it is.

The reward of a step is minus its duration over the reference time, so an episode's return is minus its
normalised completion time. Evaluation counts nothing else. Shaping (Ng, Harada and Russell, 1999) adds gamma
Phi' - Phi with Phi = -(time for the rest of the present phase at the present placement, and for later phases on
the fast tier) / reference; with gamma = 1 it telescopes to Phi_end - Phi_0.
"""

import numpy as np
from numpy.typing import NDArray

from tierenv.errors import ConfigError


def time_reward(step_s: NDArray[np.float64], reference_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64[n]: minus the duration of a step in units of the reference time."""
    return -step_s / reference_s


class Shaping:
    """Potential-based shaping of n machines.

    Phi is 0 at termination, where nothing follows, and kept at truncation, where the learner bootstraps.

    Args:
        gamma: the learner's discount factor, in (0, 1].
        reference_s: float64[n], reference times [s].
    """

    def __init__(self, gamma: float, reference_s: NDArray[np.float64]) -> None:
        if not 0 < gamma <= 1:
            raise ConfigError(f"shaping_gamma={gamma}: must be above 0 and at most 1 (the learner's gamma)")
        self._gamma = gamma
        self._reference_s = reference_s
        self._potential = np.zeros_like(reference_s)

    def restart(self, remaining_s: NDArray[np.float64], mask: NDArray[np.bool_]) -> None:
        """Take the potential of the episodes that begin: remaining_s float64[n], mask bool[n]."""
        self._potential[mask] = -(remaining_s / self._reference_s)[mask]

    def reward(self, remaining_s: NDArray[np.float64], terminated: NDArray[np.bool_]) -> NDArray[np.float64]:
        """float64[n]: gamma Phi' - Phi of the step that led here."""
        potential = np.where(terminated, 0.0, -remaining_s / self._reference_s)
        shaping = self._gamma * potential - self._potential
        self._potential = potential
        return shaping
