"""What can happen to the pages of a lump: being touched, promoted, demoted. `state` says what the cells mean."""

import math

from tierenv.sim.jit import njit_inlined
from tierenv.sim.lumped.state import (
    CLASS,
    FAST,
    FAST_CLOCK,
    FAULTED,
    FRESH,
    MARKED_FAST,
    QUEUED,
    SLOW,
    SLOW_CLOCK,
    STALE,
    SWEEP_PHASE,
    UNVISITED,
)
from tierenv.sim.random import binomial, round_randomly
from tierenv.sim.records import WASTED


@njit_inlined
def hazard_at(machine, page_class, time_s):
    """Accesses per page of a class until a time at or after the present [1]."""
    row = machine.classes[page_class]
    return row.hazard + row.hazard_rate * max(0.0, time_s - machine.state.now_s)


@njit_inlined
def process_of(machine, lump):
    """The process whose pages a lump holds."""
    return machine.classes[machine.counts[lump, CLASS]].process


@njit_inlined
def own_pages(process):
    """Pages of one of the processes alike that a record stands for."""
    return int(process.pages / process.count)


@njit_inlined
def end_of_region(machine, lump):
    """The first lump beyond the region of a lump."""
    index = process_of(machine, lump)
    first = machine.regions[machine.mms[index].first_region].first_lump
    num_classes = machine.processes[index].end_class - machine.processes[index].first_class
    return lump + num_classes - (lump - first) % num_classes


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
def clear(counts, row, place):
    """Forget the pages of a row in one place."""
    for cell in range(place, place + 4):
        counts[row, cell] = 0


@njit_inlined
def fast_place(node):
    """Where a row's pages on a node of the fast tier begin."""
    return FAST + 4 * node


@njit_inlined
def slow_pages(machine, lump):
    """Pages of a lump on the slow tier."""
    return pages_in(machine.counts, lump, SLOW) + pages_in(machine.counts, lump, QUEUED)


@njit_inlined
def fast_pages(machine, lump):
    """Pages of a lump on the fast tier."""
    total = 0
    for node in range(machine.parameters.num_nodes):
        total += pages_in(machine.counts, lump, fast_place(node))
        if lump == machine.nodes[node].hand_lump:
            total += pages_in(machine.counts, machine.nodes[node].hand_row, fast_place(node))
    return total


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
def touch_fast(machine, row, place, touched, untouched):
    """Resolve pages on one node of the fast tier. Returns the Accessed bits this set."""
    total = 0
    for cell in range(place, place + 3):
        pages = binomial(machine.state, machine.counts[row, cell], touched, untouched)
        move(machine.counts, row, cell, place + 3, pages)
        total += pages
    return total


@njit_inlined
def touch_probability(machine, lump, clock, since, hazard):
    """Share of a lump's pages touched while the hazard of its class grew from `since` to `hazard`, not less.

    1 - exp(-growth); the last value of each class and clock is kept, as lumps visited together share it.
    """
    page_class = machine.counts[lump, CLASS]
    if machine.classes[page_class].is_swept:
        return 1.0 if hazard >= next_sweep(machine, lump, since) else 0.0
    elapsed = hazard - since
    memo = machine.memo
    if memo[page_class, clock, 0] != elapsed:
        memo[page_class, clock, 0] = elapsed
        memo[page_class, clock, 1] = -math.expm1(-elapsed)
    return memo[page_class, clock, 1]


@njit_inlined
def next_sweep(machine, lump, since):
    """Hazard after `since` at which a sweep over the class comes to a lump.

    MODEL: it touches all pages of a lump at once, as it comes to the middle of them.
    """
    phase = machine.clocks[lump, SWEEP_PHASE]
    return phase + math.floor(since - phase) + 1.0


@njit_inlined
def set_accessed_bits(machine, page_class, pages):
    """Charge a process for the page walks that set the Accessed bits of pages of one of its classes."""
    process = machine.processes[machine.classes[page_class].process]
    process.stall_s += pages * machine.parameters.accessed_bit_s / process.threads


@njit_inlined
def stall_all(machine, page_class, seconds):
    """Take time off all threads of the process that a page of a class belongs to, one of several alike."""
    process = machine.processes[machine.classes[page_class].process]
    process.stall_s += seconds / process.count


@njit_inlined
def resolve_slow(machine, lump, hazard):
    """Bring the slow cells of a lump up to `hazard`."""
    since = machine.clocks[lump, SLOW_CLOCK]
    if hazard <= since:
        return
    machine.clocks[lump, SLOW_CLOCK] = hazard
    page_class = machine.counts[lump, CLASS]
    touched = touch_probability(machine, lump, SLOW_CLOCK, since, hazard)
    untouched = 1.0 - touched
    total = touch_slow(machine, lump, SLOW, touched, untouched)
    total += touch_slow(machine, lump, QUEUED, touched, untouched)
    set_accessed_bits(machine, page_class, total)


