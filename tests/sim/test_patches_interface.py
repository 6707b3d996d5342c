"""RFC V1, patches 10 to 12: tunables, counters and trace events (kmmscand.md 2 to 4); and that the variants are data.

Each test fails when its mechanism is taken out of the model.
"""

import ast
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tierenv.sim
from tests.sim.machines import setting, with_workload
from tests.sim.patches import (
    ALL_FAST,
    NO_ROOM,
    PAGES,
    SYSTEMS,
    TUNABLE,
    V0,
    V1,
    V3,
    begin,
    beside,
    count,
    hot_and_idle,
    model_of,
    run_to_chunk,
    run_until,
    scans,
    small,
)
from tests.tiny import setting_of_three
from tierenv.counters import (
    COLDPAGE,
    COUNTERS,
    HOTPAGE,
    IDLEPAGE,
    MIGADDED,
    MIGRATE_FAILED,
    MIGRATED,
    MM_SCANS,
    SLOWTIER,
    TOPTIER,
    VMA_SCANS,
)
from tierenv.daemon import AccessedBitDaemon
from tierenv.errors import ConfigError
from tierenv.records import packaged
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.records import (
    ALLOCATION_FAILURES,
)
from tierenv.tunables import TUNABLES
from tierenv.units import GIB, MIB, PAGE_BYTES

SERIES = [V0, V1, V3, TUNABLE]

both_models = pytest.mark.parametrize("system_type", SYSTEMS)


def traced(scenario: Scenario, events: int = 1 << 16) -> LumpedSystem:
    """Returns the lumped model with room for its trace at the start of an episode."""
    system = LumpedSystem([scenario], trace_events=events)
    system.reset(np.array([0], np.uint64), ["training"])
    return system


@pytest.mark.parametrize(
    ("daemon", "period", "size", "scan_sleep_s", "ignored_pages"),
    [
        (
            V0,
            (400, 5000, 2000),
            (512 * MIB, 16 * GIB, 4 * GIB),
            0.016,
            100,
        ),
        (
            V1,
            (500, 5000, 2000),
            (256 * MIB, 4 * GIB, 1 * GIB),
            0.016,
            256,
        ),
        (
            V3,
            (600, 5000, 2000),
            (256 * MIB, 4 * GIB, 1 * GIB),
            0.020,
            256,
        ),
    ],
)
def test_p10_tunables_have_the_defaults_and_ranges_of_the_series(
    daemon: AccessedBitDaemon,
    period: tuple[float, ...],
    size: tuple[float, ...],
    scan_sleep_s: float,
    ignored_pages: int,
) -> None:
    ranges = {name: (row.min, row.max, row.start) for name, row in daemon.tunables.items()}
    assert ranges == {"scan_period": period, "scan_size": size}, "no variant of the series has a throttle"
    assert (daemon.scan_sleep, daemon.mms_to_scan, daemon.migrate_sleep) == (scan_sleep_s, 4096, 0.040)
    assert daemon.ignore_threshold_pages == ignored_pages
    assert not daemon.tunable_at_run_time


def test_p10_tunables_bear_the_names_of_v1_where_it_exposes_them() -> None:
    paths = {tunable.name: tunable.v1_path for tunable in TUNABLES.values()}
    assert paths == {
        "scan_period": "/sys/kernel/mm/kmmscand/mm_scan_period_ms",
        "scan_size": None,
        "throttle": None,
        "hot_threshold": None,
        "access_threshold": None,
    }


@pytest.mark.parametrize("setting", [(99, GIB, 0), (5001, GIB, 0), (500, 255 * MIB, 0), (500, 5 * GIB, 0)])
def test_p10_tunables_outside_the_range_are_refused_by_name(setting: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match=r"scan_(period_ms|size_bytes)=.*kmmscand-v1 allows"):
        V1.check_setting(setting_of_three(*setting))
    V1.check_setting(setting_of_three(500, GIB, 0))


