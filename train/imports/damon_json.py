"""DAMON's records as JSON, as damo 2 and 3 write them: a list of records, each with a list of snapshots."""

from collections.abc import Iterator
from typing import Any

import ijson
import numpy as np

from tierenv.errors import ConfigError
from tierenv.train.imports.batches import Batches
from tierenv.train.imports.damon_times import Checks, capped, parse_time_s
from tierenv.train.imports.observations import MAX_ADDRESS, Findings, Observations, ReadOptions, Spaces
from tierenv.train.imports.record_file import RecordFile

_RECORD = "item"
_SNAPSHOT = "item.snapshots.item"
_REGION = "item.snapshots.item.regions.item"
_REGION_VALUES = {
    f"{_REGION}.start": 0,
    f"{_REGION}.end": 1,
    f"{_REGION}.nr_accesses.samples": 2,
    f"{_REGION}.nr_accesses": 2,
}
_RECORD_TIMES = {"item.intervals.sample_us": "sample", "item.intervals.aggr_us": "aggregation"}
_RECORD_NAMES = ("item.kdamond_idx", "item.context_idx", "item.target_id")
"""What an address space is known by."""
_SNAPSHOT_TIMES = {
    f"{_SNAPSHOT}.start_time": ("start", 1e-9),
    f"{_SNAPSHOT}.end_time": ("end", 1e-9),
    f"{_SNAPSHOT}.sample_interval_us": ("sample", 1e-6),
}
_VALUES = ("string", "number")
MAX_BYTES_BETWEEN = 32 << 20
"""From one region to the next: what stands there is held in memory."""


def read_json(record: RecordFile, options: ReadOptions, findings: Findings) -> Iterator[Observations]:
    """Regions of all snapshots. Raises `ConfigError` that names the snapshot."""
    findings.format = "damo's JSON, compressed" if record.is_compressed else "damo's JSON"
    reader, source = _Reader(options, findings), _Source(record)
    try:
        for prefix, event, value in ijson.parse(source, use_float=True):
            column = _REGION_VALUES.get(prefix)
            if column is not None:
                if event in _VALUES:
                    reader.region[column] = _whole_number(value)
            elif event == "end_map" and prefix == _REGION:
                reader.end_region()
                source.since_region = 0
            elif prefix.startswith(_RECORD):
                reader.other(prefix, event, value)
                if reader.batches.is_full:
                    yield reader.batches.take()
    except ijson.JSONError:
        raise ConfigError(f"{record.path}: JSON that is not valid or cut off, {reader.place}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{record.path}: not UTF-8, {reader.place}") from None
    except (ValueError, OverflowError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{record.path}: {reader.place}: {error}") from None
    if not reader.num_snapshots:
        raise ConfigError(f"{record.path}: holds no snapshot; must be a list of records as `damo record` writes it")
    yield reader.batches.take()


def _whole_number(value: object) -> int:
    """An address or a count, which damo writes with commas. Raises ValueError."""
    if isinstance(value, str):
        value = value.replace(",", "")
        if not (value.isascii() and value.isdigit() and len(value) <= 20):
            raise ValueError("a region's start, end and nr_accesses must be whole numbers")
    number = int(value)  # type: ignore[call-overload]
    if isinstance(value, float) and number != value:
        raise ValueError("a region's start, end and nr_accesses must be whole numbers")
    return int(number)


class _Source:
    """What the parser reads from."""

    def __init__(self, record: RecordFile) -> None:
        self._record = record
        self.since_region = 0
        """Bytes."""

    def read(self, most_bytes: int) -> bytes:
        """Some bytes more. Raises `ConfigError` if no region came in the last ones."""
        content = self._record.read(most_bytes)
        self.since_region += len(content)
        if self.since_region > MAX_BYTES_BETWEEN:
            raise ConfigError(f"{self._record.path}: more than {MAX_BYTES_BETWEEN} bytes without a region")
        return content


class _Reader:
    """Where in the JSON one is, and what was read of the snapshot and the record around it."""

    def __init__(self, options: ReadOptions, findings: Findings) -> None:
        self.batches = Batches()
        self.region: list[int | None] = [None, None, None]
        self.num_snapshots = 0
        self._findings = findings
        self._checks = Checks(options, findings)
        self._spaces = Spaces()
        self._names: dict[str, object] = {}
        self._record_s: dict[str, float] = {}
        self._snapshot_s: dict[str, float] = {}

    @property
    def place(self) -> str:
        """For errors: the snapshot that is being read, or behind which something is wrong."""
        return f"in snapshot {self.num_snapshots + 1}"

    def end_region(self) -> None:
        """A region is complete. Raises ValueError for one that is none."""
        start, end, found = self.region
        self.region = [None, None, None]
        if start is None or end is None or found is None:
            raise ValueError("a region must have start, end and nr_accesses.samples")
        if not 0 <= start < end <= MAX_ADDRESS:
            raise ValueError("a region must begin below its end, at most at 2^58")
        if found < 0:
            raise ValueError(f"nr_accesses={found}: must not be negative")
        self.batches.add(start, end, float(found))

    def other(self, prefix: str, event: str, value: Any) -> None:
        """Anything that is no value of a region. Raises ValueError."""
        if event in _VALUES:
            if prefix in _SNAPSHOT_TIMES:
                name, unit_s = _SNAPSHOT_TIMES[prefix]
                self._snapshot_s[name] = parse_time_s(value, unit_s)
            elif prefix in _RECORD_TIMES:
                self._record_s[_RECORD_TIMES[prefix]] = parse_time_s(value, 1e-6)
            elif prefix in _RECORD_NAMES:
                self._names[prefix] = value
        elif event == "start_map" and prefix == _RECORD:
            self._names, self._record_s = dict.fromkeys(_RECORD_NAMES), {}
        elif event == "end_map" and prefix == _SNAPSHOT:
            self._end_snapshot()

    def _end_snapshot(self) -> None:
        start_s, end_s = self._snapshot_s.get("start"), self._snapshot_s.get("end")
        sample_s = self._snapshot_s.get("sample") or self._record_s.get("sample")
        self._snapshot_s = {}
        if start_s is None or end_s is None or start_s >= end_s:
            raise ValueError("must have a start_time and a later end_time")
        checks = self._checks.of(sample_s, self._record_s.get("aggregation"), end_s - start_s)
        found = capped(np.array(self.batches.open_found, dtype=np.float64), checks, self._findings)
        self.batches.close((start_s + end_s) / 2, self._spaces.number(tuple(self._names.values())), checks, found)
        self.num_snapshots += 1
