"""The pages model: slow and plain, what `tierenv.sim.pages.system` runs.

It shares with the lumped model the parameters of a scenario, the rates of its applications, the random bits and the
kernel's rules that no page takes part in, no more. Each page has its class, its place, the kernel's flags and the
moment of its next access; each entry of the migration list knows the folio it names, a page at a given number of moves.
There are no regions: scanner, NUMA balancing and kswapd's hands walk the addresses page by page. A process's pages are
one run of addresses. Scanner, migrator and the kswapd of each node have a clock each, and whichever is behind acts
next.

Accesses to a page are a Poisson stream on the clock of accesses per page of its class (its hazard): the next one comes
an exponential gap after the Accessed bit was cleared, and the bit reads as set from then on. Where a class is swept it
comes when the sweep does, once in each unit of hazard; where whole pages are streamed that is as many accesses per page
as a page has lines. How fast that clock runs is recomputed every tick.

This file holds the state and what happens to a page; `scanner`, `migrator`, `reclaim` and `numa` hold the kernel's
actors, `engine` the clock.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tierenv.sim.jit import njit_inlined
from tierenv.sim.random import uniform
from tierenv.sim.records import KNOB_FIELDS, MM_FIELDS, WASTED

SLOW = -1
"""What `Pages.node` holds for a page of the slow tier."""
MOST_STREAK = 255
"""Visits in a row that `Pages.streak` counts."""
ABSENT = -2
"""What it holds for a page that is nowhere: its class is not resident, or its process has exited."""

STATE = np.dtype(
    [
        ("random_counter", "u8"),
        ("is_done", "b1"),
        ("now_s", "f8"),
        ("are_rates_known", "b1"),  # no placement, phase or copy has changed since they were solved
        # daemon
        ("seed_period_ms", "f8"),  # of processes that start later, as the next
        ("seed_size_bytes", "f8"),
        *KNOB_FIELDS,
        ("throttle_pages_per_s", "f8"),
        ("access_threshold", "f8"),  # visits in a row that must have found a page accessed
        # scanner: while it sleeps its clock is the time at which the next chunk begins
        ("scanner_clock_s", "f8"),
        ("is_scanning", "b1"),
        ("is_draining", "b1"),  # the scanner's thread does the migrator's work
        ("scan_process", "i8"),  # whose chunk is under way or was the last
        ("round_visits", "i8"),
        ("chunk_end", "i8"),
        ("chunk_useful", "i8"),
        # migration list: entries [head, tail) wait, [tail, private_tail) belong to the chunk being scanned
        ("list_head", "i8"),
        ("list_tail", "i8"),
        ("private_tail", "i8"),
        # migrator
        ("migrator_clock_s", "f8"),
        ("window_end_s", "f8"),  # of the throttle's budget
        ("window_promotions", "i8"),
        # NUMA balancing
        ("marked_pages", "i8"),
    ],
    align=True,
)

MM = np.dtype(
    [
        ("first_page", "i8"),
        ("end_page", "i8"),
        ("numa_cursor", "i8"),  # address of the next page to mark
        ("stagger", "f8"),  # share of a period by which it comes behind the first of several processes alike
        *MM_FIELDS,
    ],
    align=True,
)
"""One process as the kernel knows it; its cursor is the address of the next page to visit."""


class Pages(NamedTuple):
    """One machine: N pages in address order, M processes, K nodes of the fast tier, E entries.

    C classes and F phases are those of all processes together and the most of any.
    """

    parameters: NDArray[np.void]
    """`tierenv.sim.records.PARAMETERS`."""
    state: NDArray[np.void]
    """STATE."""
    processes: NDArray[np.void]
    """`tierenv.sim.records.PROCESS`[M]."""
    mms: NDArray[np.void]
    """MM[M]."""
    nodes: NDArray[np.void]
    """`tierenv.sim.records.NODE`[K]."""
    links: NDArray[np.void]
    """`tierenv.sim.records.LINK`[K + 1]."""
    hands: NDArray[np.int64]
    """int64[K]: address of the next page the kswapd of each node looks at."""
    aging_hands: NDArray[np.int64]
    """int64[K]: address of the next page it ages."""
    shares: NDArray[np.float64]
    """float64[M, K + 1]: share of a process's accesses on each node, the slow one last."""
    rates: NDArray[np.float64]
    """float64[M]: accesses/s in this tick, stalls included."""
    page_class: NDArray[np.int32]
    """int32[N]."""
    node: NDArray[np.int8]
    """int8[N]: node of the fast tier, SLOW or ABSENT."""
    next_access: NDArray[np.float64]
    """float64[N]: hazard of the class at the first access since the Accessed bit was cleared."""
    sweep_phase: NDArray[np.float64]
    """float64[N]: share of its class that a sweep visits before it; NaN where visits are at random."""
    is_idle: NDArray[np.bool_]
    """bool[N]: PG_idle, set by the scanner, cleared when an access is noticed."""
    is_young: NDArray[np.bool_]
    """bool[N]: PG_young, set when the scanner clears a set Accessed bit, cleared by kswapd and by demotion."""
    was_visited: NDArray[np.bool_]
    """bool[N]: the scanner has looked at the page before, or what it finds counts from the first visit on."""
    is_aged: NDArray[np.bool_]
    """bool[N]: kswapd has aged the page, and not looked at it since."""
    streak: NDArray[np.uint8]
    """uint8[N]: last visits in a row that found the page accessed, MOST_STREAK of them or more."""
    fault_hazard: NDArray[np.float64]
    """float64[N]: hazard of the class at which a page marked for a NUMA hint fault has it; infinite where unmarked."""
    marked_at_s: NDArray[np.float64]
    """float64[N]: when it was marked."""
    has_faulted: NDArray[np.bool_]
    """bool[N]: a hint fault has left the page on the slow tier."""
    moves: NDArray[np.int32]
    """int32[N]: migrations so far; with the address the identity of the folio."""
    entries: NDArray[np.int32]
    """int32[N]: list entries that name the page's present folio."""
    list_page: NDArray[np.int32]
    """int32[E]: ring of the migration list: address of the page an entry names."""
    list_moves: NDArray[np.int32]
    """int32[E]: moves of that page when it was listed."""
    class_process: NDArray[np.int64]
    """int64[C]."""
    class_pages: NDArray[np.int64]
    """int64[C]."""
    accesses_per_hazard: NDArray[np.float64]
    """float64[C]: accesses to a class in which each of its pages is visited once on average."""
    has_memory: NDArray[np.bool_]
    """bool[C]: classes that are resident now."""
    hazard: NDArray[np.float64]
    """float64[C]: visits per page so far, at `now_s`."""
    hazard_rate: NDArray[np.float64]
    """float64[C]: its growth in this tick [1/s]."""
    fast_by_class: NDArray[np.int64]
    """int64[C, K]."""
    access_share: NDArray[np.float64]
    """float64[F, C]: share of its process's accesses on each class, in the episode's phase order."""
    phase_end: NDArray[np.float64]
    """float64[F, M]: accesses at which each phase of each process ends; all of them where it ends by time."""
    timetable: NDArray[np.float64]
    """float64[max(F, load steps), M, 3]: what each process does by the clock: PHASE_S, LOAD_S, LOAD_SHARE."""
    is_resident: NDArray[np.bool_]
    """bool[F, C]: classes that hold memory in each phase."""
    is_waste: NDArray[np.bool_]
    """bool[F, C]: classes none of whose pages belong to the hottest of their process that fit the fast tier."""
    counters: NDArray[np.int64]
    """int64[NUM_COUNTERS]."""
    model: NDArray[np.int64]
    """int64[len(MODEL_COUNTERS)]."""


