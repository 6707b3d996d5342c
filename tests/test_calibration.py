"""Fitting to rows of all kinds, and the fit that is shipped."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tierenv.calibration import Calibration, calibrate
from tierenv.errors import ConfigError
from tierenv.measurements import Cell, check_runs, read_measurements
from tierenv.priors import PARAMETERS, with_values
from tierenv.quantities import QUANTITIES
from tierenv.records import packaged, with_changes
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.train.calibrate import calibration_tables, report_path

FITTED = "amd-epyc-cxl"
TIMED = ("no-migration", "numab1", "numab2", "kmmscand-v0", "kmmscand-v1")


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return read_measurements("abench_rfc_v1")


@pytest.fixture(scope="module")
def fitted() -> Scenario:
    return load_scenario("abench-8g")


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
    errors = np.array([times[cell.size_gib, cell.system] / cell.value - 1 for cell in cells])
    assert np.abs(errors).mean() <= 0.025
    assert np.abs(errors).max() <= 0.05
    measured = {(cell.size_gib, cell.system): cell.value for cell in cells}
    for size in (8, 16, 32, 64):
        assert times[size, "kmmscand-v1"] < times[size, "numab2"] < times[size, "numab1"]
        gain, published = (1 - row[size, "kmmscand-v1"] / row[size, "numab2"] for row in (times, measured))
        assert gain == pytest.approx(published, abs=0.03)


def test_the_stored_report_is_of_the_fitted_platform_and_workload(cells, fitted):
    report = json.loads(report_path(packaged("platforms")[FITTED]).read_text())
    assert [row["value"] for row in report["parameters"]] == pytest.approx([row.value_of(fitted) for row in PARAMETERS])
    stored = {(row["size_gb"], row["system"]): row["modelled"] for row in report["cells"]}
    times = modelled_s(cells, fitted)
    assert [stored[cell.size_gib, cell.system] for cell in cells] == pytest.approx(times, rel=2e-3)
    assert report["worst_error_left_out"] <= 0.10


def test_fewer_than_ten_parameters_each_with_a_source_and_none_of_a_size_or_system():
    assert len(PARAMETERS) < 10
    start = load_scenario("abench-8g")
    for parameter in PARAMETERS:
        assert parameter.source and parameter.prior > 0 and parameter.prior_sd > 0
        assert parameter.value_of(start) > 0
    values = [2 * parameter.prior for parameter in PARAMETERS]
    assert [row.value_of(with_values(start, PARAMETERS, values)) for row in PARAMETERS] == pytest.approx(values)


@pytest.fixture(scope="module")
def known() -> tuple[list[Cell], Scenario]:
    """Returns times made by the model itself with known parameters, at sizes that take it milliseconds."""
    values = np.resize([0.8, 1.3, 1.2], len(PARAMETERS))
    start = load_scenario("abench-8g")
    truth = with_values(start, PARAMETERS, [row.prior * factor for row, factor in zip(PARAMETERS, values, strict=True)])
    cells = [Cell(size, system, 1.0, 0.1) for size in (0.5, 1, 2) for system in TIMED]
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
    inside = [row.low <= row.parameter.value_of(truth) <= row.high for row in recovered.estimates]
    assert sum(inside) >= len(inside) - 1
    for estimate in recovered.estimates:
        assert estimate.low < estimate.value < estimate.high


def test_correlations_are_those_of_a_covariance(recovered):
    assert np.allclose(np.diag(recovered.correlations), 1)
    assert np.allclose(recovered.correlations, recovered.correlations.T)
    assert np.linalg.eigvalsh(recovered.correlations).min() > 0


def test_the_order_counts_as_kept_only_where_it_is(recovered):
    swapped = recovered.modelled.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert not replace(recovered, modelled=swapped).keeps_order


def test_tables_show_every_cell_and_parameter(known, recovered):
    residuals, gains, parameters, correlations = calibration_tables(recovered)
    assert residuals.row_count == len(known[0]) == 3 * len(TIMED)
    assert gains.row_count == 3 * (len(TIMED) - 1), "over numab2"
    assert parameters.row_count == correlations.row_count == len(PARAMETERS)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([], "mine.csv: has no row"),
        ([Cell(1e-6, "numab1", 1.0, 0.0)], "mine.csv: numab1, size_gb=1e-06: size"),
        ([Cell(None, "numab1", 1.0, 0.0), Cell(8.0, "numab1", 1.0, 0.0)], "mine.csv: numab1 at 8 GiB, the size of"),
        ([Cell(999, "all-slow", 1.0, 0.0)], ""),
    ],
)
def test_rows_of_which_no_scenario_can_be_made_are_refused(cells, message):
    like = load_scenario("abench-8g")
    if not message:
        check_runs(cells, like, "mine.csv")  # on one tier there is room for all
        return
    with pytest.raises(ConfigError, match=message):
        calibrate(cells, like, "mine.csv")


def test_reports_beside_platforms_are_not_platforms():
    assert all(Path(path).suffix == ".yaml" for path in packaged("platforms").values())


SYSTEMS_OF_FOUR_TIMES = ("no-migration", "numab1", "numab2", "all-slow")


def large() -> Scenario:
    """256 GiB in sixteen classes of Zipf's law, half of it in DRAM, beside a card of eight lanes."""
    edges = np.cumsum(1.6 ** np.arange(16))
    edges = np.concatenate(([0.0], edges / edges[-1]))
    heat = np.diff(edges**0.1)
    names = [f"c{index}" for index in range(16)]
    shares, fractions = np.round(heat / heat.sum(), 8), np.round(np.diff(edges), 8)
    shares[-1], fractions[-1] = 1 - shares[:-1].sum(), 1 - fractions[:-1].sum()
    changes = {
        "platform": {"like": "one-x8-card", "dram": {"capacity": "160GiB"}, "cxl": {"capacity": "300GiB"}},
        "size": "256GiB",
        "fast_capacity": "128GiB",
        "workload": {
            "like": "skewed",
            "think": "60ns",
            "memory_parallelism": 2.0,
            "accesses_per_page": 400,
            "initial_placement": "address-order",
            "classes": [{"name": name, "fraction": f} for name, f in zip(names, fractions.tolist(), strict=True)],
            "phases": [{"name": "run", "access_share": dict(zip(names, shares.tolist(), strict=True))}],
        },
    }
    return with_changes(load_scenario("skewed"), changes, "large")


