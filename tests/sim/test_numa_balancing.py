"""NUMA balancing, one test for each mechanism of kmmscand.md section 7; each fails when the mechanism is taken out."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.machines import machine_of, start
from tests.tiny import tiny
from tierenv.agents.policies import load_policy
from tierenv.agents.policy import scenario_for
from tierenv.counters import (
    DEMOTED,
    MIGADDED,
    MIGRATE_FAILED,
    MIGRATED,
    NUMA_HINT_FAULTS,
    NUMA_HINT_FAULTS_LOCAL,
    NUMA_PTE_UPDATES,
    PGPROMOTE_CANDIDATE,
    PGPROMOTE_SUCCESS,
)
from tierenv.daemon import HintFaultKnobs, load_daemon
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped.state import FAULTED, FRESH, MOVED
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.system import PagesSystem
from tierenv.sim.parameters import scenario_arrays
from tierenv.sim.records import BALANCING_NS, CONTROL_OFF

WINDOW = 65536
"""Pages of a 256 MiB window."""
V1 = load_daemon("kmmscand-v1")


def balanced(mode: int, **changes) -> Scenario:
    """Returns abench over 1 GiB, four windows, with plenty of room on the fast node; windows follow every 1.4 s."""
    platform = load_scenario("abench-8g").platform.model_copy(
        update={"numa_start_period_factor": 1.4, "migration_footprint_exponent": 0.0} | changes.pop("platform", {})
    )
    like = {"size": "1GiB", "fast_capacity": "32GiB", "regions": 16, "control": "off", "numa_balancing_mode": mode}
    return load_scenario("abench-8g").replace(**like | {"platform": platform} | changes)


FREE = {
    "numa_fault": 0.0,
    "numa_mark_per_page": 0.0,
    "migration_per_page_at_8gib": 1e-9,
    "shootdown_receiver": 0.0,
    "scan_per_page": 0.0,
}
"""What faults and migrations cost, put to nothing."""


def seldom(mode: int, **changes) -> Scenario:
    """Returns `balanced` where a page is touched every ten seconds on average, and faults cost nothing."""
    workload = load_scenario("abench-8g").workload.model_copy(
        update={"threads": 1, "think": 10 / (4 * WINDOW), "accesses_per_page": 20.0}
    )
    return balanced(mode, workload=workload, **changes | {"platform": FREE | changes.get("platform", {})})


def run(scenario: Scenario, seconds: float, seed: int = 0) -> LumpedSystem:
    system = LumpedSystem([scenario])
    system.reset(np.array([seed], dtype=np.uint64), ["training"])
    system.advance(seconds)
    return system


def counter(system: LumpedSystem, index: int) -> int:
    return int(system.counters[0, index])


def state(system: LumpedSystem, field: str) -> float:
    """A field of the machine, or of its first process or node."""
    machine = machine_of(system)
    records = (machine.state, machine.mms[0], machine.nodes[0])
    return next(record[field] for record in records if field in record.dtype.names)


def marks(system: LumpedSystem, column: int) -> int:
    return int(machine_of(system).marks[:, column].sum())


def test_mode_0_marks_nothing():
    system = run(balanced(0), 10.0)
    assert system.counters[0, NUMA_PTE_UPDATES : PGPROMOTE_CANDIDATE + 1].sum() == 0
    assert machine_of(system).marks.size == 0


def test_the_first_window_comes_after_the_scan_delay_and_marks_256_mib():
    assert counter(run(balanced(2), 0.99), NUMA_PTE_UPDATES) == 0
    assert counter(run(balanced(2), 1.01), NUMA_PTE_UPDATES) == WINDOW


@pytest.mark.parametrize("interval_s", [0.5, 1.4])
def test_windows_follow_at_the_period_that_threads_of_the_platform_start_with(interval_s):
    scenario = balanced(2, platform={"numa_start_period_factor": interval_s})
    assert counter(run(scenario, 1.0 + 0.99 * interval_s), NUMA_PTE_UPDATES) == WINDOW
    assert counter(run(scenario, 1.0 + 1.01 * interval_s), NUMA_PTE_UPDATES) == 2 * WINDOW


def test_a_marked_page_faults_at_its_first_touch_and_not_again():
    changes = {
        "classes": [{"name": "hot", "fraction": 0.5}, {"name": "dead", "fraction": 0.5}],
        "phases": [{"name": "run", "access_share": {"hot": 1.0, "dead": 0.0}}],
    }
    workload = load_scenario("abench-8g").workload.model_dump() | changes
    system = run(balanced(2, workload=workload), 6.9)
    assert counter(system, NUMA_PTE_UPDATES) == 4 * WINDOW
    assert counter(system, NUMA_HINT_FAULTS) == 2 * WINDOW
    assert marks(system, FRESH) == state(system, "numa_marked_pages") == 2 * WINDOW
    assert system.fast_pages_by_class(0).tolist() == [2 * WINDOW, 0]


def test_touches_are_awaited_as_long_as_they_take():
    system = run(seldom(2), 1.0 + 5.0)
    expected = sum(1 - np.exp(-0.1 * waited) for waited in (5.0, 3.6, 2.2, 0.8)) * WINDOW
    assert counter(system, NUMA_HINT_FAULTS) == pytest.approx(expected, rel=0.02)


def test_mode_2_marks_slow_pages_only_and_mode_1_all():
    on_fast_node = {"workload": load_scenario("abench-8g").workload.model_copy(update={"initial_placement": "random"})}
    assert counter(run(balanced(2, **on_fast_node), 2.0), NUMA_PTE_UPDATES) == 0
    system = run(balanced(1, **on_fast_node), 2.0)
    assert counter(system, NUMA_HINT_FAULTS_LOCAL) == counter(system, NUMA_PTE_UPDATES) == WINDOW


def test_a_scan_looks_through_eight_windows_for_a_page_to_mark():
    workload = load_scenario("abench-8g").workload.model_copy(update={"initial_placement": "random"})
    system = run(balanced(2, size="4GiB", workload=workload), 1.01)
    assert state(system, "numa_region") == 8  # of the 16 regions of 256 MiB


def test_with_room_to_spare_mode_2_promotes_at_the_first_fault_however_late():
    system = run(seldom(2), 60.0)
    assert counter(system, PGPROMOTE_SUCCESS) == counter(system, NUMA_HINT_FAULTS) > 3 * WINDOW
    assert counter(system, PGPROMOTE_CANDIDATE) == 0


def test_the_room_to_spare_is_1_gib_or_a_sixteenth_of_the_node():
    for capacity, spare_gib in (("8GiB", 1), ("64GiB", 4)):
        assert scenario_arrays(balanced(2, fast_capacity=capacity)).nodes[0]["spare_pages"] == spare_gib * 4 * WINDOW
    almost = run(balanced(2, fast_capacity="1280MiB"), 1.5)  # 256 MiB to spare, less the watermark's 2 %
    assert WINDOW * 0.85 < counter(almost, PGPROMOTE_SUCCESS) - counter(almost, PGPROMOTE_CANDIDATE) < WINDOW


@pytest.mark.parametrize("threshold_s", [0.5, 1.0])
def test_without_it_mode_2_promotes_what_is_touched_within_the_hot_threshold(threshold_s):
    knobs = {"hot_threshold": f"{threshold_s}s"}
    system = run(seldom(2, fast_capacity="1GiB", numa_balancing=knobs), 50.0)
    faults = counter(system, NUMA_HINT_FAULTS)
    assert counter(system, PGPROMOTE_SUCCESS) == counter(system, PGPROMOTE_CANDIDATE)
    # most pages are touched during the first passes, each of which leaves a share to be hot
    hot = 1 - np.exp(-0.1 * threshold_s)
    assert hot * 0.95 < counter(system, PGPROMOTE_SUCCESS) / faults < hot * 1.15


def test_the_hot_threshold_is_exact_amid_a_sub_step():
    scenario = seldom(2, fast_capacity="1GiB", numa_balancing={"hot_threshold": "550ms"})
    hot = 1 - np.exp(-0.1 * 0.55)
    spread = np.sqrt(WINDOW * hot * (1 - hot))
    assert counter(run(scenario, 2.3), PGPROMOTE_CANDIDATE) == pytest.approx(WINDOW * hot, abs=4 * spread)


@pytest.mark.parametrize("every_s", [60, 20])
@pytest.mark.parametrize(("rate_limit", "threshold_s"), [("65536MiB/s", 1.125), ("1MiB/s", 0.875)])
def test_once_a_longest_period_the_hot_threshold_moves_towards_the_rate_limit(every_s, rate_limit, threshold_s):
    knobs = {"promote_rate_limit": rate_limit, "scan_period_max": f"{every_s}s"}
    scenario = seldom(2, fast_capacity="1GiB", numa_balancing=knobs)
    assert state(run(scenario, every_s - 1.0), "numa_threshold_s") == 1.0
    assert state(run(scenario, every_s * 1.25), "numa_threshold_s") == pytest.approx(threshold_s)
    fixed = seldom(2, fast_capacity="1GiB", numa_balancing=knobs | {"is_threshold_adaptive": False})
    assert state(run(fixed, every_s * 1.25), "numa_threshold_s") == 1.0


def test_the_hot_threshold_grows_where_every_fault_comes_too_late_for_it():
    knobs = {"hot_threshold": "10ms", "scan_period_max": "20s"}
    scenario = seldom(2, fast_capacity="1GiB", numa_balancing=knobs)
    # nothing is touched before the first window has long been marked
    system = run(scenario, 1.0)
    machine_of(system).nodes["numa_threshold_s"] = 1e-9
    system.advance(24.0)
    assert counter(system, PGPROMOTE_CANDIDATE) == 0 or state(system, "numa_threshold_s") > 1e-9
    assert state(system, "numa_threshold_s") == pytest.approx(1e-9 + 0.010 / 8, rel=1e-3)


def test_a_rate_limit_of_0_promotes_nothing_once_the_room_to_spare_is_gone():
    knobs = {"promote_rate_limit": "0B/s"}
    system = run(balanced(2, fast_capacity="1280MiB", numa_balancing=knobs), 5.0)  # 230 MiB to spare
    promoted = counter(system, PGPROMOTE_SUCCESS)
    assert WINDOW * 0.85 < promoted < WINDOW
    system.advance(20.0)
    assert counter(system, PGPROMOTE_CANDIDATE) > 8 * WINDOW and counter(system, PGPROMOTE_SUCCESS) == promoted


def test_room_to_spare_resets_the_hot_threshold():
    system = run(seldom(2), 1.5)
    machine_of(system).nodes["numa_threshold_s"] = 0.5
    system.advance(1.0)
    assert state(system, "numa_threshold_s") == 1.0


def test_the_rate_limit_holds_for_a_second_unless_there_is_room_to_spare():
    knobs = {"promote_rate_limit": "64MiB/s"}
    system = run(balanced(2, fast_capacity="1GiB", numa_balancing=knobs), 1.5)
    assert counter(system, PGPROMOTE_CANDIDATE) == WINDOW
    assert counter(system, PGPROMOTE_SUCCESS) == WINDOW // 4
    system.advance(1.4)
    assert counter(system, PGPROMOTE_SUCCESS) == WINDOW // 2
    assert counter(run(balanced(2, numa_balancing=knobs), 1.5), PGPROMOTE_SUCCESS) == WINDOW


def test_in_mode_1_a_first_fault_never_promotes_and_a_second_does_as_far_as_allowed():
    free = balanced(1, platform={"numa_shared_move_share": 1.0})
    first_pass = run(free, 6.5)
    assert counter(first_pass, NUMA_HINT_FAULTS) == marks(first_pass, FAULTED) == 4 * WINDOW
    assert counter(first_pass, PGPROMOTE_SUCCESS) == 0
    assert counter(run(free, 7.5), PGPROMOTE_SUCCESS) == WINDOW  # of the window at 6.6 s


@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_in_mode_1_the_same_thread_s_second_fault_promotes_and_a_share_of_others(shared):
    system = run(balanced(1, platform={"numa_shared_move_share": shared}), 7.5)
    share = 1 / 64 + 63 / 64 * shared
    spread = np.sqrt(WINDOW * share * (1 - share))
    assert counter(system, PGPROMOTE_SUCCESS) == pytest.approx(WINDOW * share, abs=4 * spread)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_thread_works_32_times_as_long_as_it_has_scanned_before_it_scans_again(threads):
    marking_s = 10e-6 * WINDOW
    scenario = seldom(2, platform={"numa_mark_per_page": 10e-6})
    scenario = scenario.replace(workload=scenario.workload.model_copy(update={"threads": threads}))
    next_s = 1.0 + (1.4 + 32 * marking_s) / threads
    assert counter(run(scenario, 0.99 * next_s), NUMA_PTE_UPDATES) == WINDOW
    assert counter(run(scenario, 1.01 * next_s), NUMA_PTE_UPDATES) > 1.5 * WINDOW


def test_in_mode_2_the_period_doubles_at_the_first_promotion_after_a_pass():
    scenario = balanced(2)
    assert state(run(scenario, 5.19), "numa_period_ms") == 1400.0
    # the fourth window ends the pass, and its faults promote
    system = run(scenario, 5.3)
    assert state(system, "numa_period_ms") == 2800.0
    assert state(system, "numa_scan_at_s") == pytest.approx(5.2 + 2.8, abs=0.11)
    # later passes find nothing to mark, and nothing more is promoted
    system.advance(20.0)
    assert state(system, "is_numa_pass_over") and state(system, "numa_period_ms") == 2800.0
    assert counter(system, NUMA_PTE_UPDATES) == counter(system, PGPROMOTE_SUCCESS) == 4 * WINDOW


def test_in_mode_2_the_period_stays_where_faults_promote_nothing():
    scenario = balanced(2, fast_capacity="512MiB", demotion=False)
    system = run(scenario, 5.1)
    promoted = counter(system, PGPROMOTE_SUCCESS)
    assert 0 < promoted < 2 * WINDOW
    system.advance(30.0)
    assert counter(system, NUMA_HINT_FAULTS) > 8 * WINDOW and counter(system, PGPROMOTE_SUCCESS) == promoted
    assert state(system, "numa_failures") > 0 and state(system, "numa_period_ms") == 1400.0


def test_in_mode_1_first_faults_of_slow_pages_are_not_booked():
    system = run(balanced(1, platform={"numa_shared_move_share": 0.0}), 6.5)
    assert counter(system, NUMA_HINT_FAULTS) == 4 * WINDOW and state(system, "is_numa_pass_over")
    assert state(system, "numa_remote_faults") == 0 and state(system, "numa_period_ms") == 1400.0


def test_mode_1_scans_faster_while_faults_are_shared_and_remote():
    workload = load_scenario("abench-8g").workload.model_copy(update={"accesses_per_page": 1e5})
    scenario = balanced(1, platform={"numa_shared_move_share": 0.0}, workload=workload)
    # the first repeated fault finds that none was booked in the pass before: twice as long
    assert state(run(scenario, 6.7), "numa_period_ms") == 2800.0
    # 2.8 s later three windows more end the second pass, of whose faults one in 64 was private: seven tenths less
    system = run(scenario, 6.6 + 3 * 2.8 + 0.3)
    assert state(system, "numa_period_ms") == 2800.0 - 7 * 280
    system.advance(10.0)
    assert state(system, "numa_period_ms") == 250.0  # the least: a second for a pass


def test_mode_1_scans_slower_while_faults_are_local():
    workload = load_scenario("abench-8g").workload.model_copy(update={"initial_placement": "random"})
    assert state(run(balanced(1, workload=workload), 5.5), "numa_period_ms") == 1820.0


def test_in_mode_1_failed_promotions_double_the_period_and_put_off_the_next_window():
    full = balanced(1, fast_capacity="256KiB", demotion=False, platform={"numa_shared_move_share": 1.0})
    assert state(run(full, 14.9), "numa_period_ms") == 2800.0
    system = run(full, 15.2)  # the second pass ends at 6.6 + 3 x 2.8 s
    assert state(system, "numa_period_ms") == 5600.0
    assert state(system, "numa_scan_at_s") == pytest.approx(15.0 + 5.6, abs=0.11)


def test_failed_promotions_wake_kswapd():
    scenario = balanced(2, fast_capacity="512MiB", demotion=False)
    assert not state(run(scenario, 5.5), "is_kswapd_awake")
    assert state(run(scenario.replace(demotion=True), 5.5), "is_kswapd_awake")


@pytest.mark.parametrize(
    ("size", "least_ms", "most_ms"), [("1GiB", 250, 15000), ("8GiB", 100, 1875), ("64GiB", 100, 234.375)]
)
def test_a_pass_takes_1_to_60_s_and_a_window_at_least_100_ms(size, least_ms, most_ms):
    row = machine_of(start(balanced(1, size=size))).processes[0]
    assert (row["numa_period_min_ms"], row["numa_period_max_ms"]) == (least_ms, most_ms)


def windows_of_the_kernel(resident_mib: int, window_mib: int) -> int:
    """Returns round_up(rss, window) / window with the kernel's macro, which is meant for powers of two."""
    resident, window = 256 * resident_mib, 256 * window_mib
    return (((resident - 1) | (window - 1)) + 1) // window


