"""Experiments are read, run and judged as their rows say."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.tiny import tiny
from tierenv.counters import COUNTER_INDEX, COUNTERS, NUM_COUNTERS
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.experiments import Experiment, PlannedRun, Tolerance, load_experiment, packaged_experiments
from tierenv.quantities import QUANTITIES, Outcome
from tierenv.records import packaged, validate_record
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.parameters import access_time_s
from tierenv.train.cli import main
from tierenv.train.fidelity import BATCH_MACHINES, JudgedRow, Summary, fidelity, modelled, simulate

SEEDS = [10_000, 10_001]


PROMOTING = tiny(daemon=load_daemon("kmmscand-v1"), control="kernel-rule")
"""Promotes from its first second on."""


def experiment(*rows: dict[str, Any], **fields: Any) -> Experiment:
    """Returns an experiment of two tiny runs, with rows that have a name and a quantity unless they say another."""
    values = {
        "name": "mine",
        "role": "check",
        "scenario": PROMOTING.model_dump(),
        "runs": {"off": {"control": False}, "on": {}},
        "rows": [{"id": f"row {index}", "quantity": "seconds", "run": "on"} | row for index, row in enumerate(rows)],
    }
    return validate_record(Experiment, values | fields, "mine.yaml")


def judged(modelled_number: float | None, row: dict[str, Any], **fields: Any) -> JudgedRow:
    mine = experiment(row, **fields)
    return JudgedRow(mine, mine.rows[0], modelled_number)


def outcome(seconds: float, **counters: float) -> Outcome:
    counts = np.zeros(NUM_COUNTERS)
    for name, count in counters.items():
        counts[COUNTER_INDEX[name]] = count
    return Outcome(seconds=seconds, counted_s=seconds / 2, accesses=100.0, traffic_bytes=6400.0, counters=counts)


CHANGE = {"beside": "off", "compare": "change"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, 12.0),
        ({"beside": "off", "compare": "difference"}, 4.0),
        ({"beside": "off", "compare": "change"}, 50.0),
        ({"beside": "off", "compare": "ratio"}, 1.5),
        ({"quantity": "pgpromote_success"}, 30.0),
        ({"quantity": "pgpromote_success_per_s"}, 5.0),
        ({"quantity": "pgpromote_success_per_chunk"}, 7.5),
        ({"quantity": "pgpromote_success_per_chunk", "run": "off"}, None),
        ({"quantity": "promoted_mb_per_s"}, 40 * 4096 / 6 / 1e6),
        ({"quantity": "accesses_per_s"}, 100 / 6),
        ({"quantity": "pgpromote_success", "beside": "off", "compare": "change"}, None),
    ],
)
def test_a_number_is_read_from_the_run_and_the_one_beside_it(row: dict[str, Any], expected: float | None) -> None:
    mine = experiment({"published": 1} | row)
    outcomes = {
        mine.planned["off"].identity: outcome(8.0),
        mine.planned["on"].identity: outcome(
            12.0, pgpromote_success=30, nr_kmmscand_migrated=10, nr_kmmscand_mm_scans=4
        ),
    }
    found = modelled(mine, mine.rows[0], outcomes)
    assert found is None if expected is None else found == pytest.approx(expected)


def test_nothing_counted_is_no_rate() -> None:
    mine = experiment({"published": 1, "quantity": "accesses_per_s"})
    nothing = Outcome(seconds=1.0, counted_s=0.0, accesses=0.0, traffic_bytes=0.0, counters=np.zeros(NUM_COUNTERS))
    assert modelled(mine, mine.rows[0], {mine.planned["on"].identity: nothing}) is None


@pytest.mark.parametrize(
    ("tolerance", "published", "near", "off"),
    [
        ({"share": 0.1}, 100, (90, 110), (89.9, 110.1)),
        ({"share": 0.1}, -100, (-90, -110), (-89.9, 100)),
        ({"factor": 2}, 100, (50, 200), (49, 201, -100)),
        ({"factor": 2}, -100, (-50, -200), (-49, 100)),
        ({"factor": 2}, 0, (), (0, 1)),
        ({"points": 5}, -11, (-6, -16), (-5.9, -16.1)),
        ({"between": [5, 20]}, 11, (5, 20), (4.9, 20.1)),
    ],
)
def test_a_tolerance_holds_as_far_as_it_says(
    tolerance: dict[str, Any], published: float, near: tuple[float, ...], off: tuple[float, ...]
) -> None:
    mine = validate_record(Tolerance, tolerance, "mine")
    assert [mine.holds(number, published) for number in (*near, *off)] == [True] * len(near) + [False] * len(off)
    assert judged(off[0], {"published": published, "tolerance": tolerance}).within is False
    assert judged(None, {"published": published, "tolerance": tolerance}).within is False
    assert judged(off[0], {"published": published}).within is None


def test_a_sign_holds_where_the_model_goes_in_the_same_direction() -> None:
    down = {"published": -29.0} | CHANGE
    assert [judged(number, down).sign_ok for number in (-1.0, 0.0, 70.0, None)] == [True, False, False, False]
    assert judged(-1.0, {"published": -29.0}).sign_ok is None, "a value has none"
    assert judged(1.0, {"published": 0.0} | CHANGE).sign_ok is None


def test_only_what_is_required_fails() -> None:
    wrong = {"published": -29.0, "tolerance": {"points": 5}} | CHANGE
    assert [judged(70.0, wrong | {"required": kind}).has_failed for kind in ("sign", "tolerance", None)] == [
        True,
        True,
        False,
    ]
    assert not judged(-1.0, wrong | {"required": "sign"}).has_failed
    assert judged(-1.0, wrong | {"required": "tolerance"}).has_failed


def test_errors_are_shares_of_what_a_model_can_have() -> None:
    assert judged(110.0, {"published": 100.0}).error == pytest.approx(0.1)
    assert judged(110.0, {"published": 130.0, "less": "30s"}).error == pytest.approx(0.1)
    assert judged(1.0, {"published": 0.0}).error is None and judged(None, {"published": 1.0}).error is None


def test_a_row_is_fitted_as_its_experiment_unless_it_says_so() -> None:
    assert [judged(1.0, {"published": 1.0}, role=role).is_fitted for role in ("fitted", "check")] == [True, False]
    assert judged(1.0, {"published": 1.0, "fitted": True}).is_fitted
    assert not judged(1.0, {"published": 1.0, "fitted": False}, role="fitted").is_fitted


def test_a_summary_counts_what_can_hold() -> None:
    near = {"published": 100.0, "tolerance": {"share": 0.15}, "required": "tolerance"} | CHANGE
    numbers = (90.0, 120.0, -160.0)
    summary = Summary([*(judged(number, near) for number in numbers), judged(1.0, {"published": 0.0})])
    assert (summary.median_error, summary.mean_error) == pytest.approx((0.2, (0.1 + 0.2 + 2.6) / 3))
    assert (summary.within, summary.signs, summary.required) == ((1, 3), (2, 3), (1, 3))
    assert Summary([]).median_error is None


def test_a_run_changes_key_by_key_what_the_scenario_says() -> None:
    changes = {
        "fast_capacity": "256MiB",
        "daemon": {"like": "numab2", "knobs": {"hot_threshold": "100ms"}},
        "platform": {"cxl": {"idle_latency": "300ns"}},
        "since": "1s",
        "duration": "3s",
    }
    mine = experiment({"published": 1}, runs={"on": changes})
    run, base = mine.planned["on"], mine.scenario
    assert (run.since, run.duration, run.scenario.fast_capacity) == (1.0, 3.0, 256 << 20)
    assert run.scenario.hint_faults[1].hot_threshold == 0.1 and run.scenario.hint_faults[0] == 2
    assert run.scenario.platform.cxl.idle_latency == pytest.approx(300e-9)
    assert run.scenario.platform.cxl.bandwidth == base.platform.cxl.bandwidth
    back = {"fast_capacity": "128MiB", "daemon": base.daemon, "platform": base.platform}
    assert run.scenario.replace(**back) == base, "and nothing else"


def test_what_is_counted_is_what_the_model_did_in_that_time() -> None:
    run = PlannedRun(PROMOTING, since=1.0, duration=3.0)
    found = simulate([run], SEEDS)[run.identity]
    system = LumpedSystem([PROMOTING] * 2)
    system.reset(np.array(SEEDS, dtype=np.uint64), ["training"] * 2)
    system.advance(1.0)
    before, work = system.counters, system.work_done
    system.advance(2.0)
    gauges = np.array([counter.is_gauge for counter in COUNTERS])
    expected = np.where(gauges, system.counters, system.counters - before).mean(axis=0)
    assert found.counters == pytest.approx(expected) and found.counters[COUNTER_INDEX["nr_kmmscand_migrated"]] > 0
    assert found.accesses == pytest.approx((system.work_done - work).mean() * PROMOTING.total_accesses)
    assert (found.seconds, found.counted_s) == pytest.approx((3.0, 2.0))


def test_runs_do_not_depend_on_what_they_run_beside() -> None:
    runs = [PlannedRun(tiny(fast_capacity=f"{size}MiB")) for size in range(128, 128 + BATCH_MACHINES)]
    told: list[tuple[int, int]] = []
    together = simulate([*runs, *runs, PlannedRun(PROMOTING, duration=1.0)], SEEDS, lambda *part: told.append(part[:2]))
    assert len(together) == len(runs) + 1, "the same run is run once"
    assert told[:2] == [(0, BATCH_MACHINES + 1), (BATCH_MACHINES // 2, BATCH_MACHINES + 1)]
    alone = simulate(runs[-1:], SEEDS)
    assert together[runs[-1].identity].seconds == alone[runs[-1].identity].seconds


def test_quantities_without_a_run_follow_the_models_laws() -> None:
    tier = {"quantity": "loaded_latency", "run": None, "tier": "cxl", "published": 1}
    scenario = tiny()
    cxl = scenario.platform.cxl
    mine = experiment(
        *({"traffic": f"{share * cxl.bandwidth:.0f}B/s"} | tier for share in (0, 0.5, 1)),
        {"quantity": "access_time", "run": None, "fast_share": 0.25, "published": 1},
        {"quantity": "slowdown", "run": None, "fast_share": 1.0, "published": 1},
    )
    idle, half, full, access, slowdown = (modelled(mine, row, {}) for row in mine.rows)
    assert idle == pytest.approx(1e9 * cxl.idle_latency)
    assert half == pytest.approx(1e9 * (cxl.idle_latency + cxl.queueing_latency))
    assert full is None
    assert access == pytest.approx(1e9 * float(access_time_s(scenario, 0.25)))
    assert slowdown == 1


def test_every_counter_can_be_published() -> None:
    assert {counter.symbol for counter in COUNTERS} < set(QUANTITIES)
    assert all((row.of_run is None) != (row.of_scenario is None) for row in QUANTITIES.values())


@pytest.mark.parametrize("name", packaged_experiments())
def test_packaged_experiments_say_where_their_numbers_come_from(name: str) -> None:
    mine = load_experiment(name)
    assert mine.all_rows and mine.source and mine.summary


def test_at_most_a_third_of_the_experiments_may_be_fitted() -> None:
    roles = [load_experiment(name).role for name in packaged_experiments() if not name.startswith("pmbench-")]
    assert roles.count("fitted") <= len(roles) / 3


def test_the_curve_of_a_card_is_met_within_six_percent() -> None:
    summary = fidelity(["cards"], 1).summaries()["fitted"]
    assert len(summary.rows) == 5 and summary.median_error is not None and summary.median_error <= 0.06


def test_a_csv_is_an_experiment_and_one_can_refer_to_it(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("size_gb,system,seconds\n8,numab2,134\n1,kmmscand-v1,12\n")
    (tmp_path / "mine.yaml").write_text("role: fitted\nscenario: abench-8g\ntimes: mine.csv\n")
    alone, named = load_experiment(str(tmp_path / "mine.csv")), load_experiment(str(tmp_path / "mine.yaml"))
    assert (alone.role, named.role) == ("check", "fitted")
    assert alone.all_rows == named.all_rows and [row.published for row in alone.all_rows] == [134, 12]
    assert [run.scenario.size for run in named.planned.values()] == [8 << 30, 1 << 30]
    assert named.planned["kmmscand-v1, 1 GiB"].scenario.numa_balancing_mode == 1


def test_the_fitted_times_are_met_within_a_tenth() -> None:
    rows = fidelity(["abench-v1"], 1).rows
    assert len(rows) == 12 and all(row.is_fitted for row in rows)
    assert [row.row.id for row in rows if abs(row.error or 1.0) > 0.1] == []


ROW = "rows: [{id: a, quantity: seconds, run: on, published: 1}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows: []", "rows: must be given, with their runs, or times in place of both"),
        (f"times: abench_rfc_v0\nruns: {{on: {{}}}}\n{ROW}", "rows: must be given"),
        ("times: gone", "times: unknown measurement 'gone'"),
        (f"runs: {{off: {{}}}}\n{ROW}", "rows.0.run='on': unknown run; runs: off"),
        (f"runs: {{on: {{size: 1parsec}}}}\n{ROW}", "runs.on: size: '1parsec' is not a quantity"),
        (f"runs: {{on: {{sise: 1GiB}}}}\n{ROW}", "runs.on: sise: unknown key; did you mean 'size'?"),
        (f"runs: {{cut: {{since: 2s, duration: 1s}}}}\n{ROW}", "runs.cut: since=2s: must be below duration=1s"),
        (ROW.replace("seconds", "secons"), "rows.0: quantity='secons': unknown; did you mean 'seconds'?"),
        (ROW.replace("run: on, ", ""), "rows.0: run: is required with quantity seconds"),
        (ROW.replace("published: 1", "published: .nan"), "rows.0.published=nan: must be"),
        (ROW.replace("}]", ", compare: ratio}]"), "rows.0: compare='ratio': must be value without beside"),
        (ROW.replace("}]", ", tier: cxl}]"), "rows.0: tier: must be left out with quantity seconds"),
        (ROW.replace("seconds", "slowdown"), "rows.0: fast_share: is required with quantity slowdown"),
        (ROW.replace("}]", ", less: 1s}]"), "rows.0: less: must be below published"),
        (ROW.replace("}]", ", required: sign}]"), "rows.0: required='sign': must be a difference or a change"),
        (ROW.replace("}]", ", required: tolerance}]"), "rows.0: required='tolerance': needs a tolerance"),
        (ROW.replace("}]", ", tolerance: {}}]"), "rows.0.tolerance: must have one of share, factor, points, between"),
        (ROW.replace("}]", ", tolerance: {between: [2, 1]}}]"), "rows.0.tolerance: between=[2.0, 1.0]: must be the"),
        (f"runs: {{on: {{}}}}\n{ROW[:-1]}, {ROW[7:]}", "rows.1.id='a': is given twice"),
        (f"rolle: check\n{ROW}", "rolle: unknown key; did you mean 'role'?"),
    ],
)
def test_a_bad_experiment_is_one_line_that_names_file_and_field(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"scenario: abench-8g\n{text}\n" + "role: check\n" * ("rolle" not in text))
    assert main(["fidelity", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{path}: {message}" in error


def test_two_experiments_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "abench-v1.csv"
    path.write_bytes(packaged("measurements")["abench_rfc_v0"].read_bytes())
    with pytest.raises(ConfigError, match="experiments: names must differ, got abench-v1, abench-v1"):
        fidelity(["abench-v1", str(path)], 1)


@pytest.fixture
def write_experiment(tmp_path: Path) -> Callable[..., Path]:
    """Returns what writes an experiment of tiny runs."""

    def write(*rows: dict[str, Any]) -> Path:
        path = tmp_path / "mine.yaml"
        values = experiment(*rows).model_dump(mode="json", exclude_unset=True)
        path.write_text(yaml.safe_dump(values))
        return path

    return write


def test_the_command_prints_every_row_and_writes_it_for_machines(write_experiment: Callable[..., Path]) -> None:
    path = write_experiment(
        {"published": 1.0, "tolerance": {"share": 0.01}, "required": "tolerance"},
        {"published": 10.0, "fitted": True} | CHANGE,
    )
    command = [sys.executable, "-m", "tierenv.train", "fidelity", str(path), "--seeds", "2", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, "a row that fails is a result"
    result = json.loads(done.stdout)
    assert result["schema"] == 1 and result["seeds"] == SEEDS and "git_revision" in result
    first, second = result["rows"]
    alone = simulate([PlannedRun(load_experiment(str(path)).scenario)], SEEDS)
    assert first["modelled"] == next(iter(alone.values())).seconds
    assert (first["published"], first["unit"], first["within"], first["failed"]) == (1.0, "s", False, True)
    assert (second["unit"], second["sign_ok"], second["within"], second["fitted"]) == ("%", True, None, True)
    assert result["summary"]["check"] | {"median_absolute_error": 0, "mean_absolute_error": 0} == {
        "rows": 1,
        "median_absolute_error": 0,
        "mean_absolute_error": 0,
        "within": {"held": 0, "of": 1},
        "signs": {"held": 0, "of": 0},
        "required": {"held": 0, "of": 1},
    }
    assert result["summary"]["fitted"]["signs"] == {"held": 1, "of": 1}
    assert all(word in done.stderr for word in ("row 0", "row 1", "failed", "holds"))
