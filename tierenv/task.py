"""The one place where system, observation, action, reward and truncation meet.

A task is a batch of n machines, all stepped by one control interval at a time, without autoreset and without spaces to
seed: the Gymnasium faces in `env` and `vector_env` add those, evaluation drives a task as it is. `TieredMemoryTask`
takes any `System`; `ModelledTask` adds what only a model can tell.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tierenv.action import ActionCodec
from tierenv.checks import check_shape, positive_number, whole_number
from tierenv.counters import DEMOTED, MIGRATE_FAILED, MIGRATED, PGPROMOTE_SUCCESS
from tierenv.daemon import Daemon, DaemonRecord, load_daemon
from tierenv.errors import ConfigError
from tierenv.observation import ObservationEncoder, sizes_of
from tierenv.observation_spec import Observation, observation_rows
from tierenv.phase_orders import PhaseOrders
from tierenv.reward import Shaping, time_reward
from tierenv.scenario import Control, Scenario, load_scenario
from tierenv.score import Score, unshaped
from tierenv.sim.records import WASTED
from tierenv.system import ModelledSystem, SimulatedSystem, System
from tierenv.tunables import TUNABLES

Info = dict[str, NDArray[np.generic]]

MAX_MACHINES = 1 << 16
"""Of a batch: each takes about a megabyte."""

INFO_KEYS = {
    "elapsed_s": "time since the start of the episode [s]",
    "reference_s": "computed completion time with all pages on the fast tier [s]",
    "promoted_pages": "pages promoted in this episode",
    "demoted_pages": "pages demoted in this episode",
    "failed_migrations": "list entries that ended in any way but a promotion in this episode",
    "reward_time": "minus the duration of the step / reference_s, the reward of objective last-end",
}
"""Keys of the info of a reset and of a step, and their meaning; each holds an array of length n.

