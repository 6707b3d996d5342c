"""A policy of NUMA balancing goes the way of any other: training, bundle, integers, C, tree, rules, evaluation."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.tiny import tiny
from tierenv.agents.bundle import BundlePolicy
from tierenv.agents.compiled import CompiledPolicy
from tierenv.agents.export import export_policy
from tierenv.agents.integer.interface import Interface
from tierenv.agents.policies import load_policy
from tierenv.agents.policy import scenario_for
from tierenv.daemon import load_daemon
from tierenv.task import simulated_task
from tierenv.train.cli import main
from tierenv.train.config import load_suite, load_training_config
from tierenv.train.episodes import run_episodes
from tierenv.train.studies.kernel_c import SampleRecorder, action_errors
from tierenv.tunables import TUNABLES

DAEMON = load_daemon("numa-balancing")


def test_the_preset_and_a_suite_put_one_daemon_in_place_of_the_scenarios_own(tmp_path: Path) -> None:
    config = load_training_config("ppo-numa-balancing")
    assert {scenario.daemon.name for scenario in config.scenarios} == {"numa-balancing"} and config.daemon is None
    path = tmp_path / "suite.yaml"
    path.write_text("scenarios: [skewed, abench-8g]\ndaemon: numa-balancing\n")
    for suite in (load_suite(str(path)), load_suite("demo", "numa-balancing")):
        assert {scenario.daemon.name for scenario in suite.scenarios} == {"numa-balancing"}
    assert {row.daemon.name for row in load_suite(str(path), "kmmscand-tunable").scenarios} == {"kmmscand-tunable"}


@pytest.mark.expensive
def test_what_is_learned_goes_through_bundle_integers_c_tree_and_rules(tmp_path: Path) -> None:
    scenario_path = tmp_path / "scenario.yaml"
    scenario_path.write_text(yaml.safe_dump(tiny().model_dump(mode="json")))
    training = {
        "algorithm": "ppo",
        "scenarios": [str(scenario_path)],
        "daemon": "numa-balancing",
        "timesteps": 128,
        "num_envs": 4,
        "policy_net": [8],
        "hyperparameters": {"n_steps": 8, "batch_size": 32, "n_epochs": 1},
        "evaluation": {"interval": 64, "seeds": 2},
    }
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(training))
    run_path, bundle, tree = tmp_path / "run", tmp_path / "bundle", tmp_path / "tree"
    assert main(["train", str(tmp_path / "training.yaml"), "--run-dir", str(run_path)]) == 0
    export_policy(str(run_path), "bundle", bundle)
    definition = json.loads((bundle / "policy.json").read_text())
    assert [row["name"] for row in definition["action"]] == [TUNABLES[name].symbol for name in DAEMON.tunables]
    observed = [row["name"] for row in definition["observation"]]
    assert observed[:4] == ["marked", "faulted", "candidates", "promoted_at_faults"]

    scenario = tiny()
    policy = load_policy(str(bundle), scenario)
    assert isinstance(policy, BundlePolicy)
    task = simulated_task([scenario_for(policy, scenario)] * 2)
    recorder = SampleRecorder(policy, task.system, Interface(DAEMON))
    run_episodes(task, recorder, [1, 2])
    assert len(np.unique(np.concatenate(recorder.observations)[:, 1])) > 5  # faults are seen
    folder = tmp_path / "c"
    export_policy(str(bundle), "kernel-c", folder)
    compiled = CompiledPolicy(folder, Interface(DAEMON))
    assert action_errors(policy.model, compiled, recorder).max() < 0.002
    header = (folder / "tierenv_policy.h").read_text()
    for field in ("numa_pte_updates", "numa_hint_faults", "pgpromote_candidate", "hot_threshold_ms"):
        assert field in header

    command = ["distil", str(bundle), "--output", str(tree), "--scenario", str(scenario_path), "--seeds", "2"]
    assert main(command) == 0
    export_policy(str(tree), "rules", tmp_path / "rules.txt")
    assert "hot_threshold" in (tmp_path / "rules.txt").read_text()
    result = tmp_path / "result.json"
    names = [option for name in (str(tree), "numab2", "random") for option in ("--policy", name)]
    assert main(["evaluate", str(scenario_path), "--seeds", "1", "--json", str(result), *names]) == 0
    daemons = [row["daemon"] for row in json.loads(result.read_text())["rows"]]
    assert daemons == ["numa-balancing", "numab2", "kmmscand-tunable"]