@njit_inlined
def owner(pages, page):
    """Number of the process a page belongs to."""
    return pages.class_process[pages.page_class[page]]


@njit_inlined
def hazard_at(pages, page, time_s):
    """Hazard of a page's class at a time in this tick."""
    page_class = pages.page_class[page]
    return pages.hazard[page_class] + pages.hazard_rate[page_class] * (time_s - pages.state.now_s)


@njit_inlined
def exponential(pages):
    """An exponential gap of mean 1, as between two accesses to a page on the clock of its hazard."""
    return -math.log(1.0 - uniform(pages.state))


@njit_inlined
def access_after(pages, page, hazard):
    """Hazard at the first access to a page after one at `hazard`."""
    phase = pages.sweep_phase[page]
    if math.isnan(phase):
        return hazard + exponential(pages)
    return phase + math.floor(hazard - phase) + 1.0


@njit_inlined
def is_marked(pages, page):
    """Whether the next access to a page that NUMA balancing has marked will be a hint fault."""
    return pages.fault_hazard[page] < math.inf


@njit_inlined
def test_and_clear_accessed(pages, page, time_s):
    """Whether a page has been accessed since its Accessed bit was last cleared; clears it."""
    hazard = hazard_at(pages, page, time_s)
    if hazard < pages.next_access[page]:
        return False
    if is_marked(pages, page) and pages.fault_hazard[page] > hazard:
        pages.next_access[page] = pages.fault_hazard[page]
    else:
        pages.next_access[page] = access_after(pages, page, hazard)
    # the access that set the bit took that much longer
    process = pages.processes[owner(pages, page)]
    process.stall_s += pages.parameters.accessed_bit_s / process.threads
    return True


