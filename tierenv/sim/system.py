"""SimulatedSystem: a batch of simulated machines behind the `tierenv.system.System` protocol."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tierenv.counters import NUM_COUNTERS
from tierenv.scenario import PhaseOrders, Scenario
from tierenv.sim import engine
from tierenv.sim.application import access_time
from tierenv.sim.episode import draw_phases, place_classes
from tierenv.sim.state import (
    CELLS,
    CONTROL_KERNEL_RULE,
    CONTROL_OFF,
    CONTROL_TUNABLES,
    FAST,
    FIRST_ACCESS_RECORDS,
    MARK_COLUMNS,
    MODEL_COUNTERS,
    PARAMETERS,
    SECOND_ACCESS_RECORDS,
    SLOW,
    STATE,
    Machine,
)
from tierenv.units import GIB, PAGE_BYTES

_CONTROLS = {"off": CONTROL_OFF, "tunables": CONTROL_TUNABLES, "kernel-rule": CONTROL_KERNEL_RULE}

_SHORTEST_NUMA_PERIOD_MS = 100.0
"""The kernel's cap on scanning, 2560 MiB/s at 256 MiB a window [ms]."""

MAX_SUBSTEP_S = 0.1
"""Longest stretch over which the fast share is taken as linear while pages move [s]."""
SERVER_QUANTUM_S = 10e-3
"""Longest stretch kswapd runs ahead of the migrator [s]."""


