"""What can happen to the pages of a lump: being touched, promoted, demoted. See `tierenv.sim.state` for the cells."""

import math

from tierenv.sim.jit import njit_inlined
from tierenv.sim.random import binomial, round_randomly
from tierenv.sim.state import (
    FAST,
    FAST_CLOCK,
    FAULTED,
    FRESH,
    HAND,
    MARKED_FAST,
    QUEUED,
    SLOW,
    SLOW_CLOCK,
    STALE,
    UNVISITED,
    WASTED,
)


@njit_inlined
def free_pages(machine):
    """Free pages of the fast node."""
    return machine.parameters.capacity_pages - machine.state.fast_pages


@njit_inlined
def hazard_at(machine, page_class, time_s):
    """Accesses per page of a class until a time at or after the present [1]."""
    pages = machine.class_pages[page_class]
    if pages == 0:
        return 0.0
    state = machine.state
    rate = machine.access_share[state.phase, page_class] * state.access_rate / pages
    return machine.hazard[page_class] + rate * max(0.0, time_s - state.now_s)


@njit_inlined
def move(counts, row, source, target, pages):
    """Move pages between two cells of a row."""
    counts[row, source] -= pages
    counts[row, target] += pages


@njit_inlined
def ring_row(machine, record):
    """Row of the ring in which a list record stands."""
    return record & (machine.ring.shape[0] - 1)


@njit_inlined
def pages_in(counts, row, place):
    """Pages of a row in one place."""
    return counts[row, place] + counts[row, place + 1] + counts[row, place + 2] + counts[row, place + 3]


@njit_inlined
def take(state, wanted, cell_pages, total_pages):
    """How many of `wanted` pages, drawn from `total_pages`, come from a cell that holds `cell_pages` of them.

    MODEL: the expectation, rounded at random, in place of a hypergeometric draw: which of several exchangeable pages
    moves first has no effect of its own.
    """
    if wanted <= 0 or cell_pages <= 0:
        return 0
    if cell_pages == total_pages:
        return wanted
    share = round_randomly(state, wanted * (cell_pages / total_pages))
    return max(wanted - (total_pages - cell_pages), min(share, min(wanted, cell_pages)))


@njit_inlined
def touch_slow(machine, lump, place, touched, untouched):
    """Resolve one place of the slow tier: each page not known as touched has been so with probability `touched`.

    Returns the Accessed bits this set: one for each page newly known as touched. MODEL: of a sticky "touched" it
    knows no more, so those pages set theirs at every resolution, in expectation.
    """
    counts = machine.counts
    bit = 1 if machine.parameters.is_second_access else 2
    other = 3 - bit
    first = binomial(machine.state, counts[lump, place], touched, untouched)
    second = binomial(machine.state, counts[lump, place + other], touched, untouched)
    sticky = 0 if machine.parameters.is_second_access else counts[lump, place + 2] + counts[lump, place + 3]
    move(counts, lump, place, place + bit, first)
    move(counts, lump, place + other, place + 3, second)
    return first + second + sticky * touched


@njit_inlined
def touch_fast(machine, row, touched, untouched):
    """Resolve fast pages. Returns the Accessed bits this set."""
    total = 0
    for cell in range(FAST, FAST + 3):
        pages = binomial(machine.state, machine.counts[row, cell], touched, untouched)
        move(machine.counts, row, cell, FAST + 3, pages)
        total += pages
    return total


@njit_inlined
def touch_probability(machine, lump, clock, elapsed):
    """1 - exp(-elapsed); the last value of each class and clock is kept, as lumps visited together share it."""
    page_class = lump % machine.parameters.num_classes
    memo = machine.memo
    if memo[page_class, clock, 0] != elapsed:
        memo[page_class, clock, 0] = elapsed
        memo[page_class, clock, 1] = -math.expm1(-elapsed)
    return memo[page_class, clock, 1]


@njit_inlined
def set_accessed_bits(machine, pages):
    """Charge the application for the page walks that set the Accessed bits of pages."""
    machine.state.stall_s += pages * machine.parameters.accessed_bit_s / machine.parameters.threads


