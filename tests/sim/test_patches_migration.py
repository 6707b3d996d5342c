"""RFC V1, patches 4, 5 and 9: the migration thread, what becomes of a folio, and the node it goes to (kmmscand.md 1).

Also what V3 adds there: the hot re-check and the feedback of failures (kmmscand.md 6.5). Each test fails when its
mechanism is taken out of the model.
"""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.sim.machines import with_workload
from tests.sim.patches import (
    ALL_FAST,
    NO_ROOM,
    PAGES,
    SYSTEMS,
    V0,
    V1,
    V3,
    begin,
    beside,
    classes,
    count,
    ended,
    model_of,
    phases,
    run_to_chunk,
    run_until,
    small,
)
from tierenv.counters import DEMOTED, HOTPAGE, MIGADDED, MIGRATE_FAILED, MIGRATED, MIGRATOR_NS, MM_SCANS, TOPTIER
from tierenv.daemon import AccessedBitDaemon, TunableRange
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario, load_scenario
from tierenv.shrink import (
    shrink,
)
from tierenv.sim.lumped import migrator, scanner
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages import migrator as pages_migrator
from tierenv.sim.pages import scanner as pages_scanner
from tierenv.units import MIB, PAGE_BYTES

SLOW_MIGRATION = {"migration_per_page_at_8gib": 1e-3}
"""One folio takes 1 ms."""

both_models = pytest.mark.parametrize("system_type", SYSTEMS)


def traced(scenario: Scenario, seconds: float) -> LumpedSystem:
    """Returns the lumped model with its trace after some time."""
    system = LumpedSystem([scenario], trace_events=1 << 16)
    system.reset(np.array([0], np.uint64), ["training"])
    system.advance(seconds)
    return system


def folios_by_result(system: LumpedSystem) -> Counter[int]:
    """Folios by result code, over all events kmem_scan_mm_migrate."""
    folios: Counter[int] = Counter()
    for event in system.trace(0)[0]:
        if event["event"] == "kmem_scan_mm_migrate":
            folios[event["rc"]] += event["pages"]
    return folios


@both_models
@pytest.mark.parametrize(("daemon", "goes_on"), [(V1, True), (V3, True), (V0, False)])
def test_p04_migration_thread_works_while_the_scanner_goes_on(
    system_type: type, daemon: AccessedBitDaemon, goes_on: bool
) -> None:
    system = begin(system_type, small(daemon, platform=SLOW_MIGRATION))
    run_to_chunk(system, 1)
    system.advance(3.0)
    assert 2000 < count(system, MIGRATED)[0] < PAGES
    assert (system.counters[0, MM_SCANS] > 1) == goes_on
    # without a thread of its own the migration must end first
    run_until(system, lambda: system.counters[0, MIGRATED] > PAGES - 20)
    assert (system.counters[0, MM_SCANS] > 1) == goes_on
    system.advance(10.0)
    assert system.counters[0, MM_SCANS] > 1


@both_models
def test_p04_migration_thread_moves_one_folio_at_a_time_without_a_limit(system_type: type) -> None:
    system = begin(system_type, small(platform=SLOW_MIGRATION))
    run_to_chunk(system, 1)
    system.advance(0.1)
    before, busy = count(system, MIGRATED, MIGRATOR_NS)
    for _ in range(20):
        system.advance(0.1)
    after, busy_after = count(system, MIGRATED, MIGRATOR_NS)
    assert after - before == pytest.approx(2000, abs=3)
    assert busy_after - busy == pytest.approx(1e6 * (after - before), rel=0.01)


@both_models
def test_p04_migration_thread_drains_its_list_whole_then_sleeps(system_type: type) -> None:
    # every entry fails in 1 us, and each period of 0.5 s lists all pages again: at most 3 chunks, 13 ms, a drain
    system = begin(system_type, small(V1.model_copy(update={"migrate_sleep": 1.3}), **NO_ROOM))
    drains_s: list[float] = []
    while len(drains_s) < 8:
        before = ended(system)
        system.advance(0.005)
        if ended(system) > before:
            drains_s.append(system.elapsed_s[0])
            listed = count(system, MIGADDED)[0]
            system.advance(0.015)
            assert ended(system) >= listed
    assert np.diff(drains_s) == pytest.approx(1.3, abs=0.021)


