"""Laws that hold after any interruption, for any machine and tunables: nothing is lost, doubled or overspent."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.sim.machines import machine_of, process_of, start, with_workload
from tierenv.counters import (
    COLDPAGE,
    COUNTERS,
    DEMOTED,
    FREE_PAGES,
    HOTPAGE,
    IDLEPAGE,
    MIGADDED,
    MIGRATE_FAILED,
    MIGRATED,
    NUMA_HINT_FAULTS,
    NUMA_PTE_UPDATES,
    PGPROMOTE_SUCCESS,
    SLOWTIER,
)
from tierenv.daemon import DaemonVariant
from tierenv.records import load_record, packaged
from tierenv.scenario import Process, Scenario, Workload, load_scenario
from tierenv.shrink import (
    shrink,
)
from tierenv.sim.lumped.state import (
    CLASS,
    DUPLICATE,
    FAST,
    FAULTED,
    FRESH,
    LUMP,
    MARKED_FAST,
    MOVED,
    NEW,
    QUEUED,
    RECORDS,
    RETRY,
    SLOW,
    STALE,
    UNVISITED,
    Machine,
)
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.state import (
    SLOW as ON_SLOW,
)
from tierenv.sim.pages.system import (
    PagesSystem,
)
from tierenv.sim.parameters import scenario_arrays
from tierenv.sim.records import (
    ALLOCATION_FAILURES,
    DUPLICATES,
    WASTED,
)
from tierenv.units import PAGE_BYTES

DAEMONS = {name: load_record("daemons", DaemonVariant, name) for name in packaged("daemons")}
GROWING = np.array([not counter.is_gauge for counter in COUNTERS])

Ints = NDArray[np.int64]


# What is drawn


@st.composite
def workloads(draw: st.DrawFn, is_late: bool = False) -> Workload:
    """Packaged workloads, shortened, with layouts and placements of all kinds."""
    workload = load_scenario(draw(st.sampled_from(["abench-8g", "skewed", "moving-hot-set"]))).workload
    return workload.model_copy(
        update={
            "accesses_per_page": workload.accesses_per_page * draw(st.floats(0.05, 1)),
            "layout": draw(st.sampled_from(["scattered", "contiguous"])),
            "initial_placement": "slow" if is_late else draw(st.sampled_from(["slow", "random"])),
            "phase_length_jitter": draw(st.floats(0, 0.9)),
        }
    )


@st.composite
def corunners(draw: st.DrawFn, most_bytes: int) -> tuple[Process, ...]:
    """None to two processes in the order in which they start, at once or some time later."""
    starts = sorted(draw(st.lists(st.one_of(st.just(0.0), st.floats(0.01, 40.0)), max_size=2)))
    return tuple(
        Process.model_construct(
            workload=draw(workloads(is_late=start_s > 0)),
            size=round(most_bytes * draw(st.floats(0.2, 1))),  # leaves every class a page
            start=start_s,
            cpu_node=draw(st.sampled_from([0, 1])),
            scan_scale=draw(st.integers(0, 10)),
        )
        for start_s in starts
    )


@st.composite
def scenarios(draw: st.DrawFn, most_pages: int) -> Scenario:
    """Machines of one to three processes and one or two nodes of the fast tier under any daemon, shrunk."""
    scenario = load_scenario("skewed")
    capacity = st.one_of(st.floats(0.05, 0.25), st.floats(0.05, 1.5)).map(lambda share: round(scenario.size * share))
    has_remote = draw(st.booleans())
    machine = {
        "daemon": DAEMONS[draw(st.sampled_from(sorted(DAEMONS)))],
        "control": draw(st.sampled_from(["tunables", "tunables", "kernel-rule", "kernel-rule", "off"])),
        "workload": draw(workloads()),
        "scan_scale": draw(st.sampled_from([1, *range(11)])),
        "corunners": draw(corunners(most_bytes=scenario.size // 3)),
        "fast_capacity": draw(capacity),
        "remote_fast_capacity": draw(capacity) if has_remote else 0,
        "target_node": draw(st.sampled_from([0, 1])) if has_remote else 0,
        "demotion": draw(st.sampled_from([True, True, False])),
        "regions": draw(st.integers(1, 80)),
        "numa_balancing_mode": draw(st.sampled_from([0, 0, 1, 2])),
    }
    return shrink(scenario.model_copy(update=machine), draw(st.integers(400, most_pages)))


@st.composite
def schedules(draw: st.DrawFn) -> list[tuple[float, float, float, float]]:
    """Durations [s], and tunables as shares of their (logarithmic) ranges, the throttle beyond its ends, too."""
    shares = st.floats(0, 1)
    durations = st.one_of(st.floats(1e-3, 0.2), st.floats(0.2, 30.0), st.floats(5.0, 30.0))
    return draw(st.lists(st.tuples(durations, shares, shares, st.floats(-0.3, 1.3)), min_size=3, max_size=12))


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


# Laws of both models, in what they tell


class Moment(NamedTuple):
    """What a system told at one time."""

    elapsed_s: float
    is_done: bool
    finished_s: NDArray[np.float64]
    counters: Ints
    model: Ints
    throttle: float
    fast_pages: int

    @property
    def promoted(self) -> int:
        """Pages that came to the fast tier."""
        return int(self.counters[MIGRATED] + self.counters[PGPROMOTE_SUCCESS])


def moment_of(system: Any) -> Moment:
    return Moment(
        elapsed_s=float(system.elapsed_s[0]),
        is_done=bool(system.is_done[0]),
        finished_s=system.finished_s[0],
        counters=system.counters[0],
        model=system.model[0],
        throttle=float(system.tunables[0, 2]),
        fast_pages=int(system.fast_pages_by_class(0).sum()),
    )


def check_time(before: Moment, now: Moment, duration_s: float) -> None:
    """As much time passes as was asked for, or as the last process needs to finish."""
    passed_s = now.elapsed_s - before.elapsed_s
    assert passed_s <= duration_s * (1 + 1e-9)
    assert now.is_done or passed_s >= duration_s * (1 - 1e-9)
    assert now.is_done == (now.finished_s > 0).all()
    assert not now.is_done or now.elapsed_s == pytest.approx(now.finished_s.max())
    had_finished = before.finished_s > 0
    assert (now.finished_s[had_finished] == before.finished_s[had_finished]).all()


def check_counters_only_grow(before: Moment, now: Moment) -> None:
    assert (now.counters >= 0).all() and (now.model >= 0).all()
    assert (now.counters[GROWING] >= before.counters[GROWING]).all()
    assert (now.model >= before.model).all()


def check_fast_tier(scenario: Scenario, begin: Moment, before: Moment, now: Moment) -> None:
    """What came to the fast tier and is not there any more was demoted, or belonged to a process that has exited."""
    assert now.counters[FREE_PAGES] == scenario.fast_capacity_pages - now.fast_pages
    assert now.model[WASTED] <= now.promoted
    freed, freed_before = (
        begin.fast_pages + each.promoted - each.counters[DEMOTED] - each.fast_pages for each in (now, before)
    )
    exited = (now.finished_s > 0) & (before.finished_s == 0)
    most = sum(process.pages for process, is_gone in zip(scenario.processes, exited, strict=True) if is_gone)
    assert 0 <= freed - freed_before <= most


def check_list_counters(scenario: Scenario, before: Moment, now: Moment) -> None:
    """Each page that passes the access rule is listed, but under throttle 0 or without memory for its entry."""
    daemon, counters = scenario.daemon, now.counters
    assert now.model[DUPLICATES] <= counters[MIGADDED]
    if daemon.counts_all_slow_pages:
        passed = counters[SLOWTIER] - counters[IDLEPAGE]
        assert counters[MIGADDED] + now.model[ALLOCATION_FAILURES] == passed
    elif scenario.control == "tunables" and daemon.tunable_at_run_time:
        assert counters[MIGADDED] <= counters[SLOWTIER]
        assert before.throttle > 0 or counters[MIGRATED] == before.counters[MIGRATED]
    else:
        assert counters[MIGADDED] == counters[SLOWTIER]
    assert counters[HOTPAGE] == (counters[MIGRATED] if daemon.rechecks_hotness else 0)
    assert counters[COLDPAGE] <= (counters[SLOWTIER] if daemon.counts_all_slow_pages else 0)


def check_throttle(scenario: Scenario, before: Moment, now: Moment) -> None:
    """Promotions stay within the budgets of the throttle windows that the time since touches."""
    window_s = scenario.daemon.throttle_window
    windows = math.floor((now.elapsed_s - before.elapsed_s) / window_s) + 2
    budget = max(1.0, now.throttle / PAGE_BYTES * window_s)
    assert now.counters[MIGRATED] - before.counters[MIGRATED] <= windows * budget


# Laws of the lumped model's state


def check_lumps(system: LumpedSystem, scenario: Scenario) -> None:
    machine = machine_of(system)
    slow, fast = pages_by_lump(machine)
    check_no_page_is_lost(machine, scenario, slow + fast.sum(axis=1))
    check_nodes(machine, fast)
    check_list(machine, system.counters[0])
    check_accesses(machine.processes, machine.classes["hazard"], machine.classes["pages"])
    if scenario.numa_balancing_mode > 0:
        check_marks(machine, system.counters[0], slow, fast.sum(axis=1))
    assert (machine.processes["stall_s"] >= 0).all() and 0 <= system.work_done[0] <= 1 + 1e-12
    assert (machine.mms["failure_percent"] >= 0).all() and (machine.mms["failure_percent"] <= 100).all()


def pages_by_lump(machine: Machine) -> tuple[Ints, Ints]:
    """int64[L] and int64[L, K]: slow and fast pages of each lump, those under the hands included."""
    lumps, nodes = len(machine.clocks), len(machine.nodes)
    assert (machine.counts >= 0).all()
    counts = machine.counts.astype(np.int64)
    fast = counts[:lumps, FAST:].reshape(lumps, nodes, 4).sum(axis=2)
    for index, node in enumerate(machine.nodes):
        hand = counts[node["hand_row"]]
        fast[node["hand_lump"], index] += hand[FAST + 4 * index : FAST + 4 * index + 4].sum()
        assert hand.sum() == hand[FAST + 4 * index : FAST + 4 * index + 4].sum(), "a hand is on its own node only"
    return counts[:lumps, SLOW : QUEUED + 4].sum(axis=1), fast


def check_no_page_is_lost(machine: Machine, scenario: Scenario, pages: Ints) -> None:
    """A process has all its pages, in each region and of each class, until it exits before others: then it has none."""
    page_class = machine.counts[: len(pages), CLASS]
    owner = machine.classes["process"][page_class]
    has_pages = np.bincount(owner, pages) > 0
    is_done = machine.processes["is_done"]
    if machine.state["is_done"]:
        assert is_done.all() and has_pages[machine.processes["finished_s"].argmax()]
    else:
        assert (has_pages == ~is_done).all()
    class_pages = np.where(has_pages[machine.classes["process"]], scenario.class_pages, 0)
    assert np.bincount(page_class, pages, len(class_pages)).tolist() == class_pages.tolist()
    first = machine.regions["first_lump"]
    by_region = np.add.reduceat(pages, first)
    assert (by_region == np.where(has_pages[owner[first]], machine.regions["pages"], 0)).all()


def check_nodes(machine: Machine, fast: Ints) -> None:
    """Each node of the fast tier holds what its lumps say, by class and in all, and leaves the watermark free."""
    by_class = np.zeros(machine.fast_by_class.shape, dtype=np.int64)
    np.add.at(by_class, machine.counts[: len(fast), CLASS], fast)
    assert (by_class == machine.fast_by_class).all()
    nodes = machine.nodes
    assert (fast.sum(axis=0) == nodes["fast_pages"]).all()
    assert (nodes["fast_pages"] <= nodes["capacity_pages"] - nodes["watermark_pages"]).all()


def check_list(machine: Machine, counters: Ints) -> None:
    """Every entry on the list is accounted for, and every listed page has one or waits for a retry."""
    state, lumps = machine.state, len(machine.clocks)
    counts = machine.counts[:lumps].astype(np.int64)
    ring = machine.ring[np.arange(state["list_head"], state["list_tail"]) % len(machine.ring)].astype(np.int64)
    assert (ring[:, [NEW, DUPLICATE]] >= 0).all()
    assert ring[:, [NEW, DUPLICATE]].sum() == state["list_entries"]
    assert ring[:, NEW].sum() == state["list_new"]
    assert counters[MIGADDED] - counters[MIGRATED] - counters[MIGRATE_FAILED] == state["list_entries"]
    assert (ring[:, LUMP] >= -len(machine.processes)).all()
    named = ring[ring[:, LUMP] >= 0]
    new_by_lump = np.bincount(named[:, LUMP], weights=named[:, NEW], minlength=lumps)
    assert new_by_lump.sum() == ring[:, NEW].sum(), "only duplicates may be without a lump"
    queued = counts[:, QUEUED : QUEUED + 4].sum(axis=1)
    assert (new_by_lump == queued - counts[:, RETRY] + counts[:, MOVED]).all()
    assert (np.bincount(named[:, LUMP], minlength=lumps) == counts[:, RECORDS]).all()
    assert counts[:, RETRY].sum() == state["retry_pages"]


def check_accesses(processes: NDArray[np.void], hazard: NDArray[np.float64], class_pages: Ints) -> None:
    """The accesses per page of a process's classes add up to its accesses."""
    for process in processes:
        classes = slice(process["first_class"], process["end_class"])
        accesses = (hazard[classes] * class_pages[classes])[class_pages[classes] > 0].sum()
        assert math.isclose(accesses, process["accesses"], rel_tol=1e-6, abs_tol=1e-6)


