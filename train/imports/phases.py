"""When the heat of a record changes: where to cut its time into phases.

The memory is cut into `PIECES` equal pieces, and a stretch of time is known by the share of its accesses on each. A
stretch is cut where its two sides differ most: d is the share of the accesses that falls elsewhere (half the sum of the
differences), and the cut is the one with the largest d^2 n1 n2 for n1 and n2 rows on its sides. It is kept if d is at
least `CHANGE`, and `CERTAINTY` times what chance makes of it: the same share between the even and the odd rows of the
stretch, between which nothing changes, times sqrt((1 / n1 + 1 / n2) / (4 / n)). Then either side is cut in the same
way; at last neighbours that do not differ so much by themselves are one.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tierenv.train.imports.heat_map import summed

PIECES = 256
CHANGE = 0.1
CERTAINTY = 2.0
MOST_PHASES = 32
"""That are found unasked."""
LEAST_ROWS = 2
"""Of a phase."""


@dataclass(frozen=True)
class Cut:
    """A cut of a stretch of rows."""

    row: int
    """The first behind it."""
    moved: float
    """Share of the accesses that falls elsewhere behind it."""
    weight: float
    """moved^2 n1 n2."""
    is_certain: bool
    """Whether it is kept."""


def find_phases(found: NDArray[np.float64], column_bytes: NDArray[np.int64], wanted: int | None) -> list[int]:
    """First row of every phase.

    Args:
        found: what was found, float64[T, K].
        column_bytes: int64[K].
        wanted: how many phases there shall be, at most; None for as many as are certain, up to `MOST_PHASES`.
    """
    is_seen = found.sum(axis=1) > 0
    rows = np.flatnonzero(is_seen)
    places = np.minimum((np.cumsum(column_bytes) - column_bytes / 2) * PIECES // column_bytes.sum(), PIECES - 1)
    pieces = summed(found[rows].T, places.astype(np.int64), PIECES).T
    sums = np.concatenate((np.zeros((1, PIECES)), np.cumsum(pieces, axis=0)))
    starts = [0, len(rows)]
    cuts = {0: _best_cut(sums, pieces, 0, len(rows))}
    while len(starts) - 1 < (wanted or MOST_PHASES):
        kept = {start: cut for start, cut in cuts.items() if cut is not None and (wanted or cut.is_certain)}
        if not kept:
            break
        start, cut = max(kept.items(), key=lambda item: item[1].weight)
        starts = sorted([*starts, cut.row])
        for low in (start, cut.row):
            cuts[low] = _best_cut(sums, pieces, low, starts[starts.index(low) + 1])
    if wanted is None:
        _join_alike(sums, pieces, starts)
    return [0, *(int(rows[start]) for start in starts[1:-1])]


def _best_cut(sums: NDArray[np.float64], pieces: NDArray[np.float64], low: int, high: int) -> Cut | None:
    """Where to cut rows low to high - 1; None if they are too few."""
    if high - low < 2 * LEAST_ROWS:
        return None
    row = np.arange(low + LEAST_ROWS, high - LEAST_ROWS + 1)
    moved = _moved(sums[row] - sums[low], sums[high] - sums[row])
    weight = moved**2 * (row - low) * (high - row)
    best = int(np.argmax(weight))
    chance = _chance(pieces[low:high], int(row[best]) - low)
    is_certain = bool(moved[best] >= max(CHANGE, CERTAINTY * chance))
    return Cut(int(row[best]), float(moved[best]), float(weight[best]), is_certain)


def _moved(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the accesses that falls on other pieces, float64[n] of counts float64[n, PIECES]."""
    shares = [counts / counts.sum(axis=-1, keepdims=True) for counts in (before, after)]
    return np.asarray(np.abs(shares[0] - shares[1]).sum(axis=-1) / 2)


def _chance(pieces: NDArray[np.float64], row: int) -> float:
    """What chance makes of a cut of n rows in front of a row."""
    n = len(pieces)
    between = float(_moved(pieces[::2].sum(axis=0), pieces[1::2].sum(axis=0)))
    return between * math.sqrt((1 / row + 1 / (n - row)) / (4 / n))


def _join_alike(sums: NDArray[np.float64], pieces: NDArray[np.float64], starts: list[int]) -> None:
    """Take out the cuts between neighbours that are alike, the least first."""
    while len(starts) > 2:
        moved = [
            float(_moved(sums[middle] - sums[low], sums[high] - sums[middle]))
            for low, middle, high in zip(starts, starts[1:], starts[2:], strict=False)
        ]
        least = int(np.argmin(moved))
        low, middle, high = starts[least : least + 3]
        if moved[least] >= max(CHANGE, CERTAINTY * _chance_within(pieces, low, middle, high)):
            break
        del starts[least + 1]


def _chance_within(pieces: NDArray[np.float64], low: int, middle: int, high: int) -> float:
    """What chance makes of the difference of two stretches, each of which is alike within."""
    parts = [pieces[low:middle], pieces[middle:high]]
    chances = [float(_moved(part[::2].sum(axis=0), part[1::2].sum(axis=0))) / 2 for part in parts]
    return math.hypot(*chances)
