"""The engine: advances machines from event to event (design.md 3.4).

Each server (scanner, migrator, kswapd) owns a clock; the application's progress is integrated between events, with the
fast share halfway between its values at the ends of a sub-step. `advance_all` is parallel over machines and
`advance_serially` is its twin for one machine, because a process that forks after a parallel kernel ran is killed.
"""

import numba

from tierenv.counters import DEMOTED, FREE_PAGES, MIGRATED, PGPROMOTE_SUCCESS
from tierenv.sim.application import access_time, fast_share, remaining_time
from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.lumps import free_pages
from tierenv.sim.migrator import drain, flush_list
from tierenv.sim.numa_balancing import hint_faults, mark_window
from tierenv.sim.reclaim import reclaim
from tierenv.sim.scanner import scan, schedule_scan
from tierenv.sim.state import CONTROL_OFF, CONTROL_TUNABLES, Machine
from tierenv.units import PAGE_BYTES

MAX_STALL_SHARE = 0.9
"""Share of any sub-step the application can lose to stalls; what is left of them it loses later."""
FAULT_QUANTUM_S = 20e-3
"""Longest stretch kswapd runs ahead of the hint faults."""


@njit_inlined
def machine_at(machines, index):
    """Views of one machine of a batch."""
    return Machine(
        machines.parameters[index],
        machines.state[index],
        machines.counts[index],
        machines.clocks[index],
        machines.memo[index],
        machines.hazard[index],
        machines.class_pages[index],
        machines.fast_by_class[index],
        machines.region_pages[index],
        machines.access_share[index],
        machines.phase_end[index],
        machines.is_waste[index],
        machines.marks[index],
        machines.ring[index],
        machines.counters[index],
        machines.model[index],
    )


@njit
def start(machine):
    """Set the rates and the first scan of a machine whose pages, tunables and phases have just been laid out."""
    update_rate(machine)
    schedule_scan(machine)
    machine.counters[FREE_PAGES] = free_pages(machine)


@njit
def update_rate(machine):
    """The access rate at the present placement."""
    state = machine.state
    parameters = machine.parameters
    state.access_rate = parameters.threads / access_time(parameters, fast_share(machine, state.phase), 0.0)


@njit
def apply(machine, tunables):
    """Put tunables in force: the throttle at once, period and size from the next chunk that has not begun."""
    state = machine.state
    if machine.parameters.control != CONTROL_TUNABLES:
        return
    state.throttle_pages_per_s = tunables[2] / PAGE_BYTES
    if state.throttle_pages_per_s == 0.0:
        flush_list(machine)
    if state.period_ms != tunables[0] or state.size_bytes != tunables[1]:
        state.period_ms = tunables[0]
        state.size_bytes = tunables[1]
        if state.now_s < state.scan_start_s:
            schedule_scan(machine)


@njit_inlined
def pages_moved(machine):
    """Pages moved between the tiers so far."""
    counters = machine.counters
    return counters[MIGRATED] + counters[PGPROMOTE_SUCCESS] + counters[DEMOTED]


@njit
def run_servers(machine, until_s):
    """Run migrator and kswapd to `until_s`. While kswapd is awake it runs a quantum ahead, and the migrator follows.

    The migrator must not pass kswapd's clock: its promotions would fail for want of pages that kswapd will have freed
    by then.
    """
    state = machine.state
    quantum_s = machine.parameters.server_quantum_s
    while True:
        limit_s = until_s
        if state.is_kswapd_awake:
            if state.kswapd_clock_s < until_s and state.kswapd_clock_s <= state.migrator_clock_s:
                reclaim(machine, min(until_s, state.kswapd_clock_s + quantum_s))
                continue
            limit_s = min(until_s, state.kswapd_clock_s)
        if state.migrator_clock_s >= limit_s:
            return
        drain(machine, limit_s)


@njit
def run_servers_and_faults(machine, until_s):
    """Run migrator, kswapd and hint faults to `until_s`, a quantum at a time while kswapd makes room for them."""
    state = machine.state
    end_s = state.now_s
    while end_s < until_s:
        end_s = min(until_s, end_s + FAULT_QUANTUM_S) if state.is_kswapd_awake else until_s
        run_servers(machine, end_s)
        hint_faults(machine, end_s)


