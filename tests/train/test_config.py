"""Training configurations: what is accepted, and what the message says when not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tierenv.errors import ConfigError
from tierenv.records import packaged
from tierenv.scenario import load_scenario
from tierenv.train import seeds
from tierenv.train.algorithms import ALGORITHMS
from tierenv.train.config import load_suite, load_training_config

WriteConfig = Callable[..., Path]


@pytest.mark.parametrize("name", packaged("algorithms"))
def test_packaged_configurations_are_valid(name: str) -> None:
    config = load_training_config(name)
    assert config.name == name and config.summary
    assert config.gamma == 1 and config.shaping


@pytest.mark.parametrize("name", packaged("suites"))
def test_packaged_suites_are_valid(name: str) -> None:
    assert load_suite(name).scenarios


def test_scenario_is_a_suite_of_one(scenario_path: Path) -> None:
    assert load_suite("skewed").scenarios == (load_scenario("skewed"),)
    suite = load_suite(str(scenario_path))
    assert (suite.name, suite.scenarios) == ("moving-hot-set", (load_scenario(str(scenario_path)),))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seedling": 3}, "seedling: unknown key; did you mean 'seed'?"),
        ({"algorithm": "pppo"}, "algorithm='pppo': unknown; did you mean 'ppo'?; allowed: ppo, ppo-gsde, a2c,"),
        ({"timesteps": None}, "timesteps: required key is missing"),
        ({"gamma": 1.5}, "gamma=1.5: must be less than or equal to 1"),
        ({"num_envs": 0}, "num_envs=0: must be greater than or equal to 1"),
        ({"scenarios": []}, "scenarios=[]"),
        ({"scenarios": ["skewd"]}, "scenarios.0: unknown scenario 'skewd'; did you mean 'skewed'?"),
        ({"scenarios": ["skewed", "skewed"]}, "scenarios: names must differ"),
        ({"log_std_init": "wide"}, "log_std_init"),
        ({"initial_action": [0, 1]}, "initial_action: has 2 entries, daemon kmmscand-tunable 3 tunables"),
        ({"initial_action": [0, 9, 0]}, "initial_action.1=9: must be less than or equal to 3"),
        ({"hyperparameters": {"learning_rat": 1}}, "has no such key; did you mean 'learning_rate'?"),
        ({"hyperparameters": {"gamma": 0.9}}, "hyperparameters.gamma: set by the run itself"),
        ({"hyperparameters": {"gae_lambda": 2}}, "hyperparameters.gae_lambda=2: must be 0 to 1"),
        ({"hyperparameters": {"n_steps": "many"}}, "hyperparameters.n_steps='many': must be a whole number"),
        ({"hyperparameters": {"n_steps": True}}, "hyperparameters.n_steps=True: must be a whole number"),
        ({"hyperparameters": {"normalize_advantage": 3}}, "normalize_advantage=3: must be true or false"),
        ({"hyperparameters": {"use_sde": True}}, "hyperparameters.use_sde: set by the run itself; ppo-gsde has noise"),
        ({"hyperparameters": {"n_steps": 8, "batch_size": 33}}, "batch_size=33: must divide"),
        (
            {"reward": {"overshoot_cost": 1}, "initial_action": [2.5, 0, 0]},
            "initial_action: must be within 2 of 0 with reward.overshoot_cost, which ends there",
        ),
        (
            {"algorithm": "sac", "hyperparameters": {}, "reward": {"overshoot_cost": 1}},
            "reward.overshoot_cost=1: actions of sac are within their range by themselves; leave it out",
        ),
        ({"observation": {"stack": 10**9}}, "observation.stack=1000000000: must be less than or equal to 256"),
        ({"observation": {"averages": [3]}}, "observation.averages.0: average over 3 steps: must be a power of two"),
        ({"observation": {"features": ["idel"]}}, "observation: features: idel: no such feature; did you mean 'idle'?"),
        ({"observation": [4]}, "observation=[4]: must be a mapping"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(write_config: WriteConfig, changes: dict[str, Any], message: str) -> None:
    path = write_config(**changes)
    with pytest.raises(ConfigError) as caught:
        load_training_config(str(path))
    text = str(caught.value)
    assert message in text and str(path) in text and "\n" not in text


def test_daemon_that_cannot_be_tuned_cannot_be_trained_on(write_config: WriteConfig, scenario_path: Path) -> None:
    text = scenario_path.read_text().replace("tunable_at_run_time: true", "tunable_at_run_time: false")
    scenario_path.write_text(text)
    with pytest.raises(ConfigError, match="cannot be tuned at run time"):
        load_training_config(str(write_config()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("control_interval: 1s", "control_interval=1s: must be that of skewed, 2s"),
        ("daemon: {tunables: {throttle: null}}", "the features of daemon"),
        ("daemon: {tunables: {scan_period: {min: 200ms}}}", "the tunables of daemon"),
    ],
)
def test_scenarios_that_one_policy_cannot_be_for_are_refused_before_anything_is_written(
    write_config: WriteConfig, tmp_path: Path, change: str, message: str
) -> None:
    (tmp_path / "other.yaml").write_text(f"like: skewed\n{change}\n")
    path = write_config(scenarios=["skewed", str(tmp_path / "other.yaml")])
    with pytest.raises(ConfigError) as caught:
        load_training_config(str(path))
    assert f"{path}: scenarios: other: " in str(caught.value) and message in str(caught.value)


def test_scenarios_of_a_suite_must_differ_by_name(scenario_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(f"scenarios: [moving-hot-set, {scenario_path}]")
    with pytest.raises(ConfigError, match=f"^{path}: scenarios: names must differ, got moving-hot-set, mov"):
        load_suite(str(path))


def test_numbers_without_a_point_are_numbers(write_config: WriteConfig) -> None:
    path = write_config()
    path.write_text(path.read_text().replace("n_steps: 8", "n_steps: 8\n  learning_rate: 1e-3"))
    assert load_training_config(str(path)).hyperparameters["learning_rate"] == 1e-3


def test_overrides_are_checked_like_the_file(write_config: WriteConfig) -> None:
    config = load_training_config(str(write_config()))
    assert config.with_overrides(seed=None, timesteps=7).timesteps == 7
    with pytest.raises(ConfigError, match="timesteps=0: must be greater"):
        config.with_overrides(timesteps=0)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_algorithms_of_the_table_exist(name: str) -> None:
    row = ALGORITHMS[name]
    assert "learning_rate" in row.defaults and "gamma" not in row.defaults and row.summary


def test_blocks_of_seeds_are_disjoint() -> None:
    firsts = (seeds.EVALUATION, seeds.TUNING, seeds.SELECTION, seeds.DISTILLATION)
    blocks = [range(first, first + seeds.BLOCK) for first in firsts]
    training = [range(seeds.training_seed(run, resumed), seeds.training_seed(run, resumed) + 1000)
                for run in (0, 1, 99) for resumed in (0, 1)]  # fmt: skip
    ranges = sorted([*blocks, *training], key=lambda block: block.start)
    assert all(low.stop <= high.start for low, high in zip(ranges, ranges[1:], strict=False))
