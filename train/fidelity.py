"""Published numbers beside the model's: what `tierenv fidelity` runs, and how it judges."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tierenv.counters import COUNTERS
from tierenv.errors import ConfigError
from tierenv.experiments import Experiment, PlannedRun, Row, load_experiment, packaged_experiments
from tierenv.progress import ReportProgress, unreported
from tierenv.quantities import QUANTITIES, Outcome, traffic_per_access
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.train import seeds as seed_blocks
from tierenv.train.provenance import git_revision

BATCH_MACHINES = 32
"""Simulated together: enough for the cores, and no more memory than some large machines take."""

IS_GAUGE = np.array([counter.is_gauge for counter in COUNTERS])

RunIdentity = tuple[str, float, float | None]
"""See `PlannedRun.identity`."""


@dataclass(frozen=True)
class JudgedRow:
    """A published number beside the model's."""

    experiment: Experiment
    row: Row
    modelled: float | None
    """None where the model has no such number, such as a change from nothing."""

    @property
    def error(self) -> float | None:
        """Modelled over published, less one; None where there is no such share."""
        if self.modelled is None or self.row.expected == 0:
            return None
        return self.modelled / self.row.expected - 1

    @property
    def sign_ok(self) -> bool | None:
        """Whether the model goes in the published direction; None for what has none."""
        if not self.row.has_sign:
            return None
        return self.modelled is not None and self.modelled * self.row.published > 0

    @property
    def within(self) -> bool | None:
        """Whether the model is near enough; None if nobody has said what that is."""
        if self.row.tolerance is None:
            return None
        return self.modelled is not None and self.row.tolerance.holds(self.modelled, self.row.expected)

    @property
    def is_fitted(self) -> bool:
        """Whether something of the model was fitted to it."""
        return self.experiment.is_fitted(self.row)

    @property
    def has_failed(self) -> bool:
        """Whether what is required does not hold."""
        return {"sign": self.sign_ok, "tolerance": self.within, None: None}[self.row.required] is False

    def to_json(self) -> dict[str, Any]:
        """The row as `--json` writes it."""
        return {
            "id": self.row.id,
            "experiment": self.experiment.name,
            "quantity": self.row.quantity,
            "compare": self.row.compare,
            "unit": self.row.unit,
            "published": self.row.expected,
            "modelled": self.modelled,
            "error": self.error,
            "sign_ok": self.sign_ok,
            "tolerance": None if self.row.tolerance is None else str(self.row.tolerance),
            "within": self.within,
            "required": self.row.required,
            "failed": self.has_failed,
            "fitted": self.is_fitted,
        }


@dataclass(frozen=True)
class Summary:
    """What some rows come to."""

    rows: list[JudgedRow]

    @cached_property
    def absolute_errors(self) -> list[float]:
        """Of the rows that have an error."""
        return [abs(row.error) for row in self.rows if row.error is not None]

    @property
    def median_error(self) -> float | None:
        """Of the absolute relative errors."""
        return statistics.median(self.absolute_errors) if self.absolute_errors else None

    @property
    def mean_error(self) -> float | None:
        """Of the absolute relative errors."""
        return statistics.fmean(self.absolute_errors) if self.absolute_errors else None

    @property
    def within(self) -> tuple[int, int]:
        """Rows within their tolerance, and rows that have one."""
        return _count_true(row.within for row in self.rows)

    @property
    def signs(self) -> tuple[int, int]:
        """Rows whose sign holds, and rows that have one."""
        return _count_true(row.sign_ok for row in self.rows)

    @property
    def required(self) -> tuple[int, int]:
        """Rows of which what is required holds, and rows of which something is."""
        return _count_true(not row.has_failed for row in self.rows if row.row.required is not None)

    def to_json(self) -> dict[str, Any]:
        """The summary as `--json` writes it."""
        counts = {name: getattr(self, name) for name in ("within", "signs", "required")}
        return {
            "rows": len(self.rows),
            "median_absolute_error": self.median_error,
            "mean_absolute_error": self.mean_error,
            **{name: {"held": held, "of": number} for name, (held, number) in counts.items()},
        }


def _count_true(values: Iterable[bool | None]) -> tuple[int, int]:
    given = [value for value in values if value is not None]
    return sum(given), len(given)


@dataclass(frozen=True)
class Fidelity:
    """Experiments and what the model makes of them."""

    experiments: list[Experiment]
    seeds: list[int]
    rows: list[JudgedRow]

    def summaries(self, experiment: Experiment | None = None) -> dict[str, Summary]:
        """By role, of all rows or an experiment's; a fit and a check say different things."""
        rows = [row for row in self.rows if experiment in (None, row.experiment)]
        return {
            "fitted": Summary([row for row in rows if row.is_fitted]),
            "check": Summary([row for row in rows if not row.is_fitted]),
        }

    def to_json(self) -> dict[str, Any]:
        """What `--json` writes."""

        def summary(experiment: Experiment | None = None) -> dict[str, Any]:
            return {role: rows.to_json() for role, rows in self.summaries(experiment).items()}

        return {
            "schema": 1,
            "git_revision": git_revision(),
            "seeds": self.seeds,
            "experiments": [
                {"name": each.name, "summary": each.summary, "source": each.source, "role": each.role}
                | {"rows": summary(each)}
                for each in self.experiments
            ],
            "rows": [row.to_json() for row in self.rows],
            "summary": summary(),
        }