Beside them stands every tunable of the daemon, as it is in force, under its symbol; infinite when unlimited.
"""

MODELLED_INFO_KEYS = {
    "work_done": "share of the accesses done of the processes that the run waits for",
    "phase": "present phase, counted in the order of the episode",
    "wasted_promotions": "promotions of pages that do not belong to the hottest that fit in this episode",
    "objective": "what the scenario's objective has come to in this episode, in its unit (tierenv.objective)",
    "objective_all_fast": "its scale: the episode's return is minus objective / objective_all_fast",
    "reward_shaping": "gamma Phi' - Phi, 0 where shaping is off",
}
"""What the info of a model holds beside that."""


class Outcome(NamedTuple):
    """What a step gives. All arrays are fresh."""

    observation: NDArray[np.float32]
    """float32[n, columns]."""
    reward: NDArray[np.float64]
    """float64[n]."""
    terminated: NDArray[np.bool_]
    """bool[n]: the work is done."""
    truncated: NDArray[np.bool_]
    """bool[n]: the episode ran out of time."""
    info: Info


def find_daemon(daemon: object) -> Daemon | None:
    """A daemon by its name or path, or as it is, which may be None. Raises `ConfigError` for anything else."""
    if isinstance(daemon, str):
        return load_daemon(daemon)
    if daemon is not None and not isinstance(daemon, DaemonRecord):
        raise ConfigError(f"daemon={daemon!r}: must be the name of a daemon, a path or a daemon")
    return cast("Daemon | None", daemon)


def resolve_scenarios(
    scenario: str | Scenario | Sequence[str | Scenario],
    num_machines: int,
    daemon: str | Daemon | None = None,
    control: Control | None = None,
) -> list[Scenario]:
    """The scenario of each machine; machine i takes entry i mod the number of entries.

    Args:
        scenario: one or several; names of packaged scenarios, paths, or records.
        num_machines: n, at least 1 and at most `MAX_MACHINES`.
        daemon: name, path or record of a daemon variant that replaces the scenario's.
        control: who sets the tunables, in place of what the scenario says.

    Raises:
        ConfigError: for an unknown name, a bad file, or tunables set on a daemon that cannot take them.
    """
    num_machines = whole_number("num_envs", num_machines, least=1, most=MAX_MACHINES)
    entries = list(scenario) if isinstance(scenario, Sequence) and not isinstance(scenario, str) else [scenario]
    if not entries:
        raise ConfigError("scenario=[]: must name at least one scenario")
    for entry in entries:
        if not isinstance(entry, str | Scenario):
            raise ConfigError(f"scenario={entry!r}: must be the name of a scenario, a path or a Scenario")
    variant = find_daemon(daemon)
    changes = {} if control is None else {"control": control}
    records = []
    for entry in entries[:num_machines]:
        record = load_scenario(entry) if isinstance(entry, str) else entry
        if variant is not None:
            record = record.under(variant, **changes)
        elif changes:
            record = record.replace(**changes)
        if record.control == "tunables" and not record.daemon.can_be_tuned:
            raise ConfigError(
                f"scenario {record.name}: control='tunables' needs tunables that can be written at run time, "
                f"and {record.daemon.name} has none; choose control='kernel-rule' or 'off', or another daemon"
            )
        records.append(record)
    return [records[index % len(records)] for index in range(num_machines)]


class TieredMemoryTask:
    """n machines whose tunables are set once per control interval, each until its work is done.

    A machine whose episode has terminated stands still (reward 0) until it is reset; one whose episode was
    truncated goes on, so a caller may ignore the truncation.

    Args:
        system: the machines, whose daemons have the same tunables and supply the same features.
        control_interval_s: time between two decisions [s].
        is_controlled: whether anybody looks at the actions.
        phase_orders: which split the order of phases is drawn from, one for all machines or one for each.
        max_time_multiple: an episode is truncated once it has run this many times its reference time [1].
        max_episode_steps: an episode is truncated after this many steps; None for no such limit.
        observation: what is observed; None for all features that the daemons supply.

    Raises:
        ConfigError: for anything wrong with these.
    """

    def __init__(
        self,
        system: System,
        *,
        control_interval_s: float,
        is_controlled: bool = True,
        phase_orders: PhaseOrders | Sequence[PhaseOrders] = "training",
        max_time_multiple: float = 4.0,
        max_episode_steps: int | None = None,
        observation: Observation = None,
    ) -> None:
        max_time_multiple = positive_number("max_time_multiple", max_time_multiple)
        most_steps = int(np.iinfo(np.int64).max)
        if max_episode_steps is not None:
            most_steps = min(whole_number("max_episode_steps", max_episode_steps, least=1), most_steps)
        n = len(system.daemons)
        daemons = [system.daemons[0]] if all(row is system.daemons[0] for row in system.daemons) else system.daemons
        self.encoder = ObservationEncoder(*daemons, observation=observation)
        self._observed = observation
        self.codec = ActionCodec(*daemons)
        self.control_interval_s = control_interval_s
        self.system = system
        self.phase_orders = split_of_each(phase_orders, n)
        self.is_controlled = is_controlled
        self._in_force = {TUNABLES[name].symbol: column for name, column in self.codec.columns.items()}
        self._max_time_multiple = max_time_multiple
        self._limit_s = max_time_multiple * system.reference_s
        self._limit_steps = most_steps

        self._history = self.encoder.initial_state(n)
        self._observation = np.zeros((n, len(self.encoder.columns)), dtype=np.float32)
        self._counters = system.counters
        self._elapsed_s = np.zeros(n)
        self._steps = np.zeros(n, dtype=np.int64)
        self._reward_time = np.zeros(n)

    @property
    def num_machines(self) -> int:
        """Length n of every array."""
        return len(self.phase_orders)

    def reset(
        self, seeds: NDArray[np.uint64], mask: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], Info]:
        """Start an episode on every machine, or on those under the mask.

        Args:
            seeds: uint64[n]; an episode is determined by its seed and the actions.
            mask: bool[n]; None for all.

        Returns:
            float32[n, columns] and the info of all machines; those not under the mask repeat their last.
        """
        if mask is None:
            mask = np.ones(self.num_machines, dtype=np.bool_)
        check_shape("seeds", seeds, (self.num_machines,))
        check_shape("mask", mask, (self.num_machines,))
        system = self.system
        system.reset(seeds, self.phase_orders, mask)
        self._counters = system.counters
        self._elapsed_s = system.elapsed_s
        self._steps[mask] = 0
        self._restart(mask)
        tunables = system.tunables
        observation = self._observe(self._counters, np.zeros(self.num_machines), tunables, mask)
        self._observation = np.where(mask[:, None], observation, self._observation)
        return self._observation.copy(), self._info(tunables)

    def step(self, actions: ArrayLike) -> Outcome:
        """Put actions in force, let one control interval pass and account for it.

        Args:
            actions: float[n, T] in [-1, 1], coordinates as in `tierenv.action`. Not looked at where nobody
                leaves control to the caller.

        Raises:
            ConfigError: for actions of another shape, or that are not in [-1, 1].
        """
        system = self.system
        if self.is_controlled:
            check_shape("actions", actions, (self.num_machines, len(self.codec.names)))
            system.apply(self.codec.decode(actions))
        system.advance(self.control_interval_s)

        counters, elapsed_s, tunables = system.counters, system.elapsed_s, system.tunables
        step_s = elapsed_s - self._elapsed_s
        self._observation = self._observe(counters, step_s, tunables)
        self._counters, self._elapsed_s = counters, elapsed_s
        self._steps += 1

        terminated = system.is_done
        truncated = ((elapsed_s >= self._limit_s) | (self._steps >= self._limit_steps)) & ~terminated
        reward = self._reward(step_s)
        return Outcome(self._observation.copy(), reward, terminated, truncated, self._info(tunables))

    def _observe(
        self,
        counters: NDArray[np.int64],
        step_s: NDArray[np.float64],
        tunables: NDArray[np.float64],
        mask: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        sizes = sizes_of(self.system)
        return self.encoder.observe(self._counters, counters, step_s, tunables, sizes, self._history, mask)

    def _restart(self, mask: NDArray[np.bool_]) -> None:
        """An episode has begun on the machines under the mask."""
        self._reward_time[mask] = 0.0
        self._history.restart(mask)

    def _reward(self, step_s: NDArray[np.float64]) -> NDArray[np.float64]:
        self._reward_time = time_reward(step_s, self.system.reference_s)
        return self._reward_time.copy()

    def _info(self, tunables: NDArray[np.float64]) -> Info:
        """Present values of the info's keys, in fresh arrays: callers may write into what they get."""
        counters = self._counters
        return {
            "elapsed_s": self._elapsed_s.copy(),
            "reference_s": self.system.reference_s.copy(),
            **{symbol: tunables[:, column].copy() for symbol, column in self._in_force.items()},
            "promoted_pages": counters[:, MIGRATED] + counters[:, PGPROMOTE_SUCCESS],
            "demoted_pages": counters[:, DEMOTED].copy(),
            "failed_migrations": counters[:, MIGRATE_FAILED].copy(),
            "reward_time": self._reward_time.copy(),
        }


