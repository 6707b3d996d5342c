"""The kernel's rules that no page and no lump takes part in, which both models follow.

`machine` is the state of either model, `Machine` or `Pages`: what is read of it here is in both.
"""

import math

from tierenv.counters import FREE_PAGES
from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.records import HOT_THRESHOLD, LOAD_S, LOAD_SHARE, PERIOD, PHASE_S, SIZE, THROTTLE
from tierenv.tunables import UNLIMITED_BYTES_PER_S
from tierenv.units import PAGE_BYTES

MAX_STALL_SHARE = 0.9
"""Share of any stretch of time a process can lose to stalls; what is left of them it loses later."""

SCALE_STEPS = 9
"""prctl scale 10 is this many steps above 1, and doubles the scan period (kmmscand.md section 6.5)."""

MAX_RANGES = 8
"""Ranges of a window's length that one scan of NUMA balancing looks through for pages to mark."""
PERIOD_SLOTS = 10
"""Parts of a scan period, and of the faults of a pass, in which the period adapts."""
SLOWER_FROM = 7
"""Slots of private or of local faults from which on the period grows (NUMA_PERIOD_THRESHOLD)."""
OWN_WORK_PER_SCAN = 32
"""A thread does this many times as much of its own work as it has scanned, beside its period."""
THRESHOLD_STEPS = 8
"""The hot threshold moves by this fraction of its default, between one step and twice the default."""
RATE_SPAN_S = 1.0

_LATE_PERIODS = 1e-9
"""Of a periodic process: work that ends so late after a multiple of its period has ended at it, but for rounding."""


# Memory of the nodes


@njit_inlined
def free_pages(machine, node):
    """Free pages of a node of the fast tier."""
    return machine.nodes[node].capacity_pages - machine.nodes[node].fast_pages


@njit_inlined
def count_free_pages(machine):
    """Set the gauge of free pages: those of all nodes of the fast tier."""
    free = 0
    for node in range(machine.parameters.num_nodes):
        free += free_pages(machine, node)
    machine.counters[FREE_PAGES] = free


@njit_inlined
def wake_kswapd(machine, node, time_s):
    """Wake a node's kswapd if it sleeps and demotion is enabled."""
    row = machine.nodes[node]
    if machine.parameters.demotion and not row.is_kswapd_awake:
        row.is_kswapd_awake = True
        row.kswapd_clock_s = max(row.kswapd_clock_s, time_s)


@njit_inlined
def resident_pages(machine):
    """Pages of all processes that run."""
    pages = 0
    for index in range(machine.parameters.num_processes):
        if machine.processes[index].is_running:
            pages += machine.processes[index].pages
    return pages


@njit_inlined
def page_aging_s(machine, node):
    """Time kswapd takes for each page of its node that it ages.

    The multi-generational LRU walks the page tables of all processes for them, the two lists the node's pages.
    MODEL: it leaves out no page table for the reason that it held no page of the node the last time.
    """
    parameters = machine.parameters
    walked = resident_pages(machine) / machine.nodes[node].fast_pages if parameters.ages_by_walk else 1.0
    return walked * parameters.scan_s


@njit_inlined
def slow_room(machine):
    """Pages that the slow node can still take."""
    room = machine.parameters.slow_capacity_pages - resident_pages(machine)
    for node in range(machine.parameters.num_nodes):
        room += machine.nodes[node].fast_pages
    return room


@njit_inlined
def is_awaited(process):
    """Whether the run goes on until a process has done its work."""
    return not (process.is_endless or process.is_repeating)


@njit_inlined
def forget_process(machine, mm):
    """Make of what the kernel knows of a process what it knows of a new one; what follows its start is set there.

    MODEL: entries of a process executed anew that still wait on the list fail as its own.
    """
    mm.size_bytes = machine.state.seed_size_bytes
    mm.last_scan_end_s = 0.0
    mm.scans = 0
    mm.passes = 0
    mm.is_rest_next = False
    mm.useful_pages = 0
    mm.target_node = machine.parameters.fixed_target_node
    mm.recent_successes = 0
    mm.recent_failures = 0
    mm.successes = 0
    mm.failures = 0
    mm.failure_percent = 0
    mm.numa_local_faults = 0.0
    mm.numa_remote_faults = 0.0
    mm.numa_private_faults = 0.0
    mm.numa_failures = 0
    mm.is_numa_pass_over = False


@njit_inlined
def begin_again(process):
    """Send a process back to the beginning of its work; its clock goes on."""
    process.rounds += 1
    process.accesses = 0.0
    if not process.is_timed:
        process.phase = 0


@njit_inlined
def is_work_over(process):
    """Whether a process that has come to the end of its present phase's work has none left."""
    return process.is_timed or process.phase + 1 == process.num_phases


@njit_inlined
def next_start_s(process, time_s):
    """When a process whose work has ended is executed anew: at once, or at the next multiple of its period."""
    if process.every_s == 0.0:
        return time_s
    periods = math.ceil((time_s - process.start_s) / process.every_s - _LATE_PERIODS)
    return process.start_s + max(1.0, periods) * process.every_s


