"""Whether the model fits a machine: a record of it beside the model that is given the recorded settings.

The model of a scenario runs under daemon `numa-balancing`. It is given what the knobs held when they held it, and each
counter's growth is set beside the recorded one.
"""

import math
from collections import Counter as Tally
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.counters import COUNTER_INDEX, COUNTERS, Counter
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.progress import ReportProgress, unreported
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.train import seeds as seed_blocks
from tierenv.train.episodes import episode_seeds
from tierenv.train.provenance import git_revision
from tierenv.train.recorded import Header, RecordedSetting, Sample, open_record
from tierenv.tunables import TUNABLES, UNLIMITED_BYTES_PER_S, Setting
from tierenv.units import PAGE_BYTES, format_bytes

DAEMON = "numa-balancing"
SEED = seed_blocks.EVALUATION
"""Of the episode: the first that `tierenv evaluate` plays."""

ASLEEP_NS = 1_000_000_000
"""By so much more has the clock gone on that counts sleep: less is what lies between reading the one and the other."""

SIZES_AGREE = 0.05
"""Share by which sizes of machine and scenario may differ unsaid."""

_IS_GAUGE = np.array([counter.is_gauge for counter in COUNTERS])

BACKWARDS = "a counter went backwards"
ASLEEP = "the machine was suspended"
OFF = "NUMA balancing was not in mode 2"
ADAPTING = "the kernel chose its period between two limits, which the model no longer does once one was written"
"""Why an interval is left out."""


@dataclass
class CounterRow:
    """What a counter came to over the intervals that count."""

    counter: Counter
    recorded: float = 0.0
    """Growth; of a gauge the mean at the ends of the intervals."""
    modelled: float = 0.0
    misplaced: float = 0.0
    """Sum over the intervals of how far the model's growth was off."""

    @property
    def error(self) -> float | None:
        """Share by which the model is off in all; None where nothing was recorded."""
        return (self.modelled - self.recorded) / self.recorded if self.recorded else None

    @property
    def interval_error(self) -> float | None:
        """Share by which it is off in an interval, whatever makes up for it in others; None for a gauge, too."""
        return None if self.counter.is_gauge or not self.recorded else self.misplaced / self.recorded

    def to_json(self) -> dict[str, Any]:
        """The row as `--json` writes it."""
        return {
            "counter": self.counter.name,
            "unit": self.counter.unit,
            "is_gauge": self.counter.is_gauge,
            "recorded": self.recorded,
            "modelled": self.modelled,
            "error": self.error,
            "interval_error": self.interval_error,
        }


@dataclass
class Replay:
    """A record beside the model."""

    record: Path
    kernel: str
    scenario: Scenario
    rows: list[CounterRow]
    not_recorded: list[str]
    """Counters that the model has beside them."""
    compared_intervals: int = 0
    compared_s: float = 0.0
    left_out: Tally[str] = field(default_factory=Tally)
    """Intervals by the reason why."""
    beyond_s: float = 0.0
    """What of the record came after the scenario's work was done."""
    remarks: list[str] = field(default_factory=list)
    """Where record and model are not alike, one line each."""

    @property
    def notes(self) -> list[str]:
        """What has to be known to judge by the numbers, one line each."""
        notes = [
            f"the model begins with the scenario (episode {SEED}), the record wherever its machine was: what either "
            "does to warm up is counted",
            *[f"left out: {number} intervals, {reason}" for reason, number in self.left_out.items()],
        ]
        if self.beyond_s:
            notes.append(f"left out: the last {self.beyond_s:.1f} s, for by then the scenario's work was done")
        if self.not_recorded:
            notes.append(f"not in the record: {', '.join(self.not_recorded)}")
        return [*notes, *self.remarks]

    def to_json(self) -> dict[str, Any]:
        """What `--json` writes."""
        return {
            "schema": 1,
            "git_revision": git_revision(),
            "record": str(self.record),
            "kernel": self.kernel,
            "scenario": self.scenario.name,
            "daemon": self.scenario.daemon.name,
            "seed": SEED,
            "compared_intervals": self.compared_intervals,
            "compared_s": self.compared_s,
            "left_out": dict(self.left_out),
            "beyond_s": self.beyond_s,
            "rows": [row.to_json() for row in self.rows],
            "not_recorded": self.not_recorded,
            "notes": self.notes,
        }


def replay(record: Path, scenario: str, report_progress: ReportProgress = unreported) -> Replay:
    """Drive the model of a scenario with a record's settings, until either ends.

    Raises `ConfigError` for an unknown scenario, a record that is not as it should be, and one that leaves nothing to
    compare.

    Args:
        record: path of the record.
        scenario: name or path.
        report_progress: told how far the work of the scenario is.
    """
    modelled = load_scenario(scenario).under(load_daemon(DAEMON), control="tunables")
    with open_record(record) as (header, samples):
        first = next(samples, None)
        if first is None:
            raise ConfigError(f"{record}: holds no sample")
        exported = [counter for counter in COUNTERS if counter.is_exported(modelled.daemon)]
        result = Replay(
            record=record,
            kernel=header.kernel,
            scenario=modelled,
            rows=[CounterRow(counter) for counter in exported if counter.name in first.counters],
            not_recorded=[counter.name for counter in exported if counter.name not in first.counters],
        )
        if not result.rows:
            raise ConfigError(f"{record}:2: counters: has none of {', '.join(result.not_recorded)}")
        result.remarks += _differences(header, first, modelled)
        model = _Model(modelled)
        model.write(first.setting)
        before = last = first
        for last in samples:
            if model.is_done:
                continue  # a line that is not as it should be is refused wherever it stands
            grown = model.advance(1e-9 * (last.monotonic_ns - before.monotonic_ns))
            report_progress(int(100 * model.work_done), 100, modelled.name)
            if model.is_done:
                continue
            _account(result, before, last, grown, ADAPTING if model.is_pinned_alone else "")
            model.write(last.setting)
            before = last
    result.beyond_s = 1e-9 * (last.monotonic_ns - before.monotonic_ns)
    if result.compared_intervals == 0:
        reasons = "".join(f"; {reason} in {number}" for reason, number in result.left_out.items())
        raise ConfigError(f"{record}: has no interval between two samples to compare{reasons}")
    for row in result.rows:
        if row.counter.is_gauge:
            row.recorded /= result.compared_intervals
            row.modelled /= result.compared_intervals
    result.remarks += model.remarks
    return result


