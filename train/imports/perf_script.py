"""Samples with data addresses, as `perf script -F comm,pid,tid,time,period,event,addr` prints them.

`perf mem record` takes them, and `perf record -d` of any event. What perf prints is known from its manual pages and
tools/perf/builtin-script.c: process, time, period, event, and then the data address in front of anything else that may
stand on the line (source of the data, weight, instruction, symbols).
"""

import re
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from itertools import repeat

import numpy as np

from tierenv.errors import ConfigError
from tierenv.train.imports.observations import MAX_ADDRESS, Findings, Observations, ReadOptions, Spaces
from tierenv.train.imports.record_file import RecordFile
from tierenv.units import PAGE_BYTES

_SAMPLE = re.compile(
    rb"^(?:[^\n]{0,64}?[ \t](?:(\d{1,10})/(?:\d{1,10}|-1)|\d{1,10}|-1)[ \t]+(?:\[\d{1,5}\][ \t]+)?)?[ \t]*"
    rb"(\d{1,10}\.\d{1,9}):[ \t]+(?:(\d{1,18})[ \t]+)?([^\s\d]\S{0,200}):[ \t]+([0-9a-f]{1,16})(?=[ \t\r\n]|\Z)",
    re.MULTILINE,
)
"""Process (of PID/TID), time, period, event and data address."""
_NO_SAMPLE = re.compile(rb"[ \t]*(?:#.*|[0-9a-f]{1,16} .*|)\r?", re.DOTALL)
"""A line that is none and need not be: a comment, empty, or a caller, in the chain of the sample before."""
_INSTRUCTION = re.compile(rb"[ \t]+\S+\+0x[0-9a-f]+ \([^)]*\)[ \t\r]*")
"""What follows an instruction's address, if perf was not asked for data: its symbol alone."""
_FIELDS = "perf script -F comm,pid,tid,time,period,event,addr"


def read_perf_script(record: RecordFile, options: ReadOptions, findings: Findings) -> Iterator[Observations]:
    """Every sample, as accesses to a page. Raises `ConfigError` that names the line."""
    findings.format = "samples that perf script printed"
    if record.peek(8).startswith(b"PERFILE"):
        raise ConfigError(f"{record.path}: is a record of perf itself; make a text of it with `{_FIELDS} -i FILE`")
    spaces, num_samples, num_stores, num_periods = Spaces(), 0, 0, 0
    for number, block in record.blocks():
        rows = _SAMPLE.findall(block)
        if len(rows) < block.count(b"\n") + (not block.endswith(b"\n")):
            _check_other_lines(record, number, block)
        if not rows:
            continue
        if not num_samples:
            _check_address(record, number, block)
        processes, times, periods, events, addresses = zip(*rows, strict=True)
        num_samples += len(rows)
        num_periods += sum(map(bool, periods))
        num_stores += sum(number for event, number in Tally(events).items() if b"store" in event)
        yield _observations(processes, times, periods, addresses, options, findings, spaces)
    findings.are_counts_known = options.sample_period is not None or num_periods == num_samples
    if num_samples:
        _note(findings, num_stores / num_samples, len(spaces))


def _observations(
    processes: Sequence[bytes],
    times: Sequence[bytes],
    periods: Sequence[bytes],
    addresses: Sequence[bytes],
    options: ReadOptions,
    findings: Findings,
    spaces: Spaces,
) -> Observations:
    count = len(times)
    address = np.fromiter(map(int, addresses, repeat(16)), np.uint64, count)
    is_used = (address > 0) & (address < MAX_ADDRESS)
    if num_unused := count - int(is_used.sum()):
        findings.left_out["samples of the kernel's memory or of none"] += num_unused
    found = np.full(count, options.sample_period or 1.0)
    if options.sample_period is None and any(periods):
        found = np.fromiter((float(text or 1) for text in periods), np.float64, count)
    page = (address[is_used] // PAGE_BYTES).astype(np.int64) * PAGE_BYTES
    return Observations(
        time_s=np.fromiter(map(float, times), np.float64, count)[is_used],
        space=spaces.numbers(processes)[is_used],
        start=page,
        end=page + PAGE_BYTES,
        found=found[is_used],
        checks=np.zeros(len(page)),
    )


def _check_other_lines(record: RecordFile, first: int, block: bytes) -> None:
    """Raise `ConfigError` for a line that is neither a sample nor something that may stand between samples."""
    for number, line in enumerate(block.split(b"\n"), first):
        if not (_SAMPLE.match(line) or _NO_SAMPLE.fullmatch(line)):
            raise record.bad_line(number, f"must be like '[COMM PID/TID] TIME: [PERIOD] EVENT: ADDRESS' ({_FIELDS})")


def _check_address(record: RecordFile, first: int, block: bytes) -> None:
    """Raise `ConfigError` if the first sample tells of an instruction alone."""
    for number, line in enumerate(block.split(b"\n"), first):
        if sample := _SAMPLE.match(line):
            if _INSTRUCTION.fullmatch(line[sample.end() :]):
                raise record.bad_line(number, f"tells the address of an instruction, not of data; print with {_FIELDS}")
            return


def _note(findings: Findings, store_share: float, num_spaces: int) -> None:
    findings.note("pages without a sample are unknown: the size is that of what samples fell on (say --size)")
    findings.note("a threshold of latency (ldlat of perf mem) leaves out quick accesses, those that caches serve first")
    if store_share:
        findings.note(
            f"{store_share:.0%} of the samples are of stores, whose period may be another; their share is left to you"
        )
    if num_spaces == 1:
        findings.note("processes are told apart only where perf printed PID/TID (fields pid and tid)")
