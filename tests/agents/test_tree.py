"""Trees: walked as they are written, bundled like networks, printed as rules, and refused when they are no trees."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tierenv.agents import bundle as bundle_module
from tierenv.agents.bundle import BundlePolicy, Network, TrainedOn, write_bundle
from tierenv.agents.export import export_policy
from tierenv.agents.policies import load_policy
from tierenv.agents.tree import LEAF, DecisionTree
from tierenv.errors import ConfigError
from tierenv.features import supplied_features
from tierenv.scenario import load_scenario

SCENARIO = load_scenario("skewed")
FEATURES = [row.name for row in supplied_features(SCENARIO.daemon)]

Nested = tuple[str, float, Any, Any] | tuple[float, float, float]


def tree_of(nested: Nested) -> DecisionTree:
    """Builds a tree from (feature, threshold, left, right) and leaves (period, size, throttle)."""
    rows: list[list[Any]] = []

    def add(part: Any) -> int:
        index = len(rows)
        if len(part) == 3:
            rows.append([LEAF, 0, LEAF, LEAF, part])
        else:
            rows.append([FEATURES.index(part[0]), part[1], 0, 0, (0, 0, 0)])
            rows[index][2:4] = add(part[2]), add(part[3])
        return index

    add(nested)
    feature, threshold, left, right, value = (list(column) for column in zip(*rows, strict=True))
    return DecisionTree(
        num_features=len(FEATURES),
        feature=np.array(feature, np.int32),
        threshold=np.array(threshold, np.float32),
        left=np.array(left, np.int32),
        right=np.array(right, np.int32),
        value=np.array(value, np.float32),
    )


def random_nested(rng: np.random.Generator, depth: int) -> Nested:
    if depth == 0 or rng.random() < 0.2:
        return tuple(rng.uniform(-1, 1, 3).tolist())
    threshold = float(np.float32(rng.choice([-0.5, 0, 0.25, 0.7])))
    return str(rng.choice(FEATURES)), threshold, random_nested(rng, depth - 1), random_nested(rng, depth - 1)


def walk(nested: Any, observation: Any) -> Any:
    while len(nested) == 4:
        nested = nested[2] if observation[FEATURES.index(nested[0])] <= nested[1] else nested[3]
    return nested


def depth_of(nested: Any) -> int:
    return 0 if len(nested) == 3 else 1 + max(depth_of(nested[2]), depth_of(nested[3]))


def leaves_of(nested: Any) -> int:
    return 1 if len(nested) == 3 else leaves_of(nested[2]) + leaves_of(nested[3])


SMALL: Nested = ("promoted", 0.25, (0.0, 0.0, -1.0), ("throttle", 0.9, (-1.0, 0.5, 0.0), (1.0, 1.0, 1.0)))


@pytest.mark.parametrize("seed", range(20))
def test_tree_is_walked_as_it_is_written(seed: int) -> None:
    rng = np.random.default_rng(seed)
    nested = random_nested(rng, depth=6)
    tree = tree_of(nested)
    # on a grid that holds the thresholds, so that "equal goes left" is tried
    observations = rng.choice(np.array([-1, -0.5, 0, 0.25, 0.7, 1], np.float32), (200, len(FEATURES)))
    expected = np.array([walk(nested, row) for row in observations.astype(np.float64)], np.float32)
    actions = tree(observations)
    np.testing.assert_array_equal(actions, expected)
    assert (actions.dtype, tree.depth, tree.num_leaves) == (np.float32, depth_of(nested), leaves_of(nested))
    assert tree(observations[:0]).shape == (0, 3)


@pytest.mark.parametrize(
    ("field", "change", "reason"),
    [
        ("feature", lambda array: array.astype(np.int64), "feature: must be int32"),
        ("value", lambda array: array[:, 0], r"value: must be float32\[5, T\]"),
        ("left", lambda array: array[:-1], r"left: must be int32\[5\]"),
        ("feature", lambda array: np.where(array == 12, 14, array), "feature: must be -1 to 13"),
        ("feature", lambda array: np.where(array == 12, -2, array), "feature: must be -1 to 13"),
        ("feature", lambda array: np.where(array == 12, -1, array), "must be -1, -1 and 0 in a leaf"),
        ("threshold", lambda array: np.where(array > 0.5, np.nan, array), "must be finite"),
        ("threshold", lambda array: array + 1, "must be -1, -1 and 0 in a leaf"),
        ("value", lambda array: 2 * array, r"value in \[-1, 1\]"),
        ("value", lambda array: np.where(array == 1, np.nan, array), r"value in \[-1, 1\]"),
        ("value", lambda array: array + 1 - np.abs(array), "value: must be 0 in an inner node"),
        ("left", lambda array: np.where(array == 3, 0, array), "child of one node before it"),
        ("left", lambda array: np.where(array == 3, 1, array), "child of one node before it"),
        ("right", lambda array: np.where(array == 4, 10**9, array), "child of one node before it"),
    ],
)
def test_what_is_no_tree_is_refused(field: str, change: Callable[[Any], Any], reason: str) -> None:
    fields = vars(tree_of(SMALL))
    changed = change(fields[field])
    changed = changed if changed.dtype == np.int64 else changed.astype(fields[field].dtype)
    with pytest.raises(ValueError, match=reason):
        DecisionTree(**fields | {field: changed})


def test_a_child_stands_behind_its_parent() -> None:
    fields = vars(tree_of(SMALL))
    order = np.array([0, 1, 3, 2, 4])  # node 2 changes places with its own child
    links = {
        name: np.where(fields[name] < 0, -1, order[fields[name]]).astype(np.int32)[order] for name in ("left", "right")
    }
    moved = {name: fields[name][order] for name in ("feature", "threshold", "value")}
    with pytest.raises(ValueError, match="child of one node before it"):
        DecisionTree(num_features=len(FEATURES), **moved, **links)


def test_a_tree_has_an_odd_number_of_nodes() -> None:
    fields = {name: array[:4] for name, array in vars(tree_of(SMALL)).items() if name != "num_features"}
    with pytest.raises(ValueError, match="odd number of nodes"):
        DecisionTree(num_features=len(FEATURES), **fields)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "some-tree"
    training = {"command": "tierenv distil x"}
    write_bundle(
        folder,
        name="some-tree",
        model=tree_of(SMALL),
        daemon=SCENARIO.daemon,
        scenarios=[TrainedOn(name="skewed")],
        training=training,
    )
    return folder


@pytest.fixture
def bundle(written: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(written, tmp_path / "bundle"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change policy.json and make its own digest right again."""
    path = folder / "policy.json"
    content = json.loads(path.read_text())
    change(content)
    content["sha256"]["policy.json"] = bundle_module._document_digest(content)
    path.write_text(json.dumps(content))


