"""Exporters: what all of them share, and the JSON of static settings."""

import hashlib
import json
import math
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.agents.script_trees import APPLIED, DEMOTION, asked_of
from tests.tiny import setting_of_three
from tierenv.agents import bundle as bundle_module
from tierenv.agents.best_static import BestStatic, check_storage, write_best_static
from tierenv.agents.bundle import TrainedOn, action_definition, observation_definition, write_bundle
from tierenv.agents.export import FORMATS, export_policy
from tierenv.agents.export.header import CAVEAT, Gain
from tierenv.agents.export.targets import TARGETS
from tierenv.agents.tree import DecisionTree
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.features import observed_columns, supplied_features
from tierenv.scenario import load_scenario
from tierenv.train.cli import main
from tierenv.tunables import TUNABLES
from tierenv.units import GIB, MIB

SCENARIO = load_scenario("skewed")
POLICY = "static:800,1024,256"
STEERED_BY = {"controller": "numa-balancing"}
"""Mechanism whose setting a format without a choice takes, where it is not kmmscand."""


def test_parameters_carry_units_and_paths(tmp_path: Path) -> None:
    export_policy("static:800,1024,inf", "parameters", tmp_path / "a.json", SCENARIO)
    content = json.loads((tmp_path / "a.json").read_text())
    rows = {row["name"]: (row["value"], row["unit"]) for row in content["tunables"]}
    assert rows == {
        "scan_period_ms": (800, "ms"),
        "scan_size_bytes": (GIB, "bytes"),
        "throttle_bytes_per_s": (None, "bytes/s"),
    }
    assert [row["kernel_path"]["kmmscand-v1"] for row in content["tunables"]] == [
        TUNABLES[name].v1_path for name in SCENARIO.daemon.tunables
    ]
    assert (content["scenario"], content["origin"]["caveat"]) == (
        "skewed",
        "modelled, not measured on your machine",
    )


@pytest.mark.parametrize("with_demotion", [False, True])
def test_parameters_say_what_a_released_kernel_takes(tmp_path: Path, with_demotion: bool) -> None:
    scenario, policy = asked_of("numa-balancing")
    export_policy(policy, "parameters", tmp_path / "a.json", scenario, with_demotion=with_demotion)
    content = json.loads((tmp_path / "a.json").read_text())
    files = {row["path"].removeprefix("/"): str(row["value"]) for row in content["kernel_files"]}
    assert files == ({DEMOTION: "true"} if with_demotion else {}) | APPLIED["numa-balancing"]
    symbols = {row["tunable"] for row in content["kernel_files"]} - {None}
    assert symbols == {row["name"] for row in content["tunables"]}
    assert [row["path"].rpartition("/")[2] for row in content["kernel_files"] if row["is_optional"]] == [
        "scan_delay_ms"
    ]
    assert all(row["kernel_path"] == {} for row in content["tunables"])


def test_parameters_of_a_daemon_that_no_kernel_has_name_no_files_of_one(tmp_path: Path) -> None:
    export_policy(POLICY, "parameters", tmp_path / "a.json", SCENARIO, with_demotion=True)
    content = json.loads((tmp_path / "a.json").read_text())
    assert [row["path"] for row in content["kernel_files"]] == [f"/{DEMOTION}"]


def test_best_static_brings_its_provenance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    best = BestStatic(
        scenario="skewed",
        daemon="kmmscand-tunable",
        setting=setting_of_three(800, 512 * MIB, math.inf).to_json(),
        mean_s=201.5,
        trials=144,
        episodes=616,
        env_steps=70_000,
        wall_s=6.5,
        seeds=(20000, 20001),
        command="tierenv tune skewed --save",
        git_revision="abc",
    )
    write_best_static(SCENARIO, best, check_storage())
    export_policy("best-static", "parameters", tmp_path / "a.json", SCENARIO)
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["tunables"][1]["value"] == 512 * MIB
    assert content["provenance"]["settings_tried"] == 144
    export_policy("best-static", "sysfs", tmp_path / "a.sh", SCENARIO)
    comment = " ".join((tmp_path / "a.sh").read_text().replace("\n#", " ").split())
    assert "the best of 144 static settings (201.5 s on 2 tuning episodes), tierenv tune skewed --save" in comment


STATIC = [(name, target) for name, row in FORMATS.items() for target in row.targets or ("",) if "static" in row.takes]
"""Formats of static settings, once for each target."""

LEARNED = [name for name, row in FORMATS.items() if "learned" in row.takes]
BOTH = [*STATIC, *((name, "") for name in LEARNED if "static" not in FORMATS[name].takes)]

GAIN = Gain(scenario="skewed", against="built-in", share=0.123, ci95=(0.101, 0.145), episodes=10)
GAIN_TEXT = "12.3 % [10.1, 14.5] less time than built-in on skewed (10 episodes)"


