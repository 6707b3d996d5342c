"""What a workload file may say in short: heat, drift, growth, curves of load.

`heat`, with `drift` or `growth` beside it, stands for `classes` and `phases`; phases that each have a `heat` stand for
these, too; a curve stands for the steps of `load`. `tierenv.expansion` makes canonical fields of them.
"""

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from tierenv.heat import Heat, PageShare
from tierenv.records import Fraction, Name, Record, Seconds
from tierenv.units import DAY_S, format_seconds

Work = Annotated[float, Field(ge=1e-6, le=1e6)]
"""Relative amount of work of a phase."""
ActiveShare = Annotated[float, Field(ge=1e-6, le=1)]
"""Share of the threads that work."""
MIN_STEP_S = 1e-3
Stretch = Annotated[Seconds, Field(ge=MIN_STEP_S)]
"""How long something lasts that ends by the clock."""

MAX_SHARES = 8192
"""Access shares that a short form may stand for, classes times phases: a file that holds them must be read, too."""


def _check_steps(whole_s: float, steps: int) -> None:
    """Refuse steps of a time that would be no `Stretch`."""
    if not MIN_STEP_S <= whole_s / steps <= DAY_S:
        raise ValueError(
            f"steps={steps}: each would take {format_seconds(whole_s / steps)}; must take {format_seconds(MIN_STEP_S)} "
            f"to {format_seconds(DAY_S)}"
        )


class Drift(Record):
    """A hot set that moves over the addresses, once round in 1 / share_per_s, at even speed.

    Pages are equal classes in the order of addresses, the last one before the first. Their heat is constant within a
    step, and what it is on average in that time as the profile passes by.
    """

    takes_marks = True

    share_per_s: Annotated[float, Field(ge=1e-6, le=1)]
    """Share of all pages by which it moves in a second."""
    classes: Annotated[int, Field(ge=2, le=128)] = 32
    """Classes of pages: the resolution over addresses."""
    steps: Annotated[int, Field(ge=2, le=1000)] = 32
    """Steps of one round: the resolution over time."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.classes * self.steps > MAX_SHARES:
            raise ValueError(
                f"steps={self.steps}: with {self.classes} classes must be at most {MAX_SHARES // self.classes}"
            )
        _check_steps(1 / self.share_per_s, self.steps)
        return self


class Growth(Record):
    """Memory that grows or shrinks in equal steps, and stays as it is then; all of it takes part in the heat."""

    takes_marks = True

    from_: Annotated[PageShare, Field(alias="from")]
    """Share of `size` that is resident at the start; this or `to` is 1."""
    to: PageShare
    """Share that is resident in the end: less than `from` shrinks."""
    over: Stretch
    """Time it takes."""
    steps: Annotated[int, Field(ge=1, le=100)] = 8
    """Steps, each of an equal part of the time and of the change."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if max(self.from_, self.to) < 1:
            raise ValueError(f"from={self.from_:g}: it or to must be 1, the size of the process; got to={self.to:g}")
        if self.from_ == self.to:
            raise ValueError("to=1: must differ from from=1")
        _check_steps(self.over, self.steps)
        return self


class _Levels(Record):
    takes_marks = True

    low: ActiveShare
    """Share of the threads that work when least do, at the start of a daily period and between bursts."""
    high: ActiveShare = 1.0
    """Share when most do."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low={self.low:g}: must be at most high={self.high:g}")
        return self


class DailyLoad(_Levels):
    """A sine from low to high and back, in steps that are its average."""

    period: Stretch
    """Time of one round."""
    steps: Annotated[int, Field(ge=2, le=1000)] = 24
    """Steps of a period."""

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        _check_steps(self.period, self.steps)
        return self


class Bursts(_Levels):
    """Two levels in turn, the high one first."""

    on: Stretch
    """Time at the high level."""
    off: Stretch
    """Time at the low level."""


class LoadCurve(Record):
    """How many of the threads work, over time: one of these forms, in place of the list of steps."""

    daily: DailyLoad | None = None
    """Up and down as over a day."""
    bursts: Bursts | None = None
    """On and off."""

    @classmethod
    def replaced(cls, below: Mapping[str, Any], above: Mapping[str, Any]) -> set[str]:
        """The forms other than the one that stands above."""
        return set(cls.model_fields) - set(above) if above else set()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.daily is None) == (self.bursts is None):
            raise ValueError("must be one of daily, bursts, or a list of steps")
        return self


class HeatPhase(Record):
    """A phase with a heat of its own, over the same pages in the same order as the others."""

    name: Name
    """For people."""
    work: Work | None = None
    """As in `Phase`."""
    duration: Stretch | None = None
    """As in `Phase`."""
    heat: Heat
    """What is hot in it. Pages of the first phase's classes are cut where a later one's end."""
    shift: Fraction = 0.0
    """Share of all pages by which its heat lies further on: other pages are hot."""


class ShortForms(Record):
    """What a workload file may say in place of other fields; it is read as these."""

    heat: Heat | None = None
    """In place of `classes` and `phases`: one heat, or where it starts."""
    drift: Drift | None = None
    """Beside `heat`: it moves."""
    growth: Growth | None = None
    """Beside `heat`: memory becomes more, or less."""
    phases: Annotated[tuple[HeatPhase, ...], Field(min_length=1, max_length=100)] | None = None
    """In place of `classes` and `phases`: several heats, one after the other."""
    load: LoadCurve | None = None
    """In place of the list of steps: a curve."""


SHAPE = ("heat", "drift", "growth")
OF_CLASSES = ("classes", "phases", "layout", "phase_order", "phase_length_jitter")
"""What belongs to classes that `heat` is put over: none of it says anything about others."""


def keys_replaced(below: Mapping[str, Any], above: Mapping[str, Any]) -> set[str]:
    """Keys of a workload file that say nothing any more when those of another are put over it."""
    gone: set[str] = set()
    if is_given(above, "heat") or has_heats(above.get("phases")):
        gone |= set(OF_CLASSES)
    if "classes" in above or "phases" in above:
        gone |= set(SHAPE)
    for one, other in itertools.permutations(("drift", "growth")):
        gone |= {other} if is_given(above, one) else set()
    return gone


def is_given(values: Mapping[str, Any], key: str) -> bool:
    """Whether a mapping has a key with a value: null takes back what another file says."""
    return values.get(key) is not None


def has_heats(phases: object) -> bool:
    """Whether phases, as a file has them, are such that have heats."""
    return isinstance(phases, list | tuple) and any(isinstance(phase, Mapping) and "heat" in phase for phase in phases)
