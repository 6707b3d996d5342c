"""What the compiled models need to know of a scenario, as arrays."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tierenv.daemon import HintFaultDaemon
from tierenv.platform import Platform
from tierenv.scenario import Scenario
from tierenv.sim.application import access_time, solve_rates
from tierenv.sim.records import (
    CONTROL_KERNEL_RULE,
    CONTROL_OFF,
    CONTROL_TUNABLES,
    KNOBS,
    LINK,
    NODE,
    PARAMETERS,
    PROCESS,
    SCALE_IGNORED,
    SCALE_LENGTHENS_PERIOD,
    SCALE_ZERO_SKIPS,
    TARGET_FIXED,
    TARGET_MOST_ACCESSED,
    TARGET_MOST_SCANNED,
)
from tierenv.sim.rules import next_start_s
from tierenv.units import GIB, PAGE_BYTES

MAX_SUBSTEP_S = 0.1
"""Longest stretch over which the fast share is taken as linear while pages move [s]."""
NUM_SPLITS = 33
"""Ways to spread accesses over two nodes that are tried for the best one."""
SERVER_QUANTUM_S = 10e-3
"""Longest stretch kswapd runs ahead of the migrator [s]."""

_CONTROLS = {"off": CONTROL_OFF, "tunables": CONTROL_TUNABLES, "kernel-rule": CONTROL_KERNEL_RULE}
_TARGET_RULES = {
    "fixed": TARGET_FIXED,
    "most-scanned": TARGET_MOST_SCANNED,
    "most-accessed": TARGET_MOST_ACCESSED,
}
_SCALE_RULES = {
    "ignored": SCALE_IGNORED,
    "zero-skips": SCALE_ZERO_SKIPS,
    "lengthens-period": SCALE_LENGTHENS_PERIOD,
}


class ClassStart(NamedTuple):
    """Where the pages of a class start."""

    placement: str
    """`Workload.initial_placement` of its process."""
    fast_share: float | None
    """`PageClass.fast_at_start`."""


class ScenarioArrays(NamedTuple):
    """A scenario as the compiled models read it: M processes, K nodes of the fast tier."""

    parameters: NDArray[np.void]
    """PARAMETERS, shape ()."""
    knobs: NDArray[np.void]
    """KNOBS before the episode, shape ()."""
    processes: NDArray[np.void]
    """PROCESS[M] before the episode: nobody is running."""
    nodes: NDArray[np.void]
    """NODE[K], empty; `hand_row` is left to the lumped model."""
    links: NDArray[np.void]
    """LINK[K + 1], nothing copied."""
    class_pages: list[NDArray[np.int64]]
    """int64[classes] for each process: its pages by class."""
    accesses_per_hazard: NDArray[np.float64]
    """float64[C]: accesses to a class in which each of its pages is visited once on average."""
    is_swept: NDArray[np.bool_]
    """bool[C]: classes whose pages are visited in turn."""
    loads: list[NDArray[np.float64]]
    """float64[steps, 2] for each process: seconds and share of the threads that work, one endless step if all do."""
    starts: list["ClassStart"]
    """C: where the pages of each class start."""


def scenario_arrays(
    scenario: Scenario, max_substep_s: float = MAX_SUBSTEP_S, server_quantum_s: float = SERVER_QUANTUM_S
) -> ScenarioArrays:
    """What the compiled models need to know of a scenario."""
    platform = scenario.platform
    numa_mode, numa = scenario.hint_faults
    parameters = _record(
        PARAMETERS,
        remote_s=platform.remote_latency,
        scan_s=platform.scan_per_page,
        accessed_bit_s=platform.accessed_bit,
        migration_s=scenario.migration_s,
        failed_migration_s=platform.failed_migration,
        stale_entry_s=platform.stale_entry,
        reclaim_visit_s=platform.reclaim_visit,
        ages_by_walk=platform.reclaim == "generations",
        demotion_s=platform.demotion_per_page,
        promotion_stall_s=platform.shootdown_receiver,
        demotion_stall_s=platform.shootdown_receiver / platform.demotion_batch_pages,
        demotion=scenario.demotion,
        slow_capacity_pages=scenario.slow_capacity_pages,
        num_processes=len(scenario.processes),
        num_nodes=len(scenario.node_capacity_pages),
        num_classes=len(scenario.class_pages),
        num_regions=scenario.regions * len(scenario.processes),
        **_scanner_parameters(scenario),
        fixed_target_node=scenario.target_node,
        numa_mode=numa_mode,
        is_numa_tunable=_is_numa_tunable(scenario),
        numa_scan_rate_pages=numa.scan_rate_limit / PAGE_BYTES,
        numa_start_period_factor=platform.numa_start_period_factor,
        numa_fault_s=platform.numa_fault,
        numa_mark_s=platform.numa_mark_per_page,
        numa_shared_move_share=platform.numa_shared_move_share,
        is_numa_threshold_adaptive=numa.is_threshold_adaptive,
        max_substep_s=max_substep_s,
        server_quantum_s=server_quantum_s,
    )
    knobs = _record(
        KNOBS,
        numa_delay_s=numa.scan_delay,
        numa_start_period_ms=1e3 * numa.scan_delay * platform.numa_start_period_factor,
        numa_window_pages=numa.scan_size // PAGE_BYTES,
        numa_hot_threshold_s=numa.hot_threshold,
        numa_threshold_every_s=numa.scan_period_max,
        numa_floor_ms=1e3 / max(1, numa.scan_rate_limit // numa.scan_size),
        numa_pass_min_ms=1e3 * numa.scan_period_min,
        numa_pass_max_ms=1e3 * numa.scan_period_max,
        numa_rate_limit_pages=numa.promote_rate_limit / PAGE_BYTES,
    )
    arrays = ScenarioArrays(
        parameters=parameters,
        knobs=knobs,
        processes=_processes(scenario),
        nodes=np.array([_node(scenario, capacity) for capacity in scenario.node_capacity_pages], dtype=NODE),
        links=_links(scenario),
        class_pages=[np.array(process.class_pages) for process in scenario.processes],
        accesses_per_hazard=np.array(
            [
                float(pages * page_class.accesses_per_visit)
                for process in scenario.processes
                for page_class, pages in zip(process.workload.classes, process.class_pages, strict=True)
            ]
        ),
        is_swept=np.array(
            [page_class.visits != "random" for process in scenario.processes for page_class in process.workload.classes]
        ),
        loads=[
            np.array([(step.duration, step.share) for step in process.workload.load] or [(np.inf, 1.0)])
            for process in scenario.processes
        ],
        starts=[
            ClassStart(process.workload.initial_placement, page_class.fast_at_start)
            for process in scenario.processes
            for page_class in process.workload.classes
        ],
    )
    for process in arrays.processes:
        process["all_fast_access_s"] = _access_time_s(arrays, process, 1.0)
    return arrays


def _is_numa_tunable(scenario: Scenario) -> bool:
    daemon = scenario.daemon
    return isinstance(daemon, HintFaultDaemon) and daemon.can_be_tuned and scenario.control == "tunables"


IDLE_SCANNER = {
    "control": CONTROL_OFF,
    "is_second_access": True,
    "has_migration_thread": True,
    "migrate_sleep_s": 40e-3,
}
"""Where hint faults find the hot pages: nobody scans, and the migrator wakes for nothing."""


def _scanner_parameters(scenario: Scenario) -> dict[str, float]:
    daemon = scenario.daemon
    if isinstance(daemon, HintFaultDaemon):
        return IDLE_SCANNER
    period, size = daemon.tunables["scan_period"], daemon.tunables["scan_size"]
    return {
        "control": _CONTROLS[scenario.control],
        "is_tunable_at_run_time": daemon.tunable_at_run_time,
        "is_second_access": daemon.access_rule == "second-access",
        "most_streak": daemon.most_streak,
        "start_threshold": daemon.start_threshold,
        "first_visit_resets": daemon.first_visit_resets,
        "is_whole_vma": daemon.chunk_rule == "whole-vma",
        "walks_on_without_hits": daemon.walks_on_without_hits,
        "rechecks_hotness": daemon.rechecks_hotness,
        "target_rule": _TARGET_RULES[daemon.target_rule],
        "scale_rule": _SCALE_RULES[daemon.scale_rule],
        "failure_window": daemon.failure_window or 0,
        "has_migration_thread": daemon.has_migration_thread,
        "counts_all_slow_pages": daemon.counts_all_slow_pages,
        "initial_delay_s": daemon.initial_delay,
        "scan_sleep_s": daemon.scan_sleep,
        "mms_to_scan": daemon.mms_to_scan,
        "migrate_sleep_s": daemon.migrate_sleep,
        "throttle_window_s": daemon.throttle_window,
        "list_capacity": scenario.kernel_memory // daemon.list_entry,
        "decay_shift": daemon.decay_shift,
        "ignore_threshold_pages": daemon.ignore_threshold_pages,
        "period_step_percent": daemon.period_step_percent,
        "period_jump_shift": daemon.period_jump_shift,
        "period_min_ms": period.min,
        "period_max_ms": period.max,
        "size_min_bytes": size.min,
        "size_max_bytes": size.max,
    }


def all_fast_s(arrays: ScenarioArrays) -> float:
    """Completion time with every page on its process's own node (node 0 if it has none) and no daemon [s].

    Processes slow each other down on the links as long as they run together.
    """
    processes = arrays.processes.copy()
    now_s = 0.0
    step = np.zeros(len(processes), dtype=np.int64)
    is_once = ~(processes["is_endless"] | processes["is_repeating"])
    # the others go on at the same rate, whatever begins anew, unless that brings a load or a pause with it
    is_ending = is_once | (~processes["is_endless"] & ((processes["num_load_steps"] > 1) | (processes["every_s"] > 0)))
    rates_at = _all_fast_rates(arrays)
    while not processes["is_done"][is_once].all():
        was_running = processes["is_running"].copy()
        processes["is_running"] = ~processes["is_done"] & (processes["start_s"] <= now_s)
        running = processes["is_running"]
        for index in np.flatnonzero(running):
            load = arrays.loads[index]
            if not was_running[index]:
                step[index], processes["load_until_s"][index] = 0, processes["start_s"][index] + load[0, 0]
            elif processes["load_until_s"][index] <= now_s:
                step[index] = (step[index] + 1) % len(load)
                processes["load_until_s"][index] += load[step[index], 0]
            processes["threads"][index] = processes["full_threads"][index] * load[step[index], 1]
        waiting = processes["start_s"][~processes["is_done"] & ~running]
        next_s = min(waiting.min(initial=np.inf), processes["load_until_s"][running].min(initial=np.inf))
        span_s = next_s - now_s
        ending = running & is_ending
        if ending.any():
            rates = rates_at(processes)[ending]
            left_s = (processes["total_accesses"] - processes["accesses"])[ending] / rates
            is_end = left_s.min() <= span_s
            span_s = min(span_s, left_s.min())
            processes["accesses"][ending] += rates * span_s
            if is_end:
                _end(processes, np.flatnonzero(ending)[left_s <= span_s], now_s + span_s, is_once)
        now_s = now_s + span_s if span_s < next_s - now_s else next_s
    return float(now_s)


def _end(processes: NDArray[np.void], ended: NDArray[np.int64], time_s: float, is_once: NDArray[np.bool_]) -> None:
    """Let processes whose work is done exit, or wait for when they are executed anew."""
    for index in ended:
        if is_once[index]:
            processes["is_done"][index] = True
        else:
            processes["accesses"][index] = 0.0
            processes["is_running"][index] = False
            processes["start_s"][index] = next_start_s(processes[index], time_s)


def _all_fast_rates(arrays: ScenarioArrays) -> Callable[[NDArray[np.void]], NDArray[np.float64]]:
    """What gives the access rates float64[M] of the processes that run, every page on its process's own node."""
    shares = np.zeros((len(arrays.processes), len(arrays.links)))
    shares[range(len(arrays.processes)), arrays.processes["own_node"]] = 1.0
    known: dict[bytes, NDArray[np.float64]] = {}

    def rates(processes: NDArray[np.void]) -> NDArray[np.float64]:
        key = (processes["threads"] * processes["is_running"]).tobytes()
        if key not in known:
            processes["working_threads"] = processes["threads"]
            solve_rates(arrays.parameters[()], processes, arrays.links, shares)
            known[key] = processes["access_rate"].copy()
        return known[key]

    return rates


