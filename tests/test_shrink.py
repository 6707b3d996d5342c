"""Scenarios with fewer pages: what becomes of a daemon's tunables, and what stays as it is for a page."""

import numpy as np
import pytest

from tests.sim.machines import machine_of, process_of, start, with_workload
from tests.tiny import tiny
from tierenv.daemon import TunableRange, load_daemon
from tierenv.scenario import Scenario, load_scenario
from tierenv.shrink import shrink
from tierenv.sim.parameters import access_time_s, scenario_arrays
from tierenv.units import GIB, MIB, PAGE_BYTES


def test_ranges_shrink_as_their_quantity_does() -> None:
    ranges = {
        "scan_period": TunableRange(min=10.0, max=5000.0, start=1000.0),
        "scan_size": TunableRange(min=1.0 * MIB, max=512.0 * MIB, start=99.7 * MIB),
        "throttle": TunableRange(min=1.0 * MIB, max=1024.0 * MIB, start=float("inf")),
    }
    scenario = tiny(daemon=load_daemon("kmmscand-tunable").model_copy(update={"tunables": ranges}), control="off")
    factor = 64
    shrunk = shrink(scenario, scenario.pages // factor).daemon.tunables
    assert shrunk["scan_period"] == ranges["scan_period"]
    assert shrunk["scan_size"] == TunableRange(min=4.0 * PAGE_BYTES, max=8.0 * MIB, start=399.0 * PAGE_BYTES)
    assert shrunk["throttle"] == TunableRange(min=MIB / 64, max=16.0 * MIB, start=float("inf"))


def whole() -> Scenario:
    """A scenario with a value of its own in every field that a copy with fewer pages must know of."""
    scenario = load_scenario("skewed")
    kind = {"store_share": 0.3, "traffic_per_access": 160, "cache_hit_share": 0.4, "think": 30e-9, "threads": 96}
    card = scenario.platform.cxl.model_copy(update={"store_bandwidth": 20e9, "store_latency": 120e-9})
    platform = scenario.platform.model_copy(update={"cxl": card})
    knobs = scenario.numa_balancing.model_copy(update={"scan_size": 300 * MIB})
    changes = {"platform": platform, "slow_capacity": 20 * GIB, "numa_balancing": knobs, "numa_balancing_mode": 1}
    changed = with_workload(scenario, **kind).model_copy(update=changes)
    return changed.replace(corunners=[process_of(load_scenario("abench-8g"), size="3GiB")], remote_fast_capacity="1GiB")


SHARES = np.linspace(0, 1, 5)


@pytest.mark.parametrize("pages", [4000, 8192])
def test_an_access_to_a_page_takes_as_much_longer_as_the_page_stands_for_pages(pages: int) -> None:
    scenario = whole()
    shrunk, factor = shrink(scenario, pages), scenario.pages / pages
    for process in (0, 1):
        np.testing.assert_allclose(
            access_time_s(shrunk, SHARES, process), factor * access_time_s(scenario, SHARES, process), rtol=1e-9
        )


@pytest.mark.parametrize("pages", [4000, 8192])
def test_shares_times_and_windows_stay_as_they_are(pages: int) -> None:
    scenario = whole()
    shrunk, factor = shrink(scenario, pages), scenario.pages / pages
    assert shrunk.pages == pages
    before, after = scenario_arrays(scenario), scenario_arrays(shrunk)
    costs = ("reclaim_visit_s", "scan_s", "demotion_s", "numa_fault_s", "numa_mark_s", "remote_s")
    for cost in (*costs, "migration_s", "promotion_stall_s"):
        assert after.parameters[cost] == pytest.approx(factor * before.parameters[cost]), cost
    for size in ("slow_capacity_pages", "list_capacity"):
        assert factor * after.parameters[size] == pytest.approx(before.parameters[size], rel=1e-3), size
    for size in ("capacity_pages", "spare_pages", "kswapd_target_pages"):
        np.testing.assert_allclose(factor * after.nodes[size], before.nodes[size], atol=factor, err_msg=size)
    long, short = (machine_of(start(each)).processes for each in (scenario, shrunk))
    for period in ("numa_period_min_ms", "numa_period_max_ms"):
        np.testing.assert_allclose(short[period], long[period], rtol=0.1, err_msg=period)
    assert (long["numa_period_min_ms"] > 100).all(), "eight windows of 300 MiB a second"
    assert after.knobs["numa_start_period_ms"] == before.knobs["numa_start_period_ms"]
    np.testing.assert_array_equal(after.nodes["reclaim_lead"], before.nodes["reclaim_lead"])
    assert shrunk.platform.cxl.capacity * factor == pytest.approx(scenario.platform.cxl.capacity, rel=1e-3)
    assert shrunk.workload.traffic_per_access == scenario.workload.traffic_per_access, "bandwidths shrink"


def test_what_fits_the_slow_node_fits_it_with_fewer_pages() -> None:
    scenario = load_scenario("abench-8g").replace(slow_capacity="8GiB", control="off")
    for pages in (1000, 3333, 8191):
        shrunk = shrink(scenario, pages)
        assert pages <= shrunk.slow_capacity_pages <= pages + 1
