"""Evaluation: the same episodes for every policy, bounds, the JSON contract, pictures."""

import dataclasses
import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from tests.tiny import tiny
from tierenv.errors import ConfigError
from tierenv.records import validate_record
from tierenv.scenario import load_scenario
from tierenv.task import simulated_task
from tierenv.train import evaluate as evaluation_module
from tierenv.train import limits, report, seeds
from tierenv.train.episodes import holding, run_episodes
from tierenv.train.evaluate import compute_bounds, evaluate
from tierenv.train.evaluation import Evaluation
from tierenv.train.evaluation_tables import evaluation_tables
from tierenv.train.journal import Journal
from tierenv.train.judging import mean_gap_closed
from tierenv.train.results import EvaluationResult
from tierenv.train.run_dir import to_yaml

POLICIES = ["no-migration", "kmmscand-v1", "built-in", "static:200,256,inf", "random"]
NUM_SEEDS = 4


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """Returns one evaluation of all policies."""
    path = tmp_path_factory.mktemp("evaluate") / "tiny.yaml"
    path.write_text(to_yaml(tiny().model_dump(mode="json")))
    return evaluate(str(path), POLICIES, NUM_SEEDS, with_timelines=True)


def test_no_policy_beats_the_clairvoyant(result: Evaluation) -> None:
    assert [row.policy for row in result.rows] == POLICIES
    for row in result.rows:
        assert (row.episodes.seconds >= row.bounds.clairvoyant).all(), row.policy
        assert (row.bounds.clairvoyant >= row.bounds.all_fast * (1 - 1e-9)).all()


def test_no_migration_closes_no_gap(result: Evaluation) -> None:
    row = result.rows[0]
    np.testing.assert_array_equal(row.episodes.seconds, row.bounds.no_migration)
    assert row.gap_closed == 0
    assert row.episodes.counts["promoted_pages"].sum() == 0


def test_episode_is_the_environments_own() -> None:
    task = simulated_task([tiny()] * 2, max_time_multiple=20.0)
    actions = np.array([[0.2, -0.3, 0.9], [-0.5, 0.5, 0.1]])
    episodes = run_episodes(task, holding(actions), [11, 12])
    env = gymnasium.make("tierenv/TieredMemory-v1", scenario=tiny(), max_time_multiple=20.0)
    for index, seed in enumerate([11, 12]):
        env.reset(seed=seed)
        has_ended, steps = False, 0
        while not has_ended:
            _, _, terminated, truncated, info = env.step(actions[index].astype(np.float32))
            has_ended, steps = terminated or truncated, steps + 1
        assert episodes.seconds[index] == info["elapsed_s"]
        assert episodes.counts["promoted_pages"][index] == info["promoted_pages"]


def test_result_does_not_depend_on_the_batch() -> None:
    actions = np.tile([0.2, -0.3, 0.9], (3, 1))
    batch = run_episodes(simulated_task([tiny()] * 3), holding(actions), [1, 2, 3])
    alone = run_episodes(simulated_task([tiny()]), holding(actions[:1]), [2])
    assert batch.seconds[1] == alone.seconds[0]
    assert batch.env_steps > alone.env_steps


def test_json_keeps_the_contract(result: Evaluation) -> None:
    content = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert content["schema"] == 1
    assert {"suite", "git_revision", "rows", "aggregate"} <= set(content)
    assert content["seeds"] == [10_000 + index for index in range(NUM_SEEDS)]
    row = content["rows"][1]
    assert {"scenario", "policy", "daemon", "seconds", "bounds", "gap_closed", "regret"} <= set(row)
    assert [row["daemon"] for row in content["rows"][:3]] == ["kmmscand-tunable", "kmmscand-v1", "kmmscand-tunable"]
    assert {"promoted_pages", "demoted_pages", "failed_migrations", "wasted_promotions"} <= set(row)
    assert {"duplicate_entries", "peak_list_entries", "peak_list_bytes", "list_allocation_failures"} <= set(row)
    assert row["peak_list_bytes"] == 64 * row["peak_list_entries"]
    assert set(row["bounds"]) == {"all_fast", "clairvoyant", "no_foresight", "no_migration"}
    seconds, bounds = row["seconds"], row["bounds"]
    assert len(seconds["runs"]) == NUM_SEEDS and seconds["mean"] == pytest.approx(np.mean(seconds["runs"]))
    assert seconds["ci95"][0] < seconds["mean"] < seconds["ci95"][1]
    assert bounds["clairvoyant"] <= bounds["no_foresight"] <= bounds["no_migration"]
    gap = bounds["no_migration"] - bounds["clairvoyant"]
    assert row["gap_closed"] == pytest.approx((bounds["no_migration"] - seconds["mean"]) / gap)
    assert row["regret"] == pytest.approx(seconds["mean"] / bounds["clairvoyant"] - 1)
    assert set(content["aggregate"]) == {*POLICIES, "all_fast", "clairvoyant", "no_foresight"}
    assert {"iqm_gap_closed", "ci95", "time_over_no_migration", "worst"} < set(content["aggregate"]["random"])


