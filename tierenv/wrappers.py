"""Other action spaces, a menu of named settings and steps up or down from the tunables in force, and other rewards.

Each comes for a single environment and, prefixed with `Vector`, for a vector environment.
"""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from tierenv.action import DEAD_ZONE_EDGE, ActionCodec, checked_coordinates, edges_of
from tierenv.checks import check_shape
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.task import TieredMemoryTask
from tierenv.tunables import TUNABLES

_SCANS = {"gentle": (0.5, -0.5), "steady": (0.0, 0.0), "burst": (-1.0, 1.0)}
"""Coordinates of scan period and scan size."""
_THROTTLES = {"slow": -0.4, "medium": 0.0, "fast": 0.4, "unlimited": 1.0}


def _choice(scan_period: float, scan_size: float, throttle: float) -> dict[str, float]:
    return {"scan_period": scan_period, "scan_size": scan_size, "throttle": throttle}


MENU = {"pause": _choice(1.0, -1.0, -1.0)} | {
    f"{scan}-{throttle}": _choice(*_SCANS[scan], _THROTTLES[throttle]) for scan in _SCANS for throttle in _THROTTLES
}
"""Named settings in action coordinates, hence for every daemon: no promotion at all, or one of three ways to scan with
one of four ceilings on promotion. Another tunable of the daemon keeps its value at start; one it lacks is left out."""


def menu_actions(*daemons: Daemon) -> NDArray[np.float32]:
    """float32[n, len(MENU), T]: the coordinates of each choice for each daemon.

    Raises `ConfigError` if they have no tunables, or not the same.
    """
    codec = ActionCodec(*daemons)
    if not codec.names:
        raise ConfigError(f"DiscreteMenu: daemon {daemons[0].name} has no tunables")
    at_start = codec.encode(np.array([daemon.start_setting.row for daemon in daemons]))
    actions = np.repeat(at_start[:, None], len(MENU), axis=1)
    for column, name in enumerate(codec.names):
        for row, choice in enumerate(MENU.values()):
            actions[:, row, column] = choice.get(name, actions[:, row, column])
    return actions.astype(np.float32)


