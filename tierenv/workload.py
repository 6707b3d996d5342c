"""Workloads: what applications do with their memory; frozen records read from YAML."""

import math
from functools import cached_property
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tierenv.phase_orders import PhaseOrders, ShuffledOrders
from tierenv.records import Bytes, Fraction, Name, NamedRecord, Record, Seconds
from tierenv.units import CACHE_LINE_BYTES


class PageClass(Record):
    """Pages of equal heat and like visits in every phase."""

    takes_marks = True

    name: Name
    """By which `access_share` calls it."""
    fraction: Annotated[float, Field(gt=0, le=1)]
    """Share of the resident pages."""
    fast_at_start: Fraction | None = None
    """Share of its pages that starts on the fast nodes; None: as the workload's `initial_placement` has it."""
    visits: Literal["random", "sequential"] = "random"
    """random: an access falls on any of its pages; sequential: one sweep after another visits them all in turn."""


class Phase(Record):
    """A stretch of work with one distribution of accesses."""

    takes_marks = True

    name: Name
    """For people."""
    work: Annotated[float, Field(ge=1e-6, le=1e6)] = 1.0
    """Relative amount of work."""
    access_share: dict[str, Fraction]
    """Share of the accesses that falls on each class, none where a class is not named; they add up to 1."""


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
    """Total work: accesses of all threads per resident page."""
    classes: Annotated[tuple[PageClass, ...], Field(min_length=1, max_length=1000)]
    """What its pages are; fractions add up to 1."""
    phases: Annotated[tuple[Phase, ...], Field(min_length=1, max_length=1000)]
    """What it does, one after the other."""
    layout: Literal["scattered", "contiguous", "address-order"] = "scattered"
    """scattered: each class lies everywhere; contiguous: each class is one run of addresses, in random order;
    address-order: in the order of `classes`."""
    phase_order: Literal["fixed", "shuffled"] = "fixed"
    """shuffled: every seed draws an order in which the hottest class changes from phase to phase."""
    phase_length_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Relative half-width of the uniform variation of each phase's length; total work stays the same."""
    initial_placement: Literal["slow", "random", "address-order"] = "slow"
    """slow: every page starts on the slow node; random: a random subset of pages fills the fast nodes; address-order:
    the pages of the lowest addresses do."""
    rest_vma: Bytes = 0
    """Length of the other mappings (stacks, libraries), which V1 visits in turn with the big one."""

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
        _ = self._shuffled_orders  # raises where there is no order
        return self

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
