"""Other action spaces: a menu of named settings, and steps up or down from the tunables in force.

Both come for a single environment and, prefixed with `Vector`, for a vector environment.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import VectorEnv
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


class DiscreteMenu(gymnasium.ActionWrapper[NDArray[np.float32], np.int64, NDArray[np.float32]]):
    """Choose one of `MENU` by its number: Discrete(13) in place of the box.

    Args:
        env: an environment whose base is `TieredMemoryEnv`.
    """

    def __init__(self, env: gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]) -> None:
        super().__init__(env)
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


class MultiplicativeAction(gymnasium.ActionWrapper[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]):
    """Multiply each tunable in force by max_factor ** action, action float32[T] in [-1, 1].

    One step down from the least throttle is 0 and one up from the greatest is unlimited; from there more
    than half a step back leads into the range again.

    Args:
        env: an environment whose base is `TieredMemoryEnv`.
        max_factor: greatest factor of one step, above 1.
    """

    def __init__(self, env: gymnasium.Env[NDArray[np.float32], NDArray[np.float32]], max_factor: float = 2.0) -> None:
        super().__init__(env)
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


def _task(env: Any) -> TieredMemoryTask:
    task: TieredMemoryTask = env.unwrapped.task
    return task
