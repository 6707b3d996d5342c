"""NUMA balancing: marks pages, learns from the hint faults that follow, promotes at them (kmmscand.md section 7).

A scan window takes access rights away from 256 MiB of pages; the first touch of such a page is a hint fault, taken by
the thread that touches it. Mode 2 marks slow-tier pages only and promotes at the first fault while the fast node has
memory to spare, and otherwise pages touched soon after they were marked, up to a rate limit. Mode 1 marks all pages and
moves a slow-tier page at a repeated fault of the same thread, and of different threads as far as group rules allow.

A fault asks for the node of its thread's socket.
"""

import math

from tierenv.counters import (
    NUMA_HINT_FAULTS,
    NUMA_HINT_FAULTS_LOCAL,
    NUMA_PTE_UPDATES,
    PGPROMOTE_CANDIDATE,
    PGPROMOTE_SUCCESS,
)
from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.lumped.lumps import (
    arrive,
    fast_pages,
    fast_place,
    hazard_at,
    next_sweep,
    own_pages,
    pages_in,
    process_of,
    resolve_slow,
    slow_pages,
    take,
    touch_probability,
)
from tierenv.sim.lumped.state import (
    CLASS,
    FAULTED,
    FRESH,
    FRESH_AT_S,
    MARK_CLOCK,
    MARK_HAZARD,
    MARKED_FAST,
    MOVED,
    QUEUED,
    RETRY,
    SLOW,
    STALE,
    STALE_AT_S,
    UNVISITED,
)
from tierenv.sim.random import binomial, round_randomly
from tierenv.sim.records import BALANCING_NS, CONTROL_OFF
from tierenv.sim.rules import (
    MAX_RANGES,
    adapt_hot_threshold,
    adapt_numa_period,
    candidates_of_this_second,
    free_pages,
    private_share,
    schedule_numa_window,
    wake_kswapd,
)


@njit
def mark_window(machine, index):
    """Run one scan window of a process at the present time and schedule the next.

    The window ends with the first range of its length that held a page to mark, after MAX_RANGES, or at the end of the
    address space.

    MODEL: the address space is the resident pages; that a thread passes over mappings it has not touched lately is left
    out, as all threads touch all of them.
    """
    mm = machine.mms[index]
    scanned_s = 0.0
    for _ in range(MAX_RANGES):
        marked, range_s, is_pass_over = mark_range(machine, index)
        scanned_s += range_s
        mm.is_numa_pass_over |= is_pass_over
        if marked > 0 or is_pass_over:
            break
    machine.processes[index].stall_s += scanned_s / machine.processes[index].threads
    machine.model[BALANCING_NS] += int(1e9 * scanned_s)
    schedule_numa_window(machine.processes[index], mm, machine.state.now_s, scanned_s)


@njit
def mark_range(machine, index):
    """Mark pages in a range of one window's length, or of a whole process that is smaller.

    Returns how many, how long it took a thread, and whether the address space ended in it.
    """
    parameters = machine.parameters
    state = machine.state
    mm = machine.mms[index]
    length = min(state.numa_window_pages, own_pages(machine.processes[index]))
    left = length
    marked = 0
    is_pass_over = False
    while left > 0 and not is_pass_over:
        region = mm.numa_region
        if mm.numa_walked_pages == 0:
            enter_region(machine, region)
        ahead = machine.regions[region].pages - mm.numa_walked_pages
        pages = min(left, ahead)
        if pages > 0:
            marked += mark_region(machine, region, pages, ahead)
        left -= pages
        mm.numa_walked_pages += pages
        if pages == ahead:
            mm.numa_walked_pages = 0
            mm.numa_region = region + 1
            if mm.numa_region == mm.end_region:
                mm.numa_region = mm.first_region
                is_pass_over = True
    range_s = (length - left) * parameters.scan_s + marked * parameters.numa_mark_s
    state.numa_marked_pages += marked
    state.numa_marked_at_s = state.now_s
    machine.counters[NUMA_PTE_UPDATES] += marked
    return marked, range_s, is_pass_over


