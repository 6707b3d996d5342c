"""What a seed decides about an episode before it starts: order and length of the phases, and where classes lie."""

import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tierenv.phase_orders import PhaseOrders
from tierenv.scenario import Process
from tierenv.sim.records import LOAD_S, LOAD_SHARE, PHASE_S

MOST_DRAWN_EXACTLY = 1_000_000_000
"""Pages from which on numpy refuses to draw: 3.7 TiB."""


class Phases(NamedTuple):
    """P phases in the order of the episode, C classes."""

    order: tuple[int, ...]
    """Which phases of the workload they are."""
    end: NDArray[np.float64]
    """float64[P]: accesses at which each phase ends: all of the process where it ends by time."""
    seconds: NDArray[np.float64]
    """float64[P]: time after which each phase ends, infinite where it ends by work."""
    access_share: NDArray[np.float64]
    """float64[P, C]: share of the accesses on each class."""
    is_waste: NDArray[np.bool_]
    """bool[P, C]: classes none of whose pages belong to the hottest that fit the fast tier."""
    is_resident: NDArray[np.bool_]
    """bool[P, C]: classes that hold memory."""


def draw_phases(
    process: Process, fast_capacity_pages: int, phase_orders: PhaseOrders, rng: np.random.Generator
) -> Phases:
    """Draw the order of a process's phases from a split, and their lengths; the total work is always the process's."""
    workload = process.workload
    order = workload.draw_phase_order(phase_orders, rng)
    jitter = workload.phase_length_jitter
    lengths = np.array([workload.phases[phase].length for phase in order])
    lengths = lengths * rng.uniform(1 - jitter, 1 + jitter, len(order))
    if workload.is_timed:
        seconds, end = lengths, np.full(len(order), process.total_accesses)
    else:
        seconds, end = np.full(len(order), np.inf), np.cumsum(lengths / lengths.sum()) * process.total_accesses
        end[-1] = process.total_accesses

    names = [page_class.name for page_class in workload.classes]
    access_share = np.array([[workload.phases[phase].access_share.get(name, 0.0) for name in names] for phase in order])
    is_resident = np.array([[name not in workload.phases[phase].absent for name in names] for phase in order])
    class_pages = np.array(process.class_pages)
    is_waste = np.zeros(access_share.shape, dtype=np.bool_)
    for share, is_there, row in zip(access_share, is_resident, is_waste, strict=True):
        hottest_first = np.argsort(-share / np.maximum(class_pages, 1), kind="stable")
        pages_before = np.concatenate(([0], np.cumsum((class_pages * is_there)[hottest_first])[:-1]))
        row[hottest_first] = pages_before >= fast_capacity_pages
    return Phases(order, end, seconds, access_share, is_waste, is_resident)


def fill_timetable(timetable: NDArray[np.float64], process: Process, phases: Phases) -> None:
    """Write float64[F or more, 3] of a process: what it does by the clock; see the columns in `tierenv.sim.records`."""
    steps = process.workload.load
    timetable[: len(phases.seconds), PHASE_S] = phases.seconds
    timetable[0, LOAD_S:] = np.inf, 1.0
    for row, step in zip(timetable, steps, strict=False):
        row[LOAD_S], row[LOAD_SHARE] = step.duration, step.share


def draw_without_replacement(rng: np.random.Generator, pages: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """How many of each kind are among `wanted` pages drawn at random, of `pages` int64[kinds]."""
    left = int(pages.sum())
    if left < MOST_DRAWN_EXACTLY:
        return rng.multivariate_hypergeometric(pages, wanted, method="marginals")
    # MODEL: a normal number of the right mean and variance for each kind in turn
    drawn = np.zeros_like(pages)
    for kind, (own, normal) in enumerate(zip(map(int, pages), rng.standard_normal(len(pages)), strict=True)):
        share = own / left
        variance = wanted * share * (1 - share) * (left - wanted) / max(1, left - 1)
        number = round(wanted * share + math.sqrt(variance) * normal)
        drawn[kind] = max(0, wanted - (left - own), min(number, wanted, own))
        wanted -= int(drawn[kind])
        left -= own
        if left == 0:
            break
    return drawn


def draw_in_order(
    rng: np.random.Generator, pages: NDArray[np.int64], region: NDArray[np.int64], wanted: int
) -> NDArray[np.int64]:
    """How many of each lump are among the first `wanted` pages in address order, of `pages` int64[lumps].

    Within the last region they come to, int64[lumps] numbers those of the lumps, they are drawn at random.
    """
    ends = np.cumsum(np.bincount(region, pages)).astype(np.int64)
    last = int(np.searchsorted(ends, wanted))
    drawn = pages * (region < last)
    is_last = region == last
    drawn[is_last] = draw_without_replacement(rng, pages[is_last], wanted - int(drawn.sum()))
    return drawn


def place_classes(
    layout: str, class_pages: NDArray[np.int64], num_regions: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Pages of each class in each region: int64[regions, classes]. Regions are as equal in size as pages allow."""
    total = int(class_pages.sum())
    region_ends = [total * (region + 1) // num_regions for region in range(num_regions)]
    region_pages = np.diff(region_ends, prepend=0)
    if layout == "scattered":
        left = region_pages.copy()
        columns = []
        for pages in class_pages[:-1]:
            column = draw_without_replacement(rng, left, int(pages))
            left = left - column
            columns.append(column)
        return np.stack([*columns, left], axis=1)
    order = rng.permutation(len(class_pages)) if layout == "contiguous" else np.arange(len(class_pages))
    class_ends = np.cumsum(class_pages[order])
    cuts = sorted({0, *region_ends, *(int(end) for end in class_ends)})
    by_region = np.zeros((num_regions, len(class_pages)), dtype=np.int64)
    for low, high in itertools.pairwise(cuts):
        region = int(np.searchsorted(region_ends, low, side="right"))
        by_region[region, order[int(np.searchsorted(class_ends, low, side="right"))]] += high - low
    return by_region
