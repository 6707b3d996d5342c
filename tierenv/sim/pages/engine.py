"""The pages model's clock: accesses tick by tick, and the kernel's threads in the order of their clocks."""

import math

from tierenv.sim.application import solve_rates
from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.pages.migrator import flush, migrate
from tierenv.sim.pages.numa import mark_window, take_faults
from tierenv.sim.pages.reclaim import reclaim
from tierenv.sim.pages.scanner import leave_chunk, reschedule, scan, set_due
from tierenv.sim.pages.state import ABSENT, access_after, lay_out, place
from tierenv.sim.records import ACCESS_THRESHOLD, CONTROL_OFF, CONTROL_TUNABLES, PERIOD, SIZE, THROTTLE
from tierenv.sim.rules import (
    begin_again,
    begin_clock,
    changes_by_s,
    count_free_pages,
    fit_numa_periods,
    follow_clock,
    forget_process,
    is_awaited,
    is_work_over,
    load_links,
    next_start_s,
    stall,
    write_numa_knobs,
)
from tierenv.units import PAGE_BYTES

SCANNER, MIGRATOR, FIRST_KSWAPD = 0, 1, 2
"""Numbers of the servers; of those whose clocks are equal the first acts first."""


# Rates


@njit_inlined
def begin_tick(pages, tick_s):
    """Set the rates for the next `tick_s` from the placement, the stalls and the copying of the last tick."""
    may_differ = copy_pages(pages, tick_s) or not pages.state.are_rates_known
    for index in range(pages.parameters.num_processes):
        process = pages.processes[index]
        before = process.working_threads
        if process.is_running:
            stall(process, tick_s)
        may_differ |= process.working_threads != before
    if may_differ:
        find_shares(pages)
        solve_rates(pages.parameters, pages.processes, pages.links, pages.shares)
        pages.state.are_rates_known = True
    for index in range(pages.parameters.num_processes):
        process = pages.processes[index]
        pages.rates[index] = 0.0
        if process.is_running:
            pages.rates[index] = process.access_rate
        for page_class in range(process.first_class, process.end_class):
            if pages.class_pages[page_class] > 0:
                share = pages.access_share[process.phase, page_class]
                pages.hazard_rate[page_class] = share * pages.rates[index] / pages.accesses_per_hazard[page_class]


@njit_inlined
def copy_pages(pages, tick_s):
    """Put on the links what was copied since the last tick. Returns whether that may change the rates."""
    slow_link = pages.links[pages.parameters.num_nodes]
    had_copies = slow_link.copied_per_s > 0.0
    load_links(pages, tick_s)
    for node in range(pages.parameters.num_nodes):
        pages.nodes[node].moved_pages = 0
    return had_copies or slow_link.copied_per_s > 0.0


@njit_inlined
def find_shares(pages):
    """Find where the accesses of each process land."""
    num_nodes = pages.parameters.num_nodes
    for index in range(pages.parameters.num_processes):
        process = pages.processes[index]
        on_slow = 1.0
        for node in range(num_nodes):
            share = 0.0
            for page_class in range(process.first_class, process.end_class):
                if pages.class_pages[page_class] > 0:
                    is_there = pages.fast_by_class[page_class, node] / pages.class_pages[page_class]
                    share += pages.access_share[process.phase, page_class] * is_there
            pages.shares[index, node] = share
            on_slow -= share
        pages.shares[index, num_nodes] = max(0.0, on_slow)


# The kernel's threads


@njit_inlined
def server_clock(pages, server):
    """Time up to which a server has acted, infinity if it waits to be woken."""
    if server == SCANNER:
        return pages.state.scanner_clock_s
    if server == MIGRATOR:
        return pages.state.migrator_clock_s
    kswapd = pages.nodes[server - FIRST_KSWAPD]
    return kswapd.kswapd_clock_s if kswapd.is_kswapd_awake else math.inf


@njit_inlined
def run_servers(pages, until_s):
    """Let scanner, migrator and each kswapd act in the order of their clocks, all until `until_s`."""
    while True:
        server, clock_s, limit_s = -1, until_s, until_s
        for other in range(FIRST_KSWAPD + pages.parameters.num_nodes):
            other_s = server_clock(pages, other)
            if other_s < clock_s:
                server, clock_s, limit_s = other, other_s, clock_s
            elif other_s < limit_s:
                limit_s = other_s
        # the one that is behind may go on until it overtakes the next
        if server == SCANNER:
            scan(pages, until_s, limit_s)
        elif server == MIGRATOR:
            migrate(pages, until_s, limit_s)
        elif server >= FIRST_KSWAPD:
            reclaim(pages, server - FIRST_KSWAPD, until_s, limit_s)
        else:
            return