class ModelledTask(TieredMemoryTask):
    """A task of simulated machines, with what a model knows beside a kernel.

    Args:
        system: the machines; their scenarios have one control interval.
        phase_orders: as in `TieredMemoryTask`, and so the limits.
        shaping_gamma: the learner's discount factor; None for the bare reward.
        max_time_multiple: limit of an episode's time.
        max_episode_steps: limit of its steps.
        observation: what is observed.
    """

    system: ModelledSystem

    def __init__(
        self,
        system: ModelledSystem,
        *,
        phase_orders: PhaseOrders | Sequence[PhaseOrders] = "training",
        shaping_gamma: float | None = None,
        max_time_multiple: float = 4.0,
        max_episode_steps: int | None = None,
        observation: Observation = None,
    ) -> None:
        intervals = {scenario.control_interval for scenario in system.scenarios}
        if len(intervals) > 1:
            seconds = ", ".join(f"{interval:g}" for interval in sorted(intervals))
            raise ConfigError(f"control_interval: the scenarios of one batch must share theirs, got {seconds} s")
        super().__init__(
            system,
            control_interval_s=intervals.pop(),
            is_controlled=any(scenario.control == "tunables" for scenario in system.scenarios),
            phase_orders=phase_orders,
            max_time_multiple=max_time_multiple,
            max_episode_steps=max_episode_steps,
            observation=observation,
        )
        self._score = Score(system, self.control_interval_s)
        self._shaping = None if shaping_gamma is None else Shaping(self._score, shaping_gamma)
        self._reward_shaping = np.zeros(self.num_machines)

    def _restart(self, mask: NDArray[np.bool_]) -> None:
        super()._restart(mask)
        self._score.restart(mask)
        self._reward_shaping[mask] = 0.0
        if self._shaping is not None:
            self._shaping.restart(mask)

    def _reward(self, step_s: NDArray[np.float64]) -> NDArray[np.float64]:
        super()._reward(step_s)
        reward: NDArray[np.float64] = -self._score.update() / self._score.all_fast
        if self._shaping is not None:
            self._reward_shaping = self._shaping.reward()
        return reward + self._reward_shaping

    def _info(self, tunables: NDArray[np.float64]) -> Info:
        system = self.system
        return super()._info(tunables) | {
            "work_done": system.work_done,
            "phase": system.phase,
            "wasted_promotions": system.model[:, WASTED],
            "objective": self._score.so_far.copy(),
            "objective_all_fast": self._score.all_fast.copy(),
            "reward_shaping": self._reward_shaping.copy(),
        }


