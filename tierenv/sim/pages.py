"""The model page by page: slow and plain, what `tierenv.sim.reference` runs.

It shares with the lumped model the parameters of a scenario, the time of an access and the random bits, no more. Each
page has its class, its place, the kernel's flags and the moment of its next access; each entry of the migration list
knows the folio it names, a page at a given number of moves. There are no regions: the scanner and kswapd's hand walk
the addresses page by page. Scanner, migrator and kswapd each have a clock, and whichever is behind acts next.

Accesses to a page are a Poisson stream on the clock of accesses per page of its class (its hazard): the next one comes
an exponential gap after the Accessed bit was cleared, and the bit reads as set from then on. How fast that clock runs
is recomputed every tick.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tierenv.counters import (
    DEMOTED,
    IDLEPAGE,
    MIGADDED,
    MIGRATE_FAILED,
    MIGRATED,
    MIGRATOR_NS,
    MM_SCANS,
    SCANNER_NS,
    SLOWTIER,
    TOPTIER,
    VMA_SCANS,
)
from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.random import uniform
from tierenv.sim.state import (
    ALLOCATION_FAILURES,
    CONTROL_KERNEL_RULE,
    DUPLICATES,
    PEAK_LIST,
    WASTED,
)
from tierenv.units import PAGE_BYTES

STATE = np.dtype(
    [
        ("random_counter", "u8"),
        ("is_done", "b1"),
        ("now_s", "f8"),
        ("accesses", "f8"),
        ("access_rate", "f8"),  # accesses/s in this tick
        ("stall_s", "f8"),  # time the application still has to lose
        ("moved_pages", "i8"),  # promoted and demoted since the tick began
        ("phase", "i8"),
        ("fast_pages", "i8"),
        # scanner: between chunks its clock is the time the next one begins
        ("period_ms", "f8"),
        ("size_bytes", "f8"),
        ("useful_pages", "i8"),
        ("scanner_clock_s", "f8"),
        ("last_scan_end_s", "f8"),
        ("is_scanning", "b1"),
        ("is_rest_next", "b1"),
        ("cursor", "i8"),  # address of the next page to visit
        ("chunk_end", "i8"),
        ("chunk_useful", "i8"),
        # migration list: entries [head, tail) wait, [tail, private_tail) belong to the chunk being scanned
        ("list_head", "i8"),
        ("list_tail", "i8"),
        ("private_tail", "i8"),
        # migrator
        ("migrator_clock_s", "f8"),
        ("throttle_pages_per_s", "f8"),
        ("window_end_s", "f8"),
        ("window_promotions", "i8"),
        # kswapd
        ("kswapd_clock_s", "f8"),
        ("is_kswapd_awake", "b1"),
        ("hand", "i8"),  # address of the next page to look at
    ],
    align=True,
)


class Pages(NamedTuple):
    """One machine, N pages in address order, C classes, P phases, M entries."""

    parameters: NDArray[np.void]
    """`tierenv.sim.state.PARAMETERS`."""
    state: NDArray[np.void]
    """STATE."""
    page_class: NDArray[np.int32]
    """int32[N]."""
    is_fast: NDArray[np.bool_]
    """bool[N]."""
    next_access: NDArray[np.float64]
    """float64[N]: hazard of the class at the first access since the Accessed bit was cleared."""
    is_idle: NDArray[np.bool_]
    """bool[N]: PG_idle, set by the scanner, cleared when an access is noticed."""
    is_young: NDArray[np.bool_]
    """bool[N]: PG_young, set when the scanner clears a set Accessed bit, cleared by kswapd and by demotion."""
    was_accessed: NDArray[np.bool_]
    """bool[N]: for the second-access rule, whether the last visit found the page accessed."""
    moves: NDArray[np.int32]
    """int32[N]: migrations so far; with the address the identity of the folio."""
    entries: NDArray[np.int32]
    """int32[N]: list entries that name the page's present folio."""
    list_page: NDArray[np.int32]
    """int32[M]: ring of the migration list: address of the page an entry names."""
    list_moves: NDArray[np.int32]
    """int32[M]: moves of that page when it was listed."""
    hazard: NDArray[np.float64]
    """float64[C]: accesses per page so far, at `now_s`."""
    hazard_rate: NDArray[np.float64]
    """float64[C]: its growth in this tick [1/s]."""
    class_pages: NDArray[np.int64]
    """int64[C]."""
    fast_by_class: NDArray[np.int64]
    """int64[C]."""
    access_share: NDArray[np.float64]
    """float64[P, C]: share of the accesses on each class, in the episode's phase order."""
    phase_end: NDArray[np.float64]
    """float64[P]: accesses at which each phase ends."""
    is_waste: NDArray[np.bool_]
    """bool[P, C]: classes none of whose pages belong to the hottest that fit the fast tier."""
    counters: NDArray[np.int64]
    """int64[NUM_COUNTERS]."""
    model: NDArray[np.int64]
    """int64[len(MODEL_COUNTERS)]."""


