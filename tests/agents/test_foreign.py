"""Policies that are code: only for who types them, says so, and is not root."""

import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from tests.tiny import tiny
from tierenv.agents.foreign import FOREIGN, command_line_loader
from tierenv.agents.policies import load_policy
from tierenv.agents.policy import Policy
from tierenv.errors import ConfigError
from tierenv.observation_spec import observation_rows
from tierenv.scenario import Scenario, load_scenario
from tierenv.train.cli import main
from tierenv.train.evaluate import evaluate, evaluation_task
from tierenv.train.run_dir import to_yaml
from tierenv.wrappers import DiscreteMenu, menu_actions

SCENARIO = load_scenario("skewed")


@pytest.fixture(autouse=True)
def ordinary_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run as root in a container."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of several algorithms, untrained."""
    import stable_baselines3

    folder = tmp_path_factory.mktemp("models")
    env = gymnasium.make("tierenv/TieredMemory-v1", scenario="skewed")
    for name, options in {
        "PPO": {"policy_kwargs": {"net_arch": [8]}},
        "A2C": {"use_sde": True, "policy_kwargs": {"squash_output": True}},
        "SAC": {"buffer_size": 10},
        "TD3": {"buffer_size": 10},
    }.items():
        getattr(stable_baselines3, name)("MlpPolicy", env, device="cpu", seed=1, **options).save(folder / name)
    stable_baselines3.DQN("MlpPolicy", DiscreteMenu(env), device="cpu", seed=1, buffer_size=10).save(folder / "DQN")
    stable_baselines3.PPO("MlpPolicy", gymnasium.make("Pendulum-v1"), device="cpu").save(folder / "Pendulum")
    env.close()
    return folder


def load(name: str, *, is_trusted: bool = True, scenario: Scenario = SCENARIO) -> Policy:
    return command_line_loader(is_trusted=is_trusted)(name, scenario)


@pytest.mark.parametrize("algorithm", ["PPO", "A2C", "SAC", "TD3"])
def test_a_model_of_any_algorithm_plays_as_itself(models: Path, algorithm: str) -> None:
    import stable_baselines3

    policy = load(f"sb3:{models / algorithm}.zip")
    policy.reset(50)
    observations = np.random.default_rng(2).uniform(-1, 1, (50, 14)).astype(np.float32)
    model = getattr(stable_baselines3, algorithm).load(models / algorithm, device="cpu")
    np.testing.assert_allclose(policy.act(observations), model.predict(observations, deterministic=True)[0], atol=1e-6)
    assert policy.act(observations).dtype == np.float32


def test_a_model_that_chooses_by_number_plays_the_menu(models: Path) -> None:
    import stable_baselines3

    policy = load(f"sb3:{models / 'DQN'}.zip")
    policy.reset(50)
    observations = np.random.default_rng(2).uniform(-1, 1, (50, 14)).astype(np.float32)
    choices, _ = stable_baselines3.DQN.load(models / "DQN", device="cpu").predict(observations, deterministic=True)
    np.testing.assert_array_equal(policy.act(observations), menu_actions(SCENARIO.daemon)[0][choices])


