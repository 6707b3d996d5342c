"""ONNX files: the same actions as torch and numpy, and what they say of themselves."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tierenv.agents.bundle import Network, TrainedOn, write_bundle
from tierenv.agents.export import export_policy
from tierenv.agents.export import onnx as exporter
from tierenv.agents.learned import LearnedPolicy
from tierenv.agents.policies import load_policy
from tierenv.agents.policy import Array
from tierenv.agents.tree import LEAF, DecisionTree
from tierenv.errors import ConfigError
from tierenv.observation import ObservationEncoder
from tierenv.scenario import load_scenario
from tierenv.tunables import TUNABLES

SCENARIO = load_scenario("skewed")
NUM_FEATURES = len(ObservationEncoder(SCENARIO.daemon).features)
NUM_TUNABLES = len(SCENARIO.daemon.tunables)


def actions_of(path: Path, observations: Array) -> Array:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    actions: Array = session.run(["action"], {"observation": observations})[0]
    return actions


def boundary_observations() -> Array:
    rng = np.random.default_rng(11)
    corners = rng.choice([-1.0, 0.0, 1.0], (300, NUM_FEATURES))
    return np.concatenate((corners, rng.uniform(-1, 1, (300, NUM_FEATURES)))).astype(np.float32)


def network(activation: Any, hidden: tuple[int, ...] = (8, 8)) -> Network:
    rng = np.random.default_rng(3)
    layers = (NUM_FEATURES, *hidden, NUM_TUNABLES)
    pairs = list(zip(layers, layers[1:], strict=False))
    return Network(
        weights=tuple(rng.normal(size=(outputs, inputs)).astype(np.float32) for inputs, outputs in pairs),
        biases=tuple(rng.normal(size=outputs).astype(np.float32) for _, outputs in pairs),
        activation=activation,
    )


def tree(num_inner: int) -> DecisionTree:
    """A random tree: each inner node takes the place of a leaf."""
    rng = np.random.default_rng(num_inner)
    nodes = 2 * num_inner + 1
    feature, left, right = (np.full(nodes, LEAF, np.int32) for _ in range(3))
    threshold, leaves = np.zeros(nodes, np.float32), [0]
    for index in range(num_inner):
        node = leaves.pop(rng.integers(len(leaves)))
        feature[node], threshold[node] = rng.integers(NUM_FEATURES), rng.uniform(-0.5, 0.5)
        left[node], right[node] = 2 * index + 1, 2 * index + 2
        leaves += [2 * index + 1, 2 * index + 2]
    value = rng.uniform(-1, 1, (nodes, NUM_TUNABLES)).astype(np.float32)
    value[feature != LEAF] = 0
    return DecisionTree(NUM_FEATURES, feature, threshold, left, right, value)


def bundle_of(model: Network | DecisionTree, folder: Path) -> Path:
    write_bundle(
        folder, name="b", model=model, daemon=SCENARIO.daemon, scenarios=[TrainedOn(name="skewed")], training={}
    )
    return folder


@pytest.fixture(scope="module")
def exported(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "policy.onnx"
    export_policy(str(run_folder), "onnx", path)
    return path


def test_run_acts_as_in_torch(run_folder: Path, exported: Path) -> None:
    import stable_baselines3
    import torch

    policy = load_policy(str(run_folder), SCENARIO)
    assert isinstance(policy, LearnedPolicy)
    observations = boundary_observations()
    actions = actions_of(exported, observations)
    assert (actions.dtype, actions.shape, np.abs(actions).max()) == (np.float32, (600, NUM_TUNABLES), 1.0)
    np.testing.assert_allclose(actions, policy.act(observations), rtol=0, atol=1e-5)
    with torch.no_grad():
        module = stable_baselines3.PPO.load(run_folder / "best" / "model.zip", device="cpu").policy
        latent = module.mlp_extractor.policy_net(torch.as_tensor(observations))
        expected = torch.clip(module.action_net(latent), -1, 1).numpy()
    assert 0.05 < (np.abs(expected) < 1).mean() < 0.95  # both sides of the clip are tried
    np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [network("tanh"), network("relu"), network("tanh", (16,)), network("relu", ()), tree(0), tree(1), tree(31)],
    ids=["tanh", "relu", "one-layer", "linear", "leaf", "stump", "tree"],
)
def test_bundle_acts_as_in_numpy(tmp_path: Path, model: Network | DecisionTree) -> None:
    folder = bundle_of(model, tmp_path / "b")
    export_policy(str(folder), "onnx", tmp_path / "a.onnx")
    observations = boundary_observations()
    if isinstance(model, DecisionTree):
        inner = np.flatnonzero(~model.is_leaf)
        observations[np.arange(len(inner)), model.feature[inner]] = model.threshold[inner]  # exactly on the edge
    expected = load_policy(str(folder), SCENARIO).act(observations)
    np.testing.assert_allclose(actions_of(tmp_path / "a.onnx", observations), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_batch_is_dynamic(exported: Path, size: int) -> None:
    observations = np.zeros((size, NUM_FEATURES), np.float32)
    assert actions_of(exported, observations).shape == (size, NUM_TUNABLES)
    [entry] = onnx.load(exported).graph.input
    assert [axis.dim_param or axis.dim_value for axis in entry.type.tensor_type.shape.dim] == ["batch", NUM_FEATURES]


def test_file_says_what_the_numbers_mean_and_where_they_come_from(exported: Path) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import] == [exporter.OPSET]
    assert [entry.name for entry in [*model.graph.input, *model.graph.output]] == ["observation", "action"]
    props = {prop.key: prop.value for prop in model.metadata_props}
    features, actions = json.loads(props["features"]), json.loads(props["actions"])
    assert [row["name"] for row in features] == [row.name for row in ObservationEncoder(SCENARIO.daemon).features]
    assert all({"unit", "scale", "meaning", "source", "history"} <= set(row) for row in features)
    assert [row["name"] for row in actions] == [TUNABLES[name].symbol for name in SCENARIO.daemon.tunables]
    assert all({"min", "max", "zero_below", "unlimited_above"} <= set(row) for row in actions)
    assert json.loads(props["self_check"])["max_difference"] == 1e-5
    assert json.loads(props["training"])["git_revision"] == "abc"
    assert props["policy"] == "some-run"
    assert props["expected gain"] == "not evaluated for this target"
    assert "modelled, not measured on your machine" in model.doc_string


@pytest.mark.parametrize("model", [network("tanh"), tree(3)], ids=["network", "tree"])
def test_runtimes_of_years_ago_know_its_operators_and_format(tmp_path: Path, model: Network | DecisionTree) -> None:
    bundle_of(model, tmp_path / "b")
    export_policy(str(tmp_path / "b"), "onnx", tmp_path / "a.onnx")
    written = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(written, full_check=True)
    assert (written.ir_version, [entry.version for entry in written.opset_import]) == (7, [12])  # ONNX 1.7, of 2020


def test_no_older_operators_would_do() -> None:
    used = {operator for model in (network("tanh"), network("relu")) for operator, *_ in exporter._network_steps(model)}
    used |= {operator for operator, *_ in exporter._tree_steps(tree(3))}
    first = {name: math.inf for name in used}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.name in used:
            first[schema.name] = min(first[schema.name], schema.since_version)
    assert max(first.values()) == exporter.OPSET


def test_same_run_gives_the_same_file(run_folder: Path, exported: Path, tmp_path: Path) -> None:
    export_policy(str(run_folder), "onnx", tmp_path / "b.onnx")
    assert (tmp_path / "b.onnx").read_bytes() == exported.read_bytes()


def test_file_with_other_actions_is_not_written(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(exporter._ACTIVATIONS, "tanh", "Softsign")
    with pytest.raises(ConfigError, match="ONNX Runtime's actions differ by"):
        export_policy(str(run_folder), "onnx", tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bundle_of(tree(1), tmp_path / "b")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"pip install 'tierenv\[export\]'"):
        export_policy(str(folder), "onnx", tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()
