"""Reading what `tierenv evaluate --json` wrote: what of it is of interest to others; the rest is left unread."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field

from tierenv.agents.foreign import table_kind
from tierenv.agents.kinds import Kind
from tierenv.reading import read_json
from tierenv.records import Record, validate_record
from tierenv.train.limits import NO_MIGRATION
from tierenv.train.outcomes import NOTHING, Outcome, objective_measure
from tierenv.train.texts import counted

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


class Recovery(MeanWithInterval):
    """How long changes are felt [s]."""

    regained: Number
    """Share of the changes after which the rate was regained."""


class ResultRow(Part):
    """One policy on one scenario."""

    scenario: str
    policy: str
    kind: Kind | None = None
    daemon: str
    """Variant it ran on."""
    chosen_on: tuple[str, ...] = ()
    """Names of the scenarios on which a search chose its setting, if one did."""
    seconds: RunSeconds
    objective: JudgedBy | None = None
    processes: tuple[ProcessResult, ...] = ()
    process_seconds: tuple[ProcessSeconds, ...] = ()
    truncated_runs: Annotated[int, Field(ge=0)] = 0
    """Episodes that were given up."""
    bounds: RowBounds | None = None
    recovery_s: Recovery | None = None
    daemon_cpu_s: dict[str, MeanWithInterval] = {}
    """CPU time of an episode, by whose it is and in all [s]."""

    @property
    def runs(self) -> tuple[float, ...]:
        """What is judged of each episode."""
        return (self.objective or self.seconds).runs


class LookedAt(Part):
    """One look at a final set."""

    verb: str
    date: str
    seeds: int
    """Episodes of each scenario."""


class OpenedSet(Part):
    """A final set, of a seed and under a daemon that policies ran on, and who looked at it."""

    seed: int
    daemon: str
    opened: str | None
    """When policies were first evaluated on it; None as long as rivals alone were looked at."""
    git_revision: str | None = None
    """Of that evaluation."""
    policies: tuple[str, ...] = ()
    """That it was opened for; rivals are not among them."""
    searched: str | None = None
    """When it was first looked at without them, if that was before."""
    searched_anew: tuple[str, ...] = ()
    """Rivals of this result that were others, or were none, in the evaluation that opened it."""
    looks: tuple[LookedAt, ...] = ()
    """All at the scenarios of its seed, under whatever daemon."""
    is_judged_here: bool = False
    """Whether it is what this result was judged on; the others are told beside it."""

    def __str__(self) -> str:
        """When it was opened and for whom."""
        which = f"(seed {self.seed}, {self.daemon})"
        if self.opened is None:
            return f"not opened for a policy yet {which}, searched at {self.searched}"
        searched = f", searched at {self.searched} before it was opened" if self.searched else ""
        return f"opened at {self.opened} {which} for {', '.join(self.policies)}{searched}"

    @property
    def words(self) -> str:
        """The same, and how often it was looked at."""
        anew = f"; rivals searched anew or added since: {', '.join(self.searched_anew)}" if self.searched_anew else ""
        return f"{self}; looked at {counted(len(self.looks), 'time')}{anew}"


def opening_words(openings: Sequence[OpenedSet]) -> str:
    """Of a final set: when it was opened and for whom, and the same of the family's others."""
    here = "; ".join(each.words for each in openings if each.is_judged_here)
    others = [str(each) for each in openings if not each.is_judged_here]
    told = f"others of the family: {'; '.join(others)}" if others else "no other of the family was opened before"
    return f"{here}; {told}"


class LimitRuns(Part):
    """A bound, an estimate or what doing nothing takes."""

    runs: Annotated[tuple[Seconds, ...], Field(min_length=1)]
    """Of each episode [s]."""
    truncated_runs: Annotated[int, Field(ge=0)] = 0
    """Episodes that were given up."""


class ScenarioResult(Part):
    """What the file says of a scenario beside its rows; who wins is judged anew."""

    scenario: str
    bounds: dict[str, LimitRuns] = {}
    """By the keys of `tierenv.train.limits`."""


class MissingRival(Part):
    """A rival that there was not on a scenario."""

    policy: str
    scenario: str
    reason: str


class EvaluationResult(Part):
    """A whole file, without its timelines."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    suite: str = ""
    family: str | None = None
    split: str | None = None
    """Of a family's scenarios, which set they are."""
    openings: tuple[OpenedSet, ...] = ()
    """Of a final set, those that were opened, this one last."""
    git_revision: str | None = None
    seeds: tuple[int, ...] = ()
    objective: str | None = None
    verdicts: tuple[ScenarioResult, ...] = ()
    rows: Annotated[tuple[ResultRow, ...], Field(min_length=1, max_length=MOST_ROWS)]
    left_out: Annotated[tuple[MissingRival, ...], Field(max_length=MOST_ROWS)] = ()

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
        """Each scenario, for who judges it."""
        limits = {each.scenario: each.bounds for each in self.verdicts}
        return [_outcome(rows, limits.get(scenario, {})) for scenario, rows in self.by_scenario.items()]


def _outcome(rows: Sequence[ResultRow], limits: Mapping[str, LimitRuns]) -> Outcome:
    """Of the rows of a scenario; where the file holds means of bounds alone, they stand for each episode."""
    first, bounds = rows[0], rows[0].bounds or RowBounds()
    runs = {row.policy: np.array(row.runs) for row in rows}
    kinds = {row.policy: row.kind or table_kind(row.policy) for row in rows}
    known = {key: np.array(limit.runs) for key, limit in limits.items()}
    for key in ("clairvoyant", NO_MIGRATION):
        mean = getattr(bounds, key)
        if key not in known and mean is not None:
            known[key] = np.full(len(first.runs), mean)
    no_migration = known.pop(NO_MIGRATION, None)
    given_up = {row.policy: row.truncated_runs for row in rows}
    if NO_MIGRATION in limits:
        given_up[NOTHING] = max(given_up.get(NOTHING, 0), limits[NO_MIGRATION].truncated_runs)
    judged = first.objective or JudgedBy(runs=first.runs)
    if "clairvoyant" in known and no_migration is not None:
        return Outcome(first.scenario, runs, no_migration, known, kinds, given_up=given_up)
    measure = objective_measure(judged.name)
    return Outcome(
        first.scenario, runs, runs.get(NOTHING), {}, kinds, measure=measure, unit=judged.unit, given_up=given_up
    )


def read_evaluation(path: Path) -> EvaluationResult:
    """A file's content. Raises `ConfigError`."""
    return validate_record(EvaluationResult, read_json(path), str(path))
