"""Reward: the time a step took, and an optional shaping that leaves the best policy as it is.

The reward of a step is minus its duration over the reference time, so an episode's return is minus its
normalised completion time. Evaluation counts nothing else. Shaping (Ng, Harada and Russell, 1999) adds gamma
Phi' - Phi with Phi = -(time for the rest of the present phase at the present placement, and for later phases on
the fast tier) / reference; with gamma = 1 it telescopes to Phi_end - Phi_0.
"""

import numpy as np
from numpy.typing import NDArray

from tierenv.checks import positive_number
from tierenv.system import ModelledSystem


def time_reward(step_s: NDArray[np.float64], reference_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64[n]: minus the duration of a step in units of the reference time."""
    return -step_s / reference_s


class Shaping:
    """Potential-based shaping of the machines of a model.

    Phi is 0 at termination, where nothing follows, and kept at truncation, where the learner bootstraps.

    Args:
        system: the machines.
        gamma: the learner's discount factor, in (0, 1].

    Raises:
        ConfigError: for a gamma outside of that.
    """

    def __init__(self, system: ModelledSystem, gamma: float) -> None:
        self._system = system
        self._gamma = positive_number("shaping_gamma", gamma, most=1.0)
        self._potential = np.zeros_like(system.reference_s)

    def restart(self, mask: NDArray[np.bool_]) -> None:
        """Take the potential of the episodes that begin, on the machines under the mask bool[n]."""
        self._potential[mask] = -(self._system.remaining_s() / self._system.reference_s)[mask]

    def reward(self) -> NDArray[np.float64]:
        """float64[n]: gamma Phi' - Phi of the step that led here."""
        potential = -self._system.remaining_s() / self._system.reference_s
        potential[self._system.is_done] = 0.0
        shaping = self._gamma * potential - self._potential
        self._potential = potential
        return shaping
