"""Ctrl-C, and SIGTERM like it, let the work at hand end cleanly."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What asks a program to end: a terminal's Ctrl-C, and systemd, batch systems and containers."""


def end_as_by_ctrl_c() -> None:
    """Let SIGTERM raise KeyboardInterrupt in the main thread, as SIGINT does; elsewhere nothing changes."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether one of `SIGNALS` came; a second one raises KeyboardInterrupt.

    Outside the main thread, where Python delivers no signals, nothing changes.
    """
    is_requested = False

    def handle(_signal: int, _frame: FrameType | None) -> None:
        nonlocal is_requested
        if is_requested:
            raise KeyboardInterrupt
        is_requested = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield lambda: is_requested
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
