"""The engine: advances machines from event to event (docs/model.md).

Each server (scanner, migrator, one kswapd a node) owns a clock; the applications' progress is integrated between
events, with their shares of fast accesses halfway between those at the ends of a sub-step.
"""

import math

from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.lumped.memory import change_memory, release
from tierenv.sim.lumped.migrator import drain, flush_list
from tierenv.sim.lumped.numa import hint_faults, mark_window
from tierenv.sim.lumped.progress import progress, remaining_times, set_halfway_shares, update_rates
from tierenv.sim.lumped.reclaim import reclaim
from tierenv.sim.lumped.scanner import scan, schedule_scan, set_due
from tierenv.sim.lumped.state import Machine
from tierenv.sim.lumped.trace import MM_ENTER, MM_EXIT, trace_mm
from tierenv.sim.records import ACCESS_THRESHOLD, CONTROL_OFF, CONTROL_TUNABLES, PERIOD, SIZE, THROTTLE
from tierenv.sim.rules import (
    begin_clock,
    changes_by_s,
    count_free_pages,
    fit_numa_periods,
    follow_clock,
    free_pages,
    write_numa_knobs,
)
from tierenv.sim.threads import next_item
from tierenv.units import PAGE_BYTES

FAULT_QUANTUM_S = 20e-3
"""Longest stretch kswapd runs ahead of the hint faults, where they may find a node full."""
SHORTEST_FAULT_QUANTUM_S = 1e-3
FAULT_QUANTUM_GROWTH = 0.5
"""Hot pages fault within milliseconds after they were marked: a stretch lasts this share of the time since."""
BURST_SHARE = 0.05
"""Share of the longest sub-step that one amid a burst of hint faults lasts at least."""
FILLED_SHARE = 0.5
"""Share of a node's room that the faults of a stretch take, at the rate of those before."""
LEAST_FILLED_SHARE = 0.05
"""Share of a node's watermark that they take at least: what kswapd frees late in a stretch is there early in it."""


@njit_inlined
def machine_at(machines, index):
    """Views of one machine of a batch."""
    return Machine(
        machines.parameters[index],
        machines.state[index],
        machines.processes[index],
        machines.mms[index],
        machines.nodes[index],
        machines.links[index],
        machines.classes[index],
        machines.regions[index],
        machines.counts[index],
        machines.aged[index],
        machines.lumps[index],
        machines.clocks[index],
        machines.memo[index],
        machines.fast_by_class[index],
        machines.shares[index],
        machines.access_share[index],
        machines.phase_end[index],
        machines.timetable[index],
        machines.is_resident[index],
        machines.is_waste[index],
        machines.marks[index],
        machines.streaks[index],
        machines.ring[index],
        machines.counters[index],
        machines.model[index],
        machines.trace[index],
    )


@njit
def start(machine):
    """Begin an episode on a machine whose pages, tunables and phases have just been laid out."""
    machine.state.scan_start_s = math.inf
    machine.state.scan_end_s = math.inf
    for index in range(machine.parameters.num_processes):
        fit_numa_periods(machine, machine.processes[index])
    execute_due(machine)
    update_rates(machine)
    count_free_pages(machine)


@njit
def execute_due(machine):
    """Execute the processes whose time has come: registered with the scanner (V1 P2), with the tunables as written."""
    parameters = machine.parameters
    state = machine.state
    for index in range(parameters.num_processes):
        process = machine.processes[index]
        if process.is_running or process.is_done or process.start_s > state.now_s:
            continue
        mm = machine.mms[index]
        process.is_running = True
        begin_clock(machine, index)
        mm.period_ms = state.seed_period_ms
        mm.numa_scan_at_s = process.start_s + state.numa_delay_s
        mm.numa_period_ms = state.numa_start_period_ms
        set_due(machine, index)
        trace_mm(machine, process.start_s, MM_ENTER, index)
        if state.now_s < state.scan_start_s and parameters.control != CONTROL_OFF:
            schedule_scan(machine, state.now_s, False)


