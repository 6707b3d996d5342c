"""Random settings: the floor any informed policy must beat."""

import numpy as np

from tierenv.agents.policy import Array
from tierenv.scenario import Control, Scenario
from tierenv.tunables import NUM_TUNABLES


class RandomPolicy:
    """A uniform action every control interval, the distribution `action_space.sample()` has.

    Machine i draws from a stream of its own, so its actions do not depend on how many others run beside it.
    """

    name = "random"
    daemon: str | None = None
    control: Control = "tunables"

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._generators: list[np.random.Generator] = []

    def reset(self, num_machines: int) -> None:
        """Start the streams again."""
        self._generators = [np.random.default_rng([self._seed, machine]) for machine in range(num_machines)]

    def act(self, observation: Array) -> Array:
        """Uniform in [-1, 1], whatever is observed."""
        draws = [generator.uniform(-1, 1, NUM_TUNABLES) for generator in self._generators]
        return np.array(draws, np.float32)


def make(_scenario: Scenario, _argument: str) -> RandomPolicy:
    """The policy with seed 0, so that a run can be repeated."""
    return RandomPolicy()
