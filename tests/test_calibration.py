"""Reading measurements, fitting, and the fit that is shipped."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tierenv.calibration import PARAMETERS, Parameter, calibrate, with_values
from tierenv.errors import ConfigError
from tierenv.measurements import SYSTEMS, Cell, check_sizes, read_measurements
from tierenv.platform import Platform
from tierenv.records import load_record, packaged
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.train.calibrate import calibration_tables, fitted_text, report_path, run_calibration, workload_path
from tierenv.train.cli import main
from tierenv.workload import Workload

FITTED = "amd-epyc-cxl"
HEADER = "size_gb,system,seconds,stdev_percent\n"


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return read_measurements("abench_rfc_v1")


@pytest.fixture(scope="module")
def fitted() -> Scenario:
    return load_scenario("abench-8g")


def value_of(parameter: Parameter, scenario: Scenario) -> float:
    """Returns a scenario's value in the parameter's unit."""
    value: Any = scenario
    for part in parameter.field.split("."):
        value = getattr(value, part)
    return value / parameter.scale


def modelled_s(cells: list[Cell], like: Scenario) -> np.ndarray:
    scenarios = [cell.scenario(like) for cell in cells]
    system = LumpedSystem(scenarios)
    system.reset(np.zeros(len(cells), dtype=np.uint64), ["training"] * len(cells))
    system.run_to_end()
    return system.elapsed_s


def test_the_packaged_measurements_are_the_twelve_cells_of_the_series(cells):
    assert [(cell.size_gib, cell.system) for cell in cells] == [
        (size, system) for system in ("numab2", "numab1", "kmmscand-v1") for size in (8, 16, 32, 64)
    ]
    assert cells[-1] == Cell(64, "kmmscand-v1", 1205.20, 2.29)


def test_the_fitted_platform_meets_the_bars(cells, fitted):
    times = dict(zip(((cell.size_gib, cell.system) for cell in cells), modelled_s(cells, fitted), strict=True))
    errors = np.array([times[cell.size_gib, cell.system] / cell.seconds - 1 for cell in cells])
    assert np.abs(errors).mean() <= 0.025
    assert np.abs(errors).max() <= 0.05
    measured = {(cell.size_gib, cell.system): cell.seconds for cell in cells}
    for size in (8, 16, 32, 64):
        assert times[size, "kmmscand-v1"] < times[size, "numab2"] < times[size, "numab1"]
        gain, published = (1 - row[size, "kmmscand-v1"] / row[size, "numab2"] for row in (times, measured))
        assert gain == pytest.approx(published, abs=0.03)


def test_the_stored_report_is_of_the_fitted_platform_and_workload(cells, fitted):
    report = json.loads(report_path(packaged("platforms")[FITTED]).read_text())
    assert [row["value"] for row in report["parameters"]] == pytest.approx(
        [value_of(row, fitted) for row in PARAMETERS]
    )
    stored = {(row["size_gb"], row["system"]): row["modelled_s"] for row in report["cells"]}
    times = modelled_s(cells, fitted)
    assert [stored[cell.size_gib, cell.system] for cell in cells] == pytest.approx(times, rel=2e-3)
    assert report["worst_error_left_out"] <= 0.10


def test_fewer_than_ten_parameters_each_with_a_source_and_none_of_a_size_or_system():
    assert len(PARAMETERS) < 10
    start = load_scenario("abench-8g")
    for parameter in PARAMETERS:
        assert parameter.source and parameter.prior > 0 and parameter.prior_sd > 0
        assert value_of(parameter, start) > 0
    values = [2 * parameter.prior for parameter in PARAMETERS]
    assert [value_of(row, with_values(start, values)) for row in PARAMETERS] == pytest.approx(values)


@pytest.fixture(scope="module")
def known() -> tuple[list[Cell], Scenario]:
    """Returns times made by the model itself with known parameters, at sizes that take it milliseconds."""
    values = np.resize([0.8, 1.3, 1.2], len(PARAMETERS))
    start = load_scenario("abench-8g")
    truth = with_values(start, [parameter.prior * factor for parameter, factor in zip(PARAMETERS, values, strict=True)])
    cells = [Cell(size, system, 1.0, 0.1) for size in (0.5, 1, 2) for system in ("no-migration", *list(SYSTEMS)[1:])]
    times = modelled_s(cells, truth)
    return [Cell(c.size_gib, c.system, float(s), 0.1) for c, s in zip(cells, times, strict=True)], truth


@pytest.fixture(scope="module")
def recovered(known):
    return calibrate(known[0], load_scenario("abench-8g"))


def test_a_fit_to_the_model_s_own_times_reproduces_them(recovered):
    assert np.abs(recovered.errors).max() < 0.01
    assert recovered.keeps_order


def test_a_fit_to_the_model_s_own_times_finds_the_truth_within_its_intervals(known, recovered):
    truth = known[1]
    inside = [row.low <= value_of(row.parameter, truth) <= row.high for row in recovered.estimates]
    assert sum(inside) >= len(inside) - 1
    for estimate in recovered.estimates:
        assert estimate.low < estimate.value < estimate.high


def test_correlations_are_those_of_a_covariance(recovered):
    assert np.allclose(np.diag(recovered.correlations), 1)
    assert np.allclose(recovered.correlations, recovered.correlations.T)
    assert np.linalg.eigvalsh(recovered.correlations).min() > 0


def test_the_order_counts_as_kept_only_where_it_is(recovered):
    swapped = recovered.modelled_s.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert not type(recovered)(**vars_of(recovered) | {"modelled_s": swapped}).keeps_order


def vars_of(calibration) -> dict:
    return {name: getattr(calibration, name) for name in calibration.__dataclass_fields__}


def test_tables_show_every_cell_and_parameter(known, recovered):
    residuals, gains, parameters, correlations = calibration_tables(recovered)
    assert residuals.row_count == len(known[0]) == 3 * len(SYSTEMS)
    assert gains.row_count == 3 * (len(SYSTEMS) - 1), "over numab2"
    assert parameters.row_count == correlations.row_count == len(PARAMETERS)


def read_as(kind: type[Platform] | type[Workload], text: str, name: str) -> Platform | Workload:
    return kind.model_validate({"name": name} | yaml.safe_load(text))


@pytest.mark.parametrize(
    ("part", "kind", "name"), [("platform", Platform, "amd-epyc-cxl"), ("workload", Workload, "abench")]
)
def test_a_fitted_file_keeps_what_was_not_fitted_and_loads_as_what_was(recovered, part, kind, name):
    record = getattr(recovered.scenario, part)
    text = packaged(f"{part}s")[name].read_text()
    found = fitted_text(part, record, text, recovered.estimates)
    assert read_as(kind, found, name) == record
    others = [line for line in text.splitlines() if "assumed" in line or line.startswith("#")]
    assert others and set(others) <= set(found.splitlines())
    # of another layout it is written anew
    start = getattr(load_scenario("abench-8g"), part).model_dump(exclude={"name"})
    flow = fitted_text(part, record, yaml.safe_dump(start, default_flow_style=True), recovered.estimates)
    assert read_as(kind, flow, name) == record


def test_calibrating_writes_the_platform_its_workload_and_its_report(known, tmp_path):
    rows = "".join(f"{cell.size_gib},{cell.system},{cell.seconds},0.1\n" for cell in known[0])
    measurements, output = tmp_path / "mine.csv", tmp_path / "fitted.yaml"
    measurements.write_text("# a comment\n" + HEADER + rows)
    calibration = run_calibration(str(measurements), "amd-epyc-cxl", output, "abench-8g")
    platform = load_record("platforms", Platform, str(output))
    assert platform.model_copy(update={"name": "amd-epyc-cxl"}) == calibration.scenario.platform
    assert workload_path(output).name == "fitted.workload.yaml"
    workload = load_record("workloads", Workload, str(workload_path(output)))
    assert workload.model_copy(update={"name": "abench"}) == calibration.scenario.workload
    report = json.loads((tmp_path / "fitted.calibration.json").read_text())
    assert len(report["cells"]) == len(known[0]) and report["measurements"] == "mine.csv"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; its first line must name the columns size_gb, system, seconds, stdev_percent"),
        ("size_gb,system\n8,numab1\n", "lacks column seconds; the columns are"),
        ("size_gb,system,seconds,colour\n", "has an unknown column 'colour'; the columns are"),
        (HEADER + "8,numab1,-3,1\n", ":2: seconds='-3': must be a number above 0"),
        (HEADER + "8,numab1,nan,1\n", ":2: seconds='nan': must be a number above 0"),
        (HEADER + "8,numab1,12s,1\n", ":2: seconds='12s': must be a number above 0"),
        (HEADER + "0,numab1,12,1\n", ":2: size_gb='0': must be a number above 0"),
        (HEADER + "8,numab1,12,-1\n", ":2: stdev_percent='-1': must be a number of at least 0"),
        (HEADER + "8,numab3,12,1\n", ":2: system='numab3': unknown; did you mean 'numab2'?; allowed: no-migration, "),
        (HEADER + "8,numab1,12\n", ":2: has 3 values, the header names 4"),
        (HEADER + "8,numab1,12,1\n8,numab1,13,1\n", ":3: numab1 at 8 GiB is given twice"),
        (HEADER + "1e308,numab1,12,1\n", ":2: size_gb='1e308': must be a number above 0, and 1e+09 at most"),
        ("size_gb,system,seconds,seconds\n8,numab1,12,1\n", "has a column twice; the columns are"),
        ("size_gb;system;seconds\n8;numab1;1.278,98\n", ":2: seconds='1.278,98': must be a number above 0"),
        (HEADER + "8," + "x" * 140_000 + ",12,1\n", "mine.csv: holds more than 65536 bytes"),
    ],
)
def test_a_bad_row_is_one_clear_line(tmp_path, content, message):
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(ConfigError) as error:
        read_measurements(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text.replace(",", ";").replace(".", ",").replace("\n", "\r\n"),
        lambda text: text.replace(",", "\t"),
    ],
    ids=["byte order mark", "CRLF", "decimal commas", "tabs"],
)
def test_what_spreadsheets_write_is_read(cells, tmp_path, change):
    text = packaged("measurements")["abench_rfc_v1"].read_text()
    rows = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    path = tmp_path / "mine.csv"
    path.write_bytes(change(rows).encode())
    assert read_measurements(str(path)) == cells


def test_too_few_rows_and_sizes_are_refused(cells, fitted):
    least = len(PARAMETERS)
    with pytest.raises(
        ConfigError, match=f"mine.csv: has 3 rows at 1 sizes; fitting {least} parameters takes at least {least} rows"
    ):
        calibrate([cell for cell in cells if cell.size_gib == 8], fitted, "mine.csv")


def test_a_size_no_scenario_can_have_is_refused():
    with pytest.raises(ConfigError, match="mine.csv: size_gb=1e-06: size"):
        check_sizes([Cell(1e-6, "numab1", 1.0, 0.0)], load_scenario("abench-8g"), "mine.csv")


def test_the_command_answers_bad_input_with_one_line_and_code_2(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_text(HEADER + "8,numab1,-3,1\n")
    output = tmp_path / "fitted.yaml"
    assert main(["calibrate", str(path), "--platform", "amd-epyc-cxl", "--output", str(output)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["calibrate", "abench_rfc_v1", "--platform", "nowhere", "--output", str(output)]) == 2
    assert "unknown platform 'nowhere'" in capsys.readouterr().err
    assert not output.exists()


def test_reports_beside_platforms_are_not_platforms():
    assert all(Path(path).suffix == ".yaml" for path in packaged("platforms").values())
