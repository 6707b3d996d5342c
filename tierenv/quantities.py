"""What can be measured of a run or computed of a scenario: one table for experiments and calibrations."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tierenv.counters import COUNTERS, MIGRATED, MM_SCANS, PGPROMOTE_SUCCESS, Counter
from tierenv.platform import MemoryTier
from tierenv.scenario import Scenario
from tierenv.sim.parameters import access_time_s
from tierenv.units import CACHE_LINE_BYTES, PAGE_BYTES


@dataclass(frozen=True)
class Outcome:
    """What of a run was counted: means over its seeds."""

    seconds: float
    """From its start to its end, or until it was cut off."""
    counted_s: float
    """Of these those that were counted."""
    accesses: float
    """Accesses in them of the processes that a run waits for."""
    traffic_bytes: float
    """What these read and write of memory: see `traffic_per_access`."""
    counters: NDArray[np.float64]
    """float64[NUM_COUNTERS]: growth in them, gauges at their end."""

    def per_s(self, count: float) -> float:
        """A count as a rate; NaN if the run was over before anything was counted."""
        return count / self.counted_s if self.counted_s > 0 else math.nan


class Asked(Protocol):
    """What of a row of an experiment a quantity may need; see `tierenv.experiments.Row`."""

    @property
    def fast_share(self) -> float | None:
        """Share of the accesses that lands on the fast tier."""

    @property
    def tier(self) -> str | None:
        """Which tier."""

    @property
    def traffic(self) -> float | None:
        """What flows [bytes/s]."""


def traffic_per_access(scenario: Scenario) -> float:
    """Memory traffic of an access of the processes that a run waits for, those in caches included [bytes].

    One that no cache serves reads its line and what is prefetched beside it; a store has its line written back.
    """
    awaited = [process for process in scenario.processes if process.lifetime == "once"]
    traffic = [
        (1 - work.cache_hit_share) * (work.traffic_per_access + work.store_share * CACHE_LINE_BYTES)
        for work in (process.workload for process in awaited)
    ]
    return float(np.average(traffic, weights=[process.total_accesses for process in awaited]))


@dataclass(frozen=True)
class Quantity:
    """One row of the table of what can be published: read from a run or, without one, computed from a scenario."""

    unit: str
    meaning: str
    of_run: Callable[[Outcome], float] | None = None
    of_scenario: Callable[[Scenario, Asked], float] | None = None
    takes: tuple[str, ...] = ()
    """Fields of the row that it needs."""


def _access_time_ns(scenario: Scenario, row: Asked) -> float:
    assert row.fast_share is not None
    return 1e9 * float(access_time_s(scenario, row.fast_share))


def _slowdown(scenario: Scenario, row: Asked) -> float:
    assert row.fast_share is not None
    mixed_s, all_fast_s = access_time_s(scenario, [row.fast_share, 1.0])
    return float(mixed_s / all_fast_s)


def _loaded_latency_ns(scenario: Scenario, row: Asked) -> float:
    tier: MemoryTier = getattr(scenario.platform, str(row.tier))
    return 1e9 * tier.loaded_latency(row.traffic or 0.0)


def _count(counter: Counter) -> Callable[[Outcome], float]:
    column = COUNTERS.index(counter)
    return lambda run: float(run.counters[column])


def _rate(counter: Counter) -> Callable[[Outcome], float]:
    column = COUNTERS.index(counter)
    return lambda run: run.per_s(float(run.counters[column]))


def _per_chunk(counter: Counter) -> Callable[[Outcome], float]:
    column = COUNTERS.index(counter)
    return lambda run: float(run.counters[column] / run.counters[MM_SCANS]) if run.counters[MM_SCANS] else math.nan


def _promoted_mb_per_s(run: Outcome) -> float:
    pages = float(run.counters[MIGRATED] + run.counters[PGPROMOTE_SUCCESS])
    return run.per_s(pages * PAGE_BYTES / 1e6)


QUANTITIES: dict[str, Quantity] = {
    "seconds": Quantity("s", "completion time of the processes that a run waits for", lambda run: run.seconds),
    "accesses_per_s": Quantity(
        "1/s", "accesses of the processes that a run waits for", lambda run: run.per_s(run.accesses)
    ),
    "traffic_mb_per_s": Quantity(
        "MB/s",
        "memory read and written by the processes that a run waits for",
        lambda run: run.per_s(run.traffic_bytes / 1e6),
    ),
    "promoted_mb_per_s": Quantity("MB/s", "memory promoted, by whatever promotes", _promoted_mb_per_s),
    "access_time": Quantity(
        "ns", "time of an access of one thread", of_scenario=_access_time_ns, takes=("fast_share",)
    ),
    "slowdown": Quantity("x", "that time over the one with all fast", of_scenario=_slowdown, takes=("fast_share",)),
    "loaded_latency": Quantity(
        "ns", "latency of a tier that carries traffic", of_scenario=_loaded_latency_ns, takes=("tier", "traffic")
    ),
    **{row.symbol: Quantity(row.unit, row.meaning, _count(row)) for row in COUNTERS},
    **{
        f"{row.symbol}_per_s": Quantity(f"{row.unit}/s", row.meaning, _rate(row))
        for row in COUNTERS
        if not row.is_gauge
    },
    **{
        f"{row.symbol}_per_chunk": Quantity(f"{row.unit}/chunk", row.meaning, _per_chunk(row))
        for row in COUNTERS
        if not row.is_gauge and row is not COUNTERS[MM_SCANS]
    },
}
"""What a row can be about; another is a line here."""