# Phases that end by time, and load


@njit_inlined
def begin_clock(machine, index):
    """Let a process that is executed begin its first phase and the first step of its load."""
    process = machine.processes[index]
    process.phase = 0
    process.phase_until_s = process.start_s + machine.timetable[0, index, PHASE_S]
    process.load_step = 0
    process.load_until_s = process.start_s + machine.timetable[0, index, LOAD_S]
    process.threads = process.full_threads * machine.timetable[0, index, LOAD_SHARE]


@njit_inlined
def follow_clock(machine, index):
    """Let a process go on to the phase and to the step of its load that the present time is in.

    Returns whether that is another one.
    """
    process = machine.processes[index]
    is_another = False
    while process.phase_until_s <= machine.state.now_s:
        process.phase = (process.phase + 1) % process.num_phases
        process.phase_until_s += machine.timetable[process.phase, index, PHASE_S]
        is_another = True
    while process.load_until_s <= machine.state.now_s:
        process.load_step = (process.load_step + 1) % process.num_load_steps
        process.load_until_s += machine.timetable[process.load_step, index, LOAD_S]
        process.threads = process.full_threads * machine.timetable[process.load_step, index, LOAD_SHARE]
        is_another = True
    return is_another


@njit_inlined
def changes_by_s(process):
    """When the clock next takes a process to another phase, or to another step of its load."""
    return min(process.phase_until_s, process.load_until_s)


# Time of the applications


@njit_inlined
def load_links(machine, span_s):
    """Put the copies of a stretch of time on the links of the nodes between which pages moved in it.

    A page whose move ended in a very short stretch was copied in the ones before, too. MODEL: the copies of hint
    faults, which many threads make at once, load the links no more than those of migrator and kswapd.
    """
    parameters = machine.parameters
    moved = 0
    for node in range(parameters.num_nodes):
        moved += machine.nodes[node].moved_pages
    pages_per_s = min(moved / span_s, 1.0 / parameters.migration_s + 1.0 / parameters.demotion_s)
    for node in range(parameters.num_nodes):
        share = machine.nodes[node].moved_pages / moved if moved > 0 else 0.0
        machine.links[node].copied_per_s = share * pages_per_s * PAGE_BYTES
    machine.links[parameters.num_nodes].copied_per_s = pages_per_s * PAGE_BYTES


@njit_inlined
def stall(process, span_s):
    """Take off a process's threads at work, for a stretch of time, what it can lose to its stalls in it."""
    stalled_s = min(process.stall_s, MAX_STALL_SHARE * span_s)
    process.stall_s -= stalled_s
    process.working_threads = process.threads * (1.0 - stalled_s / span_s)


# The scanner


@njit_inlined
def knows_heat(machine, mm):
    """Whether a chunk of a process can have found what there is to find, so that the adaptation rule may go by it.

    Where a first visit only resets a page, no page is listed before as many windows have passed as it takes.
    """
    return not machine.parameters.first_visit_resets or mm.passes >= machine.state.access_threshold


# The migrator


@njit_inlined
def throttle_budget(parameters, state):
    """What the throttle grants in the present window, of which `window_promotions` are spent [pages].

    It grants so much per window, none carried over, as the promotion rate limit of NUMA balancing does (kmmscand.md
    section 7.3).
    """
    if state.migrator_clock_s >= state.window_end_s:
        state.window_end_s = state.migrator_clock_s + parameters.throttle_window_s
        state.window_promotions = 0
    return max(1.0, state.throttle_pages_per_s * parameters.throttle_window_s)


# NUMA balancing (kmmscand.md section 7)


@njit_inlined
def scan_windows(resident_pages, window_pages):
    """Windows that the kernel counts in the resident memory: `tierenv.live.kernel.scan_windows`."""
    return (((resident_pages - 1) | (window_pages - 1)) + 1) // window_pages


@njit_inlined
def fit_numa_periods(machine, process):
    """Set the limits of a process's scan period: those of a pass, over the windows that its resident memory has now."""
    state = machine.state
    windows = scan_windows(max(1, int(process.pages / process.count)), state.numa_window_pages)
    process.numa_period_min_ms = max(state.numa_floor_ms, state.numa_pass_min_ms / windows)
    process.numa_period_max_ms = max(process.numa_period_min_ms, state.numa_pass_max_ms / windows)


@njit_inlined
def private_share(process):
    """Chance that the thread that takes a hint fault also took the page's last one."""
    return min(1.0, process.count / process.threads)


