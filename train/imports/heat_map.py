"""Where and when a record found accesses, as a table of limited size whatever the record's.

Rows are stretches of time, columns stretches of the addresses that the record speaks of. When a row or a column is
lacking, two by two become one and twice as long, so that a record is read once and the table never outgrows its limits.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.errors import ConfigError
from tierenv.train.imports.observations import Observations
from tierenv.units import PAGE_BYTES

TIME_BINS = 256
ADDRESS_BINS = 8192
FIRST_WIDTH_S = 1e-6
"""Of a row of a record that has but one time."""

_SPACE_BITS = 14
_INDEX_BITS = 62 - _SPACE_BITS
"""A column's key: number of its address space, then its place in it."""
_MOST_INDEX = (1 << _INDEX_BITS) - 1
_ROWS_AT_ONCE = 32
"""Of those that a batch touches: what is worked on at a time."""


@dataclass(frozen=True)
class Heat:
    """What a record found, T times and K columns in order of (address space, address)."""

    found: NDArray[np.float64]
    """float64[T, K]: accesses, or bytes times checks that found one."""
    checked: NDArray[np.float64]
    """float64[T, K]: bytes times checks; 0 in a record that counts accesses."""
    start_s: float
    """When the first row begins, by the record's clock."""
    row_s: float
    """Length of a row."""
    first_s: float
    """Earliest time of an observation."""
    last_s: float
    """Latest."""
    column_bytes: NDArray[np.int64]
    """int64[K]: what of each column the record speaks of."""
    column_space: NDArray[np.int64]
    """int64[K]: its address space."""
    step_bytes: int
    """Length of a whole column."""
    num_observations: int

    @property
    def size_bytes(self) -> int:
        """All that the record speaks of."""
        return int(self.column_bytes.sum())


