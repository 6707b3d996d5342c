"""Calibrating a platform file from a file of measurements, and what a person reads about it."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.table import Table

from tierenv.calibration import Calibration, Estimate, calibrate
from tierenv.files import atomic_write_text
from tierenv.measurements import read_measurements
from tierenv.platform import Platform
from tierenv.progress import ReportProgress, unreported
from tierenv.records import NamedRecord, load_record, packaged, resolve
from tierenv.scenario import load_scenario
from tierenv.train.report import plain_table
from tierenv.train.run_dir import write_json

BASELINE = "numab2"
"""The system gains are counted from, as in the series."""

COMMENT_COLUMN = 31


def run_calibration(
    measurements: str,
    platform: str,
    output: Path,
    scenario: str,
    report_progress: ReportProgress = unreported,
) -> Calibration:
    """Fit, and write the platform and, beside it, the workload and the report. Raises `ConfigError`."""
    start = load_record("platforms", Platform, platform)
    cells = read_measurements(measurements)
    like = load_scenario(scenario).model_copy(update={"platform": start})
    calibration = calibrate(cells, like, measurements, report_progress)
    fitted, estimates = calibration.scenario, calibration.estimates
    texts = {
        workload_path(output): fitted_text("workload", fitted.workload, _packaged_text(like.workload.name), estimates),
        output: fitted_text(
            "platform", fitted.platform, resolve("platforms", platform).read_text(encoding="utf-8"), estimates
        ),
    }
    for path, text in texts.items():
        atomic_write_text(path, text)
    write_json(report_path(output), calibration.to_json() | {"measurements": Path(measurements).name})
    return calibration


def report_path(output: Path) -> Path:
    """Where the report on a fitted platform file stands."""
    return output.with_suffix(".calibration.json")


def workload_path(output: Path) -> Path:
    """Where the workload that belongs to a fitted platform file stands."""
    return output.with_suffix(".workload.yaml")


def _packaged_text(workload: str) -> str:
    """The file of a packaged workload; nothing for any other, which may stand within its scenario."""
    path = packaged("workloads").get(workload)
    return "" if path is None else path.read_text(encoding="utf-8")


def fitted_text(part: str, record: NamedRecord, start_text: str, estimates: Sequence[Estimate]) -> str:
    """The text the fit started from with the fitted values of a part of it put in, all other lines as they are.

    A text that is not laid out one key a line is written anew.
    """
    lines = start_text.splitlines()
    for estimate in estimates:
        if estimate.parameter.field.startswith(f"{part}."):
            _put(lines, estimate)
    text = "\n".join(lines) + "\n"
    try:
        if type(record).model_validate({"name": record.name} | yaml.safe_load(text)) == record:
            return text
    except (yaml.YAMLError, ValueError):
        pass
    return yaml.safe_dump(record.model_dump(exclude={"name"}), sort_keys=False)


def _put(lines: list[str], estimate: Estimate) -> None:
    """Replace a value and its comment, or append a value that was left out."""
    key = estimate.parameter.field.partition(".")[2]
    entry = f"{key}: {estimate.value!r}{estimate.parameter.unit}"
    comment = f"# fitted, 95 % interval {estimate.low:.3g} to {estimate.high:.3g}"
    line = f"{entry:<{COMMENT_COLUMN - 1}} {comment}"
    for number, old in enumerate(lines):
        if re.match(rf"{key}:\s", old):
            lines[number] = line
            while number + 1 < len(lines) and re.match(r"\s+#", lines[number + 1]):
                del lines[number + 1]  # the old comment went on there
            return
    lines.append(line)


def calibration_tables(calibration: Calibration) -> list[Table]:
    """Residuals, gains over NUMA balancing mode 2, parameters and their correlations."""
    return [
        _residual_table(calibration),
        *_gain_tables(calibration),
        _parameter_table(calibration),
        _correlation_table(calibration),
    ]


def _residual_table(calibration: Calibration) -> Table:
    rows = [
        (
            f"{cell.size_gib:g}",
            cell.system,
            f"{cell.seconds:.2f}",
            f"{modelled:.2f}",
            f"{error:+.1%}",
            f"{left_out:+.1%}",
        )
        for cell, modelled, error, left_out in zip(
            calibration.cells,
            calibration.modelled_s,
            calibration.errors,
            calibration.left_out_errors,
            strict=True,
        )
    ]
    columns = ["size [GiB]", "system", "measured [s]", "modelled [s]", "error", "error, size left out"]
    table = plain_table("residuals", columns, rows)
    errors, left_out = abs(calibration.errors), abs(calibration.left_out_errors)
    order = "order of the systems kept" if calibration.keeps_order else "order of the systems not kept"
    table.caption = (
        f"mean absolute error {errors.mean():.1%}, worst {errors.max():.1%}, worst with its size left out "
        f"{left_out.max():.1%}; {order} at every size"
    )
    return table


def _gain_tables(calibration: Calibration) -> list[Table]:
    systems = sorted({cell.system for cell in calibration.cells} - {BASELINE})
    rows = [
        (system, f"{size_gib:g}", f"{measured:.1%}", f"{modelled:.1%}", f"{100 * (modelled - measured):+.1f}")
        for system in systems
        for size_gib, measured, modelled in calibration.gains(system, BASELINE)
    ]
    columns = ["system", "size [GiB]", "measured", "modelled", "difference [points]"]
    return [plain_table(f"time saved against {BASELINE}", columns, rows)] if rows else []


def _parameter_table(calibration: Calibration) -> Table:
    rows = [
        (
            estimate.parameter.field,
            f"{estimate.value:g} {estimate.parameter.unit}".strip(),
            f"{estimate.low:.3g} to {estimate.high:.3g}",
            f"{estimate.parameter.prior:g} x/ {math.exp(estimate.parameter.prior_sd):.2f}",
            estimate.parameter.source,
        )
        for estimate in calibration.estimates
    ]
    table = plain_table(
        "parameters", ["parameter", "value", "95 % interval", "prior, one sd", "source of the prior"], rows
    )
    vague = [estimate.parameter.field for estimate in calibration.estimates if not estimate.is_informed]
    if vague:
        table.caption = f"little more than their prior: {', '.join(vague)}"
    return table


def _correlation_table(calibration: Calibration) -> Table:
    names = [estimate.parameter.field for estimate in calibration.estimates]
    rows = [
        (f"{index + 1} {name}", *(f"{value:+.2f}" for value in row[: index + 1]), *[""] * (len(names) - index - 1))
        for index, (name, row) in enumerate(zip(names, calibration.correlations, strict=True))
    ]
    return plain_table("correlations of the estimates", ["", *(str(index + 1) for index in range(len(names)))], rows)
