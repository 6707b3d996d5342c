"""Laws that hold after any interruption, for any machine and tunables: nothing is lost, doubled or overspent."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.sim.machines import process_of, start, with_workload
from tierenv.counters import COUNTERS, DEMOTED, FREE_PAGES, MIGRATED, PGPROMOTE_SUCCESS
from tierenv.daemon import load_daemon
from tierenv.platform import Platform
from tierenv.records import packaged
from tierenv.scenario import Process, Scenario, load_scenario
from tierenv.shrink import shrink
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.system import PagesSystem
from tierenv.sim.parameters import scenario_arrays
from tierenv.tunables import TUNABLES, Setting
from tierenv.units import GIB, MIB, PAGE_BYTES
from tierenv.workload import LoadStep, Phase, Workload

DAEMONS = {
    daemon.name: daemon for daemon in map(load_daemon, packaged("daemons")) if daemon.mechanism == "accessed-bits"
}
GROWING = np.array([not counter.is_gauge for counter in COUNTERS])

Ints = NDArray[np.int64]


# What is drawn


STRETCH = st.floats(0.05, 30.0)


@st.composite
def workloads(draw: st.DrawFn, is_late: bool = False) -> Workload:
    """Packaged workloads, shortened, with accesses, layouts and placements of all kinds."""
    workload = load_scenario(draw(st.sampled_from(["abench-8g", "skewed", "moving-hot-set"]))).workload
    fast_at_start = st.just(None) if is_late else st.one_of(st.none(), st.none(), st.floats(0, 1))
    return workload.model_copy(
        update={
            "accesses_per_page": workload.accesses_per_page * draw(st.floats(0.05, 1)),
            "classes": tuple(
                page_class.model_copy(
                    update={
                        "visits": draw(st.sampled_from(["random", "random", "stride", "stream"])),
                        "fast_at_start": draw(fast_at_start),
                    }
                )
                for page_class in workload.classes
            ),
            "layout": draw(st.sampled_from(["scattered", "contiguous", "address-order"])),
            "initial_placement": "slow" if is_late else draw(st.sampled_from(["slow", "random", "address-order"])),
            "phase_length_jitter": draw(st.floats(0, 0.9)),
            "memory_parallelism": draw(st.floats(0.5, 8)),
            "traffic_per_access": draw(st.sampled_from([64, 64, 256])),
            "cache_hit_share": draw(st.sampled_from([0.0, 0.0, 0.8])),
            "store_share": draw(st.sampled_from([0.0, 0.3, 1.0])),
            "load": tuple(
                draw(
                    st.lists(
                        st.builds(LoadStep.model_construct, duration=STRETCH, share=st.floats(0.05, 1)), max_size=3
                    )
                )
            ),
        }
        | draw(phases(workload))
    )


@st.composite
def phases(draw: st.DrawFn, workload: Workload) -> dict[str, object]:
    """Phases of a workload as they are, by time, or with one beside them in which some classes are absent."""
    own, order = workload.phases, workload.phase_order
    if draw(st.booleans()):
        first, *others = (page_class.name for page_class in workload.classes)
        absent = tuple(name for name in others if draw(st.booleans()))
        small = Phase(name="small", access_share={first: 1.0}, absent=absent)
        own, order = tuple(draw(st.permutations([*own, small]))), "fixed"
    if draw(st.booleans()):
        own = tuple(phase.model_copy(update={"duration": draw(STRETCH)}) for phase in own)
    return {"phases": own, "phase_order": order}


@st.composite
def platforms(draw: st.DrawFn) -> Platform:
    """The packaged platform, with reclaim of all kinds and a card that takes stores in its own way."""
    platform = load_scenario("skewed").platform
    card = {
        "store_bandwidth": draw(st.sampled_from([None, 10e9])),
        "store_latency": draw(st.sampled_from([None, 50e-9])),
    }
    return platform.model_copy(
        update={
            "cxl": platform.cxl.model_copy(update=card),
            "reclaim": draw(st.sampled_from(["generations", "active-inactive"])),
            "accessed_bit": draw(st.sampled_from([0.0, 30e-9, 2e-6])),
            "numa_start_period_factor": draw(st.sampled_from([0.1, 1.0, 2.3])),
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
            lifetime=(lifetime := draw(st.sampled_from(["once", "once", "endless", "repeating", "periodic"]))),
            every=draw(st.floats(1.0, 40.0)) if lifetime == "periodic" else None,
        )
        for start_s in starts
    )


@st.composite
def scenarios(draw: st.DrawFn, most_pages: int) -> Scenario:
    """Machines of one to three processes and one or two nodes of the fast tier under any daemon, shrunk."""
    scenario = load_scenario("skewed")
    capacity = st.one_of(st.floats(0.05, 0.25), st.floats(0.05, 1.5)).map(lambda share: round(scenario.size * share))
    has_remote = draw(st.booleans())
    knobs = {
        "promote_rate_limit": draw(st.sampled_from([65536.0 * MIB, 100.0 * MIB, 0.0])),
        "is_threshold_adaptive": draw(st.booleans()),
        "spare": draw(st.sampled_from([GIB, 0])),
    }
    machine = {
        "platform": draw(platforms()),
        "numa_balancing": scenario.numa_balancing.model_copy(update=knobs),
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
    whole = scenario.model_copy(update=machine)
    if draw(st.booleans()):
        # hardly more than what can start there
        least = sum(process.size for process in whole.processes)
        whole = whole.model_copy(update={"slow_capacity": round(least * draw(st.floats(1.0, 1.1)))})
    return shrink(whole, draw(st.integers(400, most_pages)))


@st.composite
def schedules(draw: st.DrawFn) -> list[tuple[float, float, float, float]]:
    """Durations [s], and tunables as shares of their (logarithmic) ranges, the throttle beyond its ends, too."""
    shares = st.floats(0, 1)
    durations = st.one_of(st.floats(1e-3, 0.2), st.floats(0.2, 30.0), st.floats(5.0, 30.0))
    return draw(st.lists(st.tuples(durations, shares, shares, st.floats(-0.3, 1.3)), min_size=3, max_size=12))


def setting(scenario: Scenario, shares: tuple[float, float, float]) -> NDArray[np.float64]:
    """A batch of one: tunables at these shares of their ranges, 0 and unlimited beyond those of the throttle.

    One more than period, size and throttle stands half-way between the first two.
    """
    ranges = load_daemon("kmmscand-tunable").tunables | scenario.daemon.tunables
    names = list(ranges)
    of_all = (*shares, *[(shares[0] + shares[1]) / 2] * (len(names) - len(shares)))
    values = [
        float(TUNABLES[name].quantity.nearest(row.min * (row.max / row.min) ** share))
        for (name, row), share in zip(ranges.items(), of_all, strict=True)
    ]
    if shares[2] < 0:
        values[2] = 0.0
    elif shares[2] > 1:
        values[2] = math.inf
    return np.array([Setting(dict(zip(names, values, strict=True))).row])


# Laws of what a system tells from one moment to the next; those of a state stand in tierenv.sim.audit


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
        throttle=math.inf if np.isnan(system.tunables[0, 2]) else float(system.tunables[0, 2]),
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
    freed, freed_before = (
        begin.fast_pages + each.promoted - each.counters[DEMOTED] - each.fast_pages for each in (now, before)
    )
    exited = (now.finished_s > 0) & (before.finished_s == 0)
    most = sum(process.pages for process, is_gone in zip(scenario.processes, exited, strict=True) if is_gone)
    if any(process.comes_and_goes for process in scenario.processes):
        most = math.inf  # nobody is told how often it has
    assert 0 <= freed - freed_before <= most


def check_throttle(scenario: Scenario, before: Moment, now: Moment) -> None:
    """Promotions stay within the budgets of the throttle windows that the time since touches."""
    assert before.throttle > 0 or now.counters[MIGRATED] == before.counters[MIGRATED]
    if scenario.daemon.mechanism == "hint-faults":
        return
    window_s = scenario.daemon.throttle_window
    windows = math.floor((now.elapsed_s - before.elapsed_s) / window_s) + 2
    budget = max(1.0, now.throttle / PAGE_BYTES * window_s)
    assert now.counters[MIGRATED] - before.counters[MIGRATED] <= windows * budget


# Runs


def play(system: Any, scenario: Scenario, schedule: list[tuple[float, ...]], seed: int) -> None:
    """Run a schedule, and check every law after each of its steps."""
    system.reset(np.array([seed], np.uint64), ["training"])
    begin = moment_of(system)
    system.audit()
    for duration_s, *shares in schedule:
        system.apply(setting(scenario, (shares[0], shares[1], shares[2])))
        before = moment_of(system)
        system.advance(duration_s)
        now = moment_of(system)
        check_time(before, now, duration_s)
        check_counters_only_grow(before, now)
        check_fast_tier(scenario, begin, before, now)
        check_throttle(scenario, before, now)
        system.audit()


@settings(max_examples=120)
@given(scenarios(most_pages=20_000), schedules(), st.integers(0, 2**32))
def test_lumped_model_keeps_its_books(scenario: Scenario, schedule: list[tuple[float, ...]], seed: int) -> None:
    play(LumpedSystem([scenario]), scenario, schedule, seed)


@settings(max_examples=60)
@given(scenarios(most_pages=3000), schedules(), st.integers(0, 2**32))
def test_pages_model_keeps_its_books(scenario: Scenario, schedule: list[tuple[float, ...]], seed: int) -> None:
    play(PagesSystem(scenario), scenario, schedule, seed)


@settings(max_examples=50)
@given(scenarios(most_pages=5000), st.integers(0, 2**32))
def test_a_finished_run_has_done_all_its_work_and_stands_still(scenario: Scenario, seed: int) -> None:
    system = start(scenario, seed)
    system.run_to_end()
    assert system.is_done[0] and math.isclose(system.work_done[0], 1)
    assert (system.remaining_s() == 0).all()
    counters, finished_s, elapsed_s = system.counters, system.finished_s, system.elapsed_s
    system.advance(100.0)
    assert (system.counters == counters).all() and (system.finished_s == finished_s).all()
    assert system.elapsed_s == elapsed_s


@settings(max_examples=50)
@given(scenarios(most_pages=5000), st.integers(0, 2**32))
def test_no_process_is_faster_than_alone_on_its_own_node(scenario: Scenario, seed: int) -> None:
    platform, stores = scenario.platform, [process.workload.store_share for process in scenario.processes]
    # a slow tier may take stores sooner, as the queue of persistent memory does
    assume(all(platform.cxl.access_latency(share) >= platform.dram.access_latency(share) for share in stores))
    system = start(scenario, seed)
    system.run_to_end()
    rows = scenario_arrays(scenario).processes
    alone_s = rows["total_accesses"] * rows["all_fast_access_s"] / rows["threads"]
    is_once = ~(rows["is_endless"] | rows["is_repeating"])
    has_own_node = rows["cpu_node"] < len(scenario.node_capacity_pages)  # the other socket's may be slower than CXL
    assert (system.finished_s[0] - rows["start_s"] >= alone_s * (1 - 1e-9))[has_own_node & is_once].all()
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