def check_marks(machine: Machine, counters: Ints, slow: Ints, fast: Ints) -> None:
    """NUMA balancing notes something of pages that are there, and a mark goes with its fault or with its page."""
    marks = machine.marks
    assert (marks >= 0).all()
    assert (marks[:, [FRESH, STALE, FAULTED]].sum(axis=1) <= slow).all()
    assert (marks[:, [FRESH, STALE, UNVISITED]].sum(axis=1) <= slow).all()
    assert (marks[:, MARKED_FAST] <= fast).all()
    marked = marks[:, [FRESH, STALE, MARKED_FAST]].sum()
    assert marked == machine.state["numa_marked_pages"] <= counters[NUMA_PTE_UPDATES] - counters[NUMA_HINT_FAULTS]


# Laws of the twin's state


def check_pages(system: PagesSystem, scenario: Scenario) -> None:
    pages = system._pages
    is_fast = pages.node != ON_SLOW
    for index, node in enumerate(pages.nodes):
        by_class = np.bincount(pages.page_class[pages.node == index], minlength=len(scenario.class_pages))
        assert by_class.tolist() == pages.fast_by_class[:, index].tolist()
        assert by_class.sum() == node["fast_pages"] <= node["capacity_pages"] - node["watermark_pages"]
    is_marked = np.isfinite(pages.fault_hazard)
    check_exited_pages(system, is_fast | is_marked)
    check_entries(system, is_fast)
    check_accesses(pages.processes, pages.hazard, pages.class_pages)
    counters = system.counters[0]
    assert is_marked.sum() == pages.state["marked_pages"] <= counters[NUMA_PTE_UPDATES] - counters[NUMA_HINT_FAULTS]
    assert scenario.numa_balancing_mode == 1 or not (is_marked & is_fast).any()
    assert not (pages.has_faulted & is_fast).any()


