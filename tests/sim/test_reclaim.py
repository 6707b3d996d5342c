"""kswapd in both models, one test for each mechanism: how pages age, which are kept, what that costs their program."""

from typing import Any

import numpy as np
import pytest

from tests.sim.patches import PAGES, SYSTEMS, begin, classes, count, model_of, phases, small
from tierenv.counters import DEMOTED, PGPROMOTE_SUCCESS
from tierenv.scenario import Scenario
from tierenv.sim.parameters import access_time_s, scenario_arrays
from tierenv.units import GIB, PAGE_BYTES

both_models = pytest.mark.parametrize("system_type", SYSTEMS)

FAST_PAGES = 1000
FREE = {"demotion_per_page": 1e-9, "shootdown_receiver": 0.0, "accessed_bit": 0.0, "scan_per_page": 0.0}
"""What reclaim does beside looking at pages takes next to nothing."""


def reclaimed(
    rates: dict[str, float], platform: dict[str, object] | None = None, threads: int = 64, **changes: object
) -> Scenario:
    """Pages of several rates of access [1/s] that fill the fast node, whose kswapd wants more of it than it can get.

    Nothing promotes.
    """
    shares = {name: rate / sum(rates.values()) for name, rate in rates.items()}
    # alone on the machine a thread makes an access every 100 us, so that placement decides nothing
    think_s = threads / (sum(rates.values()) / len(rates) * PAGES)
    workload: dict[str, object] = {
        "classes": classes(**dict.fromkeys(rates, 1 / len(rates))),
        "phases": phases(" ".join(rates), shares),
        "threads": threads,
        "think": think_s,
        "initial_placement": "random",
    }
    like: dict[str, Any] = {"fast_capacity": FAST_PAGES * PAGE_BYTES, "control": "off", "regions": 64}
    return small(workload=workload, platform=FREE | (platform or {}), **like | changes)


def awake(system_type: type, scenario: Scenario, wanted: int = FAST_PAGES - 1) -> Any:
    """Returns either model when its kswapd has just been woken, and will not sleep before so many pages are free."""
    system = begin(system_type, scenario)
    node = model_of(system).nodes[0]
    node["kswapd_target_pages"] = wanted
    node["is_kswapd_awake"] = True
    return system


VISIT_S = 1e-3
SLOW_VISITS = {"reclaim_visit": VISIT_S}


@both_models
def test_pages_touched_since_they_were_aged_are_kept_and_the_others_leave(system_type: type) -> None:
    system = awake(system_type, reclaimed({"hot": 100.0, "cold": 1e-9}, SLOW_VISITS))
    before = system.fast_pages_by_class(0)
    system.advance(4.0)
    hot, cold = before - system.fast_pages_by_class(0)
    assert hot < 0.02 * before[0] and cold > 0.95 * before[1]
    assert count(system, DEMOTED) == [hot + cold]


@both_models
@pytest.mark.parametrize(("kind", "gib", "lead"), [("generations", 64, 1 / 2), ("active-inactive", 16, 1 / 13)])
def test_a_page_has_as_long_to_be_touched_as_the_hand_needs_to_come_after_the_aging(
    system_type: type, kind: str, gib: int, lead: float
) -> None:
    """A page of rate r is demoted at the first look with probability exp(-r lead N visit)."""
    platform = SLOW_VISITS | {"reclaim": kind}
    assert scenario_arrays(reclaimed({"a": 1.0}, platform, fast_capacity=gib * GIB)).nodes["reclaim_lead"] == lead
    rate = 1 / (lead * FAST_PAGES * VISIT_S)
    # the first lap finds pages as they are at the start, all touched; they age for the first time in it
    system = awake(system_type, reclaimed({"a": rate, "b": rate}, platform))
    model_of(system).nodes["reclaim_lead"] = lead
    fast = int(model_of(system).nodes["fast_pages"][0])
    left = []
    for _ in range(3):
        system.advance(VISIT_S * lead * FAST_PAGES / 2)
        left.append(int(model_of(system).nodes["fast_pages"][0]))
    # the pages ahead when it starts are aged at once, and looked at one after the other
    looked_at = lead * FAST_PAGES / 2
    demoted = [before - after for before, after in zip([fast, *left], left, strict=False)]
    waited = [0.25, 0.75]
    for number, share in zip(demoted, waited, strict=False):
        expected = looked_at * np.exp(-share)
        assert number == pytest.approx(expected, abs=4 * np.sqrt(expected) + 0.12 * looked_at)


@both_models
def test_reclaim_that_finds_only_touched_pages_goes_on_and_frees_nothing(system_type: type) -> None:
    system = awake(system_type, reclaimed({"a": 1000.0, "b": 1000.0}, SLOW_VISITS))
    before = int(model_of(system).nodes["fast_pages"][0])
    system.advance(3.0)
    assert model_of(system).nodes["is_kswapd_awake"][0]
    assert before - model_of(system).nodes["fast_pages"][0] < 0.01 * before


