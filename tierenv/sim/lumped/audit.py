"""What must hold of a machine of the lumped model at any time; see `tierenv.sim.lumped.state` for the cells."""

import numpy as np
from numpy.typing import NDArray

from tierenv.sim.audit import audit_counters, audit_nodes, audit_processes, require
from tierenv.sim.lumped.state import (
    CLASS,
    DUPLICATE,
    FAST,
    FAULTED,
    FRESH,
    LUMP,
    MARKED_FAST,
    MOVED,
    NEW,
    QUEUED,
    RECORDS,
    RETRY,
    SLOW,
    STALE,
    UNVISITED,
    Machine,
)

Ints = NDArray[np.int64]


def audit(machine: Machine) -> None:
    """Raise `tierenv.sim.audit.InvariantError` if a machine is in a state that it cannot have come to."""
    machine = _own_rows(machine)
    slow, fast = _pages_by_lump(machine)
    _audit_memory(machine, slow + fast.sum(axis=1))
    by_class = np.zeros(machine.fast_by_class.shape, dtype=np.int64)
    np.add.at(by_class, machine.counts[: len(fast), CLASS], fast)
    require((machine.aged >= 0) & (machine.aged <= fast), "an aged page of a lump is there", machine.aged)
    audit_nodes(machine, by_class, machine.aged.sum(axis=0, dtype=np.int64))
    audit_processes(machine, machine.classes["hazard"], machine.classes["accesses_per_hazard"])
    _audit_list(machine)
    if machine.parameters["numa_mode"] > 0:
        _audit_marks(machine, slow, fast.sum(axis=1))
    if machine.parameters["most_streak"] > 0:
        _audit_streaks(machine)
    state = machine.state
    audit_counters(machine, int(state["list_entries"]), int(state["numa_marked_pages"]))


def _own_rows(machine: Machine) -> Machine:
    """The machine without the rows that only others of its batch use."""
    parameters = machine.parameters
    classes, nodes = int(parameters["num_classes"]), int(parameters["num_nodes"])
    processes, regions = int(parameters["num_processes"]), int(parameters["num_regions"])
    lumps = int(machine.regions["end_lump"][regions - 1])
    return machine._replace(
        processes=machine.processes[:processes],
        mms=machine.mms[:processes],
        nodes=machine.nodes[:nodes],
        classes=machine.classes[:classes],
        regions=machine.regions[:regions],
        counts=machine.counts[: lumps + nodes, : FAST + 4 * nodes],
        aged=machine.aged[:lumps, :nodes],
        lumps=machine.lumps[:lumps],
        clocks=machine.clocks[:lumps],
        fast_by_class=machine.fast_by_class[:classes, :nodes],
        timetable=machine.timetable[:, :processes],
        marks=machine.marks[:lumps],
        streaks=machine.streaks[:lumps],
    )


def _pages_by_lump(machine: Machine) -> tuple[Ints, Ints]:
    """int64[L] and int64[L, K]: slow and fast pages of each lump, those under the hands included."""
    lumps, nodes = len(machine.clocks), len(machine.nodes)
    require(machine.counts >= 0, "no cell holds less than nothing")
    counts = machine.counts.astype(np.int64)
    fast = counts[:lumps, FAST:].reshape(lumps, nodes, 4).sum(axis=2)
    for index, node in enumerate(machine.nodes):
        hand = counts[node["hand_row"]]
        own = hand[FAST + 4 * index : FAST + 4 * index + 4].sum()
        require(hand.sum() == own, "a hand holds pages of its own node only", hand)
        fast[node["hand_lump"], index] += own
    return counts[:lumps, SLOW : QUEUED + 4].sum(axis=1), fast