def _account(result: Replay, before: Sample, after: Sample, grown: NDArray[np.int64], reason: str) -> None:
    """Count an interval, or say why not.

    Args:
        result: to count it in.
        before: sample at its start.
        after: sample at its end.
        grown: what the model counted in it.
        reason: to leave it out, empty for none.
    """
    if reason := reason or _why_left_out(before, after, result.rows):
        result.left_out[reason] += 1
        return
    result.compared_intervals += 1
    result.compared_s += 1e-9 * (after.monotonic_ns - before.monotonic_ns)
    for row in result.rows:
        name = row.counter.name
        recorded = after.counters[name] - (0 if row.counter.is_gauge else before.counters[name])
        modelled = int(grown[COUNTER_INDEX[name]])
        row.recorded += recorded
        row.modelled += modelled
        row.misplaced += abs(modelled - recorded)


def _why_left_out(before: Sample, after: Sample, rows: list[CounterRow]) -> str:
    names = [row.counter.name for row in rows if not row.counter.is_gauge]
    if before.setting is None or after.setting is None:
        return OFF
    if after.boottime_ns - before.boottime_ns > after.monotonic_ns - before.monotonic_ns + ASLEEP_NS:
        return ASLEEP
    return BACKWARDS if any(after.counters[name] < before.counters[name] for name in names) else ""


def _differences(header: Header, first: Sample, scenario: Scenario) -> list[str]:
    """Where machine and scenario are of different sizes."""
    sizes = [
        ("fast nodes", header.fast_pages, scenario.fast_capacity_pages),
        ("resident memory", first.resident_pages, scenario.pages),
    ]
    return [
        f"the machine's {what}: {format_bytes(recorded * PAGE_BYTES)}, the scenario's: "
        f"{format_bytes(modelled * PAGE_BYTES)}"
        for what, recorded, modelled in sizes
        if abs(recorded - modelled) > SIZES_AGREE * modelled
    ]


class _Model:
    """The model, driven with recorded settings.

    Args:
        scenario: under a daemon that has NUMA balancing's tunables.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.remarks: list[str] = []
        self._daemon = scenario.daemon
        self._system = LumpedSystem([scenario])
        self._system.reset(episode_seeds([SEED]), ["training"])
        self._counters = self._system.counters[0]
        self._was_written = False
        self.is_pinned_alone = False
        """Whether the model's period is one that was written, and the machine's is between two limits."""

    @property
    def is_done(self) -> bool:
        """Whether the scenario's work is done."""
        return bool(self._system.is_done[0])

    @property
    def work_done(self) -> float:
        """Share of it."""
        return float(self._system.work_done[0])

    def advance(self, seconds: float) -> NDArray[np.int64]:
        """int64[NUM_COUNTERS]: growth in so much time, gauges as they are then."""
        before = self._counters
        self._system.advance(seconds)
        self._counters = self._system.counters[0]
        return np.where(_IS_GAUGE, self._counters, self._counters - before)

    def write(self, recorded: RecordedSetting | None) -> None:
        """Put a recorded setting in force, unless it is: a write of the period ends the kernel's own adaptation.

        NUMA balancing cannot be switched off in the model; it is made to promote nothing meanwhile.
        """
        in_force = self._system.tunables
        if recorded is None:
            row = in_force.copy()
            row[0, list(TUNABLES).index("throttle")] = 0.0
        else:
            row = np.array([self._projected(recorded).row])
        if not np.array_equal(row, in_force):
            self._system.apply(row)
            self._was_written = True
        shortest_ms = None if recorded is None else recorded.scan_period_min_ms
        is_adaptive = recorded is not None and shortest_ms not in (None, recorded.scan_period_ms)
        self.is_pinned_alone = is_adaptive and self._was_written

    def _projected(self, recorded: RecordedSetting) -> Setting:
        """The nearest setting of the daemon."""
        values = {}
        for name, bounds in self._daemon.tunables.items():
            tunable = TUNABLES[name]
            value = getattr(recorded, tunable.symbol)
            value = math.inf if value is None else float(value)
            if name == "throttle" and value >= UNLIMITED_BYTES_PER_S:
                value = math.inf
            is_special = (tunable.has_zero and value == 0) or (tunable.has_unlimited and value == math.inf)
            values[name] = value if is_special else min(max(value, bounds.min), bounds.max)
            if values[name] != value:
                text = tunable.quantity.text
                note = f"{tunable.symbol} outside {text(bounds.min)} to {text(bounds.max)}: the nearest is taken"
                if note not in self.remarks:
                    self.remarks.append(note)
        return Setting(values)
