"""The exported C: compiled as a kernel would, against the integers of Python and the floats of the policy."""

import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tests.tiny import tiny
from tests.tools import needs
from tierenv.action import DEAD_ZONE_EDGE, ActionCodec
from tierenv.agents.bundle import TrainedOn, write_bundle
from tierenv.agents.compiled import KERNEL_FLAGS, CompiledPolicy
from tierenv.agents.definition import action_definition, observation_definition
from tierenv.agents.export import export_policy
from tierenv.agents.export.kernel_c import TOLERANCE
from tierenv.agents.integer.interface import Interface
from tierenv.agents.integer.policy import IntegerPolicy
from tierenv.agents.network import Network
from tierenv.agents.policies import load_policy
from tierenv.agents.policy import scenario_for
from tierenv.agents.tree import DecisionTree
from tierenv.daemon import AccessedBitDaemon, load_daemon
from tierenv.errors import ConfigError
from tierenv.features import FEATURES, Count, all_features, observed_columns, supplied_features
from tierenv.live.arithmetic import ONE
from tierenv.task import simulated_task
from tierenv.train.cli import main
from tierenv.train.episodes import run_episodes
from tierenv.train.run_dir import to_yaml
from tierenv.train.studies.kernel_c import MAX_LOSS, SampleRecorder, action_errors, measure, near_threshold

DAEMON = load_daemon("kmmscand-tunable")
INTERFACE = Interface(DAEMON)
COLUMNS = [column.name for column in observed_columns(DAEMON)]
NUM_FEATURES, NUM_TUNABLES = len(COLUMNS), len(DAEMON.tunables)
COUNTED = [*INTERFACE.increments, "elapsed_ns", *INTERFACE.levels, *(size.symbol for size in INTERFACE.sizes)]
"""Fields of a sample beside the setting in force."""
NUM_INPUTS = 100_000
PRICKLY = 'run "7" */ int x; /* ???/ **/ \\é'
"""A name that tries to leave the comment or string it stands in."""

needs_compiler = needs("gcc")
pytestmark = needs_compiler


def network(
    *hidden: int, activation: Any = "tanh", output: Any = "clip", choices: int = 0, offset: float = 0, seed: int = 0
) -> Network:
    """A network about as steep as trained ones, whose actions reach both ends, or all choices of a menu."""
    rng = np.random.default_rng(seed)
    layers = (NUM_FEATURES, *hidden, choices or NUM_TUNABLES)
    gains = [1.5] * len(hidden) + [2.0]
    pairs = zip(layers, layers[1:], gains, strict=False)
    return Network(
        weights=tuple(rng.normal(0, gain / math.sqrt(n), (m, n)).astype(np.float32) for n, m, gain in pairs),
        biases=tuple(rng.normal(offset, 0.3, size).astype(np.float32) for size in layers[1:]),
        activation=activation,
        output=output,
        menu=rng.uniform(-1, 1, (choices, NUM_TUNABLES)).astype(np.float32) if choices else None,
    )


def tree(leaves: int, seed: int = 0) -> DecisionTree:
    """A tree grown at random."""
    rng = np.random.default_rng(seed)
    feature, left, right = [-1], [-1], [-1]
    while len(feature) < 2 * leaves - 1:
        node = int(rng.choice([index for index, split in enumerate(feature) if split < 0]))
        feature[node], left[node], right[node] = int(rng.integers(NUM_FEATURES)), len(feature), len(feature) + 1
        for column in (feature, left, right):
            column += [-1, -1]
    is_leaf = np.array(feature) < 0
    threshold = np.where(is_leaf, 0, rng.uniform(-0.9, 0.9, len(feature))).astype(np.float32)
    value = np.where(is_leaf[:, None], rng.uniform(-1, 1, (len(feature), NUM_TUNABLES)), 0).astype(np.float32)
    columns = [np.array(column, np.int32) for column in (feature, left, right)]
    return DecisionTree(NUM_FEATURES, columns[0], threshold, columns[1], columns[2], value)


