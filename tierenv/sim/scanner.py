"""kmmscand: when a chunk is due, what it finds, how the kernel's rule adapts (kmmscand.md sections 1 P3, P6-P8, 6)."""

import math

from tierenv.counters import IDLEPAGE, MIGADDED, MM_SCANS, SCANNER_NS, SLOWTIER, TOPTIER, VMA_SCANS
from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.lumps import free_pages, move, pages_in, resolve_fast, resolve_slow, ring_row
from tierenv.sim.state import (
    ALLOCATION_FAILURES,
    CONTROL_KERNEL_RULE,
    DUPLICATE,
    DUPLICATES,
    FAST,
    HAND,
    LISTED,
    LUMP,
    NEW,
    PEAK_LIST,
    QUEUED,
    RECORDS,
    SLOW,
)
from tierenv.units import PAGE_BYTES


@njit
def schedule_scan(machine):
    """Fix start, length and end of the next chunk from the period and size in force.

    The first chunk is due after the initial delay, whatever the period, the others one period after the last one ended;
    the scanner looks for due processes every `scan_sleep_s`.
    """
    parameters = machine.parameters
    state = machine.state
    due = parameters.initial_delay_s
    if machine.counters[MM_SCANS] > 0:
        due = state.last_scan_end_s + 1e-3 * state.period_ms
    state.scan_start_s = math.ceil(max(due, state.now_s) / parameters.scan_sleep_s - 1e-9) * parameters.scan_sleep_s
    state.chunk_pages = count_chunk_pages(machine)
    state.scan_end_s = state.scan_start_s + state.chunk_pages * parameters.scan_s


