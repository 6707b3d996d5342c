"""How long after a change the access rate stays low, from what a task tells at the end of every control interval.

A change is the start of an episode and every phase that begins in it. What there is to regain in a phase lies between
two rates of the application: with its pages where they were at the start of the episode, and with its hottest pages on
the fast tier, as many as that holds, both without the stalls of migration. A phase in which the second is hardly above
the first has nothing to regain, and is no change here. The rate is regained at the end of the first control interval,
all of it in the phase, in which the application was at least `REGAINED` of the way from the first to the second. What
is never regained counts with the length of the phase: the mean is then at least what is told.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tierenv.scenario import Scenario
from tierenv.sim.parameters import least_access_time_s
from tierenv.system import ModelledSystem

REGAINED = 0.5
"""Share of what there is to regain: the best static settings of most scenarios get so far, and no migration nowhere."""
LEAST_TO_REGAIN = 0.02
"""Of the rate with the pages where they were at the start."""
NUM_SHARES = 65
"""Fast shares at which the access time is worked out; between them it is nearly straight."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Recovery:
    """What n episodes came to, one entry each."""

    seconds: Floats
    """From the changes to when the rate was regained, or to the end of the phase, all together [s]."""
    changes: NDArray[np.int64]
    """After which there was something to regain."""
    regained: NDArray[np.int64]
    """Of them those after which it was."""


def has_recovery(scenario: Scenario) -> bool:
    """Whether the rate can be told beforehand: for one program at a steady load."""
    return not scenario.corunners and not scenario.workload.load


class RecoveryWatch:
    """Follows the application of each machine through an episode; looks at the system alone.

    Args:
        system: machines that have just been reset.
    """

    def __init__(self, system: ModelledSystem) -> None:
        n = len(system.scenarios)
        self._system = system
        self._targets = _target_rates(system)
        self._phase = system.phase
        self._elapsed_s = system.elapsed_s
        self._accesses = system.process_accesses[:, 0]
        self._began_s = self._elapsed_s.copy()
        self._is_open = np.ones(n, dtype=np.bool_)  # a change that is seen for a whole interval, and not regained
        self._is_seen = np.zeros(n, dtype=np.bool_)
        self._seconds = np.zeros(n)
        self._changes = np.zeros(n, dtype=np.int64)
        self._regained = np.zeros(n, dtype=np.int64)

    def record(self, is_running: NDArray[np.bool_]) -> None:
        """A control interval is over: bool[n], the machines whose episode had not ended before."""
        phase, elapsed_s = self._system.phase, self._system.elapsed_s
        accesses = self._system.process_accesses[:, 0]
        target = self._targets[np.arange(len(phase)), self._phase]
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = (accesses - self._accesses) / (elapsed_s - self._elapsed_s)
        is_whole = is_running & (phase == self._phase)
        is_judged = is_whole & self._is_open & np.isfinite(target)
        self._is_seen |= is_judged
        self._close(is_judged & (rate >= target), elapsed_s, is_regained=True)
        is_changed = is_running & ~is_whole
        self._close(is_changed & self._is_seen & self._is_open, self._elapsed_s, is_regained=False)
        self._began_s[is_changed] = self._elapsed_s[is_changed]  # at the latest
        self._is_open |= is_changed
        self._is_seen &= ~is_changed
        self._phase, self._elapsed_s, self._accesses = phase, elapsed_s, accesses

    def result(self, end_s: Floats) -> Recovery:
        """What it came to; float64[n]: when each episode ended."""
        self._close(self._is_seen & self._is_open, end_s, is_regained=False)
        return Recovery(self._seconds, self._changes, self._regained)

    def _close(self, mask: NDArray[np.bool_], at_s: Floats, *, is_regained: bool) -> None:
        """Changes under the mask are over."""
        self._seconds[mask] += at_s[mask] - self._began_s[mask]
        self._changes[mask] += 1
        self._regained[mask] += is_regained
        self._is_open &= ~mask


def _target_rates(system: ModelledSystem) -> Floats:
    """float64[n, phases]: accesses per second at which a rate counts as regained; NaN where there is nothing to."""
    shares = np.linspace(0.0, 1.0, NUM_SHARES)
    times: dict[int, Floats] = {}
    rows = []
    for index, scenario in enumerate(system.scenarios):
        if id(scenario) not in times:
            times[id(scenario)] = least_access_time_s(scenario, shares)
        start, best = _fast_shares(system, index)
        known = times[id(scenario)]
        start_s = np.interp(start, shares, known)
        best_s = np.interp(best, shares, np.minimum.accumulate(known))  # where less is faster, less is taken
        slow, fast = (scenario.processes[0].threads / each for each in (start_s, best_s))
        rows.append(np.where(fast > (1 + LEAST_TO_REGAIN) * slow, slow + REGAINED * (fast - slow), np.nan))
    targets = np.full((len(rows), max(map(len, rows))), np.nan)
    for index, row in enumerate(rows):
        targets[index, : len(row)] = row
    return targets


def _fast_shares(system: ModelledSystem, index: int) -> tuple[Floats, Floats]:
    """float64[phases] each: share of the accesses on the fast tier as the pages lie, and the largest there can be."""
    pages = system.class_pages(index, 0).astype(np.float64)
    access_share = system.access_share(index, 0)
    start = access_share @ (system.fast_pages_by_class(index, 0) / pages)
    best = []
    for share in access_share:
        hottest_first = np.argsort(-share / pages)
        room = system.scenarios[index].fast_capacity_pages - np.cumsum(pages[hottest_first]) + pages[hottest_first]
        best.append(float((share[hottest_first] * np.clip(room / pages[hottest_first], 0.0, 1.0)).sum()))
    return start, np.array(best)