def _audit_memory(machine: Machine, pages: Ints) -> None:
    """A process has the pages of the classes that its phase has until it exits before others: then it has none."""
    page_class = machine.counts[: len(pages), CLASS]
    owner = machine.classes["process"]
    has_pages = np.bincount(owner[page_class], pages, len(machine.processes)) > 0
    is_done = machine.processes["is_done"]
    # what the phase that a process has ended with does not have anybody looks at any more
    phase = machine.processes["resident_phase" if machine.state["is_done"] else "phase"]
    if machine.state["is_done"]:
        require(has_pages[machine.processes["finished_s"].argmax()], "the last process to finish keeps its pages")
    else:
        require(has_pages == ~is_done, "a process has pages until it is done", has_pages)
    is_resident = has_pages[owner] & machine.is_resident[phase[owner], np.arange(len(owner))]
    is_counted = machine.classes["is_resident"]
    require(is_resident == is_counted, "classes hold memory as the phase of their process has it", is_counted)
    expected = np.where(is_resident[page_class], machine.lumps["pages"], 0)
    require(pages == expected, "no page of a lump is lost or doubled", pages, expected)
    found = np.bincount(page_class, pages, len(owner))
    expected = np.where(is_resident, machine.classes["pages"], 0)
    require(found == expected, "no page of a class is lost or doubled", found, expected)
    found = np.add.reduceat(pages, machine.regions["first_lump"])
    require(found == machine.regions["pages"], "the pages of a region are counted", found, machine.regions["pages"])
    found = np.bincount(owner[page_class], pages, len(machine.processes))
    require(found == machine.processes["pages"], "the pages of a process are counted", found)


def _audit_list(machine: Machine) -> None:
    """Every entry on the list is accounted for, and every listed page has one or waits for a retry."""
    state, lumps = machine.state, len(machine.clocks)
    counts = machine.counts[:lumps].astype(np.int64)
    records = np.arange(int(state["list_head"]), int(state["list_tail"])) % len(machine.ring)
    ring = machine.ring[records].astype(np.int64)
    require(ring[:, [NEW, DUPLICATE]] >= 0, "no record has less than no entries")
    require(ring[:, [NEW, DUPLICATE]].sum() == state["list_entries"], "the entries are counted", state["list_entries"])
    require(ring[:, NEW].sum() == state["list_new"], "the entries of newly listed pages are counted", state["list_new"])
    require(ring[:, LUMP] >= -len(machine.processes), "a record names a lump or a process")
    named = ring[ring[:, LUMP] >= 0]
    new = np.bincount(named[:, LUMP], named[:, NEW], lumps)
    require(new.sum() == ring[:, NEW].sum(), "only duplicates may be without a lump")
    waiting = counts[:, QUEUED : QUEUED + 4].sum(axis=1) - counts[:, RETRY] + counts[:, MOVED]
    require(new == waiting, "a listed page has an entry or waits for a retry", new, waiting)
    naming = np.bincount(named[:, LUMP], minlength=lumps)
    require(naming == counts[:, RECORDS], "the records of a lump are counted", naming)
    require(counts[:, RETRY].sum() == state["retry_pages"], "the pages that wait are counted", state["retry_pages"])


def _audit_streaks(machine: Machine) -> None:
    """Every page accessed in the window before the last visit has a streak, and so do some that have left since."""
    streaks, counts = machine.streaks, machine.counts[: len(machine.clocks)]
    require(streaks >= 0, "no streak is of less than no pages", streaks)
    require(streaks[:, :, int(machine.parameters["most_streak"]) :] == 0, "streaks end with the longest", streaks)
    for number, place in enumerate((SLOW, QUEUED)):
        previous, counted = counts[:, [place + 2, place + 3]].sum(axis=1), streaks[:, number].sum(axis=1)
        require(counted >= previous, "a page that was accessed in the last window has a streak", counted, previous)


def _audit_marks(machine: Machine, slow: Ints, fast: Ints) -> None:
    """NUMA balancing notes something of pages that are there."""
    marks = machine.marks
    require(marks >= 0, "no lump has less than no marks")
    require(marks[:, [FRESH, STALE, FAULTED]].sum(axis=1) <= slow, "a slow page is marked, has faulted or neither")
    require(marks[:, [FRESH, STALE, UNVISITED]].sum(axis=1) <= slow, "a slow page is marked, unvisited or neither")
    require(marks[:, MARKED_FAST] <= fast, "a marked page of the fast tier is there")
    marked = marks[:, [FRESH, STALE, MARKED_FAST]].sum()
    require(marked == machine.state["numa_marked_pages"], "the marks are counted", marked)
