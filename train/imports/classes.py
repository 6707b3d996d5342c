"""Runs of addresses that are alike in heat: from the columns of a record to the classes of a workload.

Neighbours are joined, those first of which it matters least, until there are at most as many runs as are wanted, and on
as long as the distribution of the accesses hardly changes. What a join costs is Ward's measure on the square roots of
heat, of which chance disturbs hot and cold pages alike:

    cost = f1 f2 / (f1 + f2) * sum over phases of w (sqrt(h1) - sqrt(h2))^2

f share of the pages, h accesses per page over their mean in the phase, w share of the phase in the accesses. Summed up
it is twice the square of Hellinger's distance between the accesses as recorded and with runs alike everywhere. What
chance makes of it is a quarter of the same between the even and the odd rows of the record, each of which is twice as
uncertain as all of them; `CERTAINTY` times that is joined, too.
"""

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 5e-4
"""Cost up to which runs are joined though there is room for them: with 2 d^2 = 5e-4 for Hellinger's distance d, two
accesses in a hundred at most, sqrt(2) d, fall elsewhere."""
SAME = 1e-9
"""Difference of heat that is none."""
CERTAINTY = 2.0
"""Times what chance makes of it that may be joined beyond that."""


@dataclass(frozen=True)
class Runs:
    """R runs of columns in order of address, over P phases."""

    first_column: list[int]
    """First column of each."""
    page_share: NDArray[np.float64]
    """float64[R]: adds up to 1."""
    access_share: NDArray[np.float64]
    """float64[P, R]: adds up to 1 in each phase."""
    misplaced: float
    """Share of the accesses that falls elsewhere when the heat of each run is alike everywhere; chance counts, too."""


def chance_cost(even: NDArray[np.float64], odd: NDArray[np.float64]) -> float:
    """What the columns would cost if they were alike and joined, by two halves of a record, float64[P, K] each."""
    if not (even.any() and odd.any()):
        return 0.0
    return float(((np.sqrt(even / even.sum()) - np.sqrt(odd / odd.sum())) ** 2).sum()) / 4


def join_runs(accesses: NDArray[np.float64], column_bytes: NDArray[np.int64], most: int, chance: float) -> Runs:
    """Columns joined to at most so many runs.

    Args:
        accesses: float64[P, K], of each column in each phase.
        column_bytes: int64[K].
        most: runs.
        chance: see `chance_cost`.
    """
    mass = accesses / accesses.sum()
    pages = column_bytes / column_bytes.sum()
    same = _runs_of_one_heat(mass / pages)
    joined = _Joined(np.add.reduceat(mass, same, axis=1), np.add.reduceat(pages, same))
    joined.join(most, TOLERANCE + CERTAINTY * chance)
    first = [int(same[run]) for run in joined.firsts]
    page_share = np.add.reduceat(pages, first)
    run_mass = np.add.reduceat(mass, first, axis=1)
    heat = np.repeat(run_mass / page_share, np.diff([*first, len(pages)]), axis=1)
    return Runs(
        first_column=first,
        page_share=page_share,
        access_share=run_mass / run_mass.sum(axis=1, keepdims=True),
        misplaced=float(np.abs(mass - heat * pages).sum() / 2),
    )


def _runs_of_one_heat(heat: NDArray[np.float64]) -> NDArray[np.int64]:
    """First columns of runs of the same heat, float64[P, K], but for what is lost in adding up: joined for nothing."""
    differs = np.abs(np.diff(heat, axis=1)) > SAME * np.maximum(heat[:, 1:], heat[:, :-1])
    return np.flatnonzero(np.concatenate(([True], differs.any(axis=0))))


class _Joined:
    """A list of runs, each known by its first column, and the costs of joining neighbours."""

    def __init__(self, mass: NDArray[np.float64], pages: NDArray[np.float64]) -> None:
        number = len(pages)
        self._pages = pages.tolist()
        self._mass = list(np.ascontiguousarray(mass.T))
        self._next = [*range(1, number), -1]
        self._before = [-1, *range(number - 1)]
        self._version = [0] * number
        self._is_run = [True] * number
        roots = np.sqrt(mass / pages)
        first, second = pages[:-1], pages[1:]
        costs = first * second / (first + second) * (np.diff(roots, axis=1) ** 2).sum(axis=0)
        self._costs = [(cost, column, 0, 0) for column, cost in enumerate(costs.tolist())]
        heapq.heapify(self._costs)

    @property
    def firsts(self) -> list[int]:
        """First columns of the runs there are."""
        return [column for column, is_run in enumerate(self._is_run) if is_run]

    def join(self, most: int, tolerance: float) -> None:
        """Join neighbours, see above."""
        left, spent = len(self._pages), 0.0
        while self._costs:
            cost, column, version, next_version = heapq.heappop(self._costs)
            neighbour = self._next[column] if self._is_run[column] else -1
            if neighbour < 0 or (self._version[column], self._version[neighbour]) != (version, next_version):
                continue  # one of the two has changed since
            spent += cost
            if left <= most and spent > tolerance:
                break
            self._merge(column, neighbour)
            left -= 1

    def _merge(self, column: int, neighbour: int) -> None:
        self._pages[column] += self._pages[neighbour]
        self._mass[column] = self._mass[column] + self._mass[neighbour]
        self._is_run[neighbour] = False
        self._next[column] = after = self._next[neighbour]
        self._version[column] += 1
        self._offer(column)
        if after >= 0:
            self._before[after] = column
        if self._before[column] >= 0:
            self._offer(self._before[column])

    def _offer(self, column: int) -> None:
        """Have the cost of joining a run with the next one."""
        neighbour = self._next[column]
        if neighbour < 0:
            return
        own, other = self._pages[column], self._pages[neighbour]
        roots = np.sqrt(self._mass[column] / own) - np.sqrt(self._mass[neighbour] / other)
        cost = own * other / (own + other) * float(roots @ roots)
        heapq.heappush(self._costs, (cost, column, self._version[column], self._version[neighbour]))
