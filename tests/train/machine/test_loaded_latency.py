"""The law of loaded latencies is found again in points that follow it, printed or disturbed, and not in others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.machine.made import loads
from tierenv.platform import MemoryTier
from tierenv.train.machine.loaded_latency import fit
from tierenv.units import GIB

tiers = st.builds(
    lambda idle_ns, rise, gb_per_s: MemoryTier.model_construct(
        idle_latency=1e-9 * idle_ns,
        queueing_latency=1e-9 * idle_ns * rise,
        bandwidth=1e9 * gb_per_s,
        capacity=GIB,
    ),
    st.floats(60, 800),
    st.floats(0.05, 1.5),
    st.floats(2, 800),
)


def points(tier: MemoryTier, most: float) -> tuple[np.ndarray, np.ndarray]:
    rates = loads(tier, most)
    return rates, np.array([tier.loaded_latency(rate) for rate in rates])


@settings(max_examples=60, deadline=None)
@given(tiers, st.floats(0.75, 0.97), st.booleans())
def test_constants_are_found_within_a_thousandth(tier: MemoryTier, most: float, idle_is_known: bool) -> None:
    law = fit(*points(tier, most), tier.idle_latency if idle_is_known else None)
    assert law is not None
    found = law.idle_s, law.queueing_s, law.bandwidth
    assert found == pytest.approx((tier.idle_latency, tier.queueing_latency, tier.bandwidth), rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(tiers, st.integers(0, 2**32 - 1))
def test_two_per_cent_of_noise_move_no_constant_by_more_than_its_error_says(tier: MemoryTier, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rates, latencies = points(tier, 0.92)
    law = fit(rates * rng.lognormal(0, 0.02, len(rates)), latencies * rng.lognormal(0, 0.02, len(rates)))
    assert law is not None
    off = np.abs(np.log([law.queueing_s / tier.queueing_latency, law.bandwidth / tier.bandwidth]))
    assert np.all(off < 6 * np.array([law.queueing_log_sd, law.bandwidth_log_sd]) + 0.05)


def test_a_curve_that_runs_back_is_fitted() -> None:
    """Beyond its peak a node serves less, the more is asked of it."""
    rates = np.array([160.0, 162, 163, 150, 130, 100, 60, 30, 10, 3]) * 1e9
    latencies = np.array([330.0, 310, 290, 190, 140, 112, 96, 88, 84, 82]) * 1e-9
    law = fit(rates, latencies)
    assert law is not None and 163e9 < law.bandwidth < 200e9 and 78e-9 < law.idle_s < 90e-9


@pytest.mark.parametrize(
    ("rates", "latencies"),
    [
        ([10.0, 5, 2, 1], [100.0, 100, 100, 100]),
        ([10.0, 5, 1], [200.0, 150, 100]),
        ([5.0, 5, 5, 5, 5], [200.0, 150, 120, 110, 100]),
        ([1.0, 2, 3, 4, 5, 6], [100.0, 102, 104, 106, 108, 110]),
    ],
)
def test_points_that_do_not_tell_are_not_fitted(rates: list[float], latencies: list[float]) -> None:
    assert fit(1e9 * np.array(rates), 1e-9 * np.array(latencies)) is None
