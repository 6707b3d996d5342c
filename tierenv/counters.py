"""The table of counters a kernel exports, by kernel name: what an observation may be made of.

Sources: kmmscand.md sections 3 and 7.1. `System.counters` is an `int64[n, NUM_COUNTERS]` array whose columns follow
`COUNTERS`; `Counter.index` finds a column. Gauges hold the present value, all others only grow.
"""

from dataclasses import dataclass

_SERIES = ("kmmscand-v0", "kmmscand-v1", "kscand-v3", "kmmscand-tunable")
_FIRST_MEANING = tuple(variant for variant in _SERIES if variant != "kscand-v3")
"""V3 gives two of the names another meaning: what learned from the first cannot observe it."""


@dataclass(frozen=True)
class Counter:
    """One row of the table."""

    name: str
    """Name in /proc/vmstat (V2 and later spell it nr_kscand_), or of the file it is read from."""
    unit: str
    meaning: str
    variants: tuple[str, ...] = _SERIES
    """Daemon variants whose kernel exports it."""
    is_gauge: bool = False


COUNTERS = (
    Counter("nr_kmmscand_mm_scans", "chunks", "chunks finished"),
    Counter("nr_kmmscand_vma_scans", "VMAs", "VMAs walked"),
    Counter("nr_kmmscand_migadded", "entries", "entries queued, duplicates included"),
    Counter("nr_kmmscand_migrated", "pages", "promotions that succeeded"),
    Counter("nr_kmmscand_migrate_failed", "entries", "entries that ended in any other way"),
    Counter("nr_kmmscand_slowtier", "pages", "slow-tier pages listed; V3: all visited", _FIRST_MEANING),
    Counter("nr_kmmscand_toptier", "pages", "top-tier pages visited, accessed or not"),
    Counter("nr_kmmscand_idlepage", "pages", "pages found idle; V3: slow-tier pages not listed", _FIRST_MEANING),
    Counter("pgdemote_kswapd", "pages", "pages demoted by kswapd"),
    Counter(
        "node0/nr_free_pages",
        "pages",
        "free pages of the fast tier (node1 included if part of it)",
        is_gauge=True,
    ),
    Counter("kmmmigrated/schedstat", "ns", "CPU time of the migration thread"),
    Counter("kmmscand/schedstat", "ns", "CPU time of the scanning thread"),
    Counter("numa_pte_updates", "pages", "pages marked for a NUMA hint fault"),
    Counter("numa_hint_faults", "pages", "NUMA hint faults"),
    Counter("numa_hint_faults_local", "pages", "NUMA hint faults on pages of the threads' own node"),
    Counter("pgpromote_success", "pages", "pages promoted at a hint fault"),
    Counter("pgpromote_candidate", "pages", "hot slow-tier pages at a hint fault, the free-space fast path left out"),
    Counter("nr_kscand_hotpage", "pages", "listed pages touched again before their migration", ("kscand-v3",)),
    Counter("nr_kscand_coldpage", "pages", "slow-tier pages not accessed at the visit before", ("kscand-v3",)),
)

NUM_COUNTERS = len(COUNTERS)
COUNTER_INDEX = {counter.name: index for index, counter in enumerate(COUNTERS)}

(
    MM_SCANS,
    VMA_SCANS,
    MIGADDED,
    MIGRATED,
    MIGRATE_FAILED,
    SLOWTIER,
    TOPTIER,
    IDLEPAGE,
    DEMOTED,
    FREE_PAGES,
    MIGRATOR_NS,
    SCANNER_NS,
    NUMA_PTE_UPDATES,
    NUMA_HINT_FAULTS,
    NUMA_HINT_FAULTS_LOCAL,
    PGPROMOTE_SUCCESS,
    PGPROMOTE_CANDIDATE,
    HOTPAGE,
    COLDPAGE,
) = range(NUM_COUNTERS)
"""Column numbers, for the compiled model."""
