"""The clairvoyant bound: closed forms, laws, and episodes that must not beat it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.tiny import setting_of_three
from tierenv.bounds import NUM_STEPS, clairvoyant_bound_s, clairvoyant_seconds, fluid_seconds
from tierenv.scenario import load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.units import GIB, MIB
from tierenv.workload import LoadStep, Phase

SLOW_S, FAST_S = 200e-9, 100e-9
THREADS = 10
PAGES = 1e6


def linear_access_time(fast_share: Any) -> Any:
    return SLOW_S - (SLOW_S - FAST_S) * fast_share


def one_class(**changes: Any) -> float:
    """One phase, one class, everything slow at first and room for everything; 100 s when all is fast."""
    episode = dict(
        access_shares=[[1.0]],
        work=[100 * THREADS / FAST_S],
        class_pages=[PAGES],
        fast_pages_at_start=[0],
        capacity_pages=PAGES,
        promotions_per_s=PAGES / 50,
        stall_s_per_promotion=0,
        threads=THREADS,
        access_time_s=linear_access_time,
    )
    return clairvoyant_seconds(**episode | changes)


def two_phases(**changes: Any) -> float:
    """Two classes that trade places half-way; the fast tier holds one of them."""
    episode = dict(
        access_shares=[[0.9, 0.1], [0.1, 0.9]],
        work=[50 * THREADS / FAST_S] * 2,
        class_pages=[PAGES / 2] * 2,
        fast_pages_at_start=[PAGES / 4] * 2,
        capacity_pages=PAGES / 2,
        promotions_per_s=PAGES / 40,
    )
    return one_class(**episode | changes)


@pytest.mark.parametrize("ramp_s", [1.0, 10.0, 50.0, 90.0])
def test_ramp_that_ends_matches_the_closed_form(ramp_s: float) -> None:
    slow_s, fast_s = 200.0, 100.0
    expected = ramp_s + fast_s * (1 - ramp_s * math.log(slow_s / fast_s) / (slow_s - fast_s))
    bound = one_class(promotions_per_s=PAGES / ramp_s)
    assert bound <= expected * (1 + 1e-9)
    assert bound == pytest.approx(expected, rel=5e-4)


def test_nothing_can_move() -> None:
    assert one_class(promotions_per_s=0) == pytest.approx(200)
    assert one_class(capacity_pages=0) == pytest.approx(200)


def test_everything_is_there() -> None:
    assert one_class(fast_pages_at_start=[PAGES]) == pytest.approx(100)


def test_stall_is_paid_for_every_promotion_or_the_promotion_left_out() -> None:
    instantly = dict(promotions_per_s=PAGES / 1e-3)
    assert one_class(**instantly, stall_s_per_promotion=1e-5) == pytest.approx(100 + 10, rel=1e-3)
    assert one_class(**instantly, stall_s_per_promotion=1e-3) == pytest.approx(200, rel=1e-3)


def test_hottest_class_comes_first() -> None:
    bound = one_class(
        access_shares=[[0.8, 0.2]],
        class_pages=[PAGES / 4, 3 * PAGES / 4],
        fast_pages_at_start=[0, 0],
        capacity_pages=PAGES / 4,
        promotions_per_s=PAGES / 1e-3,
    )
    assert bound == pytest.approx(1e9 * linear_access_time(0.8), rel=1e-3)


def test_next_hot_class_is_promoted_ahead_of_time_into_idle_room() -> None:
    """With room for both classes the second phase needs no ramp; a bound phase by phase would give it one."""
    roomy = two_phases(fast_pages_at_start=[0, 0], capacity_pages=PAGES)
    first_phase_alone = two_phases(fast_pages_at_start=[0, 0], capacity_pages=PAGES, work=[50e8, 1e-3])
    assert roomy == pytest.approx(first_phase_alone + 50, rel=2e-3)


@pytest.mark.parametrize("field", ["capacity_pages", "promotions_per_s"])
def test_more_never_hurts(field: str) -> None:
    values = np.linspace(PAGES / 4, PAGES, 6) if field == "capacity_pages" else np.geomspace(PAGES / 1000, PAGES, 6)
    start = [PAGES / 8, PAGES / 8]
    bounds = [two_phases(fast_pages_at_start=start, **{field: value}) for value in values]
    assert (np.diff(bounds) <= 1e-6).all()
    assert bounds[-1] < bounds[0] - 1


@pytest.mark.parametrize("episode", [one_class, two_phases])
def test_refining_the_grid_changes_little(episode: Callable[..., float]) -> None:
    assert episode(num_steps=4 * NUM_STEPS) == pytest.approx(episode(), rel=1e-3)


def test_access_time_that_is_not_convex_is_bounded_by_its_convex_hull() -> None:
    def cliff(fast_share: Any) -> Any:
        return np.where(np.asarray(fast_share) < 0.5, SLOW_S, FAST_S)

    def hull(fast_share: Any) -> Any:
        return np.maximum(FAST_S, SLOW_S - 2 * (SLOW_S - FAST_S) * fast_share)

    capacity = dict(capacity_pages=PAGES / 4, promotions_per_s=PAGES / 1e-3)
    assert one_class(access_time_s=cliff, **capacity) <= one_class(access_time_s=hull, **capacity) * (1 + 1e-6)


SETTINGS = [
    setting_of_three(2000, GIB, math.inf),
    setting_of_three(500, GIB, math.inf),
    setting_of_three(500, 4 * GIB, 256 * MIB),
    setting_of_three(5000, 16 * GIB, 64 * MIB),
    setting_of_three(100, 16 * GIB, math.inf),
    setting_of_three(2000, GIB, 0),
]


@pytest.mark.parametrize("scenario_name", ["abench-8g", "skewed", "moving-hot-set"])
def test_no_episode_beats_it(scenario_name: str) -> None:
    scenario = load_scenario(scenario_name)
    system = LumpedSystem([scenario] * len(SETTINGS))
    system.reset(np.full(len(SETTINGS), 7, np.uint64), ["training"] * len(SETTINGS))
    bound_s = clairvoyant_bound_s(system, 0)
    system.apply(np.array([setting.row for setting in SETTINGS]))
    while not system.is_done.all():
        system.advance(100.0)
    assert (system.elapsed_s > bound_s * (1 - 1e-4)).all()
    assert bound_s >= system.reference_s[0]


# Where phases end by time, or the load changes


def linear_rate(share: float, load: float) -> float:
    return load * THREADS / float(linear_access_time(share))


def fluid(**changes: Any) -> float:
    """Two phases, of which in the first everything is fast at best and in the second half; 100 s of the first's."""
    episode: dict[str, Any] = {
        "best_share": [1.0, 0.5],
        "phase_work": [math.nan, math.nan],
        "phase_s": [10.0, 15.0],
        "load": [(math.inf, 1.0)],
        "rate": linear_rate,
        "accesses": 100 * THREADS / FAST_S,
    }
    return fluid_seconds(**episode | changes)