def replace_tensor(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change a tensor and make the digests right again."""
    path = folder / "weights.safetensors"
    tensors = load_file(path)
    save_file(tensors | {name: np.ascontiguousarray(change(tensors[name]))}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit(folder, lambda content: content["sha256"].update({"weights.safetensors": digest}))


def test_bundled_tree_acts_as_the_tree(written: Path) -> None:
    policy = load_policy(str(written), SCENARIO)
    assert isinstance(policy, BundlePolicy)
    observations = np.random.default_rng(1).uniform(-1, 1, (500, len(FEATURES))).astype(np.float32)
    np.testing.assert_array_equal(policy.act(observations), tree_of(SMALL)(observations))
    content = json.loads((written / "policy.json").read_text())
    assert (content["network"], content["tree"]) == (None, {"leaves": 3})


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("feature", lambda array: array + 20, "feature: must be -1 to 13"),
        ("left", lambda array: np.where(array == 3, 0, array).astype(np.int32), "child of one node before it"),
        ("left", lambda array: array.astype(np.int64), "left: must be int32, got I64"),
        ("threshold", lambda array: array / 0, "threshold: must be finite"),
        ("value", lambda array: array + np.float32(np.nan), "value: must be finite"),
        ("value", lambda array: 3 * array, r"value in \[-1, 1\]"),
        ("value", lambda array: array[:3], "tensors: must be those of a tree with 3 leaves"),
        ("value", lambda array: -array, "self-test failed"),
        ("extra", lambda array: array, "tensors: must be those of"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*encountered in divide:RuntimeWarning")
def test_tensors_that_are_no_tree_are_refused(
    bundle: Path, name: str, change: Callable[[Any], Any], reason: str
) -> None:
    if name == "extra":
        tensors = load_file(bundle / "weights.safetensors")
        save_file(tensors | {"extra": np.zeros(1, np.float32)}, bundle / "weights.safetensors")
        name = "feature"
    replace_tensor(bundle, name, change)
    with pytest.raises(ConfigError, match=reason) as raised:
        load_policy(str(bundle), SCENARIO)
    assert "weights.safetensors" in str(raised.value) or "self-test" in reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content["tree"].update(leaves=4), "tensors: must be those of a tree with 4 leaves"),
        (lambda content: content["tree"].update(leaves=10**9), "tree.leaves"),
        (lambda content: content["tree"].update(leaves=0), "tree.leaves"),
        (lambda content: content["tree"].update(depth=2), "tree.depth: unknown key"),
        (lambda content: content.update(tree=None), "network, tree: exactly one"),
        (
            lambda content: content.update(network={"layers": [14, 3], "activation": "tanh"}),
            "network, tree: exactly one",
        ),
        (
            lambda content: content.update(network={"layers": [14, 3], "activation": "tanh"}, tree=None),
            "tensors: must be those of a network",
        ),
        (
            lambda content: content["observation"][0].pop("unit"),
            "feature accessed_slow: defined otherwise",
        ),
        (lambda content: content["self_test"]["actions"][3].__setitem__(0, 0.123), "self-test failed"),
    ],
)
def test_document_that_does_not_fit_the_tree_is_refused(
    bundle: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    edit(bundle, change)
    with pytest.raises(ConfigError, match=reason) as raised:
        load_policy(str(bundle), SCENARIO)
    assert "\n" not in str(raised.value)


def test_any_flipped_bit_of_a_tree_is_refused(bundle: Path) -> None:
    path = bundle / "weights.safetensors"
    content = path.read_bytes()
    for position in np.linspace(0, len(content) - 1, 20).astype(int):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(ConfigError, match="does not match the SHA-256"):
            load_policy(str(bundle), SCENARIO)


RULES = """\
if promoted <= 0.0371:
    scan_period = 1.41s, scan_size = 2GiB, throttle = 0B/s
else:
    if throttle <= 4GiB/s:
        scan_period = 100ms, scan_size = 5.657GiB, throttle = 64MiB/s
    else:
        scan_period = 20s, scan_size = 16GiB, throttle = unlimited
"""


def test_rules_are_printed_in_units_beside_the_kernels_own(written: Path, tmp_path: Path) -> None:
    export_policy(str(written), "rules", tmp_path / "rules.txt")
    text = (tmp_path / "rules.txt").read_text()
    assert RULES in text
    # 2^-16 (2^(9 x 1.25) - 1) promotions per page and second
    assert "promoted       pages promoted [1 / (resident page s)]" in text and "backlog" not in text
    assert text.count("if useful == 0:") == 2 and "scan_period *= 0.85, scan_size *= 2" in text
    words = " ".join(text.split())
    assert "policy some-tree" in words and "modelled, not measured" in words


@pytest.mark.parametrize(
    ("nested", "line"),
    [
        (("throttle", -0.9, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), "if throttle <= 0B/s:"),
        (("scan_period", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), "if scan_period <= 20s:"),
        (("resident", 0.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), "if resident <= 16GiB:"),
        (("migrator_busy", 0.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), "if migrator_busy <= 0.5:"),
        ((0.0, 0.0, 0.0), "scan_period = 1.41s, scan_size = 2GiB, throttle = 64MiB/s"),
    ],
)
def test_every_kind_of_threshold_has_its_unit(nested: Nested, line: str, tmp_path: Path) -> None:
    folder, tree = tmp_path / "tree", tree_of(nested)
    write_bundle(
        folder, name="t", model=tree, daemon=SCENARIO.daemon, scenarios=[TrainedOn(name="skewed")], training={}
    )
    export_policy(str(folder), "rules", tmp_path / "rules.txt")
    assert line in (tmp_path / "rules.txt").read_text().splitlines()


def test_a_network_has_no_rules(tmp_path: Path) -> None:
    network = Network((np.zeros((3, len(FEATURES)), np.float32),), (np.zeros(3, np.float32),), "tanh")
    folder = tmp_path / "network"
    write_bundle(
        folder, name="n", model=network, daemon=SCENARIO.daemon, scenarios=[TrainedOn(name="skewed")], training={}
    )
    with pytest.raises(ConfigError, match="format rules takes a tree, not a network; run: tierenv distil"):
        export_policy(str(folder), "rules", tmp_path / "rules.txt")
    assert not (tmp_path / "rules.txt").exists()
