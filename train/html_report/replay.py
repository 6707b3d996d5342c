"""What a report says of `replay --json`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from tierenv.records import validate_record
from tierenv.train.html_report import reproduce
from tierenv.train.html_report.charts import Dot, Line, dot_chart
from tierenv.train.html_report.document import Block, Charts, Section, Table, Text
from tierenv.train.html_report.document import Part as ReportPart
from tierenv.train.results import Number, Part
from tierenv.train.texts import four_digits, percent


class StoredCounter(Part):
    """A counter of the record beside the model's."""

    counter: str
    unit: str = ""
    is_gauge: bool = False
    recorded: Number
    modelled: Number
    error: Number | None = None
    interval_error: Number | None = None


class StoredReplay(Part):
    """A whole file."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    git_revision: str | None = None
    record: str
    kernel: str = ""
    scenario: str
    daemon: str = ""
    seed: int | None = None
    compared_intervals: int | None = None
    compared_s: Number | None = None
    rows: Annotated[tuple[StoredCounter, ...], Field(min_length=1)]
    notes: tuple[str, ...] = ()


def section(content: Mapping[str, Any], path: str) -> Section:
    """The section of a replay. Raises `ConfigError`."""
    result = validate_record(StoredReplay, content, path)
    compared = (
        "" if result.compared_s is None else f" {result.compared_intervals} intervals, {result.compared_s:.1f} s."
    )
    errors = [(abs(row.error), row) for row in result.rows if row.error is not None]
    summary = [Text(f"What a machine counted ({result.kernel}) beside the model under the same settings.{compared}")]
    if errors:
        worst, row = max(errors, key=lambda entry: entry[0])
        words = f"The counter that is farthest off is {row.counter}, by {percent(row.error, signed=True)}."
        summary.append(Text(words if worst else "Every counter is as recorded.", is_verdict=True))
    parts = [ReportPart("Counters", _blocks(result))]
    if result.notes:
        parts.append(ReportPart("What has to be known to judge by them", [Text(note) for note in result.notes]))
    how = reproduce.known(
        command=reproduce.command_of(
            content, reproduce.command("replay", result.record, "--scenario", result.scenario, "--json", "FILE")
        ),
        kernel=result.kernel,
        daemon=result.daemon,
        git_revision=result.git_revision,
        seed=None if result.seed is None else str(result.seed),
        versions=reproduce.versions_text(content.get("versions")),
    )
    return Section(f"Replay beside {result.scenario}", path, summary, parts, how)


def _blocks(result: StoredReplay) -> list[Block]:
    rows = [
        [
            row.counter + ", mean" * row.is_gauge,
            row.unit,
            four_digits(row.recorded),
            four_digits(row.modelled),
            percent(row.error, signed=True),
            percent(row.interval_error),
        ]
        for row in result.rows
    ]
    columns = ["counter", "unit", "recorded", "modelled", "error", "off by interval"]
    blocks: list[Block] = [Table("Counters of the record and of the model", columns, rows, numbers_from=2)]
    dots = [Dot(row.counter, 100 * row.error) for row in result.rows if row.error is not None]
    if dots:
        chart = dot_chart("Errors", "modelled over recorded [%]", dots, [Line(0, "no error")])
        blocks.append(Charts("How far the model is off, in all.", [chart]))
    return blocks
