"""kmmscand: whose chunk is due when, what it finds, how the kernel's rule adapts (kmmscand.md sections 1, 5 and 6).

Who is scanned, when a chunk is due, the rule for period and size, and the choice of the target node stand here and in
`tierenv.sim.pages.scanner` on purpose: neither model calls the other's, so that each checks how the other reads the
kernel. What both take from `tierenv.sim.rules` is beyond that check: here free pages, the steps of the prctl scale, and
from which pass on the adaptation rule goes by what is found.
"""

import math

from tierenv.counters import COLDPAGE, IDLEPAGE, MIGADDED, MM_SCANS, SCANNER_NS, SLOWTIER, TOPTIER, VMA_SCANS
from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.lumped.lumps import (
    fast_place,
    move,
    own_pages,
    pages_in,
    resolve_fast,
    resolve_slow,
    ring_row,
    slow_pages,
)
from tierenv.sim.lumped.state import (
    CLASS,
    DUPLICATE,
    LISTED,
    LUMP,
    NEW,
    QUEUED,
    RECORDS,
    SLOW,
)
from tierenv.sim.lumped.streaks import begin_streaks, has_streaks, list_streaks, visit_streaks
from tierenv.sim.lumped.trace import SCAN_START, is_traced, trace_mm, trace_scan_end
from tierenv.sim.records import (
    ALLOCATION_FAILURES,
    CONTROL_KERNEL_RULE,
    DUPLICATES,
    PEAK_LIST,
    SCALE_IGNORED,
    SCALE_LENGTHENS_PERIOD,
    TARGET_FIXED,
    TARGET_MOST_SCANNED,
)
from tierenv.sim.rules import SCALE_STEPS, free_pages, knows_heat
from tierenv.units import PAGE_BYTES

_TOLERANCE_S = 1e-9
MOST_ENTRIES = 1 << 30
"""Entries in a record of the list beyond which it takes no more: they are counted in 32 bits."""


@njit_inlined
def is_scanned(machine, index):
    """Whether the scanner's list holds a process and its scan scale does not take it out."""
    process = machine.processes[index]
    rule = machine.parameters.scale_rule
    return process.is_running and (process.scan_scale > 0 or rule == SCALE_IGNORED)


@njit_inlined
def set_due(machine, index):
    """Fix when a process's next chunk is due: the first after the initial delay, others a period after the last ended.

    V3's scan scale and its failed promotions lengthen that period (kmmscand.md section 6.5). Chunks of processes alike
    are staggered evenly.
    """
    parameters = machine.parameters
    process = machine.processes[index]
    mm = machine.mms[index]
    if mm.scans == 0:
        mm.due_s = process.start_s + parameters.initial_delay_s
        return
    period_ms = mm.period_ms
    if parameters.scale_rule == SCALE_LENGTHENS_PERIOD:
        period_ms += int(period_ms) * (process.scan_scale - 1) // SCALE_STEPS
    if parameters.failure_window > 0:
        period_ms *= 1 + mm.failure_percent // 10
    mm.due_s = mm.last_scan_end_s + 1e-3 * period_ms / process.count


@njit
def schedule_scan(machine, time_s, is_awake):
    """Fix whose chunk is next after a time, when it begins, how long it is and when it ends.

    A round takes the processes in turn, from the one after the last; after `mms_to_scan` visits, or when nobody is due,
    the scanner sleeps and looks again every `scan_sleep_s`. Without a migration thread it migrates first: then nothing
    is fixed while there are entries. MODEL: visits of processes that are not due take no time and leave no trace event.
    """
    parameters = machine.parameters
    state = machine.state
    state.scan_start_s = math.inf
    state.scan_end_s = math.inf
    if not parameters.has_migration_thread and state.list_entries > 0:
        return
    if is_awake:
        distance = next_due(machine, time_s)
        if 0 < distance <= parameters.mms_to_scan - state.round_visits:
            state.round_visits += distance
            fix_chunk(machine, distance, time_s)
            return
    earliest_s = math.inf
    for index in range(parameters.num_processes):
        if is_scanned(machine, index):
            earliest_s = min(earliest_s, machine.mms[index].due_s)
    if earliest_s == math.inf:
        return
    start_s = math.ceil(max(earliest_s, time_s) / parameters.scan_sleep_s - 1e-9) * parameters.scan_sleep_s
    state.round_visits = next_due(machine, start_s)
    fix_chunk(machine, state.round_visits, start_s)