@both_models
def test_p10_tunables_written_to_v1_leave_its_rule_in_charge(system_type: type) -> None:
    periods = []
    for control in ("tunables", "kernel-rule"):
        system = begin(system_type, small(V1, control=control))
        system.apply(setting(777.0, GIB, np.inf))
        system.advance(20.0)
        periods.append(model_of(system).mms["period_ms"].tolist())
    assert periods[0] == periods[1] != [2000]


@both_models
def test_p10_tunables_written_to_v1_only_seed_later_processes_within_the_range(system_type: type) -> None:
    # the kernel's rule stays in charge under V1; one that takes no steps leaves what was seeded
    steady = V1.model_copy(update={"period_step_percent": 0, "period_jump_shift": 0})
    scenario = small(steady, control="tunables")
    corunners = tuple(beside(scenario, 512, start=start_s) for start_s in (2.0, 4.0, 6.0, 8.0))
    system = begin(system_type, scenario.model_copy(update={"corunners": corunners}))
    for period_ms in (100.0, 20_000.0, 1234.0):
        system.advance(1.0)
        system.apply(setting(period_ms, 16 * GIB, 0.0))
        system.advance(1.0)
    system.advance(24.0)
    mms = model_of(system).mms
    assert mms["period_ms"].tolist() == [2000, 500, 5000, 1234, 1234]
    assert (mms["size_bytes"] <= 4 * GIB).all(), "V1 does not expose the size"
    assert count(system, MIGRATED) == [PAGES + 4 * 512], "V1 has no throttle"
    # what was seeded is what the scanner goes by: from the delay of 1 s to 30 s, a period and up to 16 ms apart
    for number, start_s, period_s in zip(scans(system), (0, 2, 4, 6, 8), (2, 0.5, 5, 1.234, 1.234), strict=True):
        assert number == pytest.approx((29 - start_s) / (period_s + 0.012) + 1, abs=1.1)


@both_models
def test_p10_tunables_of_the_tunable_daemon_reach_every_process_at_once(system_type: type) -> None:
    scenario = small(TUNABLE, control="tunables")
    corunners = (beside(scenario, 512), beside(scenario, 512, start=6.0))
    system = begin(system_type, scenario.model_copy(update={"corunners": corunners}))
    system.advance(4.5)
    assert scans(system) == [2, 2, 0]
    system.apply(setting(100.0, 512.0 * MIB, math.inf))
    assert model_of(system).mms["period_ms"].tolist()[:2] == [100, 100]
    assert model_of(system).mms["size_bytes"].tolist()[:2] == [512 * MIB] * 2
    system.advance(5.5)
    own, other, late = scans(system)
    assert own == other == pytest.approx(2 + 5.5 / 0.112, abs=4)
    assert late == pytest.approx(3.0 / 0.112, abs=4)


@both_models
@pytest.mark.parametrize("control", ["kernel-rule", "off"])
def test_p10_tunables_are_not_the_callers_where_the_kernel_or_nobody_is_in_control(
    system_type: type, control: str
) -> None:
    written, left_alone = (begin(system_type, small(TUNABLE, control=control)) for _ in range(2))
    written.apply(setting(100.0, 512.0 * MIB, 0.0))
    for system in (written, left_alone):
        system.advance(10.0)
    assert (written.counters == left_alone.counters).all()
    np.testing.assert_array_equal(written.tunables, left_alone.tunables)


def test_p11_counters_bear_the_kernels_names() -> None:
    of_the_series = {
        MM_SCANS: "mm_scans",
        VMA_SCANS: "vma_scans",
        MIGADDED: "migadded",
        MIGRATED: "migrated",
        MIGRATE_FAILED: "migrate_failed",
        SLOWTIER: "slowtier",
        TOPTIER: "toptier",
        IDLEPAGE: "idlepage",
    }
    of_v3 = {HOTPAGE: "hotpage", COLDPAGE: "coldpage"}
    names = {index: f"nr_kmmscand_{name}" for index, name in of_the_series.items()}
    names |= {index: f"nr_kscand_{name}" for index, name in of_v3.items()}
    assert {index: row.name for index, row in enumerate(COUNTERS) if row.name.startswith("nr_k")} == names
    for index in of_v3:
        assert [daemon.name for daemon in SERIES if COUNTERS[index].is_exported(daemon)] == ["kscand-v3"]