def alone_s(arrays: ScenarioArrays) -> NDArray[np.float64]:
    """float64[M]: `all_fast_s` of each process alone on the machine, from its start; of one that never ends a round.

    Of several alike it is that of one of them.
    """
    return np.array([_alone_s(arrays, index) for index in range(len(arrays.processes))])


def _alone_s(arrays: ScenarioArrays, index: int) -> float:
    parameters, process = arrays.parameters.copy(), arrays.processes[index : index + 1].copy()
    parameters["num_processes"] = 1
    for name in ("start_s", "is_endless", "is_repeating", "every_s"):
        process[name] = 0
    for name in ("full_threads", "mean_threads", "threads", "working_threads", "total_accesses"):
        process[name] /= process["count"]
    return all_fast_s(arrays._replace(parameters=parameters, processes=process, loads=arrays.loads[index : index + 1]))


def access_time_s(
    scenario: Scenario, fast_share: ArrayLike, process_index: int = 0, working_share: float = 1.0
) -> NDArray[np.float64]:
    """Time of one access of one thread of a process alone on its machine, when nothing migrates [s].

    Args:
        scenario: the machine.
        fast_share: share of the accesses that lands on the process's own node of the fast tier; any shape, also that
            of the result.
        process_index: which of the scenario's processes.
        working_share: share of its threads that work.
    """
    return _access_times_s(scenario, fast_share, process_index, working_share, (0.0,))


