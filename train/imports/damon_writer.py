"""What DAMON would record of a scenario, by the model, to hold what an import makes of it against the truth.

The scenario runs on the fast model without migration, and its memory is cut into pieces of equal size, DAMON's regions.
In every sampling interval DAMON looks at one page of each, drawn at random, which has been touched with probability

    p = sum over classes of (their share of the piece's pages) * (1 - exp(-a))      a: accesses per page in the interval

(min(1, a) where the class is swept), and nr_accesses of an aggregation interval is binomial. MODEL: regions neither
split nor merge, and looking costs nothing.
"""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.errors import ConfigError
from tierenv.files import atomic_write_bytes
from tierenv.progress import ReportProgress, unreported
from tierenv.scenario import Scenario
from tierenv.sim.episode import draw_phases, place_classes
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.train.episodes import episode_seeds
from tierenv.train.imports.damon_times import AGGREGATION_INTERVAL_S, SAMPLE_INTERVAL_S
from tierenv.units import PAGE_BYTES

FIRST_ADDRESS = 0x7F00_0000_0000
"""Of the memory, about where mappings of a process of x86-64 lie."""
START_S = 1000.0
"""Time of the record's clock at which the run starts."""
REGIONS = 200
MOST_ROWS = 5_000_000
"""Regions times snapshots of a record: it is made in memory."""


def write_damon_record(
    path: Path,
    scenario: Scenario,
    seed: int,
    *,
    sample_interval_s: float = SAMPLE_INTERVAL_S,
    aggregation_interval_s: float = AGGREGATION_INTERVAL_S,
    regions: int = REGIONS,
    report_progress: ReportProgress = unreported,
) -> None:
    """Write a record of a scenario's first process as `damo record` does, JSON compressed by zlib.

    Args:
        path: of the record.
        scenario: of one process; what promotes pages in it does not.
        seed: of the episode, as `tierenv evaluate` counts them, and of DAMON's draws.
        sample_interval_s: between two looks at a region.
        aggregation_interval_s: over which they are counted.
        regions: of DAMON.
        report_progress: told how far the work of the scenario is.

    Raises:
        ConfigError: the scenario has other processes or takes too long, or the path cannot be written.
    """
    if len(scenario.processes) > 1:
        raise ConfigError(f"{scenario.name}: corunners: a record is of one process")
    if scenario.workload.is_timed:
        raise ConfigError(f"{scenario.name}: phases: a record is of phases that end by work, not by time")
    if any(phase.absent for phase in scenario.workload.phases):
        raise ConfigError(f"{scenario.name}: phases: a record is of memory that stays")
    intervals = {"sample_us": sample_interval_s, "aggr_us": aggregation_interval_s, "ops_update_us": 1.0}
    record = {
        "kdamond_idx": 0,
        "context_idx": 0,
        "intervals": {name: f"{1e6 * seconds:.0f}" for name, seconds in intervals.items()},
        "scheme_idx": None,
        "target_id": 0,
        "scheme_filters": [],
        "snapshots": list(
            _snapshots(scenario, seed, sample_interval_s, aggregation_interval_s, regions, report_progress)
        ),
    }
    atomic_write_bytes(path, zlib.compress(json.dumps([record]).encode()))


def _snapshots(
    scenario: Scenario,
    seed: int,
    sample_interval_s: float,
    aggregation_interval_s: float,
    regions: int,
    report_progress: ReportProgress,
) -> Iterator[dict[str, Any]]:
    checks = round(aggregation_interval_s / sample_interval_s)
    run = _Run(scenario, seed, regions)
    rng = np.random.default_rng(seed)
    edges = FIRST_ADDRESS + PAGE_BYTES * np.concatenate(([0], np.cumsum(run.pieces.sum(axis=1))))
    number = 0
    while not run.is_done:
        per_page = run.advance(aggregation_interval_s)
        found = rng.binomial(checks, run.found_share(per_page / checks))
        report_progress(int(100 * run.work_done), 100, scenario.name)
        yield {
            "start_time": _ns(START_S + number * aggregation_interval_s),
            "end_time": _ns(START_S + (number + 1) * aggregation_interval_s),
            "regions": [
                {
                    "start": f"{start:,}",
                    "end": f"{end:,}",
                    "nr_accesses": {"samples": samples, "percent": None},
                    "age": {"usec": None, "aggr_intervals": "0"},
                    "sz_filter_passed": "0 B",
                }
                for start, end, samples in zip(edges[:-1].tolist(), edges[1:].tolist(), found.tolist(), strict=True)
            ],
            "total_bytes": f"{int(edges[-1] - edges[0])}",
        }
        number += 1
        if number * regions > MOST_ROWS:
            raise ConfigError(
                f"{scenario.name}: a record of more than {MOST_ROWS} regions; make the scenario shorter or the "
                "aggregation interval longer"
            )


def _ns(seconds: float) -> str:
    return f"{1e9 * seconds:.0f}"


class _Run:
    """A scenario's episode without migration, and where its accesses fall.

    Args:
        scenario: of one process.
        seed: of the episode.
        regions: pieces that its memory is cut into.
    """

    def __init__(self, scenario: Scenario, seed: int, regions: int) -> None:
        still = scenario.under(scenario.daemon, control="off", numa_balancing_mode=None)
        process = still.processes[0]
        seeds = episode_seeds([seed])
        self._system = LumpedSystem([still])
        self._system.reset(seeds, ["training"])
        rng = np.random.Generator(np.random.PCG64(int(seeds[0])))  # draws what the system drew, see its reset
        self._phases = draw_phases(process, still.fast_capacity_pages, "training", rng)
        self._class_pages = np.array(process.class_pages)
        self.pieces = place_classes(process.workload.layout, self._class_pages, regions, rng)
        """int64[regions, classes]: pages."""
        classes = process.workload.classes
        self._is_swept = np.array([each.visits != "random" for each in classes])
        self._accesses_per_visit = np.array([each.accesses_per_visit for each in classes])
        self._total = process.total_accesses

    @property
    def is_done(self) -> bool:
        """Whether its work is done."""
        return bool(self._system.is_done[0])

    @property
    def work_done(self) -> float:
        """Share of it."""
        return float(self._system.work_done[0])

    def advance(self, seconds: float) -> NDArray[np.float64]:
        """Accesses to a page of each class in so much time, float64[classes]; in the last stretch fewer."""
        before = self.work_done * self._total
        self._system.advance(seconds)
        after = self.work_done * self._total
        ends = self._phases.end
        starts = np.concatenate(([0.0], ends[:-1]))
        in_phase = np.maximum(np.minimum(ends, after) - np.maximum(starts, before), 0.0)
        return np.asarray(in_phase @ self._phases.access_share / np.maximum(self._class_pages, 1))

    def found_share(self, per_page: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability that a page of each piece was touched, float64[regions].

        Args:
            per_page: accesses to a page of each class, float64[classes].
        """
        visited = np.minimum(per_page / self._accesses_per_visit, 1.0)
        touched = np.where(self._is_swept, visited, -np.expm1(-per_page))
        return np.asarray(self.pieces @ touched / self.pieces.sum(axis=1))