@njit_inlined
def test_and_clear_accessed(pages, page, time_s):
    """Whether a page has been accessed since its Accessed bit was last cleared; clears it."""
    page_class = pages.page_class[page]
    hazard = pages.hazard[page_class] + pages.hazard_rate[page_class] * (time_s - pages.state.now_s)
    if hazard < pages.next_access[page]:
        return False
    pages.next_access[page] = hazard - math.log(1.0 - uniform(pages.state))
    # the access that set the bit took that much longer
    pages.state.stall_s += pages.parameters.accessed_bit_s / pages.parameters.threads
    return True


@njit_inlined
def free_pages(pages):
    """Free pages of the fast node."""
    return pages.parameters.capacity_pages - pages.state.fast_pages


@njit_inlined
def move(pages, page, to_fast):
    """Put a page on the other tier: another folio, which no entry names."""
    pages.is_fast[page] = to_fast
    pages.moves[page] += 1
    pages.entries[page] = 0
    change = 1 if to_fast else -1
    pages.state.fast_pages += change
    pages.fast_by_class[pages.page_class[page]] += change
    pages.state.moved_pages += 1


# Scanner


@njit
def schedule_chunk(pages):
    """The first chunk begins after the initial delay, others a period after the last, at a wake-up of the scanner."""
    state = pages.state
    sleep_s = pages.parameters.scan_sleep_s
    is_first = pages.counters[MM_SCANS] == 0
    due_s = pages.parameters.initial_delay_s if is_first else state.last_scan_end_s + state.period_ms / 1000.0
    state.scanner_clock_s = math.ceil(max(due_s, state.now_s) / sleep_s - 1e-9) * sleep_s


