"""Objectives: what the policies of a scenario are judged by. Less is better.

An objective is a number that the run so far comes to: 0 at its start, and at its end what is judged. What it grows by
in a step is what the step costs, so the steps of an episode cost as much as its end. Processes that never end have no
time and are judged by none: they are the load beside which the others run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from tierenv.records import Record

Floats = NDArray[np.float64]


class AccessTime(Record):
    """The application's mean access time in a control interval, of the worst intervals: threads x time / accesses."""

    percentile: Annotated[float, Field(gt=0, le=100)] = 99.0
    """Share of the intervals that are not above it [%]; 100 for the worst, as 99 with less than 100 intervals."""


class AccessTimeObjective(Record):
    """An objective with fields of its own."""

    access_time: AccessTime
    """What is judged."""


ObjectiveName = Literal["last-end", "application", "mean-slowdown", "worst-slowdown"]


def _spelled_out(value: object) -> object:
    """access-time, as the others a word, stands for its defaults; fields over the word of a file `like` them."""
    if isinstance(value, Mapping):
        is_over_word = str(value.get("like")) in OBJECTIVES
        return {key: fields for key, fields in value.items() if not (is_over_word and key == "like")}
    if value == "access-time":
        return {"access_time": {}}
    if isinstance(value, AccessTimeObjective) or (isinstance(value, str) and value in OBJECTIVES):
        return value
    raise PydanticCustomError("objective_expected", f"must be {', '.join(OBJECTIVES)}, or access_time with its fields")


ObjectiveField = Annotated[ObjectiveName | AccessTimeObjective, BeforeValidator(_spelled_out)]
"""As a scenario says it."""


class Progress(Protocol):
    """What processes have come to so far, on k machines of up to P processes."""

    @property
    def elapsed_s(self) -> Floats:
        """float64[k]: time since the start [s]."""

    @property
    def reference_s(self) -> Floats:
        """float64[k]: completion time with every page fast [s]."""

    @property
    def weight(self) -> Floats:
        """float64[k, P]: of each process; 0 for one that is not judged."""

    @property
    def process_s(self) -> Floats:
        """float64[k, P]: time since each started, until it ended [s]."""

    @property
    def alone_s(self) -> Floats:
        """float64[k, P]: time each takes alone on the machine with every page fast, above 0 [s]."""

    @property
    def interval_access_s(self) -> Floats:
        """float64[k]: percentile of the application's mean access times in the intervals so far [s]."""

    @property
    def all_fast_access_s(self) -> Floats:
        """float64[k]: its mean access time alone with every page fast [s]."""


@dataclass(frozen=True)
class Objective:
    """A row of `OBJECTIVES`."""

    unit: Literal["s", "1"]
    words: str
    """What it is, for people; fields in braces are those of `AccessTime`."""
    title: str
    """Of its column in a table."""
    so_far: Callable[[Progress], Floats]
    """float64[k]: what it comes to so far, in its unit; never less than before but for a percentile."""
    all_fast: Callable[[Progress], Floats]
    """float64[k]: its scale, what it comes to with every page fast, or 1 for a multiple of that."""
    remaining: Callable[[Progress, Floats], Floats] | None = None
    """float64[k]: what it still grows by when each process needs so many seconds more, float64[k, P]; None where
    that does not follow from these times, and nothing can be shaped by it."""
    judges_end_of: Literal["all", "application"] | None = None
    """Whose end it is the time of: bounds hold for times alone."""
    shown_unit: str = "s"
    """Of its numbers in a table; "" for multiples."""
    shown_factor: float = 1.0
    """From its unit to that."""
    shown_digits: int = 1
    """Behind the point."""


def _slowdowns(progress: Progress) -> Floats:
    return progress.process_s / progress.alone_s


def _mean(progress: Progress, values: Floats) -> Floats:
    """Weighted mean over the processes, float64[k] of float64[k, P]."""
    mean: Floats = (progress.weight * values).sum(axis=1) / progress.weight.sum(axis=1)
    return mean


OBJECTIVES = {
    "last-end": Objective(
        unit="s",
        words="time to the end of the last process",
        title="time",
        so_far=lambda progress: progress.elapsed_s,
        all_fast=lambda progress: progress.reference_s,
        remaining=lambda _progress, seconds: seconds.max(axis=1),
        judges_end_of="all",
    ),
    "application": Objective(
        unit="s",
        words="time to the end of the application",
        title="application",
        so_far=lambda progress: progress.process_s[:, 0],
        all_fast=lambda progress: progress.alone_s[:, 0],
        remaining=lambda _progress, seconds: seconds[:, 0],
        judges_end_of="application",
    ),
    "mean-slowdown": Objective(
        unit="1",
        words="weighted mean over the processes of time over time alone with all memory fast",
        title="mean slow-down",
        so_far=lambda progress: _mean(progress, _slowdowns(progress)),
        all_fast=lambda progress: np.ones(len(progress.weight)),
        remaining=lambda progress, seconds: _mean(progress, seconds / progress.alone_s),
        shown_unit="",
        shown_digits=3,
    ),
    "worst-slowdown": Objective(
        unit="1",
        words="worst of the processes, by time over time alone with all memory fast",
        title="worst slow-down",
        so_far=lambda progress: np.where(progress.weight > 0, _slowdowns(progress), 0.0).max(axis=1),
        all_fast=lambda progress: np.ones(len(progress.weight)),
        shown_unit="",
        shown_digits=3,
    ),
    "access-time": Objective(
        unit="s",
        words="percentile {percentile:g} over control intervals of the mean access time of the application",
        title="access time",
        so_far=lambda progress: progress.interval_access_s,
        all_fast=lambda progress: progress.all_fast_access_s,
        shown_unit="ns",
        shown_factor=1e9,
    ),
}
"""By name."""


def objective_name(objective: ObjectiveName | AccessTimeObjective) -> str:
    """Key of `OBJECTIVES`."""
    return objective if isinstance(objective, str) else "access-time"


def objective_row(objective: ObjectiveName | AccessTimeObjective) -> Objective:
    """What a scenario's objective is."""
    return OBJECTIVES[objective_name(objective)]


def objective_words(objective: ObjectiveName | AccessTimeObjective) -> str:
    """What a scenario's objective is, for people."""
    fields = {} if isinstance(objective, str) else objective.access_time.model_dump()
    return objective_row(objective).words.format(**fields)
