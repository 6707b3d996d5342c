"""Heat as people know it: a law, a histogram, named classes or a file; how each becomes classes of pages.

A heat says which share of the accesses falls on which share of the pages. It stands in a workload file in place of
`classes` and `phases` (`tierenv.short_forms`), and becomes bands: runs of pages of equal heat, in the order of heat or
of addresses.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tierenv.heat_file import LEAST_PAGES, MAX_ROWS, FileHeat, read_heat_file
from tierenv.records import MAX_NAME_LENGTH, Fraction, Record, check_name, locate

Visits = Literal["random", "stride", "stream"]
"""How pages of a class are visited; see `PageClass`."""
PageShare = Annotated[float, Field(ge=LEAST_PAGES, le=1)]
"""Share of the resident pages."""

HeatFile = Annotated[str, BeforeValidator(lambda path: str(locate(path)) if isinstance(path, str) else path)]
"""A path, from the working folder."""

MAX_CLASSES = 256
"""Of a law: more look the same, and every class is so many lumps of the model."""
ROUNDING = 0.01
"""Measured shares may fall short of 1 by so much, or exceed it: they are scaled to add up to 1."""


@dataclass(frozen=True)
class Band:
    """Pages of equal heat."""

    name: str
    pages: float
    """Share of the resident pages."""
    accesses: float
    """Share of the accesses."""
    visits: Visits | None = None
    fast_at_start: float | None = None


def rounded(share: float) -> float:
    """A share to 12 digits: another machine's mathematics, which differs in the 16th, makes the same workload of it."""
    return float(f"{share:.12g}")


def power_sum(first: int, last: int, exponent: float) -> float:
    """The sum of k ** -exponent over the whole numbers k from `first` to `last`, to 12 digits.

    Terms below 64 one by one, others by the Euler-Maclaurin formula (DLMF 2.10.1) to the third derivative: what it
    leaves out is at most the next term, below 1e-16 of the sum for exponents up to 5.
    """
    s, a = exponent, max(first, 64)
    total = math.fsum(k**-s for k in range(first, min(last, 63) + 1))
    if last < a:
        return total
    growth = math.log(last / a)
    integral = a ** (1 - s) * (math.expm1((1 - s) * growth) / (1 - s) if s != 1 else growth)
    slopes = s / 12 * (a ** (-s - 1) - last ** (-s - 1))
    third = s * (s + 1) * (s + 2) / 720 * (a ** (-s - 3) - last ** (-s - 3))
    return total + integral + (a**-s + last**-s) / 2 + slopes - third


class Zipf(Record):
    """Zipf's law: the item of rank k gets k ** -exponent of the accesses that the first gets.

    Items are spread evenly over the pages in the order of their rank. A class is a run of ranks, each as many times as
    long as the one before, so that within a class heat falls by the same factor everywhere; its share of the accesses
    is the sum of the law over its ranks.
    """

    takes_marks = True

    exponent: Annotated[float, Field(gt=0, le=5)] = 0.99
    """0.99 is what the YCSB benchmark has."""
    classes: Annotated[int, Field(ge=2, le=MAX_CLASSES)] = 16
    """Classes of pages it is cut into."""
    items: Annotated[int, Field(ge=2, le=10**12)] = 1_000_000
    """What the ranks count: records, keys or pages. With more of them the hottest get less."""
    floor: Annotated[float, Field(ge=LEAST_PAGES, lt=1)] = 1e-4
    """Share of the pages in the hottest class, in which the law is not resolved further."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.items < self.classes:
            raise ValueError(f"items={self.items}: must be at least classes={self.classes}")
        return self

    def bands(self) -> list[Band]:
        """Its classes, the hottest first."""
        ends = self._ends()
        total = power_sum(1, self.items, self.exponent)
        return [
            Band(name, (high - low) / self.items, power_sum(low + 1, high, self.exponent) / total)
            for name, (low, high) in zip(numbered(self.classes), itertools.pairwise([0, *ends]), strict=True)
        ]

    def _ends(self) -> list[int]:
        """The last rank of each class: the floor's, and from there on geometric; each class has a rank."""
        ends: list[int] = []
        for number in range(self.classes):
            exact = self.items * self.floor ** (1 - number / (self.classes - 1))
            least = ends[-1] + 1 if ends else 1
            ends.append(min(max(round(exact), least), self.items - (self.classes - 1 - number)))
        return ends


class Normal(Record):
    """A normal distribution over the addresses, cut off at both ends of the memory: equal runs of addresses."""

    takes_marks = True

    deviation: Annotated[float, Field(gt=0, le=10)]
    """Standard deviation, as a share of the memory."""
    center: Fraction = 0.5
    """Where it is hottest, as a share of the memory."""
    classes: Annotated[int, Field(ge=2, le=MAX_CLASSES)] = 32
    """Classes of pages it is cut into."""

    def bands(self) -> list[Band]:
        """Its classes, in the order of addresses."""
        masses = [self._mass(number / self.classes, (number + 1) / self.classes) for number in range(self.classes)]
        total = math.fsum(masses)
        names = numbered(self.classes)
        return [Band(name, 1 / self.classes, mass / total) for name, mass in zip(names, masses, strict=True)]

    def _mass(self, start: float, end: float) -> float:
        low, high = ((edge - self.center) / (self.deviation * math.sqrt(2)) for edge in (start, end))
        if low > 0:  # erfc keeps its digits on the far side
            return (math.erfc(low) - math.erfc(high)) / 2
        return (math.erfc(-high) - math.erfc(-low)) / 2


