"""What runs the jobs of a sweep, and the simplest one: in this process, one after the other."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from tierenv.train.sweep.jobs import Outcome, Task, perform


class Watcher(Protocol):
    """What is told of jobs."""

    def began(self, task: Task) -> None:
        """A job was begun, or is gone on with."""
        ...

    def is_at(self, task: Task, share_done: float) -> None:
        """So much of a job is done, from 0 to 1."""
        ...

    def ended(self, task: Task, outcome: Outcome) -> None:
        """A job came to an end, its own or by a stop."""
        ...


class Executor(Protocol):
    """What runs jobs."""

    def run(self, tasks: Sequence[Task], watcher: Watcher) -> None:
        """Run them all.

        Raises:
            ConfigError: if it cannot begin.
            KeyboardInterrupt: if it was stopped. What the jobs have kept is in their folders.
        """
        ...


class Serial:
    """Runs jobs in this process, one after the other."""

    def run(self, tasks: Sequence[Task], watcher: Watcher) -> None:
        """See `Executor`."""
        for task in tasks:
            watcher.began(task)
            outcome = perform(task, partial(_report, task, watcher))
            watcher.ended(task, outcome)
            if outcome.state == "interrupted":
                raise KeyboardInterrupt


def _report(task: Task, watcher: Watcher, done: int, total: int, doing: str = "") -> None:
    watcher.is_at(task, done / max(total, 1))