@njit_inlined
def resolve_slow(machine, lump, hazard):
    """Bring the slow cells of a lump up to `hazard`."""
    elapsed = hazard - machine.clocks[lump, SLOW_CLOCK]
    if elapsed <= 0.0:
        return
    machine.clocks[lump, SLOW_CLOCK] = hazard
    touched = touch_probability(machine, lump, SLOW_CLOCK, elapsed)
    untouched = 1.0 - touched
    total = touch_slow(machine, lump, SLOW, touched, untouched)
    total += touch_slow(machine, lump, QUEUED, touched, untouched)
    set_accessed_bits(machine, total)


@njit_inlined
def resolve_fast(machine, lump, hazard):
    """Bring the fast cells of a lump up to `hazard`."""
    elapsed = hazard - machine.clocks[lump, FAST_CLOCK]
    if elapsed <= 0.0:
        return
    machine.clocks[lump, FAST_CLOCK] = hazard
    touched = touch_probability(machine, lump, FAST_CLOCK, elapsed)
    untouched = 1.0 - touched
    total = touch_fast(machine, lump, touched, untouched)
    if lump == machine.state.hand_lump:
        total += touch_fast(machine, HAND, touched, untouched)
    set_accessed_bits(machine, total)


@njit_inlined
def forget_slow_marks(machine, lump, pages):
    """Migration maps pages anew: those that have just left the slow tier take what NUMA balancing noted with them."""
    state = machine.state
    marks = machine.marks
    left = pages_in(machine.counts, lump, SLOW) + pages_in(machine.counts, lump, QUEUED) + pages
    marks[lump, UNVISITED] -= take(state, pages, int(marks[lump, UNVISITED]), left)
    wanted = pages
    for column in (FRESH, STALE, FAULTED):
        noted = int(marks[lump, column])
        moved = take(state, wanted, noted, left)
        left -= noted
        wanted -= moved
        marks[lump, column] -= moved
        if column != FAULTED:
            state.numa_marked_pages -= moved


@njit_inlined
def forget_fast_marks(machine, lump, pages):
    """As `forget_slow_marks`, for pages that have just left the fast tier."""
    state = machine.state
    left = pages_in(machine.counts, lump, FAST) + pages
    if lump == state.hand_lump:
        left += pages_in(machine.counts, HAND, FAST)
    moved = take(state, pages, int(machine.marks[lump, MARKED_FAST]), left)
    machine.marks[lump, MARKED_FAST] -= moved
    state.numa_marked_pages -= moved


@njit_inlined
def promote(machine, lump, pages, time_s):
    """Move listed pages of a lump to the fast tier."""
    parameters = machine.parameters
    state = machine.state
    page_class = lump % parameters.num_classes
    hazard = hazard_at(machine, page_class, time_s)
    resolve_fast(machine, lump, hazard)
    hazard = max(hazard, machine.clocks[lump, FAST_CLOCK])
    touched = touch_probability(machine, lump, SLOW_CLOCK, max(0.0, hazard - machine.clocks[lump, SLOW_CLOCK]))
    untouched = 1.0 - touched

    counts = machine.counts
    left = pages_in(counts, lump, QUEUED)
    wanted = pages
    for cell in range(4):
        available = counts[lump, QUEUED + cell]
        moved = take(state, wanted, available, left)
        left -= available
        wanted -= moved
        if moved == 0:
            continue
        counts[lump, QUEUED + cell] -= moved
        hits = binomial(state, moved, touched, untouched)
        set_accessed_bits(machine, hits)
        scanned = (cell & 1) << 1
        # second access: the page was touched in two windows, and reclaim has not looked since
        referenced = 1 if parameters.is_second_access else cell >> 1
        counts[lump, FAST + 3] += hits
        counts[lump, FAST + (scanned | referenced)] += moved - hits
    if parameters.numa_mode > 0:
        forget_slow_marks(machine, lump, pages)
    state.fast_pages += pages
    machine.fast_by_class[page_class] += pages
    state.stall_s += pages * parameters.promotion_stall_s
    if machine.is_waste[state.phase, page_class]:
        machine.model[WASTED] += pages


@njit_inlined
def demote(machine, lump, pages, hazard):
    """Let pages that have left the fast cells arrive on the slow tier, idle."""
    state = machine.state
    page_class = lump % machine.parameters.num_classes
    resolve_slow(machine, lump, hazard)
    if machine.parameters.numa_mode == 1:
        forget_fast_marks(machine, lump, pages)
    machine.counts[lump, SLOW] += pages
    state.fast_pages -= pages
    machine.fast_by_class[page_class] -= pages
    state.stall_s += pages * machine.parameters.demotion_stall_s
