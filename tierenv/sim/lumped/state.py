"""State of one simulated machine: what the compiled model reads and writes.

Pages that share region, class and history are exchangeable, so the model keeps counts of pages, not pages. A region is
a stretch of one process's address space, a class one of that process's classes of heat, a *lump* a (region, class)
pair; lumps are numbered process by process and region-major. A lump's row of `counts` holds

* slow pages that are not on the migration list, by (previous, current),
* slow pages that are on it, by (previous, current),
* for each node of the fast tier its pages there, by (scanned, referenced),

where a pair of bits (a, b) is the cell `2 a + b`. On the slow tier *previous* and *current* mean, for the second-access
rule, "accessed in the window before the last visit" and "touched since the last visit"; for the first-access rule,
"touched since start or demotion" (PG_young, sticky) and "not yet marked idle" (PG_idle clear). `streaks` tells of the
*previous* ones in how many windows in a row they were, where a daemon asks for more than two. On the fast tier
*scanned* is "touched since the scanner's last visit" and *referenced* "touched since reclaim's last visit".

What is known of a lump is as of its hazard clocks: a page not yet known as touched has since been touched with
probability 1 - exp(-(hazard now - hazard then)), `hazard` being the class's integral of accesses per page. Accesses are
memoryless, so resolving that draw at any time, before populations of different clocks are merged, is exact. Where a
class is swept, its lumps are touched one after the other, each once in each unit of hazard; where whole pages are
streamed that is as many accesses per page as a page has lines. A class that is not resident has no pages in any cell.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tierenv.sim.records import KNOB_FIELDS, MM_FIELDS

SLOW, QUEUED, FAST = 0, 4, 12
"""First cell of each place in a row of `counts`; the pages on node k of the fast tier begin at FAST + 4 k."""
RETRY = 8
"""Listed pages whose promotion failed while later entries of theirs are pending (part of the queued cells)."""
RECORDS = 9
"""Records of the migration list that name this lump."""
MOVED = 10
"""Pages that NUMA balancing promoted while they were listed, and whose entries (among the new ones) are now stale."""
CLASS = 11
"""The lump's class: a constant that lies where the row is read anyway."""

AS_TOUCHED = (1, 2)
"""Cell of slow pages as a process starts: PG_idle clear (first access), accessed in the last window (second access)."""

SLOW_CLOCK, FAST_CLOCK, MARK_CLOCK = 0, 1, 2
SWEEP_PHASE = 2
"""Column of `Machine.clocks`."""

NEW, DUPLICATE, LISTED, LUMP = 0, 1, 2, 3
"""Columns of a list record: entries of newly listed pages, entries of pages already listed, listed pages when the
record was made (0 once its live retries are drawn), and the lump, or -1 - p for duplicates of several lumps of process
p, all without effect."""
SECOND_ACCESS_VISITS = 256
FIRST_ACCESS_VISITS = 1024
"""Pending records of each lump that the ring of one machine has room for; entries beyond it count as failed
allocations. A first-access daemon lists every page ever touched at every visit."""

FRESH, STALE, FRESH_AT_S, STALE_AT_S, MARK_HAZARD, UNVISITED, FAULTED, MARKED_FAST = range(8)
"""Columns of `Machine.marks`: marked slow pages in two groups, when each group was last marked, the hazard at which the
marks were last resolved, and unmarked slow pages the present pass has yet to visit.

Mode 2 asks how long ago a page was marked: FRESH pages were marked by the last visit, STALE ones by an earlier one.
Mode 1 asks whether a page had a hint fault before: FRESH pages had none, STALE ones had, and so had FAULTED pages,
which are not marked; MARKED_FAST pages are marked pages of the fast tier."""
MARK_COLUMNS = 8

MM = np.dtype(
    [
        ("first_region", "i8"),
        ("end_region", "i8"),
        ("has_exited", "b1"),
        ("credit_pages", "i8"),  # walked pages of the region under the cursor
        ("numa_region", "i8"),
        ("numa_walked_pages", "i8"),  # of that region, in this pass
        *MM_FIELDS,
    ],
    align=True,
)
"""One process as the kernel knows it; its cursor is a region."""

CLASSES = np.dtype(
    [
        ("pages", "i8"),
        ("process", "i8"),
        ("is_swept", "b1"),
        ("accesses_per_hazard", "f8"),  # in which each page is visited once on average
        ("is_resident", "b1"),
        ("hazard", "f8"),  # visits per page so far
        ("hazard_rate", "f8"),  # its growth at now_s [1/s]
    ],
    align=True,
)
"""One class of pages."""

REGION = np.dtype([("pages", "i8"), ("first_lump", "i8"), ("end_lump", "i8")], align=True)
"""One stretch of a process's address space; its pages are those that are resident."""

LUMPS = np.dtype([("pages", "i8"), ("was_visited", "b1")], align=True)
"""One lump: the pages it has while its class is resident, and whether the scanner has looked at these before."""