@njit_inlined
def enter_region(machine, region):
    """Note which pages of a region the pass has before it."""
    marks = machine.marks
    for lump in range(machine.regions[region].first_lump, machine.regions[region].end_lump):
        marks[lump, UNVISITED] = slow_pages(machine, lump) - marks[lump, FRESH] - marks[lump, STALE]


@njit_inlined
def mark_region(machine, region, pages, ahead):
    """Mark what a range covers of a region: `pages` of the `ahead` that the pass has yet to visit. Returns how many.

    Whether a page lies in the range does not depend on its class or history, so each lump gives its share.
    """
    parameters = machine.parameters
    state = machine.state
    marks = machine.marks
    total = 0
    for lump in range(machine.regions[region].first_lump, machine.regions[region].end_lump):
        hazard = machine.classes[machine.counts[lump, CLASS]].hazard
        if marks[lump, FRESH] + marks[lump, STALE] + marks[lump, MARKED_FAST] > 0.0:
            fault_lump(machine, lump, hazard, state.now_s)
        marks[lump, MARK_HAZARD] = max(hazard, marks[lump, MARK_HAZARD])
        visited = round_randomly(state, marks[lump, UNVISITED] * (pages / ahead))
        marks[lump, UNVISITED] -= visited
        unmarked = slow_pages(machine, lump) - int(marks[lump, FRESH] + marks[lump, STALE])
        marked = min(visited, unmarked)
        if parameters.numa_mode == 2:
            if marked > 0:
                # MODEL: pages marked at different earlier visits count as marked at the latest of them
                if marks[lump, FRESH] > 0.0:
                    marks[lump, STALE] += marks[lump, FRESH]
                    marks[lump, STALE_AT_S] = marks[lump, FRESH_AT_S]
                marks[lump, FRESH] = marked
                marks[lump, FRESH_AT_S] = state.now_s
        else:
            repeated = take(state, marked, int(marks[lump, FAULTED]), unmarked)
            marks[lump, FAULTED] -= repeated
            marks[lump, STALE] += repeated
            marks[lump, FRESH] += marked - repeated
            on_fast = round_randomly(
                state, (fast_pages(machine, lump) - marks[lump, MARKED_FAST]) * (pages / machine.regions[region].pages)
            )
            marks[lump, MARKED_FAST] += on_fast
            marked += on_fast
        total += marked
    return total


@njit
def hint_faults(machine, until_s):
    """Take the hint faults up to `until_s`, a time at or after the present.

    MODEL: where the fast node is short of room, what is left of it goes by address within one call, not by time.
    """
    marks = machine.marks
    if machine.state.numa_marked_pages > 0:
        for index in range(machine.parameters.num_processes):
            mm = machine.mms[index]
            if not machine.processes[index].is_running:
                continue
            first = machine.regions[mm.first_region].first_lump
            end = machine.regions[mm.end_region - 1].end_lump
            # from the scan on, since where room is short the first lumps get it
            lump = machine.regions[mm.numa_region].first_lump
            for _ in range(first, end):
                if marks[lump, FRESH] + marks[lump, STALE] + marks[lump, MARKED_FAST] > 0.0:
                    hazard = hazard_at(machine, machine.counts[lump, CLASS], until_s)
                    fault_lump(machine, lump, hazard, until_s)
                lump += 1
                if lump == end:
                    lump = first
    machine.state.numa_clock_s = until_s


