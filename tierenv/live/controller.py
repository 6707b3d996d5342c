"""One interval after another: read, judge, decide, write, read back, say why.

Counters are never acted upon that went backwards, vanished or stand still, nor an interval in which the machine was
suspended or the clock ran away; what the policy remembers begins anew after one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tierenv.live.files import Refused
from tierenv.live.guard import WAITING, Guard, bounded
from tierenv.live.health import HealthCommand, health_between
from tierenv.live.journal import Journal
from tierenv.live.kernel import KNOBS, KnobValues, project, setting_of, writing_order
from tierenv.live.machine import FREE_FAST, Machine, Reading
from tierenv.live.policy import Policy, Sample, Setting

_LONGEST = 3.0
"""An interval longer than this many is no sample of one."""


@dataclass
class Decision:
    """What came of an interval, for log, status and metrics."""

    reading: Reading | None
    outcome: str
    """held, watched (nothing may be written), advised, set, put back, yielded."""
    reason: str
    wanted: Setting | None = None
    """The policy's decision."""
    written: KnobValues | None = None
    """Knobs that changed, with their new values."""
    remarks: tuple[str, ...] = ()
    """What of the decision could not be carried out as it was."""
    health: dict[str, float] | None = None


class Controller:
    """A policy on a machine.

    Args:
        policy: what decides.
        machine: what is read.
        guard: None to advise alone; nothing is written then.
        journal: through which knobs are written and put back.
        command: a further number of health.
    """

    def __init__(
        self,
        policy: Policy,
        machine: Machine,
        guard: Guard | None,
        journal: Journal,
        command: HealthCommand | None = None,
    ) -> None:
        self._policy = policy
        self._machine = machine
        self.guard = guard
        self._journal = journal
        self._command = command
        self._earlier: Reading | None = None
        self._expected: KnobValues | None = None
        """Knobs as they were after the last interval."""

    def step(self) -> Decision:
        """One interval."""
        number = None if self._command is None else self._command.number()
        try:
            reading = self._machine.read()
        except (OSError, Refused) as error:
            self._start_anew()
            return Decision(None, "held", f"cannot read: {error}")
        earlier, self._earlier = self._earlier, reading
        decision = self._taken_by_others(reading)
        if decision is None:
            fault = "the first reading" if earlier is None else fault_between(earlier, reading, self._policy.interval_s)
            if fault is None and earlier is not None:
                decision = self._judge(earlier, reading, number)
            else:
                self._policy.forget()
                decision = Decision(reading, "held", str(fault))
        after = self._now(reading, decision)
        if len(after) == len(KNOBS):
            self._expected = after
        return decision

    def _judge(self, earlier: Reading, reading: Reading, number: float | None) -> Decision:
        health = health_between(earlier, reading)
        if number is not None:
            health["health_command"] = number
        wanted = self._policy.decide(sample_between(earlier, reading, self._policy, self._machine.fast_pages))
        decision = Decision(reading, "advised", "advises alone", wanted, health=health)
        now = setting_of(reading.knobs)
        setting, held_back = bounded(wanted, now, self._policy.ranges)
        projection = project(setting, reading.resident_pages)
        decision.remarks = (*held_back, *projection.remarks)
        if self.guard is None:
            decision.written = {path: projection.knobs[path] for path in writing_order(reading.knobs, projection.knobs)}
            return decision
        if self.guard.take(health, reading.monotonic_ns / 1e9):
            self._put_back(decision)
        elif self.guard.may_step:
            self._write(decision, reading.knobs, projection.knobs)
        else:
            decision.outcome, decision.reason = "watched", self.guard.reason
        return decision

    def _write(self, decision: Decision, now: KnobValues, wanted: KnobValues) -> None:
        assert self.guard is not None
        decision.outcome, decision.reason, decision.written = "set", self.guard.reason, {}
        for path in writing_order(now, wanted):
            reason = self._journal.write(path, wanted[path])
            if reason is not None:
                self.guard.give_up(f"{path} cannot be set to {wanted[path]}: {reason}", self._now_s)
                self._put_back(decision)
                return
            decision.written[path] = wanted[path]

    def _put_back(self, decision: Decision) -> None:
        assert self.guard is not None
        lines, _ = self._journal.restore()
        decision.outcome, decision.reason, decision.written = "put back", self.guard.reason, None
        decision.remarks = tuple(lines)

    def _taken_by_others(self, reading: Reading) -> Decision | None:
        """Gives way where a knob of ours is no longer as it was left."""
        missing = [path for path in KNOBS if path not in reading.knobs]
        if missing:
            self._start_anew()
            return Decision(reading, "held", f"cannot read {', '.join(missing)}")
        if self.guard is None or self._expected is None or self.guard.state == WAITING:
            return None
        changed = [path for path in KNOBS if reading.knobs[path] != self._expected[path]]
        if not changed:
            return None
        self._policy.forget()
        names = ", ".join(f"{path} ({self._expected[path]} -> {reading.knobs[path]})" for path in changed)
        self.guard.give_way(f"somebody else wrote {names}", self._now_s)
        decision = Decision(reading, "yielded", self.guard.reason)
        decision.remarks = tuple(self._journal.restore()[0])
        return decision

    @property
    def _now_s(self) -> float:
        return 0.0 if self._earlier is None else self._earlier.monotonic_ns / 1e9

    def _now(self, reading: Reading, decision: Decision) -> KnobValues:
        """Knobs as this interval leaves them, read again where any was written."""
        if decision.outcome in ("set", "put back", "yielded"):
            return self._machine.knobs()
        return reading.knobs

    def _start_anew(self) -> None:
        self._earlier = None
        self._policy.forget()


def fault_between(earlier: Reading, later: Reading, interval_s: float) -> str | None:
    """Why two readings are no sample of an interval, None where they are one."""
    elapsed_s = (later.monotonic_ns - earlier.monotonic_ns) / 1e9
    asleep_s = (later.boottime_ns - earlier.boottime_ns) / 1e9 - elapsed_s
    if asleep_s > interval_s / 2:
        return f"the machine was suspended for {asleep_s:.1f} s"
    if not interval_s / _LONGEST <= elapsed_s <= interval_s * _LONGEST:
        return f"{elapsed_s:.1f} s since the last reading, an interval is {interval_s:g} s"
    vanished = earlier.counters.keys() - later.counters.keys()
    if vanished:
        return f"counters vanished: {', '.join(sorted(vanished))}"
    grown = {name: later.counters[name] - earlier.counters[name] for name in earlier.counters if name != FREE_FAST}
    backwards = sorted(name for name, growth in grown.items() if growth < 0)
    if backwards:
        return f"counters went backwards: {', '.join(backwards)}"
    if not any(grown.values()):
        return "counters stand still: not even a page fault"
    return None


def sample_between(earlier: Reading, later: Reading, policy: Policy, fast_pages: int) -> Sample:
    """What the policy observes of an interval; the setting in it is that which was read back at its end."""
    sample: dict[str, Any] = {"elapsed_ns": later.monotonic_ns - earlier.monotonic_ns}
    for symbol, count in policy.counts.items():
        sample[symbol] = sum(
            sign * (later.counters[name] - (earlier.counters[name] if count["is_increment"] else 0))
            for sign, name in count["terms"]
        )
    sample["resident_pages"] = later.resident_pages
    sample["fast_node_pages"] = fast_pages
    sample.update(setting_of(later.knobs))
    return sample