@both_models
def test_p05_promotion_skips_a_folio_that_has_moved_at_the_cost_of_a_stale_entry(system_type: type) -> None:
    system = begin(system_type, small(platform=SLOW_MIGRATION | {"stale_entry": 50e-6}))
    system.advance(20.0)
    listed, moved, failed, busy_ns = count(system, MIGADDED, MIGRATED, MIGRATE_FAILED, MIGRATOR_NS)
    assert moved == PAGES
    assert failed == listed - PAGES > 3 * PAGES
    assert busy_ns == pytest.approx(1e6 * moved + 50e3 * failed, rel=1e-6)


@both_models
def test_p05_promotion_without_room_fails_and_is_dropped_until_a_scan_lists_the_page_again(system_type: type) -> None:
    # 1024 pages of fast tier, of which 10 stay free
    fits = 1014
    scenario = small(platform={"failed_migration": 3e-6}, fast_capacity=1024 * PAGE_BYTES, demotion=False)
    system = begin(system_type, scenario)
    run_to_chunk(system, 1)
    system.advance(0.4)
    assert count(system, MIGADDED, MIGRATED, MIGRATE_FAILED) == [PAGES, fits, PAGES - fits]
    expected_ns = 1e9 * (fits * scenario.migration_s + (PAGES - fits) * 3e-6)
    assert count(system, MIGRATOR_NS)[0] == pytest.approx(expected_ns, rel=1e-3)
    # room appears, but nobody tries again before the next chunk
    model_of(system).nodes["capacity_pages"] += PAGES
    system.advance(0.05)
    assert count(system, MM_SCANS, MIGRATED) == [1, fits]
    run_to_chunk(system, 2)
    system.advance(0.2)
    assert count(system, MIGADDED, MIGRATED) == [2 * PAGES - fits, PAGES]


@both_models
@pytest.mark.parametrize("demotion", [True, False])
def test_p05_promotion_without_room_wakes_kswapd(system_type: type, demotion: bool) -> None:
    workload = {
        "classes": classes(hot=0.25, idle=0.75),
        "phases": phases("hot idle", {"hot": 1.0}),
        "initial_placement": "random",
    }
    system = begin(system_type, small(V3, workload, fast_capacity=1024 * PAGE_BYTES, demotion=demotion))
    system.advance(1.99)  # to just before the first chunk
    assert count(system, DEMOTED) == [0]
    system.advance(30.0)
    assert (system.counters[0, DEMOTED] > 0) == demotion
    hot = system.fast_pages_by_class(0)[0]
    assert hot > 950 if demotion else hot < 300


def test_p05_promotion_results_stand_in_the_trace() -> None:
    scenario = small(platform=SLOW_MIGRATION)
    short = scenario.workload.model_copy(update={"accesses_per_page": 64 * 1e5 * 3.0 / PAGES})
    gone = scenario.model_copy(update={"workload": short, "corunners": (beside(scenario, 512),)})
    for run, expected in (
        (traced(scenario, 20.0), {0, 3}),
        (traced(small(**NO_ROOM), 20.0), {0, 10}),
        (traced(gone, 20.0), {0, 1, 3}),
    ):
        folios = folios_by_result(run)
        assert set(folios) == expected
        moved, failed = count(run, MIGRATED, MIGRATE_FAILED)
        assert folios.pop(0) == moved
        assert folios.total() == failed


