"""Every algorithm of the table: trained, resumed, judged, played from its folder, exported or refused by name."""

import csv
import json
import logging
import math
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from tests.train.tiny_training import write_scenario, write_training
from tierenv.agents.actors import ACTORS, advantages
from tierenv.agents.bundle import BundlePolicy
from tierenv.agents.export import FORMATS, export_policy
from tierenv.agents.export.learned_source import learned_source
from tierenv.agents.learned import LearnedPolicy
from tierenv.agents.network import Network
from tierenv.errors import ConfigError
from tierenv.train import models
from tierenv.train.algorithms import ALGORITHMS
from tierenv.train.clock import Clock
from tierenv.train.config import TrainingConfig, load_training_config
from tierenv.train.distil import distil
from tierenv.train.evaluate import evaluate
from tierenv.train.learn import TrainingResult, learn
from tierenv.train.run_dir import RunDirectory
from tierenv.train.vec_adapter import TieredMemoryVecEnv
from tierenv.vector_env import TieredMemoryVectorEnv
from tierenv.wrappers import MENU

OFF_POLICY = [name for name, row in ALGORITHMS.items() if row.is_off_policy]
FEED_FORWARD = [name for name, row in ALGORITHMS.items() if not row.acts_by.is_recurrent]
MENU_OF_TWO = [[-1.0, 1.0, 0.25], [0.5, -0.5, 1.0]]


def settings_of(name: str, **changes: Any) -> dict[str, Any]:
    """What makes the tiny training one of an algorithm."""
    row = ALGORITHMS[name]
    own: dict[str, Any] = {"n_steps": 8}
    if row.is_off_policy:
        own = {"learning_starts": 32, "batch_size": 16, "gradient_steps": 1, "buffer_size": 96}
    if "n_epochs" in row.defaults:
        own |= {"batch_size": 32, "n_epochs": 1}
    if row.chooses:
        own |= {"target_update_interval": 8}
    noise = -1.2 if row.acts_by.log_std is not None else None
    hyperparameters = own | changes.pop("hyperparameters", {})
    return {"algorithm": name, "hyperparameters": hyperparameters, "log_std_init": noise} | changes


def train(config: TrainingConfig, folder: Path, is_resumed: bool = False) -> TrainingResult:
    with (RunDirectory.resume if is_resumed else RunDirectory.create)(folder, config, "tierenv train") as run:
        return learn(config, run)


@dataclass
class Trained:
    """Runs of 128 steps that went on to 192, made when first asked for."""

    root: Path

    def __call__(self, name: str) -> Path:
        folder = self.root / name
        if not folder.exists():
            config = self.config(name)
            assert train(config, folder).timesteps == 128
            result = train(config.with_overrides(timesteps=192), folder, is_resumed=True)
            assert (result.timesteps, result.new_timesteps, result.is_interrupted) == (192, 64, False)
            with (folder / "progress.csv").open() as file:
                assert [row["time/total_timesteps"] for row in csv.DictReader(file)][-1] == "192"
        return folder

    def config(self, name: str, **changes: Any) -> TrainingConfig:
        return load_training_config(str(write_training(self.root, **settings_of(name, **changes))))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("algorithms")
    write_scenario(root)
    return Trained(root)


def adapter_of(config: TrainingConfig) -> TieredMemoryVecEnv:
    envs = TieredMemoryVectorEnv(num_envs=config.num_envs, scenario=list(config.scenarios), autoreset_mode="SameStep")
    return TieredMemoryVecEnv(envs, menu=None if config.menu is None else np.array(config.menu, np.float32))


