"""An estimate of what a very good controller reaches that does not know what comes.

The clairvoyant (`tierenv.bounds`) knows all phases ahead, and what is hot from their first moment. A daemon has to find
out, and whoever sets its tunables learns that something has changed when he next looks. This is a fluid of a machine
under such a daemon. Phase by phase, it promotes from the placement at the phase's beginning for the phase alone; where
a phase ends is where the next one begins. With F_c the fast pages of class c, n_c its pages, s_c its share of the
accesses, a the access rates at F, `tierenv.sim.application`, and h_c = a s_c / (accesses that visit every page once):

* For `delay_s` after a change nothing moves, and work goes on at the placement as it is.
* A look then lists L_c = (n_c - F_c) pass_c of each class: pass_c = (1 - exp(-h_c w))^k for k windows w of Accessed
  bits in a row, and 1 - exp(-h_c w) for faults within a time w of the marking. Warm pages pass, too, and are promoted
  with the hot ones, as they stand in the order of addresses, by one migrator or by all threads that fault.
* On a full fast tier each promotion needs a demotion. kswapd takes pages that nobody has touched in the time tau by
  which its second hand follows the first, of class c the part F_c exp(-h_c tau) of all it looks at; tau is lead sum(F)
  over its visits a second, as many as the promotions need or as it can make: then promotions wait for it.
* It goes on as long as the work left in the phase gains by it more than it costs: shootdowns of both moves, faults,
  Accessed bits set again for the scanner and for reclaim. Between times a little is lost to watching.

Of the ways in which the daemon can look, and of not moving anything, the best for the whole run counts. It is an
estimate, neither a lower nor an upper bound; docs/model.md says what it leaves out.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tierenv.bounds import judged_processes
from tierenv.finding import Finder, Look, Memory, ways_to_find
from tierenv.scenario import Scenario
from tierenv.sim.application import solve_rates
from tierenv.sim.parameters import ScenarioArrays, scenario_arrays
from tierenv.sim.rules import next_start_s
from tierenv.system import ModelledSystem
from tierenv.units import PAGE_BYTES

Floats = NDArray[np.float64]

STEPS_PER_LOOK = 12
"""Stretches of the promotions of a look over which rates run linearly."""
STEP_SHARE = 1 / 64
"""Of the fast tier, so much moves in a stretch, if that makes fewer of them."""
NUM_BISECTIONS = 12
"""Halvings of the range of tau, in logarithms."""
LEAST_PAGES = 1.0
"""Fewer pages are not worth a look."""
LEAST_SHARE = 1e-9
"""Of a look that is over, what rounding leaves."""
MOST_LOST = 0.9
"""Of any stretch of time, as in the models."""


def no_foresight_s(system: ModelledSystem, index: int) -> float:
    """About the time a very good controller takes in the episode that a machine has just been reset to [s].

    To the end that is judged. Never more than without any promotion; what `clairvoyant_bound_s` gives is less.

    Raises:
        ValueError: for an objective that is not the time to an end.
    """
    episode = Episode.of(system, index)
    ways = [None, *ways_to_find(system.scenarios[index])]
    return min(Fluid(episode, way).run_s() for way in ways)


@dataclass(frozen=True)
class Episode:
    """What is fixed of an episode: M processes with C classes in all."""

    scenario: Scenario
    arrays: ScenarioArrays
    judged: list[int]
    """Processes the end of the last of which is judged."""
    shares: list[Floats]
    """float[phases, C] for each process: share of its accesses, 0 for the classes of others."""
    work_ends: list[Floats]
    """float[phases]: accesses after which each phase ends; infinite where it ends by time."""
    phase_s: list[Floats]
    """float[phases]: time each phase takes, infinite where it ends by work."""
    fast_pages: Floats
    """float[C] at the start."""

    @property
    def key(self) -> bytes:
        """What tells episodes of one scenario apart."""
        return b"".join(array.tobytes() for array in (*self.shares, *self.work_ends, *self.phase_s, self.fast_pages))

    @classmethod
    def of(cls, system: ModelledSystem, index: int) -> "Episode":
        """The episode that a machine has just been reset to."""
        scenario = system.scenarios[index]
        arrays = scenario_arrays(scenario)
        numbers = range(len(scenario.processes))
        shares, work_ends = [], []
        for number, process in enumerate(arrays.processes):
            own = system.access_share(index, number)
            padded = np.zeros((len(own), len(scenario.class_pages)))
            padded[:, process["first_class"] : process["end_class"]] = own
            shares.append(padded)
            ends = np.cumsum(system.phase_work(index, number))
            work_ends.append(np.full(len(own), np.inf) if process["is_timed"] else ends)
        return cls(
            scenario=scenario,
            arrays=arrays,
            judged=judged_processes(scenario),
            shares=shares,
            work_ends=work_ends,
            phase_s=[system.phase_seconds(index, number) for number in numbers],
            fast_pages=system.fast_pages_by_class(index).astype(np.float64),
        )


@dataclass
class _Run:
    """How far a process has come."""

    phase: int = 0
    phase_until_s: float = math.inf
    load_step: int = 0
    load_until_s: float = math.inf
    ready_s: float = math.inf
    """When it is known what is hot."""
    is_known: bool = False


class _Flow(NamedTuple):
    """What moves in a stretch of time."""

    pages: Floats
    """float[C]: promoted less demoted."""
    share: float
    """Of what the look has listed."""
    seconds: float
    rates: Floats
    """float[M]: accesses per second of each process, on average."""


class Fluid:
    """A machine whose pages, and whose work, run like water.

    Args:
        episode: what runs on it.
        finder: how its daemon looks for pages; None: nothing moves.
    """

    def __init__(self, episode: Episode, finder: Finder | None) -> None:
        arrays = episode.arrays
        self._episode, self._finder = episode, finder
        self._parameters, self._node = arrays.parameters[()], arrays.nodes[0]
        self._processes, self._links = arrays.processes.copy(), arrays.links.copy()
        self._runs = [_Run() for _ in self._processes]
        self._fast = episode.fast_pages.copy()
        self._pages = np.concatenate(arrays.class_pages).astype(np.float64)
        self._owner = np.repeat(np.arange(len(self._processes)), [len(pages) for pages in arrays.class_pages])
        platform = episode.scenario.platform
        self._most_fast = episode.scenario.fast_capacity_pages * (1.0 - platform.promotion_watermark)
        self._now_s = 0.0
        self._look: Look | None = None
        self._left = 0.0
        """Share of the look's pages that is still to be promoted."""
        self._rounds = 1
        self._rests = True
        """Whether it does not pay to look for anything until something changes."""

    def run_s(self) -> float:
        """The time to the end that is judged [s]. Call it once."""
        judged = self._episode.judged
        while True:
            self._follow_clock()
            if self._processes["is_done"][judged].all():
                return float(self._processes["finished_s"][judged].max())
            self._advance()

    # What happens by the clock, and by the work done

    def _follow_clock(self) -> None:
        for number, (process, run) in enumerate(zip(self._processes, self._runs, strict=True)):
            if not process["is_running"] and not process["is_done"] and process["start_s"] <= self._now_s:
                self._begin(number)
            while process["is_running"] and run.phase_until_s <= self._now_s:
                phase_s = self._episode.phase_s[number]
                self._begin_phase(number, (run.phase + 1) % len(phase_s))
                run.phase_until_s += phase_s[run.phase]
            while process["is_running"] and run.load_until_s <= self._now_s:
                load = self._episode.arrays.loads[number]
                self._begin_load(number, (run.load_step + 1) % len(load))
                run.load_until_s += load[run.load_step, 0]
            if process["is_running"] and run.ready_s <= self._now_s and not run.is_known:
                run.is_known = True
                self._look_anew()

    def _begin(self, number: int) -> None:
        """Execute a process."""
        process, run = self._processes[number], self._runs[number]
        process["is_running"], process["accesses"] = True, 0.0
        start_s = float(process["start_s"])
        run.phase, run.is_known = 0, False
        run.phase_until_s = start_s + self._episode.phase_s[number][0]
        run.load_until_s = start_s + self._episode.arrays.loads[number][0, 0]
        run.ready_s = start_s + (math.inf if self._finder is None else self._finder.first_delay_s)
        self._begin_load(number, 0)

    def _begin_phase(self, number: int, phase: int) -> None:
        """Something else is hot, and nobody knows for a while."""
        run = self._runs[number]
        run.phase, run.is_known = phase, False
        if self._finder is not None:
            run.ready_s = max(run.ready_s, self._now_s + self._finder.delay_s)
        self._look_anew()

    def _begin_load(self, number: int, step: int) -> None:
        process = self._processes[number]
        self._runs[number].load_step = step
        process["threads"] = process["full_threads"] * self._episode.arrays.loads[number][step, 1]
        process["working_threads"] = process["threads"]
        self._look_anew()

    def _end_work(self, number: int) -> None:
        """A process has done the work of its phase, or all."""
        process, run = self._processes[number], self._runs[number]
        process["accesses"] = self._work_end(number)
        if process["accesses"] < process["total_accesses"]:
            self._begin_phase(number, run.phase + 1)
        elif process["is_endless"]:
            process["accesses"] = 0.0
            if not process["is_timed"]:
                self._begin_phase(number, 0)
        else:
            process["is_running"] = False
            self._fast[self._owner == number] = 0.0
            if process["is_repeating"]:
                process["start_s"] = next_start_s(process, self._now_s)
            else:
                process["is_done"], process["finished_s"] = True, self._now_s
            self._look_anew()

    def _work_end(self, number: int) -> float:
        """Accesses at which a process's phase, or its work, ends."""
        total = float(self._processes["total_accesses"][number])
        ends = self._episode.work_ends[number]
        phase = self._runs[number].phase
        return total if phase + 1 == len(ends) else min(total, float(ends[phase]))

    def _next_event_s(self) -> float:
        next_s = math.inf
        for process, run in zip(self._processes, self._runs, strict=True):
            if process["is_running"]:
                next_s = min(next_s, run.phase_until_s, run.load_until_s)
                if not run.is_known:
                    next_s = min(next_s, run.ready_s)
            elif not process["is_done"]:
                next_s = min(next_s, float(process["start_s"]))
        return next_s

    def _look_anew(self) -> None:
        """Forget what is listed."""
        self._look, self._rounds, self._rests = None, 1, False

    # The flow of time

    def _advance(self) -> None:
        """Go on until something happens, or for a stretch in which rates run about linearly."""
        flow = self._flow()
        if flow is None:
            rates, step_s = self._rates(self._fast, 0.0) * (1.0 - self._watching()), math.inf
        else:
            rates, step_s = flow.rates, flow.seconds
        left_s = self._left_s(rates)
        next_s = self._next_event_s()
        span_s = min(step_s, next_s - self._now_s, float(left_s.min()))
        self._now_s = next_s if span_s == next_s - self._now_s else self._now_s + span_s
        self._processes["accesses"] += rates * span_s
        if flow is not None:
            self._fast = np.clip(self._fast + flow.pages * (span_s / step_s), 0.0, self._pages)
            self._left -= flow.share * (span_s / step_s)
            if self._left <= LEAST_SHARE:
                self._look, self._rounds = None, 2 * self._rounds
        for number in np.flatnonzero(left_s <= span_s * (1.0 + 1e-12)):
            self._end_work(int(number))

    def _left_s(self, rates: Floats) -> Floats:
        """float[M]: time in which each process comes to the end of its phase's work; infinite if it does not run."""
        left_s = np.full(len(rates), math.inf)
        for number in np.flatnonzero(self._processes["is_running"]):
            left = self._work_end(int(number)) - float(self._processes["accesses"][number])
            left_s[number] = max(0.0, left) / rates[number]
        return left_s

    def _rates(self, fast: Floats, moves_per_s: float) -> Floats:
        """float[M]: accesses per second of each process, while pages are copied between the tiers; 0 at rest."""
        processes = self._processes
        shares = np.zeros((len(processes), len(self._links)))
        on_fast = fast / self._pages
        for number, run in enumerate(self._runs):
            share = float(self._episode.shares[number][run.phase] @ on_fast)
            shares[number, processes["own_node"][number]], shares[number, -1] = share, 1.0 - share
        self._links["copied_per_s"][[0, -1]] = moves_per_s * PAGE_BYTES
        processes["access_rate"] = 0.0
        solve_rates(self._parameters, processes, self._links, shares)
        rates: Floats = processes["access_rate"] * processes["is_running"]
        return rates

    def _memory(self, rates: Floats) -> Memory:
        """The memory as it is, of which pages whose heat nobody knows yet cannot be listed."""
        processes = self._processes
        hazard = np.zeros(len(self._pages))
        for number, run in enumerate(self._runs):
            hazard += rates[number] * self._episode.shares[number][run.phase]
        is_known = np.array([run.is_known for run in self._runs]) & processes["is_running"]
        return Memory(
            slow=(self._pages - self._fast) * is_known[self._owner],
            pages=self._pages * processes["is_running"][self._owner],
            hazard_per_s=hazard / self._episode.arrays.accesses_per_hazard,
            is_swept=self._episode.arrays.is_swept,
            owner=self._owner,
            threads=np.where(processes["is_running"], processes["threads"], math.inf),
            free=max(0.0, self._most_fast - self._fast.sum()),
            since_start_s=self._now_s - processes["start_s"],
        )

    def _watching(self) -> Floats:
        """float[M]: share of its time that each process loses while nothing moves."""
        is_running = self._processes["is_running"][self._owner]
        if self._finder is None or (self._pages - self._fast)[is_running].sum() < LEAST_PAGES:
            return np.zeros(len(self._processes))  # there is nothing to promote, whatever is hot
        lost: Floats = np.minimum(MOST_LOST, self._finder.watching(self._memory(self._rates(self._fast, 0.0))))
        return lost

    def _flow(self) -> _Flow | None:
        """What moves next; None where nothing does, because nothing is known or it does not pay."""
        if self._finder is None or self._rests:
            return None
        before = self._rates(self._fast, 0.0)
        memory = self._memory(before)
        if self._look is None:
            self._look, self._left = self._finder.look(memory, self._rounds), 1.0
        flow = self._stretch(self._finder, self._look, memory, before)
        self._rests = flow is None
        return flow

    def _stretch(self, finder: Finder, look: Look, memory: Memory, before: Floats) -> _Flow | None:
        """A part of what a look has listed; None where that does not pay."""
        total = look.pages.sum()
        if total < LEAST_PAGES:
            return None
        steps = math.ceil(min(STEPS_PER_LOOK, max(1.0, total / (STEP_SHARE * self._most_fast))))
        share = min(1.0 / steps, self._left)
        is_full = memory.free < LEAST_PAGES
        if not is_full:
            share = min(share, memory.free / total)  # room is free until it is used up
        promoted = np.minimum(look.pages * share, memory.slow)
        asked = promoted.sum() if is_full else 0.0
        seconds = max(look.seconds * share, promoted.sum() / finder.promotions_per_s)
        lost_s = look.lost_s * share + memory.by_process(promoted) * finder.lost_per_promotion_s
        demoted = np.zeros(len(promoted))
        if asked > 0.0:
            if not self._parameters["demotion"]:
                return None
            demoted, needed_s, reclaim_lost_s = self._reclaim(asked, seconds, memory)
            seconds = max(seconds, needed_s)
            lost_s += reclaim_lost_s
        if not 0.0 < seconds < math.inf:
            return None
        moved = self._fast + promoted - demoted
        copies_per_s = (promoted.sum() + demoted.sum()) / seconds
        gain = self._rates(moved, 0.0) - before
        counted = [number for number in self._episode.judged if self._processes["is_running"][number]]
        gained_s = gain / np.maximum(before, 1e-300) * self._ahead_s(before)
        if gained_s[counted].sum() <= lost_s[counted].sum():
            return None
        rates = 0.5 * (self._rates(self._fast, copies_per_s) + self._rates(moved, copies_per_s))
        return _Flow(promoted - demoted, share, seconds, rates * (1.0 - np.minimum(MOST_LOST, lost_s / seconds)))

    def _ahead_s(self, rates: Floats) -> Floats:
        """float[M]: time that is left of each process's phase."""
        left_s = self._left_s(rates)
        by_clock_s = np.array([run.phase_until_s - self._now_s for run in self._runs])
        ahead_s: Floats = np.where(self._processes["is_running"], np.minimum(left_s, by_clock_s), 0.0)
        return ahead_s

    def _reclaim(self, asked: float, seconds: float, memory: Memory) -> tuple[Floats, float, Floats]:
        """What kswapd demotes, float[C], where so many pages have to go in a time.

        Returns it with the time that takes at least, and what the processes lose to it, float[M].
        """
        parameters, fast, total = self._parameters, self._fast, self._fast.sum()
        walked = memory.pages.sum() / total if parameters["ages_by_walk"] else 1.0
        visit_s = parameters["reclaim_visit_s"] + walked * parameters["scan_s"]
        behind = self._node["reclaim_lead"] * total

        def visits_per_s(cold: float) -> float:
            return float(min(asked / seconds / max(cold, 1e-300), 1.0 / (visit_s + cold * parameters["demotion_s"])))

        low_s = behind * visit_s
        high_s = behind / visits_per_s(1.0)
        for _ in range(NUM_BISECTIONS):
            tau_s = math.sqrt(low_s * high_s)
            untouched = fast * (1.0 - memory.touched(tau_s))
            cold = float(untouched.sum() / total)
            if behind > tau_s * visits_per_s(cold):
                low_s = tau_s
            else:
                high_s = tau_s
        if untouched.sum() < asked:
            return fast, math.inf, memory.by_process(fast)
        demoted = untouched * (asked / untouched.sum())
        visited = asked / cold
        bits = 2.0 * visited * (fast - untouched) / total
        lost_s = memory.by_process(bits) * parameters["accessed_bit_s"] / memory.threads
        count = self._processes["count"]
        lost_s += memory.by_process(demoted) * parameters["demotion_stall_s"] / count
        return demoted, visited / visits_per_s(cold), lost_s