@njit_inlined
def next_due(machine, time_s):
    """Slots from the cursor to the next process due at a time; 0 if there is none."""
    processes = machine.parameters.num_processes
    for distance in range(1, processes + 1):
        index = (machine.state.mm_cursor + distance) % processes
        if is_scanned(machine, index) and machine.mms[index].due_s <= time_s + _TOLERANCE_S:
            return distance
    return 0


@njit_inlined
def fix_chunk(machine, distance, start_s):
    """The next chunk is that of the process some slots on, and begins at a time."""
    state = machine.state
    state.scan_process = (state.mm_cursor + distance) % machine.parameters.num_processes
    state.scan_start_s = start_s
    state.chunk_pages = count_chunk_pages(machine, state.scan_process)
    state.scan_end_s = start_s + state.chunk_pages * machine.parameters.scan_s


@njit_inlined
def count_chunk_pages(machine, index):
    """Pages a process's next chunk walks: to the end of its VMA, or the scan size, but never past the last VMA."""
    mm = machine.mms[index]
    if machine.parameters.is_whole_vma:
        return 0 if mm.is_rest_next else own_pages(machine.processes[index])
    left = -mm.credit_pages
    for region in range(mm.cursor, mm.end_region):
        left += machine.regions[region].pages
    return min(left, int(mm.size_bytes) // PAGE_BYTES, own_pages(machine.processes[index]))


@njit_inlined
def refit_chunk(machine, index):
    """Fix anew how long the next chunk of a process is, or what is left of one under way, as its memory has changed.

    MODEL: such a chunk ends after the pages it was to walk, though in the kernel where it was to end.
    """
    state = machine.state
    if index != state.scan_process or state.scan_end_s == math.inf:
        return
    begin_s = max(state.now_s, state.scan_start_s)
    left = 1.0
    if begin_s > state.scan_start_s:
        left = (state.scan_end_s - begin_s) / (state.scan_end_s - state.scan_start_s)
    state.chunk_pages = count_chunk_pages(machine, index)
    state.scan_end_s = begin_s + left * state.chunk_pages * machine.parameters.scan_s


@njit
def scan(machine):
    """Walk one chunk, adapt if the kernel's rule is in charge, and schedule the next.

    What a visit finds touched is as of its time within the chunk. MODEL: which pages it meets, and where, is as of the
    chunk's end (0.15 s later at most for 16 GiB), and a region is met at its middle.
    """
    parameters = machine.parameters
    state = machine.state
    index = state.scan_process
    process = machine.processes[index]
    mm = machine.mms[index]
    machine.counters[MM_SCANS] += 1
    machine.counters[VMA_SCANS] += 1
    machine.counters[SCANNER_NS] += int(1e9 * (state.scan_end_s - state.scan_start_s))
    trace_mm(machine, state.scan_start_s, SCAN_START, index)
    for node in range(parameters.num_nodes):
        machine.nodes[node].scanned_pages = 0
        machine.nodes[node].accessed_pages = 0
    # writes only seed new processes on some daemons, so that the rule stays in charge there
    is_ruled = parameters.control == CONTROL_KERNEL_RULE or not parameters.is_tunable_at_run_time
    is_ruled &= knows_heat(machine, mm)
    is_rest = parameters.is_whole_vma and mm.is_rest_next
    useful = 0 if is_rest else walk_chunk(machine, mm)
    if is_rest:
        mm.is_rest_next = False
    elif parameters.is_whole_vma:
        # a chunk ends with the VMA that fills it, and takes the other mappings in the next one
        is_full = own_pages(process) * PAGE_BYTES >= mm.size_bytes
        is_full &= useful > 0 or not parameters.walks_on_without_hits
        mm.is_rest_next = process.has_rest_vma and is_full
        if process.has_rest_vma and not is_full:
            machine.counters[VMA_SCANS] += 1  # the other mappings, walked in the same chunk
    machine.model[PEAK_LIST] = max(machine.model[PEAK_LIST], state.list_entries)
    mm.target_node = choose_target(machine, index, is_rest)
    if is_traced(machine):
        trace_scan_end(machine, index, resume_address(machine, index), useful)
    mm.scans += 1
    mm.last_scan_end_s = state.now_s
    if is_ruled:
        adapt(parameters, mm, useful)
    set_due(machine, index)
    state.mm_cursor = index
    if not parameters.has_migration_thread:
        state.migrator_clock_s = state.now_s
    schedule_scan(machine, state.now_s, True)


@njit_inlined
def resume_address(machine, index):
    """Where a process's next chunk begins, counted from the start of its big VMA [bytes]."""
    mm = machine.mms[index]
    if machine.parameters.is_whole_vma:
        return own_pages(machine.processes[index]) * PAGE_BYTES if mm.is_rest_next else 0
    walked = mm.credit_pages
    for region in range(mm.first_region, mm.cursor):
        walked += machine.regions[region].pages
    return walked * PAGE_BYTES


@njit_inlined
def choose_target(machine, index, is_rest):
    """Node for promotions of the process just scanned: the one on which the chunk saw (found accessed) most pages.

    MODEL: the other mappings, stacks and libraries, lie on the socket of the process, if that is of the fast tier.
    """
    parameters = machine.parameters
    target = parameters.fixed_target_node
    if parameters.target_rule == TARGET_FIXED:
        return target
    if is_rest:
        return machine.processes[index].own_node
    most = 0
    for node in range(parameters.num_nodes):
        row = machine.nodes[node]
        pages = row.scanned_pages if parameters.target_rule == TARGET_MOST_SCANNED else row.accessed_pages
        if pages > most:
            most = pages
            target = node
    return target


@njit_inlined
def walk_chunk(machine, mm):
    """Walk one chunk from the cursor; it ends at the end of the address space at the latest. Returns the useful pages.

    A region is visited when the chunks so far cover it whole; what a chunk walks beyond that is carried as credit.
    """
    regions = machine.regions
    chunk_pages = machine.state.chunk_pages
    useful = 0
    mm.credit_pages += chunk_pages
    while mm.cursor < mm.end_region and mm.credit_pages >= regions[mm.cursor].pages:
        left = mm.credit_pages - regions[mm.cursor].pages
        middle = left + 0.5 * min(regions[mm.cursor].pages, chunk_pages - left)
        useful += scan_region(machine, mm.cursor, middle)
        mm.credit_pages = left
        mm.cursor += 1
    if mm.cursor == mm.end_region:
        mm.cursor = mm.first_region
        mm.credit_pages = 0
        mm.passes += 1
    return useful


@njit_inlined
def scan_region(machine, region, pages_since):
    """Visit every page of a region, as many pages of walking ago. Returns the slow ones that passed the access rule."""
    ago_s = pages_since * machine.parameters.scan_s
    useful = 0
    for lump in range(machine.regions[region].first_lump, machine.regions[region].end_lump):
        row = machine.classes[machine.counts[lump, CLASS]]
        if machine.parameters.first_visit_resets and not machine.lumps[lump].was_visited:
            reset_lump(machine, lump, row.hazard - row.hazard_rate * ago_s)
            machine.lumps[lump].was_visited = True
        useful += scan_lump(machine, lump, row.hazard - row.hazard_rate * ago_s)
    return useful


@njit_inlined
def reset_lump(machine, lump, hazard):
    """Forget that slow pages of a lump have ever been touched."""
    resolve_slow(machine, lump, hazard)
    for cell in range(SLOW + 1, SLOW + 4):
        move(machine.counts, lump, cell, SLOW, machine.counts[lump, cell])
    if has_streaks(machine):
        begin_streaks(machine, lump, 0)


@njit_inlined
def scan_lump(machine, lump, hazard):
    """Visit the pages of a lump: count, list what passes the access rule, clear what the visit clears."""
    state = machine.state
    parameters = machine.parameters
    resolve_slow(machine, lump, hazard)
    resolve_fast(machine, lump, hazard)
    for node in range(parameters.num_nodes):
        visit_fast(machine, node, lump)
        if lump == machine.nodes[node].hand_lump:
            visit_fast(machine, node, machine.nodes[node].hand_row)

    counts = machine.counts
    if parameters.counts_all_slow_pages:
        machine.counters[SLOWTIER] += slow_pages(machine, lump)
        machine.counters[COLDPAGE] += counts[lump, SLOW] + counts[lump, SLOW + 1]
        machine.counters[COLDPAGE] += counts[lump, QUEUED] + counts[lump, QUEUED + 1]
    queued = pages_in(counts, lump, QUEUED)
    twice = counts[lump, SLOW + 3] + counts[lump, QUEUED + 3]
    duplicates = visit_slow(machine, lump, QUEUED)
    unmarked = counts[lump, SLOW + 1] if not parameters.is_second_access else 0
    hits = visit_slow(machine, lump, SLOW)
    found = hits + duplicates
    # V1 counts a page once its entry is allocated; under a throttle of 0 there is none to allocate
    accessed = max(found, twice)
    if found > 0 and state.throttle_pages_per_s > 0.0:
        accessed -= found - list_pages(machine, lump, hits, unmarked, duplicates, queued)
    if not parameters.counts_all_slow_pages:
        machine.counters[SLOWTIER] += accessed
    return found


@njit_inlined
def visit_fast(machine, index, row):
    """Visit a row's pages on one node: nothing but counters and the *scanned* bit.

    A sticky PG_young keeps a page from being idle.
    """
    parameters = machine.parameters
    counts = machine.counts
    node = machine.nodes[index]
    place = fast_place(index)
    pages = pages_in(counts, row, place)
    idle = counts[row, place]
    if parameters.is_second_access:
        idle += counts[row, place + 1]
    machine.counters[TOPTIER] += pages
    if not parameters.counts_all_slow_pages:
        machine.counters[IDLEPAGE] += idle
    node.scanned_pages += pages
    node.accessed_pages += pages - idle
    move(counts, row, place + 2, place, counts[row, place + 2])
    move(counts, row, place + 3, place + 1, counts[row, place + 3])


@njit_inlined
def visit_slow(machine, lump, place):
    """Visit slow pages of one place. Returns those that pass the access rule."""
    counts = machine.counts
    idle, current = counts[lump, place], counts[lump, place + 1]
    previous, both = counts[lump, place + 2], counts[lump, place + 3]
    if machine.parameters.is_second_access:
        hits = both
        if has_streaks(machine):
            hits = visit_streaks(machine, lump, place)
        counts[lump, place] = idle + previous
        counts[lump, place + 2] = current + both
        idle += previous
        if machine.parameters.counts_all_slow_pages:
            idle += current + both - hits
    else:
        hits = current + previous + both
        counts[lump, place] = idle + current
        counts[lump, place + 2] = previous + both
    machine.counters[IDLEPAGE] += idle
    counts[lump, place + 1] = 0
    counts[lump, place + 3] = 0
    return hits


@njit_inlined
def list_pages(machine, lump, hits, unmarked, duplicates, queued):
    """Append the pages a visit found to the migration list, as far as there is memory. Returns how many entries.

    `hits` pages are newly listed, of which `unmarked` passed only because nobody had marked them idle before;
    `duplicates` of the `queued` pages are listed once more. Allocation does not wait (GFP_NOWAIT): without free
    memory an entry is lost. MODEL: entries take DRAM outside the fast node (Scenario.kernel_memory), never
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
        return 0
    # the visit has left the unmarked in the idle cell and the rest in the cell "previous"
    idle = min(new, unmarked)
    move(counts, lump, SLOW, QUEUED, idle)
    move(counts, lump, SLOW + 2, QUEUED + 2, new - idle)
    if has_streaks(machine):
        list_streaks(machine, lump, new)
    machine.counters[MIGADDED] += new + again
    state.list_entries += new + again
    state.list_new += new

    has_room = parameters.num_nodes == 1
    has_room &= free_pages(machine, 0) - state.list_new >= machine.nodes[0].watermark_pages
    is_plain = new == 0 and state.retry_pages == 0 and has_room and state.throttle_pages_per_s == math.inf
    is_plain &= not parameters.rechecks_hotness
    anywhere = -1 - state.scan_process
    if is_plain:
        # With room for all pages on the list and no throttle every promotion succeeds, so the page of a duplicate has
        # moved when its turn comes: such entries cost time whatever their lump, and neighbours share a record.
        tail = ring_row(machine, state.list_tail - 1)
        has_room = ring[tail, DUPLICATE] < MOST_ENTRIES
        if state.list_tail > state.list_head and ring[tail, LUMP] == anywhere and has_room:
            ring[tail, DUPLICATE] += again
            return again
    record = ring_row(machine, state.list_tail)
    state.list_tail += 1
    ring[record, NEW] = new
    ring[record, DUPLICATE] = again
    ring[record, LISTED] = 0 if is_plain else queued
    ring[record, LUMP] = anywhere if is_plain else lump
    if not is_plain:
        counts[lump, RECORDS] += 1
    return new + again


@njit
def adapt(parameters, mm, useful):
    """The kernel's rule for period and size after a chunk that found `useful` pages (kmmscand.md section 6.2)."""
    before = mm.useful_pages
    total = (before >> parameters.decay_shift) + useful
    if total < parameters.ignore_threshold_pages:
        total = 0
    period = int(mm.period_ms)
    size = int(mm.size_bytes)
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
    mm.period_ms = min(max(period, parameters.period_min_ms), parameters.period_max_ms)
    mm.size_bytes = min(max(size, parameters.size_min_bytes), parameters.size_max_bytes)
    mm.useful_pages = total
