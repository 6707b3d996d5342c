"""A table of heat: ranges of addresses and the accesses to each, perhaps of several times.

The first line names the columns: `start` and `end` or `size`, `accesses`, and perhaps `time`, in any order, each with
its unit behind an underscore or in brackets: `start_mib`, `size [GiB]`, `time (ms)`. Without one, addresses are bytes
and times seconds. Values are separated by commas, semicolons or tabs, addresses may be hexadecimal (0x...); in a table
with semicolons or tabs decimals may have a comma. Lines that start with # are comments.
"""

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
_MOST_ACCESSES = 1e18


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

    def values(self, texts: Sequence[str]) -> list[float]:
        """Its values, whole ones exact. Raises ValueError."""
        factor = self.factor
        if factor == 1 and all(map(_WHOLE.fullmatch, texts)):
            return list(map(int, texts))
        return [self.value(text) for text in texts]

    def value(self, text: str) -> float:
        """A value. Raises ValueError for what is no number that is finite and not negative."""
        text = text.strip()
        if _WHOLE.fullmatch(text):
            return int(text) * self.factor
        if text[:2] in ("0x", "0X"):
            if len(text) > 18 or self.name not in ("start", "end", "size"):
                raise ValueError
            return int(text, 16) * self.factor
        number = float(text.replace(",", ".") if self.has_commas else text) * self.factor
        if not (math.isfinite(number) and number >= 0) or len(text) > 40:
            raise ValueError
        return number


def read_heat_csv(record: RecordFile, _options: ReadOptions, findings: Findings) -> Iterator[Observations]:
    """Every line. Raises `ConfigError` that names line and column."""
    findings.format = "a table of accesses"
    columns: list[_Column] = []
    delimiter = ","
    num_columns = 0
    for first, block in record.blocks():
        try:
            text = block.decode("utf-8-sig" if first == 1 else "utf-8")
        except UnicodeDecodeError as error:
            number = first + block[: error.start].count(b"\n")
            raise record.bad_line(number, f"not UTF-8: {error.reason}") from None
        lines = [
            (number, line)
            for number, line in enumerate(text.split("\n"), first)
            if line.strip() and not line.startswith("#")
        ]
        if lines and not columns:
            number, head = lines.pop(0)
            delimiter = next((mark for mark in ";\t" if mark in head), ",")
            names = _split([(number, head)], delimiter, record)[0]
            num_columns = len(names)
            columns = _columns(record, number, names, delimiter)
            findings.has_time = any(column.name == "time" for column in columns)
        if lines:
            yield _observations(record, lines, columns, num_columns, delimiter)
    if not columns:
        raise ConfigError(f"{record.path}: is empty; its first line must name the columns {', '.join(_COLUMNS)}")
    if not findings.has_time:
        findings.note("the table knows no time: the heat is one phase (say --seconds for what the run took)")


def _split(lines: list[tuple[int, str]], delimiter: str, record: RecordFile) -> list[list[str]]:
    try:
        return list(csv.reader((line for _, line in lines), delimiter=delimiter))
    except csv.Error as error:
        raise record.bad_line(lines[0][0], f"not CSV from here on: {error}") from None


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


def _observations(
    record: RecordFile, lines: list[tuple[int, str]], columns: list[_Column], num_columns: int, delimiter: str
) -> Observations:
    rows = _split(lines, delimiter, record)
    values: dict[str, NDArray[np.float64]] = {}
    if len(rows) != len(lines) or any(len(row) != num_columns for row in rows):
        for (number, _), row in zip(lines, rows, strict=False):
            if len(row) != num_columns:
                raise record.bad_line(number, f"has {len(row)} values; the first line names {num_columns} columns")
        raise record.bad_line(lines[0][0], "a quoted value goes over several lines from here on")
    texts = list(zip(*rows, strict=True))
    for column in columns:
        most = {"accesses": _MOST_ACCESSES, "time": MAX_TIME_S}.get(column.name, MAX_ADDRESS)
        kind = np.float64 if column.name in ("accesses", "time") else np.int64
        try:
            numbers = column.values(texts[column.place])
            if max(numbers) > most:
                raise ValueError
            values[column.name] = np.array(numbers).astype(kind)
        except (ValueError, OverflowError):
            raise _bad_value(record, lines, texts, column, most) from None
    end = values["end"] if "end" in values else values["start"] + values["size"]
    is_bad = (end <= values["start"]) | (end > MAX_ADDRESS)
    if is_bad.any():
        raise record.bad_line(lines[int(np.argmax(is_bad))][0], "a range must end behind its start, at most at 2^58")
    count = len(lines)
    return Observations(
        time_s=values.get("time", np.zeros(count)),
        space=np.zeros(count, dtype=np.int64),
        start=values["start"].astype(np.int64),
        end=end.astype(np.int64),
        found=values["accesses"],
        checks=np.zeros(count),
    )


def _bad_value(
    record: RecordFile, lines: list[tuple[int, str]], texts: list[tuple[str, ...]], column: _Column, most: float
) -> ConfigError:
    for (number, _), text in zip(lines, texts[column.place], strict=True):
        try:
            if column.value(text) <= most:
                continue
        except (ValueError, OverflowError):
            pass
        return record.bad_line(number, f"{column.name}={text[:40]!r}: must be a number from 0 to {most:.4g}")
    return record.bad_line(lines[0][0], f"{column.name}: must be numbers from 0 to {most:.4g}")
