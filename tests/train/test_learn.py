"""Training from end to end on a scenario whose episodes take milliseconds."""

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from tierenv.agents.bundle import BundlePolicy
from tierenv.agents.definition import observation_definition
from tierenv.agents.export import export_policy
from tierenv.agents.export.learned_source import learned_source
from tierenv.agents.policies import load_policy
from tierenv.agents.run_folder import RunFolder
from tierenv.errors import ConfigError
from tierenv.observation_spec import observation_rows
from tierenv.scenario import load_scenario
from tierenv.train import algorithms
from tierenv.train import learn as learn_module
from tierenv.train.algorithms import Algorithm
from tierenv.train.config import load_training_config
from tierenv.train.evaluate import evaluate
from tierenv.train.learn import TrainingResult, learn
from tierenv.train.run_dir import RunDirectory
from tierenv.vector_env import TieredMemoryVectorEnv

WriteConfig = Callable[..., Path]


def train(config_path: Path, folder: Path, is_resumed: bool = False, **overrides: Any) -> TrainingResult:
    config = load_training_config(str(config_path)).with_overrides(**overrides)
    open_run = RunDirectory.resume if is_resumed else RunDirectory.create
    with open_run(folder, config, "tierenv train") as run:
        return learn(config, run)


def weights(model: Path) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in PPO.load(model, device="cpu").policy.state_dict().values()]


def test_run_leaves_what_the_documentation_says(write_config: WriteConfig, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = train(write_config(), folder)
    assert (result.timesteps, result.new_timesteps, result.is_interrupted) == (128, 128, False)
    assert result.best is not None and 1 <= result.best.normalised_time <= 4
    spent = result.time_spent
    assert 0 < spent.model_s < spent.total_s and spent.learner_s > 0

    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"config.yaml", "manifest.json", "progress.csv", "evaluations.json"} <= names
    assert {"best/model.zip", "best/evaluation.json", "scenarios/moving-hot-set.yaml"} <= names
    assert {"checkpoints/step_0000000064.zip", "checkpoints/step_0000000128.zip"} <= names
    assert any(name.startswith("tb/events") for name in names)
    assert not any(name.endswith(".tmp") for name in names)

    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["command"] == "tierenv train" and manifest["timesteps"] == 128
    assert manifest["versions"]["torch"] and manifest["machine"]["cores"] >= 1
    assert manifest["threads"] == {"torch": 1, "simulator": 1}
    evaluations = json.loads((folder / "evaluations.json").read_text())["evaluations"]
    assert [entry["timesteps"] for entry in evaluations] == [64, 128]
    best = json.loads((folder / "best" / "evaluation.json").read_text())
    assert best["normalised_time"] == min(entry["normalised_time"] for entry in evaluations)


def test_run_is_a_policy(write_config: WriteConfig, scenario_path: Path, tmp_path: Path) -> None:
    train(write_config(), tmp_path / "run")
    policy = load_policy(str(tmp_path / "run"), load_scenario(str(scenario_path)))
    actions = policy.act(np.zeros((5, 14), np.float32))
    assert actions.shape == (5, 3) and (np.abs(actions) <= 1).all()


def test_a_training_and_all_after_it_observes_what_its_configuration_says(
    write_config: WriteConfig, scenario_path: Path, tmp_path: Path
) -> None:
    observation = {"stack": 3, "averages": [4], "machine": ["latency_gap"]}
    run, config = tmp_path / "run", write_config(observation=observation)
    train(config, run, timesteps=64)
    assert train(config, run, is_resumed=True).timesteps == 128
    expected = observation_rows(observation, load_scenario(str(scenario_path)).daemon)
    policy = load_policy(str(run), load_scenario(str(scenario_path)))
    assert policy.observation == expected
    assert json.loads((run / "manifest.json").read_text())["observation"] == observation_definition(expected)
    (run / "manifest.json").unlink()
    assert load_policy(str(run), load_scenario(str(scenario_path))).observation == expected
    export_policy(str(run), "bundle", tmp_path / "bundle")
    assert BundlePolicy.load(tmp_path / "bundle").observation == expected
    rows = evaluate(str(scenario_path), [str(run), str(tmp_path / "bundle")], 2).rows
    np.testing.assert_array_equal(rows[0].episodes.seconds, rows[1].episodes.seconds)
    with pytest.raises(ConfigError, match="observation: this run has .* the configuration given has"):
        train(write_config(observation={"stack": 2}), run, is_resumed=True)