def scenario_parameters(
    scenario: Scenario, max_substep_s: float = MAX_SUBSTEP_S, server_quantum_s: float = SERVER_QUANTUM_S
) -> NDArray[np.void]:
    """What the compiled model needs to know of a scenario: one `PARAMETERS` record, shape ()."""
    platform, daemon, workload = scenario.platform, scenario.daemon, scenario.workload
    ranges = daemon.ranges.by_name
    capacity = scenario.fast_capacity_pages
    numa = scenario.numa_balancing
    numa_windows = math.ceil(scenario.size / numa.scan_size)
    row = np.zeros((), dtype=PARAMETERS)
    values = {
        "threads": workload.threads,
        "think_s": workload.think,
        "page_walk_s": scenario.page_walk_s,
        "overlap": platform.overlap,
        "dram_idle_s": platform.dram.idle_latency,
        "dram_queueing_s": platform.dram.queueing_latency,
        "dram_bandwidth": platform.dram.bandwidth,
        "cxl_idle_s": platform.cxl.idle_latency,
        "cxl_queueing_s": platform.cxl.queueing_latency,
        "cxl_bandwidth": platform.cxl.bandwidth,
        "scan_s": platform.scan_per_page,
        "accessed_bit_s": platform.accessed_bit,
        "migration_s": scenario.migration_s,
        "failed_migration_s": platform.failed_migration,
        "stale_entry_s": platform.stale_entry,
        "reclaim_visit_s": platform.reclaim_visit,
        "demotion_s": platform.demotion_per_page,
        "promotion_stall_s": platform.shootdown_receiver,
        "demotion_stall_s": platform.shootdown_receiver / platform.demotion_batch_pages,
        "capacity_pages": capacity,
        "watermark_pages": round(platform.promotion_watermark * capacity),
        "kswapd_target_pages": round(platform.kswapd_target * capacity),
        "demotion": scenario.demotion,
        "control": _CONTROLS[scenario.control],
        "is_second_access": daemon.access_rule == "second-access",
        "is_whole_vma": daemon.chunk_rule == "whole-vma",
        "initial_delay_s": daemon.initial_delay,
        "scan_sleep_s": daemon.scan_sleep,
        "migrate_sleep_s": daemon.migrate_sleep,
        "throttle_window_s": daemon.throttle_window,
        "list_capacity": platform.kernel_memory // daemon.list_entry,
        "decay_shift": daemon.decay_shift,
        "ignore_threshold_pages": daemon.ignore_threshold_pages,
        "period_step_percent": daemon.period_step_percent,
        "period_jump_shift": daemon.period_jump_shift,
        "period_min_ms": ranges["scan_period_ms"].min,
        "period_max_ms": ranges["scan_period_ms"].max,
        "size_min_bytes": ranges["scan_size_bytes"].min,
        "size_max_bytes": ranges["scan_size_bytes"].max,
        "pages": scenario.pages,
        "num_regions": scenario.regions,
        "num_classes": len(workload.classes),
        "num_phases": len(workload.phases),
        "has_rest_vma": workload.rest_vma > 0,
        "numa_mode": scenario.numa_balancing_mode,
        "numa_window_pages": numa.scan_size // PAGE_BYTES,
        "numa_window_s": platform.numa_window_interval,
        "numa_period_min_ms": max(_SHORTEST_NUMA_PERIOD_MS, 1e3 * numa.scan_period_min / numa_windows),
        "numa_period_max_ms": max(_SHORTEST_NUMA_PERIOD_MS, 1e3 * numa.scan_period_max / numa_windows),
        "numa_fault_s": platform.numa_fault,
        "numa_mark_s": platform.numa_mark_per_page,
        "numa_shared_move_share": platform.numa_shared_move_share,
        "numa_hot_threshold_s": numa.hot_threshold,
        "numa_rate_limit_pages": numa.promote_rate_limit / PAGE_BYTES,
        "numa_spare_pages": max(GIB // PAGE_BYTES, capacity // 16),
        "max_substep_s": max_substep_s,
        "server_quantum_s": server_quantum_s,
    }
    for name, value in values.items():
        row[name] = value
    return row


def access_time_s(scenario: Scenario, fast_share: ArrayLike) -> NDArray[np.float64]:
    """Time of one access of one thread when a share of the accesses lands on the fast tier and nothing migrates [s].

    `fast_share` has any shape; the result has the same.
    """
    parameters = scenario_parameters(scenario)[()]
    shares = np.asarray(fast_share, dtype=np.float64)
    return np.array([access_time(parameters, share, 0.0) for share in shares.flat]).reshape(shares.shape)


class SimulatedSystem:
    """n simulated machines; all state after a reset is determined by its seed alone, whatever n and the thread count.

    Args:
        scenarios: one per machine; machines may differ in everything.
        max_substep_s: resolution of the integration, for convergence studies.
        server_quantum_s: interleaving of migrator and kswapd, for convergence studies.
    """

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        max_substep_s: float = MAX_SUBSTEP_S,
        server_quantum_s: float = SERVER_QUANTUM_S,
    ) -> None:
        self.scenarios = tuple(scenarios)
        n = len(self.scenarios)
        regions = max(scenario.regions for scenario in self.scenarios)
        classes = max(len(scenario.workload.classes) for scenario in self.scenarios)
        phases = max(len(scenario.workload.phases) for scenario in self.scenarios)
        lumps = max(scenario.regions * len(scenario.workload.classes) for scenario in self.scenarios)
        is_first_access = any(scenario.daemon.access_rule == "first-access" for scenario in self.scenarios)
        records = FIRST_ACCESS_RECORDS if is_first_access else SECOND_ACCESS_RECORDS
        distinct = {
            id(scenario): scenario_parameters(scenario, max_substep_s, server_quantum_s) for scenario in self.scenarios
        }
        parameters = np.array([distinct[id(scenario)] for scenario in self.scenarios], dtype=PARAMETERS)
        self._machines = Machine(
            parameters=parameters,
            state=np.zeros(n, dtype=STATE),
            counts=np.zeros((n, lumps + 1, CELLS), dtype=np.int32),
            clocks=np.zeros((n, lumps, 2)),
            memo=np.zeros((n, classes, 3, 2)),
            hazard=np.zeros((n, classes)),
            class_pages=np.zeros((n, classes), dtype=np.int64),
            fast_by_class=np.zeros((n, classes), dtype=np.int64),
            region_pages=np.zeros((n, regions), dtype=np.int64),
            access_share=np.zeros((n, phases, classes)),
            phase_end=np.zeros((n, phases)),
            is_waste=np.zeros((n, phases, classes), dtype=np.bool_),
            marks=np.zeros((n, lumps if (parameters["numa_mode"] > 0).any() else 0, MARK_COLUMNS)),
            ring=np.zeros((n, records, 4), dtype=np.int32),
            counters=np.zeros((n, NUM_COUNTERS), dtype=np.int64),
            model=np.zeros((n, len(MODEL_COUNTERS)), dtype=np.int64),
        )
        self._phase_orders: list[tuple[int, ...]] = [()] * n
        self.reference_s = np.array([_all_fast_s(scenario) for scenario in self.scenarios])
        self._accesses = np.array([scenario.total_accesses for scenario in self.scenarios])

    @property
    def num_machines(self) -> int:
        """N."""
        return len(self.scenarios)

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
        for index in map(int, np.flatnonzero(chosen)):
            self._lay_out(index, int(seeds[index]), phase_orders[index])
        engine.start_some(self._machines, chosen)

    def apply(self, tunables: NDArray[np.float64]) -> None:
        """Put tunables in force: float64[n, 3], columns as `TUNABLES`, infinity for unlimited.

        Ignored by machines whose scenario leaves control to the kernel or to nobody.
        """
        engine.apply_all(self._machines, np.ascontiguousarray(tunables, dtype=np.float64))

    def advance(self, duration_s: float) -> None:
        """Let `duration_s` pass on every machine whose work is not done; one that finishes stops there."""
        advance = engine.advance_serially if self.num_machines == 1 else engine.advance_all
        advance(self._machines, float(duration_s))

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
        """float64[n, 3]: the tunables in force."""
        state = self._machines.state
        throttle = state["throttle_pages_per_s"] * PAGE_BYTES
        return np.stack((state["period_ms"], state["size_bytes"], throttle), axis=1)

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
        """float64[n]: share of the accesses done."""
        return self._machines.state["accesses"] / self._accesses

    @property
    def phase(self) -> NDArray[np.int64]:
        """int64[n]: present phase, counted in the order of the episode."""
        return self._machines.state["phase"].copy()

    def remaining_s(self) -> NDArray[np.float64]:
        """float64[n]: time for the rest of the phase if no page moved any more, and all-fast for later phases."""
        out = np.empty(self.num_machines)
        engine.remaining_all(self._machines, out)
        return out

    def phase_names(self, index: int) -> list[str]:
        """Names of a machine's phases in the order of its episode."""
        phases = self.scenarios[index].workload.phases
        return [phases[phase].name for phase in self._phase_orders[index]]

    def phase_work(self, index: int) -> NDArray[np.float64]:
        """float64[phases]: accesses in each phase of a machine's episode."""
        return np.diff(self._machines.phase_end[index, : len(self._phase_orders[index])], prepend=0.0)

    def access_share(self, index: int) -> NDArray[np.float64]:
        """float64[phases, classes]: share of a machine's accesses on each class, in the order of its episode."""
        workload = self.scenarios[index].workload
        return self._machines.access_share[index, : len(workload.phases), : len(workload.classes)].copy()

    def class_pages(self, index: int) -> NDArray[np.int64]:
        """int64[classes]: a machine's pages by class."""
        return self._machines.class_pages[index, : len(self.scenarios[index].workload.classes)].copy()

    def fast_pages_by_class(self, index: int) -> NDArray[np.int64]:
        """int64[classes]: a machine's pages on the fast tier by class."""
        return self._machines.fast_by_class[index, : len(self.scenarios[index].workload.classes)].copy()

    def _lay_out(self, index: int, seed: int, phase_orders: PhaseOrders) -> None:
        """Draw one machine's episode: layout, placement at start, order and length of phases."""
        scenario = self.scenarios[index]
        workload = scenario.workload
        rng = np.random.Generator(np.random.PCG64(seed))
        machine = Machine(*(array[index] for array in self._machines))
        for array in (machine.counts, machine.clocks, machine.hazard, machine.marks, machine.counters, machine.model):
            array[...] = 0
        num_regions, num_classes = scenario.regions, len(workload.classes)
        class_pages = np.array(scenario.class_pages)

        by_region = place_classes(workload.layout, class_pages, num_regions, rng)
        fast = np.zeros_like(by_region)
        if workload.initial_placement == "random":
            target = machine.parameters["kswapd_target_pages"]
            room = min(scenario.pages, scenario.fast_capacity_pages - int(target))
            fast = rng.multivariate_hypergeometric(by_region.ravel(), room, method="marginals").reshape(fast.shape)
        lumps = machine.counts[: num_regions * num_classes]
        # a page starts as touched: PG_idle clear (first access), accessed in the previous window (second access)
        start_cell = 2 if scenario.daemon.access_rule == "second-access" else 1
        lumps[:, SLOW + start_cell] = (by_region - fast).ravel()
        lumps[:, FAST + 3] = fast.ravel()
        machine.class_pages[:num_classes] = class_pages
        machine.fast_by_class[:num_classes] = fast.sum(axis=0)
        machine.region_pages[:num_regions] = by_region.sum(axis=1)

        phases = draw_phases(scenario, phase_orders, rng)
        num_phases = len(phases.order)
        machine.phase_end[:num_phases] = phases.end
        machine.access_share[:num_phases, :num_classes] = phases.access_share
        machine.is_waste[:num_phases, :num_classes] = phases.is_waste
        self._phase_orders[index] = phases.order

        daemon = scenario.daemon
        state = self._machines.state[index : index + 1]
        state[...] = np.zeros((), dtype=STATE)
        state["random_counter"] = rng.integers(2**64, dtype=np.uint64)
        state["fast_pages"] = fast.sum()
        state["period_ms"], state["size_bytes"], throttle = daemon.start_setting
        state["throttle_pages_per_s"] = throttle / PAGE_BYTES
        state["numa_scan_at_s"] = scenario.numa_balancing.scan_delay
        state["numa_period_ms"] = 1e3 * scenario.numa_balancing.scan_delay
        state["numa_threshold_s"] = scenario.numa_balancing.hot_threshold
        state["migrator_clock_s"] = rng.uniform(0, daemon.migrate_sleep)


def _all_fast_s(scenario: Scenario) -> float:
    """Completion time with every page on the fast tier from the start and no daemon [s]."""
    return float(scenario.total_accesses * access_time_s(scenario, 1.0) / scenario.workload.threads)
