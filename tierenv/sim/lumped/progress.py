"""What the applications do in a sub-step: rates from where their pages lie, and the work they get done."""

from tierenv.sim.application import solve_rates
from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.lumped.state import HALFWAY, NOW
from tierenv.sim.rules import begin_again, is_awaited, load_links, stall


@njit_inlined
def update_rates(machine):
    """Shares, access rates without stalls and hazard rates with those of late, at the present placement."""
    parameters = machine.parameters
    set_shares(machine, machine.shares[NOW])
    for node in range(parameters.num_nodes + 1):
        machine.links[node].copied_per_s = 0.0
    for index in range(parameters.num_processes):
        machine.processes[index].working_threads = machine.processes[index].threads
    solve_rates(parameters, machine.processes, machine.links, machine.shares[NOW])
    for page_class in range(parameters.num_classes):
        row = machine.classes[page_class]
        process = machine.processes[row.process]
        row.hazard_rate = 0.0
        if process.is_running and row.pages > 0:
            row.hazard_rate = (
                machine.access_share[process.phase, page_class] * process.access_rate * process.pace / row.pages
            )


@njit_inlined
def set_shares(machine, shares):
    """Share of each process's accesses that lands on each node at the present placement: float64[M, K + 1]."""
    parameters = machine.parameters
    for index in range(parameters.num_processes):
        process = machine.processes[index]
        slow = 1.0
        for node in range(parameters.num_nodes):
            share = 0.0
            for page_class in range(process.first_class, process.end_class):
                pages = machine.classes[page_class].pages
                if pages > 0:
                    fast = machine.fast_by_class[page_class, node] / pages
                    share += machine.access_share[process.phase, page_class] * fast
            shares[index, node] = min(1.0, share)
            slow -= shares[index, node]
        shares[index, parameters.num_nodes] = max(0.0, slow)


@njit_inlined
def set_halfway_shares(machine):
    """Shares halfway between those at the start of a sub-step and those at the present placement, its end."""
    shares = machine.shares
    set_shares(machine, shares[HALFWAY])
    for index in range(machine.parameters.num_processes):
        for node in range(machine.parameters.num_nodes + 1):
            shares[HALFWAY, index, node] = 0.5 * (shares[NOW, index, node] + shares[HALFWAY, index, node])


@njit_inlined
def progress(machine, duration_s):
    """Let the applications work for `duration_s`, at the shares halfway through it.

    Returns how much of it passed before the last that the run waits for had done its work, and whether any finished.
    """
    parameters = machine.parameters
    state = machine.state
    load_links(machine, duration_s)
    for index in range(parameters.num_processes):
        process = machine.processes[index]
        stall(process, duration_s)
        process.unstalled_rate = process.access_rate
    solve_rates(parameters, machine.processes, machine.links, machine.shares[HALFWAY])
    weight = min(1.0, duration_s / parameters.max_substep_s)
    for index in range(parameters.num_processes):
        process = machine.processes[index]
        if process.is_running:
            is_stalled = process.working_threads < process.threads
            pace = min(1.0, process.access_rate / process.unstalled_rate) if is_stalled else 1.0
            process.pace += weight * (pace - process.pace)
    is_any_left = False
    is_any_finished = False
    passed_s = 0.0
    for index in range(parameters.num_processes):
        process = machine.processes[index]
        if process.is_running:
            work(machine, index, duration_s)
            if process.is_done:
                is_any_finished = True
                if is_awaited(process):
                    passed_s = max(passed_s, process.finished_s - state.now_s)
        is_any_left |= is_awaited(process) and not process.is_done
    state.is_done = not is_any_left
    if not state.is_done:
        return duration_s, is_any_finished
    for index in range(parameters.num_processes):
        process = machine.processes[index]
        if not is_awaited(process):
            process.is_done = True
            process.is_running = False
            process.finished_s = state.now_s + passed_s
    return passed_s, is_any_finished


@njit_inlined
def work(machine, index, duration_s):
    """Let one process work at its access rate through the ends of phases."""
    process = machine.processes[index]
    rate = process.access_rate
    left_s = duration_s
    while True:
        phase_work = machine.phase_end[process.phase, index] - process.accesses
        done = min(phase_work, rate * left_s)
        for page_class in range(process.first_class, process.end_class):
            row = machine.classes[page_class]
            if row.pages > 0:
                row.hazard += machine.access_share[process.phase, page_class] * done / row.pages
        if done < phase_work:
            process.accesses += done
            return
        process.accesses = machine.phase_end[process.phase, index]
        left_s -= phase_work / rate
        if process.phase + 1 == process.num_phases and process.is_endless:
            begin_again(process)
        elif process.phase + 1 == process.num_phases:
            process.is_done = True
            process.is_running = False
            process.finished_s = machine.state.now_s + duration_s - max(0.0, left_s)
            return
        else:
            process.phase += 1


@njit
def remaining_times(machine, out):
    """Time for the rest of the present phase if no page moved any more, and for later phases on the fast tier [s].

    Later phases are not charged with the present placement: what is hot now would pay for what turns cold later, and a
    page promoted in its phase would look like a loss. Each of the processes that work once counts beside what all do
    now; one that has not started is charged as if it began all-fast.

    Args:
        machine: of the lumped model.
        out: float64[M], 0 for a process that has ended or never does.
    """
    parameters = machine.parameters
    out[:] = 0.0
    for index in range(parameters.num_processes):
        process = machine.processes[index]
        if process.is_done or not is_awaited(process):
            continue
        phase_end = machine.phase_end[process.phase, index]
        work_later = process.total_accesses - phase_end
        time_s = work_later * process.all_fast_access_s / process.threads
        rate = process.access_rate if process.is_running else process.threads / process.all_fast_access_s
        waits_s = max(0.0, process.start_s - machine.state.now_s)
        out[index] = waits_s + time_s + (phase_end - process.accesses) / rate
