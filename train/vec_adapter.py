"""stable-baselines3's VecEnv over the native vector environment.

stable-baselines3 refuses a gymnasium VectorEnv, and wrapping single environments would give up the batched
model. The adapter works on whole arrays; only environments whose episode ends get a dictionary of their own.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from tierenv.errors import ConfigError
from tierenv.train.rewards import RewardForm, Rewards

EPISODE_KEYS = (
    "elapsed_s",
    "reference_s",
    "objective",
    "objective_all_fast",
    "promoted_pages",
    "demoted_pages",
    "wasted_promotions",
)
"""Figures of a finished episode that `info["episode"]` carries beside VecMonitor's r, l and t."""


class BatchVecEnv(VecEnv):
    """A whole batch as a VecEnv: there are no single environments to call, to wrap or to give attributes."""

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refused: the environments share their attributes."""
        raise NotImplementedError("attributes belong to the whole vector environment")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Refused: there are no single environments to call."""
        raise NotImplementedError("there are no single environments")

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """No wrapper is around a single environment."""
        return [False] * len(self._indices(indices))

    def _indices(self, indices: VecEnvIndices) -> Sequence[int]:
        return list(self._get_indices(indices))


class TieredMemoryVecEnv(BatchVecEnv):
    """Presents a `TieredMemoryVectorEnv` in mode SAME_STEP, or what wraps one, to stable-baselines3.

    What `set_options` was given goes to the next reset; autoresets keep what it chose. `info["episode"]` of a finished
    episode holds the return `r`, the length `l` and the time since start `t` as VecMonitor's does, so no VecMonitor is
    needed, and `EPISODE_KEYS`; the return is the environment's, whatever the learner sees.

    Args:
        env: the environment.
        rewards: makes of its rewards those the learner sees; None leaves them.
        menu: float32[choices, T], settings that the learner chooses from by number; None leaves it the box.
    """

    def __init__(
        self, env: VectorEnv[Any, Any, Any], rewards: Rewards | None = None, menu: NDArray[np.float32] | None = None
    ) -> None:
        mode = env.metadata["autoreset_mode"]
        if mode != AutoresetMode.SAME_STEP:
            raise ValueError(f"stable-baselines3 needs an environment in mode SAME_STEP, got {mode}")
        self.env = env
        self._rewards = rewards or Rewards(RewardForm())
        self._menu = menu
        self.seconds_in_model = 0.0
        """Wall time spent in the environment [s]."""
        self.machine_s = 0.0
        """Modelled time that has passed in all environments: what real machines would have been busy [s]."""
        action_space = self._rewards.reach(env.single_action_space) if menu is None else Discrete(len(menu))
        super().__init__(env.num_envs, env.single_observation_space, action_space)
        # Shared by all steps without an end of episode: building dictionaries would cost more than the model.
        self._empty_infos: list[dict[str, Any]] = [{} for _ in range(env.num_envs)]
        self._actions = np.zeros(env.action_space.shape or (), np.float32)
        self._returns = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, np.int64)
        self._elapsed_s = np.zeros(env.num_envs)
        self._started = time.perf_counter()

    def reset(self) -> VecEnvObs:
        """Start all episodes; a seed set by `seed` and options set by `set_options` are used once.

        Raises:
            ConfigError: for options that the environment refuses, or of which some environments have other keys.
        """
        seeds: Any = None if self._seeds[0] is None else list(self._seeds)
        observations: VecEnvObs
        observations, info = self.env.reset(seed=seeds, options=self._options_of_all())
        self._rewards.restart(info)
        self._elapsed_s = np.array(info["elapsed_s"])
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0
        self._lengths[:] = 0
        return observations

    def _options_of_all(self) -> dict[str, Any]:
        """Options of each environment as those of the vector environment."""
        keys = self._options[0].keys()
        if any(options.keys() != keys for options in self._options):
            raise ConfigError("set_options: must give every environment the same keys")
        return {key: [options[key] for options in self._options] for key in keys}

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions, or the choices, for `step_wait`."""
        self._actions = actions if self._menu is None else self._menu[actions]

    def step_wait(self) -> VecEnvStepReturn:
        """Step all environments; those that end start anew in the same step."""
        before = time.perf_counter()
        observations, rewards, terminated, truncated, info = self.env.step(self._rewards.within(self._actions))
        self.seconds_in_model += time.perf_counter() - before
        self._returns += rewards
        self._lengths += 1
        dones = terminated | truncated
        ended = info["final_info"] if dones.any() else info
        self.machine_s += float((np.where(dones, ended["elapsed_s"], info["elapsed_s"]) - self._elapsed_s).sum())
        self._elapsed_s = np.array(info["elapsed_s"])
        infos = self._empty_infos
        if dones.any():
            infos = list(infos)
            for index in np.flatnonzero(dones):
                infos[index] = self._final_info(int(index), bool(truncated[index] and not terminated[index]), info)
            self._returns[dones] = 0
            self._lengths[dones] = 0
        return observations, self._rewards.apply(rewards, self._actions, info, dones), dones, infos

    def _final_info(self, index: int, is_truncated: bool, info: dict[str, Any]) -> dict[str, Any]:
        final = info["final_info"]
        figures = {key: float(final[key][index]) for key in EPISODE_KEYS}
        return {
            "terminal_observation": info["final_obs"][index],
            "TimeLimit.truncated": is_truncated,
            "episode": {
                "r": float(self._returns[index]),
                "l": int(self._lengths[index]),
                "t": time.perf_counter() - self._started,
                **figures,
            },
        }

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the vector environment, repeated: all environments share it."""
        return [getattr(self.env, attr_name)] * len(self._indices(indices))
