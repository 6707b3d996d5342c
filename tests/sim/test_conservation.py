"""Laws that hold after any interruption, for any workload and tunables: nothing is lost, doubled or overspent."""

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.sim.machines import machine_of, start, with_workload
from tierenv.counters import (
    COUNTERS,
    DEMOTED,
    FREE_PAGES,
    MIGADDED,
    MIGRATE_FAILED,
    MIGRATED,
    PGPROMOTE_SUCCESS,
    SLOWTIER,
)
from tierenv.daemon import DaemonVariant
from tierenv.records import load_record
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.reference import ReferenceSystem, shrink
from tierenv.sim.state import (
    ALLOCATION_FAILURES,
    DUPLICATE,
    DUPLICATES,
    FAST,
    HAND,
    LUMP,
    MOVED,
    NEW,
    QUEUED,
    RECORDS,
    RETRY,
    WASTED,
)
from tierenv.sim.system import SimulatedSystem
from tierenv.units import PAGE_BYTES

V1 = load_record("daemons", DaemonVariant, "kmmscand-v1")
PLACES = FAST + 4
"""Columns of `counts` that hold pages."""
GROWING = np.array([not counter.is_gauge for counter in COUNTERS])


@st.composite
def scenarios(draw: st.DrawFn, most_pages: int, with_numa_balancing: bool) -> Scenario:
    """Packaged scenarios under either rule, shrunk, with layout, capacity, resolution and control of all kinds."""
    scenario = load_scenario(draw(st.sampled_from(["abench-8g", "skewed", "moving-hot-set"])))
    if draw(st.booleans()):
        scenario = scenario.replace(daemon=V1, control=draw(st.sampled_from(["kernel-rule", "tunables"])))
    elif draw(st.booleans()):
        scenario = scenario.replace(control=draw(st.sampled_from(["kernel-rule", "off"])))
    scenario = with_workload(
        scenario,
        layout=draw(st.sampled_from(["scattered", "contiguous"])),
        initial_placement=draw(st.sampled_from(["slow", "random"])),
        phase_length_jitter=draw(st.floats(0, 0.9)),
    )
    scenario = scenario.model_copy(
        update={
            "fast_capacity": round(scenario.size * draw(st.floats(0.05, 1.5))),
            "demotion": draw(st.booleans()),
            "regions": draw(st.integers(1, 80)),
            "numa_balancing_mode": draw(st.sampled_from([0, 0, 1, 2])) if with_numa_balancing else 0,
        }
    )
    return shrink(scenario, draw(st.integers(200, most_pages)))


@st.composite
def schedules(draw: st.DrawFn) -> list[tuple[float, float, float, float]]:
    """Durations [s], and tunables as shares of their (logarithmic) ranges, the throttle beyond its ends, too."""
    shares = st.floats(0, 1)
    durations = st.one_of(st.floats(1e-3, 0.2), st.floats(0.2, 30.0))
    return draw(st.lists(st.tuples(durations, shares, shares, st.floats(-0.3, 1.3)), min_size=1, max_size=12))


def setting(scenario: Scenario, shares: tuple[float, float, float]) -> NDArray[np.float64]:
    """float64[1, 3]: tunables at these shares of their ranges, 0 and unlimited beyond those of the throttle."""
    ranges = scenario.daemon.ranges.by_name.values()
    values = [
        math.exp(math.log(row.min) + share * math.log(row.max / row.min))
        for row, share in zip(ranges, shares, strict=True)
    ]
    if shares[2] < 0:
        values[2] = 0.0
    elif shares[2] > 1:
        values[2] = math.inf
    return np.array([values])


def check_progress(system: Any, scenario: Scenario, before: dict[str, Any], duration_s: float) -> None:
    """Time, work and counters only grow, and counters add up to what they count."""
    counters, model = system.counters[0], system.model[0]
    assert (counters >= 0).all() and (model >= 0).all()
    assert (counters[GROWING] >= before["counters"][GROWING]).all()
    assert (model >= before["model"]).all()
    passed_s = system.elapsed_s[0] - before["elapsed_s"]
    assert passed_s <= duration_s * (1 + 1e-9)
    assert system.is_done[0] or passed_s >= duration_s * (1 - 1e-9)

    fast_pages = int(system.fast_pages_by_class(0).sum())
    promoted = counters[MIGRATED] + counters[PGPROMOTE_SUCCESS]
    assert promoted - counters[DEMOTED] == fast_pages - before["fast_at_start"]
    assert counters[FREE_PAGES] == scenario.fast_capacity_pages - fast_pages
    assert model[DUPLICATES] <= counters[MIGADDED] <= counters[SLOWTIER] - model[ALLOCATION_FAILURES]
    assert model[WASTED] <= promoted
    if before["throttle"] == 0 and scenario.control == "tunables":
        assert counters[MIGRATED] == before["counters"][MIGRATED]


def check_throttle(system: Any, scenario: Scenario, before: dict[str, Any]) -> None:
    """Promotions stay within the budgets of the throttle windows that the time since touches."""
    window_s = scenario.daemon.throttle_window
    windows = math.floor((system.elapsed_s[0] - before["elapsed_s"]) / window_s) + 2
    budget = max(1.0, system.tunables[0, 2] / PAGE_BYTES * window_s)
    assert system.counters[0, MIGRATED] - before["counters"][MIGRATED] <= windows * budget


def remember(system: Any, fast_at_start: int) -> dict[str, Any]:
    return {
        "counters": system.counters[0],
        "model": system.model[0],
        "elapsed_s": system.elapsed_s[0],
        "throttle": system.tunables[0, 2],
        "fast_at_start": fast_at_start,
    }


