"""What a report says of `fidelity --json`."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Annotated, Any, Literal

from pydantic import Field

from tierenv.records import validate_record
from tierenv.train.html_report import reproduce
from tierenv.train.html_report.charts import Dot, Line, dot_chart
from tierenv.train.html_report.document import Block, Charts, Section, Table, Text
from tierenv.train.html_report.document import Part as ReportPart
from tierenv.train.results import MOST_ROWS, Number, Part
from tierenv.train.texts import four_digits, listed, percent

COLUMNS = ["row", "unit", "published", "modelled", "error", "sign", "tolerance", "verdict", "fitted"]


class StoredRow(Part):
    """A published number beside the model's."""

    id: str
    experiment: str
    unit: str = ""
    published: Number
    modelled: Number | None = None
    error: Number | None = None
    sign_ok: bool | None = None
    tolerance: str | None = None
    within: bool | None = None
    required: str | None = None
    failed: bool = False
    fitted: bool = False


class StoredExperiment(Part):
    """Where rows come from."""

    name: str
    summary: str = ""
    source: str = ""


class StoredFidelity(Part):
    """A whole file."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    git_revision: str | None = None
    seeds: tuple[int, ...] = ()
    experiments: Annotated[tuple[StoredExperiment, ...], Field(min_length=1, max_length=500)]
    rows: Annotated[tuple[StoredRow, ...], Field(max_length=MOST_ROWS)]


def section(content: Mapping[str, Any], path: str) -> Section:
    """The section of a comparison with published measurements. Raises `ConfigError`."""
    result = validate_record(StoredFidelity, content, path)
    summary = [
        Text(
            f"{len(result.rows)} published numbers of {len(result.experiments)} experiments beside the model's. "
            "What something was fitted to says how well the fit describes; only the rest checks the model."
        ),
        Text(_verdict(result.rows), is_verdict=True),
    ]
    parts = [ReportPart("Summary", [_summary_table(result.rows)])]
    parts += [_part(each, [row for row in result.rows if row.experiment == each.name]) for each in result.experiments]
    words = ["fidelity", *(each.name for each in result.experiments)]
    words += ["--seeds", str(len(result.seeds))] if result.seeds else []
    how = reproduce.known(
        command=reproduce.command_of(content, reproduce.command(*words, "--json", "FILE")),
        git_revision=result.git_revision,
        seeds=reproduce.seeds_text(result.seeds),
        versions=reproduce.versions_text(content.get("versions")),
    )
    return Section("Fidelity", path, summary, parts, how)


def _verdict(rows: Sequence[StoredRow]) -> str:
    failed = [f"{row.experiment}: {row.id}" for row in rows if row.failed]
    checks = [abs(row.error) for row in rows if row.error is not None and not row.fitted]
    words = f"The median error of what nothing was fitted to is {percent(median(checks))}. " if checks else ""
    if not failed:
        return f"{words}Nothing that is required fails."
    return f"{words}{len(failed)} rows fail what is required: {listed(failed)}."


def _summary_table(rows: Sequence[StoredRow]) -> Table:
    lines = []
    for role, is_fitted in (("fitted", True), ("check", False)):
        chosen = [row for row in rows if row.fitted is is_fitted]
        errors = [abs(row.error) for row in chosen if row.error is not None]
        lines.append(
            [
                role,
                str(len(chosen)),
                percent(median(errors) if errors else None),
                percent(fmean(errors) if errors else None),
                _held([row.within for row in chosen]),
                _held([row.sign_ok for row in chosen]),
                _held([not row.failed if row.required is not None else None for row in chosen]),
            ]
        )
    columns = ["role", "rows", "median error", "mean error", "within tolerance", "sign holds", "required holds"]
    return Table("All rows", columns, lines)


def _held(values: Sequence[bool | None]) -> str:
    given = [value for value in values if value is not None]
    return f"{sum(given)} of {len(given)}" if given else "-"


def _part(experiment: StoredExperiment, rows: Sequence[StoredRow]) -> ReportPart:
    blocks: list[Block] = [Text(text) for text in (experiment.summary, experiment.source) if text]
    blocks.append(Table(f"Rows of {experiment.name}", COLUMNS, [_cells(row) for row in rows], numbers_from=2))
    dots = [
        Dot(row.id, 100 * row.error, kind="fitted" if row.fitted else "check") for row in rows if row.error is not None
    ]
    if dots:
        kinds = list(dict.fromkeys(dot.kind for dot in dots))
        shapes = f"; circles: {kinds[0]}, squares: {kinds[1]}" if len(kinds) > 1 else ""
        chart = dot_chart(experiment.name, "modelled over published [%]", dots, [Line(0, "no error")])
        blocks.append(Charts(f"Errors of the model{shapes}.", [chart]))
    return ReportPart(experiment.name, blocks)


def _cells(row: StoredRow) -> list[str]:
    verdict = {None: "-", True: "within", False: "off"}[row.within]
    return [
        row.id,
        row.unit,
        four_digits(row.published),
        four_digits(row.modelled),
        percent(row.error, signed=True),
        {None: "-", True: "holds", False: "wrong"}[row.sign_ok],
        row.tolerance or "-",
        "failed" if row.failed else verdict,
        "yes" if row.fitted else "no",
    ]