def words_of(output: Path) -> str:
    """All text of a file, folder or archive, without line breaks and comment signs."""
    paths = [path for path in sorted(output.rglob("*")) if path.is_file()] if output.is_dir() else [output]
    contents = [path.read_bytes() for path in paths]
    if zipfile.is_zipfile(output):
        with zipfile.ZipFile(output) as archive:
            contents = [archive.read(name) for name in archive.namelist()]
    lines = "\n".join(content.decode("latin-1") for content in contents).splitlines()
    return " ".join(" ".join(line.strip().lstrip("#*").strip() for line in lines).split())


def write_tree(folder: Path, format_name: str = "", **training: Any) -> Path:
    """A bundle that a format of learned policies takes; but for the daemon itself all take NUMA balancing's."""
    daemon = load_daemon("kmmscand-tunable" if format_name == "daemon" else "numa-balancing")
    threshold, value = np.zeros(3, np.float32), np.zeros((3, len(daemon.tunables)), np.float32)
    value[1:] = np.outer([0.1, -0.1], range(1, len(daemon.tunables) + 1))
    feature, left, right = (np.array(row, np.int32) for row in ([0, -1, -1], [1, -1, -1], [2, -1, -1]))
    tree = DecisionTree(len(observed_columns(daemon)), feature, threshold, left, right, value)
    write_bundle(
        folder,
        name="a-tree",
        model=tree,
        daemon=daemon,
        scenarios=[TrainedOn.of(load_scenario("skewed").under(daemon))],
        training=training,
    )
    return folder


@pytest.mark.parametrize(
    ("name", "gains"),
    [
        (name, gains)
        for name in LEARNED
        for gains in ((), (GAIN,))
        if gains or name != "bundle"  # a bundle is exported again only to tell its gain
    ],
)
def test_learned_export_says_where_it_comes_from(tmp_path: Path, name: str, gains: tuple[Gain, ...]) -> None:
    bundle = write_tree(tmp_path / "b", name, git_revision="abc123", command="tierenv distil some-run")
    export_policy(str(bundle), name, tmp_path / "out", gains=gains)
    words = words_of(tmp_path / "out")
    expected = [GAIN_TEXT] if gains else ["not evaluated for this target"]
    for text in ("a-tree", "revision abc123", "tierenv distil some-run", "skewed", CAVEAT, *expected):
        assert text in words, text


@pytest.mark.parametrize("gains", [(), (GAIN,)])
@pytest.mark.parametrize(("name", "target"), STATIC)
def test_static_export_says_where_it_comes_from(
    tmp_path: Path, name: str, target: str, gains: tuple[Gain, ...]
) -> None:
    scenario, policy = asked_of(target or STEERED_BY.get(name, "kmmscand"))
    export_policy(policy, name, tmp_path / "out", scenario, target=target or None, gains=gains)
    words = words_of(tmp_path / "out")
    expected = [GAIN_TEXT] if gains else []
    is_modelled = not target or TARGETS[target].is_modelled
    if not (is_modelled and gains):
        expected.append("not evaluated for this target")
    for text in (policy, "chosen by hand", str(scenario), scenario.daemon.name, CAVEAT, *expected):
        assert text in words, text


def test_bundle_hands_on_what_it_knows(tmp_path: Path, run_folder: Path) -> None:
    export_policy(str(run_folder), "bundle", tmp_path / "b", gains=(GAIN,))
    export_policy(str(tmp_path / "b"), "onnx", tmp_path / "a.onnx")
    words = words_of(tmp_path / "a.onnx")
    assert GAIN_TEXT in words and "some-run, seed 3, revision abc" in words and str(SCENARIO) in words


@pytest.mark.parametrize("name", LEARNED)
def test_a_scenario_for_what_is_learned_is_refused_and_not_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    bundle = write_tree(tmp_path / "b")
    arguments = ["export", str(bundle), "--format", name, "--output", str(tmp_path / "out"), "--scenario", "abench-8g"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--scenario=abench-8g: " in error and "knows its own, skewed; leave it out" in error
    assert not (tmp_path / "out").exists()


def spoil_schema(bundle: Path) -> None:
    content = json.loads((bundle / "policy.json").read_text())
    content["observation"][0]["name"] = "something_else"
    content["sha256"]["policy.json"] = bundle_module._document_digest(content)
    (bundle / "policy.json").write_text(json.dumps(content))


def spoil_weights(bundle: Path) -> None:
    path = bundle / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def spoil_document(bundle: Path) -> None:
    path = bundle / "policy.json"
    path.write_text(path.read_text()[:-100])


def put_nan(bundle: Path) -> None:
    path = bundle / "weights.safetensors"
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.dtype == np.float32)
    tensors[name] = np.full_like(tensors[name], np.nan)
    save_file(tensors, path)
    content = json.loads((bundle / "policy.json").read_text())
    content["sha256"]["weights.safetensors"] = hashlib.sha256(path.read_bytes()).hexdigest()
    content["sha256"]["policy.json"] = bundle_module._document_digest(content)
    (bundle / "policy.json").write_text(json.dumps(content))


SPOILT_BUNDLES: dict[str, tuple[Callable[[Path], None], str]] = {
    "bundle-of-another-schema": (spoil_schema, "observation: feature something_else: defined otherwise"),
    "bundle-with-corrupt-weights": (spoil_weights, "does not match the SHA-256"),
    "bundle-with-corrupt-document": (spoil_document, "not valid JSON"),
    "bundle-with-nan": (put_nan, "must be finite"),
}


