"""What every record of heat is read into: how often something was found accessed, where and when."""

from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_ADDRESS = 1 << 58
"""Above what user space (57 bits) and physical memory (52 bits) of x86-64 reach."""
MAX_TIME_S = 1e10
"""Three hundred years: no clock of a machine shows more, except by an error."""


@dataclass(frozen=True)
class ReadOptions:
    """What the user knows of how a record was made, None for what its own words or customs say."""

    sample_interval_s: float | None = None
    """Time between two checks of DAMON."""
    aggregation_interval_s: float | None = None
    """Time over which DAMON adds checks up."""
    sample_period: float | None = None
    """Accesses that a sample of perf stands for."""


class Observations(NamedTuple):
    """A batch of observations of a record, in no order; arrays of one length n."""

    time_s: NDArray[np.float64]
    """float64[n]: the middle of its time, by whatever clock; 0 where a record knows no time."""
    space: NDArray[np.int64]
    """int64[n]: number of the address space, counted from 0 in order of appearance."""
    start: NDArray[np.int64]
    """int64[n]: first byte."""
    end: NDArray[np.int64]
    """int64[n]: byte behind the last, above `start`."""
    found: NDArray[np.float64]
    """float64[n]: accesses to the whole range, or checks of a page of it that found one since the check before."""
    checks: NDArray[np.float64]
    """float64[n]: checks made, at least 1; all 0 in a record that counts accesses."""

    def chosen(self, mask: NDArray[np.bool_]) -> "Observations":
        """Those under a mask, bool[n]."""
        return Observations(
            self.time_s[mask], self.space[mask], self.start[mask], self.end[mask], self.found[mask], self.checks[mask]
        )


@dataclass
class Findings:
    """What a reader learns beside the observations, and what it has to warn of."""

    format: str
    """Of the record, more closely than by the name of the importer."""
    check_interval_s: float | None = None
    """Time between two checks; None for a record that counts accesses."""
    observation_s: float = 0.0
    """Time that an observation is of, 0 for a moment."""
    has_time: bool = True
    """Whether observations say when they were made."""
    are_counts_known: bool = True
    """Whether `found` is what happened, not only proportional to it; of records that count accesses."""
    threads: int | None = None
    """Of the program, where the record knows."""
    run_s: float | None = None
    """Time of the whole run, where the record knows."""
    accesses_per_page: float | None = None
    """Work of the whole run, where the record knows."""
    notes: list[str] = field(default_factory=list)
    """What was assumed, left out or cannot be known, one line each."""
    left_out: Tally[str] = field(default_factory=Tally)
    """Observations that were not used, by the reason why."""

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)


class Spaces:
    """Numbers of address spaces by the name that a record gives them."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}

    def number(self, name: object) -> int:
        """The number of a space, a new one for a new name."""
        return self._numbers.setdefault(name, len(self._numbers))

    def numbers(self, names: Sequence[object]) -> NDArray[np.int64]:
        """The numbers of n spaces, int64[n]."""
        known = {name: self.number(name) for name in dict.fromkeys(names)}
        return np.fromiter(map(known.__getitem__, names), np.int64, len(names))

    def __len__(self) -> int:
        return len(self._numbers)