@pytest.mark.parametrize(
    ("size_mib", "window_mib", "windows", "least_ms"),
    [
        (12000, 16384, 1, 1000),
        (12000, 2560, 4, 1000),  # of four and a half
        (16384, 3000, 5, 1000),  # of five and a half
        (12000, 1280, 9, 500),
        (12000, 1000, 12, 500),
        (12000, 256, 47, 100),
        (12000, 64, 188, 25),
    ],
)
def test_windows_are_counted_and_bounded_as_the_kernel_does(size_mib, window_mib, windows, least_ms):
    scenario = balanced(1, size=f"{size_mib}MiB", numa_balancing={"scan_size": f"{window_mib}MiB"})
    assert windows == windows_of_the_kernel(size_mib, window_mib)
    row = machine_of(start(scenario)).processes[0]
    shortest_ms = max(least_ms, 1000 / windows)
    assert row["numa_period_min_ms"] == pytest.approx(shortest_ms)
    assert row["numa_period_max_ms"] == pytest.approx(max(shortest_ms, 60_000 / windows))


@pytest.mark.parametrize("cost", ["numa_fault", "numa_mark_per_page", "migration_per_page_at_8gib"])
def test_faults_marks_and_migrations_cost_the_threads_time(cost):
    # tiers alike, and load does not matter to them, so that lost time is lost whenever it falls
    tier = balanced(2).platform.dram.model_copy(update={"queueing_latency": 0.0})
    even = FREE | {"dram": tier, "cxl": tier}
    low = run(balanced(2, platform=even), 1e3).elapsed_s[0]
    high = run(balanced(2, platform=even | {cost: FREE[cost] + 100e-6}), 1e3).elapsed_s[0]
    assert high - low == pytest.approx(4 * WINDOW * 100e-6 / 64, rel=0.05)


