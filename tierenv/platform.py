"""Platforms: what machines are, and what the kernel's actions cost on them; frozen records read from YAML."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tierenv.records import Bytes, BytesPerSecond, Fraction, NamedRecord, Record, Seconds
from tierenv.units import PAGE_BYTES

Cost = Annotated[Seconds, Field(ge=1e-9)]
"""Time that something takes, a nanosecond at least: of what takes none there would be no end."""


class MemoryTier(Record):
    """One memory tier as a socket's threads see it."""

    takes_marks = True

    idle_latency: Cost
    """Load-to-use latency of an unloaded tier."""
    queueing_latency: Seconds
    """Slope a of the loaded latency idle + a u / (1 - u), u the share of the time in which the tier is busy."""
    bandwidth: Annotated[BytesPerSecond, Field(gt=0)]
    """Reads it can serve."""
    store_bandwidth: Annotated[BytesPerSecond, Field(gt=0)] | None = None
    """Writes it can serve; it is busy with R reads and W writes for R / bandwidth + W / store_bandwidth. None: as many
    as reads."""
    store_latency: Cost | None = None
    """What a store holds its thread up where an unloaded tier takes it; None: as long as a load."""
    capacity: Annotated[Bytes, Field(ge=64 * PAGE_BYTES)]
    """Memory of one of its nodes."""

    @property
    def writes(self) -> float:
        """Writes it can serve [bytes/s]."""
        return self.bandwidth if self.store_bandwidth is None else self.store_bandwidth

    def access_latency(self, store_share: float) -> float:
        """Latency of an access where the tier is unloaded, loads and stores mixed [s]."""
        store_s = self.idle_latency if self.store_latency is None else self.store_latency
        return (1 - store_share) * self.idle_latency + store_share * store_s

    def loaded_latency(self, bytes_per_s: float) -> float:
        """Latency of a load beside so many reads [s]; infinite where the tier cannot serve them."""
        busy = bytes_per_s / self.bandwidth
        return self.idle_latency + self.queueing_latency * busy / (1 - busy) if busy < 1 else math.inf


class Platform(NamedRecord):
    """A machine: its tiers and what the kernel's actions cost on it. Sources stand in the YAML file."""

    takes_marks = True

    dram: MemoryTier
    """The fast tier: a socket's own DRAM."""
    cxl: MemoryTier
    """The slow tier: one node, with whatever stands for CXL memory."""
    sockets: Literal[1, 2] = 1
    """Nodes of DRAM."""
    remote_latency: Seconds = 25e-9
    """What an access to the other socket's DRAM takes longer than one to the own."""
    page_walk_per_doubling: Seconds
    """Page-walk time an access gains with each doubling of the active memory beyond 1 GiB."""
    scan_per_page: Seconds
    """Scanner time for one PTE."""
    accessed_bit: Seconds
    """Time a page walk takes longer when it has to set an Accessed bit that scanner or reclaim cleared."""
    migration_per_page_at_8gib: Cost
    """Migrator time for one promotion (isolate, unmap, copy, remap) at 8 GiB resident."""
    migration_footprint_exponent: Annotated[float, Field(ge=0, le=2)]
    """Growth of that time with the footprint: (resident / 8 GiB) ** exponent."""
    failed_migration: Cost
    """Migrator time for an entry whose destination has no room."""
    stale_entry: Cost
    """Migrator time for an entry whose page has already moved."""
    reclaim_visit: Cost
    """kswapd time to look at one page that may have to leave."""
    reclaim: Literal["generations", "active-inactive"] = "generations"
    """How its kernel tells old pages: the multi-generational LRU, or the two lists of before."""
    demotion_per_page: Cost
    """kswapd time to demote one page."""
    shootdown_receiver: Seconds
    """Time each application thread loses to one TLB shootdown."""
    demotion_batch_pages: Annotated[int, Field(ge=1, le=1 << 20)]
    """Pages demoted per shootdown."""
    promotion_watermark: Fraction
    """Free share of the fast node below which a promotion fails and wakes kswapd (the high watermark)."""
    kswapd_target: Fraction
    """Free share of the fast node at which kswapd goes back to sleep."""
    numa_fault: Seconds = 2e-6
    """Time a thread loses to a NUMA hint fault, migration left out."""
    numa_mark_per_page: Seconds = 0.5e-6
    """Time a thread takes to mark one page for a hint fault."""
    numa_start_period_factor: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    """What the scan period that threads of this kernel start with is of `scan_delay`, the one the rules give them."""
    numa_shared_move_share: Fraction = 0.01
    """Share of repeated hint faults by different threads at which mode 1 promotes the page."""

    @property
    def tier_facts(self) -> tuple[int, ...]:
        """What its firmware would tell of the tiers, in the order and the whole units of `TIER_FACTS`.

        HMAT holds latencies and bandwidths of nodes that nobody uses, as a node's own CPUs see them.
        """
        gap_ns = 1e9 * (self.cxl.idle_latency - self.dram.idle_latency)
        return tuple(max(1, round(fact)) for fact in (gap_ns, self.dram.bandwidth / 1e6, self.cxl.bandwidth / 1e6))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.promotion_watermark < self.kswapd_target < 1:
            raise ValueError(
                f"kswapd_target={self.kswapd_target}: must be above promotion_watermark={self.promotion_watermark} "
                "and below 1"
            )
        return self
