"""What each process of a scenario came to: when it ended, how much slower it was than alone, what its accesses took."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.scenario import Process, Scenario
from tierenv.train.episodes import Episodes
from tierenv.train.statistics import mean_estimate

Floats = NDArray[np.float64]

SAME = 1e-3
"""Times that differ by no more than this share of them are the same for people."""


@dataclass(frozen=True)
class ProcessResult:
    """One process under one policy, an entry for each episode."""

    name: str
    process: Process
    seconds: Floats
    """When it ended, or its part in the episode with it [s]."""
    has_ended: NDArray[np.bool_]
    """Whether its work was done by then: False for what never ends, and where the episode was given up before."""
    slowdown: Floats
    """Time it took over time alone with every page fast for as much work; NaN where it did nothing, or pauses."""
    access_s: Floats
    """Time of its threads that work over its accesses, `think` included [s]; NaN where there were none, or it pauses,
    or begins its load anew nobody knows when."""
    rounds: Floats
    """How often it did its work."""

    @property
    def mean_end_s(self) -> float | None:
        """Mean end over episodes that are as long as needed; None unless it ended in all of them."""
        return float(self.seconds.mean()) if self.has_ended.all() else None

    def to_json(self) -> dict[str, Any]:
        """What `--json` holds of it."""
        is_awaited = self.process.is_awaited
        return {
            "process": self.name,
            "workload": self.process.workload.name,
            "lifetime": self.process.lifetime,
            "end_s": _mean(self.seconds if is_awaited else np.array([])),
            "runs_not_ended": int((~self.has_ended).sum()) if is_awaited else None,
            "slowdown": _mean(self.slowdown),
            "access_s": _mean(self.access_s),
            "rounds": _mean(self.rounds),
        }

    def finished_s(self, episode: int) -> float | None:
        """When it ended in one episode, None if it did not [s]."""
        return float(self.seconds[episode]) if self.has_ended[episode] else None


def process_results(scenario: Scenario, episodes: Episodes) -> list[ProcessResult]:
    """What each process came to in episodes of a scenario."""
    return [
        _result(number, name, process, episodes)
        for number, (name, process) in enumerate(zip(scenario.process_names, scenario.processes, strict=True))
    ]


def ends_whatever(results: list[list[ProcessResult]]) -> list[ProcessResult]:
    """Processes that end at the same time whatever the policy; the processes of each policy in the same order."""
    if len(results) < 2:
        return []
    same = []
    for of_policies in zip(*results, strict=True):
        ends = [result.mean_end_s for result in of_policies]
        times = [end for end in ends if end is not None]
        if len(times) == len(ends) and max(times) - min(times) <= SAME * max(times):
            same.append(of_policies[0])
    return same


def last_to_end(results: list[list[ProcessResult]]) -> str | None:
    """The process with which every episode of every policy ends, None if it is not always the same."""
    last = set()
    for processes in results:
        awaited = [result for result in processes if result.process.is_awaited]
        if len(awaited) < 2 or not all(result.has_ended.all() for result in awaited):
            return None
        ends = np.array([result.seconds for result in awaited])
        last |= {awaited[index].name for index in ends.argmax(axis=0)}
    return last.pop() if len(last) == 1 else None


def _result(number: int, name: str, process: Process, episodes: Episodes) -> ProcessResult:
    seconds, accesses = episodes.process_seconds[:, number], episodes.process_accesses[:, number]
    was_given_up = episodes.is_truncated & (seconds >= episodes.seconds)
    spent_s = np.maximum(seconds - process.start, 0.0)
    rounds = accesses / process.total_accesses
    with np.errstate(divide="ignore", invalid="ignore"):
        slowdown = np.where(accesses > 0, spent_s / (rounds * episodes.process_alone_s[:, number]), np.nan)
        access_s = np.where(accesses > 0, process.thread_seconds(spent_s) / accesses, np.nan)
    if process.lifetime == "periodic":  # its pauses are no slow-down
        slowdown[:] = np.nan
    has_ended = ~was_given_up & process.is_awaited
    return ProcessResult(name, process, seconds, has_ended, slowdown, access_s, rounds)


def _mean(values: Floats) -> dict[str, Any] | None:
    """Mean over the episodes that have one, None without any."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    return mean_estimate(known).to_json()