def test_the_daemon_s_entries_of_pages_that_hint_faults_promoted_end_as_failures():
    scenario = balanced(2, daemon=V1, control="kernel-rule", platform={"migration_per_page_at_8gib": 1e-3})
    system = run(scenario, 2.5)
    # the second window's pages were all listed, but for those that the slow migrator had moved before
    stale = machine_of(system).counts[:, MOVED].sum() + counter(system, MIGRATE_FAILED)
    assert WINDOW * 0.9 < stale <= counter(system, PGPROMOTE_SUCCESS) - WINDOW
    system.run_to_end()
    assert counter(system, MIGRATED) + counter(system, PGPROMOTE_SUCCESS) == 4 * WINDOW
    assert counter(system, MIGRATE_FAILED) + counter(system, MIGRATED) <= counter(system, MIGADDED)
    assert machine_of(system).counts[:, MOVED].sum() == 0


def test_pages_the_daemon_promotes_lose_their_marks():
    fast_daemon = {"migration_per_page_at_8gib": 1e-7}
    system = run(seldom(1, daemon=V1, control="kernel-rule", platform=fast_daemon), 8.0)
    assert counter(system, MIGRATED) > 0
    system.audit()


def test_policies_turn_balancing_on_and_the_daemon_off():
    scenario = load_scenario("abench-8g").replace(numa_balancing_mode=1)
    for name, mode, control in (
        ("numab1", 1, "kernel-rule"),
        ("numab2", 2, "kernel-rule"),
        ("no-migration", 0, "off"),
        ("kmmscand-v1", 1, "kernel-rule"),
    ):
        played = scenario_for(load_policy(name, scenario), scenario)
        assert (played.hint_faults[0], played.control) == (mode, control)
        is_alone = played.daemon.mechanism == "hint-faults"
        assert (scenario_arrays(played).parameters["control"] == CONTROL_OFF) == (is_alone or control == "off")


