"""Learned policies and bundles: the same actions in every form, and every kind of corruption refused."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tierenv.action import DEAD_ZONE_EDGE
from tierenv.agents import bundle as bundle_module
from tierenv.agents.bundle import BundlePolicy, write_bundle
from tierenv.agents.definition import observation_definition
from tierenv.agents.export import export_policy
from tierenv.agents.learned import LearnedPolicy
from tierenv.agents.network import Network
from tierenv.agents.policies import load_policy
from tierenv.agents.policy import scenario_for
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.features import supplied_features
from tierenv.scenario import load_scenario

SCENARIO = load_scenario("skewed")
V1 = load_daemon("kmmscand-v1").model_dump(mode="json")


@pytest.fixture(scope="module")
def exported(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "some-bundle"
    export_policy(str(run_folder), "bundle", folder)
    return folder


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(exported, tmp_path / "bundle"))


def random_observations(policy: LearnedPolicy | BundlePolicy, count: int = 500) -> Any:
    num_features = len(observation_definition(supplied_features(SCENARIO.daemon)))
    return np.random.default_rng(5).uniform(-1, 1, (count, num_features)).astype(np.float32)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change policy.json and make its own digest right again, as somebody careful would."""
    path = folder / "policy.json"
    content = json.loads(path.read_text())
    change(content)
    content["sha256"]["policy.json"] = bundle_module._document_digest(content)
    path.write_text(json.dumps(content))


