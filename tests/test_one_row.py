"""A tunable or a feature is one row of its table: two made-up ones go all the way without another edit."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.tiny import tiny
from tierenv import features
from tierenv.agents.bundle import BundlePolicy
from tierenv.agents.compiled import CompiledPolicy
from tierenv.agents.export import export_policy
from tierenv.agents.integer.interface import Interface
from tierenv.agents.policies import load_policy
from tierenv.agents.policy import scenario_for
from tierenv.features import ELAPSED, FEATURES, RESIDENT_PAGES, Feature, LogScale, increment, observed_columns
from tierenv.history import average_of, stack_of
from tierenv.scenario import Scenario, load_scenario
from tierenv.task import simulated_task
from tierenv.train.catalogue import catalogue
from tierenv.train.cli import main
from tierenv.train.episodes import run_episodes
from tierenv.train.evaluate import evaluate
from tierenv.train.studies.kernel_c import SampleRecorder, action_errors
from tierenv.train.studies.model_doc import features_part, tunables_part
from tierenv.tunables import NUMBER, TUNABLES, Tunable

MADE_UP = Tunable(
    name="patience", quantity=NUMBER, meaning="windows after which it gives up", grid_points=3, has_zero=True
)
SCANS = increment("nr_kmmscand_vma_scans")
MADE_UP_FEATURES = (
    Feature("walks", "VMAs walked, smoothed", "1 / s", SCANS, (ELAPSED,), LogScale(1.0, octaves=6), average_of(4)),
    Feature(
        "recent_promotions",
        "pages promoted, the last three steps",
        "1 / (resident page s)",
        increment("nr_kmmscand_migrated"),
        (RESIDENT_PAGES, ELAPSED),
        LogScale(2.0**-16, octaves=18),
        stack_of(3),
    ),
)
COLUMNS = ["walks_average_4", "recent_promotions", "recent_promotions_1_ago", "recent_promotions_2_ago"]


@pytest.fixture
def scenario_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Adds the rows, and returns a scenario under a daemon that has the made-up tunable."""
    monkeypatch.setitem(TUNABLES, MADE_UP.name, MADE_UP)
    for feature in MADE_UP_FEATURES:
        monkeypatch.setitem(FEATURES, feature.name, feature)
    values = tiny().model_dump(mode="json")
    values["daemon"]["tunables"]["patience"] = {"min": 1, "max": 16, "start": 2}
    path = tmp_path / "patient.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def run_path(scenario_path: Path, tmp_path: Path) -> Path:
    """A training run on that scenario."""
    training = {
        "algorithm": "ppo",
        "scenarios": [str(scenario_path)],
        "timesteps": 128,
        "num_envs": 4,
        "policy_net": [8],
        "initial_action": [0.0, 0.0, 0.0, 0.5],
        "hyperparameters": {"n_steps": 8, "batch_size": 32, "n_epochs": 1},
        "evaluation": {"interval": 64, "seeds": 2},
    }
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(training))
    assert main(["train", str(tmp_path / "training.yaml"), "--run-dir", str(tmp_path / "run")]) == 0
    return tmp_path / "run"


def played(policy_name: str, scenario: Scenario) -> tuple[SampleRecorder, np.ndarray]:
    """Returns what a policy saw in two episodes, and the tunables in force at their end."""
    policy = load_policy(policy_name, scenario)
    task = simulated_task([scenario_for(policy, scenario)] * 2)
    recorder = SampleRecorder(policy, task.system, Interface(scenario.daemon))
    run_episodes(task, recorder, [1, 2])
    return recorder, task.system.tunables


def test_a_setting_holds_the_made_up_tunable(scenario_path: Path) -> None:
    scenario = load_scenario(str(scenario_path))
    assert scenario.daemon.start_setting.policy_name == "static:2000,1024,inf,2"
    for name in ("static:500,1024,inf,16", "static:scan_period=500ms,patience=16"):
        _, in_force = played(name, scenario)
        np.testing.assert_allclose(in_force, [[500, 2**30, np.inf, np.nan, np.nan, 16]] * 2, rtol=1e-6)