@pytest.mark.parametrize("mode", [1, 2])
def test_balancing_as_the_daemon_is_balancing_beside_a_daemon_that_is_off(mode: int) -> None:
    beside = load_scenario("skewed").replace(numa_balancing_mode=mode, control="off", regions=8)
    alone = beside.replace(daemon=load_daemon(f"numab{mode}"), numa_balancing_mode=None, control="kernel-rule")
    for one, other in zip(
        *((system.elapsed_s, system.counters, system.model) for system in map(run_to_end, (beside, alone))), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def run_to_end(scenario: Scenario) -> LumpedSystem:
    """Returns a machine whose work is done."""
    system = LumpedSystem([scenario])
    system.reset(np.array([3], np.uint64), ["training"])
    system.run_to_end()
    return system


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numa_balancing_mode": 1}, "numa_balancing_mode=1: daemon numab2 is NUMA balancing in mode 2"),
        ({"numa_balancing_mode": 0}, "numa_balancing_mode=0: daemon numab2 is NUMA balancing in mode 2"),
        ({"numa_balancing": {"hot_threshold": "2s"}}, "numa_balancing: daemon numab2 has knobs of its own"),
    ],
)
def test_a_scenario_that_contradicts_its_daemon_is_refused(changes: dict[str, Any], message: str) -> None:
    scenario = load_scenario("skewed").replace(daemon=load_daemon("numab2"), control="kernel-rule")
    assert scenario.replace(numa_balancing_mode=2).hint_faults == (2, HintFaultKnobs())
    with pytest.raises(ConfigError, match=message):
        scenario.replace(**changes)


