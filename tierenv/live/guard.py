"""The guard: what of a policy's decisions may be carried out, from hard ranges to taking all of it back.

    observing   nothing is written; health is measured with the values found, until there is a step to take
    canary      one bounded step, held as long as was observed, and compared with it
    steering    a bounded step an interval, none while health is worse; back to the values found once it stays worse
    waiting     back at the values found, for a time that doubles: after health worsened, after intervals that could
                not be judged, or because somebody else wrote a knob

It is a state machine without files or clocks: `tierenv.live.controller` tells it what happened.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from tierenv.live.arithmetic import UNLIMITED, clamped
from tierenv.live.health import SMOOTHED, Metric
from tierenv.live.policy import Setting

STEP_FACTOR = 4
"""A tunable changes at most by this factor in an interval."""
NOISE_FACTOR = 5.0
"""Worse is what exceeds the median by this many median absolute deviations, and by the metric's allowance."""
PATIENCE = 2 * SMOOTHED
"""Bad intervals more than good ones after which a steering policy is taken back: one burst, which makes `SMOOTHED` of
them bad, is not enough."""
UNJUDGED = 5
"""Intervals in a row that cannot be judged, after which it is taken back, too."""
FIRST_WAIT_S = 600.0
LONGEST_WAIT_S = 86_400.0
"""Also the time of undisturbed steering after which waits are short again."""

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
    """Times that all was put back because health worsened, could not be judged, or a knob could not be written."""
    yields: int = 0
    """Times that somebody else wrote a knob."""
    _observed: dict[str, list[float]] = field(default_factory=dict)
    _intervals: int = 0
    """Of the present state."""
    _usual: dict[str, Usual] = field(default_factory=dict)
    _badness: int = 0
    """Bad intervals of late, less good ones."""
    _unjudged: int = 0
    """Intervals in a row that could not be judged."""
    _wait_s: dict[str, float] = field(default_factory=dict)
    """The next wait, by what leads to it."""
    _until_s: float = 0.0
    """The end of a wait, or the beginning of steering."""
    _wait_reason: str = ""

    @property
    def may_step(self) -> bool:
        """Whether the policy's next decision may be written, as far as `bounded` lets it."""
        if self.state == STEERING:
            return self._badness == 0
        return self.state == OBSERVING and bool(self._usual)

    def take(self, health: dict[str, float], now_s: float) -> bool:
        """Take in the health of an interval. Returns whether all must be put back now."""
        self._unjudged = 0
        if self.state == WAITING:
            if now_s >= self._until_s:
                self._enter(OBSERVING, "the wait is over: measures anew what is usual")
                self._usual = {}
            return False
        self._intervals += 1
        if self.state == OBSERVING:
            self._observe(health)
            return False
        if self.state == CANARY:
            return self._compare(health, now_s)
        return self._watch(health, now_s)

    def stepped(self) -> None:
        """Told that a step was taken that changed something: the first one is the canary."""
        if self.state == OBSERVING:
            self._enter(CANARY, f"one step, held for {self.window} intervals")

    def cannot_judge(self, reason: str, now_s: float) -> bool:
        """Told of an interval without a sample. Returns whether all must be put back now."""
        if self.state == WAITING:
            return False
        self._unjudged += 1
        if self.state == OBSERVING or self._unjudged < UNJUDGED:
            return False
        self._return(f"{UNJUDGED} intervals in a row could not be judged: {reason}", now_s)
        return True

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

    def waits(self) -> dict[str, Any]:
        """What the next controller must know of the waits of this one."""
        return {
            "until_s": self._until_s if self.state == WAITING else 0.0,
            "reason": self._wait_reason,
            "next_s": self._wait_s,
        }

    def go_on_waiting(self, waits: dict[str, Any], now_s: float) -> None:
        """Take over a wait of a controller before. Raises KeyError, TypeError or ValueError for what is none."""
        self._wait_s = {
            cause: float(waits["next_s"][cause]) for cause in ("yield", "return") if cause in waits["next_s"]
        }
        until_s = float(waits["until_s"])
        if now_s < until_s <= now_s + LONGEST_WAIT_S:
            self._until_s, self._wait_reason = until_s, str(waits["reason"])
            self.state, self.reason = WAITING, f"goes on waiting for one before: {self._wait_reason}"

    def _observe(self, health: dict[str, float]) -> None:
        self._remember(health)
        if self._intervals % self.window:
            return
        silent = [row.name for row in self.metrics if 2 * len(self._observed.get(row.name, [])) < self.window]
        if silent:
            self.reason = f"goes on observing: {', '.join(silent)} gave too few numbers"
        else:
            self._usual = {row.name: usual_of(row, self._observed[row.name]) for row in self.metrics}
            self.reason = "knows what is usual"
        self._observed = {}

    def _compare(self, health: dict[str, float], now_s: float) -> bool:
        self._remember(health)
        if self._intervals < self.window:
            return False
        told = {name: numbers for name, numbers in self._observed.items() if 2 * len(numbers) >= self.window}
        worse = self._worse({name: statistics.median(numbers) for name, numbers in told.items()})
        if worse is not None:
            self._return(f"the canary was worse: {worse}", now_s)
            return True
        self._enter(STEERING, "the canary was no worse")
        self._until_s = now_s
        return False

    def _watch(self, health: dict[str, float], now_s: float) -> bool:
        worse = self._worse(health)
        self._badness = max(0, self._badness + (1 if worse is not None else -1))
        if worse is not None and self._badness >= PATIENCE:
            self._return(f"stays worse: {worse}", now_s)
            return True
        if now_s - self._until_s >= LONGEST_WAIT_S:
            self._wait_s = {}
        self.reason = (
            "carries out decisions" if self._badness == 0 else f"holds, health is or was worse: {worse or 'no more'}"
        )
        return False

    def _remember(self, health: dict[str, float]) -> None:
        for name, number in health.items():
            self._observed.setdefault(name, []).append(number)

    def _worse(self, health: dict[str, float]) -> str | None:
        for name, usual in self._usual.items():
            number = health.get(name)
            if number is None:
                return f"{name} gives no number"
            if number > usual.limit:
                return f"{name} {number:.4g} is above {usual.limit:.4g}, usual was {usual.median:.4g}"
        return None

    def _return(self, reason: str, now_s: float) -> None:
        self.returns += 1
        self._wait(reason, "return", now_s)

    def _wait(self, reason: str, cause: str, now_s: float) -> None:
        wait_s = self._wait_s.get(cause, FIRST_WAIT_S)
        self._wait_s[cause] = min(2 * wait_s, LONGEST_WAIT_S)
        self._until_s, self._wait_reason = now_s + wait_s, reason
        self._enter(WAITING, f"{reason}; tries again in {wait_s:.0f} s")

    def _enter(self, state: str, reason: str) -> None:
        self.state, self.reason = state, reason
        self._intervals = self._badness = self._unjudged = 0
        self._observed = {}