@njit
def fault_lump(machine, lump, hazard, until_s):
    """Take the hint faults of a lump up to `until_s`, when its class's hazard is `hazard`.

    MODEL: what a fault costs its thread is spread over all threads, and a fault on either node of the fast tier counts
    as local and moves nothing.
    """
    state = machine.state
    parameters = machine.parameters
    marks = machine.marks
    since = marks[lump, MARK_HAZARD]
    if hazard <= since:
        return
    marks[lump, MARK_HAZARD] = hazard
    page_class = machine.counts[lump, CLASS]
    index = machine.classes[page_class].process
    process = machine.processes[index]
    mm = machine.mms[index]
    node = process.own_node
    touched = touch_probability(machine, lump, MARK_CLOCK, since, hazard)
    fresh = binomial(state, int(marks[lump, FRESH]), touched, 1.0 - touched)
    stale = binomial(state, int(marks[lump, STALE]), touched, 1.0 - touched)
    local = binomial(state, int(marks[lump, MARKED_FAST]), touched, 1.0 - touched)
    faults = fresh + stale + local
    if faults == 0:
        return
    if parameters.numa_mode == 2:
        if room_to_spare(machine, node) <= 0:
            adapt_hot_threshold(machine, machine.nodes[node], until_s)
        threshold_s = machine.nodes[node].numa_threshold_s
        fresh_share = hot_share(machine, lump, threshold_s, marks[lump, FRESH_AT_S], until_s, since, hazard)
        stale_share = hot_share(machine, lump, threshold_s, marks[lump, STALE_AT_S], until_s, since, hazard)
        hot = round_randomly(state, fresh * fresh_share) + round_randomly(state, stale * stale_share)
        promoted = promote_hot(machine, lump, node, fresh + stale, hot, until_s)
        # of slow-tier faults the kernel books those alone whose page moved, as private ones from afar
        if promoted > 0:
            adapt_numa_period(process, mm, until_s)
        mm.numa_remote_faults += promoted
        mm.numa_private_faults += promoted
    else:
        # of slow-tier pages that had no hint fault before the kernel books none
        if stale + local > 0:
            # before the promotions, for what fails among them counts for the pass to come
            adapt_numa_period(process, mm, until_s)
        promoted = promote_repeated(machine, lump, node, stale, until_s)
        marks[lump, FAULTED] += fresh + stale - promoted
        marks[lump, MARKED_FAST] -= local
        mm.numa_local_faults += local
        mm.numa_remote_faults += stale
        mm.numa_private_faults += (stale + local) * private_share(process)
    marks[lump, FRESH] -= fresh
    marks[lump, STALE] -= stale
    state.numa_marked_pages -= faults
    process.stall_s += faults * parameters.numa_fault_s / process.threads
    machine.model[BALANCING_NS] += int(1e9 * faults * parameters.numa_fault_s)
    machine.counters[NUMA_HINT_FAULTS] += faults
    machine.counters[NUMA_HINT_FAULTS_LOCAL] += local


@njit_inlined
def hot_share(machine, lump, threshold_s, marked_at_s, until_s, since, hazard):
    """Share of the faults since `numa_clock_s` that came within the hot threshold of the marking."""
    clock_s = machine.state.numa_clock_s
    cold_from_s = marked_at_s + threshold_s
    if cold_from_s >= until_s:
        return 1.0
    if cold_from_s <= clock_s:
        return 0.0
    hot_part = (cold_from_s - clock_s) / (until_s - clock_s)
    elapsed = hazard - since
    if machine.classes[machine.counts[lump, CLASS]].is_swept:
        return 1.0 if next_sweep(machine, lump, since) <= since + elapsed * hot_part else 0.0
    return math.expm1(-elapsed * hot_part) / math.expm1(-elapsed)


@njit_inlined
def room_to_spare(machine, index):
    """Pages that mode 2 promotes to a node without asking. MODEL: the promo watermark is where kswapd stops."""
    node = machine.nodes[index]
    return free_pages(machine, index) - node.kswapd_target_pages - node.spare_pages


