"""What a report says of what `calibrate` wrote beside a fitted platform."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from tierenv.priors import INFORMED, INTERVAL_SDS
from tierenv.records import validate_record
from tierenv.train.html_report import reproduce
from tierenv.train.html_report.charts import MOST_CHARTS, Dot, Line, dot_chart
from tierenv.train.html_report.document import Block, Charts, Section, Table, Text
from tierenv.train.html_report.document import Part as ReportPart
from tierenv.train.results import MOST_ROWS, Interval, Number, Part
from tierenv.train.texts import four_digits, listed, percent

MOST_LEFT = math.sqrt(1 - INFORMED)
"""Share of the prior's standard deviation that measurements must not leave more of to have told something."""

Prior = Annotated[float, Field(ge=1e-30, le=1e15)]


class StoredParameter(Part):
    """What was fitted."""

    field: str
    unit: str = ""
    value: Number
    ci95: Interval | None = None
    prior: Prior | None = None
    prior_log_sd: Number | None = None
    source: str = ""

    @property
    def left_of_prior(self) -> float | None:
        """Share of the prior's standard deviation that is left; None where it is not known."""
        if self.ci95 is None or not self.prior_log_sd or min(self.ci95) <= 0:
            return None
        return math.log(self.ci95[1] / self.ci95[0]) / (2 * INTERVAL_SDS) / self.prior_log_sd


class StoredCell(Part):
    """Something measured."""

    size_gb: Number | None = None
    system: str = ""
    quantity: str = "seconds"
    unit: str = "s"
    measured: Annotated[Number, Field(validation_alias=AliasChoices("measured", "measured_s"))]
    modelled: Annotated[Number, Field(validation_alias=AliasChoices("modelled", "modelled_s"))]
    error: Number
    error_left_out: Number | None = None


class StoredFixed(Part):
    """What was known and not fitted."""

    field: str
    value: str
    """As the file says it, with its unit."""
    source: str = ""


class StoredCalibration(Part):
    """A whole file."""

    schema_version: Annotated[Literal[1, 2], Field(alias="schema")]
    platform: str = ""
    workload: str = ""
    measurements: str = ""
    mean_absolute_error: Number | None = None
    worst_error: Number | None = None
    worst_error_left_out: Number | None = None
    keeps_order: bool | None = None
    parameters: Annotated[tuple[StoredParameter, ...], Field(max_length=200)]
    fixed: tuple[StoredFixed, ...] = ()
    correlations: tuple[tuple[Number, ...], ...] = ()
    cells: Annotated[tuple[StoredCell, ...], Field(min_length=1, max_length=MOST_ROWS)]


def section(content: Mapping[str, Any], path: str) -> Section:
    """The section of a calibration. Raises `ConfigError`."""
    result = validate_record(StoredCalibration, content, path)
    errors = [abs(cell.error) for cell in result.cells]
    words = f"Mean absolute error {percent(sum(errors) / len(errors))}, worst {percent(max(errors))}"
    if result.worst_error_left_out is not None:
        words += f", worst where the fit had not seen the measurement {percent(result.worst_error_left_out)}"
    if result.keeps_order is not None:
        words += f"; the order of the systems is {'kept' if result.keeps_order else 'not kept'} everywhere"
    summary = [
        Text(f"{len(result.cells)} measurements, {len(result.parameters)} parameters fitted to them."),
        Text(f"{words}.", is_verdict=True),
    ]
    parts = [ReportPart("Residuals", _residuals(result)), ReportPart("Parameters", _parameters(result))]
    how = reproduce.known(
        command=reproduce.command_of(content),
        platform=result.platform,
        workload=result.workload,
        measurements=result.measurements,
        git_revision=_text(content, "git_revision"),
        versions=reproduce.versions_text(content.get("versions")),
    )
    return Section(f"Calibration of {result.platform or 'a platform'}", path, summary, parts, how)


def _text(content: Mapping[str, Any], key: str) -> str | None:
    value = content.get(key)
    return value if isinstance(value, str) else None


def _name(cell: StoredCell) -> str:
    size = "" if cell.size_gb is None else f"{cell.size_gb:g} GiB"
    quantity = "" if cell.quantity == "seconds" else cell.quantity
    return " ".join(part for part in (cell.system, size, quantity) if part) or "measurement"


def _residuals(result: StoredCalibration) -> list[Block]:
    rows = [
        [
            _name(cell),
            f"{four_digits(cell.measured)} {cell.unit}".strip(),
            f"{four_digits(cell.modelled)} {cell.unit}".strip(),
            percent(cell.error, signed=True),
            percent(cell.error_left_out, signed=True),
        ]
        for cell in result.cells
    ]
    columns = ["measurement", "measured", "modelled", "error", "error where it was left out"]
    charts = []
    for system in list(dict.fromkeys(cell.system for cell in result.cells))[:MOST_CHARTS]:
        dots = [Dot(_name(cell), 100 * cell.error) for cell in result.cells if cell.system == system]
        title = system or "all"
        charts.append(dot_chart(title, "modelled over measured [%]", dots, [Line(0, "no error")]))
    return [
        Table("Measured and modelled", columns, rows),
        Charts("Errors of the fitted model, by system.", charts),
    ]


def _parameters(result: StoredCalibration) -> list[Block]:
    fixed = [_fixed_table(result)] if result.fixed else []
    if not result.parameters:
        return [Text("Nothing was fitted."), *fixed]
    rows = [
        [
            each.field,
            f"{each.value:g} {each.unit}".strip(),
            "-" if each.ci95 is None else f"{each.ci95[0]:.3g} to {each.ci95[1]:.3g}",
            _prior(each),
            percent(each.left_of_prior, 0),
            each.source,
        ]
        for each in result.parameters
    ]
    columns = ["parameter", "value", "95 % interval", "prior, one sd", "of the prior's sd left", "source of the prior"]
    blocks: list[Block] = [Table("Fitted values", columns, rows, numbers_from=6)]
    vague = [each.field for each in result.parameters if (each.left_of_prior or 0) > MOST_LEFT]
    if vague:
        blocks.append(Text(f"The measurements tell little more than the prior of {listed(vague)}."))
    dots = [
        Dot(each.field, each.value / each.prior, *((end / each.prior for end in each.ci95) if each.ci95 else ()))
        for each in result.parameters
        if each.prior
    ]
    if dots:
        chart = dot_chart("Values over their priors", "value over prior", dots, [Line(1, "the prior")])
        blocks.append(Charts("Fitted values in units of their priors, with 95 % intervals.", [chart]))
    if result.correlations:
        blocks.append(_correlations(result))
    return [*blocks, *fixed]


def _fixed_table(result: StoredCalibration) -> Table:
    rows = [[each.field, each.value, each.source] for each in result.fixed]
    return Table("What was known and not fitted", ["parameter", "value", "source"], rows, numbers_from=3)


def _prior(parameter: StoredParameter) -> str:
    if parameter.prior is None:
        return "-"
    if parameter.prior_log_sd is None:
        return f"{parameter.prior:g}"
    return f"{parameter.prior:g} x/ {math.exp(min(parameter.prior_log_sd, 100.0)):.2f}"


def _correlations(result: StoredCalibration) -> Table:
    names = [each.field for each in result.parameters]
    rows = [
        [f"{number} {name}", *(f"{value:+.2f}" for value in row)]
        for number, (name, row) in enumerate(zip(names, result.correlations, strict=False), start=1)
    ]
    columns = ["", *(str(number) for number in range(1, len(names) + 1))]
    return Table("Correlations of the estimates", columns, rows)