@njit_inlined
def resolve_fast(machine, lump, hazard):
    """Bring the fast cells of a lump up to `hazard`, those under a hand included."""
    since = machine.clocks[lump, FAST_CLOCK]
    if hazard <= since:
        return
    machine.clocks[lump, FAST_CLOCK] = hazard
    page_class = machine.counts[lump, CLASS]
    touched = touch_probability(machine, lump, FAST_CLOCK, since, hazard)
    untouched = 1.0 - touched
    total = 0
    for node in range(machine.parameters.num_nodes):
        place = fast_place(node)
        total += touch_fast(machine, lump, place, touched, untouched)
        if lump == machine.nodes[node].hand_lump:
            total += touch_fast(machine, machine.nodes[node].hand_row, place, touched, untouched)
    set_accessed_bits(machine, page_class, total)


@njit_inlined
def forget_slow_marks(machine, lump, pages):
    """Migration maps pages anew: those that have just left the slow tier take what NUMA balancing noted with them."""
    state = machine.state
    marks = machine.marks
    left = slow_pages(machine, lump) + pages
    wanted = pages
    for column in (FRESH, STALE):
        noted = int(marks[lump, column])
        moved = take(state, wanted, noted, left)
        left -= noted
        wanted -= moved
        marks[lump, column] -= moved
        state.numa_marked_pages -= moved
    # the others are not marked
    for column in (FAULTED, UNVISITED):
        marks[lump, column] -= take(state, wanted, int(marks[lump, column]), left)


@njit_inlined
def forget_fast_marks(machine, lump, pages):
    """As `forget_slow_marks`, for pages that have just left the fast tier."""
    state = machine.state
    left = fast_pages(machine, lump) + pages
    moved = take(state, pages, int(machine.marks[lump, MARKED_FAST]), left)
    machine.marks[lump, MARKED_FAST] -= moved
    state.numa_marked_pages -= moved


@njit_inlined
def arrive(machine, page_class, node, pages):
    """Count pages of a class that have come to a node of the fast tier."""
    machine.nodes[node].fast_pages += pages
    machine.nodes[node].moved_pages += pages
    machine.fast_by_class[page_class, node] += pages
    process = machine.classes[page_class].process
    if machine.is_waste[machine.processes[process].phase, page_class]:
        machine.model[WASTED] += pages


@njit_inlined
def promote(machine, lump, node, pages, time_s, touched_only):
    """Move listed pages of a lump to a node of the fast tier.

    `touched_only` takes them from those touched since the last visit, which has been resolved up to `time_s`.
    """
    parameters = machine.parameters
    state = machine.state
    counts = machine.counts
    page_class = counts[lump, CLASS]
    hazard = hazard_at(machine, page_class, time_s)
    resolve_fast(machine, lump, hazard)
    hazard = max(hazard, machine.clocks[lump, FAST_CLOCK])
    since = machine.clocks[lump, SLOW_CLOCK]
    touched = touch_probability(machine, lump, SLOW_CLOCK, since, max(since, hazard))
    untouched = 1.0 - touched

    place = fast_place(node)
    left = counts[lump, QUEUED + 1] + counts[lump, QUEUED + 3]
    if not touched_only:
        left += counts[lump, QUEUED] + counts[lump, QUEUED + 2]
    wanted = pages
    for cell in range(4):
        if touched_only and cell & 1 == 0:
            continue
        available = counts[lump, QUEUED + cell]
        moved = take(state, wanted, available, left)
        left -= available
        wanted -= moved
        if moved == 0:
            continue
        counts[lump, QUEUED + cell] -= moved
        hits = binomial(state, moved, touched, untouched)
        set_accessed_bits(machine, page_class, hits)
        scanned = (cell & 1) << 1
        # second access: the page was touched in two windows, and reclaim has not looked since
        referenced = 1 if parameters.is_second_access else cell >> 1
        counts[lump, place + 3] += hits
        counts[lump, place + (scanned | referenced)] += moved - hits
    if parameters.numa_mode > 0:
        forget_slow_marks(machine, lump, pages)
    arrive(machine, page_class, node, pages)
    stall_all(machine, page_class, pages * parameters.promotion_stall_s)


@njit_inlined
def demote(machine, lump, node, pages, hazard):
    """Let pages that have left the cells of a node of the fast tier arrive on the slow tier.

    MODEL: idle, as they are but for pages the scanner has not visited since their promotion: reclaim has cleared
    PG_young, and the scanner's last visit set PG_idle.
    """
    page_class = machine.counts[lump, CLASS]
    resolve_slow(machine, lump, hazard)
    if machine.parameters.numa_mode == 1:
        forget_fast_marks(machine, lump, pages)
    machine.counts[lump, SLOW] += pages
    machine.nodes[node].fast_pages -= pages
    machine.nodes[node].moved_pages += pages
    machine.fast_by_class[page_class, node] -= pages
    stall_all(machine, page_class, pages * machine.parameters.demotion_stall_s)
