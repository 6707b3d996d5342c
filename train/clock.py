"""How long a training has lasted, over all commands that went on with it, and which share of it is done."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Counts wall time while it runs.

    Args:
        timesteps: environment steps after which training ends.
        wall_time_s: time after which it ends, if that comes first; None for no such limit [s].
        trained_s: time trained by earlier commands [s].
    """

    def __init__(self, timesteps: int, wall_time_s: float | None, trained_s: float = 0.0) -> None:
        self._timesteps = timesteps
        self._wall_time_s = wall_time_s
        self._counted_s = trained_s
        self._started_s: float | None = None

    @property
    def trained_s(self) -> float:
        """Time trained so far [s]."""
        return self._counted_s + (0.0 if self._started_s is None else time.perf_counter() - self._started_s)

    @property
    def is_time_up(self) -> bool:
        """Whether the time is over that there is."""
        return self._wall_time_s is not None and self.trained_s >= self._wall_time_s

    def is_over(self, timesteps: int) -> bool:
        """Whether training is, after so many steps."""
        return timesteps >= self._timesteps or self.is_time_up

    def share_left(self, timesteps: int) -> float:
        """Of a training that has made so many steps, 1 to 0: of its steps or of its time, whichever ends first."""
        done = timesteps / self._timesteps
        if self._wall_time_s is not None:
            done = max(done, self.trained_s / self._wall_time_s)
        return max(1.0 - done, 0.0)

    def start(self) -> None:
        """Count from now on."""
        self._started_s = time.perf_counter()

    def stop(self) -> None:
        """Count no more, if it did."""
        self._counted_s, self._started_s = self.trained_s, None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Do not count what happens inside."""
        is_running = self._started_s is not None
        self.stop()
        yield
        if is_running:
            self.start()