def replace_weights(folder: Path, tensors: dict[str, Any]) -> None:
    """Change weights.safetensors and make its digest right again."""
    path = folder / "weights.safetensors"
    save_file(tensors, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit(folder, lambda content: content["sha256"].update({"weights.safetensors": digest}))


def test_run_folder_acts_as_its_model(run_folder: Path) -> None:
    import stable_baselines3

    policy = load_policy(str(run_folder), SCENARIO)
    assert isinstance(policy, LearnedPolicy)
    assert (policy.name, policy.daemon, policy.control) == ("some-run", SCENARIO.daemon, "tunables")
    observations = random_observations(policy)
    model = stable_baselines3.PPO.load(run_folder / "best" / "model.zip", device="cpu")
    expected, _ = model.predict(observations, deterministic=True)
    np.testing.assert_allclose(policy.act(observations), expected, atol=1e-5)
    np.testing.assert_array_equal(policy.act(observations), policy.act(observations))


def test_bundle_acts_as_the_model_it_was_exported_from(run_folder: Path, exported: Path) -> None:
    learned, bundled = load_policy(str(run_folder), SCENARIO), load_policy(str(exported), SCENARIO)
    assert isinstance(learned, LearnedPolicy) and isinstance(bundled, BundlePolicy)
    observations = random_observations(bundled)
    actions = bundled.act(observations)
    np.testing.assert_allclose(actions, learned.act(observations), atol=1e-5)
    assert (actions.dtype, np.abs(actions).max()) == (np.float32, 1.0)
    assert 0.05 < (np.abs(actions) < 1).mean() < 0.95  # both sides of the clip are tried


def test_bundle_says_what_it_means_and_where_it_comes_from(exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == ["policy.json", "weights.safetensors"]
    content = json.loads((exported / "policy.json").read_text())
    trained_on = {"name": "skewed", "identity": SCENARIO.identity, "control_interval": "2.0s"}
    assert (content["name"], content["scenarios"]) == ("some-bundle", [trained_on])
    assert content["daemon"] == SCENARIO.daemon.model_dump(mode="json")
    assert content["training"]["config"]["seed"] == 3
    assert content["training"]["git_revision"] == "abc" and "machine" not in content["training"]
    assert content["action"][2]["unlimited_above"] == DEAD_ZONE_EDGE
    assert all({"name", "unit", "scale"} <= set(feature) for feature in content["observation"])


def test_bundle_plays_without_torch(exported: Path) -> None:
    code = (
        "import sys; from tierenv.agents.policies import load_policy; from tierenv.scenario import load_scenario\n"
        f"load_policy({str(exported)!r}, load_scenario('skewed'))\n"
        "print({'torch', 'stable_baselines3', 'numba', 'pickle5'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout == "set()\n", result.stderr


def test_existing_folder_is_never_overwritten(run_folder: Path, exported: Path) -> None:
    with pytest.raises(ConfigError, match="already exists"):
        export_policy(str(run_folder), "bundle", exported)


def test_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "DOCUMENT", "no/such/folder.json")
    network = Network((np.eye(3, 14, dtype=np.float32),), (np.zeros(3, np.float32),), "tanh")
    with pytest.raises(FileNotFoundError):
        write_bundle(tmp_path / "b", name="b", model=network, daemon=SCENARIO.daemon, scenarios=[], training={})
    assert list(tmp_path.iterdir()) == []


def test_bundle_is_not_bundled_again(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a bundle already"):
        export_policy(str(exported), "bundle", tmp_path / "again")


@pytest.mark.parametrize("name", ["policy.json", "weights.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_truncated_file_is_refused(bundle: Path, name: str, share: float) -> None:
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(ConfigError, match=name):
        load_policy(str(bundle), SCENARIO)


def test_missing_weights_are_refused(bundle: Path) -> None:
    (bundle / "weights.safetensors").unlink()
    with pytest.raises(ConfigError, match="weights.safetensors: No such file"):
        load_policy(str(bundle), SCENARIO)


def test_any_flipped_bit_of_the_weights_is_refused(bundle: Path) -> None:
    path = bundle / "weights.safetensors"
    content = path.read_bytes()
    for position in np.linspace(0, len(content) - 1, 20).astype(int):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(ConfigError, match="weights.safetensors: does not match the SHA-256"):
            load_policy(str(bundle), SCENARIO)


def test_any_flipped_bit_of_the_document_changes_nothing_or_is_refused(bundle: Path) -> None:
    path = bundle / "policy.json"
    content = path.read_bytes()
    meaning = json.loads(content)
    for position in np.linspace(0, len(content) - 1, 200).astype(int):
        spoiled = content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        path.write_bytes(spoiled)
        try:
            load_policy(str(bundle), SCENARIO)
        except ConfigError as error:
            assert "policy.json" in str(error) and "\n" not in str(error)
        else:  # white space only
            assert json.loads(spoiled) == meaning


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content.update(schema=3), "schema"),
        (lambda content: content.pop("action"), "action: required key is missing"),
        (lambda content: content.update(extra=1), "extra: unknown key"),
        (lambda content: content["network"].update(activation="exp"), "network.activation"),
        (lambda content: content["network"].update(layers=[14, 10**9, 3]), "network.layers"),
        (lambda content: content["network"].update(layers=[13, 64, 64, 3]), "network.layers: must lead from"),
        (lambda content: content["network"].update(layers=[14, 32, 64, 3]), "tensors: must be those of"),
        (lambda content: content["observation"][0]["scale"].update(octaves=17), "accessed_slow: defined otherwise"),
        (lambda content: content["observation"][1].update(name="idleness"), "feature idleness: defined otherwise"),
        (lambda content: content["observation"].pop(), "network.layers: must lead from 13 features"),
        (lambda content: content["action"][0].update(max=5000), "action: defined otherwise"),
        (lambda content: content["action"][2].update(unlimited_above=None), "action: defined otherwise"),
        (lambda content: content.update(daemon=V1), "defined otherwise"),
        (lambda content: content.update(daemon="kmmscand-tunable"), "daemon"),
        (lambda content: content["daemon"].update(mechanism="guessing"), "daemon.*mechanism.*guessing"),
        (lambda content: content["daemon"].update(migrate_slep="1s"), "migrate_slep: unknown key"),
        (lambda content: content["self_test"]["actions"][3].__setitem__(0, 0.123), "self-test failed"),
        (lambda content: content["self_test"]["actions"].pop(), "self_test: must pair"),
        (lambda content: content["self_test"]["observations"][0].pop(), "self_test: must pair"),
        (lambda content: content["sha256"].pop("weights.safetensors"), "sha256: must name"),
    ],
)
def test_document_that_means_something_else_is_refused(
    bundle: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    edit(bundle, change)
    with pytest.raises(ConfigError, match=reason) as raised:
        load_policy(str(bundle), SCENARIO)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("addition", "reason"),
    [
        ('"name": "other"', "not valid JSON: name is given twice"),
        ('"x": NaN', "not valid JSON: NaN is not a number"),
        ('"\\u202e\\n": 1, "\\u202e\\n": 2', "not valid JSON: a key is given twice"),
    ],
)
def test_json_that_says_two_things_or_no_number_is_refused(bundle: Path, addition: str, reason: str) -> None:
    path = bundle / "policy.json"
    path.write_text("{" + addition + "," + path.read_text()[1:])
    with pytest.raises(ConfigError, match=reason):
        load_policy(str(bundle), SCENARIO)


def test_words_of_a_definition_may_change(bundle: Path) -> None:
    edit(bundle, lambda content: content["observation"][0].update(meaning="in other words"))
    load_policy(str(bundle), SCENARIO)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(bundle: Path, value: float) -> None:
    tensors = load_file(bundle / "weights.safetensors")
    tensors["layer1.weight"][3, 4] = value
    replace_weights(bundle, tensors)
    with pytest.raises(ConfigError, match="layer1.weight: must be finite"):
        load_policy(str(bundle), SCENARIO)


@pytest.mark.parametrize(("kind", "called"), [(np.float64, "F64"), (np.int32, "I32"), (np.bool_, "BOOL")])
def test_weights_of_another_type_are_refused(bundle: Path, kind: type, called: str) -> None:
    tensors = load_file(bundle / "weights.safetensors")
    tensors["layer0.bias"] = tensors["layer0.bias"].astype(kind)
    replace_weights(bundle, tensors)
    with pytest.raises(ConfigError, match=f"layer0.bias: must be float32, got {called}"):
        load_policy(str(bundle), SCENARIO)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"F32","shape":[64]', b'"BF16","shape":[2,64]', "tensors: must be those of a network"),
        (b'"F32","shape":[64]', b'"F8_E4M3","shape":[4,64]', "tensors: must be those of a network"),
        (
            b'"layer0.bias":{',
            b'"layer0.bias":{"dtype":"F32","shape":[64],"data_offsets":[0,256]},"layer0.bias":{',
            "given twice",
        ),
    ],
)
def test_tensors_that_numpy_has_not_or_that_are_given_twice_are_refused(
    bundle: Path, old: bytes, new: bytes, message: str
) -> None:
    path = bundle / "weights.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].replace(old, new, 1)
    assert header != content[8 : 8 + length]
    content = len(header).to_bytes(8, "little") + header + content[8 + length :]
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit(bundle, lambda document: document["sha256"].update({"weights.safetensors": digest}))
    with pytest.raises(ConfigError, match=message):
        load_policy(str(bundle), SCENARIO)