@njit_inlined
def promote_hot(machine, lump, index, faults, hot, time_s):
    """Mode 2: promote at faults on the slow tier, of which `hot` came soon after the marking. Returns how many."""
    node = machine.nodes[index]
    unlimited = min(faults, max(0, room_to_spare(machine, index)))
    machine.state.numa_attempts += unlimited
    if unlimited > 0:
        node.numa_threshold_s = machine.state.numa_hot_threshold_s
        move_up(machine, lump, index, unlimited, time_s)
    candidates = take(machine.state, faults - unlimited, hot, faults)
    if candidates == 0:
        return unlimited
    used = candidates_of_this_second(node, time_s)
    node.numa_candidates += candidates
    machine.counters[PGPROMOTE_CANDIDATE] += candidates
    allowed = int(min(candidates, max(0.0, machine.state.numa_rate_limit_pages - used)))
    return unlimited + promote_if_room(machine, lump, index, allowed, time_s)


@njit_inlined
def promote_repeated(machine, lump, index, faults, time_s):
    """Mode 1: promote at repeated faults on the slow tier. Returns how many.

    The last fault was this node's, as all are. A page moves if it was also this thread's, and by the group rules
    otherwise. MODEL: what those rules allow is one share, which is fitted.
    """
    process = machine.processes[process_of(machine, lump)]
    private = private_share(process)
    share = private + (1.0 - private) * machine.parameters.numa_shared_move_share
    return promote_if_room(machine, lump, index, binomial(machine.state, faults, share, 1.0 - share), time_s)


@njit_inlined
def promote_if_room(machine, lump, index, pages, time_s):
    """Promote pages as far as the node has room above its watermark; without, wake kswapd. Returns how many."""
    machine.state.numa_attempts += pages
    promoted = min(pages, max(0, free_pages(machine, index) - machine.nodes[index].watermark_pages))
    if promoted < pages:
        machine.mms[process_of(machine, lump)].numa_failures += pages - promoted
        wake_kswapd(machine, index, time_s)
    if promoted > 0:
        move_up(machine, lump, index, promoted, time_s)
    return promoted


@njit
def move_up(machine, lump, index, pages, time_s):
    """Move slow pages that have just been touched to a node of the fast tier, in the context of the faulting threads.

    MODEL: which of a lump's slow pages took a hint fault does not depend on what the daemon knows of them.
    """
    parameters = machine.parameters
    state = machine.state
    counts = machine.counts
    page_class = counts[lump, CLASS]
    if parameters.control != CONTROL_OFF:
        resolve_slow(machine, lump, hazard_at(machine, page_class, time_s))
    listed = pages_in(counts, lump, QUEUED)
    left = listed + pages_in(counts, lump, SLOW)
    wanted = pages
    for cell in range(SLOW, QUEUED + 4):
        available = counts[lump, cell]
        moved = take(state, wanted, available, left)
        left -= available
        wanted -= moved
        counts[lump, cell] -= moved
    delisted = listed - pages_in(counts, lump, QUEUED)
    if delisted > 0:
        retries = take(state, delisted, counts[lump, RETRY], listed)
        counts[lump, RETRY] -= retries
        state.retry_pages -= retries
        counts[lump, MOVED] += delisted - retries
    counts[lump, fast_place(index) + 3] += pages
    arrive(machine, page_class, index, pages)
    machine.counters[PGPROMOTE_SUCCESS] += pages
    process = machine.processes[machine.classes[page_class].process]
    process.stall_s += pages * (parameters.migration_s / process.threads + parameters.promotion_stall_s / process.count)
    machine.model[BALANCING_NS] += int(1e9 * pages * parameters.migration_s)


@njit_inlined
def forget_marks(machine, lump):
    """Drop what is noted of a lump whose pages are freed."""
    marks = machine.marks
    machine.state.numa_marked_pages -= int(marks[lump, FRESH] + marks[lump, STALE] + marks[lump, MARKED_FAST])
    for column in (FRESH, STALE, FAULTED, MARKED_FAST, UNVISITED):
        marks[lump, column] = 0.0