class Counted:
    """Points that a fit had evaluated."""

    def __init__(self) -> None:
        self.points = 0

    def __call__(self, decides, evaluate):
        self.points += len(decides)
        return evaluate()


def test_a_large_program_of_many_classes_takes_few_points_and_its_truth_is_found():
    start = large()
    truth = with_values(start, PARAMETERS, [2.2, 50, 10, 1.6, 0.02])
    cells = [Cell(None, system, 1.0, 0.5) for system in SYSTEMS_OF_FOUR_TIMES]
    noise = np.exp(np.random.default_rng(0).normal(0, 0.01, len(cells)))
    cells = [replace(cell, value=float(s)) for cell, s in zip(cells, modelled_s(cells, truth) * noise, strict=True)]
    counted = Counted()
    found = calibrate(cells, start, remember=counted)
    assert counted.points <= 10 * len(PARAMETERS), "each takes half a second of CPU where runs take twenty minutes"
    assert found.modelled == pytest.approx(modelled_s(cells, found.scenario))
    assert np.abs(found.errors).max() < 0.02
    for estimate in found.estimates:
        assert estimate.low < estimate.parameter.value_of(truth) < estimate.high


def four_times(like: Scenario) -> list[Cell]:
    cells = [Cell(None, system, 1.0, 0.5) for system in SYSTEMS_OF_FOUR_TIMES]
    return [replace(cell, value=float(s)) for cell, s in zip(cells, modelled_s(cells, like), strict=True)]


@pytest.fixture(scope="module")
def small() -> Scenario:
    """A program whose parameters are those of the priors, of a size that takes milliseconds."""
    start = with_changes(load_scenario("abench-8g"), {"size": "1GiB", "fast_capacity": "512MiB"}, "small")
    return with_values(start, PARAMETERS, [row.prior for row in PARAMETERS])


def estimates_of(calibration: Calibration) -> dict:
    return {estimate.parameter.field.rpartition(".")[2]: estimate for estimate in calibration.estimates}


def test_one_row_moves_what_it_tells_of_and_leaves_all_else_at_its_prior(small):
    [cell] = [cell for cell in four_times(small) if cell.system == "all-slow"]
    found = calibrate([replace(cell, value=1.3 * cell.value)], small)
    rows = estimates_of(found)
    for name in ("numa_start_period_factor", "numa_shared_move_share"):
        assert rows[name].value == pytest.approx(rows[name].parameter.prior, rel=1e-3)
        assert rows[name].log_sd == pytest.approx(rows[name].parameter.prior_sd)
        assert rows[name].share_of_rows == 0 and not rows[name].is_informed
    assert rows["memory_parallelism"].value < 0.95 * rows["memory_parallelism"].parameter.prior
    assert abs(found.errors[0]) < 0.01
    assert found.left_out == "" and np.isnan(found.left_out_errors).all()
    json.dumps(found.to_json(), allow_nan=False)
    calibration_tables(found)


