"""What a daemon can find and promote, as rates: for the estimate without foresight (`tierenv.no_foresight`).

A look is what the daemon does to find hot pages once: windows of a scan with Accessed bits, a pass of hint faults. It
lists pages of every class, the share of each that its test passes, hot or not; promoting them takes time, and looking
costs the applications some. How a controller looks is what it sets: it chooses among the ways of `ways_to_find`.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tierenv.daemon import AccessedBitDaemon, Daemon, HintFaultDaemon
from tierenv.live.kernel import MEMORY_TIERING, scan_windows
from tierenv.scenario import Scenario
from tierenv.sim.rules import OWN_WORK_PER_SCAN
from tierenv.tunables import WINDOWS_OF_SECOND_ACCESS
from tierenv.units import PAGE_BYTES

Floats = NDArray[np.float64]

NUM_WINDOWS, NUM_THRESHOLDS, NUM_SIZES, NUM_NEEDED = 5, 4, 8, 6
"""Lengths of a scan window, hot thresholds, sizes of a marking window and access thresholds that are tried, in
geometric steps over what the daemon allows."""
SHORTEST_LOOK_S = 1e-3
LONGEST_WINDOW = 16.0
"""The longest window tried, in units of the shortest."""


class Memory(NamedTuple):
    """Pages of a machine by class, C of them, as a look meets them."""

    slow: Floats
    """float[C]: pages on the slow node."""
    pages: Floats
    """float[C]: resident pages."""
    hazard_per_s: Floats
    """float[C]: how often a page is visited."""
    is_swept: NDArray[np.bool_]
    """bool[C]: whether the visits are sweeps."""
    owner: NDArray[np.int64]
    """int[C]: process of each class."""
    threads: Floats
    """float[M]: threads at work of each process."""
    free: float
    """Pages of the fast tier that are free for promotions; what goes beyond needs room that reclaim has to make."""
    since_start_s: Floats
    """float[M]: time since each process has started."""

    def touched(self, seconds: float) -> Floats:
        """float[C]: share of a class's pages that are touched in a time."""
        hazard = self.hazard_per_s * seconds
        touched: Floats = np.where(self.is_swept, np.minimum(1.0, hazard), -np.expm1(-hazard))
        return touched

    def by_process(self, of_classes: Floats) -> Floats:
        """float[M]: sums over the classes of each process."""
        sums: Floats = np.bincount(self.owner, weights=of_classes, minlength=len(self.threads)).astype(np.float64)
        return sums


class Look(NamedTuple):
    """What looking comes to."""

    pages: Floats
    """float[C]: pages listed."""
    seconds: float
    """Time that it takes; promoting them may take longer."""
    lost_s: Floats
    """float[M]: what it costs all threads of each process."""


class Finder(Protocol):
    """A way in which a daemon finds pages."""

    @property
    def first_delay_s(self) -> float:
        """Time from a process's start to its first promotions."""

    @property
    def delay_s(self) -> float:
        """Time from a change of what is hot to the first promotions that know of it."""

    @property
    def promotions_per_s(self) -> float:
        """The most that all together promote."""

    @property
    def lost_per_promotion_s(self) -> Floats:
        """float[M]: what a promotion of a process's page takes of the time of all its threads."""

    def look(self, memory: Memory, rounds: int) -> Look:
        """What so many looks, one after the other, find together."""

    def watching(self, memory: Memory) -> Floats:
        """float[M]: share of its time that each process loses while nothing moves but a change would be noticed."""


