"""What is judged is the scenario's objective, in evaluation, search and training; each process is told of."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from tests.databases import database_and_batch, two_on_slow_memory
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario
from tierenv.task import simulated_task
from tierenv.train import evaluate as evaluation_module
from tierenv.train import models, report, scenario_tables
from tierenv.train.config import load_training_config
from tierenv.train.episodes import holding, run_episodes
from tierenv.train.evaluate import evaluate
from tierenv.train.evaluation import Evaluation
from tierenv.train.evaluation_tables import evaluation_tables
from tierenv.train.gains import read_gains
from tierenv.train.learn import Selection
from tierenv.train.processes import process_results
from tierenv.train.run_dir import to_json, to_yaml
from tierenv.train.search import search, search_target

RARELY, OFTEN = "static:20000,1024,inf", "static:200,1024,inf"


def written(path: Path, scenario: Scenario) -> str:
    """Returns the path of a scenario's file."""
    path.write_text(to_yaml(scenario.model_dump(mode="json")))
    return str(path)


def judged(folder: Path, scenario: Scenario, *policies: str) -> Evaluation:
    """Returns two episodes of each policy."""
    return evaluate(written(folder / "scenario.yaml", scenario), policies, 2)


def shown(*tables: Any) -> str:
    """Returns what tables say, spaces alike."""
    console = Console(width=200, markup=False)
    with console.capture() as capture:
        console.print(*tables)
    return " ".join(capture.get().split())


@pytest.mark.parametrize(
    ("objective", "best"),
    [("last-end", RARELY), ("application", OFTEN), ("mean-slowdown", OFTEN), ("worst-slowdown", OFTEN)],
)
def test_policies_are_ranked_by_what_is_judged(objective: str, best: str, tmp_path: Path) -> None:
    evaluation = judged(tmp_path, database_and_batch(objective=objective), RARELY, OFTEN)
    rows = {row.policy: row for row in evaluation.rows}
    assert min(rows, key=lambda policy: rows[policy].objective.value) == best
    assert rows[RARELY].seconds.value < rows[OFTEN].seconds.value
    for row in rows.values():
        own, batch = row.episodes.process_seconds.T
        slowdowns = np.stack((own, batch), axis=1) / row.episodes.process_alone_s
        values = {
            "last-end": batch,
            "application": own,
            "mean-slowdown": slowdowns.mean(axis=1),
            "worst-slowdown": slowdowns.max(axis=1),
        }
        np.testing.assert_allclose(row.episodes.objective, values[objective], rtol=1e-9)


def test_tune_finds_what_is_best_for_what_is_judged() -> None:
    last, application = (
        search(database_and_batch(objective=objective), "random", trials=12, num_seeds=1, num_finalists=4)
        for objective in ("last-end", "application")
    )
    assert last.winner.setting != application.winner.setting
    assert application.winner.objective.value < 0.9 * application.finalists[-1].objective.value
    assert application.winner.seconds.value > 1.01 * last.winner.seconds.value
    assert last.winner.seconds == last.winner.objective
    content = json.loads(to_json(application.to_json()))
    assert content["objective"] == {"name": "application", "unit": "s"}
    finalist = content["finalists"][0]
    assert finalist["objective"]["mean"] < finalist["seconds"]["mean"] and finalist["screening_s"] > 0
    assert "application [s]" in shown(*report.search_tables(application))


def test_one_setting_for_all_is_the_one_whose_objectives_are_best(tmp_path: Path) -> None:
    first = written(tmp_path / "first.yaml", database_and_batch(objective="mean-slowdown"))
    second = written(tmp_path / "second.yaml", database_and_batch(objective="application").replace(name="other"))
    (tmp_path / "suite.yaml").write_text(f"scenarios: [{first}, {second}]\n")
    result = search_target(str(tmp_path / "suite.yaml"), "random", trials=6, num_seeds=1)
    assert result.winner.relative_time < 1
    content = json.loads(to_json(result.to_json()))
    assert [each["finalists"][0]["screening_s"] is None for each in content["scenarios"]] == [True, False]
    assert "objective / no migration" in shown(*report.search_tables(result))