def least_access_time_s(
    scenario: Scenario, fast_share: ArrayLike, process_index: int = 0, working_share: float = 1.0
) -> NDArray[np.float64]:
    """`access_time_s` with the fast share on whatever nodes of the fast tier are best, for bounds.

    Of NUM_SPLITS splits over two nodes the best one is taken; the time is convex in the split.
    """
    is_split = len(scenario.node_capacity_pages) > 1
    splits = np.linspace(0.0, 1.0, NUM_SPLITS).tolist() if is_split else (0.0,)
    return _access_times_s(scenario, fast_share, process_index, working_share, splits)


def _access_times_s(
    scenario: Scenario, fast_share: ArrayLike, process_index: int, working_share: float, splits: Sequence[float]
) -> NDArray[np.float64]:
    """The least time over the shares of the fast accesses that fall elsewhere than on the own node."""
    arrays = scenario_arrays(scenario)
    process = arrays.processes[process_index]
    process["working_threads"] *= working_share
    found = np.empty(np.shape(fast_share))
    for index, share in np.ndenumerate(np.asarray(fast_share, dtype=np.float64)):
        found[index] = min(_access_time_s(arrays, process, share, split) for split in splits)
    return found


def _access_time_s(arrays: ScenarioArrays, process: np.void, fast_share: float, elsewhere: float = 0.0) -> float:
    """Args: fast_share: of the accesses on the fast tier. elsewhere: of these on another node than the own."""
    shares = np.zeros(len(arrays.links))
    if elsewhere > 0:
        shares[1 - process["own_node"]] = fast_share * elsewhere
    shares[process["own_node"]], shares[-1] = fast_share * (1.0 - elsewhere), 1.0 - fast_share
    return float(access_time(arrays.parameters[()], process, arrays.links, shares))


