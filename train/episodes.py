"""Running policies through whole episodes, all seeds in one batch.

The episode of seed s is the one `gymnasium.make("tierenv/TieredMemory-v1", ...).reset(seed=s)` starts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from tierenv.counters import MIGRATOR_NS, SCANNER_NS
from tierenv.env import EPISODE_SEEDS
from tierenv.render import Timeline
from tierenv.sim.records import (
    ALLOCATION_FAILURES,
    BALANCING_NS,
    DUPLICATES,
    PEAK_LIST,
)
from tierenv.system import System
from tierenv.task import ModelledTask
from tierenv.train.recovery import Recovery, RecoveryWatch, has_recovery

MAX_TIME_MULTIPLE = 20.0
"""Episodes are given up at this many times the all-fast time and then count as "at least"."""

COUNTS = ("promoted_pages", "demoted_pages", "failed_migrations", "wasted_promotions")
"""Keys of `tierenv.task.INFO_KEYS` that a result reports."""
LIST_COUNTS = ("duplicate_entries", "peak_list_entries", "peak_list_bytes", "list_allocation_failures")
"""What a result reports of the migration list, which only the model knows: entries of pages that were on it already,
its greatest length and the memory that took, and entries for which there was none."""

CPU_TIMES = ("scanner", "migrator", "threads")
"""Whose CPU time a result reports: the scanning thread, the migration thread, and threads of the processes that NUMA
balancing makes mark pages, take hint faults and promote. Of the processes' own work, of reclaim and of what they wait
for a page that moves nothing is counted."""


class Actor(Protocol):
    """What of a `tierenv.agents.policy.Policy` an episode needs."""

    def reset(self, num_machines: int) -> None:
        """Forget the past."""

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Actions float32[n, T] for observations float32[n, columns]."""
        ...


@dataclass(frozen=True)
class Episodes:
    """What n episodes came to, one entry each."""

    seconds: NDArray[np.float64]
    """Completion time, or the time at which the episode was given up [s]."""
    is_truncated: NDArray[np.bool_]
    """Whether it was given up: the completion time is at least `seconds`."""
    reference_s: NDArray[np.float64]
    """Computed all-fast time [s]."""
    objective: NDArray[np.float64]
    """What is judged: the scenario's objective, in its unit (`tierenv.objective`); where the episode was given up, what
    it had come to."""
    objective_all_fast: NDArray[np.float64]
    """Its scale."""
    process_seconds: NDArray[np.float64]
    """float64[n, processes]: when each process ended, or its part in the episode with it [s]."""
    process_accesses: NDArray[np.float64]
    """float64[n, processes]: accesses it had done by then."""
    process_alone_s: NDArray[np.float64]
    """float64[n, processes]: time it takes alone with every page fast, of what never ends a round [s]."""
    counts: dict[str, NDArray[np.int64]]
    """`COUNTS` and `LIST_COUNTS`."""
    steps: NDArray[np.int64]
    """Control intervals."""
    cpu_s: dict[str, NDArray[np.float64]]
    """By `CPU_TIMES` [s]."""
    recovery: Recovery | None = None
    """After changes; None where nobody looked, or where the scenario has none."""

    @property
    def env_steps(self) -> int:
        """Control intervals of all episodes together."""
        return int(self.steps.sum())

    @property
    def normalised_objective(self) -> NDArray[np.float64]:
        """What is judged in units of what it comes to with every page fast."""
        return self.objective / self.objective_all_fast


