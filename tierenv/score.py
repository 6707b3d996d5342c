"""Score: what the objectives of a batch of machines have come to (`tierenv.objective`), step by step."""

import bisect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.errors import ConfigError
from tierenv.objective import OBJECTIVES, AccessTimeObjective, Objective, objective_name, objective_row
from tierenv.scenario import Scenario
from tierenv.system import ModelledSystem

Floats = NDArray[np.float64]

LEAST_INTERVAL = 0.5
"""Share of a control interval in which a process must have run for its access time to count: the rest of a run is none
to judge by. The first counts in any case."""
_ROUNDING = 1e-9
"""Of a rank: 7 % of 100 intervals are 7 of them."""


class Score:
    """What the objectives of the machines of a model have come to.

    Args:
        system: the machines; each has the objective of its scenario.
        control_interval_s: time between two updates [s].
    """

    def __init__(self, system: ModelledSystem, control_interval_s: float) -> None:
        self.system = system
        machines: dict[Any, list[int]] = {}
        for index, scenario in enumerate(system.scenarios):
            machines.setdefault(scenario.objective, []).append(index)
        self._groups = [_Group(system, indices, control_interval_s) for indices in machines.values()]
        self.so_far = np.zeros(len(system.scenarios))
        """float64[n]: each machine's objective so far, in its unit; replaced by every update."""
        self.all_fast = np.zeros(len(system.scenarios))
        """float64[n]: scale of each."""
        for group in self._groups:
            self.all_fast[group.machines] = group.row.all_fast(group)

    def keep(self, other: "Score", mask: NDArray[np.bool_]) -> None:
        """Go on from another score of as many machines, for those under the mask bool[n], which judge as before."""
        self.so_far = np.where(mask, other.so_far, self.so_far)
        before = {int(machine): (group, row) for group in other._groups for row, machine in enumerate(group.machines)}
        for group in self._groups:
            for row, machine in enumerate(group.machines):
                if mask[machine]:
                    group.keep(row, *before[int(machine)])

    def restart(self, mask: NDArray[np.bool_]) -> None:
        """An episode has begun on the machines under the mask bool[n]."""
        self.so_far = np.where(mask, 0.0, self.so_far)
        for group in self._groups:
            group.restart(mask[group.machines])

    def update(self) -> Floats:
        """float64[n]: what each objective has grown by since the last update, in its unit."""
        before, self.so_far = self.so_far, np.zeros_like(self.so_far)
        for group in self._groups:
            group.update()
            self.so_far[group.machines] = group.row.so_far(group)
        return self.so_far - before

    def check_shaping(self) -> None:
        """Raise `ConfigError` unless `remaining` can be told of every machine."""
        for group in self._groups:
            if group.row.remaining is None:
                scenario = self.system.scenarios[group.machines[0]]
                raise ConfigError(f"shaping_gamma: {unshaped(scenario)}")

    def remaining(self) -> Floats:
        """float64[n]: what each objective still grows by at the present placement, in units of `all_fast`."""
        remaining = np.zeros_like(self.so_far)
        seconds = self.system.remaining_s()
        for group in self._groups:
            if group.row.remaining is not None:
                remaining[group.machines] = group.row.remaining(group, seconds[group.machines])
        return remaining / self.all_fast


def unshaped(scenario: Scenario) -> str:
    """Why the reward of a scenario cannot be shaped; "" if it can."""
    name = objective_name(scenario.objective)
    if objective_row(scenario.objective).remaining is not None:
        return ""
    shaped = ", ".join(other for other, row in OBJECTIVES.items() if row.remaining is not None)
    return f"scenario {scenario.name}: objective {name} cannot be shaped, only {shaped}; turn shaping off"