@dataclass(frozen=True)
class AccessedBits:
    """A scanner that lists pages touched in each of several windows.

    Args:
        scenario: whose daemon it is.
        window_s: time from one visit of a page to the next.
        needed: windows in a row in which a page has to be touched.
        watch_s: time from one visit to the next while nothing moves.
    """

    scenario: Scenario
    window_s: float
    needed: int
    watch_s: float

    @property
    def _daemon(self) -> AccessedBitDaemon:
        assert isinstance(self.scenario.daemon, AccessedBitDaemon)
        return self.scenario.daemon

    @property
    def first_delay_s(self) -> float:
        """As `Finder`: nothing has to be noticed; a first visit that only resets pages begins the first window."""
        windows = self.needed - (not self._daemon.first_visit_resets)
        return self._daemon.initial_delay + windows * self.window_s

    @property
    def delay_s(self) -> float:
        """As `Finder`: half the time until a scan whose counters the controller sees, and the windows of the test."""
        return 0.5 * max(self.scenario.control_interval, self.watch_s) + self.needed * self.window_s

    @property
    def promotions_per_s(self) -> float:
        """As `Finder`: the one migrator's."""
        return 1.0 / self.scenario.migration_s

    @property
    def lost_per_promotion_s(self) -> Floats:
        """As `Finder`: a shootdown."""
        platform = self.scenario.platform
        return np.array([platform.shootdown_receiver / process.count for process in self.scenario.processes])

    def look(self, memory: Memory, rounds: int) -> Look:
        """As `Finder`. A first-access daemon lists what has ever been touched."""
        if self._daemon.access_rule == "first-access":
            passing = (memory.hazard_per_s > 0).astype(np.float64)
        else:
            passing = memory.touched(self.window_s) ** self.needed
        listed = memory.slow * -np.expm1(rounds * np.log1p(-np.minimum(passing, 1.0 - 1e-15)))
        windows = self.needed + rounds - 1
        return Look(listed, rounds * self.window_s, windows * self._set_again_s(memory, self.window_s))

    def watching(self, memory: Memory) -> Floats:
        """As `Finder`."""
        return self._set_again_s(memory, self.watch_s) / self.watch_s

    def _set_again_s(self, memory: Memory, window_s: float) -> Floats:
        """float[M]: time of all threads to set the Accessed bits again that a scan has cleared."""
        bits = memory.by_process(memory.pages * memory.touched(window_s))
        return bits * self.scenario.platform.accessed_bit / memory.threads