MODELS: dict[str, Callable[[], Network | DecisionTree]] = {
    "tanh-32x32": lambda: network(32, 32),
    "tanh-64x64": lambda: network(64, 64),
    "relu-24": lambda: network(24, activation="relu"),
    "linear": lambda: network(),
    "relu-24-tanh": lambda: network(24, activation="relu", output="tanh"),
    "tanh-24-tanh": lambda: network(24, output="tanh"),
    "relu-24-menu": lambda: network(24, activation="relu", output="menu", choices=13),
    "tanh-24-menu": lambda: network(24, output="menu", choices=2, offset=-0.3),
    "linear-menu": lambda: network(output="menu", choices=128, offset=-5),
    "tree-12": lambda: tree(12),
    "tree-1": lambda: tree(1),
}


@dataclass(frozen=True)
class Exported:
    """A policy in all its forms."""

    name: str
    model: Network | DecisionTree
    bundle: Path
    folder: Path
    integers: IntegerPolicy
    compiled: CompiledPolicy


def bundle_of(model: Network | DecisionTree, folder: Path, name: str = "some-policy", **training: Any) -> Path:
    write_bundle(
        folder, name=name, model=model, daemon=DAEMON, scenarios=[TrainedOn(name="moving-hot-set")], training=training
    )
    return folder