class SimulatedTask(ModelledTask):
    """A task whose machines can take other scenarios, as far as actions and observations mean the same there."""

    system: SimulatedSystem

    def check_scenario(self, index: int, scenario: Scenario) -> None:
        """Raise `ConfigError` unless a machine can take a scenario.

        Its daemon must have the features and the tunables of the machine's, with ranges and values at start, and its
        control interval must be the task's.
        """
        daemon, own = scenario.daemon, self.system.daemons[index]
        tunables = {*daemon.tunables, *own.tunables}
        differing = {name for name in tunables if daemon.tunables.get(name) != own.tunables.get(name)}
        if not differing:
            rows = observation_rows(self._observed, daemon)
            differing = {row.name for row in {*rows} ^ {*self.encoder.features}}
        if differing:
            raise ConfigError(
                f"scenario {scenario.name}: its daemon {daemon.name} must have the tunables, ranges included, and the "
                f"features of daemon {own.name}, which the environment was made with; they differ in "
                f"{', '.join(sorted(differing))}"
            )
        if scenario.control_interval != self.control_interval_s:
            raise ConfigError(
                f"scenario {scenario.name}: control_interval={scenario.control_interval:g}s: must be "
                f"{self.control_interval_s:g}s, as the environment was made"
            )
        if self._shaping is not None and (reason := unshaped(scenario)):
            raise ConfigError(reason)

    def change_scenarios(self, changes: Mapping[int, Scenario]) -> None:
        """Let machines, named by their numbers, run other scenarios, which suit them; they have to be reset next."""
        if changes:
            self.system.change_scenarios(changes)
            self.is_controlled = any(scenario.control == "tunables" for scenario in self.system.scenarios)
            self._limit_s = self._max_time_multiple * self.system.reference_s
            score = Score(self.system, self.control_interval_s)
            is_kept = np.ones(self.num_machines, dtype=np.bool_)
            is_kept[list(changes)] = False
            score.keep(self._score, is_kept)
            self._score = score
            if self._shaping is not None:
                self._shaping.follow(score)


def simulated_task(
    scenarios: Sequence[Scenario],
    *,
    phase_orders: PhaseOrders | Sequence[PhaseOrders] = "training",
    shaping_gamma: float | None = None,
    max_time_multiple: float = 4.0,
    max_episode_steps: int | None = None,
    observation: Observation = None,
    trace_events: int = 0,
) -> SimulatedTask:
    """A task on the fast model, one machine for each scenario; see `ModelledTask` and `LumpedSystem`."""
    from tierenv.sim.lumped.system import LumpedSystem  # here, because numba takes a while to load

    return SimulatedTask(
        LumpedSystem(scenarios, trace_events=trace_events),
        phase_orders=phase_orders,
        shaping_gamma=shaping_gamma,
        max_time_multiple=max_time_multiple,
        max_episode_steps=max_episode_steps,
        observation=observation,
    )


def split_of_each(phase_orders: PhaseOrders | Sequence[PhaseOrders], n: int) -> list[PhaseOrders]:
    """The split of each machine; machine i takes entry i mod the number of entries. Raises `ConfigError`."""
    is_list = isinstance(phase_orders, Sequence) and not isinstance(phase_orders, str)
    entries = cast("list[PhaseOrders]", list(phase_orders) if is_list else [phase_orders])
    if not entries:
        raise ConfigError("phase_orders=[]: must name at least one split")
    for entry in entries:
        if not isinstance(entry, str) or entry not in ("training", "held-out"):
            raise ConfigError(f"phase_orders={entry!r}: must be 'training' or 'held-out'")
    return [entries[index % len(entries)] for index in range(n)]