def _checked_choices(choices: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Choices as intp[shape]. Raises `ConfigError` unless they are whole numbers of entries of the menu."""
    check_shape("choice", choices, shape)
    numbers = np.asarray(choices)
    if numbers.dtype.kind not in "iu":
        raise ConfigError(f"choice: must be whole numbers, got {numbers.dtype}")
    outside = numbers[(numbers < 0) | (numbers >= len(MENU))]
    if outside.size:
        raise ConfigError(f"choice={outside[0]}: must be from 0 to {len(MENU) - 1}")
    return numbers.astype(np.intp)


class DiscreteMenu(gymnasium.ActionWrapper[NDArray[np.float32], np.int64, NDArray[np.float32]], RecordConstructorArgs):
    """Choose one of `MENU` by its number: Discrete(13) in place of the box.

    Args:
        env: an environment whose base is `TieredMemoryEnv`.
    """

    def __init__(self, env: gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.ActionWrapper.__init__(self, env)
        self.action_space = Discrete(len(MENU))
        self._actions = menu_actions(*_task(env).system.daemons)[0]

    def action(self, action: np.int64) -> NDArray[np.float32]:
        """float32[T] of a choice. Raises `ConfigError` for one that is not on the menu."""
        return self._actions[_checked_choices(action, ())].copy()


class VectorDiscreteMenu(gymnasium.vector.VectorActionWrapper):
    """`DiscreteMenu` for a vector environment: actions int64[n]."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        self.single_action_space = Discrete(len(MENU))
        self.action_space = batch_space(self.single_action_space, env.num_envs)
        self._actions = menu_actions(*_task(env).system.daemons)

    def actions(self, actions: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32[n, T] of the choices int64[n]. Raises `ConfigError` for one that is not on the menu."""
        return self._actions[np.arange(self.num_envs), _checked_choices(actions, (self.num_envs,))]


class MultiplicativeAction(
    gymnasium.ActionWrapper[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], RecordConstructorArgs
):
    """Multiply each tunable in force by max_factor ** action, action float32[T] in [-1, 1].

    One step down from the least throttle is 0 and one up from the greatest is unlimited; from there more
    than half a step back leads into the range again.

    Args:
        env: an environment whose base is `TieredMemoryEnv`.
        max_factor: greatest factor of one step, above 1.
    """

    def __init__(self, env: gymnasium.Env[NDArray[np.float32], NDArray[np.float32]], max_factor: float = 2.0) -> None:
        RecordConstructorArgs.__init__(self, max_factor=max_factor)
        gymnasium.ActionWrapper.__init__(self, env)
        self.action_space = _task(env).codec.space
        self._scaling = _Scaling(_task(env), max_factor)

    def action(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32[T] in the coordinates of the environment. Raises `ConfigError` as `ActionCodec.decode` does."""
        check_shape("action", action, self.action_space.shape or ())
        return self._scaling.apply(np.asarray(action)[None])[0]


class VectorMultiplicativeAction(gymnasium.vector.VectorActionWrapper):
    """`MultiplicativeAction` for a vector environment: actions float32[n, T]."""

    def __init__(self, env: VectorEnv[Any, Any, Any], max_factor: float = 2.0) -> None:
        super().__init__(env)
        self._scaling = _Scaling(_task(env), max_factor)

    def actions(self, actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32[n, T] in the coordinates of the environment. Raises `ConfigError` as `ActionCodec.decode` does."""
        check_shape("actions", actions, self.action_space.shape or ())
        return self._scaling.apply(actions)


class _Scaling:
    """Moves from the tunables in force, which the system keeps, so that resets need no attention here."""

    def __init__(self, task: TieredMemoryTask, max_factor: float) -> None:
        if not max_factor > 1:
            raise ConfigError(f"max_factor={max_factor}: must be above 1")
        self._task = task
        self._codec = task.codec
        self._units_per_step = np.log2(max_factor) / self._codec.octaves_per_unit
        reach = DEAD_ZONE_EDGE + 0.5 * self._units_per_step
        has_dead_zone = np.array([edges_of(TUNABLES[name]) != (-1.0, 1.0) for name in task.codec.names], dtype=np.bool_)
        self._reach = np.where(has_dead_zone, np.minimum(reach, 1.0), 1.0)

    def apply(self, actions: ArrayLike) -> NDArray[np.float32]:
        """float32[n, T]: coordinates after a step of actions float[n, T] from where the tunables stand."""
        present = np.clip(self._codec.encode(self._task.system.tunables), -self._reach, self._reach)
        moved = present + checked_coordinates(actions) * self._units_per_step
        return np.clip(moved, -1.0, 1.0).astype(np.float32)


RewardFunction = Callable[[Mapping[str, Any], Mapping[str, Any]], Any]
"""The reward of a step, out of the info before and the info after it (`tierenv.task.INFO_KEYS`, and the environment's
own reward as "reward_time" and "reward_shaping"). Counts are since the start of the episode, so that of a step is the
difference of the two. Made of arithmetic alone it takes numbers and, in a vector environment, arrays of length n."""


class InfoReward(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Another reward: what a function makes of the info before and after a step.

    Args:
        env: an environment whose base is `TieredMemoryEnv`.
        reward: the function.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], reward: RewardFunction) -> None:
        RecordConstructorArgs.__init__(self, reward=reward)
        gymnasium.Wrapper.__init__(self, env)
        self._reward = reward
        self._before: Mapping[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode, as the environment does."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._before = dict(info)
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Let one control interval pass, as in the environment, for another reward."""
        observation, _, terminated, truncated, info = self.env.step(action)
        reward = float(self._reward(self._before, info))
        self._before = dict(info)
        return observation, reward, terminated, truncated, info


class VectorInfoReward(gymnasium.vector.VectorWrapper):
    """`InfoReward` for a vector environment.

    In mode SAME_STEP the info after the last step of an episode is the one in `final_info`; in NEXT_STEP the step that
    only starts an episode is worth 0.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], reward: RewardFunction) -> None:
        super().__init__(env)
        self._reward = reward
        self._before: dict[str, NDArray[Any]] = {}
        self._has_ended = np.zeros(env.num_envs, dtype=np.bool_)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start episodes, as the environment does."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._before = _own_arrays(info)
        self._has_ended &= ~np.asarray((options or {}).get("reset_mask", True))
        return observation, info

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Let one control interval pass, as in the environments, for other rewards float64[n]."""
        observation, _, terminated, truncated, info = self.env.step(actions)
        present = _own_arrays(info)
        after = present
        if "final_info" in info:
            final, ended = info["final_info"], info["_final_info"]
            after = {key: np.where(ended, final.get(key, values), values) for key, values in present.items()}
        reward = np.broadcast_to(self._reward(self._before, after), (self.num_envs,)).astype(np.float64)
        reward[self._has_ended] = 0.0
        self._before = present
        if self.env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP:
            self._has_ended = terminated | truncated
        return observation, reward, terminated, truncated, info


def _own_arrays(info: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """What an info says of each environment, less masks and what is left of past episodes."""
    return {
        key: values.copy()
        for key, values in info.items()
        if isinstance(values, np.ndarray) and not values.dtype.hasobject and not key.startswith("_")
    }


def _task(env: Any) -> TieredMemoryTask:
    """The task of an environment, which wrappers may be around. Raises `ConfigError` for another environment."""
    task = getattr(env.unwrapped, "task", None)
    if not isinstance(task, TieredMemoryTask):
        raise ConfigError(f"{env}: must be, or be around, a TieredMemoryEnv or a TieredMemoryVectorEnv")
    return task