@njit
def apply(machine, tunables):
    """Put tunables in force: throttle and access threshold at once, period and size from the next chunk not begun.

    On a daemon whose tunables only seed new processes (V1 P10) the period, clamped, is that of those that start later;
    size and throttle cannot be written there.
    """
    state = machine.state
    parameters = machine.parameters
    if parameters.is_numa_tunable:
        write_numa_knobs(machine, tunables)
    if parameters.control != CONTROL_TUNABLES:
        return
    if not parameters.is_tunable_at_run_time:
        state.seed_period_ms = min(max(tunables[PERIOD], parameters.period_min_ms), parameters.period_max_ms)
        return
    state.throttle_pages_per_s = tunables[THROTTLE] / PAGE_BYTES
    if parameters.most_streak > 0:
        state.access_threshold = tunables[ACCESS_THRESHOLD]
    if state.throttle_pages_per_s == 0.0:
        flush_list(machine)
    is_scanning = state.now_s >= state.scan_start_s
    is_changed = False
    state.seed_period_ms = tunables[PERIOD]
    state.seed_size_bytes = tunables[SIZE]
    for index in range(parameters.num_processes):
        mm = machine.mms[index]
        if mm.period_ms != tunables[PERIOD] or mm.size_bytes != tunables[SIZE]:
            mm.period_ms = tunables[PERIOD]
            mm.size_bytes = tunables[SIZE]
            is_changed = True
            set_due(machine, index)
    if is_changed and not is_scanning:
        schedule_scan(machine, state.now_s, False)


@njit_inlined
def run_servers(machine, until_s):
    """Run migrator and kswapds to `until_s`. While a kswapd is awake they overtake each other by half a quantum.

    So the migrator meets room that kswapd will have made a little later as often as it misses some that it has made.
    """
    state = machine.state
    lead_s = 0.5 * machine.parameters.server_quantum_s
    while True:
        limit_s = until_s
        has_run = False
        for index in range(machine.parameters.num_nodes):
            node = machine.nodes[index]
            if node.is_kswapd_awake:
                ahead_s = min(until_s, state.migrator_clock_s + lead_s)
                if node.kswapd_clock_s < ahead_s:
                    reclaim(machine, index, ahead_s)
                    has_run = True
                else:
                    limit_s = min(limit_s, node.kswapd_clock_s + lead_s)
        if has_run:
            continue
        if state.migrator_clock_s >= limit_s:
            return
        drain(machine, limit_s)


@njit_inlined
def is_any_kswapd_awake(machine):
    """Whether a node is being reclaimed."""
    is_awake = False
    for node in range(machine.parameters.num_nodes):
        is_awake |= machine.nodes[node].is_kswapd_awake
    return is_awake


@njit
def run_servers_and_faults(machine, until_s):
    """Run migrator, kswapds and hint faults to `until_s`, in short steps where the faults may find a node full."""
    state = machine.state
    end_s = state.now_s
    while end_s < until_s:
        quantum_s = until_s - end_s
        if is_any_kswapd_awake(machine) or is_any_short_of_room(machine):
            quantum_s = min(FAULT_QUANTUM_S, stretch_of_faults(machine, end_s))
            quantum_s = max(SHORTEST_FAULT_QUANTUM_S, quantum_s)
        attempts, begin_s = state.numa_attempts, end_s
        end_s = min(until_s, end_s + quantum_s)
        run_servers(machine, end_s)
        hint_faults(machine, end_s)
        state.numa_attempts_per_s = (state.numa_attempts - attempts) / (end_s - begin_s)


@njit_inlined
def stretch_of_faults(machine, time_s):
    """How long hint faults that promote as fast as the last ones may go on before it matters that a node fills up."""
    since_s = FAULT_QUANTUM_GROWTH * (time_s - machine.state.numa_marked_at_s)
    filled = math.inf
    for index in range(machine.parameters.num_nodes):
        node = machine.nodes[index]
        room = max(0, free_pages(machine, index) - node.watermark_pages)
        filled = min(filled, max(1.0, FILLED_SHARE * room + LEAST_FILLED_SHARE * node.watermark_pages))
    rate = machine.state.numa_attempts_per_s
    return min(since_s, filled / rate) if rate > 0.0 else since_s


@njit_inlined
def is_any_short_of_room(machine):
    """Whether a node could not take all pages that are marked for a hint fault."""
    is_short = False
    for node in range(machine.parameters.num_nodes):
        room = free_pages(machine, node) - machine.nodes[node].watermark_pages
        is_short |= room < machine.state.numa_marked_pages
    return is_short


