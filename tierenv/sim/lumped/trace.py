"""The kernel's trace events (kmmscand.md section 4) as records, off unless a system is given room for them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.sim.jit import njit_inlined

EVENT = np.dtype(
    [
        ("time_s", "f8"),
        ("event", "i8"),
        ("mm", "i8"),
        ("address", "i8"),
        ("total", "i8"),
        ("scan_period", "i8"),
        ("scan_size", "i8"),
        ("target_node", "i8"),
        ("rc", "i8"),
        ("pages", "i8"),
    ],
    align=True,
)
"""One event; fields that an event does not have mean nothing."""

MM_ENTER, MM_EXIT, SCAN_START, SCAN_END, MIGRATE = range(5)
EVENTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("kmem_mm_enter", ("mm",)),
    ("kmem_mm_exit", ("mm",)),
    ("kmem_scan_mm_start", ("mm",)),
    ("kmem_scan_mm_end", ("mm", "address", "total", "scan_period", "scan_size", "target_node")),
    ("kmem_scan_mm_migrate", ("mm", "rc", "target_node", "pages")),
)
"""Name and fields of each event: mm is the process's number, address where the next chunk begins, total the useful
pages of the chunk, scan_period [ms] and scan_size [bytes] those before its update, pages the folios an event speaks
for."""

RC_SUCCESS, RC_MM_GONE, RC_FOLIO_INVALID, RC_PREPARE_FAILED, RC_THROTTLED = 0, 1, 3, 10, 11
"""Result codes of kmem_scan_mm_migrate (section 1, P5); the last is of kmmscand-tunable alone."""


@njit_inlined
def is_traced(machine):
    """Whether events are kept."""
    return machine.trace.shape[0] > 0


@njit_inlined
def next_event(machine, time_s, event, mm):
    """A record for an event, with its time, its kind and its process; once the room is used up, the last one again."""
    row = machine.trace[min(machine.state.trace_events, machine.trace.shape[0] - 1)]
    machine.state.trace_events += 1
    row.time_s = time_s
    row.event = event
    row.mm = mm
    return row


@njit_inlined
def trace_mm(machine, time_s, event, mm):
    """Note an event that has no other field than the process."""
    if is_traced(machine):
        next_event(machine, time_s, event, mm)


@njit_inlined
def trace_scan_end(machine, mm, address, total):
    """Note the end of a chunk, before what it changes of period and size."""
    row = next_event(machine, machine.state.now_s, SCAN_END, mm)
    row.address = address
    row.total = total
    row.scan_period = int(machine.mms[mm].period_ms)
    row.scan_size = int(machine.mms[mm].size_bytes)
    row.target_node = machine.mms[mm].target_node


@njit_inlined
def trace_migrate(machine, mm, rc, target_node, pages):
    """Note what became of list entries. MODEL: one event for the entries of a lump that end together, not one each."""
    if is_traced(machine) and pages > 0:
        row = next_event(machine, machine.state.migrator_clock_s, MIGRATE, mm)
        row.rc = rc
        row.target_node = target_node
        row.pages = pages


def read_events(trace: NDArray[np.void], count: int) -> list[dict[str, Any]]:
    """The first `count` events of one machine, in order of time, with the kernel's names."""
    events = []
    rows = trace[: min(count, len(trace))]
    for row in rows[np.argsort(rows["time_s"], kind="stable")]:
        name, fields = EVENTS[row["event"]]
        values = {field: int(row[field]) for field in fields}
        events.append({"time_s": float(row["time_s"]), "event": name} | values)
    return events
