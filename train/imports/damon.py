"""DAMON's records, in every form that damo (1 to 3.4) writes but its binary ones.

`damo record` writes JSON, mostly compressed by zlib, or lines of the tracepoint damon:damon_aggregated, which perf
script and trace-cmd print alike; `damo report raw`, later `damo report access --raw_form`, writes tables.
"""

from collections.abc import Iterator

from tierenv.errors import ConfigError
from tierenv.train.imports.damon_json import read_json
from tierenv.train.imports.damon_text import read_report, read_trace
from tierenv.train.imports.observations import Findings, Observations, ReadOptions
from tierenv.train.imports.record_file import RecordFile

_LOOKED_AT_BYTES = 1 << 16
"""Of a text, to tell what it is."""


def read_damon(record: RecordFile, options: ReadOptions, findings: Findings) -> Iterator[Observations]:
    """The regions of every snapshot. Raises `ConfigError` for another file, or one that is spoiled."""
    head = record.peek(_LOOKED_AT_BYTES)
    findings.note(
        "DAMON sees whether a page was accessed between two checks, not how often, nor by which thread, and neither "
        "stores nor what caches serve apart: the work is that of accesses at random, at least so many"
    )
    findings.note(
        "what DAMON watched is taken for resident; memory that nobody uses is in it (say --size if you know the size)"
    )
    findings.note("pages of unlike heat within a region of DAMON count as alike: a scattered layout is lost")
    if head.startswith(b"PERFILE2") or head.startswith(b"damon_recfmt_ver"):
        raise ConfigError(
            f"{record.path}: is a binary record; make a text of it with `damo report access --raw_form --raw_number` "
            "(`damo report raw --raw_number` in older versions), or with `perf script`"
        )
    if head.lstrip()[:1] in (b"[", b"{"):
        return read_json(record, options, findings)
    if b"damon_aggregated:" in head:
        return read_trace(record, options, findings)
    if b"monitoring_start:" in head:
        return read_report(record, options, findings)
    raise ConfigError(
        f"{record.path}: is no record of DAMON: neither JSON of damo nor lines of damon_aggregated nor what "
        "`damo report access --raw_form` prints"
    )