def test_a_run_whose_features_have_changed_is_not_resumed(write_config: WriteConfig, tmp_path: Path) -> None:
    train(write_config(), tmp_path / "run", timesteps=32)
    path = tmp_path / "run" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["observation"][0]["meaning"] = "in other words"
    path.write_text(json.dumps(manifest))
    train(write_config(), tmp_path / "run", is_resumed=True, timesteps=64)
    manifest["observation"][0]["scale"]["octaves"] = 17
    path.write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match=r"manifest.json: observation: .* start a new run"):
        train(write_config(), tmp_path / "run", is_resumed=True)


def test_resolved_configuration_trains_the_same_policy_again(write_config: WriteConfig, tmp_path: Path) -> None:
    train(write_config(), tmp_path / "first", seed=3)
    train(tmp_path / "first" / "config.yaml", tmp_path / "second")
    first, second = (weights(tmp_path / run / "best" / "model.zip") for run in ("first", "second"))
    assert all(np.array_equal(*pair) for pair in zip(first, second, strict=True))
    train(write_config(), tmp_path / "third", seed=4)
    third = weights(tmp_path / "third" / "best" / "model.zip")
    assert not all(np.array_equal(*pair) for pair in zip(first, third, strict=True))


def test_resume_continues_to_the_total(write_config: WriteConfig, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(write_config(), folder, timesteps=64)
    result = train(write_config(), folder, is_resumed=True, timesteps=192)
    assert (result.timesteps, result.new_timesteps) == (192, 128)
    assert json.loads((folder / "manifest.json").read_text())["times_resumed"] == 1
    with (folder / "progress.csv").open() as file:
        steps = [int(row["time/total_timesteps"]) for row in csv.DictReader(file)]
        file.seek(0)
        rows = [float(row["time/machine_s"]) for row in csv.DictReader(file)]
    assert steps == [32, 64, 96, 128, 160, 192]
    interval_s = RunFolder(folder).configuration.first_scenarios[0].control_interval
    for entry in RunFolder(folder).evaluations:  # the last interval of an episode of some thirty is cut short
        assert entry.machine_s == rows[steps.index(entry.timesteps)]
        assert 0.9 * entry.timesteps * interval_s < entry.machine_s < 1.000001 * entry.timesteps * interval_s
    done = train(write_config(), folder, is_resumed=True, timesteps=192)
    assert (done.timesteps, done.new_timesteps) == (192, 0)


def test_resume_goes_back_to_the_latest_whole_checkpoint(write_config: WriteConfig, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(write_config(), folder)
    broken = folder / "checkpoints" / "step_0000000128.zip"
    broken.write_bytes(broken.read_bytes()[:1000])
    run = RunDirectory(folder)
    assert run.latest_checkpoint() == folder / "checkpoints" / "step_0000000064.zip"
    result = train(write_config(), folder, is_resumed=True)
    assert (result.timesteps, result.new_timesteps) == (128, 64)
    evaluations = json.loads((folder / "evaluations.json").read_text())["evaluations"]
    assert [entry["timesteps"] for entry in evaluations] == [64, 128]


def test_reward_scale_changes_what_the_learner_sees_only(write_config: WriteConfig, tmp_path: Path) -> None:
    returns = []
    for scale in (1.0, 50.0):
        train(write_config(reward={"scale": scale}), tmp_path / f"run{scale}")
        with (tmp_path / f"run{scale}" / "progress.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["rollout/ep_rew_mean"]]
        returns.append(float(rows[0]["rollout/ep_rew_mean"]))
    assert returns[0] == pytest.approx(returns[1], abs=0.02)


def test_folder_of_a_run_is_not_overwritten(write_config: WriteConfig, tmp_path: Path) -> None:
    train(write_config(), tmp_path / "run", timesteps=32)
    with pytest.raises(ConfigError, match="already exists; continue it with --resume"):
        train(write_config(), tmp_path / "run")


def test_another_configuration_cannot_resume_a_run(write_config: WriteConfig, tmp_path: Path) -> None:
    train(write_config(), tmp_path / "run", timesteps=32)
    with pytest.raises(ConfigError, match=r"gamma: this run has 1\.0, the configuration given has 0\.5"):
        train(write_config(gamma=0.5), tmp_path / "run", is_resumed=True)
    with pytest.raises(ConfigError, match="no run to resume"):
        train(write_config(), tmp_path / "elsewhere", is_resumed=True)


def test_a_run_needs_nothing_outside_its_folder(write_config: WriteConfig, scenario_path: Path, tmp_path: Path) -> None:
    config_path = write_config()
    scenario = load_scenario(str(scenario_path))
    train(config_path, tmp_path / "run", timesteps=64)
    moved = tmp_path / "archive" / "moved"
    moved.parent.mkdir()
    (tmp_path / "run").rename(moved)
    for path in (config_path, scenario_path):
        path.unlink()

    rows = evaluate(str(moved / "scenarios" / "moving-hot-set.yaml"), [str(moved)], 1).rows
    assert (rows[0].scenario, rows[0].daemon) == (scenario, "kmmscand-tunable")
    export_policy(str(moved), "bundle", tmp_path / "bundle")
    assert load_policy(str(tmp_path / "bundle"), scenario).name == "bundle"
    source = learned_source(str(moved))
    assert [row.name for row in source.scenarios] == ["moving-hot-set"] and source.training["config"]["scenarios"] == [
        "moving-hot-set"
    ]
    result = train(moved / "config.yaml", moved, is_resumed=True, timesteps=128)
    assert (result.timesteps, result.new_timesteps) == (128, 64)


def test_a_run_on_a_scenario_called_like_a_packaged_one_keeps_its_own(
    write_config: WriteConfig, scenario_path: Path, tmp_path: Path
) -> None:
    train(write_config(), tmp_path / "run", timesteps=32)
    scenario = load_scenario(str(scenario_path))
    assert scenario.name == "moving-hot-set" and scenario != load_scenario("moving-hot-set")
    assert RunFolder(tmp_path / "run").configuration.first_scenarios == (scenario,)


def test_a_run_resumes_on_scenarios_of_the_same_content(write_config: WriteConfig, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(write_config(), folder, timesteps=32)
    renamed = {"like": "tiny.yaml", "name": "renamed", "summary": "a copy"}
    assert train(write_config(scenarios=[renamed]), folder, is_resumed=True, timesteps=64).new_timesteps == 32
    assert [path.name for path in (folder / "scenarios").iterdir()] == ["moving-hot-set.yaml"]
    with pytest.raises(ConfigError, match=r"scenarios: this run has moving-hot-set \(\w+\), the configuration given"):
        train(write_config(scenarios=[{"like": "tiny.yaml", "regions": 5}]), folder, is_resumed=True)


def test_interrupt_keeps_a_checkpoint(write_config: WriteConfig, tmp_path: Path) -> None:
    config = load_training_config(str(write_config(timesteps=10_000)))
    previous = signal.getsignal(signal.SIGINT)

    def press_ctrl_c(done: int, total: int, doing: str) -> None:
        if done == 40:
            os.kill(os.getpid(), signal.SIGINT)

    with RunDirectory.create(tmp_path / "run", config, "tierenv train") as run:
        result = learn(config, run, press_ctrl_c)
    assert result.is_interrupted and result.timesteps == 40
    assert run.latest_checkpoint() == tmp_path / "run" / "checkpoints" / "step_0000000040.zip"
    assert run.best_model.is_file()
    assert run.manifest.is_interrupted is True
    assert signal.getsignal(signal.SIGINT) is previous
    resumed = train(write_config(timesteps=10_000), tmp_path / "run", is_resumed=True, timesteps=64)
    assert not resumed.is_interrupted and resumed.timesteps == 72  # whole rollouts of 32


def test_another_algorithm_is_one_row_and_one_file(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Algorithm("trpo", "sb3_contrib:TRPO", "trust region policy optimisation")
    monkeypatch.setitem(algorithms.ALGORITHMS, "trpo", row)
    path = write_config(algorithm="trpo", hyperparameters={"n_steps": 8, "batch_size": 32})
    assert train(path, tmp_path / "run").timesteps == 128


def test_what_only_the_algorithm_refuses_is_bad_input_too(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(algorithms.RANGES, "batch_size")
    path = write_config(hyperparameters={"n_steps": 8, "batch_size": 1})
    with pytest.raises(ConfigError, match="hyperparameters: ppo: `batch_size` must be greater than 1"):
        train(path, tmp_path / "run")


def test_exploration_begins_where_the_configuration_says(
    write_config: WriteConfig, scenario_path: Path, tmp_path: Path
) -> None:
    start = {"initial_action": [-1.2, 0.5, 0.0], "log_std_init": [-1.6, -1.6, -0.3]}
    path = write_config(**start, hyperparameters={"n_steps": 8, "batch_size": 32, "learning_rate": 1e-8})
    train(path, tmp_path / "run", timesteps=32)
    policy = load_policy(str(tmp_path / "run"), load_scenario(str(scenario_path)))
    actions = policy.act(np.zeros((1, 14), np.float32))[0]
    assert actions[0] == -1 and actions[1:] == pytest.approx([0.5, 0.0], abs=0.05)
    log_std = PPO.load(tmp_path / "run" / "best" / "model.zip", device="cpu").policy.log_std
    assert log_std.tolist() == pytest.approx(start["log_std_init"], abs=1e-3)


@pytest.mark.parametrize(("shaping", "shaping_gamma"), [(True, 0.9), (False, None)])
def test_the_learner_acts_in_the_environments_of_the_configuration(
    write_config: WriteConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shaping: bool,
    shaping_gamma: float | None,
) -> None:
    made: list[dict[str, Any]] = []

    def make(**options: Any) -> TieredMemoryVectorEnv:
        made.append(options)
        return TieredMemoryVectorEnv(**options)

    monkeypatch.setattr(learn_module, "TieredMemoryVectorEnv", make)
    learner = {"n_steps": 8, "batch_size": 16, "n_epochs": 1}
    start = {"gamma": 0.9, "shaping": shaping, "regions": 3, "phase_orders": "held-out", "num_envs": 2}
    path = write_config(**start, hyperparameters=learner)
    train(path, tmp_path / "run", timesteps=16)
    [options] = made
    assert options["num_envs"] == 2 and options["phase_orders"] == "held-out"
    assert options["shaping_gamma"] == shaping_gamma
    assert [scenario.regions for scenario in options["scenario"]] == [3]
    model = PPO.load(tmp_path / "run" / "best" / "model.zip", device="cpu")
    assert (model.gamma, model.n_steps, model.batch_size) == (0.9, 8, 16)


@pytest.mark.parametrize("threads", [2, 1])
def test_threads_are_those_of_the_configuration(write_config: WriteConfig, tmp_path: Path, threads: int) -> None:
    torch.set_num_threads(3 - threads)
    train(write_config(torch_threads=threads), tmp_path / "run", timesteps=32)
    assert torch.get_num_threads() == threads
