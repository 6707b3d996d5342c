"""Regions of snapshots, gathered into batches."""

import numpy as np
from numpy.typing import NDArray

from tierenv.train.imports.observations import Observations

MAX_SNAPSHOT_REGIONS = 1_000_000
"""DAMON's own default limit is a thousand."""
BATCH = 1 << 15
"""Observations from which on a batch is large enough to be worth its while."""


class Batches:
    """Regions as they are read one by one: those of a snapshot are open until its time and its checks are known."""

    def __init__(self) -> None:
        self.open_found: list[float] = []
        """What was found in the open regions."""
        self._regions: list[tuple[int, int]] = []
        self._space: list[NDArray[np.int64]] = []
        self._found: list[NDArray[np.float64]] = []
        self._time_s: list[NDArray[np.float64]] = []
        self._checks: list[NDArray[np.float64]] = []

    @property
    def num_open(self) -> int:
        """Regions of the snapshot that is being read."""
        return len(self.open_found)

    @property
    def is_full(self) -> bool:
        """Whether `take` is due; never in the midst of a snapshot."""
        return not self.open_found and len(self._regions) >= BATCH

    def add(self, start: int, end: int, found: float) -> None:
        """A region of the snapshot that is being read. Raises ValueError for one too many."""
        if len(self.open_found) == MAX_SNAPSHOT_REGIONS:
            raise ValueError(f"a snapshot of more than {MAX_SNAPSHOT_REGIONS} regions")
        self._regions.append((start, end))
        self.open_found.append(found)

    def close(self, time_s: float, space: int, checks: float, found: NDArray[np.float64]) -> None:
        """End the snapshot.

        Args:
            time_s: of the snapshot.
            space: address space of its regions.
            checks: of each region.
            found: what was found in them, float64[num_open].
        """
        self._found.append(found)
        self._space.append(np.full(len(found), space, dtype=np.int64))
        self._time_s.append(np.full(len(found), time_s))
        self._checks.append(np.full(len(found), float(checks)))
        self.open_found = []

    def take(self) -> Observations:
        """All regions of snapshots that have ended; none may be open."""
        table = np.array(self._regions, dtype=np.int64).reshape(-1, 2)
        space = np.concatenate([*self._space, np.empty(0, dtype=np.int64)])
        parts = [np.concatenate([*arrays, np.empty(0)]) for arrays in (self._time_s, self._found, self._checks)]
        time_s, found, checks = parts
        self._regions, self._space, self._found, self._time_s, self._checks = [], [], [], [], []
        return Observations(time_s, space, table[:, 0], table[:, 1], found, checks)