@pytest.fixture(scope="module", params=MODELS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    root, model = tmp_path_factory.mktemp("kernel-c"), MODELS[request.param]()
    bundle = bundle_of(model, root / request.param)
    export_policy(str(bundle), "kernel-c", root / "c")
    return Exported(request.param, model, bundle, root / "c", IntegerPolicy(model, DAEMON), compiled(root / "c"))


def compiled(folder: Path) -> CompiledPolicy:
    return CompiledPolicy(folder, INTERFACE)


def observe(policy: IntegerPolicy, samples: NDArray[np.void]) -> NDArray[np.int64]:
    """Returns what the integers observe at the first decision of as many machines."""
    return policy.interface.observe(samples, policy.interface.initial_state(len(samples)))


def one_export(tmp_path: Path, model: str = "tanh-32x32", **facts: Any) -> Path:
    export_policy(str(bundle_of(MODELS[model](), tmp_path / "bundle", **facts)), "kernel-c", tmp_path / "c")
    return tmp_path / "c"


def any_samples(count: int, seed: int = 1) -> NDArray[np.void]:
    """Numbers of every magnitude, an eighth of them corners."""
    rng = np.random.default_rng(seed)
    samples = np.zeros(count, INTERFACE.sample)
    edges = [edge for row in DAEMON.tunables.values() for edge in (row.min, row.max)]
    around = [int(edge) + step for edge in edges for step in (-1, 0, 1)]
    for column in [samples[name] for name in COUNTED] + [
        samples["in_force"][name] for name in INTERFACE.setting.names or ()
    ]:
        limits = np.iinfo(column.dtype)
        corners = [0, 1, 2, 3, limits.max, limits.max - 1, limits.min, limits.min + 1, -1, *around]
        allowed = np.array([corner for corner in corners if limits.min <= corner <= limits.max], column.dtype)
        magnitudes = np.exp2(rng.uniform(0, math.log2(float(limits.max)) - 1e-3, count)).astype(column.dtype)
        column[:] = np.where(rng.random(count) < 1 / 8, rng.choice(allowed, count), magnitudes)
    return samples


@pytest.fixture(scope="module")
def real() -> list[SampleRecorder]:
    """Observations of evaluation episodes and the samples behind them, random settings included."""
    recorders = []
    for name in ("moving-hot-set", "skewed", "abench-8g"):
        scenario = tiny(name)
        for policy_name in ("random", "static:500,1024,inf"):
            policy = load_policy(policy_name, scenario)
            task = simulated_task([scenario_for(policy, scenario)] * 4)
            recorded = SampleRecorder(policy, task.system, INTERFACE)
            run_episodes(task, recorded, range(10_000, 10_004))
            recorders.append(recorded)
    return recorders


def source_without_comments(folder: Path) -> str:
    text = "".join((folder / name).read_text() for name in ("tierenv_policy.h", "tierenv_policy.c"))
    return re.sub(r"/\*.*?\*/|//[^\n]*|#include[^\n]*", "", text, flags=re.DOTALL)


def test_compiles_under_a_kernel_s_rules_and_needs_nothing_from_outside(exported: Exported, tmp_path: Path) -> None:
    strict = ["-Wmissing-prototypes", "-Wstrict-prototypes", "-Wdeclaration-after-statement", "-Wvla", "-Wshadow"]
    stack = re.search(r"about (\d+) bytes of stack", (exported.folder / "tierenv_policy.h").read_text())
    assert stack is not None
    command = ["gcc", *KERNEL_FLAGS, *strict, f"-Wstack-usage={stack[1]}", "-c", exported.folder / "tierenv_policy.c"]
    subprocess.run([*command, "-o", tmp_path / "policy.o"], check=True, timeout=60)
    undefined = subprocess.run(["nm", "-u", tmp_path / "policy.o"], capture_output=True, text=True, timeout=60)
    assert undefined.stdout == ""


@pytest.mark.parametrize("name", [row.name for row in all_features()])
def test_each_feature_alone_compiles_without_a_warning(name: str, tmp_path: Path) -> None:
    row = next(row for row in all_features() if row.name == name)
    daemons = map(load_daemon, ("kmmscand-tunable", "numa-balancing", "kmmscand-threshold"))
    daemon = next(daemon for daemon in daemons if row.is_supplied_by(daemon))
    interface = Interface(daemon, [row])
    leaf, zero = np.array([-1], np.int32), np.zeros(1, np.float32)
    nothing = np.zeros((1, len(daemon.tunables)), np.float32)
    one_leaf = DecisionTree(interface.num_columns, leaf, zero, leaf, leaf, nothing)
    write_bundle(
        tmp_path / "bundle", name="a", model=one_leaf, daemon=daemon, scenarios=[], training={}, observation=[row]
    )
    export_policy(str(tmp_path / "bundle"), "kernel-c", tmp_path / "c")
    CompiledPolicy(tmp_path / "c", interface)


def test_two_counts_of_one_symbol_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(row for row in FEATURES.values() if isinstance(row.source, Count))
    assert isinstance(row.source, Count)
    other = replace(row.source, terms=tuple((-sign, counter) for sign, counter in row.source.terms))
    monkeypatch.setitem(FEATURES, "other", replace(row, name="other", source=other))
    with pytest.raises(ConfigError, match=f"feature other: {row.source.symbol} is another count"):
        Interface(DAEMON)


def test_neither_divides_nor_knows_fractions_nor_writes_to_globals(exported: Exported) -> None:
    source = source_without_comments(exported.folder)
    assert not re.search(r"[/%]|\b(float|double|goto|while|malloc|volatile)\b", source)
    statics = re.findall(r"^static (?!const )[^(]*[;={]", source, flags=re.MULTILINE)
    assert statics == []


def test_equals_the_python_integers_bit_for_bit(exported: Exported) -> None:
    samples = any_samples(NUM_INPUTS)
    observations = observe(exported.integers, samples)
    fresh = exported.compiled.initial_state
    np.testing.assert_array_equal(exported.compiled.observe(samples, fresh(NUM_INPUTS)), observations)
    actions = exported.integers.model(observations)
    np.testing.assert_array_equal(exported.compiled.act(observations.astype(np.int32)), actions)
    settings = exported.integers.interface.decode(actions)
    np.testing.assert_array_equal(exported.compiled.decide(samples, fresh(NUM_INPUTS)), settings)


def test_networks_equal_on_random_observations_too(exported: Exported) -> None:
    limits = np.iinfo(np.int32)
    rng = np.random.default_rng(2)
    observations = rng.integers(-ONE, ONE + 1, (NUM_INPUTS // 10, NUM_FEATURES))
    observations[:100] = rng.choice([-ONE, 0, ONE, limits.min, limits.max], (100, NUM_FEATURES))
    actions = exported.compiled.act(observations.astype(np.int32))
    np.testing.assert_array_equal(actions, exported.integers.model(observations))


def test_actions_stay_within_the_tolerance_of_the_floats(exported: Exported, real: list[SampleRecorder]) -> None:
    errors = np.concatenate([action_errors(exported.model, exported.compiled, recorded) for recorded in real])
    assert len(errors) > 500
    drawn = np.random.default_rng(3).uniform(-1, 1, (4096, NUM_FEATURES)).astype(np.float32)
    as_integers = exported.compiled.act(np.round(drawn * float(ONE)).astype(np.int32)) / ONE
    off = np.abs(as_integers - exported.model(drawn)).max(axis=1)
    if isinstance(exported.model, DecisionTree):
        off[near_threshold(exported.model, drawn)] = 0
    else:
        off[~exported.model.is_decisive(drawn)] = 0
    print(f"\n{exported.name}: actions off by {errors.max():.1e} on episodes, {off.max():.1e} on random observations")
    assert max(errors.max(), off.max()) < TOLERANCE


def test_observations_are_those_of_the_encoder(exported: Exported, real: list[SampleRecorder]) -> None:
    error = np.zeros(NUM_FEATURES)
    for recorded in real:
        state = exported.compiled.initial_state(4)
        for samples, observations in zip(recorded.samples, recorded.observations, strict=True):
            observed = exported.compiled.observe(samples, state) / ONE
            error = np.maximum(error, np.abs(observed - observations).max(axis=0))
    # the setting in force is a whole number of milliseconds in a kernel: half of one at 100 ms is 0.002
    allowed = dict.fromkeys(COLUMNS, 1e-5) | {"scan_period": 0.002}
    assert {name: float(off) for name, off in zip(COLUMNS, error, strict=True) if off > allowed[name]} == {}


def test_random_samples_are_observed_as_the_encoder_would() -> None:
    samples = any_samples(20_000, seed=4)
    for name in COUNTED:  # what the encoder can take: no negative numbers
        samples[name] = np.maximum(samples[name], name in ("elapsed_ns", "fast_node_pages", "resident_pages"))
    policy = IntegerPolicy(network(), DAEMON)
    columns = {name: index for index, name in enumerate(COLUMNS)}
    observed = observe(policy, samples) / ONE
    count, pages, step_s = (samples[name].astype(float) for name in ("pgdemote_kswapd", "resident_pages", "elapsed_ns"))
    step_s *= 1e-9
    exact = {
        "demoted": 2 * np.log2(1 + count / (pages * step_s) * 2**16) / 18 - 1,
        "backlog": 2 * np.log2(1 + samples["pending_entries"] / pages * 2**12) / 16 - 1,
        "migrator_busy": samples["migrator_ns"] * 1e-9 / step_s * 2 - 1,
        "resident": (np.log2(pages) - 18 - 4) / 8,
    }
    for name, values in exact.items():
        assert np.abs(observed[:, columns[name]] - np.clip(values, -1, 1)).max() < 1e-5, name


def test_actions_decode_as_in_the_environment() -> None:
    policy, codec = IntegerPolicy(network(), DAEMON), ActionCodec(DAEMON)
    rng = np.random.default_rng(5)
    edges = np.array([-1, -DEAD_ZONE_EDGE, 0, DEAD_ZONE_EDGE, 1])
    actions = np.concatenate((rng.uniform(-1, 1, (20_000, 3)), np.stack([edges] * 3, axis=1)))
    settings = policy.interface.decode(np.round(actions * ONE).astype(np.int64))
    own = list(codec.columns.values())
    exact, whole = codec.decode(actions)[:, own], policy.interface.tunables_of(settings)[:, own]
    is_same_kind = (np.isinf(exact) == np.isinf(whole)) & ((exact == 0) == (whole == 0))
    is_at_edge = np.abs(np.abs(actions) - DEAD_ZONE_EDGE) < TOLERANCE
    assert (is_same_kind | is_at_edge).all()
    inside = is_same_kind & np.isfinite(exact)
    assert (np.abs(whole[inside] - exact[inside]) <= 0.5 + 2e-5 * exact[inside]).all()
    assert is_same_kind[-len(edges) :].all()  # the edges themselves lie inside on both sides


@pytest.mark.parametrize("name", ["tanh-32x32", "relu-24", "tree-12"])
def test_no_input_makes_a_sanitizer_speak(name: str, tmp_path: Path) -> None:
    folder = one_export(tmp_path, name)
    ranges = [
        f"-D{label}_{end}={int(value)}ull"
        for label, row in zip(("PERIOD", "SIZE", "THROTTLE"), DAEMON.tunables.values(), strict=True)
        for end, value in (("MIN", row.min), ("MAX", row.max))
    ]
    compiler, fuzzing, arguments = "gcc", ["-fsanitize=undefined,address", "-DITERATIONS=300000"], []
    if shutil.which("clang") and name == "tanh-32x32":
        # conversions that lose a value are no undefined behaviour, but none is meant to happen unseen
        checks = "undefined,address,fuzzer,unsigned-integer-overflow,implicit-signed-integer-truncation"
        compiler, fuzzing, arguments = "clang", [f"-fsanitize={checks}"], ["-runs=200000", "-max_len=160"]
    sources = [folder / "tierenv_policy.c", Path(__file__).with_name("kernel_c_fuzz.c")]
    flags = ["-std=gnu11", "-O1", "-g", *fuzzing, "-fno-sanitize-recover=all", f"-I{folder}", *ranges]
    subprocess.run([compiler, *flags, *sources, "-o", tmp_path / "fuzz"], check=True, timeout=120)
    result = subprocess.run([tmp_path / "fuzz", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (result.returncode, "runtime error" in result.stderr) == (0, False), result.stderr[-2000:]


def test_compiled_policy_completes_as_fast_in_the_closed_loop(exported: Exported, tmp_path: Path) -> None:
    scenario = tmp_path / "tiny.yaml"
    scenario.write_text(to_yaml(tiny().model_dump(mode="json")))
    result = measure(str(exported.bundle), [str(scenario)], num_seeds=8)
    assert [row.passes for row in result.rows] == [True]
    assert result.rows[0].decisions > 100 and result.to_json()["rows"][0]["loss"] < MAX_LOSS


def test_time_and_size_of_a_decision(exported: Exported) -> None:
    total = exported.compiled.size_bytes
    nanoseconds = exported.compiled.decision_ns(any_samples(2000))
    print(f"\n{exported.name}: {nanoseconds:.0f} ns, {total} bytes")
    assert total <= 32 * 1024
    assert nanoseconds < 50_000  # a bound for the slowest machine; the aim of 2 us is for a free one


def test_scales_leave_no_sum_room_to_overflow() -> None:
    for hidden, activation, gain in (((64, 64), "tanh", 1e4), ((64, 64), "relu", 30), ((16,), "tanh", 1e-6)):
        steep = network(*hidden, activation=activation)
        steep = Network(
            tuple((weights * gain).astype(np.float32) for weights in steep.weights), steep.biases, activation
        )
        policy = IntegerPolicy(steep, DAEMON).model
        bound = np.full(NUM_FEATURES, ONE, object)  # Python's integers do not overflow
        for layer in policy.layers:
            sums = np.abs(layer.weights).astype(object) @ bound + np.abs(layer.biases).astype(object)
            assert (
                np.abs(layer.weights).max() < 2**31 and max(sums) + 2 ** (layer.shift - 1) < 2**63 and layer.shift > 0
            )
            results = [min((value >> layer.shift) + 1, layer.limit) for value in sums]
            bound = np.array([min(value, ONE) for value in results] if activation == "tanh" else results, object)


def test_both_files_say_where_they_come_from(tmp_path: Path) -> None:
    gain = {"scenario": "moving-hot-set", "against": "best-static", "share": 0.06, "ci95": [0.05, 0.07], "episodes": 20}
    folder = one_export(tmp_path, git_revision="abc", command=f"tierenv train {PRICKLY}", expected_gain=[gain])
    for name, spdx in (("tierenv_policy.c", "// SPDX"), ("tierenv_policy.h", "/* SPDX")):
        text = (folder / name).read_text()
        assert text.startswith(f"{spdx}-License-Identifier: GPL-2.0-only OR MIT")
        flat = " ".join(text.replace("\n *", " ").split())
        for words in (
            "abc",
            "trained for: moving-hot-set",
            "6.0 % [5.0, 7.0]",
            "modelled, not measured on your machine",
        ):
            assert words in flat
        assert "@" not in text


def test_names_stay_in_their_comments_and_strings(tmp_path: Path) -> None:
    folder = one_export(tmp_path, name=PRICKLY, command=f"tierenv train {PRICKLY}")
    source = source_without_comments(folder)
    assert "int x" not in re.sub(r'"[^"\n]*"', "", source) and 'NAME "run _7_ ' in source
    compiled(folder)


def test_policy_without_evaluation_says_so(tmp_path: Path) -> None:
    assert "not evaluated for this target" in (one_export(tmp_path) / "tierenv_policy.h").read_text()


def refuse_static(tmp_path: Path) -> str:
    return "static:500,1024,inf"


def other_schema(tmp_path: Path) -> str:
    from tests.agents.test_bundle import edit

    bundle = bundle_of(network(8), tmp_path / "bundle")
    edit(bundle, lambda content: content["observation"][3]["scale"].update(octaves=20))
    return str(bundle)


def corrupted(tmp_path: Path) -> str:
    bundle = bundle_of(network(8), tmp_path / "bundle")
    weights = bytearray((bundle / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (bundle / "weights.safetensors").write_bytes(weights)
    return str(bundle)


def not_a_number(tmp_path: Path) -> str:
    from tests.agents.test_bundle import replace_weights

    bundle = bundle_of(network(8), tmp_path / "bundle")
    tensors = load_file(bundle / "weights.safetensors")
    tensors["layer0.weight"][0, 0] = np.nan
    replace_weights(bundle, tensors)
    return str(bundle)


def run_of(tmp_path: Path, weight: float = 0.0, **manifest: Any) -> str:
    """A run folder as training leaves it, with one weight set."""
    import gymnasium
    import stable_baselines3
    import torch

    folder = tmp_path / "run"
    (folder / "best").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"scenarios": ["skewed"], "policy_net": [8]}))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    env = gymnasium.make("tierenv/TieredMemory-v1", scenario="skewed")
    model = stable_baselines3.PPO("MlpPolicy", env, device="cpu", policy_kwargs={"net_arch": [8]})
    with torch.no_grad():
        model.policy.action_net.weight[0, 0] = weight
    model.save(folder / "best" / "model.zip")
    env.close()
    return str(folder)


def run_with_nan(tmp_path: Path) -> str:
    return run_of(tmp_path, math.nan)


def run_of_another_schema(tmp_path: Path) -> str:
    action = action_definition(DAEMON)
    action[2]["unlimited_above"] = 0.8
    return run_of(tmp_path, observation=observation_definition(supplied_features(DAEMON)), action=action)


def too_wide(tmp_path: Path) -> str:
    return str(bundle_of(network(16, 256), tmp_path / "bundle"))


def too_many_weights(tmp_path: Path) -> str:
    return str(bundle_of(network(128, 128, 128, 128), tmp_path / "bundle"))


def too_steep(tmp_path: Path) -> str:
    steep = network(8)
    return str(
        bundle_of(
            Network((steep.weights[0] * np.float32(1e8), steep.weights[1]), steep.biases, "tanh"), tmp_path / "bundle"
        )
    )


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (refuse_static, "formats for a static policy: parameters"),
        (other_schema, "observation: feature promoted: defined otherwise"),
        (corrupted, "SHA-256"),
        (not_a_number, "must be finite"),
        (run_with_nan, "finite"),
        (run_of_another_schema, "action: defined otherwise"),
        (too_wide, "128 units"),
        (too_many_weights, "32768"),
        (too_steep, "too large for 32-bit fixed point"),
    ],
)
def test_what_cannot_become_c_is_refused(
    make: Callable[[Path], str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = make(tmp_path)
    code = main(["export", policy, "--format", "kernel-c", "--output", str(tmp_path / "c")])
    error = capsys.readouterr().err
    assert (code, error.count("\n"), reason in error) == (2, 1, True), error
    assert not (tmp_path / "c").exists()


def test_export_leaves_an_occupied_folder_alone(tmp_path: Path) -> None:
    folder = one_export(tmp_path)
    before = {path.name: path.read_text() for path in folder.iterdir()}
    with pytest.raises(ConfigError, match="already exists"):
        export_policy(str(tmp_path / "bundle"), "kernel-c", folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


def test_ranges_that_are_no_whole_numbers_are_refused() -> None:
    fields = DAEMON.model_dump(mode="json")
    fields["tunables"]["scan_period"]["min"] = "100.5ms"
    with pytest.raises(ConfigError, match=r"scan_period_ms: min=100\.5: must be a whole number"):
        IntegerPolicy(network(), AccessedBitDaemon.model_validate(json.loads(json.dumps(fields))))