def model_of(config: TrainingConfig, checkpoint: Path) -> Any:
    model = models.make_model(config, Path("config.yaml"), adapter_of(config))
    models.go_on_from(checkpoint, model)
    return model


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_run_is_judged_and_plays_what_its_model_would(trained: Trained, name: str) -> None:
    folder, config = trained(name), trained.config(name)
    model, policy = model_of(config, folder / "best" / "model.zip"), LearnedPolicy.load(folder)
    rng = np.random.default_rng(0)
    state, start = None, np.ones(5, dtype=np.bool_)
    policy.reset(5)
    actions = []
    for _ in range(20):
        observation = rng.uniform(-1, 1, (5, 14)).astype(np.float32)
        expected, state = model.policy.predict(observation, state=state, episode_start=start, deterministic=True)
        start = np.zeros_like(start)
        expected = expected if config.menu is None else np.array(config.menu, np.float32)[expected]
        actions.append(policy.act(observation))
        np.testing.assert_allclose(actions[-1], expected, atol=1e-5)
    assert actions[0].shape == (5, 3) and actions[0].dtype == np.float32
    if policy.network.__class__ is not Network:
        again = policy.act(observation)
        policy.reset(5)
        assert not np.array_equal(policy.act(observation), again)  # the past counts, until it is forgotten
    row = evaluate(str(folder / "scenarios" / "moving-hot-set.yaml"), [str(folder)], 2).rows[0]
    best = json.loads((folder / "best" / "evaluation.json").read_text())
    assert 1 <= row.episodes.normalised_objective.mean() < 2 and 1 <= best["normalised_time"] < 2


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_a_checkpoint_holds_goes_on(trained: Trained, name: str) -> None:
    folder, config = trained(name), trained.config(name)
    checkpoint = folder / "checkpoints" / "step_0000000192.zip"
    model = model_of(config, checkpoint)
    assert model.num_timesteps == 192 and model._n_updates > 0
    assert models.go_on_from(checkpoint, model) > 0
    again = models.to_bytes(model)
    (folder / "again.zip").write_bytes(again)
    other = models.make_model(config, Path("config.yaml"), adapter_of(config))
    if ALGORITHMS[name].is_off_policy:
        shutil.copy(RunDirectory.replay_path(checkpoint), RunDirectory.replay_path(folder / "again.zip"))
    models.go_on_from(folder / "again.zip", other)
    for own, its in zip(model.policy.state_dict().values(), other.policy.state_dict().values(), strict=True):
        assert torch.equal(own, its)
    for attribute in ("_n_calls", "_n_updates", "_episode_num", "log_ent_coef"):
        assert getattr(model, attribute, None) == getattr(other, attribute, None)
    for path in folder.glob("again*"):
        path.unlink()


@pytest.mark.parametrize("name", FEED_FORWARD)
def test_exports_play_what_the_run_plays(trained: Trained, name: str, tmp_path: Path) -> None:
    folder = trained(name)
    for form in ("bundle", "onnx", "kernel-c", "daemon"):
        export_policy(str(folder), form, tmp_path / form)  # each refuses to be written unless it does as the network
    policy, bundle = LearnedPolicy.load(folder), BundlePolicy.load(tmp_path / "bundle")
    observations = np.random.default_rng(1).uniform(-1, 1, (500, 14)).astype(np.float32)
    np.testing.assert_array_equal(bundle.act(observations), policy.act(observations))
    assert learned_source(str(tmp_path / "bundle")).training["config"]["algorithm"] == name


@pytest.mark.parametrize("name", ["sac", "qr-dqn"])
def test_a_tree_learns_from_it(trained: Trained, name: str, tmp_path: Path) -> None:
    result = distil(str(trained(name)), 4, num_seeds=1, num_rounds=1, num_episodes=2)
    result.write(tmp_path / "tree", "tierenv distil")
    values = BundlePolicy.load(tmp_path / "tree").model.value  # type: ignore[union-attr]
    if name == "qr-dqn":
        menu = np.array(trained.config(name).menu, np.float32)
        leaves = values[result.tree.is_leaf]
        for column in range(3):  # of each tunable a leaf has the median of settings on the menu
            assert set(leaves[:, column]) <= {*menu[:, column], -1, 1}


@pytest.mark.parametrize("form", [name for name, row in FORMATS.items() if "learned" in row.takes])
def test_a_recurrent_policy_is_refused_by_name(trained: Trained, form: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        export_policy(str(trained("recurrent-ppo")), form, tmp_path / "out")
    text = str(caught.value)
    assert "algorithm recurrent-ppo: a recurrent policy cannot be exported" in text
    assert all(name in text for name in FEED_FORWARD)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="a recurrent policy cannot be exported or distilled"):
        distil(str(trained("recurrent-ppo")), 4)


def test_actors_name_the_algorithms_of_the_table() -> None:
    assert {name: row.actor for name, row in ALGORITHMS.items()} == {
        name: actor for actor, row in ACTORS.items() for name in row.learned_by
    }


