"""A sweep from its file to its last job, gone on with where it was stopped."""

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tierenv.errors import ConfigError
from tierenv.files import locked
from tierenv.progress import ReportProgress, unreported
from tierenv.train.run_dir import RUNS
from tierenv.train.sweep.executors import Executor
from tierenv.train.sweep.index import Entry, Index
from tierenv.train.sweep.jobs import Outcome, Task
from tierenv.train.sweep.plan import load_sweep

log = logging.getLogger(__name__)

PARTS = 1000
"""Of a job, as progress counts them."""


@dataclass(frozen=True)
class SweepResult:
    """How a sweep ended."""

    folder: Path
    entries: list[Entry]
    is_interrupted: bool
    content: dict[str, Any]
    """What `--json` writes."""

    @property
    def failed(self) -> list[Entry]:
        """The jobs that did."""
        return [entry for entry in self.entries if entry.state == "failed"]


class _Watcher:
    """Keeps the index, and tells how far the sweep is."""

    def __init__(self, index: Index, report_progress: ReportProgress) -> None:
        self._index = index
        self._report_progress = report_progress
        self._shares = {entry.name: float(entry.state == "finished") for entry in index.entries}
        self._going: dict[str, float] = {}

    def began(self, task: Task) -> None:
        """See `Watcher`."""
        self._index.began(task.job)

    def is_at(self, task: Task, share_done: float) -> None:
        """See `Watcher`."""
        self._going[task.job.name] = share_done
        self._report()

    def ended(self, task: Task, outcome: Outcome) -> None:
        """See `Watcher`."""
        name = task.job.name
        self._going.pop(name, None)
        self._index.ended(task.job, outcome)
        if outcome.state != "interrupted":
            self._shares[name] = 1.0
            log.info("%s: %s%s", name, outcome.state, f": {outcome.reason}" if outcome.reason else "")
        self._report()

    def _report(self) -> None:
        shares = self._shares | self._going
        over = sum(share == 1.0 for share in self._shares.values())
        going = ", ".join(f"{name} {share:.0%}" for name, share in self._going.items() if share)
        self._report_progress(
            round(PARTS * sum(shares.values())),
            PARTS * len(shares),
            f"{over} of {len(shares)} jobs are over{f'; {going}' if going else ''}",
        )


def run_sweep(
    name_or_path: str,
    executor: Executor,
    command: str,
    output: Path | None = None,
    report_progress: ReportProgress = unreported,
) -> SweepResult:
    """Do all jobs of a sweep that are not done. Raises `ConfigError` before the first begins.

    Args:
        name_or_path: of the sweep.
        executor: what runs its jobs.
        command: that wants it, for the records.
        output: folder of the jobs' folders; by default runs/SWEEP.
        report_progress: told thousandths of jobs.
    """
    sweep, jobs = load_sweep(name_or_path)
    folder = output or RUNS / sweep.name
    with ExitStack() as held:
        _take(folder, held)
        index = Index.open(folder, command, jobs)
        states = {entry.name: entry.state for entry in index.entries}
        place = folder.resolve()
        tasks = [Task(job, place / job.name, command) for job in jobs if states[job.name] != "finished"]
        if done := len(jobs) - len(tasks):
            log.info("%d of %d jobs were done before", done, len(jobs))
        is_interrupted = False
        try:
            if tasks:
                executor.run(tasks, _Watcher(index, report_progress))
        except KeyboardInterrupt:
            is_interrupted = True
        if others := index.other_revisions:
            log.warning("%s: some of its jobs were done by other sources: %s", folder, ", ".join(sorted(others)))
        return SweepResult(folder, index.entries, is_interrupted, index.to_json())


def _take(folder: Path, held: ExitStack) -> None:
    """Make the folder and hold it, so that no other sweep writes there. Raises `ConfigError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.enter_context(locked(folder, wait=False))
    except BlockingIOError:
        raise ConfigError(
            f"{folder}: another tierenv sweep writes there; wait for its end, or choose another --output"
        ) from None
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}; choose another --output") from None
