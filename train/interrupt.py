"""Ctrl-C that lets the work at hand end cleanly."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C was pressed; pressing it again raises KeyboardInterrupt.

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
    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: is_requested
    finally:
        signal.signal(signal.SIGINT, previous)