@njit_inlined
def end_of_substep(machine, until_s):
    """When the next thing happens that the sub-step must not run past."""
    parameters = machine.parameters
    state = machine.state
    end_s = until_s
    if parameters.control != CONTROL_OFF:
        end_s = min(end_s, max(state.now_s, state.scan_end_s))
    if state.list_head != state.list_tail or is_any_kswapd_awake(machine) or state.numa_marked_pages > 0:
        end_s = min(end_s, state.now_s + parameters.max_substep_s)
    for index in range(parameters.num_processes):
        process = machine.processes[index]
        if process.is_running:
            end_s = min(end_s, changes_by_s(process))
            if parameters.numa_mode > 0:
                end_s = min(end_s, machine.mms[index].numa_scan_at_s)
        elif not process.is_done:
            end_s = min(end_s, process.start_s)
    if state.numa_marked_pages > 0 and (is_any_kswapd_awake(machine) or is_any_short_of_room(machine)):
        # what promotions cost puts off the faults to come
        shortest_s = BURST_SHARE * parameters.max_substep_s
        end_s = min(end_s, state.now_s + max(shortest_s, stretch_of_faults(machine, state.now_s)))
    # a phase ends by work; what the estimate misses is split exactly in `work`
    for index in range(parameters.num_processes):
        process = machine.processes[index]
        if process.is_running:
            phase_s = (machine.phase_end[process.phase, index] - process.accesses) / process.access_rate
            if phase_s < end_s - state.now_s:
                end_s = state.now_s + phase_s * (1.0 + 1e-9) + 1e-9
    return end_s


@njit
def advance(machine, duration_s):
    """Advance one machine by `duration_s`, or until its work is done."""
    parameters = machine.parameters
    state = machine.state
    until_s = state.now_s + duration_s
    while not state.is_done and state.now_s < until_s:
        end_s = end_of_substep(machine, until_s)
        for node in range(parameters.num_nodes):
            machine.nodes[node].moved_pages = 0
        if parameters.numa_mode > 0:
            run_servers_and_faults(machine, end_s)
        else:
            run_servers(machine, end_s)
        set_halfway_shares(machine)
        span_s = end_s - state.now_s
        is_any_finished = False
        if span_s > 0.0:
            passed_s, is_any_finished = progress(machine, span_s)
            state.now_s += passed_s
        if not state.is_done:
            state.now_s = end_s
        if is_any_finished:
            finish(machine)
        if not state.is_done:
            act_at_events(machine)
            update_rates(machine)
    count_free_pages(machine)


@njit
def finish(machine):
    """Note which processes have finished in a sub-step, and let them exit unless they were the last."""
    state = machine.state
    for index in range(machine.parameters.num_processes):
        process = machine.processes[index]
        if process.is_done and not machine.mms[index].has_exited:
            machine.mms[index].has_exited = True
            if process.start_s <= process.finished_s:
                trace_mm(machine, process.finished_s, MM_EXIT, index)
            if not state.is_done:
                release(machine, index)


@njit_inlined
def act_at_events(machine):
    """Do what is due at the present time: end a chunk, a phase and what it held, start processes, mark a window."""
    parameters = machine.parameters
    state = machine.state
    if parameters.control != CONTROL_OFF:
        if state.now_s >= state.scan_end_s:
            scan(machine)
        elif not parameters.has_migration_thread and state.scan_end_s == math.inf and state.list_entries == 0:
            schedule_scan(machine, state.drained_s, True)
    for index in range(parameters.num_processes):
        process = machine.processes[index]
        if process.is_running:
            follow_clock(machine, index)
            if process.has_absent and process.phase != process.resident_phase:
                change_memory(machine, index)
    if parameters.num_processes > 1:
        execute_due(machine)
    if parameters.numa_mode > 0:
        for index in range(parameters.num_processes):
            if machine.processes[index].is_running and state.now_s >= machine.mms[index].numa_scan_at_s:
                mark_window(machine, index)


@njit
def advance_some(machines, duration_s, taken, own_block):
    """`advance` one machine after another until none is left that no thread has taken: see `tierenv.sim.threads`."""
    num_machines = machines.state.shape[0]
    index = next_item(taken, own_block, num_machines)
    while index >= 0:
        advance(machine_at(machines, index), duration_s)
        index = next_item(taken, own_block, num_machines)


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
    """`remaining_times` of each machine."""
    for index in range(machines.state.shape[0]):
        remaining_times(machine_at(machines, index), out[index])
