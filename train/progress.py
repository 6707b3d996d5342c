"""How far a long command is: a bar on a terminal, a line now and then elsewhere."""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tierenv.progress import ReportProgress

log = logging.getLogger(__name__)

EVERY_S = 15.0
"""Time between two lines."""


@contextmanager
def shown_progress(verb: str, console: Console) -> Iterator[ReportProgress]:
    """Show what is reported, on stderr: parts done, all parts and the time left."""
    if not console.is_terminal:
        yield _Lines(verb)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[doing]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(verb, total=None, doing="")

        def report(done: int, total: int, doing: str) -> None:
            progress.update(bar, completed=done, total=total, doing=doing)

        yield report


class _Lines:
    """Logs a line now and then."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._started = time.monotonic()
        self._next = self._started + EVERY_S
        self._done_before: int | None = None

    def __call__(self, done: int, total: int, doing: str) -> None:
        """See `ReportProgress`."""
        now = time.monotonic()
        if self._done_before is None:
            self._done_before = done  # by an earlier command that this one continues
        if now < self._next:
            return
        self._next = now + EVERY_S
        done_now = done - self._done_before
        left_s = (now - self._started) / done_now * (total - done) if done_now else math.nan
        left = "" if math.isnan(left_s) else f", {_clock(left_s)} left"
        log.info("%s: %d of %d%s: %s", self._verb, done, total, left, doing)


def _clock(seconds: float) -> str:
    """H:MM:SS."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