@njit_inlined
def begin_chunk(pages):
    """Fix where the chunk ends: with the VMA, or after the scan size or at the end of the address space."""
    parameters = pages.parameters
    state = pages.state
    state.is_scanning = True
    state.chunk_useful = 0
    state.chunk_end = parameters.pages
    if parameters.is_whole_vma:
        state.cursor = parameters.pages if state.is_rest_next else 0
    else:
        state.chunk_end = min(state.chunk_end, state.cursor + int(state.size_bytes) // PAGE_BYTES)


@njit_inlined
def visit(pages, page, time_s):
    """Look at one page: harvest its Accessed bit, list it if it is slow and passes the access rule, mark it idle."""
    if test_and_clear_accessed(pages, page, time_s):
        pages.is_young[page] = True
        pages.is_idle[page] = False
    if pages.parameters.is_second_access:
        is_accessed = not pages.is_idle[page]
        is_hot = is_accessed and pages.was_accessed[page]
    else:
        is_accessed = not pages.is_idle[page] or pages.is_young[page]
        is_hot = is_accessed
    pages.was_accessed[page] = is_accessed
    pages.is_idle[page] = True
    if not is_accessed:
        pages.counters[IDLEPAGE] += 1
    if pages.is_fast[page]:
        pages.counters[TOPTIER] += 1
    elif is_hot:
        pages.counters[SLOWTIER] += 1
        pages.state.chunk_useful += 1
        if pages.state.throttle_pages_per_s > 0.0:
            enlist(pages, page)


@njit_inlined
def enlist(pages, page):
    """Add an entry to the scanner's private list, if there is memory for it."""
    state = pages.state
    length = state.private_tail - state.list_head
    if length >= min(pages.parameters.list_capacity, len(pages.list_page)):
        pages.model[ALLOCATION_FAILURES] += 1
        return
    row = state.private_tail % len(pages.list_page)
    pages.list_page[row] = page
    pages.list_moves[row] = pages.moves[page]
    state.private_tail += 1
    if pages.entries[page] > 0:
        pages.model[DUPLICATES] += 1
    pages.entries[page] += 1
    pages.counters[MIGADDED] += 1


@njit_inlined
def end_chunk(pages, time_s):
    """Hand the private list to the migrator, adapt, and schedule the next chunk."""
    parameters = pages.parameters
    state = pages.state
    state.is_scanning = False
    state.last_scan_end_s = time_s
    state.list_tail = state.private_tail
    pages.model[PEAK_LIST] = max(pages.model[PEAK_LIST], state.list_tail - state.list_head)
    pages.counters[MM_SCANS] += 1
    pages.counters[VMA_SCANS] += 1
    if parameters.is_whole_vma:
        # the other mappings wait for the next chunk if the big one alone fills this
        is_full = parameters.pages * PAGE_BYTES >= state.size_bytes
        state.is_rest_next = parameters.has_rest_vma and is_full and not state.is_rest_next
    elif state.cursor == parameters.pages:
        state.cursor = 0
    if parameters.control == CONTROL_KERNEL_RULE:
        follow_kernel_rule(pages)
    schedule_chunk(pages)


@njit_inlined
def follow_kernel_rule(pages):
    """Adapt period and size to what the chunk found (kmmscand.md section 6.2)."""
    parameters = pages.parameters
    state = pages.state
    decayed = state.useful_pages // 2**parameters.decay_shift + state.chunk_useful
    has_useful = decayed >= parameters.ignore_threshold_pages and decayed > 0
    had_useful = state.useful_pages > 0
    step = parameters.period_step_percent
    jump = 2**parameters.period_jump_shift
    if had_useful and has_useful:
        state.period_ms = math.floor(state.period_ms * (100 - step) / 100)
        state.size_bytes *= 2
    elif had_useful:
        state.period_ms *= jump
    elif has_useful:
        state.period_ms = math.floor(state.period_ms / jump)
        state.size_bytes = parameters.size_max_bytes
    else:
        state.period_ms = math.floor(state.period_ms * (100 + step) / 100)
        state.size_bytes = math.floor(state.size_bytes / 2)
    state.period_ms = min(max(state.period_ms, parameters.period_min_ms), parameters.period_max_ms)
    state.size_bytes = min(max(state.size_bytes, parameters.size_min_bytes), parameters.size_max_bytes)
    state.useful_pages = decayed if has_useful else 0


@njit
def scan(pages, until_s, limit_s):
    """Let the scanner act until its clock reaches `until_s` or passes `limit_s`."""
    parameters = pages.parameters
    state = pages.state
    while state.scanner_clock_s < until_s and state.scanner_clock_s <= limit_s:
        if not state.is_scanning:
            begin_chunk(pages)
        if state.cursor < state.chunk_end:
            visit(pages, state.cursor, state.scanner_clock_s)
            state.cursor += 1
            state.scanner_clock_s += parameters.scan_s
            pages.counters[SCANNER_NS] += round(1e9 * parameters.scan_s)
        else:
            end_chunk(pages, state.scanner_clock_s)


# Migrator


@njit
def migrate(pages, until_s, limit_s):
    """Let the migrator act until its clock reaches `until_s` or passes `limit_s`, or until it has woken kswapd."""
    parameters = pages.parameters
    state = pages.state
    while state.migrator_clock_s < until_s and state.migrator_clock_s <= limit_s:
        if state.list_head == state.list_tail:
            state.migrator_clock_s += parameters.migrate_sleep_s
            continue
        row = state.list_head % len(pages.list_page)
        page = pages.list_page[row]
        if pages.list_moves[row] != pages.moves[page]:
            finish_entry(pages, parameters.stale_entry_s, MIGRATE_FAILED)
        elif free_pages(pages) <= parameters.watermark_pages:
            pages.entries[page] -= 1
            if parameters.demotion and not state.is_kswapd_awake:
                state.is_kswapd_awake = True
                state.kswapd_clock_s = max(state.kswapd_clock_s, state.migrator_clock_s)
            finish_entry(pages, parameters.failed_migration_s, MIGRATE_FAILED)
            return
        elif not has_budget(pages):
            pages.entries[page] -= 1
            finish_entry(pages, parameters.stale_entry_s, MIGRATE_FAILED)
        else:
            move(pages, page, True)
            state.stall_s += parameters.promotion_stall_s
            if pages.is_waste[state.phase, pages.page_class[page]]:
                pages.model[WASTED] += 1
            finish_entry(pages, parameters.migration_s, MIGRATED)


@njit_inlined
def has_budget(pages):
    """Take a page off the throttle's budget, if one is left in the present window."""
    state = pages.state
    if state.migrator_clock_s >= state.window_end_s:
        state.window_end_s = state.migrator_clock_s + pages.parameters.throttle_window_s
        state.window_promotions = 0
    budget = max(1.0, state.throttle_pages_per_s * pages.parameters.throttle_window_s)
    if state.window_promotions + 1 > budget:
        return False
    state.window_promotions += 1
    return True


@njit_inlined
def finish_entry(pages, busy_s, counter):
    """Take the first entry off the list; after the last one the migrator sleeps."""
    state = pages.state
    state.list_head += 1
    state.migrator_clock_s += busy_s
    pages.counters[counter] += 1
    pages.counters[MIGRATOR_NS] += round(1e9 * busy_s)
    if state.list_head == state.list_tail:
        state.migrator_clock_s += pages.parameters.migrate_sleep_s


@njit
def flush(pages):
    """Drop every entry, as the daemon does when its throttle is set to 0."""
    state = pages.state
    pages.counters[MIGRATE_FAILED] += state.private_tail - state.list_head
    state.list_head = state.private_tail
    state.list_tail = state.private_tail
    pages.entries[:] = 0


# kswapd


@njit
def reclaim(pages, until_s, limit_s):
    """Let kswapd's hand look at fast pages until its clock reaches `until_s` or passes `limit_s`, or it sleeps."""
    parameters = pages.parameters
    state = pages.state
    while state.is_kswapd_awake and state.kswapd_clock_s < until_s and state.kswapd_clock_s <= limit_s:
        if free_pages(pages) >= parameters.kswapd_target_pages or state.fast_pages == 0:
            state.is_kswapd_awake = False
            return
        while not pages.is_fast[state.hand]:
            state.hand = (state.hand + 1) % parameters.pages
        page = state.hand
        state.hand = (state.hand + 1) % parameters.pages
        if test_and_clear_accessed(pages, page, state.kswapd_clock_s):
            pages.is_idle[page] = False  # leaves the access for the scanner to see
            pages.is_young[page] = True
        state.kswapd_clock_s += parameters.reclaim_visit_s
        if pages.is_young[page]:
            pages.is_young[page] = False
            continue
        # MODEL: a demoted page arrives idle
        pages.is_idle[page] = True
        pages.was_accessed[page] = False
        move(pages, page, False)
        state.kswapd_clock_s += parameters.demotion_s
        state.stall_s += parameters.demotion_stall_s
        pages.counters[DEMOTED] += 1
