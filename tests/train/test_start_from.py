"""A policy that begins as another one: what it does then, who learns first, and what cannot be begun as."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from gymnasium.vector import AutoresetMode

from tierenv.agents.bundle import BundlePolicy
from tierenv.agents.foreign import Sb3Policy
from tierenv.agents.policies import find_policy_folder
from tierenv.errors import ConfigError
from tierenv.features import feature_columns
from tierenv.observation_spec import observation_rows
from tierenv.train.algorithms import ALGORITHMS
from tierenv.train.config import TrainingConfig, load_training_config
from tierenv.train.learn import learn
from tierenv.train.models import make_model
from tierenv.train.run_dir import RunDirectory
from tierenv.train.start_from import ABLE
from tierenv.train.vec_adapter import TieredMemoryVecEnv
from tierenv.vector_env import TieredMemoryVectorEnv

WriteConfig = Callable[..., Path]
OTHER = "moving-hot-set"
START: dict[str, Any] = {"start_from": {"policy": OTHER, "critic_steps": 64}, "policy_net": [64, 64]}
MORE = {"stack": 3, "averages": [4], "machine": ["fast_share"]}


def untrained(path: Path) -> tuple[TrainingConfig, Any]:
    config = load_training_config(str(path))
    scenarios = list(config.scenarios)
    envs = TieredMemoryVectorEnv(
        config.num_envs, scenarios, observation=config.observation, autoreset_mode=AutoresetMode.SAME_STEP
    )
    return config, make_model(config, path, TieredMemoryVecEnv(envs)).policy


def observations(config: TrainingConfig, rows: Any) -> tuple[Any, Any]:
    """Random ones of what a configuration observes, and the columns of them that another policy observes."""
    ours = [column.name for column in feature_columns(observation_rows(config.observation, config.scenarios[0].daemon))]
    everything = np.random.default_rng(3).uniform(-1, 1, (500, len(ours))).astype(np.float32)
    return everything, everything[:, [ours.index(column.name) for column in feature_columns(rows)]]


@pytest.mark.parametrize("observation", [{}, MORE])
def test_it_acts_as_the_other_whatever_it_observes_beside(write_config: WriteConfig, observation: Any) -> None:
    other = BundlePolicy.load(find_policy_folder(OTHER))
    config, policy = untrained(write_config(**START, observation=observation))
    everything, its = observations(config, other.observation)
    np.testing.assert_allclose(Sb3Policy("", policy).act(everything), other.act(its), atol=1e-5)
    assert policy.log_std.tolist() == pytest.approx([-1.2] * 3), "noise is the configuration's"


def test_tunables_that_the_other_has_not_begin_as_configured(write_config: WriteConfig) -> None:
    other = BundlePolicy.load(find_policy_folder(OTHER))
    path = write_config(**START, daemon="kmmscand-threshold", initial_action=[1.0, 1.0, 1.0, -0.5])
    config, policy = untrained(path)
    everything, its = observations(config, other.observation)
    actions = Sb3Policy("", policy).act(everything)
    np.testing.assert_allclose(actions[:, :3], other.act(its), atol=1e-5)
    assert (actions[:, 3] == np.float32(-0.5)).all()


def test_the_critic_learns_alone_at_first(write_config: WriteConfig, tmp_path: Path) -> None:
    def trained(name: str, critic_steps: int) -> dict[str, Any]:
        start = {"start_from": {"policy": OTHER, "critic_steps": critic_steps}}
        config = load_training_config(str(write_config(**START | start)))
        with RunDirectory.create(tmp_path / name, config, "") as run:
            learn(config, run)
            best = run.path / "checkpoints" / "step_0000000128.zip"
        from stable_baselines3 import PPO

        return dict(PPO.load(best, device="cpu").policy.state_dict())

    _, policy = untrained(write_config(**START))
    begun = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    held, free = trained("held", 128), trained("free", 96)
    acting = {name for name in begun if "policy_net" in name or name.startswith(("action_net", "log_std"))}
    assert len(acting) == 7
    for name, tensor in begun.items():
        assert held[name].equal(tensor) == (name in acting), name
        assert not free[name].equal(tensor), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start_from": {"policy": "nobody"}}, "start_from.policy: unknown policy 'nobody'"),
        ({"start_from": {"policy": "no-migration"}}, "start_from.policy: "),
        ({"start_from": {"policy": "moving-hot-set-tree"}}, "must be a network"),
        ({"policy_net": [32]}, "has policy_net: [64, 64] and activation: tanh; say the same"),
        ({"activation": "relu"}, "has policy_net: [64, 64] and activation: tanh; say the same"),
        ({"observation": {"features": ["queued", "promoted"]}}, "observes accessed_slow; observe it too"),
        ({"start_from": {"policy": "numa-balancing"}}, "observes marked_average_4; observe it too"),
        ({"daemon": "numa-balancing"}, "start_from.policy=moving-hot-set: "),
        ({"algorithm": "sac", "hyperparameters": None, "log_std_init": None}, "sac cannot begin as another policy"),
        ({"start_from": {"policy": OTHER, "critic_steps": -1}}, "start_from.critic_steps"),
        ({"start_from": {}}, "start_from.policy"),
    ],
)
def test_what_it_cannot_begin_as_is_said(write_config: WriteConfig, changes: Any, message: str) -> None:
    path = write_config(**START | changes)
    with pytest.raises(ConfigError) as error:
        load_training_config(str(path))
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value) and "\n" not in str(error.value)


def test_a_tunable_of_another_range_is_refused(write_config: WriteConfig, tmp_path: Path) -> None:
    daemon = tmp_path / "daemon.yaml"
    daemon.write_text(yaml.safe_dump({"like": "kmmscand-tunable", "tunables": {"scan_period": {"max": "10s"}}}))
    with pytest.raises(ConfigError, match="sets scan_period, which daemon daemon has in another range"):
        load_training_config(str(write_config(**START, daemon=str(daemon))))


def test_a_path_is_relative_to_the_file(write_config: WriteConfig, tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(find_policy_folder(OTHER))
    config = load_training_config(str(write_config(**START | {"start_from": {"policy": "./mine"}})))
    assert config.start_from is not None and Path(config.start_from.policy).is_absolute()


def test_only_the_gaussian_actors_can(write_config: WriteConfig) -> None:
    assert {name for name, row in ALGORITHMS.items() if row.actor in ABLE} == {"ppo", "ppo-gsde", "a2c"}
