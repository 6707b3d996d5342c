"""An environment that costs nothing: what a learner takes alone is the most that a training can come to."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from tierenv.train.vec_adapter import BatchVecEnv

SEED = 0


class CostlessVecEnv(BatchVecEnv):
    """Looks like another, has its size and its spaces, and answers every step with the same numbers.

    Args:
        like: the other one.
    """

    def __init__(self, like: VecEnv) -> None:
        super().__init__(like.num_envs, like.observation_space, like.action_space)
        shape = (like.num_envs, *(like.observation_space.shape or ()))
        generator = np.random.default_rng(SEED)
        self._observations = generator.uniform(-1, 1, shape).astype(np.float32)
        self._rewards = generator.normal(0, 1, like.num_envs).astype(np.float32)
        self._dones = np.zeros(like.num_envs, dtype=np.bool_)
        self._infos: list[dict[str, Any]] = [{} for _ in range(like.num_envs)]

    def reset(self) -> VecEnvObs:
        """The same as ever."""
        return self._observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Whatever they are."""

    def step_wait(self) -> VecEnvStepReturn:
        """The same as ever."""
        return self._observations, self._rewards, self._dones, self._infos

    def close(self) -> None:
        """Nothing to close."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """No attribute of single environments has a value."""
        return [None] * len(self._indices(indices))