@njit_inlined
def count_chunk_pages(machine):
    """Pages the next chunk walks: to the end of its VMA, or the scan size, but never past the end of the list."""
    parameters = machine.parameters
    state = machine.state
    if parameters.is_whole_vma:
        return 0 if state.is_rest_next else parameters.pages
    left = -state.credit_pages
    for region in range(state.cursor, parameters.num_regions):
        left += machine.region_pages[region]
    return min(left, int(state.size_bytes) // PAGE_BYTES)


@njit
def scan(machine):
    """Walk one chunk, adapt if the kernel's rule is in charge, and schedule the next.

    MODEL: its pages are all visited at its end, not while it lasts (0.15 s for 16 GiB).
    """
    parameters = machine.parameters
    state = machine.state
    machine.counters[MM_SCANS] += 1
    machine.counters[VMA_SCANS] += 1
    machine.counters[SCANNER_NS] += int(1e9 * (state.scan_end_s - state.scan_start_s))
    useful = 0
    if parameters.is_whole_vma:
        if not state.is_rest_next:
            for region in range(parameters.num_regions):
                useful += scan_region(machine, region)
            # V1 ends a chunk with the VMA that fills it and takes the other mappings in the next one
            state.is_rest_next = parameters.has_rest_vma and parameters.pages * PAGE_BYTES >= state.size_bytes
        else:
            state.is_rest_next = False
    else:
        useful = scan_bounded(machine)
    machine.model[PEAK_LIST] = max(machine.model[PEAK_LIST], state.list_entries)
    state.last_scan_end_s = state.now_s
    if parameters.control == CONTROL_KERNEL_RULE:
        adapt(machine, useful)
    schedule_scan(machine)


@njit_inlined
def scan_bounded(machine):
    """Walk one chunk of the scan size from the cursor; it ends at the end of the address space at the latest.

    A region is visited when the chunks so far cover it whole; what a chunk walks beyond that is carried as credit.
    """
    parameters = machine.parameters
    state = machine.state
    useful = 0
    state.credit_pages += state.chunk_pages
    while state.cursor < parameters.num_regions and state.credit_pages >= machine.region_pages[state.cursor]:
        useful += scan_region(machine, state.cursor)
        state.credit_pages -= machine.region_pages[state.cursor]
        state.cursor += 1
    if state.cursor == parameters.num_regions:
        state.cursor = 0
        state.credit_pages = 0
    return useful


@njit_inlined
def scan_region(machine, region):
    """Visit every page of a region. Returns the slow-tier pages that passed the access rule."""
    parameters = machine.parameters
    num_classes = parameters.num_classes
    useful = 0
    for page_class in range(num_classes):
        useful += scan_lump(machine, region * num_classes + page_class, machine.hazard[page_class])
    return useful


@njit_inlined
def scan_lump(machine, lump, hazard):
    """Visit the pages of a lump: count, list what passes the access rule, clear what the visit clears."""
    state = machine.state
    parameters = machine.parameters
    resolve_slow(machine, lump, hazard)
    resolve_fast(machine, lump, hazard)
    visit_fast(machine, lump)
    if lump == state.hand_lump:
        visit_fast(machine, HAND)

    counts = machine.counts
    queued = pages_in(counts, lump, QUEUED)
    duplicates = visit_slow(machine, lump, QUEUED)
    unmarked = counts[lump, SLOW + 1] if not parameters.is_second_access else 0
    hits = visit_slow(machine, lump, SLOW)
    if hits + duplicates > 0:
        machine.counters[SLOWTIER] += hits + duplicates
        if state.throttle_pages_per_s > 0.0:
            list_pages(machine, lump, hits, unmarked, duplicates, queued)
    return hits + duplicates


@njit_inlined
def visit_fast(machine, row):
    """Visit fast pages: nothing but counters and the *scanned* bit. A sticky PG_young keeps a page from being idle."""
    counts = machine.counts
    idle = counts[row, FAST]
    if machine.parameters.is_second_access:
        idle += counts[row, FAST + 1]
    machine.counters[TOPTIER] += pages_in(counts, row, FAST)
    machine.counters[IDLEPAGE] += idle
    move(counts, row, FAST + 2, FAST, counts[row, FAST + 2])
    move(counts, row, FAST + 3, FAST + 1, counts[row, FAST + 3])


@njit_inlined
def visit_slow(machine, lump, place):
    """Visit slow pages of one place. Returns those that pass the access rule."""
    counts = machine.counts
    idle, current = counts[lump, place], counts[lump, place + 1]
    previous, both = counts[lump, place + 2], counts[lump, place + 3]
    if machine.parameters.is_second_access:
        hits = both
        machine.counters[IDLEPAGE] += idle + previous
        counts[lump, place] = idle + previous
        counts[lump, place + 2] = current + both
    else:
        hits = current + previous + both
        machine.counters[IDLEPAGE] += idle
        counts[lump, place] = idle + current
        counts[lump, place + 2] = previous + both
    counts[lump, place + 1] = 0
    counts[lump, place + 3] = 0
    return hits


@njit_inlined
def list_pages(machine, lump, hits, unmarked, duplicates, queued):
    """Append the pages a visit found to the migration list, as far as there is memory for the entries.

    `hits` pages are newly listed, of which `unmarked` passed only because nobody had marked them idle before;
    `duplicates` of the `queued` pages are listed once more. Allocation does not wait (GFP_NOWAIT): without free
    memory an entry is lost. MODEL: entries take DRAM outside the fast node (kernel_memory of the platform), never
    the node itself.
    """
    parameters = machine.parameters
    state = machine.state
    counts = machine.counts
    ring = machine.ring
    room = max(0, parameters.list_capacity - state.list_entries)
    if state.list_tail - state.list_head >= ring.shape[0]:
        room = 0
    new = min(hits, room)
    again = min(duplicates, room - new)
    machine.model[ALLOCATION_FAILURES] += hits + duplicates - new - again
    machine.model[DUPLICATES] += again
    if new + again == 0:
        return
    # the visit has left the unmarked in the idle cell and the rest in the cell "previous"
    idle = min(new, unmarked)
    move(counts, lump, SLOW, QUEUED, idle)
    move(counts, lump, SLOW + 2, QUEUED + 2, new - idle)
    machine.counters[MIGADDED] += new + again
    state.list_entries += new + again
    state.list_new += new

    has_room = free_pages(machine) - state.list_new >= parameters.watermark_pages
    is_plain = new == 0 and state.retry_pages == 0 and has_room and state.throttle_pages_per_s == math.inf
    if is_plain:
        # With room for all pages on the list and no throttle every promotion succeeds, so the page of a duplicate has
        # moved when its turn comes: such entries cost time whatever their lump, and neighbours share a record.
        tail = ring_row(machine, state.list_tail - 1)
        if state.list_tail > state.list_head and ring[tail, LUMP] < 0:
            ring[tail, DUPLICATE] += again
            return
    record = ring_row(machine, state.list_tail)
    state.list_tail += 1
    ring[record, NEW] = new
    ring[record, DUPLICATE] = again
    ring[record, LISTED] = 0 if is_plain else queued
    ring[record, LUMP] = -1 if is_plain else lump
    if not is_plain:
        counts[lump, RECORDS] += 1


@njit
def adapt(machine, useful):
    """The kernel's rule for period and size after a chunk that found `useful` pages (kmmscand.md section 6.2)."""
    parameters = machine.parameters
    state = machine.state
    before = state.useful_pages
    total = (before >> parameters.decay_shift) + useful
    if total < parameters.ignore_threshold_pages:
        total = 0
    period = int(state.period_ms)
    size = int(state.size_bytes)
    if before == 0 and total == 0:
        period = period * (100 + parameters.period_step_percent) // 100
        size >>= 1
    elif before > 0 and total > 0:
        period = period * (100 - parameters.period_step_percent) // 100
        size <<= 1
    elif before > 0:
        period <<= parameters.period_jump_shift
    else:
        period >>= parameters.period_jump_shift
        size = parameters.size_max_bytes
    state.period_ms = min(max(period, parameters.period_min_ms), parameters.period_max_ms)
    state.size_bytes = min(max(size, parameters.size_min_bytes), parameters.size_max_bytes)
    state.useful_pages = total
