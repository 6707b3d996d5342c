"""Classes that one sweep after another visits: a page is touched once in each unit of hazard, not at random."""

from typing import Any

import numpy as np
import pytest

from tests.sim.patches import PAGES, SYSTEMS, TUNABLE, begin, classes, count, model_of, phases, run_to_chunk, small
from tierenv.counters import IDLEPAGE, NUMA_HINT_FAULTS, PGPROMOTE_SUCCESS, TOPTIER
from tierenv.scenario import Scenario
from tierenv.units import PAGE_BYTES

both_models = pytest.mark.parametrize("system_type", SYSTEMS)


def swept(sweep_s: float, **changes: Any) -> Scenario:
    """Pages of one class, slow at the start, that a thread sweeps over once in this time, however they lie."""
    visits = changes.pop("visits", "stride")
    one = classes(all=1.0)[0].model_copy(update={"visits": visits})
    platform = {"numa_fault": 0.0, "numa_mark_per_page": 0.0, "scan_per_page": 0.0, "shootdown_receiver": 0.0}
    platform |= {"accessed_bit": 0.0, "migration_per_page_at_8gib": 1e-9}
    workload = {
        "classes": (one,),
        "phases": phases("all", {"all": 1.0}),
        "threads": 1,
        "think": sweep_s / PAGES,
        "memory_parallelism": 1000.0,
        "initial_placement": changes.pop("initial_placement", "slow"),
    }
    costs = platform | changes.pop("platform", {})
    return small(workload=workload, platform=costs, **{"regions": 64} | changes)


def balanced(sweep_s: float, **changes: Any) -> Scenario:
    """The same under mode 2 alone, which marks all pages at 1 s and promotes none."""
    scenario = swept(sweep_s, control="off", numa_balancing_mode=2, fast_capacity=64 * PAGE_BYTES, **changes)
    knobs = {"scan_size": PAGES * PAGE_BYTES, "promote_rate_limit": 0.0, "spare": 0}
    numa = scenario.numa_balancing.model_copy(update=knobs)
    start = scenario.platform.model_copy(update={"numa_start_period_factor": 1000.0})
    return scenario.model_copy(update={"numa_balancing": numa, "platform": start})


@both_models
@pytest.mark.parametrize("waited_s", [2.0, 5.0, 9.0, 10.5])
def test_marked_pages_fault_when_the_sweep_comes_to_them(system_type: type, waited_s: float) -> None:
    system = begin(system_type, balanced(10.0))
    for _ in range(20):
        system.advance((1.0 + waited_s) / 20)
    promoted = count(system, PGPROMOTE_SUCCESS)[0]
    expected = min(1.0, waited_s / 10.0) * PAGES
    # a lump is one in 64
    assert count(system, NUMA_HINT_FAULTS)[0] == pytest.approx(expected, abs=promoted + PAGES / 64)


@both_models
def test_marked_pages_that_are_visited_at_random_fault_by_chance(system_type: type) -> None:
    system = begin(system_type, balanced(10.0, visits="random"))
    system.advance(11.5)
    expected = PAGES * (1 - np.exp(-1.05))
    assert count(system, NUMA_HINT_FAULTS)[0] == pytest.approx(expected, abs=4 * np.sqrt(PAGES) / 2 + 0.01 * PAGES)


@both_models
@pytest.mark.parametrize("sweep_s", [0.3, 2.5, 5.0])
def test_a_visit_finds_as_many_pages_touched_as_the_sweep_has_passed_since_the_last(
    system_type: type, sweep_s: float
) -> None:
    period_s = 1.0
    daemon = TUNABLE.model_copy(
        update={
            "tunables": TUNABLE.tunables
            | {
                "scan_period": TUNABLE.tunables["scan_period"].model_copy(
                    update={"min": 1e3 * period_s, "start": 1e3 * period_s}
                )
            }
        }
    )
    # all are on the fast tier, where nothing moves
    system = begin(system_type, swept(sweep_s, daemon=daemon, control="tunables", initial_placement="random"))
    ends = []
    for chunk in range(1, 6):
        ends.append(run_to_chunk(system, chunk))
        if chunk == 2:
            before = count(system, IDLEPAGE, TOPTIER)
    idle, visits = np.subtract(count(system, IDLEPAGE, TOPTIER), before)
    assert visits == 3 * PAGES
    untouched = max(0.0, 1 - (ends[4] - ends[1]) / 3 / sweep_s)
    assert idle / visits == pytest.approx(untouched, abs=0.02)


@both_models
@pytest.mark.parametrize(("visits", "accesses"), [("stride", 1), ("stream", 64)])
def test_a_stream_takes_an_access_for_each_line_of_a_page_before_it_goes_on(
    system_type: type, visits: str, accesses: int
) -> None:
    # accesses in which a sweep of the stride would pass four times
    system = begin(system_type, swept(1.0, visits=visits))
    system.advance(4.0)
    system.audit()
    machine = model_of(system)
    hazard = machine.classes["hazard"][0] if system_type is SYSTEMS[0] else machine.hazard[0]
    assert hazard == pytest.approx(machine.processes["accesses"][0] / PAGES / accesses)
    assert hazard == pytest.approx(4.0 / accesses, rel=0.05)


@both_models
def test_marked_pages_fault_when_the_stream_comes_to_them(system_type: type) -> None:
    system = begin(system_type, balanced(10.0 / 64, visits="stream"))
    system.advance(6.0)
    promoted = count(system, PGPROMOTE_SUCCESS)[0]
    assert count(system, NUMA_HINT_FAULTS)[0] == pytest.approx(PAGES / 2, abs=promoted + PAGES / 64)


def test_a_sweep_passes_every_page_once() -> None:
    system = begin(SYSTEMS[1], swept(1.0))
    pages = model_of(system)
    assert np.sort(np.floor(pages.next_access * PAGES + 0.5) % PAGES).tolist() == list(range(PAGES))
