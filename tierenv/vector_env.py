"""TieredMemoryVectorEnv: the Gymnasium face of a batch of machines, stepped by one compiled call."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from tierenv.checks import seed_of
from tierenv.daemon import Daemon
from tierenv.env import EPISODE_SEEDS
from tierenv.errors import ConfigError
from tierenv.observation_spec import Observation
from tierenv.phase_orders import PhaseOrders
from tierenv.render import RENDER_MODES, Timeline, check_render_mode
from tierenv.reset_options import OF_BATCH, Choice, begin, read_options
from tierenv.scenario import Control, Scenario
from tierenv.task import Info, find_daemon, resolve_scenarios, simulated_task

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class TieredMemoryVectorEnv(VectorEnv[NDArray[np.float32], NDArray[np.float32], NDArray[Any]]):
    """n `TieredMemoryEnv`: environment i behaves bit for bit like a single one with seed + i.

    Observations float32[n, columns], actions float32[n, T], rewards float64[n], flags bool[n]; info is a
    dictionary of arrays of length n, present for all environments and therefore without masks. With SAME_STEP
    the last observation and info of an episode stand in `final_obs` and `final_info`, with masks. Pickles and copies
    are as those of `TieredMemoryEnv`.

    Args:
        num_envs: n.
        scenario: one or several names, paths or records; environment i takes entry i mod their number. They
            must share the control interval, and their daemons the features.
        daemon: name, path or record of a daemon variant that replaces the scenarios'.
        control: "tunables", "kernel-rule" or "off", in place of what the scenarios say.
        phase_orders: "training" or "held-out", or several; environment i takes entry i mod their number.
        observation: what is observed, see `tierenv.observation_spec.ObservationSpec`: a mapping such as {"stack": 4},
            or the record; None for all features that the daemon supplies.
        shaping_gamma: the learner's discount factor; None for the bare reward.
        max_time_multiple: episodes are truncated at this many times their reference time [1].
        max_episode_steps: episodes are truncated after this many steps; None for no such limit.
        autoreset_mode: an `AutoresetMode` or its value ("NextStep", "SameStep", "Disabled").
        render_mode: None, "ansi" or "rgb_array".
        next_scenario: called where autoreset starts an episode, with 0, 1, 2 and so on, for what runs in it: a name,
            path or record, as `reset(options)` takes it. A reset neither counts anew nor brings back what ran before.
            To copy or pickle the environment it must be a function that can be. None: each keeps its own.

    Raises:
        ConfigError: for anything wrong with these.
    """

    metadata = {"render_modes": RENDER_MODES, "render_fps": 10, "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        scenario: str | Scenario | Sequence[str | Scenario] = "moving-hot-set",
        *,
        daemon: str | Daemon | None = None,
        control: Control | None = None,
        phase_orders: PhaseOrders | Sequence[PhaseOrders] = "training",
        observation: Observation = None,
        shaping_gamma: float | None = None,
        max_time_multiple: float = 4.0,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        next_scenario: Callable[[int], str | Scenario] | None = None,
    ) -> None:
        check_render_mode(render_mode)
        self._daemon, self._control = find_daemon(daemon), control
        scenarios = resolve_scenarios(scenario, num_envs, self._daemon, control)
        num_envs = len(scenarios)
        self.task = simulated_task(
            scenarios,
            phase_orders=phase_orders,
            observation=observation,
            shaping_gamma=shaping_gamma,
            max_time_multiple=max_time_multiple,
            max_episode_steps=max_episode_steps,
        )
        self.num_envs = num_envs
        self.single_observation_space = self.task.encoder.space
        self.single_action_space = self.task.codec.space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.metadata = self.metadata | {"autoreset_mode": self.autoreset_mode}
        self.render_mode = render_mode
        timelines = range(num_envs if render_mode is not None else 0)
        self._timelines = [Timeline(self.task.system, index) for index in timelines]
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._generator_seeds = [-1] * num_envs
        self._has_ended = np.ones(num_envs, dtype=np.bool_)
        self._is_fresh = True
        self._next_scenario = next_scenario
        self._num_taken = 0

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generator of each environment."""
        return tuple(self._generator(index) for index in range(self.num_envs))

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of each environment's generator."""
        return tuple(self._generator_seeds[index] for index, _ in enumerate(self.np_random))

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """What runs in the present episode of each environment."""
        return self.task.system.scenarios

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode in every environment, or in those under `options["reset_mask"]` (bool[n]).

        Args:
            seed: environment i is seeded with seed + i, or entry i of a list; None leaves it alone.
            options: "reset_mask", and what `TieredMemoryEnv.reset` takes, "scenario" and "phase_orders", each one or
                several: environment i takes entry i mod their number, if it is under the mask.

        Returns:
            float32[n, columns] and the info; environments not under the mask repeat their last.

        Raises:
            ConfigError: for a seed that is not a whole number of at least 0, or for other options. Nothing has changed.
        """
        choice = read_options(options, OF_BATCH, self.task, self._daemon, self._control)
        mask = choice.mask
        if self._is_fresh and not mask.all():
            raise gymnasium.error.ResetNeeded("the first reset must not leave environments out")
        seeds = self._seeds_of(seed)
        for index in np.flatnonzero(mask):
            if (own_seed := seeds[index]) is not None:
                self._generators[index], self._generator_seeds[index] = seeding.np_random(own_seed)
        self._is_fresh = True  # whatever interrupts the next line
        observation, info = self._restart(choice)
        self._is_fresh = False
        return observation, info

    def step(self, actions: NDArray[np.float32]) -> tuple[NDArray[np.float32], Floats, Flags, Flags, dict[str, Any]]:
        """Let one control interval pass in all environments; see `gymnasium.vector.VectorEnv.step`.

        Raises:
            ConfigError: for actions of another shape, or that are not in [-1, 1].
        """
        if self._is_fresh:
            raise gymnasium.error.ResetNeeded("no episode has begun: call reset() first")
        had_ended = self._has_ended
        is_resetting = had_ended.any()
        if is_resetting and self.autoreset_mode is AutoresetMode.DISABLED:
            raise gymnasium.error.ResetNeeded(
                f"environments {np.flatnonzero(had_ended).tolist()} have ended: reset() them by 'reset_mask'"
            )
        observation, reward, terminated, truncated, info = self.task.step(actions)
        for timeline in self._timelines:
            timeline.record()

        # NEXT_STEP resets once the others have advanced: a new episode must not lose its first interval.
        if is_resetting:
            observation, info = self._restart(self._successors(had_ended))
            reward[had_ended] = 0.0
            terminated[had_ended] = False
            truncated[had_ended] = False
        self._has_ended = terminated | truncated
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._has_ended.any():
            ended, final_observation, final_info = self._has_ended, observation, info
            observation, info = self._restart(self._successors(ended))
            info |= _final(ended, final_observation, final_info)
        return observation, reward, terminated, truncated, info

    def render(self) -> tuple[Any, ...] | None:
        """A frame of each environment, see `TieredMemoryEnv.render`; None without a render mode."""
        if self.render_mode is None:
            return None
        return tuple(timeline.frame(self.render_mode) for timeline in self._timelines)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """What each environment has under a name, as `gymnasium.vector.SyncVectorEnv.call`: a tuple of length n.

        The environments of a batch are no objects of their own. What they share, all but generators, seeds and frames,
        is repeated.

        Raises:
            AttributeError: if there is nothing of that name.
            ConfigError: for a method that the batch has as a whole, such as step.
        """
        match name:
            case "np_random" | "np_random_seed":
                return tuple(getattr(self, name))
            case "observation_space" | "action_space":
                return (getattr(self, f"single_{name}"),) * self.num_envs
            case "scenario":
                return self.scenarios
            case "render":
                return self.render(*args, **kwargs) or (None,) * self.num_envs
        value = getattr(self, name)
        if callable(value):
            raise ConfigError(f"call({name!r}): is of the batch as a whole; of each environment there is only 'render'")
        return (value,) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """What each environment has under a name; see `call`."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Give each environment its own generator, "np_random", the only attribute that is not shared.

        Args:
            name: of the attribute.
            values: a list or tuple of length n.

        Raises:
            ConfigError: for another attribute, or another number of values.
        """
        if name != "np_random":
            raise ConfigError(
                f"set_attr({name!r}): must be 'np_random', the environments of a batch share all else; make another "
                "batch, or a gymnasium.vector.SyncVectorEnv of TieredMemoryEnv"
            )
        values = list(values) if isinstance(values, list | tuple) else [values]
        is_each = len(values) == self.num_envs and len({id(value) for value in values}) == self.num_envs
        if not is_each or not all(isinstance(value, np.random.Generator) for value in values):
            raise ConfigError(f"set_attr('np_random'): must be given a list of {self.num_envs} different generators")
        self._generators, self._generator_seeds = [*values], [-1] * self.num_envs

    def _successors(self, ended: Flags) -> Choice:
        """What runs next where an episode has ended. Raises `ConfigError` for a scenario that does not go with them."""
        scenarios: dict[int, Scenario] = {}
        if self._next_scenario is not None:
            for index in map(int, np.flatnonzero(ended)):
                following = self._next_scenario(self._num_taken)
                [scenarios[index]] = resolve_scenarios(following, 1, self._daemon, self._control)
                self.task.check_scenario(index, scenarios[index])
                self._num_taken += 1
        return Choice(ended, scenarios, {})

    def _restart(self, choice: Choice) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start the next episode of the environments that were chosen."""
        mask = choice.mask
        seeds = np.zeros(self.num_envs, dtype=np.uint64)
        for index in np.flatnonzero(mask):
            seeds[index] = self._generator(int(index)).integers(EPISODE_SEEDS, dtype=np.uint64)
        self._has_ended = self._has_ended & ~mask
        observation, info = begin(self.task, choice, seeds)
        for timeline, is_new in zip(self._timelines, mask, strict=False):
            if is_new:
                timeline.restart()
        return observation, dict(info)

    def _generator(self, index: int) -> np.random.Generator:
        """The generator of one environment, seeded by the operating system if nobody did."""
        generator = self._generators[index]
        if generator is None:
            generator, self._generator_seeds[index] = seeding.np_random()
            self._generators[index] = generator
        return generator

    def _seeds_of(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        """The seed of each environment, None for one that keeps its generator."""
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, np.ndarray):
            seed = seed.tolist()
        if isinstance(seed, Sequence) and not isinstance(seed, str):
            if len(seed) != self.num_envs:
                raise ConfigError(f"seed: must be one integer or {self.num_envs} of them, got {len(seed)}")
            return [None if own is None else seed_of(own) for own in seed]
        first = seed_of(seed)
        return [first + index for index in range(self.num_envs)]


def _autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError:
        allowed = ", ".join(repr(known.value) for known in AutoresetMode)
        raise ConfigError(f"autoreset_mode={mode!r}: must be one of {allowed}") from None


def _final(ended: Flags, observation: NDArray[np.float32], info: Info) -> dict[str, Any]:
    """What SAME_STEP adds to the info: the last observation and info of the episodes that ended."""
    final_observation = np.full(len(ended), None, dtype=object)
    for index in np.flatnonzero(ended):
        final_observation[index] = observation[index]
    masks = {f"_{key}": ended.copy() for key in info}
    return {
        "final_obs": final_observation,
        "_final_obs": ended.copy(),
        "final_info": info | masks,
        "_final_info": ended.copy(),
    }
