"""ReferenceSystem: one machine simulated page by page, the twin that tests and the benchmark compare the model with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.counters import NUM_COUNTERS
from tierenv.errors import ConfigError
from tierenv.scenario import PhaseOrders, Scenario, TunableRanges
from tierenv.sim import pages_engine as engine
from tierenv.sim.episode import draw_phases
from tierenv.sim.pages import STATE, Pages
from tierenv.sim.state import MODEL_COUNTERS
from tierenv.sim.system import scenario_parameters
from tierenv.units import PAGE_BYTES

TICK_S = 5e-3
"""How often the access rate follows the placement [s]."""
ENTRIES_PER_PAGE = 256
"""Room of the migration list for each page of the scenario; entries beyond it count as failed allocations."""


class ReferenceSystem:
    """A `tierenv.system.System` of one machine; it knows no regions. For scenarios of up to some 100,000 pages.

    Raises `ConfigError` for a scenario with NUMA balancing, which it does not know.

    Args:
        scenario: what runs; `shrink` makes large ones small.
        tick_s: resolution of the application's progress.
    """

    def __init__(self, scenario: Scenario, tick_s: float = TICK_S) -> None:
        if scenario.numa_balancing_mode != 0:
            raise ConfigError(f"numa_balancing_mode={scenario.numa_balancing_mode}: the reference knows only 0")
        self.scenarios = (scenario,)
        self._tick_s = tick_s
        num_pages, entries = scenario.pages, ENTRIES_PER_PAGE * scenario.pages
        classes, phases = len(scenario.workload.classes), len(scenario.workload.phases)
        self._states = np.zeros(1, dtype=STATE)
        self._pages = Pages(
            parameters=scenario_parameters(scenario)[()],
            state=self._states[0],
            page_class=np.zeros(num_pages, dtype=np.int32),
            is_fast=np.zeros(num_pages, dtype=np.bool_),
            next_access=np.zeros(num_pages),
            is_idle=np.zeros(num_pages, dtype=np.bool_),
            is_young=np.zeros(num_pages, dtype=np.bool_),
            was_accessed=np.zeros(num_pages, dtype=np.bool_),
            moves=np.zeros(num_pages, dtype=np.int32),
            entries=np.zeros(num_pages, dtype=np.int32),
            list_page=np.zeros(entries, dtype=np.int32),
            list_moves=np.zeros(entries, dtype=np.int32),
            hazard=np.zeros(classes),
            hazard_rate=np.zeros(classes),
            class_pages=np.array(scenario.class_pages, dtype=np.int64),
            fast_by_class=np.zeros(classes, dtype=np.int64),
            access_share=np.zeros((phases, classes)),
            phase_end=np.zeros(phases),
            is_waste=np.zeros((phases, classes), dtype=np.bool_),
            counters=np.zeros(NUM_COUNTERS, dtype=np.int64),
            model=np.zeros(len(MODEL_COUNTERS), dtype=np.int64),
        )

    def reset(
        self,
        seeds: NDArray[np.uint64],
        phase_orders: Sequence[PhaseOrders],
        mask: NDArray[np.bool_] | None = None,
    ) -> None:
        """Start an episode; see `tierenv.system.System.reset`."""
        if mask is None or mask[0]:
            self._lay_out(int(seeds[0]), phase_orders[0])
            engine.start(self._pages)

    def apply(self, tunables: NDArray[np.float64]) -> None:
        """Put tunables in force: float64[1, 3], columns as `TUNABLES`, infinity for unlimited."""
        engine.apply(self._pages, *(float(value) for value in tunables[0]))

    def advance(self, duration_s: float) -> None:
        """Let `duration_s` pass, or less if the work ends in it."""
        engine.advance(self._pages, float(duration_s), self._tick_s)

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
        """float64[1, 3]: the tunables in force."""
        state = self._pages.state
        throttle = state["throttle_pages_per_s"] * PAGE_BYTES
        return np.array([[state["period_ms"], state["size_bytes"], throttle]])

    @property
    def elapsed_s(self) -> NDArray[np.float64]:
        """float64[1]: time since the reset, at completion the completion time."""
        return np.array([self._pages.state["now_s"]])

    @property
    def is_done(self) -> NDArray[np.bool_]:
        """bool[1]: all work is done."""
        return np.array([self._pages.state["is_done"]])

    def fast_pages_by_class(self, index: int = 0) -> NDArray[np.int64]:
        """int64[classes]: pages on the fast tier by class."""
        return self._pages.fast_by_class.copy()

    def _lay_out(self, seed: int, phase_orders: PhaseOrders) -> None:
        """Draw the episode: a class for every address, placement at start, order and length of phases."""
        scenario = self.scenarios[0]
        pages = self._pages
        rng = np.random.Generator(np.random.PCG64(seed))
        for array in (pages.moves, pages.entries, pages.hazard, pages.hazard_rate, pages.counters, pages.model):
            array[...] = 0

        order = np.arange(len(pages.class_pages))
        if scenario.workload.layout == "contiguous":
            order = rng.permutation(order)
        pages.page_class[:] = np.repeat(order, pages.class_pages[order])
        if scenario.workload.layout == "scattered":
            rng.shuffle(pages.page_class)
        pages.is_fast[:] = False
        if scenario.workload.initial_placement == "random":
            room = scenario.fast_capacity_pages - int(pages.parameters["kswapd_target_pages"])
            pages.is_fast[rng.permutation(scenario.pages)[:room]] = True
        pages.fast_by_class[:] = np.bincount(pages.page_class[pages.is_fast], minlength=len(pages.class_pages))
        is_second_access = scenario.daemon.access_rule == "second-access"
        # a page starts as touched: not marked idle (first access), accessed in the previous window (second access)
        pages.is_idle[:] = is_second_access & ~pages.is_fast
        pages.is_young[:] = pages.is_fast
        pages.was_accessed[:] = is_second_access & ~pages.is_fast

        phases = draw_phases(scenario, phase_orders, rng)
        pages.phase_end[:] = phases.end
        pages.access_share[:] = phases.access_share
        pages.is_waste[:] = phases.is_waste

        daemon = scenario.daemon
        self._states[:] = np.zeros((), dtype=STATE)
        state = pages.state
        state["random_counter"] = rng.integers(2**64, dtype=np.uint64)
        state["fast_pages"] = pages.is_fast.sum()
        state["period_ms"], state["size_bytes"], throttle = daemon.start_setting
        state["throttle_pages_per_s"] = throttle / PAGE_BYTES
        state["migrator_clock_s"] = rng.uniform(0, daemon.migrate_sleep)


def shrink(scenario: Scenario, pages: int) -> Scenario:
    """The scenario with fewer pages, each of which is as much work to its machine as the pages it stands for.

    Latencies and the kernel's costs grow, bandwidths, rates and sizes shrink by the same factor, periods and delays
    stay: accesses per page and second and every expected share of pages are those of the full size, completion time
    too, but the spread is that of few pages. NUMA balancing is not scaled.
    """
    factor = scenario.pages / pages
    platform, daemon, workload = scenario.platform, scenario.daemon, scenario.workload

    def scaled(record: Any, by: float, *fields: str) -> dict[str, Any]:
        return {field: getattr(record, field) * by for field in fields}

    def bytes_of(size: float) -> int:
        return max(1, round(size / factor / PAGE_BYTES)) * PAGE_BYTES

    def tier(record: Any) -> Any:
        latencies = scaled(record, factor, "idle_latency", "queueing_latency")
        return record.model_copy(update=latencies | scaled(record, 1 / factor, "bandwidth"))

    costs = ("scan_per_page", "accessed_bit", "failed_migration", "stale_entry", "reclaim_visit", "demotion_per_page")
    # both grow with the footprint, which shrinks
    footprint_costs = {
        "migration_per_page_at_8gib": scenario.migration_s * factor,
        "migration_footprint_exponent": 0.0,
        "page_walk_per_doubling": 0.0,
    }
    new_platform = platform.model_copy(
        update=scaled(platform, factor, *costs, "shootdown_receiver")
        | footprint_costs
        | {
            "dram": tier(platform.dram),
            "cxl": tier(platform.cxl),
            "kernel_memory": round(platform.kernel_memory / factor),
        }
    )
    sizes, rates = daemon.ranges.scan_size, daemon.ranges.throttle
    ranges = TunableRanges.model_construct(
        scan_period=daemon.ranges.scan_period,
        scan_size=sizes.model_copy(
            update={field: bytes_of(getattr(sizes, field)) for field in ("min", "max", "start")}
        ),
        throttle=rates.model_copy(update=scaled(rates, 1 / factor, "min", "max", "start")),
    )
    threshold = round(daemon.ignore_threshold_pages / factor)
    new_daemon = daemon.model_copy(
        update={"ranges": ranges, "ignore_threshold_pages": max(threshold, min(1, daemon.ignore_threshold_pages))}
    )
    think = (workload.think + scenario.page_walk_s / platform.overlap) * factor
    new_workload = workload.model_copy(update={"think": think, "rest_vma": round(workload.rest_vma / factor)})
    return scenario.model_copy(
        update={
            "platform": new_platform,
            "daemon": new_daemon,
            "workload": new_workload,
            "size": pages * PAGE_BYTES,
            "fast_capacity": bytes_of(scenario.fast_capacity),
        }
    )
