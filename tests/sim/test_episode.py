"""What a seed draws before an episode, also where numpy refuses to draw."""

import numpy as np
import pytest

from tests.tiny import tiny
from tierenv.sim import episode
from tierenv.sim.episode import draw_without_replacement
from tierenv.sim.lumped.system import LumpedSystem

PAGES = np.array([300, 0, 500, 1200])


def drawn(seed: int, wanted: int) -> np.ndarray:
    return draw_without_replacement(np.random.default_rng(seed), PAGES, wanted)


def test_few_pages_are_drawn_as_numpy_does() -> None:
    expected = np.random.default_rng(5).multivariate_hypergeometric(PAGES, 700, method="marginals")
    np.testing.assert_array_equal(drawn(5, 700), expected)


@pytest.mark.parametrize("wanted", [0, 1, 700, 1999, 2000])
def test_a_draw_beyond_numpy_s_limit_has_the_same_law(wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = np.array([drawn(seed, wanted) for seed in range(2000)])
    monkeypatch.setattr(episode, "MOST_DRAWN_EXACTLY", 0)
    ours = np.array([drawn(seed, wanted) for seed in range(2000)])
    assert (ours.sum(axis=1) == wanted).all() and (ours >= 0).all() and (ours <= PAGES).all()
    # five standard errors of 2,000 draws whose standard deviation is 11 at most
    np.testing.assert_allclose(ours.mean(axis=0), exact.mean(axis=0), atol=5 * 11 * 2**0.5 / 2000**0.5)
    np.testing.assert_allclose(ours.std(axis=0), exact.std(axis=0), atol=1.0)


@pytest.mark.parametrize("layout", ["scattered", "contiguous", "address-order"])
def test_a_billion_pages_and_more_are_placed_and_run(layout: str) -> None:
    workload = {"like": "skewed", "accesses_per_page": 5, "layout": layout}
    platform = {"like": "amd-epyc-cxl", "dram": {"capacity": "1TiB"}, "cxl": {"capacity": "4TiB"}}
    scenario = tiny(size="4TiB", fast_capacity="1TiB", regions=4, workload=workload, platform=platform)
    system = LumpedSystem([scenario])
    system.reset(np.array([1], dtype=np.uint64), ["training"])
    assert scenario.pages > 10**9
    share = system.fast_pages_by_class(0) / system.class_pages(0)
    np.testing.assert_allclose(share, 0.245, atol=1e-3)
    system.advance(5.0)
    system.audit()
    assert system.work_done[0] > 0