def fidelity(names: Sequence[str], num_seeds: int, report_progress: ReportProgress = unreported) -> Fidelity:
    """Run experiments in the lumped model and judge it by them. Raises `ConfigError`.

    Args:
        names: of experiments or paths of theirs; all packaged experiments without any.
        num_seeds: runs of each, of which means are taken.
        report_progress: told what is being run.
    """
    seeds = seed_blocks.block(seed_blocks.EVALUATION, num_seeds, "--seeds")
    experiments = [load_experiment(name) for name in dict.fromkeys(names or packaged_experiments())]
    known = [experiment.name for experiment in experiments]
    if len(set(known)) < len(known):
        raise ConfigError(f"experiments: names must differ, got {', '.join(known)}")
    needed = [experiment.planned[name] for experiment in experiments for name in _simulated_runs(experiment)]
    outcomes = simulate(needed, seeds, report_progress)
    rows = [
        JudgedRow(experiment, row, modelled(experiment, row, outcomes))
        for experiment in experiments
        for row in experiment.all_rows
    ]
    return Fidelity(experiments, seeds, rows)


def _simulated_runs(experiment: Experiment) -> list[str]:
    """Names of the runs that some row reads."""
    rows = [row for row in experiment.all_rows if QUANTITIES[row.quantity].of_run is not None]
    return list(dict.fromkeys(name for row in rows for name in (row.run, row.beside) if name is not None))


def simulate(
    runs: Iterable[PlannedRun], seeds: Sequence[int], report_progress: ReportProgress = unreported
) -> dict[RunIdentity, Outcome]:
    """What is counted of each run. Those that are the same are run once, those with equal times together."""
    distinct = {run.identity: run for run in runs}
    by_times: dict[tuple[float, float | None], list[PlannedRun]] = {}
    for run in distinct.values():
        by_times.setdefault((run.since, run.duration), []).append(run)
    size = max(1, BATCH_MACHINES // len(seeds))
    batches = [group[first : first + size] for group in by_times.values() for first in range(0, len(group), size)]
    outcomes: dict[RunIdentity, Outcome] = {}
    for batch in batches:
        report_progress(len(outcomes), len(distinct), ", ".join(dict.fromkeys(run.scenario.name for run in batch)))
        outcomes |= zip((run.identity for run in batch), _simulate_together(batch, seeds), strict=True)
    return outcomes


def _simulate_together(runs: Sequence[PlannedRun], seeds: Sequence[int]) -> list[Outcome]:
    """Outcomes of runs that are counted over the same time."""
    since, duration = runs[0].since, runs[0].duration
    system = LumpedSystem([run.scenario for run in runs for _ in seeds])
    system.reset(np.array(list(seeds) * len(runs), dtype=np.uint64), ["training"] * (len(runs) * len(seeds)))
    if since > 0:
        system.advance(since)
    start_s, work_before, counters_before = system.elapsed_s, system.work_done, system.counters
    if duration is None:
        system.run_to_end()
    else:
        system.advance(duration - since)
    grown = np.where(IS_GAUGE, system.counters, system.counters - counters_before)
    shape = (len(runs), len(seeds))
    seconds = system.elapsed_s.reshape(shape).mean(axis=1)
    counted_s = (system.elapsed_s - start_s).reshape(shape).mean(axis=1)
    work = (system.work_done - work_before).reshape(shape).mean(axis=1)
    accesses = work * [run.scenario.total_accesses for run in runs]
    traffic = accesses * [traffic_per_access(run.scenario) for run in runs]
    counters = grown.reshape(*shape, -1).mean(axis=1)
    return [
        Outcome(*numbers)
        for numbers in zip(
            seconds.tolist(), counted_s.tolist(), accesses.tolist(), traffic.tolist(), counters, strict=True
        )
    ]


def modelled(experiment: Experiment, row: Row, outcomes: dict[RunIdentity, Outcome]) -> float | None:
    """What the model makes of a row; None where it has no such number."""

    def value(run: str | None) -> float:
        quantity = QUANTITIES[row.quantity]
        if quantity.of_scenario is not None:
            return quantity.of_scenario(experiment.scenario if run is None else experiment.planned[run].scenario, row)
        assert quantity.of_run is not None and run is not None
        return quantity.of_run(outcomes[experiment.planned[run].identity])

    return row.compared(value(row.run), None if row.beside is None else value(row.beside))