class _Group:
    """Machines that have the same objective: a `tierenv.objective.Progress`."""

    def __init__(self, system: ModelledSystem, machines: Sequence[int], control_interval_s: float) -> None:
        self.machines = np.array(machines)
        scenarios = [system.scenarios[index] for index in machines]
        self._objective = objective = scenarios[0].objective
        self._system = system
        self.reference_s = system.reference_s[self.machines]
        self.alone_s = system.alone_s[self.machines]
        self._start_s = self._by_process(scenarios, "start", beyond=math.inf)
        is_awaited = self._by_process(scenarios, "is_awaited")
        self.weight = is_awaited * self._by_process(scenarios, "weight") * self._by_process(scenarios, "count")
        self._access_times: _AccessTimes | None = None
        if isinstance(objective, AccessTimeObjective):
            self._applications = [scenario.processes[0] for scenario in scenarios]
            accesses = self._by_process(scenarios, "total_accesses")[:, 0]
            self.all_fast_access_s = self._thread_seconds(self.alone_s[:, 0]) / accesses
            percentile = objective.access_time.percentile
            self._access_times = _AccessTimes(len(scenarios), LEAST_INTERVAL * control_interval_s, percentile)

    @property
    def row(self) -> Objective:
        """What is judged; looked up, for the functions of a row cannot be copied to another process."""
        return objective_row(self._objective)

    def _by_process(self, scenarios: Sequence[Scenario], field: str, beyond: float = 0.0) -> Floats:
        """float64[k, P]: a field of every process."""
        values = np.full(self.alone_s.shape, beyond)
        for row, scenario in zip(values, scenarios, strict=True):
            row[: len(scenario.processes)] = [getattr(process, field) for process in scenario.processes]
        return values

    @property
    def elapsed_s(self) -> Floats:
        return self._system.elapsed_s[self.machines]

    @property
    def process_s(self) -> Floats:
        ended_s = self._system.finished_s[self.machines]
        return np.maximum(np.where(ended_s > 0, ended_s, self.elapsed_s[:, None]) - self._start_s, 0.0)

    @property
    def interval_access_s(self) -> Floats:
        assert self._access_times is not None
        return self._access_times.percentile_s()

    def keep(self, row: int, other: "_Group", its_row: int) -> None:
        """Go on from a machine of another group of the same objective."""
        if self._access_times is not None and other._access_times is not None:
            self._access_times.keep(row, other._access_times, its_row)

    def restart(self, mask: NDArray[np.bool_]) -> None:
        """An episode has begun on the machines under the mask bool[k]."""
        if self._access_times is not None:
            self._access_times.restart(mask)

    def update(self) -> None:
        """A control interval has passed."""
        if self._access_times is not None:
            seconds = self.process_s[:, 0]
            done = self._system.process_accesses[self.machines, 0]
            self._access_times.add(seconds, self._thread_seconds(seconds), done)

    def _thread_seconds(self, seconds: Floats) -> Floats:
        """float64[k]: time that the threads of each application have worked, so long after its start."""
        pairs = zip(self._applications, seconds, strict=True)
        return np.array([application.thread_seconds(elapsed) for application, elapsed in pairs])


class _AccessTimes:
    """Mean access times of the applications of k machines in the intervals so far.

    Args:
        machines: k.
        least_s: shortest time of an interval that counts [s].
        percentile: of the intervals [%].
    """

    def __init__(self, machines: int, least_s: float, percentile: float) -> None:
        self._least_s = least_s
        self._percentile = percentile
        self._begun = np.zeros((3, machines))
        """Time, time of the threads and accesses at the start of the present interval."""
        self._sorted: list[list[float]] = [[] for _ in range(machines)]

    def keep(self, row: int, other: "_AccessTimes", its_row: int) -> None:
        """Go on from one of another's machines."""
        self._begun[:, row] = other._begun[:, its_row]
        self._sorted[row] = other._sorted[its_row]

    def restart(self, mask: NDArray[np.bool_]) -> None:
        """An episode has begun on the machines under the mask bool[k]."""
        self._begun[:, mask] = 0.0
        for index in np.flatnonzero(mask):
            self._sorted[index] = []

    def add(self, seconds: Floats, thread_seconds: Floats, accesses: Floats) -> None:
        """End an interval, unless too little has happened in it: then it goes on.

        Args:
            seconds: float64[k], time each application has run [s].
            thread_seconds: float64[k], time its threads have worked in it [s].
            accesses: float64[k], what it has done in it.
        """
        now = np.stack((seconds, thread_seconds, accesses))
        passed_s, worked_s, done = now - self._begun
        for index in np.flatnonzero(done > 0):
            if passed_s[index] >= self._least_s or not self._sorted[index]:
                bisect.insort(self._sorted[index], float(worked_s[index] / done[index]))
                self._begun[:, index] = now[:, index]

    def percentile_s(self) -> Floats:
        """float64[k]: the least access time that so many percent of the intervals do not exceed, 0 before the first."""
        ranks = [math.ceil(self._percentile / 100 * len(times) - _ROUNDING) for times in self._sorted]
        return np.array(
            [times[max(rank, 1) - 1] if times else 0.0 for times, rank in zip(self._sorted, ranks, strict=True)]
        )
