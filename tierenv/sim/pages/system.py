"""PagesSystem: one machine simulated page by page, what the lumped model is compared with."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.counters import NUM_COUNTERS
from tierenv.phase_orders import PhaseOrders
from tierenv.scenario import Process, Scenario
from tierenv.sim.episode import draw_phases, fill_timetable
from tierenv.sim.pages import engine
from tierenv.sim.pages.audit import audit
from tierenv.sim.pages.state import ABSENT, MM, SLOW, STATE, Pages
from tierenv.sim.parameters import all_fast_s, alone_s, scenario_arrays
from tierenv.sim.records import KNOB_FIELDS, MODEL_COUNTERS
from tierenv.sim.resident import resident_pages
from tierenv.sim.settings import TunablesInForce
from tierenv.units import PAGE_BYTES

TICK_S = 5e-3
"""How often the access rates follow the placement [s]."""
ENTRIES_PER_PAGE = 256
"""Room of the migration list for each page of the scenario; entries beyond it count as failed allocations."""


class PagesSystem:
    """A `tierenv.system.System` of one machine; it knows no regions. For scenarios of up to some 100,000 pages.

    Args:
        scenario: what runs; `shrink` makes large ones small.
        tick_s: resolution of the applications' progress.
    """

    def __init__(self, scenario: Scenario, tick_s: float = TICK_S) -> None:
        self.scenarios = (scenario,)
        counts = [process.count for process in scenario.processes]
        self._first_of = np.cumsum([0, *counts[:-1]])
        self._stagger = np.concatenate([np.arange(count) / count for count in counts])
        self._scenario = scenario = scenario.one_by_one()
        self.daemons = (scenario.daemon,)
        self.fast_capacity_pages = np.array([scenario.fast_capacity_pages])
        self.tier_facts = np.array([scenario.platform.tier_facts])
        self._in_force = TunablesInForce(self.scenarios)
        self._tick_s = tick_s
        self._start = scenario_arrays(scenario)
        self.reference_s = np.array([all_fast_s(self._start)])
        self.alone_s = alone_s(scenario_arrays(self.scenarios[0]))[np.newaxis]
        self._states = np.zeros(1, dtype=STATE)
        num_pages, entries = scenario.pages, ENTRIES_PER_PAGE * scenario.pages
        classes, nodes = len(scenario.class_pages), len(self._start.nodes)
        processes = len(scenario.processes)
        phases = max(len(process.workload.phases) for process in scenario.processes)
        load_steps = max(len(process.workload.load) for process in scenario.processes)
        self._pages = Pages(
            parameters=self._start.parameters[()],
            state=self._states[0],
            processes=self._start.processes.copy(),
            mms=np.zeros(processes, dtype=MM),
            nodes=self._start.nodes.copy(),
            links=self._start.links.copy(),
            hands=np.zeros(nodes, dtype=np.int64),
            aging_hands=np.zeros(nodes, dtype=np.int64),
            shares=np.zeros((processes, nodes + 1)),
            rates=np.zeros(processes),
            page_class=np.zeros(num_pages, dtype=np.int32),
            node=np.zeros(num_pages, dtype=np.int8),
            next_access=np.zeros(num_pages),
            sweep_phase=np.zeros(num_pages),
            is_idle=np.zeros(num_pages, dtype=np.bool_),
            is_young=np.zeros(num_pages, dtype=np.bool_),
            was_visited=np.zeros(num_pages, dtype=np.bool_),
            is_aged=np.zeros(num_pages, dtype=np.bool_),
            streak=np.zeros(num_pages, dtype=np.uint8),
            fault_hazard=np.zeros(num_pages),
            marked_at_s=np.zeros(num_pages),
            has_faulted=np.zeros(num_pages, dtype=np.bool_),
            moves=np.zeros(num_pages, dtype=np.int32),
            entries=np.zeros(num_pages, dtype=np.int32),
            list_page=np.zeros(entries, dtype=np.int32),
            list_moves=np.zeros(entries, dtype=np.int32),
            class_process=np.repeat(
                np.arange(processes), [len(process.workload.classes) for process in scenario.processes]
            ),
            class_pages=np.array(scenario.class_pages, dtype=np.int64),
            accesses_per_hazard=self._start.accesses_per_hazard,
            has_memory=np.zeros(classes, dtype=np.bool_),
            hazard=np.zeros(classes),
            hazard_rate=np.zeros(classes),
            fast_by_class=np.zeros((classes, nodes), dtype=np.int64),
            access_share=np.zeros((phases, classes)),
            phase_end=np.zeros((phases, processes)),
            timetable=np.zeros((max(phases, load_steps), processes, 3)),
            is_resident=np.zeros((phases, classes), dtype=np.bool_),
            is_waste=np.zeros((phases, classes), dtype=np.bool_),
            counters=np.zeros(NUM_COUNTERS, dtype=np.int64),
            model=np.zeros(len(MODEL_COUNTERS), dtype=np.int64),
        )

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        """A copy's state is a view of the copy's array, as the original's is of its own."""
        self.__dict__.update(attributes)
        self._pages = self._pages._replace(state=self._states[0])

    def reset(
        self,
        seeds: NDArray[np.uint64],
        phase_orders: Sequence[PhaseOrders],
        mask: NDArray[np.bool_] | None = None,
    ) -> None:
        """Start an episode; see `tierenv.system.System.reset`."""
        if mask is None or mask[0]:
            self._in_force.restart(np.ones(1, dtype=np.bool_))
            self._lay_out(int(seeds[0]), phase_orders[0])
            engine.start(self._pages)

    def apply(self, tunables: NDArray[np.float64]) -> None:
        """Put tunables in force, float64[1, len(TUNABLES)]; see `tierenv.system.System.apply`."""
        row = self._in_force.accept(tunables)[0]
        engine.apply(self._pages, row)

    def advance(self, duration_s: float) -> None:
        """Let `duration_s` pass, or less if the work ends in it."""
        engine.advance(self._pages, float(duration_s), self._tick_s)

    def run_to_end(self) -> None:
        """Let time pass until all work is done."""
        self.advance(math.inf)

    @property
    def counters(self) -> NDArray[np.int64]:
        """int64[1, NUM_COUNTERS] since the reset, columns as `tierenv.counters.COUNTERS`."""
        return self._pages.counters[np.newaxis].copy()

    @property
    def model(self) -> NDArray[np.int64]:
        """int64[1, len(MODEL_COUNTERS)] since the reset: what no kernel counts."""
        return self._pages.model[np.newaxis].copy()

    @property
    def tunables(self) -> NDArray[np.float64]:
        """float64[1, len(TUNABLES)] in force; of several processes under the kernel's rule, the first one's."""
        mm, throttle = self._pages.mms[0], self._pages.state["throttle_pages_per_s"] * PAGE_BYTES
        return self._in_force.read(mm["period_ms"], mm["size_bytes"], throttle)

    @property
    def resident_pages(self) -> NDArray[np.int64]:
        """int64[1]: pages of the processes that run, at the end of those that ran last."""
        return resident_pages(self._pages.processes[np.newaxis], self.is_done)

    @property
    def elapsed_s(self) -> NDArray[np.float64]:
        """float64[1]: time since the reset, at completion the completion time."""
        return np.array([self._pages.state["now_s"]])

    @property
    def finished_s(self) -> NDArray[np.float64]:
        """float64[1, processes]: when each process ended, 0 before; of several alike the first."""
        return self._pages.processes["finished_s"][np.newaxis, self._first_of]

    @property
    def process_accesses(self) -> NDArray[np.float64]:
        """float64[1, processes]: accesses each process has done since the reset; of several alike all together."""
        processes = self._pages.processes
        done = processes["rounds"] * processes["total_accesses"] + processes["accesses"]
        return np.add.reduceat(done, self._first_of)[np.newaxis]

    @property
    def is_done(self) -> NDArray[np.bool_]:
        """bool[1]: all work is done."""
        return np.array([self._pages.state["is_done"]])

    def fast_pages_by_class(self, index: int = 0) -> NDArray[np.int64]:
        """int64[classes]: pages on the fast tier by class, on all its nodes together."""
        return self._pages.fast_by_class.sum(axis=1)

    def audit(self) -> None:
        """Raise `tierenv.sim.audit.InvariantError` if the machine is in a state that it cannot have come to."""
        audit(self._pages)

    def _lay_out(self, seed: int, phase_orders: PhaseOrders) -> None:
        """Draw the episode: classes and phases of every process, and the placement at start."""
        scenario = self._scenario
        pages = self._pages
        rng = np.random.Generator(np.random.PCG64(seed))
        for array in map(partial(getattr, pages), _ZERO_AT_START):
            array[...] = np.zeros((), array.dtype)
        pages.processes[:] = self._start.processes
        pages.nodes[:] = self._start.nodes
        pages.links[:] = self._start.links
        pages.fault_hazard[:] = np.inf

        by_address: list[NDArray[np.int64]] = []
        at_random: list[NDArray[np.int64]] = []
        first_page = 0
        for index, process in enumerate(scenario.processes):
            end_page = first_page + process.pages
            self._lay_out_process(index, process, slice(first_page, end_page), phase_orders, rng)
            for number, page_class in enumerate(process.workload.classes, int(pages.processes["first_class"][index])):
                own = first_page + np.flatnonzero(pages.page_class[first_page:end_page] == number)
                if not pages.has_memory[number]:
                    continue
                if page_class.fast_at_start is not None:
                    self._fill_nodes(rng.permutation(own)[: round(page_class.fast_at_start * len(own))])
                elif process.workload.initial_placement == "address-order":
                    by_address.append(own)
                elif process.workload.initial_placement == "random":
                    at_random.append(own)
            first_page = end_page
        if by_address:
            self._fill_nodes(np.sort(np.concatenate(by_address)))
        if at_random:
            self._fill_nodes(rng.permutation(np.sort(np.concatenate(at_random))))
        is_fast = pages.node >= 0
        is_second_access = bool(self._start.parameters["is_second_access"])
        # a page starts as touched: not marked idle (first access), accessed in the previous window (second access)
        pages.is_idle[:] = is_second_access & ~is_fast
        pages.is_young[:] = is_fast
        pages.was_visited[:] = not self._start.parameters["first_visit_resets"]
        pages.streak[:] = is_second_access & ~is_fast

        self._states[:] = np.zeros((), dtype=STATE)
        state = pages.state
        for name, _ in KNOB_FIELDS:
            state[name] = self._start.knobs[name]
        state["random_counter"] = rng.integers(2**64, dtype=np.uint64)
        start = scenario.daemon.start_setting.values
        state["seed_period_ms"], state["seed_size_bytes"] = start.get("scan_period", 0.0), start.get("scan_size", 0.0)
        pages.mms["size_bytes"] = state["seed_size_bytes"]
        pages.mms["stagger"] = self._stagger
        state["throttle_pages_per_s"] = start.get("throttle", np.inf) / PAGE_BYTES
        state["access_threshold"] = self._start.parameters["start_threshold"]
        state["migrator_clock_s"] = rng.uniform(0, self._start.parameters["migrate_sleep_s"])

    def _lay_out_process(
        self, index: int, process: Process, span: slice, phase_orders: PhaseOrders, rng: np.random.Generator
    ) -> None:
        """Draw a class for every address of a process, and order and length of its phases."""
        pages = self._pages
        mm, row = pages.mms[index], pages.processes[index]
        mm["first_page"] = mm["cursor"] = mm["numa_cursor"] = span.start
        mm["end_page"] = span.stop
        classes = np.arange(row["first_class"], row["end_class"])
        order = rng.permutation(classes) if process.workload.layout == "contiguous" else classes  # as they are listed
        pages.page_class[span] = np.repeat(order, pages.class_pages[order])
        if process.workload.layout == "scattered":
            rng.shuffle(pages.page_class[span])
        pages.sweep_phase[span] = np.nan
        for number in classes:
            if self._start.is_swept[number]:
                own = span.start + np.flatnonzero(pages.page_class[span] == number)
                pages.sweep_phase[own] = np.arange(len(own)) / len(own)
        phases = draw_phases(process, self._scenario.fast_capacity_pages, phase_orders, rng)
        pages.phase_end[: len(phases.end), index] = phases.end
        pages.access_share[: len(phases.end), classes] = phases.access_share
        pages.is_waste[: len(phases.end), classes] = phases.is_waste
        pages.is_resident[: len(phases.end), classes] = phases.is_resident
        fill_timetable(pages.timetable[:, index], process, phases)
        pages.has_memory[classes] = phases.is_resident[0]
        is_there = pages.has_memory[pages.page_class[span]]
        pages.node[span] = np.where(is_there, SLOW, ABSENT)
        row["pages"] = is_there.sum()

    def _fill_nodes(self, addresses: NDArray[np.int64]) -> None:
        """Put pages on one node of the fast tier after another, as many as kswapd would leave there."""
        pages = self._pages
        for index, node in enumerate(pages.nodes):
            room = int(node["capacity_pages"] - node["kswapd_target_pages"] - node["fast_pages"])
            placed, addresses = addresses[:room], addresses[room:]
            pages.node[placed] = index
            node["fast_pages"] += len(placed)
            pages.fast_by_class[:, index] += np.bincount(pages.page_class[placed], minlength=len(pages.class_pages))


_ZERO_AT_START = (
    "mms",
    "hands",
    "aging_hands",
    "is_aged",
    "moves",
    "entries",
    "marked_at_s",
    "has_faulted",
    "hazard",
    "hazard_rate",
    "fast_by_class",
    "access_share",
    "phase_end",
    "is_waste",
    "is_resident",
    "counters",
    "model",
)
