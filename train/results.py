"""Reading what `tierenv evaluate --json` wrote: what of it is of interest to others; the rest is left unread."""

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field

from tierenv.reading import read_json
from tierenv.records import Record, validate_record
from tierenv.train.outcomes import Outcome

Seconds = Annotated[float, Field(ge=1e-9, le=1e9)]
Number = Annotated[float, Field(ge=-1e15, le=1e15)]
"""Of which a picture can be made."""
Interval = Annotated[tuple[Number, ...], Field(min_length=2, max_length=2)]


MOST_ROWS = 20_000


NOTHING = "no-migration"
"""The policy that does nothing."""


class Part(Record):
    """A part of a file of results; keys of other versions are left unread."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class RunSeconds(Part):
    """Completion times of a policy on a scenario."""

    runs: Annotated[tuple[Seconds, ...], Field(min_length=1)]
    """Of each episode [s]."""


class JudgedBy(Part):
    """What a policy is judged by on a scenario, if that is not the time to the end of all."""

    name: str = "last-end"
    unit: str = "s"
    runs: Annotated[tuple[Annotated[float, Field(ge=1e-12, le=1e9)], ...], Field(min_length=1)]
    """Of each episode."""


class MeanWithInterval(Part):
    """A mean over episodes."""

    mean: Number
    ci95: Interval | None = None


class ProcessResult(Part):
    """What one of several processes came to."""

    process: str
    end_s: MeanWithInterval | None = None
    slowdown: MeanWithInterval | None = None
    """Over its time alone on the machine with all memory fast."""
    access_s: MeanWithInterval | None = None
    lifetime: str = "once"
    runs_not_ended: int | None = None
    """Episodes that were given up before it ended; None of one that never ends."""


class ProcessSeconds(Part):
    """When one of several processes was done."""

    workload: str
    mean: Seconds
    ci95: Interval | None = None


class RowBounds(Part):
    """Means over the episodes of what no policy changes [s]; None where what is judged is no time."""

    clairvoyant: Seconds | None = None
    no_migration: Seconds | None = None


class ResultRow(Part):
    """One policy on one scenario."""

    scenario: str
    policy: str
    daemon: str
    """Variant it ran on."""
    seconds: RunSeconds
    objective: JudgedBy | None = None
    processes: tuple[ProcessResult, ...] = ()
    process_seconds: tuple[ProcessSeconds, ...] = ()
    truncated_runs: Annotated[int, Field(ge=0)] = 0
    """Episodes that were given up."""
    bounds: RowBounds | None = None

    @property
    def runs(self) -> tuple[float, ...]:
        """What is judged of each episode."""
        return (self.objective or self.seconds).runs


class OpenedSet(Part):
    """A final set that was opened."""

    seed: int
    opened: str
    """When."""


class EvaluationResult(Part):
    """A whole file, without its timelines."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    suite: str = ""
    family: str | None = None
    split: str | None = None
    """Of a family's scenarios, which set they are."""
    openings: tuple[OpenedSet, ...] = ()
    """Of a final set, this one last."""
    git_revision: str | None = None
    seeds: tuple[int, ...] = ()
    objective: str | None = None
    rows: Annotated[tuple[ResultRow, ...], Field(min_length=1, max_length=MOST_ROWS)]

    @property
    def policies(self) -> list[str]:
        """Their names in order."""
        return list(dict.fromkeys(row.policy for row in self.rows))

    @cached_property
    def by_scenario(self) -> dict[str, list[ResultRow]]:
        """Rows of each scenario, in order."""
        rows: dict[str, list[ResultRow]] = {}
        for row in self.rows:
            rows.setdefault(row.scenario, []).append(row)
        return rows

    def outcomes(self) -> list[Outcome]:
        """The scenarios of which the file holds bounds."""
        return [outcome for outcome in map(_outcome, self.by_scenario.values()) if outcome is not None]


def unbounded_outcome(rows: Sequence[ResultRow]) -> Outcome | None:
    """Of the rows of a scenario whose objective has no bounds; None unless doing nothing is among the policies."""
    runs = {row.policy: np.array(row.runs) for row in rows}
    if NOTHING not in runs or rows[0].objective is None:
        return None
    measure = rows[0].objective.name.replace("-", " ")
    return Outcome(rows[0].scenario, runs, math.nan, float(runs[NOTHING].mean()), measure=measure)


def _outcome(rows: Sequence[ResultRow]) -> Outcome | None:
    """Of the rows of a scenario; None without bounds."""
    bounds = rows[0].bounds
    if bounds is None or bounds.clairvoyant is None or bounds.no_migration is None:
        return None
    runs = {row.policy: np.array(row.runs) for row in rows}
    return Outcome(rows[0].scenario, runs, bounds.clairvoyant, bounds.no_migration)


def read_evaluation(path: Path) -> EvaluationResult:
    """A file's content. Raises `ConfigError`."""
    return validate_record(EvaluationResult, read_json(path), str(path))