@both_models
@pytest.mark.parametrize("daemon", [V0, V1])
def test_p11_counters_of_v1_count_slow_pages_listed_and_idle_ones_of_either_tier(
    system_type: type, daemon: AccessedBitDaemon
) -> None:
    hot, idle = PAGES // 4, PAGES * 3 // 4
    roomy = begin(system_type, small(daemon, hot_and_idle()))
    run_to_chunk(roomy, 1)
    run_until(roomy, lambda: roomy.counters[0, MIGRATED] == PAGES)
    assert count(roomy, SLOWTIER, TOPTIER, IDLEPAGE, MIGADDED) == [PAGES, 0, 0, PAGES]
    run_to_chunk(roomy, 2)
    assert count(roomy, SLOWTIER, TOPTIER, IDLEPAGE, MIGADDED) == [PAGES, PAGES, idle, PAGES]

    full = begin(system_type, small(daemon, hot_and_idle(), **NO_ROOM))
    run_to_chunk(full, 1)
    run_until(full, lambda: full.counters[0, MIGRATE_FAILED] == PAGES - 63)
    run_to_chunk(full, 2)
    slowtier, toptier, idlepage, listed = count(full, SLOWTIER, TOPTIER, IDLEPAGE, MIGADDED)
    assert toptier == 63
    assert hot - 63 <= slowtier - PAGES <= hot
    assert idlepage == idle
    full.advance(20.0)
    assert full.model[0, ALLOCATION_FAILURES] == 0
    assert full.counters[0, SLOWTIER] == full.counters[0, MIGADDED] > listed
    assert count(full, HOTPAGE, COLDPAGE) == [0, 0]
    assert full.counters[0, VMA_SCANS] == full.counters[0, MM_SCANS]


@both_models
def test_p11_counters_of_vmas_count_the_other_mappings_in_the_chunk_that_takes_them_in(system_type: type) -> None:
    # 16 MiB do not fill a chunk of 256 MiB or more, so each takes in the other mappings, too
    system = begin(system_type, with_workload(small(V1), rest_vma=64 * PAGE_BYTES))
    run_to_chunk(system, 3)
    assert count(system, MM_SCANS, VMA_SCANS) == [3, 6]


@both_models
def test_p11_counters_of_v3_count_every_slow_page_and_those_not_listed(system_type: type) -> None:
    hot, idle = PAGES // 4, PAGES * 3 // 4
    system = begin(system_type, small(V3, hot_and_idle()))
    run_to_chunk(system, 1)
    assert count(system, SLOWTIER, MIGADDED, IDLEPAGE, COLDPAGE) == [PAGES, hot, idle, 0]
    run_until(system, lambda: system.counters[0, MIGRATED] == hot)
    chunks = int(system.counters[0, MM_SCANS])
    before = count(system, SLOWTIER, MIGADDED, IDLEPAGE, COLDPAGE, TOPTIER)
    run_to_chunk(system, chunks + 2)
    grown = np.subtract(count(system, SLOWTIER, MIGADDED, IDLEPAGE, COLDPAGE, TOPTIER), before)
    assert grown.tolist() == [2 * idle, 0, 2 * idle, 2 * idle, 2 * hot]
    assert count(system, HOTPAGE) == [hot]
    assert sum(count(system, MIGRATED, MIGRATE_FAILED)) == system.counters[0, MIGADDED]


