"""LumpedSystem: a batch of simulated machines behind the `tierenv.system.System` protocol."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tierenv.counters import NUM_COUNTERS
from tierenv.phase_orders import PhaseOrders
from tierenv.scenario import Scenario
from tierenv.sim.episode import draw_in_order, draw_phases, draw_without_replacement, fill_timetable, place_classes
from tierenv.sim.lumped import engine
from tierenv.sim.lumped.audit import audit
from tierenv.sim.lumped.room import with_machine
from tierenv.sim.lumped.state import (
    AS_TOUCHED,
    CLASS,
    CLASSES,
    FAST,
    FIRST_ACCESS_VISITS,
    LUMPS,
    MARK_COLUMNS,
    MM,
    REGION,
    SECOND_ACCESS_VISITS,
    SLOW,
    STATE,
    SWEEP_PHASE,
    Machine,
)
from tierenv.sim.lumped.trace import EVENT, read_events
from tierenv.sim.parameters import MAX_SUBSTEP_S, SERVER_QUANTUM_S, ScenarioArrays, all_fast_s, alone_s, scenario_arrays
from tierenv.sim.records import KNOB_FIELDS, LINK, MODEL_COUNTERS, NODE, PARAMETERS, PHASE_S, PROCESS
from tierenv.sim.resident import resident_pages
from tierenv.sim.settings import TunablesInForce
from tierenv.sim.threads import Sharing
from tierenv.units import PAGE_BYTES

LEAST_LUMPS = 256
"""Lumps for which the list has room at least, so that a machine's room hardly depends on its batch."""