class HeatMap:
    """Takes in observations, in whatever order."""

    def __init__(self) -> None:
        self._shift = 0
        """Twofold columns since a column was a page."""
        self._keys = np.empty(0, dtype=np.int64)
        """int64[K], sorted."""
        self._low = np.empty(0, dtype=np.int64)
        """int64[K]: first byte of each column that the record speaks of, counted from the column's first."""
        self._high = np.empty(0, dtype=np.int64)
        """int64[K]: byte behind the last."""
        self._found = np.zeros((TIME_BINS, 0))
        self._checked = np.zeros((TIME_BINS, 0))
        self._width_s = 0.0
        self._first_row = 0
        """Number of the first row; row r is of times r to r + 1 widths."""
        self._times_s = (math.inf, -math.inf)
        self._num_observations = 0

    def add(self, batch: Observations) -> None:
        """Take a batch in. Raises `ConfigError` for more address spaces than there is room for."""
        if len(batch.time_s) == 0:
            return
        if int(batch.space.max()) >> _SPACE_BITS:
            raise ConfigError(f"holds more than {1 << _SPACE_BITS} address spaces")
        self._num_observations += len(batch.time_s)
        row = self._rows_of(batch.time_s)
        self._make_columns(batch)
        first = np.searchsorted(self._keys, self._key(batch.space, batch.start))
        last = np.searchsorted(self._keys, self._key(batch.space, batch.end - 1))
        self._cover(batch, first, last)
        rows, local = np.unique(row, return_inverse=True)
        for low in range(0, len(rows), _ROWS_AT_ONCE):
            chosen = (local >= low) & (local < low + _ROWS_AT_ONCE)
            self._spread(
                batch.chosen(chosen), rows[low : low + _ROWS_AT_ONCE], local[chosen] - low, first[chosen], last[chosen]
            )

    def heat(self) -> Heat:
        """What was taken in. Raises `ConfigError` if that is nothing."""
        if self._num_observations == 0:
            raise ConfigError("holds no observation of an access")
        first_s, last_s = self._times_s
        used = np.arange(TIME_BINS)[
            self._row_of(first_s) - self._first_row : self._row_of(last_s) - self._first_row + 1
        ]
        return Heat(
            found=self._found[used],
            checked=self._checked[used],
            start_s=self._row_of(first_s) * self._width_s,
            row_s=self._width_s,
            first_s=first_s,
            last_s=last_s,
            column_bytes=self._high - self._low,
            column_space=self._keys >> _INDEX_BITS,
            step_bytes=self._step,
            num_observations=self._num_observations,
        )

    @property
    def _step(self) -> int:
        return PAGE_BYTES << self._shift

    def _key(self, space: NDArray[np.int64], address: NDArray[np.int64]) -> NDArray[np.int64]:
        return (space << _INDEX_BITS) + address // self._step

    def _row_of(self, time_s: float) -> int:
        return math.floor(time_s / self._width_s)

    # rows

    def _rows_of(self, time_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """Rows of times, int64[n], counted from the first in the table, which is made to hold them."""
        low_s, high_s = float(time_s.min()), float(time_s.max())
        if self._width_s == 0:
            self._width_s = max((high_s - low_s) / TIME_BINS * 2, FIRST_WIDTH_S)
            self._first_row = self._row_of(low_s)
        low_s, high_s = min(low_s, self._times_s[0]), max(high_s, self._times_s[1])
        while self._row_of(high_s) - self._row_of(low_s) >= TIME_BINS:
            self._double_rows()
        self._times_s = low_s, high_s
        lowest = self._row_of(low_s)
        if lowest < self._first_row or self._row_of(high_s) - self._first_row >= TIME_BINS:
            moved = self._first_row - lowest
            for table in (self._found, self._checked):
                table[...] = np.roll(table, moved, axis=0)  # what comes round is empty
            self._first_row = lowest
        return np.floor(time_s / self._width_s).astype(np.int64) - self._first_row

    def _double_rows(self) -> None:
        numbers = (self._first_row + np.arange(TIME_BINS)) // 2
        self._first_row //= 2
        self._width_s *= 2
        self._found = summed(self._found, numbers - self._first_row, TIME_BINS)
        self._checked = summed(self._checked, numbers - self._first_row, TIME_BINS)

    # columns

    def _make_columns(self, batch: Observations) -> None:
        """Have a column for every byte of a batch."""
        while True:
            starts, ends = _union(self._key(batch.space, batch.start), self._key(batch.space, batch.end - 1))
            wanted = int((ends - starts + 1).sum())
            if wanted <= ADDRESS_BINS:
                lengths = ends - starts + 1
                offsets = np.arange(wanted) - np.repeat(np.cumsum(lengths) - lengths, lengths)
                keys = np.union1d(self._keys, np.repeat(starts, lengths) + offsets)
                if len(keys) <= ADDRESS_BINS:
                    break
            if self._step > _MOST_INDEX * PAGE_BYTES >> 1:
                raise ConfigError(f"speaks of more than {ADDRESS_BINS} stretches of memory in as many address spaces")
            self._double_columns()
        if len(keys) > len(self._keys):
            place = np.searchsorted(keys, self._keys)
            self._found = _widened(self._found, place, len(keys))
            self._checked = _widened(self._checked, place, len(keys))
            low, high = np.full(len(keys), self._step, dtype=np.int64), np.zeros(len(keys), dtype=np.int64)
            low[place], high[place] = self._low, self._high
            self._keys, self._low, self._high = keys, low, high

    def _double_columns(self) -> None:
        space, index = self._keys >> _INDEX_BITS, self._keys & _MOST_INDEX
        is_upper = index & 1
        self._low, self._high = self._low + is_upper * self._step, self._high + is_upper * self._step
        self._shift += 1
        keys, place = np.unique((space << _INDEX_BITS) + (index >> 1), return_inverse=True)
        low, high = np.full(len(keys), self._step, dtype=np.int64), np.zeros(len(keys), dtype=np.int64)
        np.minimum.at(low, place, self._low)
        np.maximum.at(high, place, self._high)
        self._found = summed(self._found.T, place, len(keys)).T
        self._checked = summed(self._checked.T, place, len(keys)).T
        self._keys, self._low, self._high = keys, low, high

    def _cover(self, batch: Observations, first: NDArray[np.int64], last: NDArray[np.int64]) -> None:
        """Note which bytes of their columns the batch speaks of: mostly none that no batch before did."""
        is_part = np.cumsum(np.concatenate(([False], (self._low > 0) | (self._high < self._step))))
        is_new = (
            (self._low[first] > batch.start % self._step)
            | (self._high[last] < (batch.end - 1) % self._step + 1)
            | ((last > first) & ((self._high[first] < self._step) | (self._low[last] > 0)))
            | ((last > first + 1) & (is_part[last] > is_part[np.minimum(first + 1, last)]))
        )
        batch, first, last = batch.chosen(is_new), first[is_new], last[is_new]
        np.minimum.at(self._low, first, batch.start % self._step)
        np.minimum.at(self._low, last[last > first], 0)
        np.maximum.at(self._high, last, (batch.end - 1) % self._step + 1)
        np.maximum.at(self._high, first[last > first], self._step)
        inside = np.zeros(len(self._keys) + 1, dtype=np.int64)
        np.add.at(inside, first + 1, 1)
        np.add.at(inside, np.maximum(last, first + 1), -1)
        whole = np.cumsum(inside)[:-1] > 0
        self._low[whole], self._high[whole] = 0, self._step

    # contents

    def _spread(
        self,
        batch: Observations,
        rows: NDArray[np.int64],
        row: NDArray[np.int64],
        first: NDArray[np.int64],
        last: NDArray[np.int64],
    ) -> None:
        """Add observations to the columns they lie in, by the bytes they share with each.

        Args:
            batch: n observations.
            rows: the rows they are of, int64[R].
            row: int64[n]: which of these each is of.
            first: int64[n]: first column of each.
            last: int64[n]: last one.
        """
        bytes_in_all = (batch.end - batch.start).astype(np.float64)
        counted = np.where(batch.checks > 0, 1.0, 1.0 / bytes_in_all)
        in_last = (batch.end - (batch.end - 1) // self._step * self._step).astype(np.float64)
        in_first = np.where(last > first, self._step - batch.start % self._step, batch.end - batch.start)
        in_last = np.where(last > first, in_last, 0.0)
        wide = last > first + 1
        for table, each in ((self._found, batch.found * counted), (self._checked, batch.checks)):
            if not each.any():
                continue
            shape = (len(rows), table.shape[1] + 1)
            edges = _placed(shape, (row, first, each * in_first), (row, last, each * in_last))
            if wide.any():
                inner = each[wide] * self._step
                steps = _placed(shape, (row[wide], first[wide] + 1, inner), (row[wide], last[wide], -inner))
                is_found = each[wide] > 0
                covers = _placed(
                    shape, (row[wide], first[wide] + 1, is_found), (row[wide], last[wide], -is_found.astype(np.float64))
                )
                # sums and differences of fractions leave traces where nothing is
                edges += np.where(np.cumsum(covers, axis=1) > 0, np.cumsum(steps, axis=1), 0.0)
            table[rows] += edges[:, :-1]


def _placed(
    shape: tuple[int, int], *entries: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]
) -> NDArray[np.float64]:
    """A table, float64[shape], of the sums of what is to be put into its rows and columns."""
    flat = np.concatenate([row * shape[1] + column for row, column, _ in entries])
    weights = np.concatenate([weight for _, _, weight in entries]).astype(np.float64)
    return np.bincount(flat, weights, shape[0] * shape[1]).reshape(shape).astype(np.float64)


def _union(first: NDArray[np.int64], last: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last of the runs, in order, that ranges of whole numbers make together."""
    order = np.argsort(first, kind="stable")
    first, reach = first[order], np.maximum.accumulate(last[order])
    begins = np.concatenate(([True], first[1:] > reach[:-1] + 1))
    ends = np.concatenate((begins[1:], [True]))
    return first[begins], reach[ends]


def summed(table: NDArray[np.float64], place: NDArray[np.int64], length: int) -> NDArray[np.float64]:
    """Rows of a table, added up where they go to, in rising order: float64[length, columns]."""
    out = np.zeros((length, table.shape[1]))
    if len(table):
        starts = np.flatnonzero(np.diff(place, prepend=place[0] - 1))
        out[place[starts]] = np.add.reduceat(table, starts, axis=0)
    return out


def _widened(table: NDArray[np.float64], place: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """A table whose columns have moved, among new ones of nothing."""
    out = np.zeros((len(table), width))
    out[:, place] = table
    return out