def usual_of(metric: Metric, numbers: list[float]) -> Usual:
    """Median of what was observed, and the limit above it."""
    median = statistics.median(numbers)
    deviation = statistics.median(abs(number - median) for number in numbers)
    allowance = max(metric.allowance, metric.relative_allowance * abs(median))
    return Usual(median, median + max(NOISE_FACTOR * deviation, allowance))


def bounded(wanted: Setting, now: Setting, ranges: list[dict[str, Any]]) -> tuple[Setting, tuple[str, ...]]:
    """A setting within the daemon's ranges, or on the way to them, at most a step from the one in force.

    Off lies a step below a range and unlimited a step above it.

    Returns:
        The setting, and what of the wanted one was held back, for the log.
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
    least = max(1, lowest // STEP_FACTOR) if span["has_off"] else lowest
    most = highest * STEP_FACTOR if span["has_unlimited"] else highest
    here = most if now == UNLIMITED else max(now, least if now == 0 else 1)
    aim = most if wanted == UNLIMITED else clamped(wanted, least, highest)
    reached = clamped(aim, -(-here // STEP_FACTOR), here * STEP_FACTOR)
    if span["has_off"] and wanted == 0 and reached <= least:
        return 0
    if span["has_unlimited"] and wanted == UNLIMITED and reached >= most:
        return UNLIMITED
    return clamped(reached, min(lowest, here * STEP_FACTOR), max(highest, -(-here // STEP_FACTOR)))


def _text(value: int) -> str:
    return "unlimited" if value == UNLIMITED else str(value)
