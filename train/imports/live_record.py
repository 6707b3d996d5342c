"""Records of `tierenv live record`: counters, settings and resident memory, but not which pages are accessed."""

from typing import NoReturn

from tierenv.errors import ConfigError
from tierenv.train.imports.observations import Findings, ReadOptions
from tierenv.train.imports.record_file import RecordFile
from tierenv.train.recorded import open_record
from tierenv.units import PAGE_BYTES, format_bytes


def read_live_record(record: RecordFile, _options: ReadOptions, _findings: Findings) -> NoReturn:
    """Raises `ConfigError`: such a record knows no heat. What it does know, size and time, is said."""
    with open_record(record.path) as (_, samples):
        first = last = next(samples, None)
        most_pages = 0
        for last in samples:
            most_pages = max(most_pages, last.resident_pages)
    if first is None or last is None:
        raise ConfigError(f"{record.path}: holds no sample")
    size = format_bytes(max(most_pages, first.resident_pages) * PAGE_BYTES)
    seconds = 1e-9 * (last.monotonic_ns - first.monotonic_ns)
    raise ConfigError(
        f"{record.path}: no workload can be made of it: it knows of {size} resident over {seconds:.0f} s, but not "
        "which pages were accessed. Record that with damo or perf mem; `tierenv replay` sets this record beside a model"
    )
