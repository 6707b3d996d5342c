"""From a record of heat to a workload: what `tierenv import` does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.errors import ConfigError, close_match
from tierenv.progress import ReportProgress, unreported
from tierenv.records import validate_record
from tierenv.train.imports import FORMATS
from tierenv.train.imports.classes import Runs, chance_cost, join_runs
from tierenv.train.imports.heat_map import Heat, HeatMap
from tierenv.train.imports.observations import Findings, ReadOptions
from tierenv.train.imports.phases import MOST_PHASES, find_phases
from tierenv.train.imports.record_file import open_record_file
from tierenv.train.provenance import git_revision
from tierenv.units import PAGE_BYTES, format_bytes, format_seconds
from tierenv.workload import Placement, Workload

NAME = "imported"
"""Of a workload that has no file yet, by whose name it will go."""
CLASSES = 16
"""Of a workload, unless another number is asked for."""
MOST_CLASSES = 1000
SATURATED = 0.01
"""Share of the accesses found from which on it is said that they were found at every check."""
GAP = 3.0
"""Rows or observations in a row without a record that make a gap."""
GAP_SHARE = 0.05
"""Of the time, from which on gaps are said."""
OFTEN = 0.9
"""Share of the columns that are checked at most as often as memory that is there all the time."""
_DECIMALS = 12
"""Of shares."""


@dataclass(frozen=True)
class ProgramFacts:
    """What the user knows of the program that a record does not, None for what the record says or a default."""

    threads: int | None = None
    think_s: float = 0.0
    memory_parallelism: float = 1.0
    store_share: float = 0.0
    accesses_per_page: float | None = None
    run_s: float | None = None
    """Time of the whole run, of which the record is a part."""
    size_bytes: int | None = None
    """Resident memory."""
    initial_placement: Placement | None = None


@dataclass(frozen=True)
class Imported:
    """A workload, and what it was made from."""

    record: Path
    format: str
    workload: Workload
    size_bytes: int
    """Of the resident memory."""
    run_s: float | None
    """Time of the run, None where nobody knows."""
    num_observations: int
    step_bytes: int
    """Finest stretch of addresses that was looked at."""
    phase_end_s: list[float]
    """When each phase ended, counted from the start of the record; empty where it knows no time."""
    misplaced: float
    """Share of the accesses that falls elsewhere when the heat of each class is alike everywhere."""
    notes: list[str]
    """What was assumed, left out or cannot be known, one line each."""

    @property
    def access_ns(self) -> float | None:
        """Time of an access of a thread, whatever it was spent on [ns]; None where the time is not known."""
        accesses = self.workload.accesses_per_page * (self.size_bytes // PAGE_BYTES)
        return None if self.run_s is None else 1e9 * self.workload.threads * self.run_s / accesses

    def to_json(self) -> dict[str, Any]:
        """What `--json` writes."""
        return {
            "schema": 1,
            "git_revision": git_revision(),
            "record": str(self.record),
            "format": self.format,
            "size_bytes": self.size_bytes,
            "seconds": self.run_s,
            "access_ns": self.access_ns,
            "observations": self.num_observations,
            "step_bytes": self.step_bytes,
            "phase_end_s": self.phase_end_s,
            "misplaced": self.misplaced,
            "workload": self.workload.model_dump(mode="json"),
            "notes": self.notes,
        }


def import_record(
    format_name: str,
    path: Path,
    read_options: ReadOptions,
    facts: ProgramFacts,
    num_classes: int = CLASSES,
    num_phases: int | None = None,
    report_progress: ReportProgress = unreported,
) -> Imported:
    """Read a record and make a workload of it. Raises `ConfigError` for a record or a fact that is not as it should be.

    Args:
        format_name: of `FORMATS`.
        path: of the record.
        read_options: what is known of how it was made.
        facts: what is known of the program.
        num_classes: at most.
        num_phases: at most; None for as many as are certain.
        report_progress: told how far the record is read.
    """
    findings = Findings(format_name)
    heat = read_heat(format_name, path, read_options, findings, report_progress)
    return _Importer(path, heat, findings, facts).imported(num_classes, num_phases)


def read_heat(
    format_name: str,
    path: Path,
    read_options: ReadOptions,
    findings: Findings,
    report_progress: ReportProgress = unreported,
) -> Heat:
    """What a record found accessed; `findings` is told the rest. Raises `ConfigError`."""
    if format_name not in FORMATS:
        known = ", ".join(FORMATS)
        raise ConfigError(f"unknown format {format_name!r}{close_match(format_name, FORMATS)}; formats: {known}")
    heat_map = HeatMap()
    found_bytes = saturated_bytes = 0.0
    with open_record_file(path, report_progress) as record:
        for batch in FORMATS[format_name].read(record, read_options, findings):
            _within(path, heat_map.add, batch)
            found = (batch.end - batch.start) * batch.found
            found_bytes += float(found.sum())
            saturated_bytes += float(found[batch.found == batch.checks].sum())
        heat: Heat = _within(path, heat_map.heat)
    if not heat.found.any():
        raise ConfigError(f"{path}: holds no access")
    if saturated_bytes / found_bytes >= SATURATED:
        findings.note(
            f"{saturated_bytes / found_bytes:.0%} of the accesses found were found at every check: that memory is at "
            "least as hot as is written; only a shorter sampling interval would tell"
        )
    return heat


def _within(path: Path, call: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a call whose errors are of a file that it does not know."""
    try:
        return call(*arguments)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