def check_exited_pages(system: PagesSystem, is_in_use: NDArray[np.bool_]) -> None:
    """A process that exits while others run leaves neither pages on the fast tier nor marks nor entries."""
    pages = system._pages
    if system.is_done[0]:
        return
    for process, mm in zip(pages.processes, pages.mms, strict=True):
        own = slice(mm["first_page"], mm["end_page"])
        assert not process["is_done"] or not (is_in_use[own].any() or pages.entries[own].any())


def check_entries(system: PagesSystem, is_fast: NDArray[np.bool_]) -> None:
    """Each entry on the list is counted by the folio it names."""
    pages, counters = system._pages, system.counters[0]
    entries = np.arange(pages.state["list_head"], pages.state["private_tail"]) % len(pages.list_page)
    assert counters[MIGADDED] - counters[MIGRATED] - counters[MIGRATE_FAILED] == len(entries)
    named, moves = pages.list_page[entries], pages.list_moves[entries]
    live = named[moves == pages.moves[named]]
    assert (np.bincount(live, minlength=len(pages.entries)) == pages.entries).all()
    assert not pages.entries[is_fast].any(), "a folio on the fast tier has not been listed"


# Runs


def play(system: Any, scenario: Scenario, schedule: list[tuple[float, ...]], seed: int, check_state: Any) -> None:
    """Run a schedule, and check every law after each of its steps."""
    system.reset(np.array([seed], np.uint64), ["training"])
    begin = moment_of(system)
    check_state(system, scenario)
    for duration_s, *shares in schedule:
        system.apply(setting(scenario, (shares[0], shares[1], shares[2])))
        before = moment_of(system)
        system.advance(duration_s)
        now = moment_of(system)
        check_time(before, now, duration_s)
        check_counters_only_grow(before, now)
        check_fast_tier(scenario, begin, before, now)
        check_list_counters(scenario, before, now)
        check_throttle(scenario, before, now)
        check_state(system, scenario)