@pytest.fixture(scope="module")
def spoilt(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Policies that no format takes, by what is wrong with them, and the reason to be given."""
    import stable_baselines3
    import torch

    root = tmp_path_factory.mktemp("spoilt")
    policies = {"static-outside-the-daemons-range": ("static:scan_period=1ms", "scan_period_ms=1: daemon")}
    for name, (spoil, reason) in SPOILT_BUNDLES.items():
        spoil(write_tree(root / name))
        policies[name] = (str(root / name), reason)
    model = stable_baselines3.PPO.load(run_folder / "best/model.zip", device="cpu")
    with torch.no_grad():
        model.policy.action_net.bias[0] = np.nan
    shutil.copytree(run_folder, root / "run-with-nan")
    model.save(root / "run-with-nan/best/model.zip")
    shutil.copytree(run_folder, root / "run-of-other-scaling")
    observation = observation_definition(supplied_features(SCENARIO.daemon))
    observation[0]["scale"]["octaves"] = 17
    manifest = {"observation": observation, "action": action_definition(SCENARIO.daemon)}
    (root / "run-of-other-scaling/manifest.json").write_text(json.dumps(manifest))
    policies["run-of-other-scaling"] = (str(root / "run-of-other-scaling"), "observation")
    policies["run-with-nan"] = (str(root / "run-with-nan"), "finite")
    shutil.copytree(run_folder, root / "run-of-another-schema")
    env = gymnasium.make("Pendulum-v1")
    stable_baselines3.PPO("MlpPolicy", env, device="cpu").save(root / "run-of-another-schema/best/model.zip")
    env.close()
    policies["run-of-another-schema"] = (str(root / "run-of-another-schema"), "has shape (64, 3), of")
    return policies


@pytest.mark.parametrize(
    "problem",
    [
        *SPOILT_BUNDLES,
        "run-with-nan",
        "run-of-another-schema",
        "run-of-other-scaling",
        "static-outside-the-daemons-range",
    ],
)
@pytest.mark.parametrize(("name", "target"), BOTH)
def test_what_is_broken_is_refused_by_every_format(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoilt: dict[str, tuple[str, str]],
    name: str,
    target: str,
    problem: str,
) -> None:
    policy, reason = spoilt[problem]
    takes = FORMATS[name].takes
    if ("static" if policy.startswith("static") else "learned") not in takes:
        reason = "is not learned" if takes == ("learned",) else "is not a static policy"
    arguments = ["export", policy, "--format", name, "--output", str(tmp_path / "out"), "--scenario", "skewed"]
    under = ["--daemon", asked_of(target)[0].daemon.name] if target else []
    assert main([*arguments, *under, *(["--target", target] if target else [])]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert reason in captured.err
    assert list(tmp_path.iterdir()) == []


OUTSIDE = {
    "kmmscand": ("static:100,1024,256", "static:6000,1024,256", "static:1000,1024,0"),
    "damon": ("static:1000,1024,0",),
    "numa-balancing": (),
}
"""Settings that the daemon takes and a target does not."""


@pytest.mark.parametrize(
    ("name", "target", "policy"),
    [(name, target, policy) for name, target in STATIC if target for policy in OUTSIDE[target]],
)
def test_setting_outside_the_targets_range_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, target: str, policy: str
) -> None:
    arguments = ["export", policy, "--format", name, "--output", str(tmp_path / "out"), "--scenario", "skewed"]
    assert main([*arguments, "--target", target]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and ("scan_period_ms=" in error or "throttle_bytes_per_s=0" in error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "target"), BOTH)
def test_nothing_that_exists_as_a_folder_is_overwritten(tmp_path: Path, name: str, target: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    scenario, policy = asked_of(target or STEERED_BY.get(name, "kmmscand"))
    if "static" not in FORMATS[name].takes:
        scenario, policy = None, str(write_tree(tmp_path / "b"))
    with pytest.raises(ConfigError, match="out: "):
        export_policy(policy, name, tmp_path / "out", scenario, target=target or None, gains=(GAIN,))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
    assert not list(tmp_path.glob(".*"))


def test_help_lists_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--help"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert set(FORMATS) <= {line[0] for line in lines if line}


def test_unknown_format_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'sysfs'.*tierenv list formats"):
        export_policy(POLICY, "sysf", tmp_path / "a", SCENARIO)


@pytest.mark.parametrize("name", [name for name, row in FORMATS.items() if "static" in row.takes])
def test_static_formats_need_a_scenario(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="--scenario"):
        export_policy(POLICY, name, tmp_path / "a")


@pytest.mark.parametrize("policy", ["best-static", "static:800,1024,inf", "built-in"])
@pytest.mark.parametrize("name", [name for name, row in FORMATS.items() if row.takes == ("learned",)])
def test_other_formats_take_learned_policies_only(tmp_path: Path, name: str, policy: str) -> None:
    with pytest.raises(ConfigError, match="takes a run folder"):
        export_policy(policy, name, tmp_path / "a", SCENARIO)