@given(
    quantiles=st.integers(1, 20),
    choices=st.integers(2, 13),
    inputs=st.integers(1, 8),
    level=st.floats(-100, 100),
    seed=st.integers(0, 1000),
)
def test_folded_quantiles_are_the_differences_of_their_means(
    quantiles: int, choices: int, inputs: int, level: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 1, (quantiles * choices, inputs)).astype(np.float32)
    bias = rng.normal(level, 1, quantiles * choices).astype(np.float32)
    hidden = rng.normal(0, 1, (50, inputs)).astype(np.float32)
    values = (hidden.astype(np.float64) @ weight.T + bias).reshape(50, quantiles, choices).mean(axis=1)
    folded, offset = advantages(weight, bias, choices)
    assert folded.shape == (choices, inputs) and folded.dtype == offset.dtype == np.float32
    np.testing.assert_allclose(
        hidden @ folded.T + offset, values - values.mean(axis=1, keepdims=True), atol=1e-5 * (1 + abs(level) / 10)
    )


BAD: dict[str, dict[str, Any]] = {
    "ppo": {"buffer_size": 10, "ent_coef": "auto", "clip_range": {"start": 0.2}, "n_epochs": {"start": 9, "end": 1}},
    "a2c": {"batch_size": 32, "rms_prop_eps": 0, "use_rms_prop": 1},
    "sac": {
        "buffer_size": 0,
        "ent_coef": "auto_0.0",
        "target_entropy": "auto_3",
        "tau": 0,
        "train_freq": "episode",
        "clip_range": 0.2,
    },
    "td3": {"n_steps": 25, "policy_delay": 0, "action_noise": -1, "ent_coef": "auto", "target_noise_clip": None},
    "tqc": {"n_quantiles": 513, "top_quantiles_to_drop_per_net": 25, "n_critics": 0, "gradient_steps": -2},
    "recurrent-ppo": {"lstm_hidden_size": 257, "n_quantiles": 3, "batch_size": 33},
    "dqn": {"exploration_final_eps": 2, "target_update_interval": 3, "exploration_fraction": 0, "n_quantiles": 3},
    "qr-dqn": {"n_quantiles": 0.5, "optimize_memory_usage": True, "learning_rate": {"start": 1e-3, "end": 5}},
}


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in BAD.items() for key in keys])
def test_bad_hyperparameters_are_named(trained: Trained, name: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        trained.config(name, hyperparameters={key: BAD[name][key]})
    assert f"{trained.root / 'training.yaml'}: hyperparameters.{key}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("dqn", {"initial_action": [0, 0, 0]}, "initial_action: dqn chooses from a menu"),
        ("dqn", {"log_std_init": -1}, "use hyperparameters.exploration_initial_eps"),
        ("td3", {"log_std_init": -1}, "log_std_init: the noise of td3 is no normal distribution"),
        ("sac", {"menu": MENU_OF_TWO}, "menu: sac sets every tunable"),
        ("dqn", {"menu": [[0.0, 0.0], [1.0, 1.0]]}, "menu.0: has 2 entries, daemon kmmscand-tunable 3 tunables"),
        ("dqn", {"menu": [[0.0, 0.0, 0.0]]}, "menu"),
        ("dqn", {"menu": [[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]}, "menu.0.2=2.0: must be less than or equal to 1"),
        ("ppo", {"activation": "gelu"}, "activation='gelu'"),
        ("ppo", {"wall_time": 3}, "wall_time"),
    ],
)
def test_what_does_not_suit_an_algorithm_is_refused(
    trained: Trained, name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        trained.config(name, **changes)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_like_one_of_another_algorithm_has_hyperparameters_of_its_own(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("like: ppo-moving-hot-set\nalgorithm: dqn\n")
    config = load_training_config(str(tmp_path / "other.yaml"))
    assert config.hyperparameters == {} and config.initial_action is None and config.timesteps == 1_200_000
    (tmp_path / "same.yaml").write_text("like: ppo-moving-hot-set\nhyperparameters: {n_epochs: 3}\n")
    same = load_training_config(str(tmp_path / "same.yaml"))
    assert same.hyperparameters["n_epochs"] == 3 and same.hyperparameters["n_steps"] == 128


def test_a_menu_is_the_packaged_one_or_the_configuration_s(trained: Trained, tmp_path: Path) -> None:
    assert len(trained.config("dqn").menu or ()) == len(MENU)
    config = trained.config("dqn", menu=MENU_OF_TWO, timesteps=64)
    train(config, tmp_path / "run")
    actions = LearnedPolicy.load(tmp_path / "run").act(np.zeros((3, 14), np.float32))
    assert {tuple(row) for row in actions.tolist()} <= {tuple(row) for row in MENU_OF_TWO}
    export_policy(str(tmp_path / "run"), "bundle", tmp_path / "bundle")
    network = json.loads((tmp_path / "bundle" / "policy.json").read_text())["network"]
    assert (network["output"], network["menu"]) == ("menu", MENU_OF_TWO)
    adapter = adapter_of(config)
    adapter.seed(1)
    adapter.reset()
    adapter.step(np.array([0, 1, 1, 0]))
    in_force = adapter.env.unwrapped.task.system.tunables
    expected = adapter.env.unwrapped.task.codec.decode(np.array(MENU_OF_TWO, np.float32)[[0, 1, 1, 0]])
    np.testing.assert_array_equal(in_force, expected)


@pytest.mark.parametrize("name", ["sac", "tqc", "td3"])
def test_exploration_begins_behind_tanh_where_the_configuration_says(trained: Trained, name: str) -> None:
    noise = None if name == "td3" else [-1.5, -0.5, -2.0]
    config = trained.config(name, initial_action=[-1.2, 0.5, 0.0], log_std_init=noise)
    policy = models.make_model(config, Path("config.yaml"), adapter_of(config)).policy
    observations = torch.rand(100, 14) * 2 - 1
    with torch.no_grad():
        actions = policy._predict(observations, deterministic=True)
        np.testing.assert_allclose(actions, np.tile([-0.99, 0.5, 0.0], (100, 1)), atol=0.02)
        if noise is None:
            assert torch.equal(policy.actor_target(observations), actions)
        else:
            np.testing.assert_allclose(policy.actor.get_action_dist_params(observations)[1][0], noise, rtol=1e-6)


def rates(folder: Path) -> dict[int, float]:
    with (folder / "progress.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/learning_rate"]]
    return {int(row["time/total_timesteps"]): float(row["train/learning_rate"]) for row in rows}


def test_a_decay_goes_on_where_it_was_when_a_run_is_resumed(trained: Trained, tmp_path: Path) -> None:
    decays = {"learning_rate": {"start": 1e-3, "end": 1e-4}, "clip_range": {"start": 0.3, "end": 0.1}}
    config = trained.config("ppo", hyperparameters=decays, timesteps=256)
    train(config, tmp_path / "whole")
    with RunDirectory.create(tmp_path / "halves", config, "tierenv train") as run:
        stop = [False]

        def press(done: int, total: int, doing: str) -> None:
            assert total == 256
            if done == 132 and not stop[0]:
                stop[0] = True
                os.kill(os.getpid(), signal.SIGINT)

        learn(config, run, press)
    train(config, tmp_path / "halves", is_resumed=True)
    whole, halves = rates(tmp_path / "whole"), rates(tmp_path / "halves")
    for steps, rate in whole.items():  # a row is written before the training that its rollout is for
        assert rate == pytest.approx(1e-3 - 0.9e-3 * (steps - 32) / 256)
    assert halves[max(halves)] == pytest.approx(1e-3 - 0.9e-3 * (max(halves) - 32) / 256)


def test_a_wall_time_ends_a_training_and_counts_over_commands(trained: Trained, tmp_path: Path) -> None:
    config = trained.config("sac", timesteps=1_000_000, wall_time="1us")
    first = train(config, tmp_path / "run")
    assert 0 < first.timesteps <= 8 and not first.is_interrupted and first.best is not None
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["trained_s"] == first.trained_s > 0
    again = train(config, tmp_path / "run", is_resumed=True)
    assert (again.new_timesteps, again.trained_s) == (0, first.trained_s)
    more = train(config.with_overrides(wall_time="60min", timesteps=64), tmp_path / "run", is_resumed=True)
    assert more.timesteps == 64 and more.trained_s > first.trained_s


def test_what_decays_goes_by_steps_or_by_time_whichever_ends_first() -> None:
    assert Clock(100, None, trained_s=5.0).share_left(25) == 0.75
    assert Clock(100, 20.0, trained_s=5.0).share_left(25) == 0.75
    assert Clock(100, 10.0, trained_s=5.0).share_left(25) == 0.5
    assert Clock(100, 10.0, trained_s=11.0).share_left(25) == 0
    assert Clock(100, 10.0, trained_s=11.0).is_over(0) and not Clock(100, 20.0, trained_s=11.0).is_over(99)
    clock = Clock(100, 20.0)
    clock.start()
    with clock.stopped():
        counted_s = clock.trained_s
        assert clock.trained_s == counted_s
    assert clock.trained_s > counted_s


@pytest.mark.parametrize("name", OFF_POLICY)
def test_transitions_outlast_a_stop(trained: Trained, name: str) -> None:
    config = trained.config(name)
    checkpoint = trained(name) / "checkpoints" / "step_0000000192.zip"
    stored = load_file(RunDirectory.replay_path(checkpoint))
    buffer = model_of(config, checkpoint).replay_buffer
    assert buffer.full and len(stored["rewards"]) == buffer.buffer_size == 96 // 4
    np.testing.assert_array_equal(buffer.observations, stored["observations"])
    np.testing.assert_array_equal(buffer.rewards, stored["rewards"])
    assert (stored["observations"][1:] == stored["next_observations"][:-1]).mean() > 0.8  # the oldest first
    assert buffer.dones[-1].all()
    assert len(list(checkpoint.parent.glob("*.safetensors"))) == 1


def spoiled(change: str, stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if change == "lacks one":
        return {name: array for name, array in stored.items() if name != "dones"}
    if change == "another type":
        return stored | {"rewards": stored["rewards"].astype(np.float64)}
    if change == "another shape":
        return stored | {"actions": stored["actions"][:, :1]}
    if change == "no number":
        return stored | {"rewards": np.full_like(stored["rewards"], math.nan)}
    return {name: np.zeros((0, *array.shape[1:]), array.dtype) for name, array in stored.items()}


@pytest.mark.parametrize("change", ["lacks one", "another type", "another shape", "no number", "empty", "noise"])
def test_spoiled_transitions_are_named(trained: Trained, change: str, tmp_path: Path) -> None:
    config, checkpoint = trained.config("td3"), tmp_path / "step_0000000192.zip"
    of_run = trained("td3") / "checkpoints" / checkpoint.name
    shutil.copy(of_run, checkpoint)
    path = RunDirectory.replay_path(checkpoint)
    if change == "noise":
        path.write_bytes(b"\x08" + bytes(100))
    else:
        save_file(spoiled(change, load_file(RunDirectory.replay_path(of_run))), path)
    with pytest.raises(ConfigError) as caught:
        model_of(config, checkpoint)
    assert str(caught.value).startswith(f"{path}: ") and "remove it to go on with an empty buffer" in str(caught.value)


def test_without_transitions_they_are_gathered_anew(
    trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = tmp_path / "step_0000000192.zip"
    shutil.copy(trained("td3") / "checkpoints" / checkpoint.name, checkpoint)
    with caplog.at_level(logging.WARNING):
        model = model_of(trained.config("td3"), checkpoint)
    assert "transitions are gathered anew" in caplog.text
    assert model.replay_buffer.size() == 0 and model.learning_starts == 192 + 32


def test_a_run_of_an_actor_nobody_knows_is_refused(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained("ppo"), tmp_path / "run")
    manifest = tmp_path / "run" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"actor": "oracle"}))
    with pytest.raises(ConfigError, match="manifest.json: actor='oracle': unknown; allowed: gaussian, "):
        LearnedPolicy.load(tmp_path / "run")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"actor": "values"}))
    with pytest.raises(ConfigError, match=r"config.yaml: menu: must be rows of 3 coordinates"):
        LearnedPolicy.load(tmp_path / "run")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"actor": "squashed"}))
    with pytest.raises(ConfigError, match=r"model.zip: lacks actor.latent_pi.0.weight"):
        LearnedPolicy.load(tmp_path / "run")


def test_an_episode_that_ran_out_of_time_is_bootstrapped(trained: Trained) -> None:
    config = trained.config("td3", hyperparameters={"learning_starts": 1000})
    scenarios = list(config.scenarios)
    envs = TieredMemoryVectorEnv(num_envs=4, scenario=scenarios, autoreset_mode="SameStep", max_episode_steps=5)
    model = models.make_model(config, Path("config.yaml"), TieredMemoryVecEnv(envs))
    model.learn(4 * 7)
    buffer = model.replay_buffer  # type: ignore[attr-defined]
    is_end = np.arange(7) == 4
    np.testing.assert_array_equal(buffer.dones[:7].all(axis=1), is_end)
    np.testing.assert_array_equal(buffer.timeouts[:7].all(axis=1), is_end)
    assert not buffer.sample(200).dones.any()
    continues = (buffer.next_observations[:6] == buffer.observations[1:7]).all(axis=(1, 2))
    np.testing.assert_array_equal(continues, ~is_end[:6])  # not from the last observation to a first