@pytest.mark.parametrize("objective", ["mean-slowdown", "access-time"])
def test_without_bounds_there_is_neither_gap_nor_regret(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation_module, "BASELINE", RARELY)
    monkeypatch.setattr(scenario_tables, "BASELINE", RARELY)
    evaluation = judged(tmp_path, database_and_batch(objective=objective), RARELY, OFTEN)
    text = shown(*evaluation_tables(evaluation))
    assert "bounds" not in text and "gap" not in text and "regret" not in text and "run [s]" in text
    content = json.loads(to_json(evaluation.to_json()))
    row = content["rows"][1]
    assert set(row["bounds"].values()) == {None} and row["gap_closed"] is None and row["regret"] is None
    assert row["difference_to_best_static_s"] is None
    difference = evaluation.rows[1].episodes.objective - evaluation.rows[0].episodes.objective
    assert row["difference_to_best_static"]["mean"] == pytest.approx(difference.mean())
    assert content["aggregate"] == {} and content["by_stake"] == [] and content["verdict"] is None
    assert content["verdicts"][0]["winner"] == OFTEN and content["verdicts"][0]["stake"] is None
    assert content["without_bounds"] == ["skewed"]


def test_a_suite_says_which_scenarios_its_aggregate_leaves_out(tmp_path: Path) -> None:
    paths = [
        written(tmp_path / f"{name}.yaml", database_and_batch(objective=objective).replace(name=name))
        for name, objective in (("timed", "application"), ("slowed", "mean-slowdown"))
    ]
    (tmp_path / "suite.yaml").write_text(f"scenarios: [{', '.join(paths)}]\n")
    evaluation = evaluate(str(tmp_path / "suite.yaml"), [OFTEN], 2)
    alone = evaluate(paths[0], [OFTEN], 2)
    assert evaluation.standings == alone.standings != []
    assert "Without slowed: bounds hold for times alone" in shown(*evaluation_tables(evaluation))
    assert evaluation.to_json()["without_bounds"] == ["slowed"]
    assert evaluation.to_json()["objective"].count(";") == 1


def test_bounds_of_the_application_are_of_its_own_time(tmp_path: Path) -> None:
    evaluation = judged(tmp_path, database_and_batch(objective="application"), "no-migration", OFTEN)
    bounds = evaluation.rows[0].bounds
    assert bounds is not None
    np.testing.assert_array_equal(bounds.no_migration, evaluation.rows[0].episodes.process_seconds[:, 0])
    assert (bounds.all_fast <= bounds.clairvoyant).all()
    assert (bounds.clairvoyant <= evaluation.rows[1].episodes.objective).all()
    assert evaluation.rows[0].gap_closed == 0 and 0 < (evaluation.rows[1].gap_closed or 0) < 1


def test_what_processes_came_to_is_worked_out_by_hand() -> None:
    scenario = two_on_slow_memory()
    endless = {"workload": scenario.corunners[0].workload, "size": "64MiB", "lifetime": "endless"}
    scenario = two_on_slow_memory(corunners=[endless, *scenario.corunners])
    task = simulated_task([scenario])
    application, served, other = process_results(scenario, run_episodes(task, holding(np.zeros((1, 3))), [1]))
    assert [each.name for each in (application, served, other)] == ["application", "other", "other 2"]
    for result, end_s, slowdown, access_s, rounds in (
        (application, 4.0, 2.0, 400e-9, 1.0),
        (served, None, 1.5, 600e-9, 7 / 6),
        (other, 7.0, 1.5, 600e-9, 1.0),
    ):
        assert result.mean_end_s == (None if end_s is None else pytest.approx(end_s, rel=1e-6))
        assert result.finished_s(0) == result.mean_end_s
        assert result.slowdown[0] == pytest.approx(slowdown, rel=1e-6)
        assert result.access_s[0] == pytest.approx(access_s, rel=1e-6)
        assert result.rounds[0] == pytest.approx(rounds, rel=1e-6)


def test_a_run_that_is_given_up_tells_who_had_ended_and_how_slow_the_others_were_by_then() -> None:
    scenario = two_on_slow_memory(objective="mean-slowdown")
    episodes = run_episodes(simulated_task([scenario], max_time_multiple=1.01), holding(np.zeros((1, 3))), [1])
    application, other = process_results(scenario, episodes)
    assert episodes.is_truncated[0] and 5 < episodes.seconds[0] < 7
    assert application.finished_s(0) == pytest.approx(4) and other.finished_s(0) is None
    assert other.slowdown[0] == pytest.approx(1.5, rel=1e-6) and other.rounds[0] < 1
    assert other.to_json()["runs_not_ended"] == 1 and application.to_json()["runs_not_ended"] == 0