def test_the_gap_closed_is_that_of_the_verdicts_and_null_where_next_to_nothing_is_at_stake(result: Evaluation) -> None:
    row, outcome = result.rows[1], result.outcomes[0]
    closed = mean_gap_closed(outcome, row.policy)
    assert closed is not None and row.gap_closed == pytest.approx(closed.value)
    clairvoyant = 0.985 * row.bounds.no_migration
    little = dataclasses.replace(row, bounds=dataclasses.replace(row.bounds, limits={"clairvoyant": clairvoyant}))
    assert little.gap_closed is None
    assert little.bounds is not None and little.bounds.regret(clairvoyant) == 0


def test_where_no_migration_was_given_up_nothing_is_at_stake(result: Evaluation) -> None:
    rows = [dataclasses.replace(row, bounds=dataclasses.replace(row.bounds, num_given_up=1)) for row in result.rows]
    content = Evaluation("a", result.seeds, rows).to_json()
    assert content["verdict"] is None and content["aggregate"] == {} and len(content["without_bounds"]) == 1
    assert {row["gap_closed"] for row in content["rows"]} == {None}
    read = validate_record(EvaluationResult, content, "here").outcomes()
    assert read[0].stake is None and read[0].given_up["no-migration"] == 1


def test_others_are_paired_with_best_static(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: Evaluation
) -> None:
    monkeypatch.setattr(evaluation_module, "BASELINE", "no-migration")
    path = tmp_path / "tiny.yaml"
    path.write_text(to_yaml(tiny().model_dump(mode="json")))
    rows = evaluate(str(path), ["no-migration", "static:200,256,inf"], NUM_SEEDS).rows
    assert rows[0].difference_to_baseline is None
    difference = rows[1].difference_to_baseline
    assert difference is not None
    expected = rows[1].episodes.seconds - rows[0].episodes.seconds
    assert difference.value == pytest.approx(expected.mean()) and difference.low < difference.high
    assert all(row.difference_to_baseline is None for row in result.rows)


def test_given_up_episodes_are_reported_as_at_least(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_module, "MAX_TIME_MULTIPLE", 1.01)
    path = tmp_path / "tiny.yaml"
    path.write_text(to_yaml(tiny().model_dump(mode="json")))
    truncated = evaluate(str(path), ["static:200,256,0"], 2)
    row = truncated.rows[0]
    assert row.num_truncated == 2 and truncated.to_json()["rows"][0]["truncated_runs"] == 2
    assert ">= " in rendered(truncated)


def test_tables_name_what_they_show(result: Evaluation) -> None:
    text = rendered(result)
    for word in (*POLICIES, "time [s]", "gap closed", "regret", "clairvoyant", "4 episodes"):
        assert word in text


def test_tables_are_titled_by_the_scenario_that_ran_whatever_is_called_like_it(result: Evaluation) -> None:
    text = " ".join(rendered(result).split())
    assert text.startswith(f"{tiny()} ") and not text.startswith(str(load_scenario("moving-hot-set")))


def test_another_daemon_can_take_the_place_of_the_scenarios_own(scenario_path: Path) -> None:
    names = ["no-migration", "numab2", "static:60000,256,inf,1000", "static:60000,256,0,1000"]
    found = evaluate(str(scenario_path), names, 2, daemon="numa-balancing")
    assert [row.daemon for row in found.rows] == ["numa-balancing", "numab2", "numa-balancing", "numa-balancing"]
    promoted = [float(row.episodes.counts["promoted_pages"].mean()) for row in found.rows]
    assert promoted[0] == 0 and promoted[1] > 0 and promoted[2] > promoted[3]


def test_every_second_episode_has_held_out_phase_orders() -> None:
    assert seeds.evaluation_phase_orders(3) == ["training", "held-out", "training"]


def test_picture_shows_policies_side_by_side(result: Evaluation, tmp_path: Path) -> None:
    report.write_plot(tmp_path / "plot.png", result.timelines)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    figure = report.timeline_figure(result.timelines)
    assert len(figure.axes) == 4 * len(POLICIES)
    timeline = result.timelines["built-in"]
    assert timeline.elapsed_s[-1] == result.rows[2].episodes.seconds[0]