def test_of_rows_at_one_size_each_is_left_out_in_turn(small):
    cells = four_times(small)
    cells[-1] = replace(cells[-1], value=1.5 * cells[-1].value)
    found = calibrate(cells, small)
    assert found.left_out == "row"
    assert abs(found.left_out_errors[-1]) > abs(found.errors[-1]), "what was fitted to is met better"
    rest = calibrate(cells[:-1], small)
    times = modelled_s(cells[-1:], rest.scenario)
    assert found.left_out_errors[-1] == pytest.approx(times[0] / cells[-1].value - 1, abs=0.06), "to first order"


def test_what_a_file_fixes_never_moves_and_what_it_knows_well_hardly(small):
    cells = [replace(cell, value=1.5 * cell.value) for cell in four_times(small)]
    files = {
        "platform": {
            "cxl": {
                "idle_latency": {"value": "250ns", "prior": 1.01},
                "bandwidth": {"value": "48GB/s"},
            },
            "page_walk_per_doubling": {"value": "8ns", "prior": "fixed"},
        },
        "workload": {"memory_parallelism": {"value": 2.5, "prior": 1.02, "source": "counted"}},
    }
    found = calibrate(cells, small, files=files)
    rows = estimates_of(found)
    assert "page_walk_per_doubling" not in rows and [row.field for row in found.fixed] == [
        "platform.page_walk_per_doubling"
    ]
    assert found.scenario.platform.page_walk_per_doubling == small.platform.page_walk_per_doubling
    assert found.scenario.platform.cxl.bandwidth == small.platform.cxl.bandwidth, "measured, and without a prior"
    assert "bandwidth" not in rows
    assert rows["idle_latency"].parameter.unit == "ns"
    assert abs(math.log(rows["idle_latency"].value / 250)) < 3.5 * math.log(1.01)
    assert rows["memory_parallelism"].parameter.source == "counted"
    assert abs(math.log(rows["memory_parallelism"].value / 2.5)) < 3.5 * math.log(1.02)
    assert rows["think"].value > 1.3 * rows["think"].parameter.prior, "what is left moves instead"


KINDS = {
    "traffic_mb_per_s": "all-slow",
    "accesses_per_s": "all-fast",
    "numa_hint_faults_per_s": "numab1",
    "pgpromote_success_per_s": "numab2",
    "pgdemote_kswapd_per_s": "numab2",
    "promoted_mb_per_s": "kmmscand-v1",
}


def test_rows_of_every_kind_are_met_together(small):
    cells = four_times(small)
    for quantity, system in KINDS.items():
        cells.append(Cell(None, system, 1.0, 0.0, quantity))
    first = calibrate(cells, small)  # for what the model makes of each at its start
    known = [replace(cell, value=float(value)) for cell, value in zip(first.cells, first.modelled, strict=True)]
    found = calibrate(known, first.scenario)
    by_kind = dict(zip(((cell.quantity, cell.system) for cell in found.cells), found.normalised_errors, strict=True))
    assert len(by_kind) == len(cells)
    assert all(abs(by_kind[kind]) < 2 for kind in KINDS.items()), by_kind
    traffic = {cell.quantity: value for cell, value in zip(found.cells, found.modelled, strict=True)}
    time = found.modelled[[(cell.quantity, cell.system) for cell in found.cells].index(("seconds", "all-slow"))]
    bytes_moved = found.scenario.total_accesses * found.scenario.workload.traffic_per_access
    assert traffic["traffic_mb_per_s"] == pytest.approx(bytes_moved / time / 1e6)
    assert {row["unit"] for row in found.to_json()["cells"]} == {"s", "MB/s", "1/s", "pages/s"}
    assert calibration_tables(found)[0].row_count == len(cells)


def test_on_one_tier_nothing_moves_and_memory_costs_what_the_tier_does(small):
    fast, slow = modelled_s([Cell(4.0, name, 1.0, 0.0) for name in ("all-fast", "all-slow")], small)
    assert fast < 0.9 * slow
    assert Cell(None, "all-slow", 1.0, 0.0).scenario(small).size == small.size
    unplaced = modelled_s([Cell(4.0, "no-migration", 1.0, 0.0)], small)
    assert unplaced == pytest.approx(slow), "abench starts on the slow node"


def test_a_rate_is_a_quantity_of_the_table():
    assert set(KINDS) < set(QUANTITIES)


def test_a_time_of_several_programs_is_refused() -> None:
    like = load_scenario("noisy-neighbour")
    cells = [Cell(None, "no-migration", 200.0, 0.0)]
    with pytest.raises(ConfigError, match="a measured time is that of one program"):
        calibrate(cells, like)
