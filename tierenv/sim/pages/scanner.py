"""The scanner page by page: whose chunk is next, what it visits and lists, how the kernel's rules adapt.

Who is scanned, when a chunk is due, the rule for period and size, and the choice of the target node stand here and in
`tierenv.sim.lumped.scanner` on purpose: neither model calls the other's, so that each checks how the other reads the
kernel. From `tierenv.sim.rules`, which both share and which that does not check, come the number of steps of the prctl
scale and from which pass on the adaptation rule goes by what is found.
"""

import math

from tierenv.counters import COLDPAGE, IDLEPAGE, MIGADDED, MM_SCANS, SCANNER_NS, SLOWTIER, TOPTIER, VMA_SCANS
from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.pages.state import ABSENT, MOST_STREAK, SLOW, end_of_range, test_and_clear_accessed
from tierenv.sim.records import (
    ALLOCATION_FAILURES,
    CONTROL_KERNEL_RULE,
    DUPLICATES,
    PEAK_LIST,
    SCALE_IGNORED,
    SCALE_LENGTHENS_PERIOD,
    TARGET_FIXED,
    TARGET_MOST_ACCESSED,
)
from tierenv.sim.rules import SCALE_STEPS, knows_heat
from tierenv.tunables import WINDOWS_OF_SECOND_ACCESS
from tierenv.units import PAGE_BYTES


@njit_inlined
def is_scannable(pages, index):
    """Whether the scanner visits a process at all."""
    process = pages.processes[index]
    return process.is_running and (pages.parameters.scale_rule == SCALE_IGNORED or process.scan_scale > 0)


@njit_inlined
def set_due(pages, index):
    """The next chunk of a process that has had one is due a period after that ended.

    The prctl lengthens the period, and so do failed promotions (kmmscand.md section 6.5).
    """
    mm = pages.mms[index]
    period_ms = mm.period_ms
    if pages.parameters.scale_rule == SCALE_LENGTHENS_PERIOD:
        period_ms += int(period_ms) * (pages.processes[index].scan_scale - 1) // SCALE_STEPS
    if pages.parameters.failure_window > 0:
        period_ms *= 1 + mm.failure_percent // 10
    mm.due_s = mm.last_scan_end_s + period_ms / 1000.0


@njit
def earliest_due(pages):
    """When the next chunk is due, infinity if none ever is."""
    earliest_s = math.inf
    for index in range(pages.parameters.num_processes):
        if is_scannable(pages, index):
            earliest_s = min(earliest_s, pages.mms[index].due_s)
    return earliest_s


@njit
def slots_to_due(pages, time_s):
    """Slots from the last process scanned to the next one whose chunk is due at a time, 0 if there is none."""
    num_processes = pages.parameters.num_processes
    for distance in range(1, num_processes + 1):
        index = (pages.state.scan_process + distance) % num_processes
        if is_scannable(pages, index) and pages.mms[index].due_s <= time_s:
            return distance
    return 0


@njit
def sleep(pages, time_s):
    """Send the scanner to sleep until the first wake-up at which a chunk is due."""
    state = pages.state
    sleep_s = pages.parameters.scan_sleep_s
    earliest_s = earliest_due(pages)
    state.round_visits = 0
    state.scanner_clock_s = math.inf
    if earliest_s < math.inf:
        state.scanner_clock_s = math.ceil(max(earliest_s, time_s) / sleep_s - 1e-9) * sleep_s


@njit
def reschedule(pages, time_s):
    """Think again when to wake, as a process has come or gone or its chunk is due at another time."""
    if not pages.state.is_scanning and not pages.state.is_draining:
        sleep(pages, time_s)


@njit
def go_on(pages, time_s):
    """After a chunk, begin the next that is due within this round, or sleep."""
    state = pages.state
    slots = slots_to_due(pages, time_s)
    if 0 < slots <= pages.parameters.mms_to_scan - state.round_visits:
        state.scanner_clock_s = time_s
        begin_chunk(pages, slots)
    else:
        sleep(pages, time_s)