@njit_inlined
def write_numa_knobs(machine, tunables):
    """Put tunables in force: period, size, throttle and hot threshold as their files take them.

    The period is the time of a pass, at the least and at the most; threads that start later begin with one window's.
    What was written acts when the kernel looks: at the next window, fault, step of the threshold or counted fault after
    a pass. MODEL: not rounded to the whole ms and MiB of the files.
    """
    parameters = machine.parameters
    state = machine.state
    window_pages = max(1, int(tunables[SIZE] / PAGE_BYTES))
    state.numa_floor_ms = 1e3 / max(1.0, math.floor(parameters.numa_scan_rate_pages / window_pages))
    state.numa_pass_min_ms = tunables[PERIOD]
    state.numa_pass_max_ms = tunables[PERIOD]
    state.numa_window_pages = window_pages
    state.numa_rate_limit_pages = min(tunables[THROTTLE], UNLIMITED_BYTES_PER_S) / PAGE_BYTES
    state.numa_hot_threshold_s = 1e-3 * tunables[HOT_THRESHOLD]
    state.numa_threshold_every_s = 1e-3 * tunables[PERIOD]
    for index in range(parameters.num_processes):
        fit_numa_periods(machine, machine.processes[index])
    pass_windows = scan_windows(max(1, resident_pages(machine)), window_pages)
    window_ms = max(state.numa_floor_ms, tunables[PERIOD] / pass_windows)
    state.numa_delay_s = 1e-3 * window_ms
    state.numa_start_period_ms = window_ms * parameters.numa_start_period_factor


@njit_inlined
def schedule_numa_window(process, mm, time_s, scanned_s):
    """Say when the next window of a process is due after one at `time_s` that took a thread `scanned_s`.

    Any thread whose period has passed takes the next one, but each works 32 times as long as it scanned first. The
    kernel counts both in the thread's own running time, so that threads that the load lets rest take none. Windows of
    processes alike are staggered evenly.
    """
    period_s = 1e-3 * mm.numa_period_ms
    threads = process.threads / process.count
    mm.numa_scan_at_s = time_s + max(period_s, (period_s + OWN_WORK_PER_SCAN * scanned_s) / threads) / process.count


@njit
def adapt_numa_period(process, mm, time_s):
    """Adapt a process's scan period at the first counted fault after the end of a pass (section 7.3, period feedback).

    In mode 2 what counts are promotions, private faults from afar: with neither local nor shared faults, as with failed
    promotions, the period doubles, the next window waits as long, and what was counted stays so: a process of which one
    promotion has failed goes on to the longest period. Otherwise the count starts anew.

    MODEL: one period for the process, where every thread has its own, which it sets at its own first fault.
    """
    if not mm.is_numa_pass_over:
        return
    mm.is_numa_pass_over = False
    faults = mm.numa_local_faults + mm.numa_remote_faults
    shared_faults = faults - mm.numa_private_faults
    if mm.numa_local_faults + shared_faults == 0.0 or mm.numa_failures > 0:
        mm.numa_period_ms = min(2.0 * mm.numa_period_ms, process.numa_period_max_ms)
        mm.numa_scan_at_s = max(mm.numa_scan_at_s, time_s + 1e-3 * mm.numa_period_ms / process.count)
    else:
        private = math.floor(PERIOD_SLOTS * mm.numa_private_faults / faults)
        local = math.floor(PERIOD_SLOTS * mm.numa_local_faults / faults)
        if private >= SLOWER_FROM:
            slots = max(1, private - SLOWER_FROM)
        elif local >= SLOWER_FROM:
            slots = max(1, local - SLOWER_FROM)
        else:
            slots = max(private, local) - SLOWER_FROM
        period_ms = mm.numa_period_ms + slots * math.ceil(mm.numa_period_ms / PERIOD_SLOTS)
        mm.numa_period_ms = min(max(period_ms, process.numa_period_min_ms), process.numa_period_max_ms)
        mm.numa_local_faults = 0.0
        mm.numa_remote_faults = 0.0
        mm.numa_private_faults = 0.0
        mm.numa_failures = 0


@njit_inlined
def adapt_hot_threshold(machine, node, time_s):
    """Move a node's hot threshold towards as many candidates as the rate limit lets through, once a longest period.

    Every fault that finds no room to spare on the node asks for it, be its page hot or not.
    """
    state = machine.state
    every_s = state.numa_threshold_every_s
    if not machine.parameters.is_numa_threshold_adaptive or time_s - node.numa_threshold_at_s <= every_s:
        return
    found = node.numa_candidates - node.numa_threshold_candidates
    wanted = state.numa_rate_limit_pages * every_s
    step_s = state.numa_hot_threshold_s / THRESHOLD_STEPS
    if found > 1.1 * wanted:
        node.numa_threshold_s = max(step_s, node.numa_threshold_s - step_s)
    elif found < 0.9 * wanted:
        node.numa_threshold_s = min(2.0 * state.numa_hot_threshold_s, node.numa_threshold_s + step_s)
    node.numa_threshold_at_s = time_s
    node.numa_threshold_candidates = node.numa_candidates


@njit_inlined
def candidates_of_this_second(node, time_s):
    """Candidates for a node that the rate limit has counted in the present span of a second."""
    if time_s - node.numa_rate_at_s > RATE_SPAN_S:
        node.numa_rate_at_s = time_s
        node.numa_rate_candidates = node.numa_candidates
    return node.numa_candidates - node.numa_rate_candidates
