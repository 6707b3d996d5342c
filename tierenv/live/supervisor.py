"""Two processes, so that the knobs are put back however one of them ends.

The parent supervises: it waits for the child, which decides, and puts the knobs back once the child has ended, by
whatever means. The child hears the parent's end on the line between them and puts them back itself. After a kill of
both the notes are left: `restore`, ExecStopPost of the unit, the next start, or an exported script's --restore.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from types import FrameType

from tierenv.live.journal import Journal
from tierenv.live.report import notify

_SILENT_INTERVALS = 10
_LEAST_SILENCE_S = 20.0
"""A child that says nothing for this long hangs, and is killed."""
_ENDING_S = 5.0
"""Time a child has to end by itself."""

Step = Callable[[], bool]
"""One interval's work; false to end."""


def supervise(step: Step, interval_s: float, journal: Journal) -> int:
    """Run steps in a child until they end or SIGTERM or SIGINT comes, then put the knobs back.

    Returns the exit code: 0 where it ended as it should and everything was put back.
    """
    ours, childs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        _decide(step, interval_s, journal, childs)
    childs.close()
    stop = _StopRequest()
    notify("READY=1")
    silence_s = max(_LEAST_SILENCE_S, _SILENT_INTERVALS * interval_s)
    while not stop.is_made:
        if not select.select([ours, stop.line], [], [], silence_s)[0]:
            _say(f"the deciding process has said nothing for {silence_s:.0f} s; it is killed")
            break
        if stop.is_made or not _heard(ours):
            break
        notify("WATCHDOG=1")
    notify("STOPPING=1")
    status = _end(child, is_asked=stop.is_made)
    is_restored = restore_and_say(journal)
    is_orderly = stop.is_made or status == 0
    if not is_orderly:
        _say(f"the deciding process ended by itself ({_how(status)})")
    return 0 if is_orderly and is_restored else 1


def restore_and_say(journal: Journal) -> bool:
    """Put the knobs back, a line each to stderr. Returns whether nothing is left to do."""
    lines, is_complete = journal.restore()
    for line in lines:
        _say(line)
    return is_complete


def every(interval_s: float, step: Step, wait: Callable[[float], bool]) -> None:
    """Call a step at the beginning of every interval; one that is late is not made up for.

    Args:
        interval_s: between the beginnings.
        step: false to end.
        wait: for so many seconds; false to end.
    """
    due_s = time.monotonic()
    while step():
        due_s = max(due_s + interval_s, time.monotonic())
        if not wait(due_s - time.monotonic()):
            return


def _decide(step: Step, interval_s: float, journal: Journal, line: socket.socket) -> None:
    """The child; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the parent gets it, too
    code = 1

    def told_step() -> bool:
        is_on = step()
        line.send(b".")
        return is_on

    def parent_lives(wait_s: float) -> bool:
        """Sleeps, unless the parent has ended or wants an end."""
        return not select.select([line], [], [], max(0.0, wait_s))[0]

    try:
        every(interval_s, told_step, parent_lives)
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        if not _is_open(line):
            restore_and_say(journal)
        os._exit(code)


class _StopRequest:
    """SIGTERM or SIGINT, as something that `select` hears."""

    def __init__(self) -> None:
        self.is_made = False
        self.line, self._signalled = socket.socketpair()
        self._signalled.setblocking(False)
        signal.set_wakeup_fd(self._signalled.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._make)

    def _make(self, _number: int, _frame: FrameType | None) -> None:
        self.is_made = True


def _heard(line: socket.socket) -> bool:
    try:
        return bool(line.recv(4096))
    except OSError:
        return False


def _is_open(line: socket.socket) -> bool:
    """Whether the other end is still there."""
    try:
        return not select.select([line], [], [], 0)[0]
    except OSError:
        return False


def _end(child: int, is_asked: bool) -> int:
    """Wait for a child, kill it if it goes on. Returns its status as `os.waitpid` has it."""
    patience_s = time.monotonic() + (0.0 if is_asked else _ENDING_S)
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        if time.monotonic() >= patience_s:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        time.sleep(0.01)


def _how(status: int) -> str:
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit status {os.WEXITSTATUS(status)}"


def _say(text: str) -> None:
    try:
        print(f"tierenv live: {text}", file=sys.stderr, flush=True)
    except OSError:
        pass
