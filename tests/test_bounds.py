"""The clairvoyant bound: closed forms, laws, and episodes that must not beat it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.tiny import setting_of_three
from tierenv.bounds import NUM_STEPS, clairvoyant_bound_s, clairvoyant_seconds
from tierenv.scenario import load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.units import GIB, MIB

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