@dataclass(frozen=True)
class HintFaults:
    """NUMA balancing: pages are marked, and promoted at the fault that follows, if it follows soon.

    A period acts after a pass with promotions, and then by the size of the window that is set: so all passes have
    windows of one size, and the first one the period that threads start with.

    Args:
        scenario: whose daemon it is.
        threshold_s: time after its marking in which a page has to be touched; infinite in mode 1.
        window_pages: marked in one window.
    """

    scenario: Scenario
    threshold_s: float
    window_pages: int

    @property
    def _daemon(self) -> HintFaultDaemon:
        assert isinstance(self.scenario.daemon, HintFaultDaemon)
        return self.scenario.daemon

    @property
    def first_delay_s(self) -> float:
        """As `Finder`."""
        return self._daemon.knobs.scan_delay

    @property
    def delay_s(self) -> float:
        """As `Finder`: half a control interval until the controller looks; the pass then promotes as it goes."""
        return 0.5 * self.scenario.control_interval

    @property
    def promotions_per_s(self) -> float:
        """As `Finder`: every thread promotes at its own faults."""
        return sum(process.threads for process in self.scenario.processes) / self.scenario.migration_s

    @property
    def lost_per_promotion_s(self) -> Floats:
        """As `Finder`: a shootdown, and the time of the thread that faults."""
        platform, migration_s = self.scenario.platform, self.scenario.migration_s
        return np.array(
            [
                platform.shootdown_receiver / process.count + migration_s / process.threads
                for process in self.scenario.processes
            ]
        )

    def look(self, memory: Memory, rounds: int) -> Look:
        """As `Finder`: passes over all processes at a time, the first one no further than it goes at its own pace."""
        passing = memory.touched(self.threshold_s) * self._move_share
        listed = memory.slow * -np.expm1(rounds * np.log1p(-np.minimum(passing, 1.0 - 1e-15)))
        seconds, lost_s = SHORTEST_LOOK_S, np.zeros(len(memory.threads))
        for number in range(len(memory.threads)):
            own = memory.owner == number
            if memory.slow[own].sum() > 0 and memory.threads[number] < math.inf:
                passes, windows, apart_s = self._windows(memory, number, rounds)
                listed[own] *= self._room_share(memory, number, listed / rounds, windows) * passes / rounds
                lost_s[number] = passes * self._lost_s(memory, windows * apart_s)[number]
                # the first window comes at once, and the pages of each as it comes
                seconds = max(seconds, (passes * windows - (rounds == 1)) * apart_s)
        return Look(listed, seconds, lost_s)

    def watching(self, memory: Memory) -> Floats:
        """As `Finder`: the faults of the smallest window a control interval are a sample; else passes as booted.

        The size acts at once, where the period waits for a promotion after a pass.
        """
        passes_s = [self._daemon.knobs.scan_period_max]
        if self._daemon.can_be_tuned:
            windows = scan_windows(int(memory.pages.sum()), max(1, round(min(_sizes(self._daemon)) / PAGE_BYTES)))
            passes_s.append(windows * self.scenario.control_interval)
        return self._lost_s(memory, max(passes_s)) / max(passes_s)

    @property
    def _move_share(self) -> float:
        """Share of the faults at which a page moves: in mode 1 what group rules allow."""
        return 1.0 if self._daemon.mode == MEMORY_TIERING else self.scenario.platform.numa_shared_move_share

    def _lost_s(self, memory: Memory, pass_s: float) -> Floats:
        """float[M]: time of all threads that a pass takes: walking, marking, and the faults of what is touched."""
        platform = self.scenario.platform
        marked = memory.slow if self._daemon.mode == MEMORY_TIERING else memory.pages
        faults = memory.by_process(marked * memory.touched(pass_s))
        walked_s = memory.by_process(memory.pages) * platform.scan_per_page
        lost_s: Floats = (walked_s + faults * (platform.numa_mark_per_page + platform.numa_fault)) / memory.threads
        return lost_s

    def _windows(self, memory: Memory, number: int, rounds: int) -> tuple[float, int, float]:
        """Passes of a process that so many looks come to, the windows of each, and the time between two."""
        scenario, knobs = self.scenario, self._daemon.knobs
        platform, process = scenario.platform, scenario.processes[number]
        pages = max(1, int(memory.pages[memory.owner == number].sum() / process.count))
        threads = memory.threads[number] / process.count
        windows = scan_windows(pages, self.window_pages)
        floor_s = 1.0 / max(1, int(knobs.scan_rate_limit) // (self.window_pages * PAGE_BYTES))
        shortest_s = _steps(self._daemon, "scan_period", 1e3 * knobs.scan_period_min, 2)[0] / 1e3
        scanned_s = min(self.window_pages, pages) * (platform.scan_per_page + platform.numa_mark_per_page)

        def apart_s(period_s: float) -> float:
            return max(period_s, (period_s + OWN_WORK_PER_SCAN * scanned_s) / threads)

        first_apart_s = apart_s(knobs.scan_delay * platform.numa_start_period_factor)
        left_s = knobs.scan_delay + windows * first_apart_s - memory.since_start_s[number]
        if left_s > SHORTEST_LOOK_S:
            return min(1.0, left_s / (windows * first_apart_s)), windows, first_apart_s
        return rounds, windows, apart_s(max(floor_s, shortest_s / windows))

    def _room_share(self, memory: Memory, number: int, listed: Floats, windows: int) -> float:
        """Share of what a pass of a process lists that finds room.

        A window's faults come in a burst. What is promoted at them goes to pages that kswapd has kept free, and to
        those that it frees in that time: the rest fails.
        """
        scenario, own = self.scenario, memory.owner == number
        platform, count = scenario.platform, scenario.processes[number].count
        total = max(1e-300, listed[own].sum() / count)
        wait_s = np.minimum(self.threshold_s, 1.0 / np.maximum(memory.hazard_per_s[own], 1e-9))
        burst_s = float((listed[own] * wait_s).sum()) / count / total
        room = (platform.kswapd_target - platform.promotion_watermark) * scenario.fast_capacity_pages
        room += burst_s / (platform.demotion_per_page + platform.reclaim_visit)
        return float(min(1.0, (memory.free / count + room * windows) / total))


def ways_to_find(scenario: Scenario) -> Iterator[Finder]:
    """The ways in which a scenario's daemon can look for pages, as far as its tunables let it."""
    daemon = scenario.daemon
    if isinstance(daemon, HintFaultDaemon):
        booted_ms = 1e3 * daemon.knobs.hot_threshold
        thresholds_ms = _steps(daemon, "hot_threshold", booted_ms, NUM_THRESHOLDS)
        if daemon.mode != MEMORY_TIERING:
            thresholds_ms = [math.inf]
        for threshold_ms, size in itertools.product(thresholds_ms, _sizes(daemon)):
            yield HintFaults(scenario, threshold_ms / 1e3, max(1, round(size / PAGE_BYTES)))
        return
    shortest_s = _shortest_window_s(scenario, daemon)
    longest_s = max(shortest_s, min(LONGEST_WINDOW * shortest_s, daemon.tunables["scan_period"].max / 1e3))
    windows_s = np.unique(np.geomspace(shortest_s, longest_s, NUM_WINDOWS)).tolist()
    slowest_s = max(shortest_s, daemon.tunables["scan_period"].max / 1e3)
    watches_s = {min(max(shortest_s, scenario.control_interval), slowest_s), slowest_s}
    for window_s, needed, watch_s in itertools.product(windows_s, _windows_needed(daemon), sorted(watches_s)):
        yield AccessedBits(scenario, window_s, needed, watch_s)


def _shortest_window_s(scenario: Scenario, daemon: AccessedBitDaemon) -> float:
    """Least time from one visit of a page to the next.

    A process has one chunk after the other, a period apart, at wake-ups of the scanner; the scanner has those of all
    processes to walk.
    """
    period_s = daemon.tunables["scan_period"].min / 1e3
    size_pages = int(daemon.tunables["scan_size"].max) // PAGE_BYTES
    rounds_s = []
    for process in scenario.processes:
        pages = math.ceil(process.pages / process.count)
        chunk_pages = pages if daemon.chunk_rule == "whole-vma" else min(pages, size_pages)
        chunk_s = period_s + chunk_pages * scenario.platform.scan_per_page
        rounds_s.append(math.ceil(pages / chunk_pages) * math.ceil(chunk_s / daemon.scan_sleep) * daemon.scan_sleep)
    return max(*rounds_s, scenario.pages * scenario.platform.scan_per_page)


def _windows_needed(daemon: AccessedBitDaemon) -> list[int]:
    """Numbers of windows in a row that a controller can ask for."""
    if daemon.access_rule == "first-access":
        return [1]
    return sorted(
        {round(needed) for needed in _steps(daemon, "access_threshold", WINDOWS_OF_SECOND_ACCESS, NUM_NEEDED)}
    )


def _sizes(daemon: HintFaultDaemon) -> list[float]:
    """Sizes of a marking window."""
    return _steps(daemon, "scan_size", float(daemon.knobs.scan_size), NUM_SIZES)


def _steps(daemon: Daemon, name: str, booted: float, number: int) -> list[float]:
    """Values of a tunable, in geometric steps over its range; as booted where the daemon has none."""
    bounds = daemon.tunables.get(name)
    return [booted] if bounds is None else np.geomspace(bounds.min, bounds.max, number).tolist()
