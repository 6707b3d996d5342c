"""Workloads: what applications do with their memory; frozen records read from YAML."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tierenv.expansion import expand
from tierenv.heat import Visits
from tierenv.phase_orders import PhaseOrders, ShuffledOrders
from tierenv.records import Bytes, Fraction, Name, NamedRecord, Record, Seconds
from tierenv.short_forms import ActiveShare, ShortForms, Stretch, Work, keys_replaced
from tierenv.units import CACHE_LINE_BYTES, PAGE_BYTES

Placement = Literal["slow", "random", "address-order"]
"""Where the pages of a process start; see `Workload.initial_placement`."""


class PageClass(Record):
    """Pages of equal heat and like visits in every phase."""

    takes_marks = True

    name: Name
    """By which `access_share` calls it."""
    fraction: Annotated[float, Field(gt=0, le=1)]
    """Share of the resident pages."""
    fast_at_start: Fraction | None = None
    """Share of its pages that starts on the fast nodes; None: as the workload's `initial_placement` has it."""
    visits: Visits = "random"
    """random: an access falls on any of its pages; stride: one sweep after another makes one access to each page in
    turn; stream: such a sweep reads every line of a page before it goes on to the next."""

    @property
    def accesses_per_visit(self) -> int:
        """Accesses that a page gets one right after the other, each time that it is visited."""
        return PAGE_BYTES // CACHE_LINE_BYTES if self.visits == "stream" else 1


class Phase(Record):
    """A stretch of work, or of time, with one distribution of accesses."""

    takes_marks = True

    name: Name
    """For people."""
    work: Work = 1.0
    """Relative amount of work."""
    duration: Stretch | None = None
    """Time after which it ends, however much work that was; None: it ends by `work`. All phases of a workload have one,
    or none has; those that have follow each other from the start of the process, and again from the first, until the
    work is done."""
    access_share: dict[str, Fraction]
    """Share of the accesses that falls on each class, none where a class is not named; they add up to 1."""
    absent: tuple[Name, ...] = ()
    """Classes that hold no memory in it. What they held is freed as it begins; as a phase begins that has them again,
    they are allocated anew, on the slow node."""

    @property
    def length(self) -> float:
        """Its duration, or its work."""
        return self.work if self.duration is None else self.duration


class LoadStep(Record):
    """A stretch of time in which a share of the threads works."""

    takes_marks = True

    duration: Stretch
    """How long it lasts."""
    share: ActiveShare
    """Share of the threads that work in it; the others wait."""


