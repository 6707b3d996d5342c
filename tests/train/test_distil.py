"""Distillation: a tree says what its teacher says, is chosen by completion time, and is a policy like any other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.tree import DecisionTreeRegressor

from tests.tiny import tiny
from tierenv.action import ActionCodec
from tierenv.agents.bundle import BundlePolicy, Network, TrainedOn, write_bundle
from tierenv.agents.export.rules import tree_legend, tree_lines
from tierenv.agents.policies import load_policy
from tierenv.agents.tree import LEAF, DecisionTree
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.features import supplied_features
from tierenv.scenario import load_scenario
from tierenv.train.cli import main
from tierenv.train.distil import MIN_DECISIONS_IN_LEAF, at_zone_ends, distil, fidelity, fit_tree
from tierenv.tunables import Setting

SCENARIO = tiny()
CODEC = ActionCodec(SCENARIO.daemon)
FEATURES = [row.name for row in supplied_features(SCENARIO.daemon)]


def write_teacher(folder: Path, model: Network | DecisionTree) -> str:
    write_bundle(
        folder, name="teacher", model=model, daemon=SCENARIO.daemon, scenarios=[TrainedOn(name="tiny")], training={}
    )
    return str(folder)


@pytest.fixture
def tree_teacher(tmp_path: Path) -> str:
    """A bundle that promotes unless slow pages were just found accessed: a tree can learn it exactly.

    No rate of such pages is observed between none and that of the smallest chunk, so any threshold in between will do.
    """
    tree = DecisionTree(
        num_features=len(FEATURES),
        feature=np.array([FEATURES.index("accessed_slow"), LEAF, LEAF], np.int32),
        threshold=np.array([-0.2, 0, 0], np.float32),
        left=np.array([1, LEAF, LEAF], np.int32),
        right=np.array([2, LEAF, LEAF], np.int32),
        value=np.array([[0, 0, 0], [-0.5, 0.5, 1], [0.5, 0.25, -1]], np.float32),
    )
    return write_teacher(tmp_path / "teacher", tree)


@pytest.fixture
def network_teacher(tmp_path: Path) -> str:
    rng = np.random.default_rng(3)
    shapes = ((8, len(FEATURES)), (3, 8))
    weights = tuple(rng.normal(0, 0.5, shape).astype(np.float32) for shape in shapes)
    biases = tuple(np.zeros(len(weight), np.float32) for weight in weights)
    return write_teacher(tmp_path / "teacher", Network(weights, biases, "tanh"))


def distil_tiny(teacher: str, scenario_path: Path, leaves: int = 8) -> Any:
    return distil(teacher, leaves, [str(scenario_path)], num_seeds=4, num_rounds=3, num_episodes=2)


def test_fitted_tree_sorts_as_the_regressor_does() -> None:
    rng = np.random.default_rng(0)
    # five float32 steps apart: no float32 holds the midpoints
    grid = np.float32(0.3) + 5 * np.arange(6, dtype=np.float32) * np.spacing(np.float32(0.3))
    observations = rng.choice(grid, (400, 4))
    actions = rng.uniform(-1, 1, (400, 3))
    tree = fit_tree(observations, actions, 12)
    regressor = DecisionTreeRegressor(max_leaf_nodes=12, min_samples_leaf=MIN_DECISIONS_IN_LEAF, random_state=0)
    expected = regressor.fit(observations, actions).apply(observations)
    np.testing.assert_array_equal(tree.leaf_of(observations), expected)
    assert tree.num_leaves == 12


def test_fitted_tree_asks_no_more_often_than_it_may() -> None:
    rng = np.random.default_rng(0)
    observations = rng.uniform(-1, 1, (400, 4)).astype(np.float32)
    actions = rng.uniform(-1, 1, (400, 3))
    assert fit_tree(observations, actions, 16).depth > 4
    tree = fit_tree(observations, actions, 16, max_depth=4)
    assert tree.depth == 4 and 4 < tree.num_leaves <= 16


def test_leaf_plays_a_setting_its_teacher_chose() -> None:
    observations = np.zeros((10, 2), np.float32)
    throttle = np.array([-1] * 5 + [0.6] * 5)
    tree = fit_tree(observations, np.stack((throttle, throttle, throttle), axis=1), 4)
    assert tree.num_leaves == 1 and tree(observations[:1]).tolist() == [[-1, -1, -1]]


def test_a_question_about_every_tunable_in_force_is_written_in_its_unit() -> None:
    daemon = load_daemon("kmmscand-threshold")
    rows = supplied_features(daemon)
    names = [row.name for row in rows]
    codec = ActionCodec(daemon)
    of_six = codec.encode(np.array([Setting({**daemon.start_setting.values, "access_threshold": 6}).row]))[0, 3]
    # halfway of 2 to 16 are 5.7 windows
    for tunable, threshold, text in (
        ("access_threshold", 0, "5 windows"),
        ("access_threshold", of_six, "6 windows"),
        ("scan_size", 0, "2GiB"),
    ):
        values = np.array([[0] * 4, [-1] * 4, [1] * 4], np.float32)
        tree = DecisionTree(
            num_features=len(names),
            feature=np.array([names.index(tunable), LEAF, LEAF], np.int32),
            threshold=np.array([threshold, 0, 0], np.float32),
            left=np.array([1, LEAF, LEAF], np.int32),
            right=np.array([2, LEAF, LEAF], np.int32),
            value=values,
        )
        assert tree_lines(tree, daemon, rows)[0] == f"if {tunable} <= {text}:"


def test_a_question_both_of_whose_answers_are_the_same_is_not_written() -> None:
    tree = DecisionTree(
        num_features=len(FEATURES),
        feature=np.array([0, 1, LEAF, LEAF, LEAF], np.int32),
        threshold=np.array([-0.2, 0.1, 0, 0, 0], np.float32),
        left=np.array([1, 2, LEAF, LEAF, LEAF], np.int32),
        right=np.array([4, 3, LEAF, LEAF, LEAF], np.int32),
        value=np.array([[0, 0, 0], [0, 0, 0], [-0.5, 0.5, 0.7], [-0.5, 0.5, 0.8], [1, 0.5, 1]], np.float32),
    )
    rows = supplied_features(SCENARIO.daemon)
    first, below, other, above = tree_lines(tree, SCENARIO.daemon, rows)
    assert first.startswith(f"if {FEATURES[0]} <= ") and other == "else:"
    assert below.startswith("    scan_period = ") and below.endswith("throttle = unlimited") and "20s" in above
    assert list(tree_legend(tree, SCENARIO.daemon, rows)) == FEATURES[:1]


def test_all_of_a_dead_zone_is_one_setting() -> None:
    actions = np.array([[0.1, 0.2, -0.81], [0.1, 0.2, -0.99], [0.1, 0.2, 0.9], [0.1, 0.2, 0.3]], np.float32)
    np.testing.assert_allclose(at_zone_ends(CODEC, actions)[:, 2], [-1, -1, 1, 0.3], atol=1e-7)
    assert fidelity(lambda _: actions[:1], lambda _: actions[1:2], CODEC, actions[:1]).agreement == [1, 1, 1]


def test_agreement_is_a_matter_of_the_tunables_ratio() -> None:
    def agreement(scan_period_ms: float, throttle_bytes_per_s: float) -> list[float]:
        settings = np.array([[1000, 2**30, 2**20], [scan_period_ms, 2**30, throttle_bytes_per_s]])
        first, second = CODEC.encode(settings).astype(np.float32)[:, None]
        return fidelity(lambda _: first, lambda _: second, CODEC, first).agreement

    assert agreement(1240, 2**20) == agreement(810, 2**20) == [1, 1, 1]
    assert agreement(1260, 0) == agreement(790, np.inf) == [0, 1, 0]


def test_tree_of_a_tree_is_the_same_policy(tree_teacher: str, scenario_path: Path) -> None:
    result = distil_tiny(tree_teacher, scenario_path)
    (row,) = result.rows
    assert row.fidelity.agreement == [1, 1, 1] and max(row.fidelity.action_error) < 1e-6
    np.testing.assert_array_equal(row.tree.seconds, row.teacher.seconds)
    assert tuple(row.difference) == tuple(row.held_out_difference) == (0, 0, 0)


def test_the_bundle_names_the_scenarios_as_they_were_read(tree_teacher: str, scenario_path: Path) -> None:
    other = scenario_path.with_name("other.yaml")
    other.write_text("like: tiny.yaml\ndaemon: kmmscand-v1\n")
    scenario_path.rename(scenario_path.with_name("tiny.yaml"))
    (row,) = distil_tiny(tree_teacher, other).trained_on
    assert (row.name, row.identity) == ("other", load_scenario(str(other)).identity)


def test_best_round_is_kept(network_teacher: str, scenario_path: Path) -> None:
    result = distil_tiny(network_teacher, scenario_path)
    times = [entry.normalised_time for entry in result.rounds]
    assert len(times) == 3 and times[result.best_round] == min(times)
    decisions = [entry.decisions for entry in result.rounds]
    assert decisions == sorted(set(decisions)) and result.tree.num_leaves <= 8


def test_distillation_is_reproducible(network_teacher: str, scenario_path: Path) -> None:
    first, second = (distil_tiny(network_teacher, scenario_path).tree.tensors() for _ in range(2))
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name])


def test_bundle_whose_scenario_is_gone_asks_for_another(network_teacher: str) -> None:
    with pytest.raises(ConfigError, match=r"teacher: unknown scenario 'tiny'.*--scenario"):
        distil(network_teacher, 8)


def test_run_is_distilled_evaluated_and_exported(
    write_config: Callable[..., Path], scenario_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, bundle, result = tmp_path / "run", tmp_path / "bundles" / "tree", tmp_path / "result.json"
    assert main(["train", str(write_config()), "--run-dir", str(run)]) == 0
    distil_command = ["distil", str(run), "--leaves", "4", "--output", str(bundle), "--seeds", "2"]
    assert main([*distil_command, "--json", str(result)]) == 0
    assert "4 leaves" in capsys.readouterr().out

    content = json.loads(result.read_text())
    (row,) = content["rows"]
    assert len(content["rounds"]) == 10 and content["leaves"] == 4 and row["scenario"] == SCENARIO.name
    assert len(row["tree_seconds"]["runs"]) == 2 and set(row["agreement"]) == set(row["action_error"])

    policy = load_policy(str(bundle), SCENARIO)
    assert isinstance(policy, BundlePolicy) and isinstance(policy.model, DecisionTree)
    training = policy.document.training
    assert training["evaluation"]["rows"] == content["rows"] and training["teacher"]["evaluation"]
    assert set(load_file(bundle / "weights.safetensors")) == {"feature", "threshold", "left", "right", "value"}

    evaluated = tmp_path / "evaluated.json"
    assert (
        main(["evaluate", str(scenario_path), "--policy", str(bundle), "--seeds", "2", "--json", str(evaluated)]) == 0
    )
    assert json.loads(evaluated.read_text())["rows"][0]["seconds"]["runs"] == row["tree_seconds"]["runs"]

    rules = tmp_path / "rules.txt"
    assert main(["export", str(bundle), "--format", "rules", "--output", str(rules)]) == 0
    text = rules.read_text()
    assert text.count("scan_period = ") == 4 and f"trained for {SCENARIO.name}: " in " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["built-in", "--output", "out"], "policy 'built-in' is not learned"),
        (["runs/none", "--output", "out"], "runs/none: no such folder"),
        (["runs/none", "--output", "."], ".: already exists"),
        (["runs/none", "--output", "out", "--leaves", "1"], "--leaves=1: must be 2 to 4096"),
        (["runs/none", "--output", "out", "--seeds", "0"], "--seeds=0: must be"),
        (["runs/none", "--output", "out", "--scenario", "skewd"], "unknown scenario 'skewd'"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["distil", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert list(tmp_path.iterdir()) == []
