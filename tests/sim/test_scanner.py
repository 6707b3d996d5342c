"""kmmscand: which pages a visit counts, where chunks end, when they begin, and how the kernel's rule adapts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.sim.machines import machine_of, pages_of, setting, start, with_workload
from tierenv.counters import IDLEPAGE, MIGADDED, MM_SCANS, SCANNER_NS, SLOWTIER
from tierenv.daemon import load_daemon
from tierenv.scenario import Scenario, load_scenario
from tierenv.shrink import (
    shrink,
)
from tierenv.sim.lumped import scanner as lumped_scanner
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages import scanner as pages_scanner
from tierenv.sim.pages.system import (
    PagesSystem,
)
from tierenv.units import GIB, MIB, PAGE_BYTES
from tierenv.workload import PageClass, Phase

V1 = load_daemon("kmmscand-v1")
PAGES = 8192
SYSTEMS = [LumpedSystem, PagesSystem]

Rule = Callable[[list[int]], list[tuple[int, int]]]


def one_machine(system_type: type, scenario: Scenario) -> Any:
    system = start(scenario) if system_type is LumpedSystem else PagesSystem(scenario)
    system.reset(np.array([0], np.uint64), ["training"])
    return system


def v1_scenario() -> Scenario:
    return load_scenario("abench-8g").replace(daemon=V1, control="kernel-rule")


def period_and_size(mm: np.void) -> tuple[int, int]:
    """Of a process's slot, in ms and MiB."""
    return int(mm["period_ms"]), int(mm["size_bytes"]) // MIB


def lumped_rule(useful: list[int]) -> list[tuple[int, int]]:
    """Period [ms] and size [MiB] after each of several chunks that found so many pages, from the start."""
    machine = machine_of(start(v1_scenario()))
    path = []
    for pages in useful:
        lumped_scanner.adapt(machine.parameters, machine.mms[0], pages)
        path.append(period_and_size(machine.mms[0]))
    return path


def pages_rule(useful: list[int]) -> list[tuple[int, int]]:
    """As `lumped_rule`, of the pages model."""
    daemon_at_full_size = shrink(v1_scenario(), PAGES).model_copy(update={"daemon": V1})
    pages = pages_of(one_machine(PagesSystem, daemon_at_full_size))
    path = []
    for found in useful:
        pages.state["chunk_useful"] = found
        pages_scanner.follow_kernel_rule(pages, pages.mms[0])
        path.append(period_and_size(pages.mms[0]))
    return path