class LumpedSystem:
    """n simulated machines; all state after a reset is determined by its seed alone, whatever n and the thread count.

    Args:
        scenarios: one per machine; machines may differ in everything.
        max_substep_s: resolution of the integration, for convergence studies.
        server_quantum_s: interleaving of migrator and kswapd, for convergence studies.
        trace_events: room for the kernel's trace events of each machine's episode; 0 keeps none.
    """

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        max_substep_s: float = MAX_SUBSTEP_S,
        server_quantum_s: float = SERVER_QUANTUM_S,
        trace_events: int = 0,
    ) -> None:
        self.scenarios = tuple(scenarios)
        self.daemons = tuple(scenario.daemon for scenario in self.scenarios)
        self.fast_capacity_pages = np.array([scenario.fast_capacity_pages for scenario in self.scenarios])
        self.tier_facts = np.array([scenario.platform.tier_facts for scenario in self.scenarios])
        self._in_force = TunablesInForce(self.scenarios)
        n = len(self.scenarios)
        distinct = {
            id(scenario): scenario_arrays(scenario, max_substep_s, server_quantum_s) for scenario in self.scenarios
        }
        self._arrays = [distinct[id(scenario)] for scenario in self.scenarios]
        start = {id(scenario): _start_records(scenario, distinct[id(scenario)]) for scenario in self.scenarios}
        self._start = [start[id(scenario)] for scenario in self.scenarios]
        lump_class = {id(scenario): _lump_class(scenario) for scenario in self.scenarios}
        self._lump_class = [lump_class[id(scenario)] for scenario in self.scenarios]
        most = _most(self.scenarios)
        is_first_access = not all(arrays.parameters["is_second_access"] for arrays in self._arrays)
        visits = FIRST_ACCESS_VISITS if is_first_access else SECOND_ACCESS_VISITS
        records = 1 << (visits * max(most.lumps, LEAST_LUMPS) - 1).bit_length()
        longest = max(int(arrays.parameters["most_streak"]) for arrays in self._arrays)
        has_marks = any(arrays.parameters["numa_mode"] > 0 for arrays in self._arrays)
        self._machines = Machine(
            parameters=np.array([arrays.parameters for arrays in self._arrays], dtype=PARAMETERS),
            state=np.zeros(n, dtype=STATE),
            processes=np.zeros((n, most.processes), dtype=PROCESS),
            mms=np.zeros((n, most.processes), dtype=MM),
            nodes=np.zeros((n, most.nodes), dtype=NODE),
            links=np.zeros((n, most.nodes + 1), dtype=LINK),
            classes=np.zeros((n, most.classes), dtype=CLASSES),
            regions=np.zeros((n, most.regions), dtype=REGION),
            counts=np.zeros((n, most.lumps + most.nodes, FAST + 4 * most.nodes), dtype=np.int32),
            aged=np.zeros((n, most.lumps, most.nodes), dtype=np.int32),
            lumps=np.zeros((n, most.lumps), dtype=LUMPS),
            clocks=np.zeros((n, most.lumps, 3)),
            memo=np.zeros((n, most.classes, 3, 2)),
            fast_by_class=np.zeros((n, most.classes, most.nodes), dtype=np.int64),
            shares=np.zeros((n, 2, most.processes, most.nodes + 1)),
            access_share=np.zeros((n, most.phases, most.classes)),
            phase_end=np.zeros((n, most.phases, most.processes)),
            timetable=np.zeros((n, max(most.phases, most.load_steps), most.processes, 3)),
            is_resident=np.zeros((n, most.phases, most.classes), dtype=np.bool_),
            is_waste=np.zeros((n, most.phases, most.classes), dtype=np.bool_),
            marks=np.zeros((n, most.lumps if has_marks else 0, MARK_COLUMNS)),
            streaks=np.zeros((n, most.lumps if longest else 0, 2, longest), dtype=np.int32),
            ring=np.zeros((n, records, 4), dtype=np.int32),
            counters=np.zeros((n, NUM_COUNTERS), dtype=np.int64),
            model=np.zeros((n, len(MODEL_COUNTERS)), dtype=np.int64),
            trace=np.zeros((n, trace_events), dtype=EVENT),
        )
        self._sharing = Sharing(n)
        self._phase_orders: list[list[tuple[int, ...]]] = [[]] * n
        self.reference_s = np.array([all_fast_s(arrays) for arrays in self._arrays])
        alone = {id(scenario): alone_s(distinct[id(scenario)]) for scenario in self.scenarios}
        self.alone_s = np.full((n, most.processes), np.inf)
        for index, scenario in enumerate(self.scenarios):
            self.alone_s[index, : len(scenario.processes)] = alone[id(scenario)]
        self._accesses = np.array([scenario.total_accesses for scenario in self.scenarios])

    @property
    def num_machines(self) -> int:
        """N."""
        return len(self.scenarios)

    def change_scenarios(self, changes: Mapping[int, Scenario]) -> None:
        """Let machines, named by their numbers, run other scenarios from now on; they have to be reset next.

        To them it is as if the system had been made so, to the others as if nothing had been. A batch keeps the room
        that its largest machine once took.
        """
        parameters, trace_events = self._machines.parameters[0], self._machines.trace.shape[1]
        resolution = float(parameters["max_substep_s"]), float(parameters["server_quantum_s"])
        alone = {id(each): LumpedSystem([each], *resolution, trace_events) for each in changes.values()}
        scenarios, is_kept = list(self.scenarios), np.ones(self.num_machines, dtype=np.bool_)
        # callers may hold the arrays of before
        self.fast_capacity_pages, self.tier_facts = self.fast_capacity_pages.copy(), self.tier_facts.copy()
        self.reference_s, self._accesses = self.reference_s.copy(), self._accesses.copy()
        for index, scenario in changes.items():
            other = alone[id(scenario)]
            scenarios[index], is_kept[index] = scenario, False
            for field in ("_arrays", "_start", "_lump_class", "_phase_orders"):
                getattr(self, field)[index] = getattr(other, field)[0]
            for field in ("fast_capacity_pages", "tier_facts", "reference_s", "_accesses"):
                getattr(self, field)[index] = getattr(other, field)[0]
            self._machines = with_machine(self._machines, index, other._machines)
        own_s, self.alone_s = self.alone_s, np.full(self._machines.processes.shape, np.inf)
        width = min(own_s.shape[1], self.alone_s.shape[1])
        self.alone_s[is_kept, :width] = own_s[is_kept, :width]
        for index, scenario in changes.items():
            self.alone_s[index, : len(scenario.processes)] = alone[id(scenario)].alone_s[0]
        self.scenarios = tuple(scenarios)
        self.daemons = tuple(scenario.daemon for scenario in scenarios)
        in_force = TunablesInForce(scenarios)
        in_force.keep(self._in_force, is_kept)
        self._in_force = in_force

    def reset(
        self,
        seeds: NDArray[np.uint64],
        phase_orders: Sequence[PhaseOrders],
        mask: NDArray[np.bool_] | None = None,
    ) -> None:
        """Start an episode on every machine, or on those under the mask.

        Args:
            seeds: uint64[n]; determines layout, placement, phases and every later draw.
            phase_orders: which split each machine draws the order of its phases from.
            mask: bool[n]; None for all.
        """
        chosen = np.ones(self.num_machines, dtype=np.bool_) if mask is None else np.asarray(mask, dtype=np.bool_)
        self._in_force.restart(chosen)
        for index in map(int, np.flatnonzero(chosen)):
            self._lay_out(index, int(seeds[index]), phase_orders[index])
        engine.start_some(self._machines, chosen)

    def apply(self, tunables: NDArray[np.float64]) -> None:
        """Put tunables in force, float64[n, len(TUNABLES)]; see `tierenv.system.System.apply`."""
        engine.apply_all(self._machines, self._in_force.accept(tunables))

    def advance(self, duration_s: float) -> None:
        """Let `duration_s` pass on every machine whose work is not done; one that finishes stops there."""
        self._sharing.call(engine.advance_some, self._machines, float(duration_s))

    def run_to_end(self) -> None:
        """Let time pass until the work of every machine is done."""
        self.advance(math.inf)

    @property
    def counters(self) -> NDArray[np.int64]:
        """int64[n, NUM_COUNTERS] since the reset, columns as `tierenv.counters.COUNTERS` (a copy)."""
        return self._machines.counters.copy()

    @property
    def model(self) -> NDArray[np.int64]:
        """int64[n, len(MODEL_COUNTERS)] since the reset: what no kernel counts (a copy)."""
        return self._machines.model.copy()

    @property
    def tunables(self) -> NDArray[np.float64]:
        """float64[n, len(TUNABLES)] in force; of several processes under the kernel's rule, the first one's."""
        mms, state = self._machines.mms, self._machines.state
        throttle = state["throttle_pages_per_s"] * PAGE_BYTES
        return self._in_force.read(mms["period_ms"][:, 0], mms["size_bytes"][:, 0], throttle)

    @property
    def resident_pages(self) -> NDArray[np.int64]:
        """int64[n]: pages of the processes that run, at the end of those that ran last."""
        return resident_pages(self._machines.processes, self._machines.state["is_done"])

    @property
    def elapsed_s(self) -> NDArray[np.float64]:
        """float64[n]: time since the reset, at completion the completion time."""
        return self._machines.state["now_s"].copy()

    @property
    def is_done(self) -> NDArray[np.bool_]:
        """bool[n]: all work is done."""
        return self._machines.state["is_done"].copy()

    @property
    def work_done(self) -> NDArray[np.float64]:
        """float64[n]: share of the accesses done of the processes that the run waits for."""
        processes = self._machines.processes
        is_awaited = ~(processes["is_endless"] | processes["is_repeating"])
        return (processes["accesses"] * is_awaited).sum(axis=1) / self._accesses

    @property
    def phase(self) -> NDArray[np.int64]:
        """int64[n]: present phase of the first process, counted in the order of the episode."""
        return self._machines.processes["phase"][:, 0].copy()

    @property
    def finished_s(self) -> NDArray[np.float64]:
        """float64[n, processes]: when each process ended, 0 before."""
        return self._machines.processes["finished_s"].copy()

    @property
    def process_accesses(self) -> NDArray[np.float64]:
        """float64[n, processes]: accesses each process has done since the reset, all its rounds together."""
        processes = self._machines.processes
        done: NDArray[np.float64] = processes["rounds"] * processes["total_accesses"] + processes["accesses"]
        return done

    def remaining_s(self) -> NDArray[np.float64]:
        """float64[n, processes]: time for the rest of the phase if no page moved any more, and all-fast for later ones.

        0 for a process that has ended or never does.
        """
        out = np.empty(self._machines.processes.shape)
        engine.remaining_all(self._machines, out)
        return out

    def phase_names(self, index: int) -> list[str]:
        """Names of the phases of a machine's first process in the order of its episode."""
        phases = self.scenarios[index].workload.phases
        return [phases[phase].name for phase in self._phase_orders[index][0]]

    def phase_work(self, index: int, process: int = 0) -> NDArray[np.float64]:
        """float64[phases]: accesses in each phase of a process's episode; not a number where phases end by time."""
        num_phases = len(self._phase_orders[index][process])
        if self.scenarios[index].processes[process].workload.is_timed:
            return np.full(num_phases, np.nan)
        return np.diff(self._machines.phase_end[index, :num_phases, process], prepend=0.0)

    def phase_seconds(self, index: int, process: int = 0) -> NDArray[np.float64]:
        """float64[phases]: time after which each phase of a process's episode ends; infinite where it ends by work."""
        return self._machines.timetable[index, : len(self._phase_orders[index][process]), process, PHASE_S].copy()

    def access_share(self, index: int, process: int = 0) -> NDArray[np.float64]:
        """float64[phases, classes]: share of a process's accesses on each of its classes, in its phases' order."""
        num_phases = len(self._phase_orders[index][process])
        return self._machines.access_share[index, :num_phases, self._own_classes(index, process)].copy()

    def class_pages(self, index: int, process: int | None = None) -> NDArray[np.int64]:
        """int64[classes]: a machine's pages by class, or those of one process."""
        return self._machines.classes["pages"][index, self._own_classes(index, process)].copy()

    def fast_pages_by_class(self, index: int, process: int | None = None) -> NDArray[np.int64]:
        """int64[classes]: a machine's pages on the fast tier by class, or those of one process."""
        return self._machines.fast_by_class[index, self._own_classes(index, process)].sum(axis=1)

    def trace(self, index: int) -> tuple[list[dict[str, Any]], int]:
        """The kernel's trace events of a machine's episode so far, and how many found no room.

        Each event is a mapping of `time_s`, `event` (the kernel's name) and the fields it has in `trace.EVENTS`.
        """
        machine = self._machines
        count, room = int(machine.state["trace_events"][index]), machine.trace.shape[1]
        return read_events(machine.trace[index], count), max(0, count - room)

    def audit(self) -> None:
        """Raise `tierenv.sim.audit.InvariantError` if a machine is in a state that it cannot have come to."""
        for index in range(self.num_machines):
            audit(self._machine(index))

    def _machine(self, index: int) -> Machine:
        """Views of one machine's state."""
        return Machine(*(array[index] for array in self._machines))

    def _own_classes(self, index: int, process: int | None) -> slice:
        """Which classes of a machine are a process's, or in use at all."""
        rows = self._arrays[index].processes
        if process is None:
            return slice(0, int(rows["end_class"][-1]))
        return slice(int(rows["first_class"][process]), int(rows["end_class"][process]))

    def _lay_out(self, index: int, seed: int, phase_orders: PhaseOrders) -> None:
        """Draw one machine's episode: layout, placement at start, order and length of phases."""
        scenario, arrays = self.scenarios[index], self._arrays[index]
        rng = np.random.Generator(np.random.PCG64(seed))
        machine = self._machine(index)
        for drawn in (
            machine.counts,
            machine.aged,
            machine.clocks,
            machine.fast_by_class,
            machine.marks,
            machine.streaks,
            machine.counters,
            machine.model,
        ):
            drawn[...] = 0
        for name, rows in self._start[index].items():
            getattr(machine, name)[: len(rows)] = rows

        # phases first: a seed has the same ones at any resolution
        self._phase_orders[index] = []
        for number, process in enumerate(scenario.processes):
            classes = self._own_classes(index, number)
            phases = draw_phases(process, scenario.fast_capacity_pages, phase_orders, rng)
            num_phases = len(phases.order)
            machine.phase_end[:num_phases, number] = phases.end
            machine.access_share[:num_phases, classes] = phases.access_share
            machine.is_waste[:num_phases, classes] = phases.is_waste
            machine.is_resident[:num_phases, classes] = phases.is_resident
            fill_timetable(machine.timetable[:, number], process, phases)
            self._phase_orders[index].append(phases.order)

        slow = np.concatenate(
            [
                place_classes(process.workload.layout, pages, scenario.regions, rng).ravel()
                for process, pages in zip(scenario.processes, arrays.class_pages, strict=True)
            ]
        )
        lump_class = self._lump_class[index]
        machine.counts[: len(slow), CLASS] = lump_class
        machine.lumps["pages"][: len(slow)] = slow
        machine.lumps["was_visited"] = False
        records = self._start[index]["regions"]
        region = np.repeat(np.arange(len(records)), records["end_lump"] - records["first_lump"])
        if machine.classes["is_swept"].any():
            machine.clocks[: len(slow), SWEEP_PHASE] = _sweep_phase(slow, lump_class)
        machine.classes["is_resident"] = machine.is_resident[0]
        slow = slow * machine.is_resident[0, lump_class]
        machine.regions["pages"][: len(records)] = np.add.reduceat(slow, records["first_lump"])
        for process in machine.processes[: len(scenario.processes)]:
            own = slice(int(process["first_class"]), int(process["end_class"]))
            process["pages"] = machine.classes["pages"][own][machine.is_resident[0, own]].sum()
        for node, fast in enumerate(_fill_fast_nodes(arrays, slow, lump_class, region, rng)):
            slow = slow - fast
            machine.counts[: len(slow), FAST + 4 * node + 3] = fast
            machine.fast_by_class[:, node] = np.bincount(lump_class, fast, minlength=len(machine.classes))
            machine.nodes["fast_pages"][node] = fast.sum()
        machine.counts[: len(slow), SLOW + AS_TOUCHED[int(arrays.parameters["is_second_access"])]] = slow
        if arrays.parameters["most_streak"] > 0:
            machine.streaks[: len(slow), SLOW >> 2, 0] = slow

        state = self._machines.state[index : index + 1]
        state[...] = np.zeros((), dtype=STATE)
        for name, _ in KNOB_FIELDS:
            state[name] = arrays.knobs[name]
        state["random_counter"] = rng.integers(2**64, dtype=np.uint64)
        start = scenario.daemon.start_setting.values
        state["seed_period_ms"], state["seed_size_bytes"] = start.get("scan_period", 0.0), start.get("scan_size", 0.0)
        state["throttle_pages_per_s"] = start.get("throttle", np.inf) / PAGE_BYTES
        state["access_threshold"] = arrays.parameters["start_threshold"]
        state["mm_cursor"] = len(scenario.processes) - 1
        state["migrator_clock_s"] = rng.uniform(0, arrays.parameters["migrate_sleep_s"])
        state["streak_counter"] = rng.integers(2**64, dtype=np.uint64)


