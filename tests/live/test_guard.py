"""What of a policy's decisions is carried out, and when all of it is taken back."""

import json

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
    LONGEST_WAIT_S,
    OBSERVING,
    PATIENCE,
    STEERING,
    STEP_FACTOR,
    UNJUDGED,
    WAITING,
    Guard,
    bounded,
    usual_of,
)
from tierenv.live.health import SMOOTHED, Metric

RANGES = _ranges(Interface(DAEMON))
METRICS = (Metric("churn", allowance=10.0), Metric("latency", allowance=0.0, relative_allowance=0.1))
WINDOW = 4
GOOD = {"churn": 5.0, "latency": 100.0}
BAD = {"churn": 5.0, "latency": 150.0}

VALUES = st.one_of(st.sampled_from([0, 1, UNLIMITED]), st.integers(0, 2**45))
ANY_SETTING = st.fixed_dictionaries({span["symbol"]: VALUES for span in RANGES})


def guard() -> Guard:
    return Guard(METRICS, WINDOW)


def in_canary(health: dict[str, float] = GOOD, now_s: float = 0.0) -> Guard:
    subject = guard()
    for _ in range(WINDOW):
        assert not subject.take(health, now_s)
    assert subject.may_step
    subject.stepped()
    assert subject.state == CANARY
    return subject


def steering(now_s: float = 0.0) -> Guard:
    subject = in_canary(now_s=now_s)
    for _ in range(WINDOW):
        assert not subject.take(GOOD, now_s)
    assert subject.state == STEERING
    return subject


def test_nothing_is_written_before_as_much_was_observed_as_the_canary_lasts() -> None:
    subject, states, may_step = guard(), [], []
    for _ in range(2 * WINDOW + 1):
        subject.take(GOOD, 0.0)
        may_step.append(subject.may_step)
        if subject.may_step:
            subject.stepped()
        states.append(subject.state)
    assert states == [OBSERVING] * (WINDOW - 1) + [CANARY] * WINDOW + [STEERING] * 2
    # one step, then it is held
    assert may_step == [False] * (WINDOW - 1) + [True] + [False] * (WINDOW - 1) + [True, True]


def test_there_is_no_canary_without_a_change_to_compare() -> None:
    subject = guard()
    for _ in range(5 * WINDOW):
        assert not subject.take(GOOD, 0.0)  # the decision is what is in force already, so nobody says stepped()
    assert (subject.state, subject.may_step) == (OBSERVING, True)


def test_a_canary_that_is_worse_is_taken_back() -> None:
    subject = in_canary()
    taken_back = [subject.take(BAD, 0.0) for _ in range(WINDOW)]
    assert taken_back == [False] * (WINDOW - 1) + [True]
    assert (subject.state, subject.returns) == (WAITING, 1)
    assert "the canary was worse: latency 150 is above 110, usual was 100" in subject.reason


def test_one_bad_interval_of_a_canary_is_noise() -> None:
    subject = in_canary()
    for index in range(WINDOW):
        subject.take(BAD if index == 1 else GOOD, 0.0)
    assert subject.state == STEERING


def test_steering_ends_once_health_stays_worse_and_not_before() -> None:
    subject = steering()
    for _ in range(3):
        for _ in range(PATIENCE - 1):
            assert not subject.take(BAD, 0.0)
            assert not subject.may_step  # no step further while it is worse
        for _ in range(PATIENCE - 1):
            assert not subject.take(GOOD, 0.0)  # hysteresis
        assert subject.may_step
    assert [subject.take(BAD, 0.0) for _ in range(PATIENCE)] == [False] * (PATIENCE - 1) + [True]
    assert subject.state == WAITING


def test_more_bad_intervals_than_good_ones_end_it_in_whatever_order() -> None:
    subject, ended = steering(), False
    for _ in range(2 * PATIENCE):
        for health in (BAD, BAD, GOOD):
            ended = ended or subject.take(health, 0.0)
    assert ended


def test_a_metric_that_gives_no_number_any_more_is_worse() -> None:
    subject = steering()
    assert [subject.take({"churn": 5.0}, 0.0) for _ in range(PATIENCE)] == [False] * (PATIENCE - 1) + [True]
    assert "latency gives no number" in subject.reason


def test_a_canary_under_which_a_metric_mostly_falls_silent_is_worse() -> None:
    subject = in_canary()
    taken_back = [subject.take(GOOD if index == 0 else {"churn": 5.0}, 0.0) for index in range(WINDOW)]
    assert taken_back[-1]
    assert "latency gives no number" in subject.reason