class Stateless:
    """An actor without a past.

    Args:
        act: actions float32[n, T] for observations float32[n, columns].
    """

    def __init__(self, act: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
        self.act = act

    def reset(self, num_machines: int) -> None:
        """Nothing to forget."""


def holding(actions: NDArray[np.float64]) -> Stateless:
    """Plays actions float[n, T], one for each machine, whatever is observed."""
    held = actions.astype(np.float32)
    return Stateless(lambda _observation: held)


class Recorder:
    """Lets an actor decide and keeps what it saw.

    Args:
        actor: decides.
        system: the machines it decides for.
    """

    def __init__(self, actor: Actor, system: System) -> None:
        self.observations: list[NDArray[np.float32]] = []
        """float32[n, columns] at every decision."""
        self.is_running: list[NDArray[np.bool_]] = []
        """bool[n] at every decision: machines whose work was not done."""
        self._actor = actor
        self._system = system

    def reset(self, num_machines: int) -> None:
        """An episode has begun on all machines."""
        self._actor.reset(num_machines)

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """The actor's actions."""
        self.observations.append(observation)
        self.is_running.append(~self._system.is_done)
        return self._actor.act(observation)

    @property
    def decided_on(self) -> NDArray[np.float32]:
        """float32[decisions, columns]: observations of running machines."""
        return np.concatenate([row[mask] for row, mask in zip(self.observations, self.is_running, strict=True)])


def episode_seeds(seeds: Sequence[int]) -> NDArray[np.uint64]:
    """uint64[n]: seeds of the first episodes of environments reset with these seeds."""
    draws = [seeding.np_random(seed)[0].integers(EPISODE_SEEDS, dtype=np.uint64) for seed in seeds]
    return np.array(draws, dtype=np.uint64)


def run_episodes(
    task: ModelledTask,
    actor: Actor,
    seeds: Sequence[int],
    timeline: Timeline | None = None,
    *,
    with_recovery: bool = False,
) -> Episodes:
    """Run every machine of a task from start to end; an entry of `seeds` for each.

    Args:
        task: machines whose scenarios suit the actor.
        actor: decides for all of them.
        seeds: as given to `reset` of an environment.
        timeline: records the first machine.
        with_recovery: whether to follow how long changes are felt.
    """
    n = task.num_machines
    observation, info = task.reset(episode_seeds(seeds))
    actor.reset(n)
    if timeline is not None:
        timeline.restart()
    final: dict[str, NDArray[Any]] = {key: np.array(info[key]) for key in ("elapsed_s", "objective", *COUNTS)}
    process_accesses = task.system.process_accesses
    cpu_ns = _cpu_ns(task)
    watch = RecoveryWatch(task.system) if with_recovery and all(map(has_recovery, task.system.scenarios)) else None
    is_running = np.ones(n, dtype=np.bool_)
    is_truncated = np.zeros(n, dtype=np.bool_)
    steps = np.zeros(n, dtype=np.int64)
    while is_running.any():
        outcome = task.step(actor.act(observation))
        observation = outcome.observation
        steps += is_running
        if timeline is not None and is_running[0]:
            timeline.record()
        if watch is not None:
            watch.record(is_running)
        has_ended = is_running & (outcome.terminated | outcome.truncated)
        if has_ended.any():
            for key, values in final.items():
                values[has_ended] = outcome.info[key][has_ended]
            process_accesses[has_ended] = task.system.process_accesses[has_ended]
            cpu_ns[has_ended] = _cpu_ns(task)[has_ended]
            is_truncated |= has_ended & outcome.truncated
            is_running &= ~has_ended
    finished_s = task.system.finished_s
    given_up_s = final["elapsed_s"][:, None]
    return Episodes(
        seconds=final["elapsed_s"],
        process_seconds=np.where(finished_s > 0, np.minimum(finished_s, given_up_s), given_up_s),
        process_accesses=process_accesses,
        process_alone_s=task.system.alone_s,
        is_truncated=is_truncated,
        reference_s=np.array(info["reference_s"], dtype=np.float64),
        objective=final["objective"],
        objective_all_fast=np.array(info["objective_all_fast"], dtype=np.float64),
        counts={key: final[key] for key in COUNTS} | _list_counts(task),
        steps=steps,
        cpu_s=dict(zip(CPU_TIMES, 1e-9 * cpu_ns.T, strict=True)),
        recovery=None if watch is None else watch.result(final["elapsed_s"]),
    )


def _cpu_ns(task: ModelledTask) -> NDArray[np.int64]:
    """int64[n, CPU_TIMES] by now."""
    counters, model = task.system.counters, task.system.model
    return np.stack((counters[:, SCANNER_NS], counters[:, MIGRATOR_NS], model[:, BALANCING_NS]), axis=1)


def _list_counts(task: ModelledTask) -> dict[str, NDArray[np.int64]]:
    """`LIST_COUNTS` of machines that stand still."""
    duplicates, peak, failures = (
        task.system.model[:, column] for column in (DUPLICATES, PEAK_LIST, ALLOCATION_FAILURES)
    )
    entry_bytes = np.array([getattr(daemon, "list_entry", 0) for daemon in task.system.daemons])
    return dict(zip(LIST_COUNTS, (duplicates, peak, peak * entry_bytes, failures), strict=True))