# Processes


@njit
def begin_processes(pages):
    """Start the processes whose time has come: the kernel's books of each begin with the defaults then in force."""
    parameters = pages.parameters
    state = pages.state
    for index in range(parameters.num_processes):
        process = pages.processes[index]
        if process.is_running or process.is_done or process.start_s > state.now_s:
            continue
        process.is_running = True
        begin_clock(pages, index)
        mm = pages.mms[index]
        mm.period_ms = state.seed_period_ms
        mm.due_s = process.start_s + parameters.initial_delay_s + 1e-3 * mm.stagger * mm.period_ms
        mm.target_node = parameters.fixed_target_node
        mm.numa_period_ms = state.numa_start_period_ms
        mm.numa_scan_at_s = process.start_s + state.numa_delay_s + 1e-3 * mm.stagger * mm.numa_period_ms
        state.are_rates_known = False
        if parameters.control != CONTROL_OFF:
            reschedule(pages, state.now_s)


@njit
def end_process(pages, index):
    """Let a process exit whose work is done. After the last that the run waits for everything stands still."""
    state = pages.state
    process = pages.processes[index]
    process.is_running = False
    process.is_done = not process.is_repeating
    process.finished_s = state.now_s if process.is_done else 0.0
    state.are_rates_known = False
    is_last = True
    for other in range(pages.parameters.num_processes):
        is_last = is_last and (pages.processes[other].is_done or not is_awaited(pages.processes[other]))
    if is_last:
        stand_still(pages)
        return
    for page_class in range(process.first_class, process.end_class):
        pages.has_memory[page_class] = False
    follow_classes(pages, index)
    if process.is_repeating:
        begin_anew(pages, index)
    if pages.parameters.control == CONTROL_OFF:
        return
    if state.is_scanning and state.scan_process == index:
        leave_chunk(pages, state.now_s)
    else:
        reschedule(pages, state.now_s)


@njit_inlined
def stand_still(pages):
    """End the run, and with it the processes that it does not wait for."""
    pages.state.is_done = True
    for index in range(pages.parameters.num_processes):
        process = pages.processes[index]
        if not process.is_done:
            process.is_running = False
            process.is_done = True
            process.finished_s = pages.state.now_s


@njit_inlined
def begin_anew(pages, index):
    """Execute a process again whose work is done, as another that the kernel knows nothing of."""
    process = pages.processes[index]
    mm = pages.mms[index]
    begin_again(process)
    process.phase = 0
    process.start_s = next_start_s(process, pages.state.now_s)
    process.stall_s = 0.0
    mm.cursor = mm.first_page
    mm.numa_cursor = mm.first_page
    mm.stagger = 0.0
    forget_process(pages, mm)
    change_memory(pages, index)


@njit
def change_memory(pages, index):
    """Free what a process's phase lacks and allocate what it has and was not there.

    MODEL: on the slow node, as the memory of processes that start later.
    """
    process = pages.processes[index]
    for page_class in range(process.first_class, process.end_class):
        pages.has_memory[page_class] = pages.is_resident[process.phase, page_class]
    process.resident_phase = process.phase
    follow_classes(pages, index)


@njit
def follow_classes(pages, index):
    """Let the pages of a process come and go with their classes."""
    process = pages.processes[index]
    for page in range(pages.mms[index].first_page, pages.mms[index].end_page):
        is_there = pages.node[page] != ABSENT
        is_to_be = pages.has_memory[pages.page_class[page]]
        if is_there and not is_to_be:
            place(pages, page, ABSENT)
            process.pages -= 1
        elif is_to_be and not is_there:
            lay_out(pages, page)
            process.pages += 1
    fit_numa_periods(pages, process)


@njit_inlined
def next_event(pages, end_s):
    """When a process starts or goes on by the clock, or a window of NUMA balancing is due, `end_s` at the latest."""
    for index in range(pages.parameters.num_processes):
        process = pages.processes[index]
        if process.is_running:
            end_s = min(end_s, changes_by_s(process))
            if pages.parameters.numa_mode > 0:
                end_s = min(end_s, pages.mms[index].numa_scan_at_s)
        elif not process.is_done:
            end_s = min(end_s, process.start_s)
    return end_s


