"""What abench prints (tests/kernel/bench/abench.c): JSON lines with time, threads, pages and the accesses made."""

import statistics
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field

from tierenv.errors import ConfigError
from tierenv.reading import parse_json
from tierenv.records import Record, validate_record
from tierenv.train.imports.observations import MAX_ADDRESS, Findings, Observations, ReadOptions
from tierenv.train.imports.record_file import RecordFile
from tierenv.units import GIB, PAGE_BYTES

MAX_RUNS = 1000
_Count = Annotated[int, Field(ge=0, le=10**18)]


class _Line(Record):
    """A line of abench."""

    model_config = ConfigDict(extra="ignore")

    event: Literal["start", "second", "end"]
    elapsed_s: Annotated[float, Field(ge=0, le=1e9)]
    threads: Annotated[int, Field(ge=1, le=1 << 20)]
    accesses: _Count
    pages: Annotated[int, Field(ge=1, le=MAX_ADDRESS // PAGE_BYTES)]
    hot_pages: _Count | None = None


def read_abench(record: RecordFile, _options: ReadOptions, findings: Findings) -> Iterator[Observations]:
    """Runs one behind another, each to its line "end", all alike. Raises `ConfigError` that names the line."""
    findings.format = "lines of abench"
    ends: list[_Line] = []
    number = 0
    for first, block in record.blocks():
        for number, content in enumerate(block.split(b"\n"), first):
            if not content.strip():
                continue
            line = _parsed(record, number, content)
            if line.hot_pages is not None:
                raise record.bad_line(number, "abench moved its hot pages (-m moving): where they were is not printed")
            if line.event != "end":
                continue
            if not (line.accesses and line.elapsed_s):
                raise record.bad_line(number, "the run made no access")
            ends.append(line)
            if len(ends) > MAX_RUNS:
                raise record.bad_line(number, f"holds more than {MAX_RUNS} runs")
            if any(getattr(ends[0], key) != getattr(line, key) for key in ("threads", "pages")):
                raise record.bad_line(number, "a run of another size or number of threads; import each kind alone")
    if not ends:
        raise ConfigError(f"{record.path}:{number}: holds no line with event 'end', of a run that is over")
    yield _uniform(ends, findings)


def _parsed(record: RecordFile, number: int, content: bytes) -> _Line:
    origin = f"{record.path}:{number}"
    try:
        return validate_record(_Line, parse_json(content.decode("utf-8"), origin), origin)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{origin}: not UTF-8: {error.reason}") from None


def _uniform(ends: list[_Line], findings: Findings) -> Observations:
    times_s = [end.elapsed_s for end in ends]
    mean_s = statistics.fmean(times_s)
    deviation = 100 * statistics.stdev(times_s) / mean_s if len(times_s) > 1 else 0.0
    accesses = statistics.fmean(end.accesses for end in ends)
    pages = ends[0].pages
    findings.threads = ends[0].threads
    findings.run_s = mean_s
    findings.accesses_per_page = accesses / pages
    findings.has_time = False
    findings.note("abench does not print its pattern (-m): uniform is taken, as it is without the option")
    findings.note("its pauses (-d) are not printed: think is left to you")
    row = f"{pages * PAGE_BYTES / GIB:g},SYSTEM,{mean_s:.2f},{deviation:.2f}"
    findings.note(f"as a row for `tierenv calibrate`, with SYSTEM for what promoted: {row}")
    return Observations(
        time_s=np.zeros(1),
        space=np.zeros(1, dtype=np.int64),
        start=np.zeros(1, dtype=np.int64),
        end=np.array([pages * PAGE_BYTES]),
        found=np.array([accesses]),
        checks=np.zeros(1),
    )
