"""Formats that `tierenv import` reads: each a reader of its own, which says what it found accessed, where and when."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tierenv.train.imports.abench import read_abench
from tierenv.train.imports.damon import read_damon
from tierenv.train.imports.heat_csv import read_heat_csv
from tierenv.train.imports.live_record import read_live_record
from tierenv.train.imports.observations import Findings, Observations, ReadOptions
from tierenv.train.imports.perf_script import read_perf_script
from tierenv.train.imports.record_file import RecordFile


@dataclass(frozen=True)
class ImportFormat:
    """A format of records of heat."""

    name: str
    summary: str
    """One line for people."""
    read: Callable[[RecordFile, ReadOptions, Findings], Iterator[Observations]]
    """Its observations, in batches, and what else is found; raises `ConfigError` for a file that is spoiled."""


FORMATS = {
    each.name: each
    for each in (
        ImportFormat("damon", "DAMON's regions, as damo records or reports them", read_damon),
        ImportFormat(
            "perf-script", "samples with data addresses, of perf mem record and perf script", read_perf_script
        ),
        ImportFormat("heat-csv", "a table of address ranges and the accesses to each", read_heat_csv),
        ImportFormat("abench", "what abench prints", read_abench),
        ImportFormat("live-record", "what tierenv live record writes: refused, for it knows no heat", read_live_record),
    )
}
"""By the name that the command line knows them by."""