def test_json_tells_of_every_run_and_process(tmp_path: Path) -> None:
    scenario = database_and_batch()
    endless = {"workload": scenario.workload, "size": "32MiB", "lifetime": "endless"}
    evaluation = judged(tmp_path, scenario.replace(corunners=[endless, *scenario.corunners]), RARELY)
    (row,) = json.loads(to_json(evaluation.to_json()))["rows"]
    assert [(run["seed"], run["phase_orders"]) for run in row["runs"]] == [(10000, "training"), (10001, "held-out")]
    for index, run in enumerate(row["runs"]):
        ends = {process["process"]: process["finished_s"] for process in run["processes"]}
        assert ends["database 2"] is None and ends["database"] < ends["batch"] == row["seconds"]["runs"][index]
        assert not run["is_truncated"]
    own, served, batch = row["processes"]
    assert (own["lifetime"], served["lifetime"]) == ("once", "endless")
    assert served["end_s"] is None and served["rounds"]["mean"] > 1
    assert batch["end_s"]["mean"] == row["seconds"]["mean"] and 1 < batch["slowdown"]["mean"]
    assert row["objective"]["runs"] == row["seconds"]["runs"] and row["objective"]["name"] == "last-end"


def test_the_table_says_whose_end_no_policy_changes(tmp_path: Path) -> None:
    scenario = two_on_slow_memory(control="tunables")
    batch = scenario.corunners[0].workload.model_copy(update={"think": 3e-6, "cache_hit_share": 0.99})
    scenario = scenario.replace(corunners=[{"workload": batch, "size": "64MiB"}])
    text = shown(*evaluation_tables(judged(tmp_path, scenario, "no-migration", OFTEN)))
    assert "the last to end is other; other ends at 30" in text and "s whatever the policy" in text
    assert "application ends at" not in text
    alone = shown(*evaluation_tables(judged(tmp_path, scenario, OFTEN)))
    assert "whatever the policy" not in alone


def test_the_best_model_is_the_one_with_the_least_objective(
    tmp_path: Path, write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "machine_s", lambda _model: 0.0)
    path = written(tmp_path / "database.yaml", database_and_batch(objective="worst-slowdown"))
    config = load_training_config(str(write_config(scenarios=[path], shaping=False)))

    class Held:
        """A model that always acts alike."""

        def predict(
            self, observation: NDArray[np.float32], *, deterministic: bool, **_: Any
        ) -> tuple[NDArray[np.float32], None]:
            assert deterministic
            return np.zeros((len(observation), 3), np.float32), None

        @property
        def policy(self) -> "Held":
            return self

    result = Selection(config).judge(Held(), timesteps=0)  # type: ignore[arg-type]
    task = simulated_task([database_and_batch(objective="worst-slowdown")] * 2)
    episodes = run_episodes(task, holding(np.zeros((2, 3))), [30_000, 30_001])
    assert result.normalised_time == pytest.approx(episodes.objective.mean())
    assert result.normalised_time != pytest.approx((episodes.seconds / episodes.reference_s).mean(), rel=1e-3)


def test_training_on_what_cannot_be_shaped_says_what_to_turn_off(
    tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    path = written(tmp_path / "database.yaml", database_and_batch(objective="worst-slowdown"))
    with pytest.raises(ConfigError, match=r"shaping=true: scenario skewed: objective worst-slowdown cannot be shaped"):
        load_training_config(str(write_config(scenarios=[path])))


def test_gains_are_of_what_is_judged(tmp_path: Path) -> None:
    evaluation = judged(tmp_path, database_and_batch(objective="application"), "no-migration", OFTEN)
    (tmp_path / "result.json").write_text(to_json(evaluation.to_json()))
    (gain,) = read_gains(tmp_path / "result.json", OFTEN)
    left_alone, often = (row.episodes.objective for row in evaluation.rows)
    assert gain.share == pytest.approx(1 - often.mean() / left_alone.mean())
    assert f"less of objective application than no-migration on {evaluation.rows[0].scenario.name}" in str(gain)