@njit
def progress(machine, duration_s, share, moved_pages):
    """Let the application work for `duration_s`. Returns how much of it passed before all work was done."""
    parameters = machine.parameters
    state = machine.state
    # A page whose move ends in a very short sub-step was copied in the ones before, too. MODEL: the copies of hint
    # faults, which many threads make at once, load the links no more than those of migrator and kswapd.
    pages_per_s = min(moved_pages / duration_s, 1.0 / parameters.migration_s + 1.0 / parameters.demotion_s)
    rate = parameters.threads / access_time(parameters, share, pages_per_s * PAGE_BYTES)
    stalled_s = min(state.stall_s, MAX_STALL_SHARE * duration_s)
    state.stall_s -= stalled_s
    rate *= 1.0 - stalled_s / duration_s
    left_s = duration_s
    while True:
        work = machine.phase_end[state.phase] - state.accesses
        done = min(work, rate * left_s)
        for page_class in range(parameters.num_classes):
            if machine.class_pages[page_class] > 0:
                share_of_class = machine.access_share[state.phase, page_class]
                machine.hazard[page_class] += share_of_class * done / machine.class_pages[page_class]
        if done < work:
            state.accesses += done
            return duration_s
        state.accesses = machine.phase_end[state.phase]
        left_s -= work / rate
        if state.phase + 1 == parameters.num_phases:
            state.is_done = True
            return duration_s - max(0.0, left_s)
        state.phase += 1


@njit
def advance(machine, duration_s):
    """Advance one machine by `duration_s`, or until its work is done."""
    parameters = machine.parameters
    state = machine.state
    has_numa_balancing = parameters.numa_mode > 0
    until_s = state.now_s + duration_s
    while not state.is_done and state.now_s < until_s:
        is_scanning = parameters.control != CONTROL_OFF
        end_s = until_s
        if is_scanning:
            end_s = min(end_s, state.scan_end_s)
        if state.list_head != state.list_tail or state.is_kswapd_awake:
            end_s = min(end_s, state.now_s + parameters.max_substep_s)
        if has_numa_balancing:
            end_s = min(end_s, state.numa_scan_at_s)
            if state.numa_marked_pages > 0:
                end_s = min(end_s, state.now_s + parameters.max_substep_s)
        # a phase ends by work; what the estimate misses is split exactly in `progress`
        phase_s = (machine.phase_end[state.phase] - state.accesses) / state.access_rate
        if phase_s < end_s - state.now_s:
            end_s = state.now_s + phase_s * (1.0 + 1e-9) + 1e-9

        moved = -pages_moved(machine)
        share = fast_share(machine, state.phase)
        if has_numa_balancing:
            run_servers_and_faults(machine, end_s)
        else:
            run_servers(machine, end_s)
        moved += pages_moved(machine)
        share = 0.5 * (share + fast_share(machine, state.phase))
        span_s = end_s - state.now_s
        if span_s > 0.0:
            state.now_s += progress(machine, span_s, share, moved)
        if not state.is_done:
            state.now_s = end_s
            if is_scanning and state.now_s >= state.scan_end_s:
                scan(machine)
            if has_numa_balancing and state.now_s >= state.numa_scan_at_s:
                mark_window(machine)
            update_rate(machine)
    machine.counters[FREE_PAGES] = free_pages(machine)


@njit
def advance_serially(machines, duration_s):
    """Advance every machine by `duration_s`, one after another."""
    for index in range(machines.state.shape[0]):
        advance(machine_at(machines, index), duration_s)


@njit(parallel=True)
def advance_all(machines, duration_s):
    """Advance every machine by `duration_s`, in parallel."""
    for index in numba.prange(machines.state.shape[0]):
        advance(machine_at(machines, index), duration_s)


@njit
def start_some(machines, mask):
    """`start` the machines under the mask."""
    for index in range(machines.state.shape[0]):
        if mask[index]:
            start(machine_at(machines, index))


@njit
def apply_all(machines, tunables):
    """`apply` a row of tunables to each machine."""
    for index in range(machines.state.shape[0]):
        apply(machine_at(machines, index), tunables[index])


@njit
def remaining_all(machines, out):
    """`remaining_time` of each machine."""
    for index in range(machines.state.shape[0]):
        out[index] = remaining_time(machine_at(machines, index))
