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


class HistoryState:
    """The past of n machines, as far as some features remember it.

    Args:
        histories: of each feature, in the order of their scaled values.
        num_machines: n.
    """

    def __init__(self, histories: Sequence[History], num_machines: int) -> None:
        self._histories = tuple(histories)
        self._kept = [np.zeros((num_machines, history.num_kept)) for history in self._histories]
        self._is_new = np.ones(num_machines, dtype=np.bool_)

    def restart(self, mask: NDArray[np.bool_]) -> None:
        """Forget the past of the machines under the mask bool[n]: their next observation is their first."""
        self._is_new |= mask

    def extend(self, values: Floats, mask: NDArray[np.bool_]) -> Floats:
        """Take in a step's values float64[n, features] of machines under the mask, and return float64[n, columns]."""
        columns = []
        for history, kept, value in zip(self._histories, self._kept, values.T, strict=True):
            if history.kind == "average":
                moved = kept[:, 0] + (value - kept[:, 0]) / history.length
                kept[mask, 0] = np.where(self._is_new, value, moved)[mask]
                columns.append(kept[:, :1])
            elif history.kind == "stack":
                shifted = np.concatenate((value[:, None], kept[:, :-1]), axis=1)
                kept[mask] = np.where(self._is_new[:, None], value[:, None], shifted)[mask]
                columns.append(kept)
            else:
                columns.append(value[:, None])
        self._is_new &= ~mask
        return np.concatenate(columns, axis=1)