@settings(max_examples=500)
@given(scenarios(most_pages=20_000), schedules(), st.integers(0, 2**32))
def test_lumped_model_keeps_its_books(scenario: Scenario, schedule: list[tuple[float, ...]], seed: int) -> None:
    play(LumpedSystem([scenario]), scenario, schedule, seed, check_lumps)


@settings(max_examples=250)
@given(scenarios(most_pages=3000), schedules(), st.integers(0, 2**32))
def test_twin_keeps_its_books(scenario: Scenario, schedule: list[tuple[float, ...]], seed: int) -> None:
    play(PagesSystem(scenario), scenario, schedule, seed, check_pages)


@settings(max_examples=200)
@given(scenarios(most_pages=5000), st.integers(0, 2**32))
def test_a_finished_run_has_done_all_its_work_and_stands_still(scenario: Scenario, seed: int) -> None:
    system = start(scenario, seed)
    system.run_to_end()
    assert system.is_done[0] and math.isclose(system.work_done[0], 1)
    assert system.remaining_s()[0] == 0
    counters, finished_s, elapsed_s = system.counters, system.finished_s, system.elapsed_s
    system.advance(100.0)
    assert (system.counters == counters).all() and (system.finished_s == finished_s).all()
    assert system.elapsed_s == elapsed_s


