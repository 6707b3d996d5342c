"""The guard: what of a policy's decisions may be carried out, from hard ranges to taking all of it back.

    observing   nothing is written; health is measured with the values found
    canary      one bounded step, held as long as was observed, and compared with it
    steering    a bounded step an interval; back to the values found once health stays worse than was observed
    waiting     back at the values found, for a time that doubles: after health worsened, or because somebody else
                wrote a knob

It is a state machine without files or clocks: `tierenv.live.controller` tells it what happened.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from tierenv.live.arithmetic import UNLIMITED, clamped
from tierenv.live.health import Metric
from tierenv.live.policy import Setting

STEP_FACTOR = 4
"""A tunable changes at most by this factor in an interval."""
NOISE_FACTOR = 5.0
"""Worse is what exceeds the median by this many median absolute deviations, and by the metric's allowance."""
PATIENCE = 5
"""Intervals in a row that must be worse before a steering policy is taken back."""
FIRST_WAIT_S = 600.0
LONGEST_WAIT_S = 86_400.0

OBSERVING, CANARY, STEERING, WAITING = "observing", "canary", "steering", "waiting"
STATES = (OBSERVING, CANARY, STEERING, WAITING)


@dataclass(frozen=True)
class Usual:
    """What was usual of a metric with the values found."""

    median: float
    limit: float
    """Above it is worse."""


@dataclass
class Guard:
    """The state of a controller.

    Args:
        metrics: what is watched.
        window: intervals that are observed, and that a canary lasts.
    """

    metrics: tuple[Metric, ...]
    window: int
    state: str = OBSERVING
    reason: str = "measures what is usual with the values found"
    returns: int = 0
    """Times that health worsened."""
    yields: int = 0
    """Times that somebody else wrote a knob."""
    _observed: dict[str, list[float]] = field(default_factory=dict)
    _intervals: int = 0
    """Of the present state."""
    _usual: dict[str, Usual] = field(default_factory=dict)
    _worse_in_a_row: int = 0
    _wait_s: dict[str, float] = field(default_factory=dict)
    """The next wait, by what leads to it."""
    _until_s: float = 0.0

    @property
    def may_step(self) -> bool:
        """Whether the policy's next decision may be written, as far as `bounded` lets it."""
        return self.state == STEERING or (self.state == CANARY and self._intervals == 0)

    def take(self, health: dict[str, float], now_s: float) -> bool:
        """Take in the health of an interval. Returns whether all must be put back now."""
        if self.state == WAITING:
            if now_s >= self._until_s:
                self._enter(OBSERVING, "the wait is over: measures anew what is usual")
            return False
        self._intervals += 1
        if self.state == OBSERVING:
            for name, number in health.items():
                self._observed.setdefault(name, []).append(number)
            if self._intervals >= self.window:
                self._usual = {row.name: usual_of(row, self._observed.get(row.name, [])) for row in self.metrics}
                self._enter(CANARY, f"one step, to be held for {self.window} intervals")
            return False
        if self.state == CANARY:
            for name, number in health.items():
                self._observed.setdefault(name, []).append(number)
            if self._intervals < self.window:
                return False
            held = {name: statistics.median(numbers) for name, numbers in self._observed.items()}
            worse = self._worse(held)
            if worse is not None:
                self._return(f"the canary was worse: {worse}", now_s)
                return True
            self._enter(STEERING, "the canary was no worse")
            return False
        worse = self._worse(health)
        self._worse_in_a_row = 0 if worse is None else self._worse_in_a_row + 1
        if worse is not None and self._worse_in_a_row >= PATIENCE:
            self._return(f"worse for {PATIENCE} intervals: {worse}", now_s)
            return True
        self.reason = "carries out decisions" if worse is None else f"worse, not yet for long: {worse}"
        return False

    def give_way(self, reason: str, now_s: float) -> None:
        """Leave the machine to somebody else who wrote a knob, for a time."""
        self.yields += 1
        self._wait(reason, "yield", now_s)

    def give_up(self, reason: str, now_s: float) -> None:
        """Take all back because a knob could not be written, and try again later."""
        self._return(reason, now_s)

    def to_json(self) -> dict[str, Any]:
        """For log and status."""
        return {"state": self.state, "reason": self.reason, "returns": self.returns, "yields": self.yields}

    def _worse(self, health: dict[str, float]) -> str | None:
        for name, number in health.items():
            usual = self._usual.get(name)
            if usual is not None and number > usual.limit:
                return f"{name} {number:.4g} is above {usual.limit:.4g}, usual was {usual.median:.4g}"
        return None

    def _return(self, reason: str, now_s: float) -> None:
        self.returns += 1
        self._wait(reason, "return", now_s)

    def _wait(self, reason: str, cause: str, now_s: float) -> None:
        wait_s = self._wait_s.get(cause, FIRST_WAIT_S)
        self._wait_s[cause] = min(2 * wait_s, LONGEST_WAIT_S)
        self._until_s = now_s + wait_s
        self._enter(WAITING, f"{reason}; tries again in {wait_s:.0f} s")

    def _enter(self, state: str, reason: str) -> None:
        self.state, self.reason = state, reason
        self._intervals = 0
        self._worse_in_a_row = 0
        self._observed = {}


def usual_of(metric: Metric, numbers: list[float]) -> Usual:
    """Median of what was observed, and the limit above it; no limit where nothing was."""
    if not numbers:
        return Usual(0.0, float("inf"))
    median = statistics.median(numbers)
    deviation = statistics.median(abs(number - median) for number in numbers)
    allowance = max(metric.allowance, metric.relative_allowance * abs(median))
    return Usual(median, median + max(NOISE_FACTOR * deviation, allowance))


def bounded(wanted: Setting, now: Setting, ranges: list[dict[str, Any]]) -> tuple[Setting, tuple[str, ...]]:
    """A setting within the daemon's ranges, at most a step from the one in force; and what was held back, for the log.

    Off lies a step below a range and unlimited a step above it.
    """
    setting, remarks = {}, []
    for span in ranges:
        symbol = span["symbol"]
        setting[symbol] = value = _one_step(wanted[symbol], now[symbol], span)
        if value != wanted[symbol]:
            remarks.append(f"{symbol} {_text(wanted[symbol])} becomes {_text(value)}: a step at a time")
    return setting, tuple(remarks)


def _one_step(wanted: int, now: int, span: dict[str, Any]) -> int:
    lowest, highest = span["min"], span["max"]
    least_step, most_step = (lowest // STEP_FACTOR, highest * STEP_FACTOR) if span["has_off"] else (lowest, highest)
    here = clamped(now, max(least_step, 1), most_step)
    there = clamped(wanted, max(least_step, 1), most_step)
    reached = clamped(there, -(-here // STEP_FACTOR), here * STEP_FACTOR)
    if span["has_off"] and wanted == 0 and reached <= lowest // STEP_FACTOR:
        return 0
    if span["has_unlimited"] and wanted > highest and reached >= highest * STEP_FACTOR:
        return UNLIMITED
    return clamped(reached, lowest, highest)


def _text(value: int) -> str:
    return "unlimited" if value == UNLIMITED else str(value)
