"""The features of an observation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tierenv.counters import COUNTER_INDEX, NUM_COUNTERS
from tierenv.daemon import AccessedBitDaemon, load_daemon
from tierenv.errors import ConfigError
from tierenv.features import (
    FAST_NODE_PAGES,
    RATE,
    RESIDENT_PAGES,
    LogScale,
    OctaveScale,
    Scale,
    all_features,
    supplied_features,
)
from tierenv.observation import ObservationEncoder
from tierenv.tunables import Setting
from tierenv.units import GIB, MIB, PAGE_BYTES

TUNABLE = load_daemon("kmmscand-tunable")
V1 = load_daemon("kmmscand-v1")
PAGES = 8 * GIB // PAGE_BYTES


def observe(
    increments: dict[str, int] | None = None,
    *,
    start: NDArray[np.int64] | None = None,
    step_s: float = 2.0,
    tunables: tuple[float, float, float] = (2000, GIB, math.inf),
    pages: int = PAGES,
    daemon: AccessedBitDaemon = TUNABLE,
) -> dict[str, float]:
    """Returns the features of one step by name."""
    previous = np.zeros((1, NUM_COUNTERS), dtype=np.int64) if start is None else start
    counters = previous.copy()
    for name, increment in (increments or {}).items():
        counters[0, COUNTER_INDEX[name]] += increment
    encoder = ObservationEncoder(daemon)
    values = encoder.observe(
        previous,
        counters,
        np.array([step_s]),
        np.array([Setting(dict(zip(TUNABLE.tunables, tunables, strict=True))).row]),
        {RESIDENT_PAGES: np.array([pages]), FAST_NODE_PAGES: np.array([PAGES])},
        encoder.initial_state(1),
    )
    assert values.dtype == np.float32 and encoder.space.contains(values[0])
    return {column.name: float(value) for column, value in zip(encoder.columns, values[0], strict=True)}


@given(
    st.lists(st.integers(0, 2**50), min_size=NUM_COUNTERS, max_size=NUM_COUNTERS),
    st.floats(0, 1e6),
    st.integers(1, 2**40),
    st.tuples(*[st.floats(0, math.inf)] * 3),
)
def test_observations_stay_in_their_space_whatever_a_kernel_reports(
    counts: list[int], step_s: float, pages: int, tunables: tuple[float, float, float]
) -> None:
    increments = dict(zip(COUNTER_INDEX, counts, strict=True))
    observe(increments, step_s=step_s, pages=pages, tunables=tunables)


@pytest.mark.parametrize(
    ("name", "counter"),
    [(feature.name, feature.counters[0]) for feature in supplied_features(TUNABLE) if feature.scale is RATE],
)
def test_rates_follow_the_documented_scale(name: str, counter: str) -> None:
    assert observe()[name] == -1
    for rate in (1e-6, 1e-3, 0.1, 1.0):
        expected = 2 * math.log2(1 + rate * 2**16) / 18 - 1
        assert observe({counter: round(rate * PAGES * 2)})[name] == pytest.approx(expected, abs=2e-3)


def test_rates_are_per_page_and_second() -> None:
    count = {"nr_kmmscand_migrated": 10_000}
    long = observe({"nr_kmmscand_migrated": 20_000}, step_s=4.0)["promoted"]
    large = observe({"nr_kmmscand_migrated": 20_000}, pages=2 * PAGES)["promoted"]
    assert observe(count)["promoted"] == pytest.approx(long) == pytest.approx(large)


def test_only_what_happened_in_the_step_counts() -> None:
    start = np.full((1, NUM_COUNTERS), 10**9, dtype=np.int64)
    assert observe(start=start)["accessed_slow"] == -1


def test_backlog_is_what_is_queued_and_not_yet_handled() -> None:
    handled = {"nr_kmmscand_migrated": 900, "nr_kmmscand_migrate_failed": 100}
    assert observe({"nr_kmmscand_migadded": 1000} | handled)["backlog"] == -1
    pending = observe({"nr_kmmscand_migadded": 1000 + PAGES} | handled)["backlog"]
    assert pending == pytest.approx(2 * 12 / 16 - 1, abs=1e-4)


def test_shares_span_the_whole_range() -> None:
    assert observe()["free_fast"] == -1 and observe()["migrator_busy"] == -1
    full = observe({"node0/nr_free_pages": PAGES, "kmmmigrated/schedstat": 2 * 10**9})
    assert full["free_fast"] == 1 and full["migrator_busy"] == 1


def test_tunables_appear_as_action_coordinates() -> None:
    seen = observe(tunables=(100, 16 * GIB, 64 * MIB))
    assert (seen["scan_period"], seen["scan_size"]) == (-1, 1)
    assert seen["throttle"] == pytest.approx(0, abs=1e-6)


def test_resident_memory_is_the_one_absolute_feature() -> None:
    assert observe(pages=16 * GIB // PAGE_BYTES)["resident"] == 0
    assert observe(pages=32 * GIB // PAGE_BYTES)["resident"] == pytest.approx(1 / 8)


def test_a_daemon_without_a_throttle_has_no_feature_for_it() -> None:
    assert "throttle" in observe() and "throttle" not in observe(daemon=V1)
    assert set(observe()) - set(observe(daemon=V1)) == {"throttle"}


def test_machines_of_a_batch_must_share_their_features() -> None:
    with pytest.raises(ConfigError, match="kmmscand-v1"):
        ObservationEncoder(TUNABLE, V1)


def test_every_feature_names_existing_counters_and_explains_itself() -> None:
    for feature in all_features():
        assert set(feature.counters) <= set(COUNTER_INDEX)
        assert feature.meaning and feature.unit and str(feature.scale)


def scaled_by(scale: Scale, value: float) -> float:
    """Returns a value on a scale, by the formulas of the module's documentation."""
    gain, offset = scale.gain_and_offset
    if isinstance(scale, LogScale):
        return math.log2(1 + value / scale.unit) * gain + offset
    return (math.log2(value / scale.unit) if isinstance(scale, OctaveScale) else value) * gain + offset


def test_scales_map_their_ends_to_the_ends_of_the_range() -> None:
    for scale in (feature.scale for feature in all_features()):
        gain, offset = scale.gain_and_offset
        if isinstance(scale, LogScale):
            assert offset == -1 and gain * scale.octaves + offset == 1
        else:
            assert gain * (scale.middle - scale.half) + offset == -1
            assert gain * (scale.middle + scale.half) + offset == 1
        for end in (-1.0, 1.0):
            assert scaled_by(scale, scale.invert(end)) == pytest.approx(end)
