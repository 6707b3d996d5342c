"""TieredMemoryEnv: the Gymnasium face of one machine."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from tierenv.checks import check_shape, seed_of
from tierenv.daemon import Daemon
from tierenv.observation_spec import Observation
from tierenv.phase_orders import PhaseOrders
from tierenv.render import RENDER_MODES, Timeline, check_render_mode
from tierenv.reset_options import OF_ONE, begin, read_options
from tierenv.scenario import Control, Scenario
from tierenv.task import Info, find_daemon, resolve_scenarios, simulated_task

EPISODE_SEEDS = 2**63
"""An episode's seed is one draw below this from the environment's generator, alone or in a batch."""


class TieredMemoryEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Set the tunables of a promotion daemon once per control interval until the work is done.

    Observation: float32[columns] in [-1, 1], see `tierenv.features.FEATURES`. Action: float32[T] in [-1, 1],
    one coordinate for each tunable of the daemon, see `tierenv.action`; not looked at unless the scenario's control
    is "tunables". Reward: minus the duration of the step over the reference time. Info: see
    `tierenv.task.INFO_KEYS` and `MODELLED_INFO_KEYS`.

    A pickle or a deepcopy of it, in the middle of an episode, too, is an environment of its own that goes on as this
    one does, bit for bit, in another process as well. Pickles are for the version that wrote them, and from nobody
    else: loading one runs whatever its author put there.

    Args:
        scenario: name of a packaged scenario, a path, or a `Scenario`.
        daemon: name, path or record of a daemon variant that replaces the scenario's.
        control: "tunables", "kernel-rule" or "off", in place of what the scenario says.
        phase_orders: "training" or "held-out", the split the order of phases is drawn from.
        observation: what is observed, see `tierenv.observation_spec.ObservationSpec`: a mapping such as {"stack": 4},
            or the record; None for all features that the daemon supplies.
        shaping_gamma: the learner's discount factor; None for the bare reward.
        max_time_multiple: episodes are truncated at this many times their reference time [1].
        render_mode: None, "ansi" (a table) or "rgb_array" (the episode so far as a plot).

    Raises:
        ConfigError: for anything wrong with these.
    """

    metadata = {"render_modes": RENDER_MODES, "render_fps": 10}

    def __init__(
        self,
        scenario: str | Scenario = "moving-hot-set",
        *,
        daemon: str | Daemon | None = None,
        control: Control | None = None,
        phase_orders: PhaseOrders = "training",
        observation: Observation = None,
        shaping_gamma: float | None = None,
        max_time_multiple: float = 4.0,
        render_mode: str | None = None,
    ) -> None:
        check_render_mode(render_mode)
        self._daemon, self._control = find_daemon(daemon), control
        self.task = simulated_task(
            resolve_scenarios(scenario, 1, self._daemon, control),
            phase_orders=phase_orders,
            observation=observation,
            shaping_gamma=shaping_gamma,
            max_time_multiple=max_time_multiple,
        )
        self.observation_space = self.task.encoder.space
        self.action_space = self.task.codec.space
        self.render_mode = render_mode
        self._timeline = None if render_mode is None else Timeline(self.task.system)
        self._needs_reset = True

    @property
    def scenario(self) -> Scenario:
        """What runs in the present episode."""
        return self.task.system.scenarios[0]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode; see `gymnasium.Env.reset`.

        Args:
            seed: of this and the next episodes.
            options: "scenario", a name, a path or a record, and "phase_orders", "training" or "held-out"; each holds
                until another is given. The daemon and the control that the environment was made with replace those of
                the scenario. Its daemon must have the same tunables and features, and its control interval the same
                length, so that spaces and what they mean stay as they are. A name is read each time, a record is not.

        Raises:
            ConfigError: for a seed that is not a whole number of at least 0, or for other options. Nothing has changed.
        """
        choice = read_options(options, OF_ONE, self.task, self._daemon, self._control)
        super().reset(seed=None if seed is None else seed_of(seed))
        seeds = self.np_random.integers(EPISODE_SEEDS, size=1, dtype=np.uint64)
        self._needs_reset = True  # whatever interrupts the next line
        observation, info = begin(self.task, choice, seeds)
        self._needs_reset = False
        if self._timeline is not None:
            self._timeline.restart()
        return observation[0], _only_row(info)

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Let one control interval pass, or less if the work ends in it; see `gymnasium.Env.step`.

        Raises:
            ConfigError: for an action of another shape, or that is not in [-1, 1].
        """
        if self._needs_reset:
            raise gymnasium.error.ResetNeeded("the episode has ended or none has begun: call reset() first")
        if self.task.is_controlled:
            check_shape("action", action, (len(self.task.codec.names),))
        outcome = self.task.step(np.asarray(action)[None])
        terminated, truncated = bool(outcome.terminated[0]), bool(outcome.truncated[0])
        self._needs_reset = terminated or truncated
        if self._timeline is not None:
            self._timeline.record()
        return (
            outcome.observation[0],
            float(outcome.reward[0]),
            terminated,
            truncated,
            _only_row(outcome.info),
        )

    def render(self) -> str | NDArray[np.uint8] | None:
        """The episode so far: a text, an image uint8[height, width, 3], or None without a render mode."""
        return None if self._timeline is None else self._timeline.frame(self.render_mode)


def _only_row(info: Info) -> dict[str, Any]:
    return {key: values[0].item() for key, values in info.items()}
