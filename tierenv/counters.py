"""The table of counters a kernel exports, by kernel name: what an observation may be made of.

Sources: kmmscand.md sections 3 and 7.1. `System.counters` is an `int64[n, NUM_COUNTERS]` array whose columns follow
`COUNTERS`. Gauges hold the present value, all others only grow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tierenv.daemon import Daemon

Exported = Callable[["Daemon"], bool]
"""Whether a kernel with a daemon exports a counter, and means what the row says."""


def _by_every_kernel(_daemon: "Daemon") -> bool:
    return True


def _by_scanner(daemon: "Daemon") -> bool:
    return daemon.mechanism == "accessed-bits"


def _by_migration_thread(daemon: "Daemon") -> bool:
    return daemon.mechanism == "accessed-bits" and daemon.has_migration_thread


def _of_listed_pages(daemon: "Daemon") -> bool:
    """Slow-tier pages listed, where other daemons count all they visit under the same name."""
    return daemon.mechanism == "accessed-bits" and not daemon.counts_all_slow_pages


def _of_all_slow_pages(daemon: "Daemon") -> bool:
    return daemon.mechanism == "accessed-bits" and daemon.counts_all_slow_pages


def _by_recheck(daemon: "Daemon") -> bool:
    return daemon.mechanism == "accessed-bits" and daemon.rechecks_hotness


@dataclass(frozen=True)
class Counter:
    """One row of the table."""

    name: str
    """Name in /proc/vmstat (V2 and later spell it nr_kscand_), or of the file it is read from."""
    unit: str
    meaning: str
    is_exported: Exported = _by_scanner
    is_gauge: bool = False
    symbol: str = ""
    """Name in C where the kernel's is none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbol", self.symbol or self.name)


COUNTERS = (
    Counter("nr_kmmscand_mm_scans", "chunks", "chunks finished"),
    Counter("nr_kmmscand_vma_scans", "VMAs", "VMAs walked"),
    Counter("nr_kmmscand_migadded", "entries", "entries queued, duplicates included"),
    Counter("nr_kmmscand_migrated", "pages", "promotions that succeeded"),
    Counter("nr_kmmscand_migrate_failed", "entries", "entries that ended in any other way"),
    Counter("nr_kmmscand_slowtier", "pages", "slow-tier pages listed; V3: all visited", _of_listed_pages),
    Counter("nr_kmmscand_toptier", "pages", "top-tier pages visited, accessed or not"),
    Counter("nr_kmmscand_idlepage", "pages", "pages found idle; V3: slow-tier pages not listed", _of_listed_pages),
    Counter("pgdemote_kswapd", "pages", "pages demoted by kswapd", _by_every_kernel),
    Counter(
        "node0/nr_free_pages",
        "pages",
        "free pages of the fast tier (node1 included if part of it)",
        _by_every_kernel,
        is_gauge=True,
        symbol="free_fast_pages",
    ),
    Counter(
        "kmmmigrated/schedstat", "ns", "CPU time of the migration thread", _by_migration_thread, symbol="migrator_ns"
    ),
    Counter("kmmscand/schedstat", "ns", "CPU time of the scanning thread", symbol="scanner_ns"),
    Counter("numa_pte_updates", "pages", "pages marked for a NUMA hint fault", _by_every_kernel),
    Counter("numa_hint_faults", "pages", "NUMA hint faults", _by_every_kernel),
    Counter("numa_hint_faults_local", "pages", "NUMA hint faults on pages of the threads' own node", _by_every_kernel),
    Counter("pgpromote_success", "pages", "pages promoted at a hint fault", _by_every_kernel),
    Counter(
        "pgpromote_candidate",
        "pages",
        "hot slow-tier pages at a hint fault, the free-space fast path left out",
        _by_every_kernel,
    ),
    Counter("nr_kscand_hotpage", "pages", "listed pages touched again before their migration", _by_recheck),
    Counter("nr_kscand_coldpage", "pages", "slow-tier pages not accessed at the visit before", _of_all_slow_pages),
)

NUM_COUNTERS = len(COUNTERS)
COUNTER_INDEX = {counter.name: index for index, counter in enumerate(COUNTERS)}

# column numbers, for the compiled models
MM_SCANS = COUNTER_INDEX["nr_kmmscand_mm_scans"]
VMA_SCANS = COUNTER_INDEX["nr_kmmscand_vma_scans"]
MIGADDED = COUNTER_INDEX["nr_kmmscand_migadded"]
MIGRATED = COUNTER_INDEX["nr_kmmscand_migrated"]
MIGRATE_FAILED = COUNTER_INDEX["nr_kmmscand_migrate_failed"]
SLOWTIER = COUNTER_INDEX["nr_kmmscand_slowtier"]
TOPTIER = COUNTER_INDEX["nr_kmmscand_toptier"]
IDLEPAGE = COUNTER_INDEX["nr_kmmscand_idlepage"]
DEMOTED = COUNTER_INDEX["pgdemote_kswapd"]
FREE_PAGES = COUNTER_INDEX["node0/nr_free_pages"]
MIGRATOR_NS = COUNTER_INDEX["kmmmigrated/schedstat"]
SCANNER_NS = COUNTER_INDEX["kmmscand/schedstat"]
NUMA_PTE_UPDATES = COUNTER_INDEX["numa_pte_updates"]
NUMA_HINT_FAULTS = COUNTER_INDEX["numa_hint_faults"]
NUMA_HINT_FAULTS_LOCAL = COUNTER_INDEX["numa_hint_faults_local"]
PGPROMOTE_SUCCESS = COUNTER_INDEX["pgpromote_success"]
PGPROMOTE_CANDIDATE = COUNTER_INDEX["pgpromote_candidate"]
HOTPAGE = COUNTER_INDEX["nr_kscand_hotpage"]
COLDPAGE = COUNTER_INDEX["nr_kscand_coldpage"]