def test_one_burst_does_not_end_it_however_long_it_is_smoothed() -> None:
    subject = steering()
    for index in range(4 * SMOOTHED):
        assert not subject.take(BAD if index < SMOOTHED else GOOD, 0.0)
    assert subject.state == STEERING


def test_there_is_no_canary_while_a_metric_gives_no_numbers() -> None:
    subject = guard()
    for index in range(4 * WINDOW):
        subject.take(GOOD if index % 4 == 0 else {"churn": 5.0}, 0.0)
        assert not subject.may_step
    assert subject.reason == "goes on observing: latency gave too few numbers"


def test_intervals_that_cannot_be_judged_end_it_too() -> None:
    subject = steering()
    for _ in range(UNJUDGED - 1):
        assert not subject.cannot_judge("cannot read", 0.0)
    subject.take(GOOD, 0.0)
    taken_back = [subject.cannot_judge("cannot read", 0.0) for _ in range(UNJUDGED)]
    assert taken_back == [False] * (UNJUDGED - 1) + [True]
    assert subject.state == WAITING
    assert guard().cannot_judge("cannot read", 0.0) is False  # nothing is ours yet


def test_a_wait_outlasts_its_controller() -> None:
    before, after = guard(), guard()
    before.give_way("somebody else wrote a knob", 100.0)
    after.go_on_waiting(json.loads(json.dumps(before.waits())), 200.0)
    assert after.state == WAITING
    assert "goes on waiting for one before: somebody else wrote a knob" in after.reason
    after.take(GOOD, 100.0 + FIRST_WAIT_S)
    assert after.state == OBSERVING
    after.give_way("again", 1000.0)
    assert "tries again in 1200 s" in after.reason


@pytest.mark.parametrize("until_s", [0.0, 50.0, 1e9])
def test_a_wait_that_is_over_or_of_another_boot_is_none(until_s: float) -> None:
    subject = guard()
    subject.go_on_waiting({"until_s": until_s, "reason": "", "next_s": {}}, 100.0)
    assert subject.state == OBSERVING


def test_after_a_day_of_steering_waits_are_short_again() -> None:
    subject = guard()
    subject.give_way("somebody else wrote a knob", 0.0)
    now_s = FIRST_WAIT_S
    for _ in range(WINDOW + 1):
        subject.take(GOOD, now_s)
    subject.stepped()
    for _ in range(WINDOW):
        subject.take(GOOD, now_s)
    assert subject.state == STEERING
    subject.take(GOOD, now_s + LONGEST_WAIT_S)
    subject.give_way("again", now_s + LONGEST_WAIT_S)
    assert f"tries again in {FIRST_WAIT_S:.0f} s" in subject.reason


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
    for _ in range(1 + WINDOW):
        assert not subject.take(BAD, FIRST_WAIT_S)  # by now it is usual
    subject.stepped()
    for _ in range(WINDOW):
        assert not subject.take(BAD, FIRST_WAIT_S)
    assert subject.state == STEERING


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_what_was_usual_is_never_worse(numbers: list[float]) -> None:
    usual = usual_of(METRICS[0], numbers)
    assert usual.limit >= usual.median + METRICS[0].allowance


@given(ANY_SETTING, ANY_SETTING)
def test_a_setting_is_in_range_and_at_most_a_step_away(wanted: dict[str, int], now: dict[str, int]) -> None:
    setting, _ = bounded(wanted, now, RANGES)
    for span in RANGES:
        value, here = setting[span["symbol"]], now[span["symbol"]]
        is_special = (span["has_off"] and value == 0) or (span["has_unlimited"] and value == UNLIMITED)
        # in range, or on the way to it from outside
        assert is_special or min(span["min"], here) <= value <= max(span["max"], here)
        if here not in (0, UNLIMITED) and not is_special:
            assert here <= value * STEP_FACTOR and value <= here * STEP_FACTOR
        if value == 0:
            assert here <= span["min"] * STEP_FACTOR
        if value == UNLIMITED:
            assert here * STEP_FACTOR >= span["max"]


@given(ANY_SETTING, ANY_SETTING)
def test_steps_lead_to_what_is_wanted(wanted: dict[str, int], now: dict[str, int]) -> None:
    for _ in range(60):
        now, _ = bounded(wanted, now, RANGES)
    assert bounded(wanted, now, RANGES)[0] == now
    for span in RANGES:
        value, aim = now[span["symbol"]], wanted[span["symbol"]]
        if span["min"] <= aim <= span["max"]:
            assert value == aim
        elif aim > span["max"]:
            assert value == (UNLIMITED if span["has_unlimited"] and aim == UNLIMITED else span["max"])
        else:
            assert value in (0 if span["has_off"] else span["min"], span["min"])


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