STATE = np.dtype(
    [
        ("random_counter", "u8"),
        ("streak_counter", "u8"),  # of the draws for streaks: see `tierenv.sim.lumped.streaks`
        ("is_done", "b1"),
        ("now_s", "f8"),
        # scanner
        ("seed_period_ms", "f8"),  # of processes that start later, as the next
        ("seed_size_bytes", "f8"),
        *KNOB_FIELDS,
        ("mm_cursor", "i8"),  # the process scanned last
        ("scan_process", "i8"),  # the one whose chunk is next
        ("scan_start_s", "f8"),
        ("scan_end_s", "f8"),
        ("chunk_pages", "i8"),
        ("round_visits", "i8"),
        # migrator
        ("throttle_pages_per_s", "f8"),
        ("access_threshold", "f8"),  # visits in a row that must have found a page accessed
        ("window_end_s", "f8"),  # of the throttle's budget
        ("window_promotions", "i8"),
        ("migrator_clock_s", "f8"),
        ("drained_s", "f8"),  # when the list last ran empty, without a migration thread
        ("list_head", "i8"),
        ("list_tail", "i8"),
        ("list_entries", "i8"),
        ("list_new", "i8"),  # those that name a page no earlier entry names
        ("retry_pages", "i8"),
        # NUMA balancing
        ("numa_clock_s", "f8"),  # hint faults are known up to here
        ("numa_marked_pages", "i8"),
        ("numa_marked_at_s", "f8"),  # when the last window of any process was marked
        ("numa_attempts", "i8"),  # promotions at hint faults, those for which there was no room included
        ("numa_attempts_per_s", "f8"),  # lately
        # trace
        ("trace_events", "i8"),
    ],
    align=True,
)


class Machine(NamedTuple):
    """Views of one machine's state (or, with a leading axis, of all machines').

    L lumps, R regions, M processes, K nodes of the fast tier, C classes and F phases (of all processes together, and
    the most of any); rows beyond a machine's own numbers are unused.
    """

    parameters: NDArray[np.void]
    """PARAMETERS, constant between resets."""
    state: NDArray[np.void]
    """STATE."""
    processes: NDArray[np.void]
    """PROCESS[M]."""
    mms: NDArray[np.void]
    """MM[M]."""
    nodes: NDArray[np.void]
    """NODE[K]."""
    links: NDArray[np.void]
    """LINK[K + 1]."""
    classes: NDArray[np.void]
    """CLASSES[C]."""
    regions: NDArray[np.void]
    """REGION[R]."""
    counts: NDArray[np.int32]
    """int32[L + K, FAST + 4 K]: pages by cell; the last rows are those of the hands."""
    aged: NDArray[np.int32]
    """int32[L, K]: pages of a lump that kswapd has aged and not looked at since."""
    lumps: NDArray[np.void]
    """LUMPS[L]."""
    clocks: NDArray[np.float64]
    """float64[L, 3]: hazard of the class at which the slow and the fast cells were last resolved, and at which a sweep
    comes to the lump."""
    memo: NDArray[np.float64]
    """float64[C, 3, 2]: per class and clock the last elapsed hazard and its probability of a touch."""
    fast_by_class: NDArray[np.int64]
    """int64[C, K]."""
    shares: NDArray[np.float64]
    """float64[2, M, K + 1]: share of a process's accesses on each node, now and halfway through the sub-step."""
    access_share: NDArray[np.float64]
    """float64[F, C]: share of its process's accesses on each class, in the episode's phase order."""
    phase_end: NDArray[np.float64]
    """float64[F, M]: accesses at which each phase ends; all of the process where it ends by time."""
    timetable: NDArray[np.float64]
    """float64[max(F, load steps), M, 3]: what each process does by the clock: PHASE_S, LOAD_S, LOAD_SHARE."""
    is_resident: NDArray[np.bool_]
    """bool[F, C]: classes that hold memory in each phase."""
    is_waste: NDArray[np.bool_]
    """bool[F, C]: classes none of whose pages belong to the hottest of their process that fit the fast tier."""
    marks: NDArray[np.float64]
    """float64[L, MARK_COLUMNS]: what NUMA balancing knows of each lump; empty where it is off."""
    streaks: NDArray[np.int32]
    """int32[L, 2, longest]: of the slow pages that are not on the migration list, and of those that are, the *previous*
    ones by windows in a row, 1 and up, the last entry with all that had more; pages that have left since the last visit
    are still among them. Empty where no daemon asks."""
    ring: NDArray[np.int32]
    """int32[records, 4]: the migration list; record k stands in row k modulo the power of two `records`."""
    counters: NDArray[np.int64]
    """int64[NUM_COUNTERS], tierenv.counters."""
    model: NDArray[np.int64]
    """int64[len(MODEL_COUNTERS)]."""
    trace: NDArray[np.void]
    """tierenv.sim.lumped.trace.EVENT[events]; empty where tracing is off."""


NOW, HALFWAY = 0, 1
"""Rows of `shares`."""
