"""What a feature remembers of the steps before: nothing, a moving average, or a stack of its last values.

Whoever computes observations of such features has a state. It is explicit (`HistoryState`), begins with the first
observation after a reset, and is as small in integers and in C as here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GREATEST_LENGTH = 256
"""Steps a history reaches back at most."""


@dataclass(frozen=True)
class History:
    """What a feature remembers.

    Raises ValueError for a length that integers cannot express.
    """

    kind: Literal["none", "average", "stack"] = "none"
    """average: exponentially weighted, of weight 1 / length. stack: the last `length` values, the present one first."""
    length: int = 1
    """Steps; a power of two for an average, so that integers divide by it."""

    def __post_init__(self) -> None:
        if not 1 <= self.length <= GREATEST_LENGTH or (self.kind == "none") != (self.length == 1):
            raise ValueError(f"history of {self.length} steps: must be 2 to {GREATEST_LENGTH}, and 1 for none")
        if self.kind == "average" and self.length & (self.length - 1):
            raise ValueError(f"average over {self.length} steps: must be a power of two")

    @property
    def num_columns(self) -> int:
        """Columns of an observation that the feature takes."""
        return self.length if self.kind == "stack" else 1

    @property
    def num_kept(self) -> int:
        """Numbers it keeps from one step to the next."""
        return {"none": 0, "average": 1, "stack": self.length}[self.kind]

    @property
    def shift(self) -> int:
        """log2(length) of an average."""
        return self.length.bit_length() - 1

    def column_names(self, feature: str) -> tuple[str, ...]:
        """What a feature's columns are called."""
        if self.kind == "stack":
            return (feature, *(f"{feature}_{steps}_ago" for steps in range(1, self.length)))
        return (f"{feature}_average_{self.length}",) if self.kind == "average" else (feature,)


NO_HISTORY = History()


def average_of(steps: int) -> History:
    """An exponentially weighted moving average over this many steps."""
    return History("average", steps)


def stack_of(steps: int) -> History:
    """The last values, the present one first."""
    return History("stack", steps)


class HistoryLayout:
    """Which column of an observation holds what: a value now, some steps ago, or on average.

    Args:
        histories: in the order of their columns.
        values: number of the value that each remembers; by default its own number.
    """

    def __init__(self, histories: Sequence[History], values: Sequence[int] | None = None) -> None:
        values = range(len(histories)) if values is None else values
        self.num_values = max(values, default=-1) + 1
        starts, source = list[int](), list[int]()
        averages, lengths = list[int](), list[int]()
        for value, history in zip(values, histories, strict=True):
            column = len(source)
            starts += [value] * history.num_columns
            source += [value, *range(self.num_values + column, self.num_values + column + history.num_columns - 1)]
            if history.kind == "average":
                averages.append(column)
                lengths.append(history.length)
        self.starts = np.array(starts, dtype=np.intp)
        """intp[columns]: number of the value that is all that a machine's first observation has seen."""
        self.source = np.array(source, dtype=np.intp)
        """intp[columns]: what the next observation takes over, of the values, and after them the columns, before it."""
        self.averages = neighbours(averages)
        """Columns that are averages, which then go back to where they were but for a part of the way."""
        self.weight = 1 / np.array(lengths, dtype=np.float64)
        """float64[averages]: that part; a power of two, so that it rounds as little as a division."""
        self.is_plain = source == list(range(self.num_values)) and not averages
        """Whether the columns are the values."""

    @property
    def num_columns(self) -> int:
        """Length of an observation."""
        return len(self.starts)


class HistoryState:
    """The past of n machines, as far as an observation remembers it, which is the observation before.

    Args:
        layout: of the observation.
        num_machines: n.
    """

    def __init__(self, layout: HistoryLayout, num_machines: int) -> None:
        self._layout = layout
        # values of a step, and after them the observation before; the next one. Both are there to be written into: to
        # allocate arrays of this size anew in every step takes several times as long as all the rest
        self._before = np.zeros((num_machines, layout.num_values + layout.num_columns))
        self._next = np.zeros((num_machines, layout.num_columns))
        self._is_new = np.ones(num_machines, dtype=np.bool_)

    def restart(self, mask: NDArray[np.bool_]) -> None:
        """Forget the past of the machines under the mask bool[n]: their next observation is their first."""
        self._is_new |= mask

    def extend(self, values: Floats, mask: NDArray[np.bool_] | None = None) -> Floats:
        """Take in a step's values float64[n, values] of the machines under the mask bool[n], by default of all.

        Returns their observations float64[n, columns], of other machines the one before; the next call changes them.
        """
        layout, following = self._layout, self._next
        if layout.is_plain:
            return values
        self._before[:, : layout.num_values] = values
        last = self._before[:, layout.num_values :]
        self._before.take(layout.source, axis=1, out=following, mode="clip")  # without a mode it would use a copy
        average = last[:, layout.averages]
        moved = following[:, layout.averages] - average
        moved *= layout.weight
        moved += average
        following[:, layout.averages] = moved
        if self._is_new.any():
            following[self._is_new] = values[self._is_new][:, layout.starts]
        if mask is None:
            last[:] = following
            self._is_new[:] = False
        else:
            last[mask] = following[mask]
            self._is_new &= ~mask
        return last


def neighbours(columns: Sequence[int]) -> slice | NDArray[np.intp]:
    """An index of columns: a slice, which numpy reads in place, where they are neighbours."""
    first = columns[0] if columns else 0
    if list(columns) == list(range(first, first + len(columns))):
        return slice(first, first + len(columns))
    return np.array(columns, dtype=np.intp)