@settings(max_examples=200)
@given(scenarios(most_pages=5000), st.integers(0, 2**32))
def test_no_process_is_faster_than_alone_on_its_own_node(scenario: Scenario, seed: int) -> None:
    system = start(scenario, seed)
    system.run_to_end()
    rows = scenario_arrays(scenario).processes
    alone_s = rows["total_accesses"] * rows["all_fast_access_s"] / rows["threads"]
    has_own_node = rows["cpu_node"] < len(scenario.node_capacity_pages)  # the other socket's may be slower than CXL
    assert (system.finished_s[0] - rows["start_s"] >= alone_s * (1 - 1e-9))[has_own_node].all()
    assert len(rows) > 1 or system.elapsed_s[0] >= system.reference_s[0] * (1 - 1e-9)


@pytest.mark.parametrize("system_type", [LumpedSystem, PagesSystem])
def test_an_exit_frees_the_fast_pages_of_its_process_and_no_others(system_type: type) -> None:
    everywhere = with_workload(load_scenario("skewed"), initial_placement="random")
    neighbour = process_of(with_workload(everywhere, accesses_per_page=100.0), size="8GiB", cpu_node=1)
    scenario = everywhere.replace(control="off", corunners=[neighbour], remote_fast_capacity="6GiB")
    scenario = shrink(scenario, 4096)
    system = system_type([scenario]) if system_type is LumpedSystem else system_type(scenario)
    system.reset(np.array([3], np.uint64), ["training"])
    system.advance(0.001)
    before, free = system.fast_pages_by_class(0), system.counters[0, FREE_PAGES]
    own = len(scenario.workload.classes)
    assert (before > 0).all()
    while not system.finished_s[0, 1]:
        assert (system.fast_pages_by_class(0) == before).all()
        system.advance(0.5)
    assert system.fast_pages_by_class(0).tolist() == [*before[:own], *np.zeros_like(before[own:])]
    assert system.counters[0, FREE_PAGES] == free + before[own:].sum()