@njit_inlined
def place(pages, page, node):
    """Put a page on a node of the fast tier, on the slow one or nowhere: another folio, that no entry or mark is of."""
    before = pages.node[page]
    page_class = pages.page_class[page]
    if before >= 0:
        if pages.is_aged[page]:
            pages.is_aged[page] = False
            pages.nodes[before].aged_pages -= 1
        pages.nodes[before].fast_pages -= 1
        pages.fast_by_class[page_class, before] -= 1
    if node >= 0:
        pages.nodes[node].fast_pages += 1
        pages.fast_by_class[page_class, node] += 1
    pages.node[page] = node
    pages.moves[page] += 1
    pages.entries[page] = 0
    if is_marked(pages, page):
        pages.fault_hazard[page] = math.inf
        pages.state.marked_pages -= 1
    pages.has_faulted[page] = False
    pages.state.are_rates_known = False


@njit_inlined
def lay_out(pages, page):
    """Put a page that is nowhere on the slow node, as touched."""
    place(pages, page, SLOW)
    pages.next_access[page] = access_after(pages, page, pages.hazard[pages.page_class[page]])
    pages.is_idle[page] = pages.parameters.is_second_access
    pages.is_young[page] = False
    pages.was_visited[page] = not pages.parameters.first_visit_resets
    pages.streak[page] = pages.parameters.is_second_access


@njit_inlined
def end_of_range(pages, index, first, length):
    """Where a range ends that holds so many resident pages of a process from an address on, or all that are left."""
    end = pages.mms[index].end_page
    if not pages.processes[index].has_absent:
        return min(end, first + length)
    page = first
    while page < end and (length > 0 or pages.node[page] == ABSENT):
        if pages.node[page] != ABSENT:
            length -= 1
        page += 1
    return page


@njit_inlined
def promote(pages, page, node):
    """Move a slow page to a node of the fast tier, and stall the threads that may have it in their TLB."""
    place(pages, page, node)
    pages.nodes[node].moved_pages += 1
    process = pages.processes[owner(pages, page)]
    process.stall_s += pages.parameters.promotion_stall_s
    if pages.is_waste[process.phase, pages.page_class[page]]:
        pages.model[WASTED] += 1


@njit_inlined
def demote(pages, page):
    """Move a page of the fast tier to the slow node. MODEL: it arrives idle."""
    pages.nodes[pages.node[page]].moved_pages += 1
    place(pages, page, SLOW)
    pages.is_idle[page] = True
    pages.streak[page] = 0
    pages.processes[owner(pages, page)].stall_s += pages.parameters.demotion_stall_s