@both_models
def test_p11_counters_leave_out_entries_for_which_there_was_no_memory(system_type: type) -> None:
    # GFP_NOWAIT: kernel memory for 1000 entries, and nobody is told of the others
    # of one socket the kernel has what kswapd keeps free
    target = 1000 * V1.list_entry / small().fast_capacity
    scenario = small(platform={"sockets": 1, "promotion_watermark": 0.0, "kswapd_target": target})
    assert scenario.kernel_memory == 1000 * V1.list_entry
    system = begin(system_type, scenario)
    run_to_chunk(system, 1)
    assert count(system, SLOWTIER, MIGADDED) == [1000, 1000], "V1 counts a page once its entry is allocated"
    assert system.model[0, ALLOCATION_FAILURES] == PAGES - 1000
    system.advance(0.3)
    assert count(system, MIGRATED, MIGRATE_FAILED) == [1000, 0]
    system.advance(10.0)
    assert count(system, MIGRATED) == [PAGES], "what was not listed comes back with a later scan"


EVENT_FIELDS = {
    "kmem_mm_enter": {"mm"},
    "kmem_mm_exit": {"mm"},
    "kmem_scan_mm_start": {"mm"},
    "kmem_scan_mm_end": {"mm", "address", "total", "scan_period", "scan_size", "target_node"},
    "kmem_scan_mm_migrate": {"mm", "rc", "target_node", "pages"},
}


def test_p12_trace_events_have_the_kernels_names_and_fields_in_order_of_time() -> None:
    scenario = small()
    short = scenario.workload.model_copy(update={"accesses_per_page": 64 * 1e5 * 4.0 / 512})
    late = beside(scenario, 512, start=3.0).model_copy(update={"workload": short})
    system = traced(scenario.model_copy(update={"corunners": (late,)}))
    system.advance(15.0)
    events, lost = system.trace(0)
    assert lost == 0
    assert {event["event"] for event in events} == set(EVENT_FIELDS)
    for event in events:
        assert set(event) == {"time_s", "event"} | EVENT_FIELDS[event["event"]]
    times = [event["time_s"] for event in events]
    assert times == sorted(times)

    by_name = {name: [event for event in events if event["event"] == name] for name in EVENT_FIELDS}
    assert [(row["mm"], row["time_s"]) for row in by_name["kmem_mm_enter"]] == [(0, 0.0), (1, 3.0)]
    (leaving,) = by_name["kmem_mm_exit"]
    assert (leaving["mm"], leaving["time_s"]) == (1, system.finished_s[0, 1])
    starts, ends = by_name["kmem_scan_mm_start"], by_name["kmem_scan_mm_end"]
    assert len(starts) == len(ends) == system.counters[0, MM_SCANS]
    for begun, over in zip(starts, ends, strict=True):
        pages = PAGES if begun["mm"] == 0 else 512
        assert begun["mm"] == over["mm"]
        assert over["time_s"] - begun["time_s"] == pytest.approx(pages * scenario.platform.scan_per_page)
    assert sum(row["total"] for row in ends) == system.counters[0, SLOWTIER]
    assert sum(row["pages"] for row in by_name["kmem_scan_mm_migrate"]) == sum(count(system, MIGRATED, MIGRATE_FAILED))


