"""What of a policy's decisions is carried out, and when all of it is taken back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.live.hosts import DAEMON
from tierenv.agents.export.controller import _ranges
from tierenv.agents.integer.interface import Interface
from tierenv.live.arithmetic import UNLIMITED
from tierenv.live.guard import (
    CANARY,
    FIRST_WAIT_S,
    OBSERVING,
    PATIENCE,
    STEERING,
    STEP_FACTOR,
    WAITING,
    Guard,
    bounded,
    usual_of,
)
from tierenv.live.health import Metric

RANGES = _ranges(Interface(DAEMON))
METRICS = (Metric("churn", allowance=10.0), Metric("latency", allowance=0.0, relative_allowance=0.1))
WINDOW = 4
GOOD = {"churn": 5.0, "latency": 100.0}
BAD = {"churn": 5.0, "latency": 150.0}

VALUES = st.one_of(st.sampled_from([0, 1, UNLIMITED]), st.integers(0, 2**45))
ANY_SETTING = st.fixed_dictionaries({span["symbol"]: VALUES for span in RANGES})


def guard() -> Guard:
    return Guard(METRICS, WINDOW)


def steering(now_s: float = 0.0) -> Guard:
    subject = guard()
    for _ in range(2 * WINDOW):
        assert not subject.take(GOOD, now_s)
    assert subject.state == STEERING
    return subject


def test_nothing_is_written_before_as_much_was_observed_as_the_canary_lasts() -> None:
    subject, states, may_step = guard(), [], []
    for _ in range(2 * WINDOW + 1):
        subject.take(GOOD, 0.0)
        states.append(subject.state)
        may_step.append(subject.may_step)
    assert states == [OBSERVING] * (WINDOW - 1) + [CANARY] * WINDOW + [STEERING] * 2
    # one step, then it is held
    assert may_step == [False] * (WINDOW - 1) + [True] + [False] * (WINDOW - 1) + [True, True]


def test_a_canary_that_is_worse_is_taken_back() -> None:
    subject = guard()
    taken_back = [subject.take(GOOD if index < WINDOW else BAD, 0.0) for index in range(2 * WINDOW)]
    assert taken_back == [False] * (2 * WINDOW - 1) + [True]
    assert (subject.state, subject.returns) == (WAITING, 1)
    assert "the canary was worse: latency 150 is above 110, usual was 100" in subject.reason


def test_one_bad_interval_of_a_canary_is_noise() -> None:
    subject = guard()
    for index in range(2 * WINDOW):
        subject.take(BAD if index == WINDOW + 1 else GOOD, 0.0)
    assert subject.state == STEERING


def test_steering_ends_once_health_stays_worse_and_not_before() -> None:
    subject = steering()
    for _ in range(3):
        for _ in range(PATIENCE - 1):
            assert not subject.take(BAD, 0.0)
        assert not subject.take(GOOD, 0.0)  # hysteresis: the count begins anew
    assert [subject.take(BAD, 0.0) for _ in range(PATIENCE)] == [False] * (PATIENCE - 1) + [True]
    assert subject.state == WAITING


def test_a_metric_that_vanishes_is_not_worse() -> None:
    subject = steering()
    for _ in range(2 * PATIENCE):
        assert not subject.take({"churn": 5.0}, 0.0)


def test_waits_double_and_end_in_observing() -> None:
    subject, now_s, waits = guard(), 0.0, []
    for _ in range(3):
        subject.give_way("somebody else wrote a knob", now_s)
        began_s = now_s
        while subject.state == WAITING:
            now_s += 10.0
            subject.take(GOOD, now_s)
            assert not subject.may_step
        waits.append(now_s - began_s)
        assert subject.state == OBSERVING
    assert waits == [FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S]
    assert (subject.yields, subject.returns) == (3, 0)


def test_after_a_wait_what_is_usual_is_measured_anew() -> None:
    subject = guard()
    subject.give_way("somebody else wrote a knob", 0.0)
    for _ in range(1 + 2 * WINDOW):
        assert not subject.take(BAD, FIRST_WAIT_S)  # by now it is usual
    assert subject.state == STEERING


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_what_was_usual_is_never_worse(numbers: list[float]) -> None:
    usual = usual_of(METRICS[0], numbers)
    assert usual.limit >= usual.median + METRICS[0].allowance


def test_a_metric_that_was_never_observed_has_no_limit() -> None:
    assert usual_of(METRICS[0], []).limit == float("inf")


@given(ANY_SETTING, ANY_SETTING)
def test_a_setting_is_in_range_and_at_most_a_step_away(wanted: dict[str, int], now: dict[str, int]) -> None:
    setting, _ = bounded(wanted, now, RANGES)
    for span in RANGES:
        value, here = setting[span["symbol"]], now[span["symbol"]]
        is_special = (span["has_off"] and value == 0) or (span["has_unlimited"] and value == UNLIMITED)
        assert is_special or span["min"] <= value <= span["max"]
        if span["min"] <= here <= span["max"] and not is_special:
            assert here <= value * STEP_FACTOR and value <= here * STEP_FACTOR
        if value == 0:
            assert here <= span["min"] * STEP_FACTOR
        if value == UNLIMITED:
            assert here * STEP_FACTOR >= span["max"]


@given(ANY_SETTING, ANY_SETTING)
def test_steps_lead_to_what_is_wanted(wanted: dict[str, int], now: dict[str, int]) -> None:
    aim, _ = bounded(wanted, wanted, RANGES)
    for _ in range(40):
        now, _ = bounded(wanted, now, RANGES)
    assert now == aim
    assert bounded(wanted, now, RANGES)[0] == now


@pytest.mark.parametrize(
    ("start", "end", "reached"),
    [
        (0, UNLIMITED, 1 << 20),
        (0, 1 << 20, 1 << 20),
        (1 << 20, 0, 0),
        (1 << 20, 1 << 32, 1 << 22),
        (1 << 32, UNLIMITED, UNLIMITED),
        (UNLIMITED, 1 << 20, 1 << 32),
    ],
)
def test_off_and_unlimited_are_a_step_from_the_ends_of_a_range(start: int, end: int, reached: int) -> None:
    now = {span["symbol"]: span["min"] for span in RANGES} | {"throttle_bytes_per_s": start}
    setting, remarks = bounded(now | {"throttle_bytes_per_s": end}, now, RANGES)
    assert setting["throttle_bytes_per_s"] == reached
    assert (remarks != ()) == (reached != end)
