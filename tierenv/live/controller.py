"""One interval after another: read, judge, decide, write, read back, say why.

Counters are never acted upon that went backwards, vanished or stand still, nor an interval in which the machine was
suspended or the clock ran away; what the policy remembers begins anew after one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tierenv.live.arithmetic import clamped
from tierenv.live.files import NOTES, Refused
from tierenv.live.guard import STEERING, STEP_FACTOR, Guard, bounded
from tierenv.live.health import Health, HealthCommand
from tierenv.live.journal import Journal, WrittenByOthers
from tierenv.live.kernel import KNOBS, SCAN_DELAY, KnobValues, project, setting_of, writing_order
from tierenv.live.machine import FREE_FAST, Machine, Reading
from tierenv.live.policy import Policy, Sample, Setting

_LONGEST = 3.0
"""An interval longer than this many is no sample of one."""


@dataclass
class Decision:
    """What came of an interval, for log, status and metrics."""

    reading: Reading | None
    outcome: str
    """held, watched (nothing may be written), advised, set, put back, stuck (putting back goes on), yielded."""
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
        self._health = Health()
        self._earlier: Reading | None = None
        self._expected: KnobValues | None = None
        """Knobs as they were after the last interval."""
        self._is_owed = False
        """Whether something could not be put back yet."""

    def step(self) -> Decision:
        """One interval. Raises `Refused` where the notes were removed, once all is put back."""
        if self.guard is not None and not self._journal.is_there:
            restored = self._journal.restore()
            if restored.is_complete:
                raise Refused(f"the notes under {NOTES} were removed: {'; '.join(restored.lines)}")
            return Decision(None, "stuck", f"the notes under {NOTES} were removed", remarks=tuple(restored.lines))
        if self._is_owed:
            self._earlier = None
            return self._put_back(Decision(None, "stuck", "could not put everything back"))
        number = None if self._command is None else self._command.number()
        try:
            reading = self._machine.read()
            missing = [path for path in KNOBS if path not in reading.knobs]
            if missing:
                raise Refused(f"cannot read {', '.join(missing)}")
        except (OSError, Refused) as error:
            self._earlier = None
            return self._without_sample(None, str(error))
        earlier, self._earlier = self._earlier, reading
        if self._expected is not None and self.guard is not None:
            changed = [path for path in KNOBS if reading.knobs[path] != self._expected[path]]
            if changed:
                names = (f"{path} ({self._expected[path]} -> {reading.knobs[path]})" for path in changed)
                return self._give_way(reading, ", ".join(names))
        self._expected = dict(reading.knobs)
        if earlier is None:
            return self._without_sample(reading, "the first reading")
        fault = fault_between(earlier, reading, self._policy.interval_s)
        if fault is not None:
            return self._without_sample(reading, fault)
        return self._judge(earlier, reading, number)

    def _judge(self, earlier: Reading, reading: Reading, number: float | None) -> Decision:
        health = self._health.after(earlier, reading, number)
        wanted = self._policy.decide(sample_between(earlier, reading, self._policy, self._machine.sizes))
        setting, held_back = bounded(wanted, setting_of(reading.knobs), self._policy.ranges)
        projection = project(setting, reading.resident_pages)
        delay = reading.knobs[SCAN_DELAY]  # follows from several tunables, each within its bounds
        if delay:
            projection.knobs[SCAN_DELAY] = clamped(
                projection.knobs[SCAN_DELAY], -(-delay // STEP_FACTOR), delay * STEP_FACTOR
            )
        decision = Decision(reading, "advised", "advises alone", wanted, health=health)
        decision.remarks = (*held_back, *projection.remarks)
        if self.guard is None:
            decision.written = {path: projection.knobs[path] for path in writing_order(reading.knobs, projection.knobs)}
            return decision
        state = self.guard.state
        if self.guard.take(health, self._now_s):
            return self._put_back(decision)
        if self.guard.may_step:
            return self._write(decision, reading, projection.knobs)
        if self.guard.state != state:
            self._health.forget()
        decision.outcome, decision.reason = "watched", self.guard.reason
        return decision

    def _write(self, decision: Decision, reading: Reading, wanted: KnobValues) -> Decision:
        assert self.guard is not None and self._expected is not None
        decision.outcome, decision.reason, decision.written = "set", self.guard.reason, {}
        for path in writing_order(reading.knobs, wanted):
            try:
                reason = self._journal.write(path, wanted[path], reading.knobs[path])
            except WrittenByOthers as error:
                return self._give_way(reading, str(error))
            if reason is not None:
                self.guard.give_up(f"{path} cannot be set to {wanted[path]}: {reason}", self._now_s)
                return self._put_back(decision)
            self._expected[path] = decision.written[path] = wanted[path]
        if decision.written and self.guard.state != STEERING:
            self.guard.stepped()
            self._health.forget()
            decision.reason = self.guard.reason
        return decision

    def _put_back(self, decision: Decision) -> Decision:
        assert self.guard is not None
        restored = self._journal.restore()
        self._is_owed = not restored.is_complete
        self._health.forget()
        knobs = self._machine.knobs()
        self._expected = knobs if len(knobs) == len(KNOBS) else None
        decision.outcome, decision.reason = "stuck" if self._is_owed else "put back", self.guard.reason
        decision.written, decision.remarks = None, tuple(restored.lines)
        return decision

    def _give_way(self, reading: Reading, changed: str) -> Decision:
        assert self.guard is not None
        self._policy.forget()
        self.guard.give_way(f"somebody else wrote {changed}", self._now_s)
        decision = self._put_back(Decision(reading, "yielded", self.guard.reason))
        if not self._is_owed:
            decision.outcome = "yielded"
        return decision

    def _without_sample(self, reading: Reading | None, fault: str) -> Decision:
        """Holds, and where that goes on, puts back: health cannot be judged either."""
        self._policy.forget()
        self._health.forget()
        decision = Decision(reading, "held", fault)
        if self.guard is not None and self.guard.cannot_judge(fault, self._now_s):
            return self._put_back(decision)
        return decision

    @property
    def _now_s(self) -> float:
        return time.monotonic()


def fault_between(earlier: Reading, later: Reading, interval_s: float) -> str | None:
    """Why two readings are no sample of an interval, None where they are one."""
    if later.resident_pages == 0:
        return "what is steered has no resident memory"
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


def sample_between(earlier: Reading, later: Reading, policy: Policy, sizes: Mapping[str, int]) -> Sample:
    """What the policy observes of an interval; the setting in it is that which was read back at its end.

    Args:
        earlier: at its start.
        later: at its end.
        policy: that decides.
        sizes: what does not change, see `tierenv.live.machine.Machine.sizes`.
    """
    sample: dict[str, Any] = {"elapsed_ns": later.monotonic_ns - earlier.monotonic_ns}
    for symbol, count in policy.counts.items():
        sample[symbol] = sum(
            sign * (later.counters[name] - (earlier.counters[name] if count["is_increment"] else 0))
            for sign, name in count["terms"]
        )
    sample["resident_pages"] = later.resident_pages
    sample.update(sizes)
    sample.update(setting_of(later.knobs))
    return sample