@both_models
@pytest.mark.parametrize("kind", ["generations", "active-inactive"])
def test_aging_walks_all_page_tables_or_looks_at_the_node_s_pages_alone(system_type: type, kind: str) -> None:
    scan_s = 1e-3
    system = awake(system_type, reclaimed({"a": 1.0}, SLOW_VISITS | {"scan_per_page": scan_s, "reclaim": kind}))
    node = model_of(system).nodes[0]
    fast_pages = int(node["fast_pages"])
    system.advance(2 * VISIT_S)
    expected_s = node["reclaim_lead"] * scan_s * (PAGES if kind == "generations" else fast_pages)
    assert node["kswapd_clock_s"] == pytest.approx(expected_s, rel=0.05)


@both_models
@pytest.mark.parametrize("bandwidth", [1e12, 16e6])
def test_setting_accessed_bits_again_holds_up_threads_whose_memory_the_others_use(
    system_type: type, bandwidth: float
) -> None:
    """Two hands clear a bit every millisecond each, so that of four threads two are at work."""
    tier = reclaimed({"a": 1.0}).platform.dram.model_copy(
        update={"bandwidth": bandwidth, "store_bandwidth": bandwidth, "queueing_latency": 100e-9}
    )
    platform = SLOW_VISITS | {"accessed_bit": 1e-3, "dram": tier, "cxl": tier}
    hot = reclaimed({"a": 1000.0, "b": 1000.0}, platform, threads=4)

    def work(system: Any) -> float:
        system.advance(0.5)
        before = float(model_of(system).processes["accesses"][0])
        system.advance(1.0)
        return float(model_of(system).processes["accesses"][0]) - before

    fast_share = float(scenario_arrays(hot).nodes["capacity_pages"][0] * 0.98 / PAGES)
    half = hot.model_copy(update={"workload": hot.workload.model_copy(update={"threads": 2})})
    rates = [threads / float(access_time_s(each, fast_share)) for each, threads in ((hot, 4), (half, 2))]
    assert (rates[1] > 0.9 * rates[0]) == (bandwidth < 1e12)
    assert work(begin(system_type, hot)) == pytest.approx(rates[0], rel=0.01)
    assert work(awake(system_type, hot)) == pytest.approx(rates[1], rel=0.03)


@both_models
def test_a_full_slow_node_ends_demotion(system_type: type) -> None:
    cold = reclaimed({"hot": 100.0, "cold": 1e-9}, {"reclaim_visit": 1e-6})
    on_fast = int(FAST_PAGES - round(cold.platform.kswapd_target * FAST_PAGES))
    free = 37
    full = cold.model_copy(update={"slow_capacity": (PAGES - on_fast + free) * PAGE_BYTES})
    system = awake(system_type, full)
    system.advance(2.0)
    system.audit()
    assert count(system, DEMOTED) == [free]
    assert not model_of(system).nodes["is_kswapd_awake"][0]
    endless = awake(system_type, cold)
    endless.advance(2.0)
    assert count(endless, DEMOTED)[0] > 5 * free


@both_models
def test_what_is_promoted_from_a_full_slow_node_makes_room_on_it(system_type: type) -> None:
    # four fifths of the accesses fall on pages that start slow; of the others, which start fast, none is touched
    workload: dict[str, object] = {
        "classes": tuple(
            page_class.model_copy(update={"fast_at_start": share})
            for page_class, share in zip(classes(new=0.5, old=0.5), (0.0, 0.4), strict=True)
        ),
        "phases": phases("new old", {"new": 1.0}),
    }
    scenario = small(workload=workload, control="off", numa_balancing_mode=2, platform={"kswapd_target": 0.2})
    knobs = scenario.numa_balancing.model_copy(update={"scan_size": PAGES * PAGE_BYTES, "spare": 0})
    changes = {"fast_capacity": 1100 * PAGE_BYTES, "numa_balancing": knobs}
    full = scenario.model_copy(update=changes | {"slow_capacity": (PAGES - 819) * PAGE_BYTES})
    system = begin(system_type, full)
    assert model_of(system).nodes["fast_pages"][0] == 819
    for _ in range(20):
        system.advance(1.0)
        system.audit()
    promoted, demoted = count(system, PGPROMOTE_SUCCESS, DEMOTED)
    assert promoted - demoted >= 0 and demoted > 200


@both_models
def test_pages_that_came_after_the_aging_are_not_aged(system_type: type) -> None:
    system = awake(system_type, reclaimed({"a": 1.0, "b": 1.0}, SLOW_VISITS))
    system.advance(0.1)
    aged = int(model_of(system).nodes["aged_pages"][0])
    assert 0.4 * FAST_PAGES < aged <= 0.55 * FAST_PAGES
    system.audit()


@both_models
def test_without_a_lead_a_page_is_looked_at_once_a_lap(system_type: type) -> None:
    system = awake(system_type, reclaimed({"a": 1000.0, "b": 1e-9}, SLOW_VISITS))
    model_of(system).nodes["reclaim_lead"] = 0.0
    system.advance(0.9 * FAST_PAGES * VISIT_S)
    assert model_of(system).nodes["aged_pages"][0] == 0
    assert count(system, DEMOTED)[0] < 0.02 * FAST_PAGES, "at its first look every page counts as touched"
    system.advance(FAST_PAGES * VISIT_S)
    assert count(system, DEMOTED)[0] > 0.35 * FAST_PAGES