@pytest.mark.parametrize("rule", [lumped_rule, pages_rule])
def test_rule_follows_the_worked_path_of_a_busy_process(rule: Rule) -> None:
    # kmmscand.md section 6.3: 8 GiB found useful, then promoted whole
    path = rule([2_097_152, 2_097_152, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    assert path[:2] == [(500, 4096), (500, 4096)]
    # X decays from 2,097,152 to 131,072, 8,192 and 512: three more useful chunks; then 32 counts as nothing
    assert path[2:5] == [(500, 4096)] * 3
    assert path[5:] == [(4000, 4096), (4600, 2048), (5000, 1024), (5000, 512), (5000, 256), (5000, 256)]


@pytest.mark.parametrize("rule", [lumped_rule, pages_rule])
def test_rule_follows_the_worked_path_of_a_process_without_slow_pages(rule: Rule) -> None:
    periods, sizes = zip(*rule([0] * 9), strict=True)
    assert periods == (2300, 2645, 3041, 3497, 4021, 4624, 5000, 5000, 5000)
    assert sizes[:3] == (512, 256, 256)


@pytest.mark.parametrize("rule", [lumped_rule, pages_rule])
def test_rule_ignores_few_pages(rule: Rule) -> None:
    assert rule([255])[0][0] == 2300
    assert rule([256])[0][0] == 500


@pytest.mark.parametrize("system_type", SYSTEMS)
def test_rule_drives_a_run_along_the_worked_path(system_type: type) -> None:
    system = one_machine(system_type, shrink(v1_scenario(), PAGES))
    periods = [2000]
    while system.elapsed_s[0] < 60:
        system.advance(0.1)
        period = int(system.tunables[0, 0])
        if period != periods[-1]:
            periods.append(period)
    assert periods == [2000, 500, 4000, 4600, 5000]


@pytest.mark.parametrize("scale", range(1, 11))
def test_prctl_scale_lengthens_a_fractional_period_in_the_kernel_s_whole_numbers(scale: int) -> None:
    scenario = load_scenario("abench-8g").replace(daemon="kscand-v3", scan_scale=scale)
    machine = machine_of(start(scenario))
    pages = pages_of(one_machine(PagesSystem, shrink(scenario, PAGES)))
    for mm in (machine.mms[0], pages.mms[0]):
        mm["scans"], mm["last_scan_end_s"], mm["period_ms"] = 1, 0.0, 1000.9
    lumped_scanner.set_due(machine, 0)
    pages_scanner.set_due(pages, 0)
    expected_s = 1e-3 * (1000.9 + (1000 * (scale - 1)) // 9)
    assert machine.mms[0]["due_s"] == pytest.approx(expected_s, abs=1e-9)
    assert pages.mms[0]["due_s"] == pytest.approx(expected_s, abs=1e-9)


def idle_and_hot(rule: str, first_visit_resets: bool = False) -> Scenario:
    """Nine tenths of the pages are never touched; the others are, all the time."""
    classes = (PageClass(name="hot", fraction=0.1), PageClass(name="idle", fraction=0.9))
    phases = (Phase(name="run", access_share={"hot": 1.0, "idle": 0.0}),)
    scenario = with_workload(
        load_scenario("skewed"), classes=classes, phases=phases, initial_placement="slow"
    ).model_copy(update={"size": 512 * MIB, "fast_capacity": 128 * GIB, "regions": 16})
    changes = {"access_rule": rule, "first_visit_resets": first_visit_resets}
    return scenario.model_copy(update={"daemon": scenario.daemon.model_copy(update=changes)})


def counts_after_each_chunk(scenario: Scenario, chunks: int, columns: list[int]) -> NDArray[np.int64]:
    system = start(scenario)
    system.apply(setting(500.0, 16 * GIB, np.inf))
    found = []
    for chunk in range(1, chunks + 1):
        while system.counters[0, MM_SCANS] < chunk:
            system.advance(0.05)
        found.append(system.counters[0, columns])
    return np.diff(found, axis=0, prepend=0)


def test_first_visit_counts_every_page_as_accessed_under_first_access() -> None:
    scenario = idle_and_hot("first-access")
    hot, idle = scenario.class_pages
    found = counts_after_each_chunk(scenario, 2, [SLOWTIER, IDLEPAGE])
    assert found[0].tolist() == [hot + idle, 0]
    assert found[1][1] == idle


def test_untouched_pages_never_pass_the_second_access_rule() -> None:
    scenario = idle_and_hot("second-access")
    hot, idle = scenario.class_pages
    found = counts_after_each_chunk(scenario, 3, [SLOWTIER, IDLEPAGE])
    # a page starts as touched, so touched pages pass at the first visit
    assert found[0].tolist() == [hot, idle]
    assert found[1:, 1].tolist() == [idle, idle]


def test_a_first_visit_may_only_clear_what_is_known_of_a_slow_page() -> None:
    scenario = idle_and_hot("second-access", first_visit_resets=True)
    hot, idle = scenario.class_pages
    found = counts_after_each_chunk(scenario, 3, [SLOWTIER, IDLEPAGE])
    # touched since the first visit, then in a second window in a row
    assert found.tolist() == [[0, hot + idle], [0, idle], [hot, idle]]


def test_visits_without_a_daemon_or_under_throttle_0_list_nothing() -> None:
    system = start(load_scenario("skewed"))
    system.apply(setting(500.0, 16 * GIB, 0.0))
    system.advance(5.0)
    assert system.counters[0, SLOWTIER] > 0
    assert system.counters[0, MIGADDED] == 0
    off = start(load_scenario("skewed").replace(control="off"))
    off.advance(5.0)
    assert off.counters[0, [MM_SCANS, SLOWTIER]].tolist() == [0, 0]


@pytest.mark.parametrize("system_type", SYSTEMS)
@pytest.mark.parametrize("period_ms", [100.0, 20_000.0])
def test_first_chunk_begins_after_the_initial_delay_whatever_the_period(system_type: type, period_ms: float) -> None:
    scenario = shrink(load_scenario("skewed"), PAGES)
    system = one_machine(system_type, scenario)
    system.apply(setting(period_ms, scenario.size / 16, np.inf))
    delay_s = scenario.daemon.initial_delay
    system.advance(delay_s - 0.001)
    assert system.counters[0, MM_SCANS] == 0
    system.advance(PAGES / 16 * scenario.platform.scan_per_page + scenario.daemon.scan_sleep + 0.002)
    assert system.counters[0, MM_SCANS] == 1


@pytest.mark.parametrize("system_type", SYSTEMS)
def test_chunks_begin_a_period_after_the_last_one_ended(system_type: type) -> None:
    scenario = shrink(load_scenario("skewed"), PAGES)
    system = one_machine(system_type, scenario)
    system.apply(setting(700.0, scenario.size, 0.0))
    system.advance(100.0)
    chunk_s = PAGES * scenario.platform.scan_per_page
    shortest = 0.7 + chunk_s
    chunks = system.counters[0, MM_SCANS]
    assert 99 / (shortest + scenario.daemon.scan_sleep) - 1 <= chunks <= 99 / shortest + 1


@pytest.mark.parametrize("system_type", SYSTEMS)
def test_bounded_chunks_cover_the_address_space_and_end_with_it(system_type: type) -> None:
    scenario = shrink(load_scenario("skewed"), PAGES)
    system = one_machine(system_type, scenario)
    chunk_pages = 3000  # no multiple of a region; a lap takes 3000 + 3000 + 2192
    system.apply(setting(100.0, float(chunk_pages * PAGE_BYTES), 0.0))
    walked = []
    while len(walked) < 7:
        system.advance(0.01)
        if system.counters[0, MM_SCANS] > len(walked):
            walked.append(round(system.counters[0, SCANNER_NS] * 1e-9 / scenario.platform.scan_per_page, 1))
    assert np.diff(walked, prepend=0) == pytest.approx([3000, 3000, 2192] * 2 + [3000], abs=0.2)


def test_each_lap_visits_every_page_once() -> None:
    scenario = idle_and_hot("second-access").model_copy(update={"regions": 64})
    hot, idle = scenario.class_pages
    system = start(scenario)
    pages = scenario.pages
    odd_size = float((pages // 5 + 7) * PAGE_BYTES)  # five chunks a lap, none on the edge of a region
    machine = machine_of(system)
    for lap in range(1, 4):
        while system.counters[0, MM_SCANS] < 5 * lap:
            system.apply(setting(100.0, odd_size, 0.0))
            system.advance(0.02)
            assert 0 <= machine.mms["credit_pages"][0] < pages
        assert system.counters[0, IDLEPAGE] == idle * lap
        assert machine.mms["cursor"][0] == 0


def test_a_chunk_keeps_the_size_it_began_with() -> None:
    scenario = shrink(load_scenario("skewed"), PAGES)
    system = start(scenario)
    whole, quarter = float(scenario.size), scenario.size / 4
    system.apply(setting(500.0, whole, 0.0))
    system.advance(scenario.daemon.initial_delay + scenario.daemon.scan_sleep + 0.01)
    assert system.counters[0, MM_SCANS] == 0, "the chunk must have begun but not ended"
    system.apply(setting(500.0, quarter, 0.0))
    system.advance(0.5)
    walked = system.counters[0, SCANNER_NS] * 1e-9 / scenario.platform.scan_per_page
    assert walked == pytest.approx(PAGES)
    assert machine_of(system).mms["cursor"][0] == 0


@pytest.mark.parametrize("system_type", SYSTEMS)
def test_whole_vma_chunks_alternate_with_the_rest_only_while_the_vma_fills_them(system_type: type) -> None:
    scenario = shrink(v1_scenario(), PAGES)
    system = one_machine(system_type, scenario)
    system.advance(30.0)  # the size has been at its maximum, half the VMA, from the first chunk on
    chunks = system.counters[0, MM_SCANS]
    walks = system.counters[0, SCANNER_NS] * 1e-9 / scenario.platform.scan_per_page / PAGES
    assert walks == pytest.approx((chunks + 1) // 2, abs=1)

    alone = one_machine(system_type, with_workload(scenario, rest_vma=0))
    alone.advance(30.0)
    walks = alone.counters[0, SCANNER_NS] * 1e-9 / scenario.platform.scan_per_page / PAGES
    assert walks == pytest.approx(alone.counters[0, MM_SCANS], abs=1)