def _fill_fast_nodes(
    arrays: ScenarioArrays,
    pages: NDArray[np.int64],
    lump_class: NDArray[np.int64],
    region: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """int64[K, L]: pages of each lump that start on each node of the fast tier, at most what kswapd leaves there.

    Classes that say how much of them does come first, then those whose process fills the nodes in address order, then
    those whose process fills them at random.

    Args:
        arrays: of the scenario.
        pages: int64[L] by lump.
        lump_class: int64[L].
        region: int64[L], in address order.
        rng: draws which pages of equal standing these are.
    """
    fast = np.zeros((len(arrays.nodes), len(pages)), dtype=np.int64)
    room = [int(node["capacity_pages"] - node["kswapd_target_pages"]) for node in arrays.nodes]

    def fill(is_chosen: NDArray[np.bool_], wanted: int | None = None, in_order: bool = False) -> None:
        left = pages * is_chosen
        wanted = int(left.sum()) if wanted is None else wanted
        for node, free in enumerate(room):
            taken = min(wanted, free)
            if taken > 0:
                drawn = (
                    draw_in_order(rng, left, region, taken) if in_order else draw_without_replacement(rng, left, taken)
                )
                fast[node] += drawn
                left, wanted = left - drawn, wanted - taken
                room[node] -= taken

    has_share = np.array([start.fast_share is not None for start in arrays.starts])
    placement = np.array([start.placement for start in arrays.starts])
    for page_class, start in enumerate(arrays.starts):
        if start.fast_share is not None:
            is_own = lump_class == page_class
            fill(is_own, round(start.fast_share * int(pages[is_own].sum())))
    fill((~has_share & (placement == "address-order"))[lump_class], in_order=True)
    fill((~has_share & (placement == "random"))[lump_class])
    return fast


def _sweep_phase(pages: NDArray[np.int64], lump_class: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64[L]: share of its class that lies before the middle of a lump."""
    phase = np.empty(len(pages))
    for page_class in range(int(lump_class.max()) + 1):
        own = pages[lump_class == page_class]
        phase[lump_class == page_class] = (np.cumsum(own) - own / 2) / own.sum()
    return phase


def _start_records(scenario: Scenario, arrays: ScenarioArrays) -> dict[str, NDArray[np.void]]:
    """What every episode of a scenario starts with, by field of `Machine`; the seed decides the rest."""
    nodes = arrays.nodes.copy()
    nodes["hand_row"] = scenario.regions * len(scenario.class_pages) + np.arange(len(nodes))
    nodes["numa_threshold_s"] = arrays.knobs["numa_hot_threshold_s"]
    classes = np.zeros(len(arrays.starts), dtype=CLASSES)
    classes["pages"] = np.concatenate(arrays.class_pages)
    classes["accesses_per_hazard"] = arrays.accesses_per_hazard
    classes["is_swept"] = arrays.is_swept
    classes["process"] = np.repeat(range(len(arrays.processes)), [len(pages) for pages in arrays.class_pages])
    mms = np.zeros(len(arrays.processes), dtype=MM)
    mms["first_region"] = scenario.regions * np.arange(len(mms))
    mms["end_region"] = mms["first_region"] + scenario.regions
    mms["cursor"] = mms["numa_region"] = mms["first_region"]
    start = scenario.daemon.start_setting.values
    mms["period_ms"], mms["size_bytes"] = start.get("scan_period", 0.0), start.get("scan_size", 0.0)
    mms["target_node"] = scenario.target_node
    regions = np.zeros(int(arrays.parameters["num_regions"]), dtype=REGION)
    lumps_of = np.repeat([len(pages) for pages in arrays.class_pages], scenario.regions)
    regions["end_lump"] = np.cumsum(lumps_of)
    regions["first_lump"] = regions["end_lump"] - lumps_of
    return {
        "processes": arrays.processes,
        "nodes": nodes,
        "links": arrays.links,
        "classes": classes,
        "mms": mms,
        "regions": regions,
    }


def _lump_class(scenario: Scenario) -> NDArray[np.int64]:
    """int64[L]: class of each lump, process by process, within each region by region, within each class by class."""
    ends = np.cumsum([len(process.workload.classes) for process in scenario.processes])
    classes = np.split(np.arange(ends[-1]), ends[:-1])
    return np.concatenate([np.tile(own, scenario.regions) for own in classes])


class _Most(NamedTuple):
    """The most any machine of a batch has of each."""

    processes: int
    nodes: int
    classes: int
    phases: int
    load_steps: int
    regions: int
    lumps: int


def _most(scenarios: Sequence[Scenario]) -> _Most:
    rows = [
        (
            len(scenario.processes),
            len(scenario.node_capacity_pages),
            len(scenario.class_pages),
            max(len(process.workload.phases) for process in scenario.processes),
            max(len(process.workload.load) for process in scenario.processes),
            scenario.regions * len(scenario.processes),
            scenario.regions * len(scenario.class_pages),
        )
        for scenario in {id(scenario): scenario for scenario in scenarios}.values()
    ]
    return _Most(*map(max, zip(*rows, strict=True)))
