"""A table of heat: ranges of addresses and the accesses to each, perhaps of several times.

The first line names the columns: `start` and `end` or `size`, `accesses`, and perhaps `time`, in any order, each with
its unit behind an underscore or in brackets: `start_mib`, `size [GiB]`, `time (ms)`. Without one, addresses are bytes
and times seconds. Values are separated by commas, semicolons or tabs, addresses may be hexadecimal (0x...); in a table
with semicolons or tabs decimals may have a comma. Lines that start with # are comments.
"""

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.errors import ConfigError, close_match
from tierenv.train.imports.observations import MAX_ADDRESS, MAX_TIME_S, Findings, Observations, ReadOptions
from tierenv.train.imports.record_file import RecordFile
from tierenv.units import PAGE_BYTES

_COLUMNS = ("start", "end", "size", "accesses", "time")
_BYTES: dict[str, float] = {
    "": 1,
    "b": 1,
    "bytes": 1,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
    "pages": PAGE_BYTES,
}
_TIMES_S = {"": 1.0, "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_COUNTS = {"": 1.0}
_UNITS: dict[str, dict[str, float]] = {
    **dict.fromkeys(("start", "end", "size"), _BYTES),
    "accesses": _COUNTS,
    "time": _TIMES_S,
}
_NAME = re.compile(r"([a-z]+)(?:_([a-z]+)| ?\[([a-z]+)\]| ?\(([a-z]+)\))?")
_WHOLE = re.compile(r"\d{1,20}")
_MOST = dict.fromkeys(("start", "end", "size"), float(MAX_ADDRESS)) | {"accesses": 1e18, "time": MAX_TIME_S}
_ODD = (b'"', b"#", b"_")
"""What makes a line more than numbers, or a number that Python alone takes for one."""


@dataclass(frozen=True)
class _Column:
    """A column that is read."""

    name: str
    place: int
    """In a line."""
    factor: float
    """Of its unit."""
    has_commas: bool
    """Whether decimals may be written with a comma."""

    @property
    def most(self) -> float:
        """Largest value."""
        return _MOST[self.name]

    def values(self, texts: Sequence[str], is_plain: bool) -> NDArray[Any]:
        """Its values, whole ones exact. Raises ValueError.

        Args:
            texts: as they stand in the lines.
            is_plain: whether they are free of `_ODD`.
        """
        for kind in (int, float) if is_plain else ():
            try:
                numbers = np.array(list(map(kind, texts)), dtype=kind)
            except (ValueError, OverflowError):
                continue
            if numbers.min() >= 0 and numbers.max() <= self.most / self.factor:
                return numbers * self.factor
        return np.array([self.value(text) for text in texts])

    def value(self, text: str) -> float:
        """A value. Raises ValueError for what is no number, negative or too large."""
        text = text.strip()
        if _WHOLE.fullmatch(text):
            number = int(text) * self.factor
        elif text[:2] in ("0x", "0X") and len(text) <= 18 and self.most == MAX_ADDRESS:
            number = int(text, 16) * self.factor
        elif len(text) <= 40 and "_" not in text:
            number = float(text.replace(",", ".") if self.has_commas else text) * self.factor
        else:
            raise ValueError("is no number")
        if not 0 <= number <= self.most:
            raise ValueError("is negative or too large")
        return number


@dataclass
class _Lines:
    """Lines of a record behind the one that names the columns."""

    record: RecordFile
    first: int
    """Number of the first."""
    block: bytes
    delimiter: str
    num_columns: int

    def columns(self) -> tuple[bool, list[Sequence[str]]]:
        """Whether they are plain numbers, and the texts of each column. Raises `ConfigError`."""
        if not any(mark in self.block for mark in _ODD) and self.block.isascii() and self._is_grid():
            flat = self.block.rstrip(b"\n").decode("ascii").replace("\n", self.delimiter).split(self.delimiter)
            return True, [flat[place :: self.num_columns] for place in range(self.num_columns)]
        rows = [row for _, row in self.rows()]
        return False, [[row[place] for row in rows] for place in range(self.num_columns)]

    def _is_grid(self) -> bool:
        """Whether every line has all columns, none more."""
        content = np.frombuffer(self.block.rstrip(b"\n") + b"\n", dtype=np.uint8)
        marks = np.cumsum(content == ord(self.delimiter))[content == ord("\n")]
        return bool((np.diff(marks, prepend=0) == self.num_columns - 1).all())

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Number and values of every line that is no comment. Raises `ConfigError`."""
        for number, line in enumerate(self.block.split(b"\n"), self.first):
            if not line.strip() or line.startswith(b"#"):
                continue
            row = _split(self.record, number, line, self.delimiter)
            if len(row) != self.num_columns:
                cause = f"has {len(row)} values; the first line names {self.num_columns} columns"
                raise self.record.bad_line(number, cause)
            yield number, row


def read_heat_csv(record: RecordFile, _options: ReadOptions, findings: Findings) -> Iterator[Observations]:
    """Every line. Raises `ConfigError` that names line and column."""
    findings.format = "a table of accesses"
    columns: list[_Column] = []
    delimiter, num_columns = ",", 0
    for first, block in record.blocks():
        content = block.removeprefix(b"\xef\xbb\xbf") if first == 1 else block
        while not columns and content:
            line, _, content = content.partition(b"\n")
            if line.strip() and not line.startswith(b"#"):
                delimiter = next((mark for mark in ";\t" if mark.encode() in line), ",")
                names = _split(record, first, line, delimiter)
                num_columns, columns = len(names), _columns(record, first, names, delimiter)
            first += 1
        findings.has_time = any(column.name == "time" for column in columns)
        if content.strip():
            yield from _observations(_Lines(record, first, content, delimiter, num_columns), columns)
    if not columns:
        raise ConfigError(f"{record.path}: is empty; its first line must name the columns {', '.join(_COLUMNS)}")
    if not findings.has_time:
        findings.note("the table knows no time: the heat is one phase (say --seconds for what the run took)")


def _split(record: RecordFile, number: int, line: bytes, delimiter: str) -> list[str]:
    try:
        rows = list(csv.reader([line.decode("utf-8")], delimiter=delimiter))
    except UnicodeDecodeError as error:
        raise record.bad_line(number, f"not UTF-8: {error.reason}") from None
    except csv.Error:
        raise record.bad_line(number, "is no line of CSV") from None
    return rows[0] if rows else []


def _columns(record: RecordFile, number: int, names: list[str], delimiter: str) -> list[_Column]:
    columns: dict[str, _Column] = {}
    for place, text in enumerate(names):
        match = _NAME.fullmatch(text.strip().lower())
        name = match[1] if match else ""
        if match is None or name not in _COLUMNS:
            known = ", ".join(_COLUMNS)
            hint = close_match(text[:40], _COLUMNS)
            raise record.bad_line(number, f"unknown column {text[:40]!r}{hint}; columns are {known}, with their units")
        unit, units = match[2] or match[3] or match[4] or "", _UNITS[name]
        if unit not in units:
            allowed = ", ".join(word for word in units if word) or "none"
            raise record.bad_line(number, f"column {name}: unknown unit {unit[:40]!r}; allowed: {allowed}")
        if name in columns:
            raise record.bad_line(number, f"column {name} is there twice")
        columns[name] = _Column(name, place, units[unit], has_commas=delimiter != ",")
    for missing in ("start", "accesses"):
        if missing not in columns:
            raise record.bad_line(number, f"lacks the column {missing}")
    if ("end" in columns) == ("size" in columns):
        raise record.bad_line(number, "must have one of the columns end and size")
    return list(columns.values())


def _observations(lines: _Lines, columns: list[_Column]) -> Iterator[Observations]:
    is_plain, texts = lines.columns()
    values: dict[str, NDArray[Any]] = {}
    for column in columns:
        try:
            values[column.name] = column.values(texts[column.place], is_plain)
        except (ValueError, OverflowError):
            raise _bad_value(lines, column) from None
    count = len(values["start"])
    if not count:
        return
    start = np.rint(values["start"]).astype(np.int64)
    end = np.rint(values["end"] if "end" in values else values["start"] + values["size"]).astype(np.int64)
    if ((end <= start) | (end > MAX_ADDRESS)).any():
        worst = int(np.argmax((end <= start) | (end > MAX_ADDRESS)))
        number = next(itertools.islice(lines.rows(), worst, None))[0]
        raise lines.record.bad_line(number, "a range must end behind its start, at most at 2^58")
    yield Observations(
        time_s=values.get("time", np.zeros(count)).astype(np.float64),
        space=np.zeros(count, dtype=np.int64),
        start=start,
        end=end,
        found=values["accesses"].astype(np.float64),
        checks=np.zeros(count),
    )


def _bad_value(lines: _Lines, column: _Column) -> ConfigError:
    for number, row in lines.rows():
        text = row[column.place]
        try:
            column.value(text)
        except (ValueError, OverflowError):
            cause = f"{column.name}={text[:40]!r}: must be a number from 0 to {column.most / column.factor:.4g}"
            return lines.record.bad_line(number, cause)
    return lines.record.bad_line(lines.first, f"{column.name}: must be numbers")
