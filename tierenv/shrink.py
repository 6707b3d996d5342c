"""Scenarios with fewer pages that behave like the whole: what the pages model and quick tests run."""

import math
from typing import Any

from tierenv.daemon import Daemon, HintFaultDaemon, HintFaultKnobs, TunableRange
from tierenv.errors import ConfigError
from tierenv.platform import Platform
from tierenv.scenario import Process, Scenario
from tierenv.tunables import BYTES, RATE, TUNABLES
from tierenv.units import PAGE_BYTES
from tierenv.workload import Workload


def shrink(scenario: Scenario, pages: int) -> Scenario:
    """The scenario with fewer pages, each of which is as much work to its machine as the pages it stands for.

    Latencies and the kernel's costs grow, bandwidths, rates and sizes shrink by the same factor, periods and delays
    stay: accesses per page and second and every expected share of pages are those of the full size, completion times
    too, but the spread is that of few pages. The window of V3's failure feedback keeps its length, and lists of active
    and inactive pages are as long beside each other as those of the small node are.

    Raises `ConfigError` for so few that a class has none.
    """
    factor = scenario.pages / pages
    corunners = tuple(
        process.model_copy(
            update={
                "size": _fewer_bytes(process.size, factor),
                "workload": _shrink_workload(scenario, process, factor),
            }
        )
        for process in scenario.corunners
    )
    own_pages = pages - sum(process.pages for process in corunners)
    changes = {
        "platform": _shrink_platform(scenario, factor),
        "daemon": _shrink_daemon(scenario.daemon, factor),
        "workload": _shrink_workload(scenario, scenario.processes[0], factor),
        "size": own_pages // scenario.count * PAGE_BYTES,
        "corunners": corunners,
        "fast_capacity": _fewer_bytes(scenario.fast_capacity, factor),
        "remote_fast_capacity": _fewer_bytes(scenario.remote_fast_capacity, factor),
        "slow_capacity": _slow_capacity(scenario, factor),
        "numa_balancing": _shrink_knobs(scenario.numa_balancing, factor),
    }
    small = scenario.model_copy(update=changes)
    for process, whole in zip(small.processes, scenario.processes, strict=True):
        for page_class, own in zip(process.workload.classes, process.class_pages, strict=True):
            if own < process.count:
                least = math.ceil(whole.count / (page_class.fraction * whole.pages) * scenario.pages)
                raise ConfigError(f"pages={pages}: class {page_class.name} has none of them; must be at least {least}")
    return small


def _shrink_platform(scenario: Scenario, factor: float) -> Platform:
    platform = scenario.platform
    costs = (
        "remote_latency",
        "scan_per_page",
        "accessed_bit",
        "failed_migration",
        "stale_entry",
        "reclaim_visit",
        "demotion_per_page",
        "shootdown_receiver",
        "numa_fault",
        "numa_mark_per_page",
    )

    def tier(record: Any) -> Any:
        latencies = _scaled(record, factor, "idle_latency", "queueing_latency")
        if record.store_latency is not None:
            latencies |= _scaled(record, factor, "store_latency")
        bandwidths = {"bandwidth": record.bandwidth / factor, "store_bandwidth": record.writes / factor}
        return record.model_copy(update=latencies | bandwidths | {"capacity": _fewer_bytes(record.capacity, factor)})

    # both grow with the footprint, which shrinks
    footprint_costs = {
        "migration_per_page_at_8gib": scenario.migration_s * factor,
        "migration_footprint_exponent": 0.0,
        "page_walk_per_doubling": 0.0,
    }
    return platform.model_copy(
        update=_scaled(platform, factor, *costs)
        | footprint_costs
        | {
            "dram": tier(platform.dram),
            "cxl": tier(platform.cxl),
        }
    )


def _shrink_daemon(daemon: Daemon, factor: float) -> Daemon:
    changes: dict[str, object] = {
        "tunables": {
            name: bounds.model_copy(update=_shrink_range(name, bounds, factor))
            for name, bounds in daemon.tunables.items()
        }
    }
    if isinstance(daemon, HintFaultDaemon):
        changes["knobs"] = _shrink_knobs(daemon.knobs, factor)
    else:
        threshold = round(daemon.ignore_threshold_pages / factor)
        changes["ignore_threshold_pages"] = max(threshold, min(1, daemon.ignore_threshold_pages))
    return daemon.model_copy(update=changes)


def _shrink_range(name: str, bounds: TunableRange, factor: float) -> dict[str, float]:
    """Bounds and start of a tunable, of whichever quantity it is."""
    quantity = TUNABLES[name].quantity
    if quantity is BYTES:
        return {field: float(_fewer_bytes(getattr(bounds, field), factor)) for field in TunableRange.model_fields}
    if quantity is RATE:
        return _scaled(bounds, 1 / factor, *TunableRange.model_fields)
    return {}


def _shrink_workload(scenario: Scenario, process: Process, factor: float) -> Workload:
    """The page walks of full size become part of the time between accesses."""
    workload = process.workload
    walk_s = (1 - workload.cache_hit_share) * scenario.page_walk_s(process) / workload.memory_parallelism
    think = (workload.think + walk_s) * factor
    return workload.model_copy(update={"think": think, "rest_vma": round(workload.rest_vma / factor)})


def _shrink_knobs(knobs: HintFaultKnobs, factor: float) -> HintFaultKnobs:
    sizes = {field: _fewer_bytes(getattr(knobs, field), factor) for field in ("scan_size", "spare")}
    # as many whole windows of it as before
    sizes["scan_rate_limit"] = max(1, int(knobs.scan_rate_limit // knobs.scan_size)) * sizes["scan_size"]
    return knobs.model_copy(update=sizes | _scaled(knobs, 1 / factor, "promote_rate_limit"))


def _slow_capacity(scenario: Scenario, factor: float) -> int:
    """Whole pages above, for what fits the full size must fit this, too."""
    return math.ceil(scenario.slow_capacity_pages / factor) * PAGE_BYTES


def _scaled(record: Any, by: float, *fields: str) -> dict[str, Any]:
    return {field: getattr(record, field) * by for field in fields}


def _fewer_bytes(size: float, factor: float) -> int:
    """Bytes of whole pages, one at least unless there were none."""
    return max(1, round(size / factor / PAGE_BYTES)) * PAGE_BYTES if size else 0