@njit
def begin_chunk(pages, slots):
    """Go to the process that many slots on, and fix where its chunk ends.

    That is with the VMA, or after the scan size or at the end of the address space.
    """
    parameters = pages.parameters
    state = pages.state
    state.scan_process = (state.scan_process + slots) % parameters.num_processes
    state.round_visits += slots
    state.is_scanning = True
    state.chunk_useful = 0
    for node in range(parameters.num_nodes):
        pages.nodes[node].scanned_pages = 0
        pages.nodes[node].accessed_pages = 0
    mm = pages.mms[state.scan_process]
    state.chunk_end = mm.end_page
    if parameters.is_whole_vma:
        mm.cursor = mm.end_page if mm.is_rest_next else mm.first_page
    else:
        state.chunk_end = end_of_range(pages, state.scan_process, mm.cursor, int(mm.size_bytes) // PAGE_BYTES)


@njit_inlined
def visit(pages, page, time_s):
    """Look at one page: harvest its Accessed bit, list it if it is slow and passes the access rule, mark it idle.

    It passes when as many visits in a row have found it accessed as the threshold says; one that finds it idle begins
    the count anew.
    """
    parameters = pages.parameters
    if test_and_clear_accessed(pages, page, time_s):
        pages.is_young[page] = True
        pages.is_idle[page] = False
    if not pages.was_visited[page]:
        pages.was_visited[page] = True
        if pages.node[page] == SLOW:
            pages.is_idle[page] = True  # since when the bit was set nobody knows
    is_accessed = not pages.is_idle[page]
    if not parameters.is_second_access:
        is_accessed = is_accessed or pages.is_young[page]
    was_accessed = pages.streak[page] > 0
    pages.streak[page] = min(pages.streak[page] + 1, MOST_STREAK) if is_accessed else 0
    node = pages.node[page]
    if node != SLOW:
        pages.counters[TOPTIER] += 1
        pages.nodes[node].scanned_pages += 1
        if is_accessed:
            pages.nodes[node].accessed_pages += 1
        elif not parameters.counts_all_slow_pages:
            pages.counters[IDLEPAGE] += 1
    else:
        threshold = pages.state.access_threshold
        is_hot = pages.streak[page] >= threshold
        count_slow_page(pages, is_accessed, is_hot, was_accessed)
        # V1 counts a page once its entry is allocated; under a throttle of 0 there is none to allocate
        is_counted = pages.streak[page] >= min(threshold, WINDOWS_OF_SECOND_ACCESS)
        if is_hot:
            pages.state.chunk_useful += 1
            is_counted = pages.state.throttle_pages_per_s == 0.0 or enlist(pages, page)
        if is_counted and not parameters.counts_all_slow_pages:
            pages.counters[SLOWTIER] += 1
    pages.is_idle[page] = True


@njit_inlined
def count_slow_page(pages, is_accessed, is_hot, was_accessed):
    """Count a visit of a slow-tier page as the variant's kernel does."""
    counters = pages.counters
    if pages.parameters.counts_all_slow_pages:
        counters[SLOWTIER] += 1
        if not is_hot:
            counters[IDLEPAGE] += 1
        if not was_accessed:
            counters[COLDPAGE] += 1
    elif not is_accessed:
        counters[IDLEPAGE] += 1


@njit_inlined
def enlist(pages, page):
    """Add an entry to the scanner's private list. Returns whether there was memory for it."""
    state = pages.state
    length = state.private_tail - state.list_head
    if length >= min(pages.parameters.list_capacity, len(pages.list_page)):
        pages.model[ALLOCATION_FAILURES] += 1
        return False
    row = state.private_tail % len(pages.list_page)
    pages.list_page[row] = page
    pages.list_moves[row] = pages.moves[page]
    state.private_tail += 1
    if pages.entries[page] > 0:
        pages.model[DUPLICATES] += 1
    pages.entries[page] += 1
    pages.counters[MIGADDED] += 1
    return True


@njit
def end_chunk(pages, time_s):
    """Adapt, fix when the process is due again, and hand the private list to the migrator."""
    parameters = pages.parameters
    state = pages.state
    mm = pages.mms[state.scan_process]
    mm.last_scan_end_s = time_s
    mm.scans += 1
    pages.counters[MM_SCANS] += 1
    pages.counters[VMA_SCANS] += 1
    is_ruled = parameters.control == CONTROL_KERNEL_RULE or not parameters.is_tunable_at_run_time
    is_ruled &= knows_heat(pages, mm)
    was_rest = parameters.is_whole_vma and mm.is_rest_next
    if parameters.is_whole_vma:
        # the other mappings wait for the next chunk if the big one alone fills this
        is_full = pages.processes[state.scan_process].pages * PAGE_BYTES >= mm.size_bytes
        walks_on = parameters.walks_on_without_hits and state.chunk_useful == 0
        has_rest = pages.processes[state.scan_process].has_rest_vma
        mm.is_rest_next = has_rest and is_full and not walks_on and not was_rest
        if not was_rest:
            mm.passes += 1
        if has_rest and not was_rest and not mm.is_rest_next:
            pages.counters[VMA_SCANS] += 1  # the other mappings, walked in the same chunk
    elif mm.cursor == mm.end_page:
        mm.cursor = mm.first_page
        mm.passes += 1
    if is_ruled:
        follow_kernel_rule(pages, mm)
    choose_target_node(pages, state.scan_process, was_rest)
    set_due(pages, state.scan_process)
    leave_chunk(pages, time_s)


@njit
def leave_chunk(pages, time_s):
    """Hand over the private list and go on, with the list first where there is no thread to migrate."""
    state = pages.state
    state.is_scanning = False
    state.list_tail = state.private_tail
    pages.model[PEAK_LIST] = max(pages.model[PEAK_LIST], state.list_tail - state.list_head)
    if pages.parameters.has_migration_thread or state.list_head == state.list_tail:
        go_on(pages, time_s)
    else:
        state.is_draining = True
        state.migrator_clock_s = time_s
        state.scanner_clock_s = math.inf


@njit
def stop_draining(pages, time_s):
    """Let the scanner's thread return to its scans."""
    pages.state.is_draining = False
    pages.state.migrator_clock_s = math.inf
    go_on(pages, time_s)


@njit
def follow_kernel_rule(pages, mm):
    """Adapt period and size of a process to what its chunk found (kmmscand.md section 6.2)."""
    parameters = pages.parameters
    decayed = (mm.useful_pages >> parameters.decay_shift) + pages.state.chunk_useful
    has_useful = decayed >= parameters.ignore_threshold_pages and decayed > 0
    had_useful = mm.useful_pages > 0
    step = parameters.period_step_percent
    jump = 2**parameters.period_jump_shift
    if had_useful and has_useful:
        mm.period_ms = math.floor(mm.period_ms * (100 - step) / 100)
        mm.size_bytes *= 2
    elif had_useful:
        mm.period_ms *= jump
    elif has_useful:
        mm.period_ms = math.floor(mm.period_ms / jump)
        mm.size_bytes = parameters.size_max_bytes
    else:
        mm.period_ms = math.floor(mm.period_ms * (100 + step) / 100)
        mm.size_bytes = math.floor(mm.size_bytes / 2)
    mm.period_ms = min(max(mm.period_ms, parameters.period_min_ms), parameters.period_max_ms)
    mm.size_bytes = min(max(mm.size_bytes, parameters.size_min_bytes), parameters.size_max_bytes)
    mm.useful_pages = decayed if has_useful else 0


@njit
def choose_target_node(pages, index, is_rest):
    """Send later promotions of a process to the node of which its chunk saw most, or to the fixed one.

    MODEL: the mappings that are not simulated lie on the socket of the process, if that is of the fast tier.
    """
    parameters = pages.parameters
    mm = pages.mms[index]
    mm.target_node = parameters.fixed_target_node
    if parameters.target_rule == TARGET_FIXED:
        return
    if is_rest:
        mm.target_node = pages.processes[index].own_node
        return
    most = 0
    for node in range(parameters.num_nodes):
        seen = pages.nodes[node].scanned_pages
        if parameters.target_rule == TARGET_MOST_ACCESSED:
            seen = pages.nodes[node].accessed_pages
        if seen > most:
            most = seen
            mm.target_node = node


@njit
def scan(pages, until_s, limit_s):
    """Let the scanner act until its clock reaches `until_s` or passes `limit_s`."""
    parameters = pages.parameters
    state = pages.state
    page_ns = round(1e9 * parameters.scan_s)
    while state.scanner_clock_s < until_s and state.scanner_clock_s <= limit_s:
        if not state.is_scanning:
            # a wake-up may come a rounding error before the chunk it is meant for
            begin_chunk(pages, slots_to_due(pages, max(state.scanner_clock_s, earliest_due(pages))))
        mm = pages.mms[state.scan_process]
        if mm.cursor < state.chunk_end:
            if pages.node[mm.cursor] != ABSENT:
                visit(pages, mm.cursor, state.scanner_clock_s)
                state.scanner_clock_s += parameters.scan_s
                pages.counters[SCANNER_NS] += page_ns
            mm.cursor += 1
        else:
            end_chunk(pages, state.scanner_clock_s)