@pytest.mark.parametrize("number", ["1e999", "NaN", "-Infinity"])
def test_numbers_that_cannot_be_written_again_are_refused(bundle: Path, number: str) -> None:
    path = bundle / "policy.json"
    path.write_text(path.read_text().replace('"training": {', f'"training": {{"x": {number},', 1))
    with pytest.raises(ConfigError, match="policy.json: not valid JSON"):
        load_policy(str(bundle), SCENARIO)


def test_other_weights_fail_the_self_test(bundle: Path) -> None:
    tensors = load_file(bundle / "weights.safetensors")
    tensors["layer0.weight"][0, 0] += 0.5
    replace_weights(bundle, tensors)
    with pytest.raises(ConfigError, match="self-test failed"):
        load_policy(str(bundle), SCENARIO)


def test_a_key_that_is_no_text_is_refused(bundle: Path) -> None:
    edit(bundle, lambda content: content["daemon"]["tunables"].update({"\ud800": {}}))
    with pytest.raises(ConfigError, match="policy.json: .*ud800"):
        load_policy(str(bundle), SCENARIO)


@pytest.mark.parametrize("name", ["policy.json", "weights.safetensors"])
def test_a_pipe_or_a_huge_file_is_refused_and_not_read(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    (bundle / name).touch()
    os.truncate(bundle / name, 1 << 40)
    with pytest.raises(ConfigError, match=f"{name}: holds more than .* bytes"):
        BundlePolicy.load(bundle)
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    with pytest.raises(ConfigError, match=f"{name}: must be a file, not a pipe or a device"):
        BundlePolicy.load(bundle)


def test_pickle_in_place_of_weights_is_refused(bundle: Path) -> None:
    import pickle

    content = pickle.dumps({"layer0.weight": 1})
    (bundle / "weights.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit(bundle, lambda document: document["sha256"].update({"weights.safetensors": digest}))
    with pytest.raises(ConfigError, match="not valid safetensors"):
        load_policy(str(bundle), SCENARIO)


def test_bundle_plays_on_the_daemon_it_was_trained_for(bundle: Path) -> None:
    values = SCENARIO.daemon.model_dump()
    values["tunables"]["scan_period"]["max"] = "10s"
    other = SCENARIO.replace(daemon=values)
    policy = load_policy(str(bundle), other)
    assert scenario_for(policy, other).daemon == SCENARIO.daemon != other.daemon


SCHEMA_1 = Path(__file__).with_name("bundle-of-schema-1")
"""A tree as it was exported before bundles held their daemon."""


@pytest.fixture
def old_bundle(tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(SCHEMA_1, tmp_path / "old"))


def test_bundle_of_schema_1_loads_with_the_daemon_it_names(old_bundle: Path) -> None:
    policy = load_policy(str(old_bundle), SCENARIO)
    assert isinstance(policy, BundlePolicy)
    assert policy.daemon == SCENARIO.daemon
    document = json.loads((old_bundle / "policy.json").read_text())
    actions = policy.act(np.array(document["self_test"]["observations"], np.float32))
    np.testing.assert_allclose(actions, document["self_test"]["actions"], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content.update(daemon="mine"), "daemon='mine': not a packaged one.*export it again"),
        (
            lambda content: content.update(daemon="numab2"),
            "defined otherwise for daemon numab2.*export",
        ),
        (lambda content: content.update(daemon=["numab2"]), r"daemon=\['numab2'\]: not a packaged one"),
        (lambda content: content.update(scenarios={"skewed": 1}), "scenarios=.*must be a list of names"),
        (lambda content: content.update(scenarios=[3]), r"scenarios=\[3\]: must be a list of names"),
        (lambda content: content["observation"][0]["scale"].update(octaves=17), "defined otherwise.*export"),
        (lambda content: content["action"].pop(), "defined otherwise.*export the policy again"),
        (lambda content: content.update(observation=1), "defined otherwise.*export the policy again"),
        (lambda content: content["sha256"].update({"policy.json": "0"}), "does not match its SHA-256"),
    ],
)
def test_bundle_of_schema_1_that_means_something_else_is_refused(
    old_bundle: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    path = old_bundle / "policy.json"
    content = json.loads(path.read_text())
    before = dict(content["sha256"])
    change(content)
    if content["sha256"] == before:
        content["sha256"]["policy.json"] = bundle_module._document_digest(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=reason) as raised:
        load_policy(str(old_bundle), SCENARIO)
    assert "\n" not in str(raised.value)


def test_run_without_a_model_is_named(tmp_path: Path, run_folder: Path) -> None:
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (folder / "best" / "model.zip").write_bytes(b"not a zip")
    with pytest.raises(ConfigError, match="model.zip: cannot be loaded"):
        load_policy(str(folder), SCENARIO)
    (folder / "best" / "model.zip").unlink()
    with pytest.raises(ConfigError, match="has not been evaluated yet"):
        load_policy(str(folder), SCENARIO)


def test_network_of_another_design_is_refused(run_folder: Path, tmp_path: Path) -> None:
    import stable_baselines3

    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    env = gymnasium.make("tierenv/TieredMemory-v1", scenario="skewed")
    options = {"use_sde": True, "policy_kwargs": {"squash_output": True}, "device": "cpu"}
    model = stable_baselines3.PPO("MlpPolicy", env, **options)
    model.save(folder / "best" / "model.zip")
    with pytest.raises(ConfigError, match=r"log_std has shape \(64, 3\)"):
        export_policy(str(folder), "bundle", tmp_path / "b")
    assert not (tmp_path / "b").exists()
