"""Records of a machine, as `tierenv live record` writes them: JSON lines, one that says of what, then one a sample.

They may be long, so they are read a line at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tierenv.errors import ConfigError
from tierenv.reading import parse_json
from tierenv.records import Record, validate_record
from tierenv.units import PAGE_BYTES

MAX_LINE_BYTES = 1 << 20

Count = Annotated[int, Field(ge=0, lt=1 << 64)]
"""What a kernel counts."""


class _Part(Record):
    """A part of a line; what is of no interest here is left unread."""

    model_config = ConfigDict(extra="ignore")


class RecordedNode(_Part):
    """A node of the machine."""

    tier: Literal["fast", "slow"]
    total_pages: Count


class Header(_Part):
    """The first line: of which machine the record is."""

    tierenv_record: Literal[1]
    """Version of the format."""
    kernel: str
    page_bytes: Count
    nodes: Annotated[dict[str, RecordedNode], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.page_bytes != PAGE_BYTES:
            raise ValueError(f"page_bytes={self.page_bytes}: must be {PAGE_BYTES}, as pages of the model are")
        return self

    @property
    def fast_pages(self) -> int:
        """Pages of the fast nodes."""
        return sum(node.total_pages for node in self.nodes.values() if node.tier == "fast")


class RecordedSetting(_Part):
    """What the knobs of NUMA balancing held."""

    scan_period_ms: Count
    """Of the longest pass."""
    scan_period_min_ms: Count | None = None
    """Of the shortest pass; None where it was not recorded."""
    scan_size_bytes: Count
    throttle_bytes_per_s: Count | None
    """None for unlimited."""
    hot_threshold_ms: Count


class NodeState(_Part):
    """What of a node changes."""

    free_pages: Count


class Sample(_Part):
    """Any other line."""

    monotonic_ns: Count
    """Time that the machine was awake."""
    boottime_ns: Count
    """Time since it was booted."""
    counters: dict[str, Count]
    """By kernel name, since the boot; gauges as of now."""
    setting: RecordedSetting | None
    """None where NUMA balancing did not promote (another mode than 2)."""
    resident_pages: Count
    """Of what is watched."""
    nodes: dict[str, NodeState]


@contextmanager
def open_record(path: Path) -> Iterator[tuple[Header, Iterator[Sample]]]:
    """The header of a record and its samples, read as one asks for them.

    Both raise `ConfigError` with the line's number for one that is not as it should be: no JSON or cut off, of another
    kind, not later than the one before, without a counter or a node of the first sample.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ConfigError(f"{path}: must be a file, not a pipe or a device")
        with path.open("rb") as file:
            lines = _lines(file, path)
            try:
                origin, values = next(lines, (f"{path}:1", None))
                if values is None:
                    raise ConfigError(f"{origin}: is empty")
                header = validate_record(Header, values, origin)
            except ConfigError as error:
                raise ConfigError(f"{error}; give a file that `tierenv live record` wrote") from None
            yield header, _samples(lines, header)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _lines(file: IO[bytes], path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Place and content of every line."""
    for number, line in enumerate(iter(partial(file.readline, MAX_LINE_BYTES), b""), 1):
        origin = f"{path}:{number}"
        is_whole = line.endswith(b"\n")
        if not is_whole and len(line) == MAX_LINE_BYTES:
            raise ConfigError(f"{origin}: a line of more than {MAX_LINE_BYTES} bytes")
        try:
            yield origin, parse_json(line.decode("utf-8-sig" if number == 1 else "utf-8"), origin)
        except UnicodeDecodeError as error:
            raise ConfigError(f"{origin}: not UTF-8: {error.reason} at byte {error.start}") from None
        except ConfigError as error:
            cut_off = "" if is_whole else "; the line is cut off, remove it to use the others"
            raise ConfigError(f"{error}{cut_off}") from None


def _samples(lines: Iterator[tuple[str, dict[str, object]]], header: Header) -> Iterator[Sample]:
    first = before = None
    for origin, values in lines:
        if "tierenv_record" in values:
            raise ConfigError(f"{origin}: tierenv_record: a second record begins here; put each into a file of its own")
        sample = validate_record(Sample, values, origin)
        first = first or sample
        for name, given, expected in (
            ("counters", sample.counters, first.counters),
            ("nodes", sample.nodes, header.nodes),
        ):
            if missing := expected.keys() - given.keys():
                raise ConfigError(f"{origin}: {name}: lacks {min(missing)}, which lines before have")
        for clock in ("monotonic_ns", "boottime_ns"):
            if before is not None and getattr(sample, clock) <= getattr(before, clock):
                raise ConfigError(
                    f"{origin}: {clock}={getattr(sample, clock)}: must be above the {getattr(before, clock)} of the "
                    "line before; a record is of one boot, in order of time"
                )
        before = sample
        yield sample
