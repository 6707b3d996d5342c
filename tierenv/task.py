"""TieredMemoryTask: the one place where system, observation, action, reward and truncation meet.

A task is a batch of n machines, all stepped by one control interval at a time, without autoreset and without
spaces to seed: the Gymnasium faces in `env` and `vector_env` add those, evaluation drives a task as it is.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tierenv.action import ActionCodec
from tierenv.counters import DEMOTED, MIGRATE_FAILED, MIGRATED, PGPROMOTE_SUCCESS
from tierenv.daemon import DaemonVariant
from tierenv.errors import ConfigError
from tierenv.observation import ObservationEncoder
from tierenv.records import load_record
from tierenv.reward import Shaping, time_reward
from tierenv.scenario import Control, PhaseOrders, Scenario, load_scenario
from tierenv.sim.records import (
    WASTED,
)
from tierenv.system import ModelledSystem

Info = dict[str, NDArray[np.generic]]

INFO_KEYS: Mapping[str, str] = {
    "elapsed_s": "time since the start of the episode [s]",
    "reference_s": "computed completion time with all pages on the fast tier [s]",
    "work_done": "share of the accesses done",
    "phase": "present phase, counted in the order of the episode",
    "scan_period_ms": "in force [ms]",
    "scan_size_bytes": "in force [bytes]",
    "throttle_bytes_per_s": "in force, infinite when unlimited [bytes/s]",
    "promoted_pages": "pages promoted in this episode",
    "demoted_pages": "pages demoted in this episode",
    "failed_migrations": "list entries that ended in any way but a promotion in this episode",
    "wasted_promotions": "promotions of pages that do not belong to the hottest that fit in this episode",
    "reward_time": "minus the duration of the step / reference_s",
    "reward_shaping": "gamma Phi' - Phi, 0 where shaping is off",
}
"""Keys of the info of a reset and of a step, and their meaning; each holds an array of length n."""


class Outcome(NamedTuple):
    """What a step gives. All arrays are fresh."""

    observation: NDArray[np.float32]
    """float32[n, features]."""
    reward: NDArray[np.float64]
    """float64[n]."""
    terminated: NDArray[np.bool_]
    """bool[n]: the work is done."""
    truncated: NDArray[np.bool_]
    """bool[n]: the episode ran out of time."""
    info: Info


def resolve_scenarios(
    scenario: str | Scenario | Sequence[str | Scenario],
    num_machines: int,
    daemon: str | None = None,
    control: Control | None = None,
) -> list[Scenario]:
    """The scenario of each machine; machine i takes entry i mod the number of entries.

    Args:
        scenario: one or several; names of packaged scenarios, paths, or records.
        num_machines: n, at least 1.
        daemon: name or path of a daemon variant that replaces the scenario's.
        control: who sets the tunables, in place of what the scenario says.

    Raises:
        ConfigError: for an unknown name, a bad file, or tunables set on a daemon that cannot take them.
    """
    entries = [scenario] if isinstance(scenario, str | Scenario) else list(scenario)
    if not entries:
        raise ConfigError("scenario=[]: must name at least one scenario")
    if num_machines < 1:
        raise ConfigError(f"num_envs={num_machines}: must be at least 1")
    changes: dict[str, object] = {}
    if daemon is not None:
        changes["daemon"] = load_record("daemons", DaemonVariant, daemon)
    if control is not None:
        changes["control"] = control
    records = []
    for entry in entries[:num_machines]:
        record = load_scenario(entry) if isinstance(entry, str) else entry
        record = record.replace(**changes) if changes else record
        if record.control == "tunables" and not record.daemon.tunable_at_run_time:
            raise ConfigError(
                f"scenario {record.name}: control='tunables' needs tunables that can be written at run time, "
                f"and {record.daemon.name}'s cannot; choose control='kernel-rule' or 'off', or another daemon"
            )
        records.append(record)
    return [records[index % len(records)] for index in range(num_machines)]


class TieredMemoryTask:
    """n machines whose tunables are set once per control interval, each until its work is done.

    A machine whose episode has terminated stands still (reward 0) until it is reset; one whose episode was
    truncated goes on, so a caller may ignore the truncation.

    Args:
        scenarios: one per machine, of equal control interval, whose daemons supply the same features.
        phase_orders: which split the order of phases is drawn from, one for all machines or one for each.
        shaping_gamma: the learner's discount factor; None for the bare reward.
        max_time_multiple: an episode is truncated once it has run this many times its reference time [1].
        max_episode_steps: an episode is truncated after this many steps; None for no such limit.
        trace_events: room for the kernel's trace events of each machine's episode (`LumpedSystem.trace`).
    """

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        *,
        phase_orders: PhaseOrders | Sequence[PhaseOrders] = "training",
        shaping_gamma: float | None = None,
        max_time_multiple: float = 4.0,
        max_episode_steps: int | None = None,
        trace_events: int = 0,
    ) -> None:
        from tierenv.sim.lumped.system import LumpedSystem  # here, because numba takes a while to load

        intervals = {scenario.control_interval for scenario in scenarios}
        if len(intervals) > 1:
            seconds = ", ".join(f"{interval:g}" for interval in sorted(intervals))
            raise ConfigError(f"control_interval: the scenarios of one batch must share theirs, got {seconds} s")
        if not max_time_multiple > 0:
            raise ConfigError(f"max_time_multiple={max_time_multiple}: must be above 0")
        if max_episode_steps is not None and max_episode_steps < 1:
            raise ConfigError(f"max_episode_steps={max_episode_steps}: must be at least 1")
        n = len(scenarios)
        daemons = [scenario.daemon for scenario in scenarios]
        is_same_daemon = all(daemon is daemons[0] for daemon in daemons)
        self.encoder = ObservationEncoder(*(daemons[:1] if is_same_daemon else daemons))
        self.codec = ActionCodec(*(daemons[:1] if is_same_daemon else daemons))
        self.control_interval_s = intervals.pop()
        self.system: ModelledSystem = LumpedSystem(scenarios, trace_events=trace_events)
        self.phase_orders = _one_for_each(phase_orders, n)
        self._is_controlled = any(scenario.control == "tunables" for scenario in scenarios)
        self._resident_pages = np.array([scenario.pages for scenario in scenarios])
        self._fast_capacity_pages = np.array([scenario.fast_capacity_pages for scenario in scenarios])
        self._reference_s = self.system.reference_s.copy()
        self._limit_s = max_time_multiple * self._reference_s
        self._limit_steps = np.iinfo(np.int64).max if max_episode_steps is None else max_episode_steps
        self._shaping = None if shaping_gamma is None else Shaping(shaping_gamma, self._reference_s)

        self._observation = np.zeros((n, len(self.encoder.features)), dtype=np.float32)
        self._counters = self.system.counters
        self._elapsed_s = np.zeros(n)
        self._steps = np.zeros(n, dtype=np.int64)
        self._reward_time = np.zeros(n)
        self._reward_shaping = np.zeros(n)

    @property
    def num_machines(self) -> int:
        """Length n of every array."""
        return len(self.system.scenarios)

    def reset(
        self, seeds: NDArray[np.uint64], mask: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], Info]:
        """Start an episode on every machine, or on those under the mask.

        Args:
            seeds: uint64[n]; an episode is determined by its seed and the actions.
            mask: bool[n]; None for all.

        Returns:
            float32[n, features] and the info of all machines; those not under the mask repeat their last.
        """
        if mask is None:
            mask = np.ones(self.num_machines, dtype=np.bool_)
        system = self.system
        system.reset(seeds, self.phase_orders, mask)
        self._counters = system.counters
        self._elapsed_s = system.elapsed_s
        self._steps[mask] = 0
        self._reward_time[mask] = 0.0
        self._reward_shaping[mask] = 0.0
        if self._shaping is not None:
            self._shaping.restart(system.remaining_s(), mask)
        observation = self._observe(self._counters, np.zeros(self.num_machines), system.tunables)
        self._observation = np.where(mask[:, None], observation, self._observation)
        return self._observation.copy(), self._info(system.tunables)

    def step(self, actions: ArrayLike) -> Outcome:
        """Put actions in force, let one control interval pass and account for it.

        Args:
            actions: float[n, 3] in [-1, 1], coordinates as in `tierenv.action`. Not looked at where
                no scenario leaves control to the caller.
        """
        system = self.system
        if self._is_controlled:
            system.apply(self.codec.decode(actions))
        system.advance(self.control_interval_s)

        counters, elapsed_s, tunables = system.counters, system.elapsed_s, system.tunables
        step_s = elapsed_s - self._elapsed_s
        self._observation = self._observe(counters, step_s, tunables)
        self._counters, self._elapsed_s = counters, elapsed_s
        self._steps += 1

        terminated = system.is_done
        truncated = ((elapsed_s >= self._limit_s) | (self._steps >= self._limit_steps)) & ~terminated
        self._reward_time = time_reward(step_s, self._reference_s)
        if self._shaping is not None:
            self._reward_shaping = self._shaping.reward(system.remaining_s(), terminated)
        reward = self._reward_time + self._reward_shaping
        return Outcome(self._observation.copy(), reward, terminated, truncated, self._info(tunables))

    def _observe(
        self, counters: NDArray[np.int64], step_s: NDArray[np.float64], tunables: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        return self.encoder.observe(
            self._counters, counters, step_s, tunables, self._resident_pages, self._fast_capacity_pages
        )

    def _info(self, tunables: NDArray[np.float64]) -> Info:
        """Present values of `INFO_KEYS`, in fresh arrays: callers may write into what they get."""
        system, counters = self.system, self._counters
        period_ms, size_bytes, throttle_bytes_per_s = tunables.T.copy()
        return {
            "elapsed_s": self._elapsed_s.copy(),
            "reference_s": self._reference_s.copy(),
            "work_done": system.work_done,
            "phase": system.phase,
            "scan_period_ms": period_ms,
            "scan_size_bytes": size_bytes,
            "throttle_bytes_per_s": throttle_bytes_per_s,
            "promoted_pages": counters[:, MIGRATED] + counters[:, PGPROMOTE_SUCCESS],
            "demoted_pages": counters[:, DEMOTED].copy(),
            "failed_migrations": counters[:, MIGRATE_FAILED].copy(),
            "wasted_promotions": system.model[:, WASTED],
            "reward_time": self._reward_time.copy(),
            "reward_shaping": self._reward_shaping.copy(),
        }


def _one_for_each(phase_orders: PhaseOrders | Sequence[PhaseOrders], n: int) -> list[PhaseOrders]:
    """The split of each machine; machine i takes entry i mod the number of entries."""
    entries: list[PhaseOrders] = [phase_orders] if isinstance(phase_orders, str) else list(phase_orders)
    if not entries:
        raise ConfigError("phase_orders=[]: must name at least one split")
    for entry in entries:
        if entry not in ("training", "held-out"):
            raise ConfigError(f"phase_orders={entry!r}: must be 'training' or 'held-out'")
    return [entries[index % len(entries)] for index in range(n)]