def _processes(scenario: Scenario) -> NDArray[np.void]:
    rows = []
    first_class = 0
    for process in scenario.processes:
        workload = process.workload
        rows.append(
            _record(
                PROCESS,
                full_threads=process.threads,
                mean_threads=process.threads * workload.mean_load,
                threads=process.threads,
                working_threads=process.threads,
                pace=1.0,
                count=process.count,
                think_s=workload.think,
                memory_parallelism=workload.memory_parallelism,
                miss_share=1.0 - workload.cache_hit_share,
                read_bytes=workload.traffic_per_access,
                store_share=workload.store_share,
                page_walk_s=scenario.page_walk_s(process),
                pages=process.pages,
                total_accesses=process.total_accesses,
                start_s=process.start,
                cpu_node=process.cpu_node,
                own_node=min(process.cpu_node, len(scenario.node_capacity_pages) - 1),
                first_class=first_class,
                end_class=first_class + len(workload.classes),
                num_phases=len(workload.phases),
                is_timed=workload.is_timed,
                num_load_steps=max(1, len(workload.load)),
                has_absent=any(phase.absent for phase in workload.phases),
                has_rest_vma=workload.rest_vma > 0,
                scan_scale=process.scan_scale,
                is_endless=process.lifetime == "endless",
                is_repeating=process.lifetime in ("repeating", "periodic"),
                every_s=process.every or 0.0,
            )
        )
        first_class += len(workload.classes)
    return np.array(rows, dtype=PROCESS)


def _node(scenario: Scenario, capacity: int) -> NDArray[np.void]:
    platform = scenario.platform
    return _record(
        NODE,
        capacity_pages=capacity,
        watermark_pages=round(platform.promotion_watermark * capacity),
        kswapd_target_pages=round(platform.kswapd_target * capacity),
        reclaim_lead=_reclaim_lead(platform, capacity),
        spare_pages=max(scenario.hint_faults[1].spare // PAGE_BYTES, capacity // 16),
    )


_OLDER_GENERATIONS = 2 / 4
"""Of a full set of generations, those whose pages reclaim looks at (MIN_NR_GENS of MAX_NR_GENS)."""


def _reclaim_lead(platform: Platform, capacity: int) -> float:
    """Share of a node's pages aged ahead of those reclaim looks at: the older generations', or the inactive list's.

    The kernel wants the active list int(sqrt(10 n)) times as long as the inactive one on n GiB, as long below one.
    """
    if platform.reclaim == "generations":
        return _OLDER_GENERATIONS
    return 1 / (1 + max(1, math.isqrt(10 * (capacity * PAGE_BYTES // GIB))))


def _links(scenario: Scenario) -> NDArray[np.void]:
    platform = scenario.platform
    tiers = [platform.dram] * len(scenario.node_capacity_pages) + [platform.cxl]
    return np.array(
        [
            _record(
                LINK,
                idle_s=tier.idle_latency,
                store_s=tier.access_latency(1.0),
                queueing_s=tier.queueing_latency,
                bandwidth=tier.bandwidth,
                store_bandwidth=tier.writes,
            )
            for tier in tiers
        ],
        dtype=LINK,
    )


def _record(dtype: np.dtype[np.void], **values: float) -> NDArray[np.void]:
    """One record of shape (); fields not named are 0."""
    row = np.zeros((), dtype=dtype)
    for name, value in values.items():
        row[name] = value
    return row