def test_bad_requests_say_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match="name at least one"):
        evaluate("skewed", [], 1)
    with pytest.raises(ConfigError, match="--seeds=0: must be 1 to 10000"):
        evaluate("skewed", ["random"], 0)
    with pytest.raises(ConfigError, match="did you mean 'random'"):
        evaluate("skewed", ["randm"], 1)
    with pytest.raises(ConfigError, match="--plot: draws one scenario"):
        evaluate("first-round", ["random"], 1, with_timelines=True)


def rendered(evaluation: Evaluation) -> str:
    from rich.console import Console

    console = Console(width=200, markup=False)
    with console.capture() as capture:
        console.print(*evaluation_tables(evaluation))
    return capture.get()


def twice(result: Evaluation, **num_given_up: int) -> Evaluation:
    """Returns it on its scenario and on one more, where a policy did not run; of others there runs were given up."""
    rows = list(result.rows)
    for row in result.rows:
        if row.policy != "random":
            is_truncated = np.arange(NUM_SEEDS) < num_given_up.get(row.policy.replace("-", "_"), 0)
            episodes = dataclasses.replace(row.episodes, is_truncated=is_truncated)
            rows.append(dataclasses.replace(row, scenario=row.scenario.replace(name="second"), episodes=episodes))
    return Evaluation("both", result.seeds, rows)


def lines_of(evaluation: Evaluation, title: str, policy: str) -> list[str]:
    """Returns the lines of a policy in the table of this title."""
    table = rendered(evaluation).split(title)[1].split("suite both")[0]
    return [" ".join(line.split()) for line in table.splitlines() if line.strip().startswith(policy)]


def test_a_line_over_fewer_scenarios_than_its_column_says_so(result: Evaluation) -> None:
    evaluation = twice(result)
    assert lines_of(evaluation, "total time over that without migration", "random")[0].endswith(" (1)")
    assert not lines_of(evaluation, "total time over that without migration", "built-in")[0].endswith(" (1)")
    for title in (": all scenarios", "recovery and CPU time"):
        assert lines_of(evaluation, title, "random")[0].startswith("random (1) ")
        assert lines_of(evaluation, title, "built-in")[0].startswith("built-in ")
        assert "(" not in lines_of(evaluation, title, "no-migration")[0].split("[")[0]


def test_runs_that_were_given_up_are_marked_in_every_table(result: Evaluation) -> None:
    evaluation = twice(result, kmmscand_v1=2)
    standing = next(each for each in evaluation.standings if each.name == "kmmscand-v1")
    assert standing.num_given_up == standing.to_json()["truncated_runs"] == 2
    (line,) = lines_of(evaluation, "total time over that without migration", "kmmscand-v1")
    assert line.startswith("kmmscand-v1 rule >= ")
    assert "<= " in lines_of(evaluation, ": all scenarios", "kmmscand-v1")[0]
    assert ">= " not in rendered(twice(result))


def test_tables_fit_a_terminal_of_80_columns(result: Evaluation) -> None:
    console = Console(width=80)
    for table in evaluation_tables(result):
        with console.capture() as captured:
            console.print(table)
        lines = captured.get().splitlines()
        assert max(map(len, lines)) <= 80
        # a cell takes two lines at most, title and caption three
        assert len(lines) <= 10 + 2 * (len(table.rows) if isinstance(table, Table) else 1)


def test_the_end_of_every_process_is_told(tmp_path: Path) -> None:
    corunner = {"workload": "abench", "size": "8MiB"}
    scenario = tiny().replace(corunners=[corunner])
    (tmp_path / "two.yaml").write_text(to_yaml(scenario.model_dump(mode="json")))
    evaluation = evaluate(str(tmp_path / "two.yaml"), ["no-migration", "static:200,256,inf"], 2)
    for row in evaluation.rows:
        ends = row.to_json(evaluation.seeds, evaluation.outcomes[0])["process_seconds"]
        assert [end["workload"] for end in ends] == [scenario.workload.name, "abench"]
        assert 0 < min(end["mean"] for end in ends) < max(end["mean"] for end in ends)
        np.testing.assert_allclose(row.episodes.process_seconds.max(axis=1), row.episodes.seconds)
        assert f" {ends[1]['mean']:.1f} " in rendered(evaluation)
    assert evaluation.to_json()["objective"] == "time to the end of the last process"


def test_bounds_of_episodes_that_are_alike_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(limits, "clairvoyant_bound_s", lambda _system, index: asked.append(index) or 1.0)
    for name, times in (("abench-8g", 1), ("skewed", 3)):  # nothing is drawn of the first, and placement of the second
        asked.clear()
        bounds = compute_bounds(tiny(name), [1, 2, 3], Journal())
        assert len(asked) == times
        assert bounds is not None and len(bounds.limits["no_foresight"]) == 3