def test_an_observation_holds_the_made_up_columns(scenario_path: Path) -> None:
    scenario = load_scenario(str(scenario_path))
    names = [column.name for column in observed_columns(scenario.daemon)]
    assert [name for name in names if name in COLUMNS] == COLUMNS and "patience" in names
    recorder, _ = played("random", scenario)
    seen = np.array(recorder.observations)  # [steps, machines, columns]
    now, one_ago, two_ago = (seen[:, :, names.index(name)] for name in COLUMNS[1:])
    np.testing.assert_array_equal(one_ago[1:], now[:-1])
    np.testing.assert_array_equal(two_ago[2:], now[:-2])
    np.testing.assert_array_equal([one_ago[0], two_ago[0]], [now[0]] * 2)
    assert len(np.unique(seen[:, :, names.index("patience")])) > 10


@pytest.mark.parametrize("name", ["moving-hot-set", "moving-hot-set-tree"])
def test_policies_of_before_find_their_columns(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = load_scenario("skewed")
    before, played_before = load_policy(name, scenario), evaluate("skewed", [name], 1).rows[0].episodes
    rows = dict(FEATURES)
    monkeypatch.setattr(features, "FEATURES", {row.name: row for row in MADE_UP_FEATURES} | rows)  # others move
    assert [column.name for column in observed_columns(scenario.daemon)][:4] == COLUMNS
    assert load_policy(name, scenario).observation == before.observation
    np.testing.assert_array_equal(evaluate("skewed", [name], 1).rows[0].episodes.seconds, played_before.seconds)
    export_policy(name, "kernel-c", tmp_path / "c")
    assert not {"recent_promotions", "walks"} & set((tmp_path / "c" / "tierenv_policy.c").read_text().split())


def test_search_spans_the_made_up_tunable(scenario_path: Path, tmp_path: Path) -> None:
    result = tmp_path / "tuned.json"
    command = ["tune", str(scenario_path), "--sampler", "random", "--trials", "4", "--seeds", "1"]
    assert main([*command, "--json", str(result)]) == 0
    settings = [row["setting"] for row in json.loads(result.read_text())["finalists"]]
    assert all(list(setting)[-1] == "patience" and 0 <= setting["patience"] <= 16 for setting in settings)


@pytest.mark.expensive
def test_both_go_through_training_bundle_integers_c_and_rules(
    run_path: Path, scenario_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = load_scenario(str(scenario_path))
    bundle, tree, folder = tmp_path / "bundle", tmp_path / "tree", tmp_path / "c"
    export_policy(str(run_path), "bundle", bundle)
    policy = load_policy(str(bundle), scenario)
    assert isinstance(policy, BundlePolicy) and policy.model.num_actions == 4
    definition = json.loads((bundle / "policy.json").read_text())
    assert definition["action"][3]["name"] == "patience"
    assert [row["history"] for row in definition["observation"] if row["name"] == "walks"] == [
        {"kind": "average", "length": 4}
    ]
    recorder, _ = played(str(bundle), scenario)
    assert np.abs(np.concatenate(recorder.observations)[:, :14]).max() <= 1
    export_policy(str(bundle), "kernel-c", folder)
    compiled = CompiledPolicy(folder, Interface(scenario.daemon))
    assert action_errors(policy.model, compiled, recorder).max() < 0.002
    integers = Interface(scenario.daemon)
    drawn = np.random.default_rng(0).integers(0, 2**40, (50, 2, integers.sample.itemsize // 8))
    for steps in (recorder.samples, [row.view(integers.sample)[:, 0] for row in drawn]):
        state, c_state = integers.initial_state(2), compiled.initial_state(2)
        for samples in steps:
            np.testing.assert_array_equal(compiled.observe(samples, c_state), integers.observe(samples, state))
    header = (folder / "tierenv_policy.h").read_text()
    assert "uint32_t patience;" in header and "int32_t history[4];" in header

    assert main(["distil", str(bundle), "--output", str(tree), "--scenario", str(scenario_path), "--seeds", "2"]) == 0
    export_policy(str(tree), "rules", tmp_path / "rules.txt")
    assert "patience = " in (tmp_path / "rules.txt").read_text()
    export_policy("static:500,1024,inf,8", "parameters", tmp_path / "a.json", scenario)
    assert json.loads((tmp_path / "a.json").read_text())["tunables"][3]["value"] == 8
    export_policy("static:500,1024,inf,8", "sysfs", tmp_path / "a.sh", scenario)
    assert "patience" in (tmp_path / "a.sh").read_text()


def test_documents_list_both(scenario_path: Path) -> None:
    assert any(row[0] == "patience" for row in catalogue("tunables").rows)
    assert "| `patience` | windows after which it gives up |" in tunables_part()
    assert "average over 4 steps" in features_part() and "| `recent_promotions` |" in features_part()
