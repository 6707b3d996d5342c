"""Reading what `tierenv evaluate --json` wrote: what of it is of interest to others; the rest is left unread."""

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


class Part(Record):
    """A part of a file of results; keys of other versions are left unread."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class RunSeconds(Part):
    """Completion times of a policy on a scenario."""

    runs: Annotated[tuple[Seconds, ...], Field(min_length=1)]
    """Of each episode [s]."""


class ProcessSeconds(Part):
    """When one of several processes was done."""

    workload: str
    mean: Seconds
    ci95: Interval | None = None


class RowBounds(Part):
    """Means over the episodes of what no policy changes [s]."""

    clairvoyant: Seconds
    no_migration: Seconds
    all_fast: Seconds | None = None


class ResultRow(Part):
    """One policy on one scenario."""

    scenario: str
    policy: str
    daemon: str
    """Variant it ran on."""
    seconds: RunSeconds
    process_seconds: tuple[ProcessSeconds, ...] = ()
    truncated_runs: Annotated[int, Field(ge=0)] = 0
    """Episodes that were given up."""
    bounds: RowBounds | None = None


class EvaluationResult(Part):
    """A whole file, without its timelines."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    suite: str = ""
    git_revision: str | None = None
    seeds: tuple[int, ...] = ()
    objective: str | None = None
    rows: Annotated[tuple[ResultRow, ...], Field(min_length=1, max_length=MOST_ROWS)]

    @property
    def scenarios(self) -> list[str]:
        """Their names in order."""
        return list(dict.fromkeys(row.scenario for row in self.rows))

    @property
    def policies(self) -> list[str]:
        """Their names in order."""
        return list(dict.fromkeys(row.policy for row in self.rows))

    def outcomes(self) -> list[Outcome]:
        """The scenarios of which the file holds bounds."""
        return [
            Outcome(
                scenario,
                {row.policy: np.array(row.seconds.runs) for row in rows},
                rows[0].bounds.clairvoyant,
                rows[0].bounds.no_migration,
            )
            for scenario in self.scenarios
            for rows in [[row for row in self.rows if row.scenario == scenario]]
            if rows[0].bounds is not None
        ]


def read_evaluation(path: Path) -> EvaluationResult:
    """A file's content. Raises `ConfigError`."""
    return validate_record(EvaluationResult, read_json(path), str(path))
