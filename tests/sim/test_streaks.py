"""The access threshold: in how many windows in a row a page must be found accessed to be listed, in both models."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.sim.machines import machine_of, pages_of, start, with_workload
from tierenv.counters import IDLEPAGE, MIGADDED, MIGRATED, MM_SCANS, SLOWTIER
from tierenv.daemon import load_daemon
from tierenv.scenario import Scenario, load_scenario
from tierenv.shrink import shrink
from tierenv.sim.lumped import streaks as lumped_streaks
from tierenv.sim.lumped.state import QUEUED, SLOW, STATE
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.system import PagesSystem
from tierenv.tunables import Setting
from tierenv.units import GIB, MIB
from tierenv.workload import PageClass, Phase

PAGES = 2048
DAEMON = load_daemon("kmmscand-threshold")
SYSTEMS = [LumpedSystem, PagesSystem]


def row(windows: float | None, period_ms: float = 500.0, throttle: float = np.inf) -> NDArray[np.float64]:
    """A setting as a batch of one; without windows one of kmmscand-tunable."""
    values = {"scan_period": period_ms, "scan_size": 16.0 * GIB, "throttle": throttle}
    return np.array([Setting(values | ({} if windows is None else {"access_threshold": windows})).row])


def begin(system_type: type, scenario: Scenario, seed: int = 0) -> Any:
    if system_type is LumpedSystem:
        return start(scenario, seed)
    system = PagesSystem(scenario)
    system.reset(np.array([seed], np.uint64), ["training"])
    return system


def small(name: str = "moving-hot-set", daemon: Any = DAEMON, **workload: Any) -> Scenario:
    return shrink(with_workload(load_scenario(name), accesses_per_page=2e4, **workload).replace(daemon=daemon), PAGES)


def always_and_never() -> Scenario:
    """A quarter of the pages is touched in every window, the rest in none."""
    classes = (PageClass(name="hot", fraction=0.25), PageClass(name="idle", fraction=0.75))
    phases = (Phase(name="all", access_share={"hot": 1.0}),)
    return small("skewed", classes=classes, phases=phases, initial_placement="slow")


def counts_by_chunk(system: Any, chunks: int) -> NDArray[np.int64]:
    """int64[chunks, 3]: pages found accessed, listed and idle in each chunk."""
    found = []
    for chunk in range(1, chunks + 1):
        while system.counters[0, MM_SCANS] < chunk:
            system.advance(0.05)
        found.append(system.counters[0, [SLOWTIER, MIGADDED, IDLEPAGE]])
    return np.diff(found, axis=0, prepend=0)


@pytest.mark.parametrize("system_type", SYSTEMS)
@pytest.mark.parametrize("windows", [2, 3, 5, 16])
def test_a_page_that_is_always_touched_is_listed_after_as_many_windows(system_type: type, windows: int) -> None:
    scenario = always_and_never()
    hot, idle = scenario.class_pages
    system = begin(system_type, scenario)
    system.apply(row(windows))
    found = counts_by_chunk(system, windows + 1)
    # the first visit only resets; two windows make it accessed, the threshold makes it listed
    assert found[:, 0].tolist() == [0, 0] + [hot] * (windows - 1)
    assert found[:, 1].tolist() == [0] * windows + [hot]
    assert found[:, 2].tolist() == [hot + idle] + [idle] * windows


@pytest.mark.parametrize("system_type", SYSTEMS)
def test_a_daemon_of_one_s_own_may_list_what_one_window_found_accessed(system_type: type) -> None:
    ranges = DAEMON.tunables["access_threshold"].model_copy(update={"min": 1.0})
    own = DAEMON.model_copy(update={"tunables": DAEMON.tunables | {"access_threshold": ranges}})
    scenario = always_and_never().replace(daemon=own)
    system = begin(system_type, scenario)
    system.apply(row(1))
    assert counts_by_chunk(system, 2)[:, :2].tolist() == [[0, 0], [scenario.class_pages[0]] * 2]


@pytest.mark.parametrize("system_type", SYSTEMS)
def test_a_threshold_that_is_written_is_held_against_the_streaks_so_far(system_type: type) -> None:
    scenario = always_and_never()
    hot = scenario.class_pages[0]
    system = begin(system_type, scenario)
    system.apply(row(16))
    assert counts_by_chunk(system, 6)[:, 1].sum() == 0
    system.apply(row(7))  # five windows so far, six after the next visit
    assert counts_by_chunk(system, 7)[:, 1].sum() == 0
    system.apply(row(3))
    assert system.counters[0, MIGADDED] == 0, "nothing is listed before its next visit"
    counts_by_chunk(system, 8)
    assert system.counters[0, MIGADDED] == hot


@pytest.mark.parametrize("system_type", SYSTEMS)
@pytest.mark.parametrize("name", ["moving-hot-set", "skewed"])
def test_two_windows_are_kmmscand_tunable_to_the_last_bit(system_type: type, name: str) -> None:
    ends = []
    for daemon, windows in (("kmmscand-tunable", None), ("kmmscand-threshold", 2.0)):
        system = begin(system_type, small(name, daemon), seed=3)
        for period_ms, throttle in ((500.0, 4 * MIB), (2000.0, 0.0), (100.0, np.inf), (500.0, MIB / 4)):
            system.apply(row(windows, period_ms, throttle))
            system.advance(6.0)
        system.run_to_end()
        assert system.counters[0, MIGRATED] > 0
        ends.append((system.elapsed_s, system.counters, system.model, system.tunables[:, :4]))
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


def test_streaks_keep_the_law_of_the_daemon_page_by_page() -> None:
    system = begin(PagesSystem, small())
    system.apply(row(4, throttle=MIB / 4))
    pages = pages_of(system)
    scans, before, entries = 0, pages.streak.copy(), pages.entries.copy()
    for _ in range(400):
        moves = pages.moves.copy()
        system.advance(0.02)
        after = pages.streak.copy()
        stayed = pages.moves == moves
        is_next = (after == before) | (after == before + 1) | (after == 0)
        assert is_next[stayed].all(), "a window makes a streak longer by one, or ends it"
        assert (after[~stayed & (pages.node < 0)] <= 1).all(), "a page that has been demoted begins anew"
        # a look is shorter than a window, so what has been listed since the last one has its streak still
        assert (after[stayed & (pages.entries > entries)] >= 4).all()
        scans, before, entries = int(system.counters[0, MM_SCANS]), after, pages.entries.copy()
    assert scans >= 10 and system.counters[0, MIGADDED] > 0


@pytest.mark.parametrize("system_type", SYSTEMS)
def test_a_higher_threshold_never_lists_a_page_earlier(system_type: type) -> None:
    """Nothing is promoted under throttle 0, so that visits find the same whatever the threshold."""
    first = []
    for windows in (2, 3, 4, 6, 9, 16):
        system = begin(system_type, small())
        system.apply(row(windows, 100.0, 0.0))
        for _ in range(60):
            system.advance(0.05)
        system.apply(row(windows, 100.0, MIB / 1024))
        counted = counts_by_chunk(system, int(system.counters[0, MM_SCANS]) + 1)
        first.append(int(counted[-1, 1]))
    assert first == sorted(first, reverse=True) and first[0] > first[-1]


@pytest.mark.parametrize(
    ("wanted", "marked", "total"),
    [
        *((40, 1, 2000), (40, 20, 4000), (1000, 3, 10_000), (200, 50, 20_000), (3000, 2998, 3000)),
        *((500, 990, 1000), (900, 300, 1000), (5000, 5000, 10_000)),
    ],
)
def test_what_is_drawn_of_streaks_has_the_right_mean(wanted: int, marked: int, total: int) -> None:
    """Few pages have a long streak, and what is a little too many of them is many more than there are."""
    state = np.zeros(1, STATE)[0]
    drawn = np.array([lumped_streaks.drawn_of(state, wanted, marked, total) for _ in range(20_000)])
    assert drawn.min() >= max(0, wanted + marked - total) and drawn.max() <= min(wanted, marked)
    share = marked / total
    variance = wanted * share * (1 - share) * (total - wanted) / (total - 1)
    # 4.5 standard errors: eight such tests fail by chance once in 18,000 runs
    assert abs(drawn.mean() - wanted * share) <= 4.5 * np.sqrt(variance / len(drawn)) + 1e-12


@given(
    held=st.lists(st.integers(0, 400), min_size=2, max_size=16),
    touched=st.floats(0, 1),
    gone=st.floats(0, 1),
    fresh=st.integers(0, 300),
    least=st.integers(1, 16),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_a_visit_of_a_lump_loses_no_page(
    held: list[int], touched: float, gone: float, fresh: int, least: int, seed: int
) -> None:
    daemon_range = DAEMON.tunables["access_threshold"].model_copy(update={"min": 1.0, "max": float(len(held))})
    own = DAEMON.model_copy(update={"tunables": DAEMON.tunables | {"access_threshold": daemon_range}})
    machine = machine_of(_SYSTEMS.setdefault(len(held), start(small(daemon=own))))
    machine.state["streak_counter"], machine.state["random_counter"] = seed, 77
    machine.state["access_threshold"] = least
    left = round((1 - gone) * sum(held))
    both = round(touched * left)
    machine.counts[0, SLOW : SLOW + 4] = [50, fresh, left - both, both]
    machine.streaks[0, 0] = held
    hits = lumped_streaks.visit_streaks(machine, 0, SLOW)
    after = machine.streaks[0, 0]
    assert (after >= 0).all() and after[0] == fresh and after[1:].sum() == both
    assert hits == after[least - 1 :].sum()
    # those with so long a streak were among those with one a window shorter, or as long where none is longer
    for index in range(1, len(held)):
        assert after[index] <= held[index - 1] + (held[index] if index == len(held) - 1 else 0)
    assert machine.state["random_counter"] == 77, "other draws are as they are without streaks"
    if both == left == sum(held):
        assert after[1:].tolist() == [*held[:-2], held[-2] + held[-1]]
    machine.streaks[0, 1] = 0
    lumped_streaks.list_streaks(machine, 0, hits // 2)
    assert machine.streaks[0, 1].sum() == hits // 2 and machine.streaks[0, 1, : least - 1].sum() == 0
    machine.counts[0, SLOW : SLOW + 4] = [50, 0, machine.streaks[0, 0].sum(), 0]
    machine.counts[0, QUEUED : QUEUED + 4] = [0, 0, hits // 2, 0]
    lumped_streaks.unlist_streaks(machine, 0, hits // 2)
    assert machine.streaks[0, 1].sum() == 0 and machine.streaks[0, 0].sum() == both + fresh


_SYSTEMS: dict[int, LumpedSystem] = {}


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_streaks_are_accounted_for_whatever_moves_pages(mode: int) -> None:
    scenario = small().replace(numa_balancing_mode=mode)
    for changes in ({}, {"rechecks_hotness": True, "failure_window": 1024}):
        own = scenario.model_copy(update={"daemon": scenario.daemon.model_copy(update=changes)})
        for system in (start(own, 1), begin(PagesSystem, own, 1)):
            for windows, throttle in ((3, np.inf), (8, MIB / 4), (2, np.inf), (16, 0.0), (5, np.inf)):
                system.apply(row(windows, 100.0, throttle))
                for _ in range(6):
                    system.advance(1.0)
                    system.audit()
            assert system.counters[0, MIGADDED] > 0