def test_a_model_is_evaluated_from_the_command_line(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny().model_dump(mode="json")))
    command = ["evaluate", str(tmp_path / "tiny.yaml"), "--seeds", "1", "--policy", f"sb3:{models}/PPO.zip"]
    assert main(command) == 2
    assert "runs whatever its author put there; if that is you, say --trust" in capsys.readouterr().err
    assert main([*command, "--trust"]) == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sb3:", "write sb3:PATH.zip"),
        ("sb3:/nonesuch.zip", "no such file"),
        ("sb3:{models}/Pendulum.zip", r"observations: it is for Box\(.*\(3,\).*, scenario skewed .* has Box"),
        ("sb3:{tmp_path}/text", "cannot be loaded: ValueError"),
        ("sb3:{tmp_path}/empty.zip", "cannot be loaded: KeyError"),
        ("python:", "write python:MODULE:FACTORY"),
        ("python:thing", "write python:MODULE:FACTORY"),
        ("python:nonesuch:make", "cannot be imported: No module named 'nonesuch'"),
        ("python:mine:nonesuch", "has no function nonesuch"),
        ("python:.:make", "cannot be imported"),
        ("python:../mine:make", "cannot be imported"),
        ("python:mine:ends", r"ends\(scenario\) ends the program: 5"),
        ("python:mine:by_name", "daemon: must be one of tierenv.daemon.load_daemon, or None"),
        ("python:mine:uncontrolled", "control='nix': must be tunables or "),
        ("python:mine:number", "has no function number"),
        ("python:mine:nothing", r"what nothing\(scenario\) returns lacks name, daemon, control, reset, act"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(models: Path, tmp_path: Path, module: None, name: str, reason: str) -> None:
    (tmp_path / "text").write_text("x")
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    with pytest.raises(ConfigError, match=reason) as raised:
        load(name.format(models=models, tmp_path=tmp_path))
    assert "\n" not in str(raised.value)


MODULE = """
import numpy as np

number = 7


class Steady:
    name, daemon, control = "steady", None, "tunables"

    def __init__(self, action):
        self.action = action

    def reset(self, num_machines):
        self.num_machines = num_machines

    def act(self, observation):
        return np.repeat([self.action], self.num_machines, axis=0)


def make(scenario):
    return Steady([0.0] * len(scenario.daemon.tunables))


def narrow(scenario):
    return Steady([0.0])


def wild(scenario):
    return Steady([float("nan")] * 3)


def nothing(scenario):
    return None


def ends(scenario):
    raise SystemExit(5)


def by_name(scenario):
    policy = make(scenario)
    policy.daemon = "kmmscand-v1"
    return policy


def uncontrolled(scenario):
    policy = make(scenario)
    policy.control = "nix"
    return policy


def remembering(scenario):
    policy = make(scenario)
    policy.observation = {"stack": 4}
    return policy


def forgetful(scenario):
    policy = make(scenario)
    policy.observation = {"stack": 0}
    return policy
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module in the working folder."""
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)


def test_a_factory_of_the_working_folder_is_found_and_played(module: None) -> None:
    scenario = tiny()
    Path("tiny.yaml").write_text(to_yaml(scenario.model_dump(mode="json")))
    names = ["python:mine:make", "static:scan_period=1s"]
    rows = evaluate("./tiny.yaml", names, 2, load=command_line_loader(is_trusted=False)).rows
    assert [row.policy for row in rows] == names and (rows[0].episodes.seconds > 0).all()


def test_a_policy_says_what_it_observes_as_configuration(module: None) -> None:
    policy = load("python:mine:remembering")
    assert policy.observation == observation_rows({"stack": 4}, SCENARIO.daemon)
    assert len(evaluation_task(policy, tiny(), 1).encoder.columns) == 4 * len(policy.observation)
    assert load("python:mine:make").observation is None
    with pytest.raises(ConfigError, match="policy python:mine:forgetful: observation: stack=0"):
        load("python:mine:forgetful")


@pytest.mark.parametrize("factory", ["narrow", "wild"])
def test_actions_that_are_none_are_refused(module: None, factory: str) -> None:
    policy = load(f"python:mine:{factory}")
    policy.reset(2)
    with pytest.raises(ConfigError, match=r"steady: act\(\) must return numbers in \[-1, 1\] of shape \(2, 3\), got"):
        policy.act(np.zeros((2, 14), np.float32))


@pytest.mark.parametrize("name", ["sb3:{models}/PPO.zip", "python:mine:make"])
def test_root_runs_no_code_of_others(models: Path, module: None, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfigError, match="which root must not; use another account"):
        load(name.format(models=models))


@pytest.mark.parametrize("name", ["sb3:{models}/PPO.zip", "python:mine:make"])
def test_nothing_but_a_command_line_knows_them(models: Path, module: None, name: str) -> None:
    with pytest.raises(ConfigError):
        load_policy(name.format(models=models), SCENARIO)


def test_a_refused_pickle_does_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "taken"),)

    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("data", pickle.dumps(Payload()))
    with pytest.raises(ConfigError, match="say --trust"):
        load(f"sb3:{tmp_path / 'model.zip'}", is_trusted=False)
    assert not (tmp_path / "taken").exists()


def test_the_list_shows_them() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "tierenv.train", "list", "policies"], capture_output=True, text=True, check=True
    ).stdout
    assert all(f"{name}:{entry.argument}" in listed for name, entry in FOREIGN.items())