class HeatClass(Record):
    """Pages of equal heat, by name."""

    takes_marks = True

    pages: PageShare | None = None
    """Share of the resident pages; null: what the others leave, for one of them."""
    accesses: Fraction | None = None
    """Share of the accesses; null: what the others leave, for one of them."""
    visits: Visits | None = None
    """How they are visited, as in `PageClass`."""
    fast_at_start: Fraction | None = None
    """Share of its pages that starts on the fast nodes, as in `PageClass`."""


def numbered(count: int, letter: str = "c") -> list[str]:
    """Names that sort in their order: c00, c01, ..."""
    return [f"{letter}{number:0{len(str(count - 1))}d}" for number in range(count)]


def _check_pairs(pairs: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    for what, shares in zip(("pages", "accesses"), zip(*pairs, strict=True), strict=True):
        if abs(math.fsum(shares) - 1) > ROUNDING:
            raise ValueError(f"shares of {what} must add up to 1, got {math.fsum(shares):g}")
    return pairs


def _of_pairs(pairs: Sequence[tuple[float, float]]) -> list[Band]:
    totals = [math.fsum(values) for values in zip(*pairs, strict=True)]
    names = numbered(len(pairs))
    return [
        Band(name, pages / totals[0], accesses / totals[1])
        for name, (pages, accesses) in zip(names, pairs, strict=True)
    ]


def _check_classes(classes: dict[str, HeatClass]) -> dict[str, HeatClass]:
    for name in classes:
        check_name(name)
        if len(name) > MAX_NAME_LENGTH - 10:  # parts of a class are numbered
            raise ValueError(f"{name}: a name must have at most {MAX_NAME_LENGTH - 10} characters")
    _of_classes(classes)
    return classes


def _of_classes(classes: Mapping[str, HeatClass]) -> list[Band]:
    pages = _with_rest("pages", {name: each.pages for name, each in classes.items()})
    accesses = _with_rest("accesses", {name: each.accesses for name, each in classes.items()})
    return [Band(name, pages[name], accesses[name], each.visits, each.fast_at_start) for name, each in classes.items()]


def _with_rest(field: str, shares: Mapping[str, float | None]) -> dict[str, float]:
    """The shares, scaled to add up to 1, that of the one class which has none being what the others leave."""
    unsaid = [name for name, share in shares.items() if share is None]
    total = math.fsum(share for share in shares.values() if share is not None)
    if len(unsaid) > 1:
        raise ValueError(f"{field} may be left out of one class, is of {' and '.join(unsaid)}")
    if unsaid and (total > 1 or (total == 1 and field == "pages")):
        raise ValueError(f"{unsaid[0]}.{field}: the others leave nothing, they add up to {total:g}")
    if not unsaid and abs(total - 1) > ROUNDING:
        raise ValueError(f"{field} must add up to 1, got {total:g}")
    whole = 1.0 if unsaid else total
    return {name: (1 - total if share is None else share) / whole for name, share in shares.items()}


Histogram = Annotated[
    tuple[tuple[PageShare, Fraction], ...], Field(min_length=1, max_length=MAX_ROWS), AfterValidator(_check_pairs)
]
HeatClasses = Annotated[dict[str, HeatClass], Field(min_length=1, max_length=MAX_ROWS), AfterValidator(_check_classes)]


class Heat(Record):
    """Which share of the accesses falls on which share of the pages: one of these forms."""

    zipf: Zipf | None = None
    """A power law over the ranks of items."""
    normal: Normal | None = None
    """A bell over the addresses."""
    histogram: Histogram | None = None
    """Pairs of a share of the pages and the share of the accesses on them; each of the two adds up to 1."""
    classes: HeatClasses | None = None
    """Classes by name."""
    file: HeatFile | None = None
    """Path of a CSV file, relative to this one, with columns `pages`, `accesses` or `start`, `size`, `accesses`."""

    @classmethod
    def replaced(cls, below: Mapping[str, Any], above: Mapping[str, Any]) -> set[str]:
        """The forms other than the one that stands above."""
        return set(cls.model_fields) - set(above) if above else set()

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"must be one of {', '.join(type(self).model_fields)}, got {' and '.join(given) or 'none'}"
            )
        _ = self._content  # raises for a file that is none
        return self

    @property
    def lies_in_order(self) -> bool:
        """Whether the bands are in the order of addresses, not of heat."""
        return self.normal is not None or (self._content is not None and self._content.has_addresses)

    @cached_property
    def _content(self) -> FileHeat | None:
        return None if self.file is None else read_heat_file(self.file)

    @cached_property
    def bands(self) -> list[Band]:
        """Runs of pages of equal heat; both shares add up to 1. Raises `ValueError`."""
        if self.zipf is not None:
            return self.zipf.bands()
        if self.normal is not None:
            return self.normal.bands()
        if self.histogram is not None:
            return _of_pairs(self.histogram)
        if self.classes is not None:
            return _of_classes(self.classes)
        assert self._content is not None
        return _of_pairs(self._content.shares)
