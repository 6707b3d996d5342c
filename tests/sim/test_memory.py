"""Memory that comes and goes: classes that some phases lack, in both models."""

from typing import Any

import numpy as np
import pytest

from tests.sim.patches import PAGES, SYSTEMS, TUNABLE, V1, begin, classes, count, model_of, run_until, small
from tests.tiny import tiny
from tierenv.counters import DEMOTED, FREE_PAGES, MIGADDED, MIGRATE_FAILED, MIGRATED, NUMA_PTE_UPDATES, TOPTIER
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped.state import CLASS, SLOW_CLOCK
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.state import SLOW
from tierenv.units import PAGE_BYTES
from tierenv.workload import Phase

both_models = pytest.mark.parametrize("system_type", SYSTEMS)

KEPT, COMING = PAGES // 4, 3 * PAGES // 4


def growing(*durations: float, starts_with_all: bool = False, **workload: Any) -> dict[str, Any]:
    """A workload whose second class, three quarters of the pages, is there in every other phase only."""
    alone = Phase(name="alone", access_share={"kept": 1.0}, absent=("coming",))
    both = Phase(name="both", access_share={"kept": 0.5, "coming": 0.5})
    own = [both, alone] if starts_with_all else [alone, both]
    timed = tuple(
        phase.model_copy(update={"duration": duration}) for phase, duration in zip(own, durations, strict=False)
    )
    return {"classes": classes(kept=0.25, coming=0.75), "phases": timed or tuple(own), "threads": 4} | workload


def fast_pages(system: Any) -> list[int]:
    return [int(pages) for pages in system.fast_pages_by_class(0)]


@both_models
@pytest.mark.parametrize("layout", ["scattered", "contiguous", "address-order"])
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_resident_are_the_classes_that_the_phase_has(system_type: type, layout: str, mode: int) -> None:
    scenario = small(workload=growing(2.0, 3.0, layout=layout), daemon=TUNABLE, numa_balancing_mode=mode)
    system = begin(system_type, scenario)
    for step in range(1, 45):
        expected = KEPT if (step - 1) * 0.25 % 5.0 < 2.0 else PAGES
        assert system.resident_pages[0] == expected, step
        system.audit()
        system.advance(0.25)


@both_models
def test_what_goes_leaves_the_fast_tier_and_comes_back_on_the_slow_node(system_type: type) -> None:
    workload = growing(2.0, 2.0, starts_with_all=True, initial_placement="random")
    system = begin(system_type, small(workload=workload, control="off"))
    free = count(system, FREE_PAGES)[0]
    assert fast_pages(system) == [KEPT, COMING]
    system.advance(2.5)
    assert fast_pages(system) == [KEPT, 0] and count(system, FREE_PAGES)[0] == free + COMING
    system.advance(2.0)
    assert fast_pages(system) == [KEPT, 0] and system.resident_pages[0] == PAGES
    assert count(system, DEMOTED)[0] == 0


@both_models
def test_phases_that_end_by_work_take_their_memory_along_too(system_type: type) -> None:
    scenario = small(workload=growing(accesses_per_page=400.0), control="off")
    system = begin(system_type, scenario)
    process = model_of(system).processes
    while not system.is_done[0]:
        assert system.resident_pages[0] == (KEPT if process["phase"][0] == 0 else PAGES)
        system.advance(0.05)
        system.audit()
    assert system.resident_pages[0] == PAGES