def check_lumps(system: SimulatedSystem, scenario: Scenario) -> None:
    """Every page is in one cell, and every entry on the list is accounted for."""
    machine = machine_of(system)
    state = machine.state
    num_classes = len(scenario.workload.classes)
    lumps = scenario.regions * num_classes
    counts = machine.counts[:lumps].astype(np.int64)
    assert (machine.counts[:, :PLACES] >= 0).all()
    counts[state["hand_lump"], :PLACES] += machine.counts[HAND, :PLACES]
    by_region_and_class = counts[:, :PLACES].sum(axis=1).reshape(scenario.regions, num_classes)
    assert by_region_and_class.sum(axis=0).tolist() == scenario.class_pages
    assert (by_region_and_class.sum(axis=1) == machine.region_pages[: scenario.regions]).all()
    fast = counts[:, FAST:PLACES].sum(axis=1).reshape(scenario.regions, num_classes)
    assert fast.sum(axis=0).tolist() == machine.fast_by_class[:num_classes].tolist()
    assert fast.sum() == state["fast_pages"]
    assert fast.sum() <= scenario.fast_capacity_pages - machine.parameters["watermark_pages"]

    records = np.arange(state["list_head"], state["list_tail"]) % len(machine.ring)
    ring = machine.ring[records].astype(np.int64)
    assert (ring[:, [NEW, DUPLICATE]] >= 0).all()
    assert ring[:, [NEW, DUPLICATE]].sum() == state["list_entries"]
    assert ring[:, NEW].sum() == state["list_new"]
    pending = system.counters[0, MIGADDED] - system.counters[0, [MIGRATED, MIGRATE_FAILED]].sum()
    assert pending == state["list_entries"]
    named = ring[ring[:, LUMP] >= 0]
    new_by_lump = np.bincount(named[:, LUMP], weights=named[:, NEW], minlength=lumps)
    assert new_by_lump.sum() == ring[:, NEW].sum(), "only duplicates may be without a lump"
    queued = counts[:, QUEUED : QUEUED + 4].sum(axis=1)
    assert (new_by_lump == queued - counts[:, RETRY] + counts[:, MOVED]).all()
    assert (np.bincount(named[:, LUMP], minlength=lumps) == counts[:, RECORDS]).all()
    assert (counts[:, RETRY] >= 0).all() and counts[:, RETRY].sum() == state["retry_pages"]

    in_use = machine.class_pages[:num_classes] > 0
    accesses = (machine.hazard[:num_classes] * machine.class_pages[:num_classes])[in_use].sum()
    assert math.isclose(accesses, state["accesses"], rel_tol=1e-6, abs_tol=1e-6)
    assert 0 <= state["stall_s"] and 0 <= system.work_done[0] <= 1 + 1e-12


def check_pages(system: ReferenceSystem, scenario: Scenario) -> None:
    """The tiers hold what the pages say, and each entry on the list is counted by the folio it names."""
    pages = system._pages
    state = pages.state
    assert pages.is_fast.sum() == state["fast_pages"] <= scenario.fast_capacity_pages
    by_class = np.bincount(pages.page_class[pages.is_fast], minlength=len(scenario.class_pages))
    assert by_class.tolist() == pages.fast_by_class.tolist()
    entries = np.arange(state["list_head"], state["private_tail"]) % len(pages.list_page)
    pending = system.counters[0, MIGADDED] - system.counters[0, [MIGRATED, MIGRATE_FAILED]].sum()
    assert pending == len(entries)
    named, moves = pages.list_page[entries], pages.list_moves[entries]
    live = named[moves == pages.moves[named]]
    assert (np.bincount(live, minlength=scenario.pages) == pages.entries).all()
    assert not pages.entries[pages.is_fast].any(), "a folio on the fast tier has not been listed"


@given(scenarios(most_pages=20_000, with_numa_balancing=True), schedules(), st.integers(0, 2**32))
def test_lumped_model_keeps_its_books(scenario: Scenario, schedule: list[tuple[float, ...]], seed: int) -> None:
    system = start(scenario, seed)
    fast_at_start = int(system.fast_pages_by_class(0).sum())
    check_lumps(system, scenario)
    for duration_s, *shares in schedule:
        system.apply(setting(scenario, (shares[0], shares[1], shares[2])))
        before = remember(system, fast_at_start)
        system.advance(duration_s)
        check_progress(system, scenario, before, duration_s)
        check_throttle(system, scenario, before)
        check_lumps(system, scenario)


@settings(max_examples=40)
@given(scenarios(most_pages=3000, with_numa_balancing=False), schedules(), st.integers(0, 2**32))
def test_twin_keeps_its_books(scenario: Scenario, schedule: list[tuple[float, ...]], seed: int) -> None:
    system = ReferenceSystem(scenario)
    system.reset(np.array([seed], np.uint64), ["training"])
    fast_at_start = int(system.fast_pages_by_class().sum())
    for duration_s, *shares in schedule:
        system.apply(setting(scenario, (shares[0], shares[1], shares[2])))
        before = remember(system, fast_at_start)
        system.advance(duration_s)
        check_progress(system, scenario, before, duration_s)
        check_throttle(system, scenario, before)
        check_pages(system, scenario)


@given(scenarios(most_pages=5000, with_numa_balancing=True), st.integers(0, 2**32))
def test_a_finished_run_has_done_all_its_work_and_stands_still(scenario: Scenario, seed: int) -> None:
    system = start(scenario, seed)
    system.advance(1e7)
    assert system.is_done[0] and math.isclose(system.work_done[0], 1)
    assert system.elapsed_s[0] >= system.reference_s[0] * (1 - 1e-9)
    assert system.remaining_s()[0] == 0
    counters, elapsed_s = system.counters, system.elapsed_s
    system.advance(100.0)
    assert (system.counters == counters).all() and system.elapsed_s == elapsed_s