def test_p12_trace_events_show_period_and_size_before_the_update() -> None:
    system = traced(small(**NO_ROOM))
    run_to_chunk(system, 3)
    ends = [event for event in system.trace(0)[0] if event["event"] == "kmem_scan_mm_end"]
    assert [(row["scan_period"], row["scan_size"]) for row in ends] == [(2000, GIB), (500, 4 * GIB), (500, 4 * GIB)]
    assert [row["total"] for row in ends] == [PAGES, PAGES - 63, PAGES - 63]
    idle = traced(small(workload=ALL_FAST))
    run_to_chunk(idle, 3)
    ends = [event for event in idle.trace(0)[0] if event["event"] == "kmem_scan_mm_end"]
    assert [(row["scan_period"], row["scan_size"] // MIB) for row in ends] == [(2000, 1024), (2300, 512), (2645, 256)]
    assert [row["total"] for row in ends] == [0, 0, 0]


def test_p12_trace_events_show_where_the_next_chunk_begins() -> None:
    bounded = V1.model_copy(update={"chunk_rule": "scan-size"})
    for scenario, addresses in (
        (small(workload=ALL_FAST), [0, 0]),
        (small(bounded, ALL_FAST, size=2 * GIB), [GIB, GIB + 512 * MIB]),
        (small(workload=ALL_FAST | {"rest_vma": 576 * MIB}, size=2 * GIB), [2 * GIB, 0]),
    ):
        system = traced(scenario)
        run_to_chunk(system, 2)
        assert [row["address"] for row in system.trace(0)[0] if row["event"] == "kmem_scan_mm_end"] == addresses


def test_p12_trace_events_show_the_node_of_promotions() -> None:
    # node 0 starts with 490 pages and node 1 with 980; either takes as many as leave 1 % free
    sizes: dict[str, Any] = {"fast_capacity": 500 * PAGE_BYTES, "remote_fast_capacity": 1000 * PAGE_BYTES}
    system = traced(small(V1, ALL_FAST, demotion=False, **sizes))
    run_to_chunk(system, 1)
    system.advance(0.1)
    events = system.trace(0)[0]
    assert [row["target_node"] for row in events if row["event"] == "kmem_scan_mm_end"] == [1]
    migrations = [row for row in events if row["event"] == "kmem_scan_mm_migrate"]
    assert {row["target_node"] for row in migrations} == {1}
    assert sum(row["pages"] for row in migrations if row["rc"] == 0) == count(system, MIGRATED)[0] == 10


@pytest.mark.parametrize("daemon", SERIES)
def test_p12_trace_events_change_nothing_and_are_off_unless_asked_for(daemon: AccessedBitDaemon) -> None:
    scenario = small(daemon, hot_and_idle(), fast_capacity=1024 * PAGE_BYTES)
    silent, noisy, cramped = (traced(scenario, events) for events in (0, 1 << 16, 10))
    default = LumpedSystem([scenario])
    default.reset(np.array([0], np.uint64), ["training"])
    for system in (silent, noisy, cramped, default):
        system.advance(15.0)
        assert (system.counters == silent.counters).all()
        assert (system.model == silent.model).all()
        assert system.work_done == silent.work_done
        assert (system.fast_pages_by_class(0) == silent.fast_pages_by_class(0)).all()
    assert len(default.trace(0)[0]) == len(silent.trace(0)[0]) == 0
    events, lost = noisy.trace(0)
    assert lost == 0
    kept, missed = cramped.trace(0)
    assert len(kept) == 10
    assert missed == len(events) - 10


def test_variants_are_data_alone() -> None:
    assert {"kmmscand-v0", "kmmscand-v1", "kscand-v3", "kmmscand-tunable"} < set(packaged("daemons"))
    fields = [daemon.model_dump(exclude={"name", "summary"}) for daemon in SERIES]
    assert all(first != second for first in fields for second in fields if first is not second)


MODELS = Path(tierenv.sim.__file__).parent


@pytest.mark.parametrize("path", sorted(MODELS.rglob("*.py")), ids=lambda path: path.relative_to(MODELS).as_posix())
def test_variants_have_no_names_in_the_code_of_the_model(path: Path) -> None:
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    names = "|".join(daemon.name for daemon in SERIES)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            assert not re.search(names, node.value), f"line {node.lineno}"
        word = getattr(node, "id", None) or getattr(node, "arg", None) or getattr(node, "attr", None)
        assert not re.search(r"(^|_)v[0-3](_|$)", str(word).lower()), f"line {getattr(node, 'lineno', 0)}"


@both_models
@pytest.mark.parametrize("daemon", SERIES)
def test_variants_behave_by_their_fields_whatever_their_name(system_type: type, daemon: AccessedBitDaemon) -> None:
    named, renamed = (
        begin(system_type, small(daemon.model_copy(update={"name": name}), fast_capacity=1024 * PAGE_BYTES))
        for name in (daemon.name, "another")
    )
    for system in (named, renamed):
        system.advance(10.0)
    assert (named.counters == renamed.counters).all()
