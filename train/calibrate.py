"""Calibrating a platform file from a file of measurements, and what a person reads about it."""

import math
from pathlib import Path
from typing import Any

from rich.table import Table

from tierenv.calibration import Calibration, Estimate, calibrate
from tierenv.files import atomic_write_texts
from tierenv.measurements import TIME, read_measurements
from tierenv.platform import Platform
from tierenv.progress import ReportProgress, unreported
from tierenv.quantities import QUANTITIES
from tierenv.reading import MAX_YAML_BYTES, read_text
from tierenv.records import FIXED, content_of, is_bare_word, load_record, locate, resolve
from tierenv.scenario import Scenario, load_scenario
from tierenv.train.fitted_text import Start, fitted_text, start_of, start_within
from tierenv.train.journal import journal_of
from tierenv.train.run_dir import to_json
from tierenv.train.tables import plain_table
from tierenv.units import format_number
from tierenv.workload import Workload

BASELINE = "numab2"
"""The system gains are counted from, as in the series."""


def run_calibration(
    measurements: str,
    platform: str,
    output: Path,
    scenario: str,
    report_progress: ReportProgress = unreported,
) -> Calibration:
    """Fit, and write the platform and, beside it, the workload and the report: all or none. Raises `ConfigError`.

    What points of the search gave is kept, so that a command that was stopped goes on.
    """
    start = load_record("platforms", Platform, platform)
    cells = read_measurements(measurements)
    like = load_scenario(scenario).model_copy(update={"platform": start})
    workload = content_of("scenarios", Scenario, scenario)["workload"]
    files = {
        "platform": content_of("platforms", Platform, platform),
        "workload": content_of("workloads", Workload, workload),
    }
    decides = [like.model_dump(mode="json"), [vars(cell) for cell in cells], _without_folders(files)]
    with journal_of("calibrate", *decides) as journal:
        calibration = calibrate(cells, like, measurements, report_progress, files, journal.numbers)
        path = resolve("platforms", platform)
        starts = {
            "workload": (workload_path(output), _workload_start(workload)),
            "platform": (output, start_of("platforms", path, read_text(path, MAX_YAML_BYTES))),
        }
        texts = {
            target: fitted_text(text, part, calibration.scenario, calibration.estimates, target)
            for part, (target, text) in starts.items()
        }
        report = calibration.to_json() | {"measurements": Path(measurements).name}
        atomic_write_texts(texts | {report_path(output): to_json(report)})
    return calibration


def _workload_start(workload: Any) -> Start:
    """The text of a scenario's workload: its file's or, where it stands in the scenario, what it would have there."""
    if not isinstance(workload, str):
        return start_within("workloads", workload)
    path = resolve("workloads", workload)
    return start_of("workloads", path, read_text(path, MAX_YAML_BYTES))


def _without_folders(content: Any) -> Any:
    """What files hold, for JSON."""
    if isinstance(content, dict):
        return {str(key): _without_folders(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_folders(value) for value in content]
    return content if content is None or isinstance(content, bool | int | float) else str(content)


def inputs_of(measurements: str, platform: str, scenario: str) -> list[str]:
    """The files a fit reads that are not packaged: what its output must not take the place of. Raises `ConfigError`."""
    workload = content_of("scenarios", Scenario, scenario).get("workload")
    given = [measurements, platform, scenario, *([workload] if isinstance(workload, str) else [])]
    return [str(locate(path)) for path in given if not is_bare_word(path)]


def report_path(output: Path) -> Path:
    """Where the report on a fitted platform file stands."""
    return output.with_suffix(".calibration.json")


def workload_path(output: Path) -> Path:
    """Where the workload that belongs to a fitted platform file stands."""
    return output.with_suffix(".workload.yaml")


def calibration_tables(calibration: Calibration) -> list[Table]:
    """Residuals, gains over NUMA balancing mode 2, parameters and their correlations."""
    return [
        _residual_table(calibration),
        *_gain_tables(calibration),
        _parameter_table(calibration),
        _correlation_table(calibration),
    ]


def _residual_table(calibration: Calibration) -> Table:
    is_times = all(cell.quantity == TIME for cell in calibration.cells)
    rows = [
        (
            f"{cell.size_gib:.4g}",
            cell.system,
            *([] if is_times else [f"{cell.quantity} [{QUANTITIES[cell.quantity].unit}]"]),
            *(_with_hundredths(number) for number in (cell.value, modelled)),
            f"{error:+.1%}",
            f"{normalised:+.1f}",
            f"{left_out:+.1%}" if math.isfinite(left_out) else "-",
        )
        for cell, modelled, error, normalised, left_out in zip(
            calibration.cells,
            calibration.modelled,
            calibration.errors,
            calibration.normalised_errors,
            calibration.left_out_errors,
            strict=True,
        )
    ]
    unit = " [s]" if is_times else ""
    columns = ["size [GiB]", "system", *([] if is_times else ["quantity"]), f"measured{unit}", f"modelled{unit}"]
    left_out = f"error, {calibration.left_out or 'nothing'} left out"
    table = plain_table("residuals", [*columns, "error", "in sds", left_out], rows)
    errors = abs(calibration.errors)
    without = "one row: nothing can be left out"
    if calibration.left_out:
        worst = abs(calibration.left_out_errors).max()
        without = f"worst with its {calibration.left_out} left out {worst:.1%} (to first order)"
    order = "order of the systems kept" if calibration.keeps_order else "order of the systems not kept"
    table.caption = (
        f"mean absolute error {errors.mean():.1%}, worst {errors.max():.1%}; {without}; {order} at every size"
    )
    return table


def _with_hundredths(number: float) -> str:
    return f"{number:.2f}" if 1 <= number < 1e5 else f"{number:.4g}"


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
            f"{format_number(estimate.parameter.prior)} x/ {math.exp(estimate.parameter.prior_sd):.2f}",
            f"x/ {math.exp(estimate.log_sd):.2f}",
            f"{estimate.share_of_rows:.0%}",
            _verdict(estimate),
            estimate.parameter.source,
        )
        for estimate in calibration.estimates
    ]
    rows += [(row.field, row.value, "-", FIXED, "-", "-", FIXED, row.source) for row in calibration.fixed]
    columns = [
        "parameter",
        "value",
        "95 % interval",
        "prior, one sd",
        "after",
        "from the rows",
        "",
        "source of the prior",
    ]
    table = plain_table("parameters", columns, rows)
    vague = [estimate.parameter.field for estimate in calibration.estimates if not estimate.is_informed]
    if vague:
        table.caption = f"{LITTLE_MORE}: {', '.join(vague)}"
    return table


LITTLE_MORE = "little more than its prior"


def _verdict(estimate: Estimate) -> str:
    return "moved" if estimate.is_informed else LITTLE_MORE


def _correlation_table(calibration: Calibration) -> Table:
    names = [estimate.parameter.field for estimate in calibration.estimates]
    rows = [
        (f"{index + 1} {name}", *(f"{value:+.2f}" for value in row[: index + 1]), *[""] * (len(names) - index - 1))
        for index, (name, row) in enumerate(zip(names, calibration.correlations, strict=True))
    ]
    return plain_table("correlations of the estimates", ["", *(str(index + 1) for index in range(len(names)))], rows)