def test_cpu_time_that_balancing_takes_the_threads_is_that_of_marks_faults_and_promotions() -> None:
    scenario = balanced(2, size="64MiB", platform={"scan_per_page": 1e-12}, numa_balancing={"scan_size": "16MiB"})
    for system in (LumpedSystem([scenario]), PagesSystem(scenario)):
        system.reset(np.array([1], np.uint64), ["training"])
        system.run_to_end()
        (row,), taken_s = system.counters, 1e-9 * system.model[0, BALANCING_NS]
        assert row[PGPROMOTE_SUCCESS] > 0
        assert taken_s == pytest.approx(
            row[NUMA_PTE_UPDATES] * scenario.platform.numa_mark_per_page
            + row[NUMA_HINT_FAULTS] * scenario.platform.numa_fault
            + row[PGPROMOTE_SUCCESS] * scenario.migration_s,
            rel=1e-3,
        )


@given(
    mode=st.sampled_from([1, 2]),
    daemon=st.sampled_from(["kmmscand-v1", "kmmscand-tunable", None]),
    capacity_mib=st.sampled_from([64, 128, 400, 4096]),
    start_period_factor=st.floats(0.2, 10.0),
    seed=st.integers(0, 2**32),
    steps_s=st.lists(st.floats(0.001, 2.0), min_size=1, max_size=6),
)
def test_pages_and_marks_are_neither_lost_nor_doubled(mode, daemon, capacity_mib, start_period_factor, seed, steps_s):
    like = tiny(fast_capacity=f"{capacity_mib}MiB")
    scenario = like.replace(
        daemon=load_daemon(daemon or "kmmscand-v1"),
        control="off" if daemon is None else "kernel-rule",
        numa_balancing_mode=mode,
        platform=like.platform.model_copy(
            update={"numa_start_period_factor": start_period_factor, "numa_shared_move_share": 0.3}
        ),
        numa_balancing={"scan_size": "32MiB", "scan_delay": "100ms", "hot_threshold": "100ms"},
    )
    system = LumpedSystem([scenario])
    system.reset(np.array([seed], dtype=np.uint64), ["training"])
    at_start = system.fast_pages_by_class(0).sum()
    for seconds in steps_s:
        system.advance(seconds)
        system.audit()
        row = system.counters[0]
        came = row[MIGRATED] + row[PGPROMOTE_SUCCESS] - row[DEMOTED]
        assert system.fast_pages_by_class(0).sum() == at_start + came
