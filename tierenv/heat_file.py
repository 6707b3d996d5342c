"""Heat from a CSV file: shares of pages and accesses, or regions of addresses with the accesses counted in each.

    pages,accesses          start,size,accesses
    0.1,0.8                 0x7f0000000000,2GiB,182000
    0.9,0.2                 0x7f0080000000,6GiB,9100

Lines that start with # are left out; semicolons and tabs separate, too. Both columns are scaled to add up to 1: counts
do as well as shares. Regions are put in the order of their addresses; what lies between two of them is not resident.
"""

import csv
import itertools
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tierenv.errors import ConfigError
from tierenv.reading import read_text, with_point
from tierenv.units import parse_bytes, parse_number

MAX_BYTES = 128 << 10
MAX_ROWS = 1000
"""As many classes as a workload has."""
MAX_NUMBER = 1e18
"""Of a share or a count."""
MAX_ADDRESS = 1 << 64
LEAST_PAGES = 1e-9
"""Of all pages, that are a class: a page of four TiB. Of smaller ones sums of 16 digits lose the accesses."""
SHARES, REGIONS = ("pages", "accesses"), ("start", "size", "accesses")
"""The columns a file may have, in any order."""
_COLUMNS = " or ".join(", ".join(columns) for columns in (SHARES, REGIONS))

_WHOLE = re.compile(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}")


@dataclass(frozen=True)
class FileHeat:
    """What a file says."""

    shares: list[tuple[float, float]]
    """Of each row pages and accesses, of any scale."""
    has_addresses: bool
    """Whether the rows are regions, in the order of their addresses."""


def read_heat_file(path: str) -> FileHeat:
    """Read a file. Raises `ConfigError` that names file, line and column."""
    if not os.path.exists(path):  # unlike Path.exists this is False for what cannot be a path
        raise ConfigError(f"{path}: no such file")
    place = Path(path)
    rows = _rows(place)
    has_addresses = len(rows[0].header) == len(REGIONS)
    shares = _regions(rows) if has_addresses else [_Share(row, row.number("pages")) for row in rows]
    if not any(share.accesses for share in shares):
        raise ConfigError(f"{place}: accesses are all 0; one must be above")
    total = math.fsum(share.pages for share in shares)
    for share in shares:
        if share.pages < LEAST_PAGES * total:
            raise ConfigError(f"{share.row.where}: has {share.pages / total:g} of all pages; must have {LEAST_PAGES:g}")
    return FileHeat([(share.pages, share.accesses) for share in shares], has_addresses)


def _rows(place: Path) -> list["_Row"]:
    """The rows below the names of the columns, one at least."""
    lines = [
        (number, line)
        for number, line in enumerate(read_text(place, MAX_BYTES).splitlines(), 1)
        if line.strip() and line[0] != "#"
    ]
    if not lines:
        raise ConfigError(f"{place}: is empty; its first line must name the columns {_COLUMNS}")
    (first, names), *others = lines
    delimiter = next((mark for mark in ";\t" if mark in names), ",")
    header = _cells(names, delimiter)
    if sorted(header) not in (sorted(SHARES), sorted(REGIONS)):
        raise ConfigError(f"{place}:{first}: must name the columns {_COLUMNS}")
    if not 1 <= len(others) <= MAX_ROWS:
        raise ConfigError(f"{place}: has {len(others)} rows below the names of its columns; must have 1 to {MAX_ROWS}")
    return [_Row(f"{place}:{number}", header, _cells(line, delimiter)) for number, line in others]


def _cells(line: str, delimiter: str) -> list[str]:
    """The values of a line; where something else than a comma separates them, it may be a decimal one."""
    values = [value.strip() for value in next(csv.reader([line], delimiter=delimiter))]
    return values if delimiter == "," else [with_point(value) for value in values]


@dataclass(frozen=True)
class _Row:
    where: str
    header: list[str]
    values: list[str]

    def __post_init__(self) -> None:
        if len(self.values) != len(self.header):
            raise ConfigError(f"{self.where}: has {len(self.values)} values, the header names {len(self.header)}")

    def text(self, column: str) -> str:
        return self.values[self.header.index(column)]

    def number(self, column: str) -> float:
        """A share or a count: pages are above 0."""
        try:
            number = parse_number(self.text(column))
        except ValueError:
            number = math.inf
        if number > MAX_NUMBER or (column == "pages" and number < 1 / MAX_NUMBER):
            least = "above 0" if column == "pages" else "of at least 0"
            raise ConfigError(f"{self.where}: {column}={_shown(self.text(column))}: must be a number {least}")
        return number

    def whole_bytes(self, column: str, least: int, example: str) -> int:
        """An address or a size: whole bytes, decimal or hexadecimal, or a quantity."""
        text = self.text(column)
        try:
            number = int(text, 0 if "x" in text.lower() else 10) if _WHOLE.fullmatch(text) else parse_bytes(text)
        except ValueError:
            number = -1
        if not least <= number <= MAX_ADDRESS:
            raise ConfigError(f"{self.where}: {column}={_shown(text)}: must be {example}")
        return number


def _shown(text: str) -> str:
    """What a refusal quotes: no more than a number takes, for the file may be anybody's."""
    return repr(text[:20])


class _Share(NamedTuple):
    row: _Row
    pages: float

    @property
    def accesses(self) -> float:
        return self.row.number("accesses")


def _regions(rows: Sequence[_Row]) -> list[_Share]:
    """The rows in the order of their addresses."""
    regions = sorted(
        (
            row.whole_bytes("start", 0, "an address such as 0x7f0000000000"),
            row.whole_bytes("size", 1, "bytes such as 4096 or 2GiB, above 0"),
            number,
        )
        for number, row in enumerate(rows)
    )
    for (start, size, _), (later, _, number) in itertools.pairwise(regions):
        if start + size > later:
            raise ConfigError(f"{rows[number].where}: the region at {later:#x} overlaps the one at {start:#x}")
    return [_Share(rows[number], float(size)) for _, size, number in regions]
