"""DAMON's records as text: lines of its tracepoint, and damo's report in raw form."""

import itertools
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tierenv.errors import ConfigError
from tierenv.train.imports.batches import Batches
from tierenv.train.imports.damon_times import Checks, at, capped, parse_time_s
from tierenv.train.imports.observations import MAX_ADDRESS, Findings, Observations, ReadOptions, Spaces
from tierenv.train.imports.record_file import RecordFile

_EVENT = b"damon_aggregated:"
_TRACE = re.compile(
    rb"(\d{1,10}\.\d{1,9}): +(?:damon:)?damon_aggregated: +target_id=(\d{1,20}) nr_regions=\d{1,9} "
    rb"(\d{1,18})-(\d{1,18}): (-?\d{1,9})(?: \S{1,12})?[ \r]*$",
    re.MULTILINE,
)
"""Time, target, start, end, nr_accesses of a line; an age stands behind them since Linux 5.18, or a
mark for want of one."""
_TRACE_EXAMPLE = "'TIME: damon:damon_aggregated: target_id=N nr_regions=N START-END: NR_ACCESSES AGE'"


def read_trace(record: RecordFile, options: ReadOptions, findings: Findings) -> Iterator[Observations]:
    """Lines of damon:damon_aggregated among others. Raises `ConfigError` that names the line."""
    findings.format = "lines of damon_aggregated"
    checks = 0
    spaces = Spaces()
    for number, block in record.blocks():
        rows = _TRACE.findall(block)
        if len(rows) != block.count(_EVENT):
            raise _bad_trace_line(record, number, block)
        if not rows:
            continue
        columns = list(zip(*rows, strict=True))
        time_s = np.fromiter(map(float, columns[0]), np.float64, len(rows))
        space = spaces.numbers(columns[1])
        start, end, found = (np.fromiter(map(int, column), np.int64, len(rows)) for column in columns[2:])
        try:
            if not checks:
                checks = Checks(options, findings).of(None, None, _interval_s(time_s[space == space[0]]))
            is_real = ~((start == 0) & (end == 0) & (found == -1))  # damo's mark of the end of a lone snapshot
            if ((start >= end) | (end > MAX_ADDRESS) | (found < 0))[is_real].any():
                raise _bad_trace_line(record, number, block)
            found_capped = capped(found[is_real].astype(np.float64), checks, findings)
        except ConfigError:
            raise
        except ValueError as error:
            worst = next(itertools.islice(_TRACE.finditer(block), int(np.argmax(found)), None))
            lines_before = block.count(b"\n", 0, worst.start())
            raise at(f"{record.path}:{number + lines_before}", error) from None
        yield Observations(
            time_s=np.maximum(time_s - findings.observation_s / 2, 0.0)[is_real],
            space=space[is_real],
            start=start[is_real],
            end=end[is_real],
            found=found_capped,
            checks=np.full(len(found_capped), float(checks)),
        )


def _interval_s(time_s: NDArray[np.float64]) -> float | None:
    """Usual time between two snapshots of a target, None if there is but one."""
    steps = np.diff(np.unique(time_s))
    return float(np.median(steps)) if len(steps) else None


def _bad_trace_line(record: RecordFile, first: int, block: bytes) -> ConfigError:
    """What is wrong with the first line that is."""
    for number, line in enumerate(block.split(b"\n"), first):
        if _EVENT not in line:
            continue
        row = _TRACE.search(line)
        if row is None:
            return record.bad_line(number, f"must be like {_TRACE_EXAMPLE}")
        start, end, found = map(int, row.groups()[2:])
        is_mark = start == end == 0 and found == -1
        if not is_mark and (start >= end or end > MAX_ADDRESS):
            return record.bad_line(number, "a region must begin below its end, at most at 2^58")
        if not is_mark and found < 0:
            return record.bad_line(number, f"nr_accesses={found}: must not be negative")
    return record.bad_line(first, f"must be lines like {_TRACE_EXAMPLE}")


_REGION = re.compile(rb"([0-9a-f]{1,16})-([0-9a-f]{1,16}) \([^)]{1,20}\) +(\d{1,9}) +-?\d{1,9}\r?")
"""Start, end and nr_accesses; size and age stand among them."""
_HEAD = re.compile(rb"(base_time_absolute|monitoring_start|monitoring_end|target_id): +([^\r]{1,60})\r?")
_OTHER = re.compile(rb"(#|data source:|monitoring_duration:|nr_regions:|\r?$)")
"""How lines begin that say nothing new."""


def read_report(record: RecordFile, options: ReadOptions, findings: Findings) -> Iterator[Observations]:
    """Tables of `damo report access --raw_form`. Raises `ConfigError` that names the line."""
    findings.format = "damo's report in raw form"
    checks, batches, spaces = Checks(options, findings), Batches(), Spaces()
    head = {b"base_time_absolute": 0.0, b"monitoring_start": 0.0, b"monitoring_end": 0.0}
    space = number = 0
    for first, block in record.blocks():
        for number, line in enumerate(block.split(b"\n"), first):
            try:
                if region := _REGION.fullmatch(line):
                    start, end = int(region[1], 16), int(region[2], 16)
                    if not 0 <= start < end <= MAX_ADDRESS:
                        raise ValueError("a region must begin below its end, at most at 2^58")
                    batches.add(start, end, int(region[3]))
                    continue
                if line.startswith(b"monitoring_start:"):
                    _end_snapshot(batches, checks, head, space, findings)
                    if batches.is_full:
                        yield batches.take()
                if entry := _HEAD.fullmatch(line):
                    text = entry[2].decode("ascii", "replace").strip()
                    if entry[1] in head:
                        head[entry[1]] = parse_time_s(text, 1e-9)
                    else:
                        space = spaces.number(text)
                elif not _OTHER.match(line):
                    raise ValueError("must be a line of a region, 'START-END (SIZE) NR_ACCESSES AGE', or of a head")
            except ValueError as error:
                raise at(f"{record.path}:{number}", error) from None
    try:
        _end_snapshot(batches, checks, head, space, findings)
    except ValueError as error:
        raise at(f"{record.path}:{number}", error) from None
    yield batches.take()


def _end_snapshot(batches: Batches, checks: Checks, head: dict[bytes, float], space: int, findings: Findings) -> None:
    """Give the regions that came since the last one their time. Raises ValueError."""
    if not batches.num_open:
        return
    start_s, end_s = head[b"monitoring_start"], head[b"monitoring_end"]
    if start_s >= end_s:
        raise ValueError("the snapshot before this line must end after its start")
    number = checks.of(None, None, end_s - start_s)
    found = capped(np.array(batches.open_found, dtype=np.float64), number, findings)
    batches.close(head[b"base_time_absolute"] + (start_s + end_s) / 2, space, number, found)
