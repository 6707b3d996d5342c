"""Memory that comes and goes: classes that a phase lacks, processes that exit and are executed anew."""

from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.lumped.lumps import clear, fast_pages, fast_place, slow_pages
from tierenv.sim.lumped.migrator import invalidate_entries
from tierenv.sim.lumped.numa import forget_marks
from tierenv.sim.lumped.scanner import refit_chunk, schedule_scan
from tierenv.sim.lumped.state import (
    AS_TOUCHED,
    CLASS,
    FAST_CLOCK,
    QUEUED,
    SLOW,
    SLOW_CLOCK,
    UNVISITED,
)
from tierenv.sim.lumped.streaks import begin_streaks, has_streaks
from tierenv.sim.records import CONTROL_OFF
from tierenv.sim.rules import begin_again, fit_numa_periods, forget_process, next_start_s


@njit
def release(machine, index):
    """Let a process exit whose work is done: its memory is free again, the daemon forgets it (V1 P2, P4).

    MODEL: it does not wait for the scanner to finish a chunk of its pages; that chunk is over, and cost nothing.
    """
    state = machine.state
    process = machine.processes[index]
    for page_class in range(process.first_class, process.end_class):
        machine.classes[page_class].is_resident = False
    free(machine, index)
    if process.is_repeating:
        begin_anew(machine, index)
        allocate(machine, index)
        fit_numa_periods(machine, process)
    if index == state.scan_process and machine.parameters.control != CONTROL_OFF:
        schedule_scan(machine, state.now_s, state.now_s >= state.scan_start_s)


@njit_inlined
def begin_anew(machine, index):
    """Make of a process whose work is done another that the kernel knows nothing of, and which has yet to start."""
    process = machine.processes[index]
    mm = machine.mms[index]
    begin_again(process)
    process.phase = 0
    process.is_done = False
    process.start_s = next_start_s(process, machine.state.now_s)
    process.finished_s = 0.0
    process.stall_s = 0.0
    process.pace = 1.0
    mm.has_exited = False
    mm.cursor = mm.first_region
    mm.credit_pages = 0
    mm.numa_region = mm.first_region
    mm.numa_walked_pages = 0
    forget_process(machine, mm)


@njit
def change_memory(machine, index):
    """Free what a process's new phase lacks, allocate what it has anew, and refit what goes by its resident memory."""
    process = machine.processes[index]
    is_any_freed = False
    for page_class in range(process.first_class, process.end_class):
        row = machine.classes[page_class]
        if row.is_resident and not machine.is_resident[process.phase, page_class]:
            row.is_resident = False
            is_any_freed = True
    if is_any_freed:
        free(machine, index)
    allocate(machine, index)
    fit_numa_periods(machine, process)
    refit_chunk(machine, index)


@njit
def free(machine, index):
    """Take the pages of a process's classes that are not resident from wherever they are; their entries are stale."""
    parameters = machine.parameters
    process = machine.processes[index]
    mm = machine.mms[index]
    invalidate_entries(machine, index)
    for region in range(mm.first_region, mm.end_region):
        row = machine.regions[region]
        before = row.pages
        for lump in range(row.first_lump, row.end_lump):
            if machine.classes[machine.counts[lump, CLASS]].is_resident:
                continue
            row.pages -= slow_pages(machine, lump) + fast_pages(machine, lump)
            clear(machine.counts, lump, SLOW)
            clear(machine.counts, lump, QUEUED)
            for node in range(parameters.num_nodes):
                clear(machine.counts, lump, fast_place(node))
                machine.nodes[node].aged_pages -= machine.aged[lump, node]
                machine.aged[lump, node] = 0
                if lump == machine.nodes[node].hand_lump:
                    clear(machine.counts, machine.nodes[node].hand_row, fast_place(node))
            if parameters.numa_mode > 0:
                forget_marks(machine, lump)
        process.pages -= before - row.pages
        keep_places(machine, mm, region, before)
    for page_class in range(process.first_class, process.end_class):
        if not machine.classes[page_class].is_resident:
            for node in range(parameters.num_nodes):
                machine.nodes[node].fast_pages -= machine.fast_by_class[page_class, node]
                machine.fast_by_class[page_class, node] = 0


@njit
def allocate(machine, index):
    """Put the pages of classes that a process's phase has, and that are not there yet, on the slow node, as touched.

    MODEL: there, as the memory of processes that start later, also where a node of the fast tier has room.
    """
    process = machine.processes[index]
    mm = machine.mms[index]
    for region in range(mm.first_region, mm.end_region):
        row = machine.regions[region]
        before = row.pages
        for lump in range(row.first_lump, row.end_lump):
            page_class = machine.counts[lump, CLASS]
            if machine.is_resident[process.phase, page_class] and not machine.classes[page_class].is_resident:
                row.pages += machine.lumps[lump].pages
                lay_out(machine, lump)
                if machine.parameters.numa_mode > 0 and region == mm.numa_region and before > 0:
                    ahead = before - mm.numa_walked_pages
                    machine.marks[lump, UNVISITED] = machine.lumps[lump].pages * ahead // before
        process.pages += row.pages - before
        keep_places(machine, mm, region, before)
    for page_class in range(process.first_class, process.end_class):
        machine.classes[page_class].is_resident = machine.is_resident[process.phase, page_class]
    process.resident_phase = process.phase


@njit_inlined
def lay_out(machine, lump):
    """Put the pages of a lump that has none on the slow node, as touched."""
    hazard = machine.classes[machine.counts[lump, CLASS]].hazard
    cell = SLOW + AS_TOUCHED[int(machine.parameters.is_second_access)]
    machine.counts[lump, cell] = machine.lumps[lump].pages
    if has_streaks(machine):
        begin_streaks(machine, lump, machine.lumps[lump].pages)
    machine.lumps[lump].was_visited = False
    machine.clocks[lump, SLOW_CLOCK] = hazard
    machine.clocks[lump, FAST_CLOCK] = hazard


@njit_inlined
def keep_places(machine, mm, region, before):
    """Leave scanner and NUMA balancing as far in a region that had `before` pages as they were, in shares of it."""
    pages = machine.regions[region].pages
    if pages != before:
        if region == mm.cursor:
            mm.credit_pages = mm.credit_pages * pages // max(1, before)
        if region == mm.numa_region:
            mm.numa_walked_pages = mm.numa_walked_pages * pages // max(1, before)
