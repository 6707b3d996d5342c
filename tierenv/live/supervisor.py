"""Two processes, so that the knobs are put back however one of them ends.

The parent supervises: it waits for the child, which decides, and puts the knobs back once the child has ended, by
whatever means. The child hears on the line between them when the parent has ended, has stopped or wants an end, and
puts them back itself. After a kill of both the notes are left: `restore`, ExecStopPost of the unit, the next start, or
an exported script's --restore.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable
from types import FrameType

from tierenv.live.files import say
from tierenv.live.journal import Journal
from tierenv.live.report import notify, remember_yield

_SILENT_INTERVALS = 10
_LEAST_SILENCE_S = 20.0
"""A child that says nothing for this long hangs, and is killed."""
_ENDING_S = 5.0
"""Time a child has to end by itself, and then the kernel to end it."""

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
            say(f"the deciding process has said nothing for {silence_s:.0f} s")
            break
        if stop.is_made or not _heard(ours):
            break
        notify("WATCHDOG=1")
    notify("STOPPING=1")
    ours.shutdown(socket.SHUT_RDWR)
    status = _end(child)
    is_restored = restore_and_say(journal)
    is_orderly = status == 0 or (stop.is_made and status is not None)
    if not is_orderly:
        say(f"the deciding process {'goes on' if status is None else f'ended by itself ({_how(status)})'}")
    return 0 if is_orderly and is_restored else 1


def restore_and_say(journal: Journal) -> bool:
    """Put the knobs back, a line each to stderr; who has written one meanwhile is given his time.

    Returns whether nothing is left to do.
    """
    restored = journal.restore()
    for line in restored.lines:
        say(line)
    if restored.of_others:
        remember_yield(journal.root, f"somebody else wrote {', '.join(restored.of_others)}")
    return restored.is_complete


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
    line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # a handful: a parent that has stopped is soon noticed
    line.setblocking(False)
    code, is_alone = 1, False

    def told_step() -> bool:
        nonlocal is_alone
        is_on = step()
        try:
            line.send(b".")
        except OSError:
            is_alone = True
        return is_on and not is_alone

    def parent_lives(wait_s: float) -> bool:
        """Sleeps, unless the parent has ended or wants an end."""
        return not select.select([line], [], [], max(0.0, wait_s))[0]

    try:
        every(interval_s, told_step, parent_lives)
        code = int(is_alone)
    except Exception:
        traceback.print_exc()
    finally:
        if is_alone or not _is_open(line):
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
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
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


def _end(child: int) -> int | None:
    """Wait for a child, kill it if it goes on.

    Returns its status as `os.waitpid` has it, None where not even that helps.
    """
    for is_killed in (False, True):
        if is_killed:
            os.kill(child, signal.SIGKILL)
        end_s = time.monotonic() + _ENDING_S
        while time.monotonic() < end_s:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                return status
            time.sleep(0.01)
    return None


def _how(status: int) -> str:
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit status {os.WEXITSTATUS(status)}"