class _Importer:
    """Makes a workload of what a record found."""

    def __init__(self, path: Path, heat: Heat, findings: Findings, facts: ProgramFacts) -> None:
        self._path = path
        self._heat = heat
        self._findings = findings
        self._facts = facts

    def imported(self, num_classes: int, num_phases: int | None) -> Imported:
        """See `import_record`."""
        heat, findings, facts = self._heat, self._findings, self._facts
        first_rows = find_phases(heat.found, heat.column_bytes, num_phases)
        if num_phases is None and len(first_rows) == MOST_PHASES:
            findings.note(f"the heat changes at least {MOST_PHASES} times: only so many phases are told apart")
        end_s = self._phase_end_s(first_rows)
        accesses = self._accesses(first_rows, end_s)
        halves = [self._accesses(first_rows, end_s, half) for half in (0, 1)]
        column_bytes, accesses = self._sized(accesses)
        runs = join_runs(accesses, column_bytes, num_classes, chance_cost(*halves))
        size_bytes = max(1, round(column_bytes.sum() / PAGE_BYTES)) * PAGE_BYTES
        is_record_the_run = facts.accesses_per_page is None and findings.has_time and end_s[-1] > 0
        run_s = facts.run_s or findings.run_s or (end_s[-1] if is_record_the_run else None)
        self._note(len(set(heat.column_space.tolist())))
        values = self._values(runs, accesses, size_bytes, end_s)
        return Imported(
            record=self._path,
            format=findings.format,
            workload=validate_record(Workload, values, f"workload of {self._path}"),
            size_bytes=size_bytes,
            run_s=run_s,
            num_observations=heat.num_observations,
            step_bytes=heat.step_bytes,
            phase_end_s=end_s if findings.has_time else [],
            misplaced=runs.misplaced,
            notes=[*findings.notes, *(f"left out: {number} {reason}" for reason, number in findings.left_out.items())],
        )

    def _phase_end_s(self, first_rows: list[int]) -> list[float]:
        """When each phase ends, from the start of the record on."""
        heat, observation_s = self._heat, self._findings.observation_s
        start_s = heat.first_s - observation_s / 2
        cuts_s = [heat.start_s + row * heat.row_s for row in first_rows[1:]]
        return [end_s - start_s for end_s in [*cuts_s, heat.last_s + observation_s / 2]]

    def _accesses(self, first_rows: list[int], end_s: list[float], half: int | None = None) -> NDArray[np.float64]:
        """Accesses to each column in each phase, float64[P, K], by all rows or by the even or the odd ones (0, 1).

        A page that is accessed at random is found by a check with probability p = 1 - exp(-a), where a is the accesses
        to it between two checks; p is the mean over the checks of a column in a phase, and at most what is half a check
        short of all of them. A column that was checked less often than nearly all was not there in the rest of it.
        """
        is_used = np.full((len(self._heat.found), 1), True)
        if half is not None:
            is_used[1 - half :: 2] = False
        found = np.add.reduceat(self._heat.found * is_used, first_rows, axis=0)
        if self._findings.check_interval_s is None:
            return found
        checked = np.add.reduceat(self._heat.checked * is_used, first_rows, axis=0)
        column_bytes = self._heat.column_bytes
        share = np.divide(found, checked, out=np.zeros_like(found), where=checked > 0)
        most = np.maximum(1 - column_bytes / np.maximum(2 * checked, column_bytes), 0.5)
        per_check = -np.log1p(-np.minimum(share, most))
        checks = np.diff([0.0, *end_s]) / self._findings.check_interval_s
        often = np.quantile(checked / column_bytes, OFTEN, axis=1, keepdims=True)
        present = np.minimum(np.divide(checked / column_bytes, often, out=np.ones_like(checked), where=often > 0), 1.0)
        return per_check * present * (column_bytes / PAGE_BYTES) * checks[:, None]

    def _sized(self, accesses: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Bytes of the columns, of the size that the user says, and the accesses to each."""
        column_bytes, wanted = self._heat.column_bytes, self._facts.size_bytes
        seen = self._heat.size_bytes
        if wanted is None or wanted == seen:
            return column_bytes, accesses
        if wanted > seen:
            self._findings.note(
                f"the record speaks of {format_bytes(seen)}; the rest of the size is taken for untouched"
            )
            unseen = np.zeros((len(accesses), 1))
            return np.append(column_bytes, wanted - seen), np.concatenate((accesses, unseen), axis=1)
        is_touched = accesses.sum(axis=0) > 0
        touched = int(column_bytes[is_touched].sum())
        if wanted < touched:
            raise ConfigError(
                f"--size={format_bytes(wanted)}: {self._path} has accesses to {format_bytes(touched)}; give as much"
            )
        self._findings.note(f"the record speaks of {format_bytes(seen)}; of what is never accessed a part is left out")
        kept = np.where(is_touched, column_bytes, column_bytes * ((wanted - touched) / (seen - touched))).astype(
            np.int64
        )
        return kept[kept > 0], accesses[:, kept > 0]

    def _note(self, num_spaces: int) -> None:
        findings, facts, heat = self._findings, self._facts, self._heat
        if facts.initial_placement is None:
            findings.note("where memory lies at the start is not known: the slow node is taken (--initial-placement)")
        if num_spaces > 1:
            findings.note(f"{num_spaces} address spaces, one behind the other, are taken for one process")
        if facts.memory_parallelism == 1:
            findings.note("memory_parallelism is taken to be 1: one access of a thread under way at a time")
        if facts.think_s == 0:
            findings.note(
                "think is taken to be 0: threads that compute between two accesses need more time than modelled"
            )
        seen = np.flatnonzero(heat.found.sum(axis=1))
        least = GAP * max(1.0, findings.observation_s / heat.row_s)
        gaps = np.diff(seen)[np.diff(seen) > least] - 1
        gap_share = float(gaps.sum()) / len(heat.found)
        if findings.has_time and gap_share >= GAP_SHARE:
            findings.note(f"nothing was recorded, or accessed, in {gap_share:.0%} of the time")

    def _values(self, runs: Runs, accesses: NDArray[np.float64], size_bytes: int, end_s: list[float]) -> dict[str, Any]:
        """Fields of the workload."""
        facts = self._facts
        names = [f"run-{number}" for number in range(1, len(runs.page_share) + 1)]
        work = accesses.sum(axis=1) / accesses.sum()
        return {
            "name": NAME,
            "threads": self._threads(),
            "think": format_seconds(facts.think_s),
            "memory_parallelism": facts.memory_parallelism,
            "store_share": facts.store_share,
            "accesses_per_page": self._accesses_per_page(float(accesses.sum()), size_bytes, end_s[-1]),
            "layout": "address-order",
            "initial_placement": facts.initial_placement or "slow",
            "classes": [
                {"name": each, "fraction": round(share, _DECIMALS)}
                for each, share in zip(names, runs.page_share.tolist(), strict=True)
            ],
            "phases": [
                {
                    "name": f"phase-{number}",
                    "work": max(round(float(part), _DECIMALS), 1e-6),
                    "access_share": {
                        each: round(share, _DECIMALS)
                        for each, share in zip(names, shares, strict=True)
                        if round(share, _DECIMALS) > 0
                    },
                }
                for number, (part, shares) in enumerate(zip(work, runs.access_share.tolist(), strict=True), 1)
            ],
        }

    def _threads(self) -> int:
        threads = self._facts.threads or self._findings.threads
        if threads is None:
            raise ConfigError(f"--threads: {self._path} does not tell how many threads the program had; say so")
        return threads

    def _accesses_per_page(self, accesses: float, size_bytes: int, recorded_s: float) -> float:
        """Work: what is said, or what was found, times how much longer the run was than the record."""
        facts, findings = self._facts, self._findings
        if known := facts.accesses_per_page or findings.accesses_per_page:
            return known
        if not findings.are_counts_known:
            raise ConfigError(
                f"--accesses-per-page: {self._path} does not tell how many accesses a sample stands for; give the "
                "work, or --sample-period (or print the field period)"
            )
        if facts.run_s is not None and findings.has_time and recorded_s > 0:
            accesses *= facts.run_s / recorded_s
        return accesses / (size_bytes // PAGE_BYTES)
