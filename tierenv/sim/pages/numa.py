"""NUMA balancing page by page: marks in address order, a fault at the next touch, a promotion at some of them.

Mechanisms and figures: kmmscand.md section 7.
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
from tierenv.sim.pages.state import (
    ABSENT,
    SLOW,
    access_after,
    end_of_range,
    hazard_at,
    is_marked,
    owner,
    promote,
)
from tierenv.sim.random import uniform
from tierenv.sim.records import BALANCING_NS
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

# Marking


@njit
def mark_window(pages, index):
    """Run the scan window of a process that is due now, and fix when the next one is."""
    parameters = pages.parameters
    mm = pages.mms[index]
    process = pages.processes[index]
    scanned_s = 0.0
    for _ in range(MAX_RANGES):
        first = mm.numa_cursor
        end = end_of_range(pages, index, first, pages.state.numa_window_pages)
        walked = 0
        marked = 0
        for page in range(first, end):
            node = pages.node[page]
            walked += node != ABSENT
            if (node == SLOW or (parameters.numa_mode == 1 and node >= 0)) and not is_marked(pages, page):
                mark(pages, page)
                marked += 1
        scanned_s += walked * parameters.scan_s + marked * parameters.numa_mark_s
        pages.counters[NUMA_PTE_UPDATES] += marked
        mm.numa_cursor = end
        if end == mm.end_page:
            mm.numa_cursor = mm.first_page
            mm.is_numa_pass_over = True
        if marked > 0 or end == mm.end_page:
            break
    process.stall_s += scanned_s / process.threads
    pages.model[BALANCING_NS] += int(1e9 * scanned_s)
    schedule_numa_window(process, mm, pages.state.now_s, scanned_s)


@njit_inlined
def mark(pages, page):
    """Take the access rights of a page away: the next access is a hint fault."""
    hazard = hazard_at(pages, page, pages.state.now_s)
    if hazard >= pages.next_access[page]:
        # the Accessed bit is set and tells nothing of the accesses to come
        pages.fault_hazard[page] = access_after(pages, page, hazard)
    else:
        pages.fault_hazard[page] = pages.next_access[page]
    pages.marked_at_s[page] = pages.state.now_s
    pages.state.marked_pages += 1


# Hint faults


@njit
def take_faults(pages, end_s):
    """Take the hint faults between the present and `end_s`, the end of the tick, in address order."""
    if pages.state.marked_pages == 0:
        return
    for page in range(len(pages.fault_hazard)):
        if is_marked(pages, page) and pages.fault_hazard[page] <= hazard_at(pages, page, end_s):
            fault(pages, page, end_s)


@njit
def fault(pages, page, end_s):
    """Take the hint fault of a page in the tick that ends at `end_s`.

    MODEL: what a fault costs its thread is spread over all threads of the process.
    """
    parameters = pages.parameters
    page_class = pages.page_class[page]
    waited_s = (pages.fault_hazard[page] - pages.hazard[page_class]) / pages.hazard_rate[page_class]
    fault_s = pages.state.now_s + max(0.0, waited_s)
    pages.fault_hazard[page] = math.inf
    pages.state.marked_pages -= 1
    process = pages.processes[owner(pages, page)]
    process.stall_s += parameters.numa_fault_s / process.threads
    pages.model[BALANCING_NS] += int(1e9 * parameters.numa_fault_s)
    pages.counters[NUMA_HINT_FAULTS] += 1
    mm = pages.mms[owner(pages, page)]
    if pages.node[page] != SLOW:
        adapt_numa_period(process, mm, fault_s)
        pages.counters[NUMA_HINT_FAULTS_LOCAL] += 1
        mm.numa_local_faults += 1.0
        mm.numa_private_faults += private_share(process)
    elif parameters.numa_mode == 2:
        fault_in_mode_2(pages, page, fault_s, end_s)
    else:
        fault_in_mode_1(pages, page, fault_s, end_s)


@njit_inlined
def fault_in_mode_2(pages, page, fault_s, end_s):
    """Promote if there is room to spare, otherwise a page touched soon after it was marked, up to the rate limit.

    Of faults on the slow tier the kernel books those alone whose page moved, as private ones from afar.
    """
    node_index = pages.processes[owner(pages, page)].own_node
    node = pages.nodes[node_index]
    if free_pages(pages, node_index) > node.kswapd_target_pages + node.spare_pages:
        node.numa_threshold_s = pages.state.numa_hot_threshold_s
        promote_at_fault(pages, page, node_index)
        is_promoted = True
    else:
        adapt_hot_threshold(pages, node, fault_s)
        is_hot = fault_s - pages.marked_at_s[page] < node.numa_threshold_s
        is_promoted = (
            is_hot and is_within_rate(pages, node_index, fault_s) and promote_if_room(pages, page, node_index, end_s)
        )
    if is_promoted:
        mm = pages.mms[owner(pages, page)]
        adapt_numa_period(pages.processes[owner(pages, page)], mm, fault_s)
        mm.numa_remote_faults += 1.0
        mm.numa_private_faults += 1.0


@njit_inlined
def is_within_rate(pages, node_index, time_s):
    """Count a candidate for a node, and say whether the limit of candidates per second leaves room for it."""
    node = pages.nodes[node_index]
    used = candidates_of_this_second(node, time_s)
    node.numa_candidates += 1
    pages.counters[PGPROMOTE_CANDIDATE] += 1
    return used + 1 <= pages.state.numa_rate_limit_pages


@njit_inlined
def fault_in_mode_1(pages, page, fault_s, end_s):
    """Leave a page where it is at its first fault; later, promote it if the thread is the same or by chance.

    The kernel does not book the first one: nobody is known to have touched the page before.
    """
    if not pages.has_faulted[page]:
        pages.has_faulted[page] = True
        return
    process = pages.processes[owner(pages, page)]
    mm = pages.mms[owner(pages, page)]
    private = private_share(process)
    adapt_numa_period(process, mm, fault_s)
    mm.numa_remote_faults += 1.0
    mm.numa_private_faults += private
    if uniform(pages.state) < private + (1.0 - private) * pages.parameters.numa_shared_move_share:
        promote_if_room(pages, page, pages.processes[owner(pages, page)].own_node, end_s)


@njit_inlined
def promote_if_room(pages, page, node, time_s):
    """Promote a page if the node has room above its watermark; otherwise wake kswapd. Returns whether it was."""
    has_room = free_pages(pages, node) > pages.nodes[node].watermark_pages
    if has_room:
        promote_at_fault(pages, page, node)
    else:
        pages.mms[owner(pages, page)].numa_failures += 1
        wake_kswapd(pages, node, time_s)
    return has_room


@njit
def promote_at_fault(pages, page, node):
    """Promote a page in the context of the thread that touched it, whose time is spread over all."""
    promote(pages, page, node)
    process = pages.processes[owner(pages, page)]
    process.stall_s += pages.parameters.migration_s / process.threads
    pages.model[BALANCING_NS] += int(1e9 * pages.parameters.migration_s)
    pages.counters[PGPROMOTE_SUCCESS] += 1
