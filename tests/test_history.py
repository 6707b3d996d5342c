"""What features remember: averages, stacks, and whose past goes on."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierenv.agents.integer.arithmetic import average, shift_rounded
from tierenv.history import NO_HISTORY, History, HistoryLayout, HistoryState, average_of, stack_of
from tierenv.live.arithmetic import ACTION_BITS, AVERAGE_BITS, ONE

EVERY = np.ones(1, dtype=np.bool_)
values = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30)


def columns(history: History, series: list[float]) -> np.ndarray:
    """Returns float64[steps, columns] of one machine from its first step on."""
    state = HistoryState(HistoryLayout([history]), 1)
    return np.array([state.extend(np.array([[value]]), EVERY)[0].copy() for value in series])


@given(values)
def test_without_a_history_a_value_is_itself(series: list[float]) -> None:
    np.testing.assert_array_equal(columns(NO_HISTORY, series)[:, 0], series)


@given(values, st.integers(2, 9))
def test_a_stack_holds_the_last_values_and_begins_full_of_the_first(series: list[float], length: int) -> None:
    padded = [series[0]] * (length - 1) + series
    expected = [padded[step : step + length][::-1] for step in range(len(series))]
    np.testing.assert_array_equal(columns(stack_of(length), series), expected)


@given(values, st.sampled_from([2, 4, 16, 256]))
def test_an_average_weighs_a_step_less_with_every_one_after_it(series: list[float], length: int) -> None:
    kept = 1 - 1 / length
    weights = kept ** np.arange(len(series))[::-1] / length
    weights[0] *= length  # the first value stands for all before it
    assert columns(average_of(length), series)[-1, 0] == pytest.approx(weights @ np.array(series), abs=1e-9)


@given(values, st.sampled_from([2, 4, 16, 256]))
def test_an_average_in_integers_is_that_of_the_floats(series: list[float], length: int) -> None:
    history = average_of(length)
    exact = columns(history, series)[:, 0]
    whole = [np.array([round(value * ONE)], np.int64) for value in series]
    kept = whole[0] << AVERAGE_BITS
    for value, expected in zip(whole[1:], exact[1:], strict=True):
        kept = average(kept, value, history.shift)
        # a rounding loses half a unit of the last place, and the average collects `length` of them
        allowed = 2.0**-ACTION_BITS + length * 2.0 ** -(ACTION_BITS + AVERAGE_BITS)
        assert abs(int(shift_rounded(kept, AVERAGE_BITS)[0]) / ONE - expected) <= allowed


def test_a_reset_forgets_the_past_of_its_machines_alone() -> None:
    state = HistoryState(HistoryLayout([stack_of(2), average_of(2)]), 2)
    both = np.ones(2, dtype=np.bool_)
    state.extend(np.array([[1.0, 1.0], [1.0, 1.0]]), both)
    first = np.array([True, False])
    state.restart(first)
    at_reset = state.extend(np.array([[0.5, 0.5], [0.0, 0.0]]), first)
    np.testing.assert_array_equal(at_reset[0], [0.5, 0.5, 0.5])
    after = state.extend(np.array([[0.0, 0.0], [0.0, 0.0]]), both)
    np.testing.assert_array_equal(after, [[0.0, 0.5, 0.25], [0.0, 1.0, 0.5]])


@pytest.mark.parametrize(
    "fields",
    [{"kind": "average", "length": 3}, {"kind": "stack", "length": 1}, {"length": 2}, {"kind": "stack", "length": 257}],
)
def test_a_history_that_integers_cannot_keep_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="steps: must be"):
        History(**fields)


def test_columns_are_named_after_their_feature_and_its_past() -> None:
    assert NO_HISTORY.column_names("failed") == ("failed",)
    assert average_of(4).column_names("failed") == ("failed_average_4",)
    assert stack_of(3).column_names("failed") == ("failed", "failed_1_ago", "failed_2_ago")