@njit_inlined
def first_phase_end(pages, end_s):
    """The process whose phase's work ends first, -1 if none does by `end_s`, and the time at which it does."""
    state = pages.state
    ending = -1
    for index in range(pages.parameters.num_processes):
        process = pages.processes[index]
        if process.is_running:
            left = pages.phase_end[process.phase, index] - process.accesses
            if left <= pages.rates[index] * (end_s - state.now_s):
                ending = index
                end_s = state.now_s + left / pages.rates[index]
    return ending, end_s


@njit
def end_phase(pages, index):
    """Let a process go on to its next phase, or exit."""
    process = pages.processes[index]
    process.accesses = pages.phase_end[process.phase, index]
    pages.state.are_rates_known = False
    if not is_work_over(process):
        process.phase += 1
    elif process.is_endless:
        begin_again(process)
    else:
        end_process(pages, index)


@njit
def follow_clocks(pages):
    """Let processes go on to the phase, the load and the memory that are theirs at the present time."""
    for index in range(pages.parameters.num_processes):
        process = pages.processes[index]
        if process.is_running:
            if follow_clock(pages, index):
                pages.state.are_rates_known = False
            if process.has_absent and process.phase != process.resident_phase:
                change_memory(pages, index)


# Time


@njit
def advance(pages, duration_s, tick_s):
    """Advance by `duration_s`, or until all work is done."""
    parameters = pages.parameters
    state = pages.state
    until_s = state.now_s + duration_s
    while not state.is_done and state.now_s < until_s:
        end_s = next_event(pages, min(until_s, state.now_s + tick_s))
        begin_tick(pages, end_s - state.now_s)
        ending, end_s = first_phase_end(pages, end_s)
        run_servers(pages, end_s)
        if parameters.numa_mode > 0:
            take_faults(pages, end_s)
        span_s = end_s - state.now_s
        for page_class in range(parameters.num_classes):
            pages.hazard[page_class] += pages.hazard_rate[page_class] * span_s
        for index in range(parameters.num_processes):
            pages.processes[index].accesses += pages.rates[index] * span_s
        state.now_s = end_s
        if ending >= 0:
            end_phase(pages, ending)
        follow_clocks(pages)
        begin_processes(pages)
        if parameters.numa_mode > 0:
            mark_due_windows(pages)
    count_free_pages(pages)


@njit
def mark_due_windows(pages):
    """Run the windows of NUMA balancing that are due now."""
    for index in range(pages.parameters.num_processes):
        if pages.processes[index].is_running and pages.mms[index].numa_scan_at_s <= pages.state.now_s:
            mark_window(pages, index)


@njit
def start(pages):
    """Begin an episode whose pages, tunables and phases have just been laid out."""
    for page in range(len(pages.next_access)):
        pages.next_access[page] = access_after(pages, page, 0.0)
    pages.state.scanner_clock_s = math.inf
    pages.state.scan_process = pages.parameters.num_processes - 1
    if not pages.parameters.has_migration_thread:
        pages.state.migrator_clock_s = math.inf
    for node in range(pages.parameters.num_nodes):
        pages.nodes[node].numa_threshold_s = pages.state.numa_hot_threshold_s
    for index in range(pages.parameters.num_processes):
        fit_numa_periods(pages, pages.processes[index])
    begin_processes(pages)
    count_free_pages(pages)


@njit
def apply(pages, tunables):
    """Put tunables in force, float64[len(TUNABLES)].

    Where they reach running processes throttle and access threshold change at once, period and size from the next chunk
    that has not begun; elsewhere the period alone is exposed, for processes that start later.
    """
    parameters = pages.parameters
    state = pages.state
    if parameters.is_numa_tunable:
        write_numa_knobs(pages, tunables)
    if parameters.control != CONTROL_TUNABLES:
        return
    if not parameters.is_tunable_at_run_time:
        state.seed_period_ms = min(max(tunables[PERIOD], parameters.period_min_ms), parameters.period_max_ms)
        return
    state.seed_period_ms = tunables[PERIOD]
    state.seed_size_bytes = tunables[SIZE]
    state.throttle_pages_per_s = tunables[THROTTLE] / PAGE_BYTES
    if parameters.most_streak > 0:
        state.access_threshold = tunables[ACCESS_THRESHOLD]
    if state.throttle_pages_per_s == 0.0:
        flush(pages)
    for index in range(parameters.num_processes):
        mm = pages.mms[index]
        mm.period_ms = tunables[PERIOD]
        mm.size_bytes = tunables[SIZE]
        if mm.scans > 0:
            set_due(pages, index)
    reschedule(pages, state.now_s)