@both_models
def test_entries_of_pages_that_are_gone_are_stale_and_are_not_promoted(system_type: type) -> None:
    workload = growing(4.0, 1000.0, starts_with_all=True)
    slow_migrator = {"migration_per_page_at_8gib": 1e-2}
    system = begin(system_type, small(V1, workload, slow_migrator))
    run_until(system, lambda: count(system, MIGADDED)[0] > PAGES // 2)
    assert system.elapsed_s[0] < 4.0
    run_until(system, lambda: system.elapsed_s[0] > 4.1)
    assert fast_pages(system)[1] == 0
    before = count(system, MIGRATED)[0]
    system.advance(15.0)
    added, migrated, failed = count(system, MIGADDED, MIGRATED, MIGRATE_FAILED)
    assert fast_pages(system)[1] == 0 and migrated - before <= KEPT
    assert failed >= (added - migrated) / 2 > 0


@both_models
def test_the_scanner_walks_only_what_is_resident(system_type: type) -> None:
    # all are on the fast tier, where each visit is counted
    workload = growing(1000.0, initial_placement="random")
    system = begin(system_type, small(V1, workload))
    run_until(system, lambda: model_of(system).mms["scans"][0] >= 3)
    assert count(system, TOPTIER)[0] == 3 * KEPT


@both_models
def test_windows_of_a_pass_are_those_of_the_resident_memory(system_type: type) -> None:
    scenario = small(workload=growing(20.0, 1000.0), control="off", numa_balancing_mode=2)
    knobs = {"scan_size": KEPT * PAGE_BYTES, "scan_period_min": 4.0, "scan_period_max": 8.0}
    numa = scenario.numa_balancing.model_copy(update=knobs)
    system = begin(system_type, scenario.model_copy(update={"numa_balancing": numa}))
    process = model_of(system).processes
    assert process["numa_period_min_ms"][0] == pytest.approx(4000.0)
    system.advance(20.5)
    assert process["numa_period_min_ms"][0] == pytest.approx(1000.0)
    assert process["numa_period_max_ms"][0] == pytest.approx(2000.0)


@both_models
def test_no_more_is_marked_than_is_resident(system_type: type) -> None:
    workload = growing(1000.0, think=1e4)
    scenario = small(workload=workload, control="off", numa_balancing_mode=2, fast_capacity=64 * PAGE_BYTES)
    system = begin(system_type, scenario)
    system.advance(30.0)
    assert 0 < count(system, NUMA_PTE_UPDATES)[0] <= KEPT


@both_models
def test_pages_come_as_touched_but_nobody_has_touched_them_since(system_type: type) -> None:
    system = begin(system_type, small(workload=growing(5.0, 1000.0), control="off"))
    system.advance(5.0)
    model = model_of(system)
    if system_type is LumpedSystem:
        is_new = model.counts[: len(model.clocks), CLASS] == 1
        assert (model.clocks[is_new, SLOW_CLOCK] == model.classes["hazard"][1]).all()
        assert (model.counts[: len(model.clocks)][is_new][:, 1].sum()) == COMING  # PG_idle is clear
    else:
        is_new = model.page_class == 1
        assert (model.node[is_new] == SLOW).all() and not model.is_idle[is_new].any()
        assert (model.next_access[is_new] >= model.hazard[1]).all()


@both_models
def test_a_process_executed_anew_has_the_memory_of_its_first_phase(system_type: type) -> None:
    base = small(control="off")
    other = base.workload.model_copy(update=growing(1.0, 1000.0, accesses_per_page=300.0))
    like = {"workload": other, "size": f"{PAGES * PAGE_BYTES}B", "lifetime": "repeating"}
    scenario = tiny("skewed", control="off", numa_balancing_mode=2).replace(corunners=[like])
    window = {"scan_size": KEPT * PAGE_BYTES, "scan_rate_limit": 64.0 * KEPT * PAGE_BYTES}
    numa = scenario.numa_balancing.model_copy(update=window)
    scenario = scenario.model_copy(update={"numa_balancing": numa})
    system = begin(system_type, scenario)
    least_ms = float(model_of(system).state["numa_floor_ms"])
    process, seen = model_of(system).processes, set()
    while process["rounds"][1] < 3 and not system.is_done[0]:
        phase, own = int(process["phase"][1]), int(process["pages"][1])
        assert own == (KEPT if phase == 0 else PAGES)
        windows = -(-own * PAGE_BYTES // scenario.numa_balancing.scan_size)
        passed_ms = 1e3 * scenario.numa_balancing.scan_period_min / windows
        assert process["numa_period_min_ms"][1] == pytest.approx(max(least_ms, passed_ms))
        seen.add((int(process["rounds"][1]), phase))
        system.advance(0.1)
        system.audit()
    assert {(0, 0), (0, 1), (1, 0), (1, 1)} <= seen


def test_capacity_is_asked_of_the_most_that_is_there_at_a_time() -> None:
    in_turn = {
        "classes": [{"name": name, "fraction": 0.5} for name in ("one", "two")],
        "phases": [
            {"name": name, "access_share": {name: 1.0}, "absent": [other]}
            for name, other in (("one", "two"), ("two", "one"))
        ],
        "like": "skewed",
        "initial_placement": "slow",
    }
    skewed = load_scenario("skewed")
    half = f"{skewed.size // 2}B"
    assert skewed.replace(workload=in_turn, slow_capacity=half).slow_capacity
    with pytest.raises(ConfigError, match="would start, or start anew, on the slow node, which holds"):
        skewed.replace(workload=in_turn, slow_capacity=f"{skewed.size // 2 - PAGE_BYTES}B")
    asks = in_turn | {
        "classes": [{"name": "one", "fraction": 0.5}, {"name": "two", "fraction": 0.5, "fast_at_start": 1.0}]
    }
    # the second class is not there at the start
    assert skewed.replace(workload=asks, fast_capacity="1GiB").fast_capacity
    with pytest.raises(ConfigError, match="fast_at_start asks for"):
        skewed.replace(workload=asks | {"phase_order": "shuffled"}, fast_capacity="1GiB")


def test_a_growing_machine_does_not_depend_on_its_batch() -> None:
    scenarios: list[Scenario] = [
        small(workload=growing(2.0, 3.0), daemon=TUNABLE, control="tunables"),
        small(workload=growing(1.0, 0.5, starts_with_all=True), daemon=V1),
        tiny("skewed"),
    ]
    together = LumpedSystem(scenarios)
    together.reset(np.zeros(3, np.uint64), ["training"] * 3)
    together.advance(20.0)
    together.audit()
    for index, scenario in enumerate(scenarios):
        alone = begin(LumpedSystem, scenario)
        alone.advance(20.0)
        np.testing.assert_array_equal(alone.counters[0], together.counters[index])