@both_models
def test_p05_promotion_skips_the_folios_of_a_process_that_has_exited(system_type: type) -> None:
    # its 4096 entries take 4 s of the migrator, the process lives for about 3 s
    scenario = small(platform=SLOW_MIGRATION | {"stale_entry": 1e-6})
    short = scenario.workload.model_copy(update={"accesses_per_page": 64 * 1e5 * 3.0 / PAGES})
    system = begin(system_type, scenario.model_copy(update={"workload": short, "corunners": (beside(scenario, 512),)}))
    run_until(system, lambda: system.finished_s[0, 0] > 0)
    listed, moved = count(system, MIGADDED, MIGRATED)
    assert 1000 < moved < 3000
    system.advance(1.5)
    # the skipped ones took no time, and the other process's pages followed
    assert count(system, MIGRATED)[0] <= moved + 513
    assert ended(system) >= listed
    assert model_of(system).fast_by_class.sum(axis=1).tolist() == [0, 512]


def two_nodes(daemon: AccessedBitDaemon, **changes: Any) -> Scenario:
    """V1 P9: the fast tier has two nodes, either of which has room for all pages."""
    size = 2 * PAGES * PAGE_BYTES
    return small(daemon, fast_capacity=size, remote_fast_capacity=size, **changes)


@both_models
@pytest.mark.parametrize("sysfs_node", [0, 1])
@pytest.mark.parametrize("daemon", [V0, V1, V3])
def test_p09_target_node_is_the_sysfs_one_while_no_page_is_on_the_top_tier(
    system_type: type, daemon: AccessedBitDaemon, sysfs_node: int
) -> None:
    system = begin(system_type, two_nodes(daemon, target_node=sysfs_node))
    run_until(system, lambda: system.counters[0, MIGRATED] == PAGES)
    assert model_of(system).fast_by_class[0].tolist() == [PAGES * (1 - sysfs_node), PAGES * sysfs_node]


@both_models
@pytest.mark.parametrize(("daemon", "is_fixed"), [(V0, True), (V1, False), (V3, False)])
def test_p09_target_node_is_the_one_that_holds_most_of_the_process(
    system_type: type, daemon: AccessedBitDaemon, is_fixed: bool
) -> None:
    # node 0 starts with 490 pages, node 1 with 980; then both get room
    like: dict[str, Any] = {"fast_capacity": 500 * PAGE_BYTES, "remote_fast_capacity": 1000 * PAGE_BYTES}
    system = begin(system_type, small(daemon, ALL_FAST, **like))
    before = model_of(system).nodes["fast_pages"].tolist()
    assert before == [490, 980]
    model_of(system).nodes["capacity_pages"] += PAGES
    run_until(system, lambda: system.counters[0, MIGRATED] == PAGES - sum(before))
    after = model_of(system).nodes["fast_pages"].tolist()
    assert after == ([PAGES - 980, 980] if is_fixed else [490, PAGES - 490])