def test_the_fluid_goes_on_at_the_best_rate_of_each_phase() -> None:
    # 25 s take 10 + 15 * 2 / 3 = 20 s of the first phase's work
    assert fluid() == pytest.approx(125.0)
    assert fluid(best_share=[1.0, 1.0]) == pytest.approx(100.0)
    assert fluid(accesses=15 * THREADS / FAST_S) == pytest.approx(10.0 + 5.0 * 1.5)


def test_the_fluid_follows_the_load_through_phases_that_end_by_work_too() -> None:
    by_work = {"phase_s": [math.inf] * 2, "phase_work": [40 * THREADS / FAST_S, 60 * THREADS / FAST_S]}
    assert fluid(**by_work) == pytest.approx(40 + 60 * 1.5)
    assert fluid(**by_work, load=[(5.0, 0.5)]) == pytest.approx(2 * (40 + 60 * 1.5))
    assert fluid(**by_work, load=[(30.0, 1.0), (10.0, 0.5)]) == pytest.approx(145.0)


SHARES = st.lists(st.floats(0.01, 1), min_size=4, max_size=4).map(lambda parts: [part / sum(parts) for part in parts])


@settings(max_examples=10)
@given(
    shares=st.lists(SHARES, min_size=1, max_size=3),
    durations=st.lists(st.floats(1.0, 15.0), min_size=3, max_size=3),
    load=st.lists(
        st.builds(LoadStep.model_construct, duration=st.floats(0.5, 10.0), share=st.floats(0.1, 1.0)), max_size=2
    ),
    is_timed=st.booleans(),
    fast_share=st.floats(0.05, 1.2),
)
def test_nobody_beats_the_fluid_be_his_pages_where_they_like(
    shares: list[list[float]], durations: list[float], load: list[LoadStep], is_timed: bool, fast_share: float
) -> None:
    """Neither daemons nor somebody who has put the hottest pages on the fast tier beforehand."""
    assume(is_timed or load)  # otherwise the linear programme applies
    skewed = load_scenario("skewed")
    names = [page_class.name for page_class in skewed.workload.classes]
    phases = tuple(
        Phase(name=str(index), access_share=dict(zip(names, share, strict=True))).model_copy(
            update={"duration": seconds if is_timed else None}
        )
        for index, (share, seconds) in enumerate(zip(shares, durations, strict=False))
    )
    pages = np.array(skewed.class_pages, dtype=np.float64)
    capacity = fast_share * pages.sum()
    hottest = np.argsort(-np.mean(shares, axis=0) / pages)
    room = np.clip(0.9 * capacity - np.concatenate(([0.0], np.cumsum(pages[hottest])[:-1])), 0.0, pages[hottest])
    at_start = dict(zip(np.array(names)[hottest], room / pages[hottest], strict=True))
    systems = []
    for is_placed in (False, True):
        own = tuple(
            page_class.model_copy(update={"fast_at_start": float(at_start[page_class.name]) if is_placed else None})
            for page_class in skewed.workload.classes
        )
        changes = {"phases": phases, "load": tuple(load), "classes": own, "accesses_per_page": 5e3}
        workload = skewed.workload.model_copy(update=changes)
        update = {"workload": workload, "fast_capacity": int(capacity) * 4096, "regions": 8}
        systems.append(skewed.model_copy(update=update))
    system = LumpedSystem([*systems, systems[0].model_copy(update={"control": "off"})])
    system.reset(np.zeros(3, np.uint64), ["training"] * 3)
    bounds = [clairvoyant_bound_s(system, index) for index in range(3)]
    system.run_to_end()
    assert (system.elapsed_s >= np.array(bounds) * (1 - 1e-4)).all()
    assert bounds == pytest.approx([bounds[0]] * 3)


def test_the_fluid_is_near_what_a_machine_does_whose_hottest_pages_are_fast() -> None:
    skewed = load_scenario("skewed")
    load = tuple(LoadStep.model_construct(duration=5.0, share=share) for share in (1.0, 0.4))
    everywhere = {"load": load, "initial_placement": "random"}
    scenario = skewed.model_copy(
        update={
            "workload": skewed.workload.model_copy(update=everywhere),
            "fast_capacity": 2 * skewed.size,
            "control": "off",
        }
    )
    system = LumpedSystem([scenario])
    system.reset(np.zeros(1, np.uint64), ["training"])
    bound_s = clairvoyant_bound_s(system, 0)
    system.run_to_end()
    assert bound_s * (1 - 1e-6) <= system.elapsed_s[0] < 1.01 * bound_s