class Workload(NamedRecord):
    """A closed-loop application: threads that access pages of a few classes of heat."""

    takes_marks = True

    threads: Annotated[int, Field(ge=1, le=1 << 20)]
    """Threads, which work side by side."""
    think: Seconds = 0.0
    """Time between two accesses of a thread."""
    memory_parallelism: Annotated[float, Field(gt=0, le=1000)]
    """Accesses a thread has under way at a time: the latency of an access is divided by it [1]."""
    traffic_per_access: Annotated[Bytes, Field(ge=1, le=1 << 20)] = CACHE_LINE_BYTES
    """Memory read for an access that no cache serves: its line, and what hardware prefetches beside it."""
    cache_hit_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the accesses that caches serve: they touch their page, take `think` and no time of the memory."""
    store_share: Fraction = 0.0
    """Share of the accesses that store; each reads its line and has it written back."""
    accesses_per_page: Annotated[float, Field(ge=1e-6, le=1e12)]
    """Total work: accesses of all threads per page of all classes."""
    classes: Annotated[tuple[PageClass, ...], Field(min_length=1, max_length=1000)]
    """What its pages are; fractions add up to 1. A `heat` may stand in place of it and of `phases`: `ShortForms`."""
    phases: Annotated[tuple[Phase, ...], Field(min_length=1, max_length=1000)]
    """What it does, one after the other."""
    load: Annotated[tuple[LoadStep, ...], Field(max_length=1000)] = ()
    """How many of its threads work as time goes by, one step after the other from the start of the process, and from
    the first again; none: all of them always do. A curve may stand in place of the list: `LoadCurve`."""
    layout: Literal["scattered", "contiguous", "address-order"] = "scattered"
    """scattered: each class lies everywhere; contiguous: each class is one run of addresses, in random order;
    address-order: in the order of `classes`."""
    phase_order: Literal["fixed", "shuffled"] = "fixed"
    """shuffled: every seed draws an order in which the hottest class changes from phase to phase."""
    phase_length_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Relative half-width of the uniform variation of each phase's length; total work stays the same. Those that end
    by time have the lengths that were drawn in every round."""
    initial_placement: Placement = "slow"
    """slow: every page starts on the slow node; random: a random subset of pages fills the fast nodes; address-order:
    the pages of the lowest addresses do."""
    rest_vma: Bytes = 0
    """Length of the other mappings (stacks, libraries), which V1 visits in turn with the big one."""

    short_forms: ClassVar = ShortForms

    @classmethod
    def replaced(cls, below: Mapping[str, Any], above: Mapping[str, Any]) -> set[str]:
        """What of another file says nothing any more beside a heat, or classes, of this one."""
        return keys_replaced(below, above)

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, values: Any) -> Any:
        return expand(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [page_class.name for page_class in self.classes]
        if len(set(names)) < len(names):
            raise ValueError(f"classes: names must differ, got {', '.join(names)}")
        total = sum(page_class.fraction for page_class in self.classes)
        if not math.isclose(total, 1, abs_tol=1e-6):
            raise ValueError(f"classes: fractions must add up to 1, got {total:g}")
        for phase in self.phases:
            if unknown := set(phase.access_share) - set(names):
                raise ValueError(
                    f"phases.{phase.name}.access_share: unknown class {min(unknown)}; known: {', '.join(names)}"
                )
            share = sum(phase.access_share.values())
            if not math.isclose(share, 1, abs_tol=1e-6):
                raise ValueError(f"phases.{phase.name}.access_share: must add up to 1, got {share:g}")
            self._check_absent(phase)
        self._check_durations()
        _ = self._shuffled_orders  # raises where there is no order
        return self

    def _check_absent(self, phase: Phase) -> None:
        known = [page_class.name for page_class in self.classes]
        for name in phase.absent:
            if name not in known:
                raise ValueError(f"phases.{phase.name}.absent: unknown class {name}; known: {', '.join(known)}")
            if phase.access_share.get(name, 0.0) > 0:
                raise ValueError(
                    f"phases.{phase.name}.access_share.{name}={phase.access_share[name]:g}: must be 0 for a class that "
                    "is absent"
                )

    def _check_durations(self) -> None:
        """Refuse phases of which some end by time and others by work, and any that says both."""
        if not self.is_timed:
            return
        for phase in self.phases:
            if phase.duration is None:
                raise ValueError(f"phases.{phase.name}.duration: is missing; all phases must have one, or none")
            if phase.work != 1.0:
                raise ValueError(
                    f"phases.{phase.name}.work={phase.work:g}: a phase with a duration ends by time; leave it out"
                )

    def may_start_with(self, name: str) -> bool:
        """Whether a class holds memory in a phase that may be the first."""
        first = self.phases[:1] if self.phase_order == "fixed" else self.phases
        return any(name not in phase.absent for phase in first)

    @cached_property
    def is_timed(self) -> bool:
        """Whether phases end by the clock, not by work."""
        return any(phase.duration is not None for phase in self.phases)

    @cached_property
    def mean_load(self) -> float:
        """Share of the threads that work, averaged over time."""
        if not self.load:
            return 1.0
        return sum(step.duration * step.share for step in self.load) / sum(step.duration for step in self.load)

    def loaded_s(self, full_s: float) -> float:
        """Time from the start of a process in which so long a time of all threads has passed [s]."""
        if not self.load:
            return full_s
        cycle_s = sum(step.duration for step in self.load)
        cycles = math.floor(full_s / (cycle_s * self.mean_load))
        left_s, passed_s = full_s - cycles * cycle_s * self.mean_load, cycles * cycle_s
        for step in self.load:
            if left_s <= step.duration * step.share:
                return passed_s + left_s / step.share
            left_s -= step.duration * step.share
            passed_s += step.duration
        return passed_s  # what rounding has left

    def draw_phase_order(self, split: PhaseOrders, rng: np.random.Generator) -> tuple[int, ...]:
        """An order of the phases from a split; a workload whose order is fixed has only that one, in both splits."""
        if self._shuffled_orders is None:
            return tuple(range(len(self.phases)))
        return self._shuffled_orders.draw(split, rng)

    @cached_property
    def _shuffled_orders(self) -> ShuffledOrders | None:
        if self.phase_order == "fixed":
            return None
        return ShuffledOrders([max(phase.access_share, key=phase.access_share.__getitem__) for phase in self.phases])