@both_models
@pytest.mark.parametrize(
    ("target_rule", "nodes_of_classes"),
    [("fixed", [1, 0, 1]), ("most-scanned", [1, 1, 1]), ("most-accessed", [1, 0, 0])],
)
def test_p09_target_node_counts_scanned_pages_in_v1_and_accessed_ones_in_v3(
    system_type: type, target_rule: str, nodes_of_classes: list[int]
) -> None:
    # while the large class is hot the sysfs node is 1; then it turns idle, the next one hot and the sysfs node 0; then
    # one more gets hot and the sysfs node is 1 again
    workload = {
        "classes": classes(large=0.25, next=0.125, last=0.125, idle=0.5),
        "phases": phases("large next last idle", {"large": 1.0}, {"next": 1.0}, {"next": 0.5, "last": 0.5}),
        "accesses_per_page": 3 * 64 * 0.95e5 * 25 / PAGES,
    }
    daemon = V3.model_copy(update={"target_rule": target_rule, "failure_window": None})
    system = begin(system_type, two_nodes(daemon, workload=workload, target_node=1))
    model = model_of(system)
    for phase, sysfs_node in ((1, 0), (2, 1)):
        run_until(system, lambda phase=phase: model.processes["phase"][0] == phase)
        model.parameters["fixed_target_node"] = sysfs_node
    system.advance(20.0)
    found = model.fast_by_class.tolist()
    pages = [PAGES // 4, PAGES // 8, PAGES // 8]
    assert found[:3] == [
        [total * (1 - node), total * node] for total, node in zip(pages, nodes_of_classes, strict=True)
    ]


@both_models
def test_p09_target_node_of_a_tie_is_the_lower_one_and_the_sysfs_one_if_nothing_was_seen(system_type: type) -> None:
    for daemon, scanned, accessed, node in (
        (V1, (5, 5), (3, 5), 0),
        (V1, (5, 6), (5, 3), 1),
        (V3, (5, 6), (5, 3), 0),
        (V3, (5, 6), (3, 3), 0),
        (V1, (0, 0), (0, 0), 1),
        (V3, (5, 6), (0, 0), 1),
        (V0, (6, 5), (6, 5), 1),
    ):
        system = begin(system_type, two_nodes(daemon, target_node=1))
        model = model_of(system)
        model.nodes["scanned_pages"], model.nodes["accessed_pages"] = scanned, accessed
        if system_type is LumpedSystem:
            assert scanner.choose_target(model, 0, False) == node
        else:
            pages_scanner.choose_target_node(model, 0, False)
            assert model.mms["target_node"][0] == node


@both_models
def test_p09_target_node_after_the_other_mappings_is_the_process_s_own(system_type: type) -> None:
    scenario = two_nodes(V1, target_node=1)
    system = begin(system_type, with_workload(scenario, rest_vma=64 * PAGE_BYTES))
    model = model_of(system)
    model.mms["size_bytes"] = PAGES * PAGE_BYTES
    run_to_chunk(system, 1)
    assert model.mms["target_node"][0] == 1, "the big VMA fills the first chunk, which saw no top-tier page"
    run_to_chunk(system, 2)
    assert model.mms["target_node"][0] == 0


@both_models
def test_p09_target_node_gathers_each_process_on_its_own(system_type: type) -> None:
    # the corunner's pages all start on the slow node, the application's on node 1: node 0 is too small for any
    scenario = small(workload=ALL_FAST, fast_capacity=64 * PAGE_BYTES, remote_fast_capacity=2 * PAGES * PAGE_BYTES)
    slow = scenario.workload.model_copy(update={"initial_placement": "slow"})
    corunner = beside(scenario, 512).model_copy(update={"workload": slow})
    system = begin(system_type, scenario.model_copy(update={"corunners": (corunner,)}))
    model_of(system).nodes["capacity_pages"] += PAGES
    system.advance(5.0)
    assert [mm["target_node"] for mm in model_of(system).mms] == [1, 0]
    assert model_of(system).fast_by_class[1].tolist() == [512, 0]


@both_models
def test_p09_target_node_has_no_history(system_type: type) -> None:
    # node 1 holds most; the chunk of the other mappings, which V1 walks in turn with a VMA that fills one, sees no page
    sizes = TunableRange(min=MIB, start=MIB, max=2 * MIB)
    daemon = V1.model_copy(update={"tunables": V1.tunables | {"scan_size": sizes}})
    like: dict[str, Any] = {"fast_capacity": 500 * PAGE_BYTES, "remote_fast_capacity": 1000 * PAGE_BYTES}
    system = begin(system_type, small(daemon, ALL_FAST | {"rest_vma": MIB}, **like))
    targets = []
    for chunk in range(1, 5):
        run_to_chunk(system, chunk)
        targets.append(int(model_of(system).mms["target_node"][0]))
    assert targets == [1, 0, 1, 0]


def test_p09_target_node_must_be_one_of_the_top_tier() -> None:
    with pytest.raises(ConfigError, match="target_node"):
        load_scenario("abench-8g").replace(target_node=1)


@both_models
def test_p09_target_node_patch_wires_the_useful_pages(system_type: type) -> None:
    # before it Y was 0, and a busy process's period grew like an idle one's
    system = begin(system_type, small(**NO_ROOM))
    run_to_chunk(system, 1)
    assert model_of(system).mms["useful_pages"][0] == PAGES
    assert system.tunables[0, 0] == 500


@both_models
@pytest.mark.parametrize("rechecks", [True, False])
def test_v3_drops_listed_pages_that_nobody_touches_any_more(system_type: type, rechecks: bool) -> None:
    # the list takes 12 s to drain, its pages turn idle after about 5 s
    workload = {
        "classes": classes(first=0.5, then=0.5),
        "phases": phases("first then", {"first": 1.0}, {"then": 1.0}),
        "accesses_per_page": 2 * 64 * 0.95e5 * 5.0 / PAGES,
    }
    daemon = V3.model_copy(update={"rechecks_hotness": rechecks, "failure_window": None})
    system = begin(system_type, small(daemon, workload, platform={"migration_per_page_at_8gib": 6e-3}))
    run_until(system, lambda: model_of(system).processes["phase"][0] == 1)
    before = system.fast_pages_by_class(0)[0]
    assert 200 < before < PAGES // 4
    system.advance(4.0)
    moved = system.fast_pages_by_class(0)[0] - before
    if rechecks:
        assert moved < 250  # until the first scan that finds them idle
        assert system.counters[0, HOTPAGE] == pytest.approx(count(system, MIGRATED)[0], abs=1)
    else:
        assert moved > 600
        assert count(system, HOTPAGE) == [0]


@both_models
@pytest.mark.parametrize("daemon", [V1, V3])
def test_v3_lengthens_the_period_by_the_share_of_migrations_that_failed(
    system_type: type, daemon: AccessedBitDaemon
) -> None:
    # 1024 hot pages and room for 512: a full window at the first chunk, half a one at each later
    scenario = small(daemon, size=1024 * PAGE_BYTES, fast_capacity=517 * PAGE_BYTES, demotion=False)
    system = begin(system_type, scenario)
    ends = [run_to_chunk(system, chunk, 0.002) for chunk in range(1, 8)]
    # 50 % failed: 6 times as long; then, over 128 + 0 and 128 + 1024, 90 % and over 32 + 0 and 288 + 1024, 97 %
    base_s = 1e-3 * daemon.tunables["scan_period"].min
    factors = [1, 6, 6, 10, 10, 10] if daemon is V3 else [1] * 6
    for spacing_s, factor in zip(np.diff(ends), factors, strict=True):
        assert factor * base_s - 0.002 <= spacing_s <= factor * base_s + daemon.scan_sleep + 0.006


@both_models
def test_v3_remembers_a_quarter_of_the_failures_before(system_type: type) -> None:
    system = begin(system_type, small(V3))
    mm = model_of(system).mms[0]
    parameters = model_of(system).parameters
    percent = []
    for successes, failures in ((1024, 0), (0, 1024), (512, 512), (1024, 0)):
        if system_type is LumpedSystem:
            migrator.note_outcomes(parameters, mm, successes, failures)
        else:
            for index in range(successes + failures):
                pages_migrator.assess_failures(model_of(system), 0, index < successes)
        percent.append(int(mm["failure_percent"]))
    # 1024:0, then 256:1024, 64+512:256+512, 144+1024:192
    assert percent == [0, 80, 57, 14]


@both_models
@pytest.mark.parametrize(("daemon", "walks_on"), [(V1, False), (V3, True)])
def test_v3_walks_on_to_the_rest_in_a_chunk_without_hits(
    system_type: type, daemon: AccessedBitDaemon, walks_on: bool
) -> None:
    # a VMA larger than any scan size, of which no page is slow
    scenario = load_scenario("abench-8g").replace(daemon=daemon, control="kernel-rule")
    workload = scenario.workload.model_copy(update=ALL_FAST | {"accesses_per_page": 1e6})
    system = begin(system_type, shrink(scenario.model_copy(update={"workload": workload}), PAGES))
    run_to_chunk(system, 6)
    assert count(system, TOPTIER) == [6 * PAGES if walks_on else 3 * PAGES]
