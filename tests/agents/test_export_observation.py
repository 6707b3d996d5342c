"""A policy that observes a past and the machine: through bundle, integers, C, module, controller, rules and ONNX."""

import json
import math
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.agents.test_bundle import edit
from tests.tiny import tiny
from tests.tools import needs
from tierenv.agents.bundle import BundlePolicy, TrainedOn, write_bundle
from tierenv.agents.compiled import KERNEL_FLAGS, CompiledActor, CompiledPolicy
from tierenv.agents.export import export_policy
from tierenv.agents.export.controller import tables_of
from tierenv.agents.export.learned_source import learned_source
from tierenv.agents.export.onnx import metadata
from tierenv.agents.integer.interface import Interface
from tierenv.agents.integer.policy import IntegerPolicy
from tierenv.agents.network import Network
from tierenv.agents.policies import load_policy
from tierenv.agents.tree import LEAF, DecisionTree
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.features import FEATURES, TIER_FACTS, feature_columns
from tierenv.live.arithmetic import ONE
from tierenv.live.facts import FACTS
from tierenv.live.policy import Policy
from tierenv.observation_spec import observation_rows
from tierenv.train.distil import distil
from tierenv.train.episodes import run_episodes
from tierenv.train.evaluate import evaluate, evaluation_task
from tierenv.train.run_dir import to_yaml
from tierenv.train.studies.kernel_c import SampleRecorder, action_errors

DAEMONS = {name: load_daemon(name) for name in ("kmmscand-tunable", "numa-balancing")}
OBSERVATION = {
    "stack": 4,
    "averages": [4, 16],
    "overrides": {"resident": {"stack": 2}},
    "machine": [row.name for row in FEATURES.values() if row.is_of_machine],
}
MACHINES, STEPS = 40, 12


def columns(daemon: str) -> list[str]:
    return [column.name for column in feature_columns(observation_rows(OBSERVATION, DAEMONS[daemon]))]


def network(daemon: str) -> Network:
    rng = np.random.default_rng(0)
    layers = (len(columns(daemon)), 24, len(DAEMONS[daemon].tunables))
    return Network(
        weights=tuple(
            rng.normal(0, 1.5 / math.sqrt(n), (m, n)).astype(np.float32)
            for n, m in zip(layers, layers[1:], strict=False)
        ),
        biases=tuple(rng.normal(0, 0.3, size).astype(np.float32) for size in layers[1:]),
        activation="tanh",
    )


def tree(daemon: str, column: str = "") -> DecisionTree:
    """Told apart by how a feature was a while ago."""
    names = columns(daemon)
    split = names.index(column or ("accessed_slow_3_ago" if daemon == "kmmscand-tunable" else "faulted_average_16"))
    value = np.zeros((3, len(DAEMONS[daemon].tunables)), np.float32)
    value[1], value[2] = 0.5, -0.5
    return DecisionTree(
        num_features=len(names),
        feature=np.array([split, LEAF, LEAF], np.int32),
        threshold=np.array([-0.3, 0, 0], np.float32),
        left=np.array([1, LEAF, LEAF], np.int32),
        right=np.array([2, LEAF, LEAF], np.int32),
        value=value,
    )


MODELS: dict[str, Callable[[str], Network | DecisionTree]] = {"network": network, "tree": tree}


def bundle(folder: Path, daemon: str, model: Network | DecisionTree, **changes: Any) -> Path:
    """A bundle trained on the tiny scenario, which stands beside it."""
    fields = {"observation": OBSERVATION, "scenarios": [TrainedOn.of(tiny(daemon=DAEMONS[daemon]))]}
    write_bundle(folder, name="a-policy", model=model, daemon=DAEMONS[daemon], training={}, **fields | changes)
    return folder


def any_samples(interface: Interface, seed: int) -> NDArray[np.void]:
    """Numbers of every magnitude, an eighth of them corners: [steps, machines]."""
    rng = np.random.default_rng(seed)
    samples = np.zeros(STEPS * MACHINES, interface.sample)
    fields = [samples[name] for name in interface.sample.names or () if name != "in_force"]
    for column in fields + [samples["in_force"][name] for name in interface.setting.names or ()]:
        limits = np.iinfo(column.dtype)
        corners = np.array([0, 1, 2, limits.max, limits.min], column.dtype)
        magnitudes = np.exp2(rng.uniform(0, math.log2(float(limits.max)) - 1e-3, len(column))).astype(column.dtype)
        column[:] = np.where(rng.random(len(column)) < 1 / 8, rng.choice(corners, len(column)), magnitudes)
    return samples.reshape(STEPS, MACHINES)


@needs("gcc")
@pytest.mark.parametrize("daemon", DAEMONS)
@pytest.mark.parametrize("name", MODELS)
def test_c_and_controller_equal_the_integers_bit_for_bit_as_their_past_goes_on(
    name: str, daemon: str, tmp_path: Path
) -> None:
    model = MODELS[name](daemon)
    export_policy(str(bundle(tmp_path / "bundle", daemon, model)), "kernel-c", tmp_path / "c")
    integers = IntegerPolicy(model, DAEMONS[daemon], OBSERVATION)
    interface = integers.interface
    compiled = CompiledPolicy(tmp_path / "c", interface)
    state, of_c, again = (
        interface.initial_state(MACHINES),
        compiled.initial_state(MACHINES),
        compiled.initial_state(MACHINES),
    )
    seen = interface.initial_state(MACHINES)
    controllers: list[Policy] = []
    if daemon == "numa-balancing":
        tables = json.loads(json.dumps(tables_of("a-policy", learned_source(str(tmp_path / "bundle")))))
        controllers = [Policy(tables) for _ in range(MACHINES)]
        assert controllers[0].facts == list(FACTS)
    differing = set()
    for samples in any_samples(interface, seed=1):
        np.testing.assert_array_equal(compiled.observe(samples, again), interface.observe(samples, seen))
        settings = integers.decide(samples, state)
        np.testing.assert_array_equal(compiled.decide(samples, of_c), settings)
        plain = [{field: int(setting[field]) for field in interface.setting.names or ()} for setting in settings]
        for controller, sample, expected in zip(controllers, samples, plain, strict=False):
            assert controller.decide(as_controller(interface, sample)) == expected
        differing |= {tuple(setting.values()) for setting in plain}
    assert len(differing) > 1


def as_controller(interface: Interface, sample: np.void) -> dict[str, int]:
    names = [name for name in interface.sample.names or () if name != "in_force"]
    in_force = {name: int(sample["in_force"][name]) for name in interface.setting.names or ()}
    return {name: int(sample[name]) for name in names} | in_force


@needs("gcc")
def test_c_observes_what_the_model_shows_and_plays_as_well(tmp_path: Path) -> None:
    path = bundle(tmp_path / "bundle", "kmmscand-tunable", network("kmmscand-tunable"))
    export_policy(str(path), "kernel-c", tmp_path / "c")
    scenario, source = tiny(), learned_source(str(path))
    policy = load_policy(str(path), scenario)
    compiled = CompiledPolicy(tmp_path / "c", Interface(source.daemon, source.observation))
    task = evaluation_task(policy, scenario, 4)
    recorded = SampleRecorder(policy, task.system, compiled.interface)
    seconds = run_episodes(task, recorded, range(10_000, 10_004)).seconds
    assert action_errors(source.model, compiled, recorded).max() < 0.002
    state = compiled.initial_state(4)
    names = [column.name for column in compiled.interface.columns]
    for samples, observations in zip(recorded.samples, recorded.observations, strict=True):
        error = np.abs(compiled.observe(samples, state) / ONE - observations).max(axis=0)
        # the setting in force is a whole number of milliseconds in a kernel: half of one at 100 ms is 0.002
        allowed = [0.002 if name.startswith("scan_period") else 2e-5 for name in names]
        assert [name for name, off, most in zip(names, error, allowed, strict=True) if off > most] == []
    in_c = run_episodes(task, CompiledActor(compiled, task.system), range(10_000, 10_004)).seconds
    np.testing.assert_allclose(in_c, seconds, rtol=0.02)


@needs("gcc")
@pytest.mark.parametrize("name", MODELS)
def test_state_and_stack_are_as_the_header_says(name: str, tmp_path: Path) -> None:
    export_policy(
        str(bundle(tmp_path / "bundle", "kmmscand-tunable", MODELS[name]("kmmscand-tunable"))),
        "kernel-c",
        tmp_path / "c",
    )
    header = (tmp_path / "c" / "tierenv_policy.h").read_text()
    stack, state = (re.search(text, header) for text in (r"about (\d+) bytes of stack", r"decisions, (\d+) bytes"))
    assert stack is not None and state is not None
    compiled = CompiledPolicy(tmp_path / "c", Interface(DAEMONS["kmmscand-tunable"], OBSERVATION))
    assert compiled.initial_state(1).nbytes == int(state[1]) <= 4 * (1 + 128)
    command = ["gcc", *KERNEL_FLAGS, "-Wdeclaration-after-statement", "-Wshadow", f"-Wstack-usage={stack[1]}", "-c"]
    subprocess.run([*command, tmp_path / "c/tierenv_policy.c", "-o", tmp_path / "a.o"], check=True, timeout=60)


def test_an_observation_wider_than_c_takes_is_refused_and_a_bundle_of_it_plays(tmp_path: Path) -> None:
    wide = {"stack": 10}
    number = len(feature_columns(observation_rows(wide, DAEMONS["kmmscand-tunable"])))
    model = Network((np.zeros((3, number), np.float32),), (np.zeros(3, np.float32),), "tanh")
    path = bundle(tmp_path / "bundle", "kmmscand-tunable", model, observation=wide)
    with pytest.raises(ConfigError, match="observation: 140 columns, C takes 128; observe less"):
        export_policy(str(path), "kernel-c", tmp_path / "c")
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny().model_dump(mode="json")))
    assert len(evaluate(str(tmp_path / "tiny.yaml"), [str(path)], 2).rows) == 1


@pytest.mark.expensive
def test_a_tree_is_distilled_of_the_same_columns_and_reads_so(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny().model_dump(mode="json")))
    teacher = bundle(tmp_path / "teacher", "kmmscand-tunable", tree("kmmscand-tunable", "throttle_1_ago"))
    found = distil(str(teacher), 4, [str(tmp_path / "tiny.yaml")], 2, num_rounds=2, num_episodes=2)
    found.write(tmp_path / "tree", "distil")
    policy = BundlePolicy.load(tmp_path / "tree")
    assert policy.observation == BundlePolicy.load(teacher).observation
    export_policy(str(tmp_path / "tree"), "rules", tmp_path / "rules.txt")
    text = (tmp_path / "rules.txt").read_text()
    assert "if throttle_1_ago <= " in text and "now or steps ago" in text


def test_rules_have_the_units_of_the_machine(tmp_path: Path) -> None:
    for column, words in (
        ("latency_gap", "latency of the slow tier less that of the fast one [ns]"),
        ("fast_share", "[1]"),
    ):
        folder = tmp_path / column
        export_policy(
            str(bundle(folder, "kmmscand-tunable", tree("kmmscand-tunable", column))), "rules", folder / "rules"
        )
        text = (folder / "rules").read_text()
        threshold = FEATURES[column].scale.invert(float(np.float32(-0.3)))
        assert f"if {column} <= {threshold:.3g}:" in text and words in text


def test_onnx_says_which_columns_its_input_has(tmp_path: Path) -> None:
    told = metadata(learned_source(str(bundle(tmp_path / "bundle", "kmmscand-tunable", tree("kmmscand-tunable")))))
    assert json.loads(told["columns"]) == columns("kmmscand-tunable")
    assert {"kind": "stack", "length": 4} in [row["history"] for row in json.loads(told["features"])]


def test_a_module_is_told_of_the_machine_by_its_parameters(tmp_path: Path) -> None:
    folder = tmp_path / "tierd"
    export_policy(str(bundle(tmp_path / "bundle", "kmmscand-tunable", tree("kmmscand-tunable"))), "daemon", folder)
    learned, header = (folder / "learned.c").read_text(), (folder / "tierenv_policy.h").read_text()
    [sample] = re.findall(r"^struct tierenv_sample {\n(.*?)^};", header, re.M | re.S)
    assert set(re.findall(r"sample->(\w+) =", learned)) == set(re.findall(r"int64_t (\w+);", sample))
    facts = [fact.symbol for fact in TIER_FACTS]
    assert re.findall(r"module_param\((\w+), uint", learned) == facts
    assert re.findall(r'{ "(\w+)", &(\w+) }', learned) == [(fact, fact) for fact in facts]
    export_policy("moving-hot-set", "daemon", tmp_path / "plain")
    assert "module_param" not in (tmp_path / "plain/learned.c").read_text()


def test_facts_of_a_running_machine_are_those_of_the_model() -> None:
    assert [fact.symbol for fact in TIER_FACTS] == list(FACTS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows[0]["history"].update(length=10**9), "feature accessed_slow: history: .* must be 2 to 256"),
        (lambda rows: rows[0]["history"].update(kind="average", length=3), "history: average over 3 steps"),
        (lambda rows: rows[0]["history"].update(kind="fourier"), "history: must be of the form"),
        (lambda rows: rows[0]["history"].update(length=True), "history: must be of the form"),
        (lambda rows: rows[0].update(history=[4]), "history: must be of the form"),
        (lambda rows: rows[0].pop("history"), "history: must be of the form"),
        (lambda rows: rows[1].update(name="idleness"), "feature idleness: defined otherwise"),
        (lambda rows: rows[1].update(name=["idle"]), "defined otherwise"),
        (lambda rows: rows.append(rows[0]), "columns accessed_slow, accessed_slow_1_ago.*: each may be there once"),
        (lambda rows: rows[-1].update(unit="furlongs"), "feature bandwidth_ratio: defined otherwise"),
        (lambda rows: rows.clear(), "observation: has 0 columns"),
        (lambda rows: rows.extend([rows[0]] * 2000), "rows: must have 1 to 1024"),
        (
            lambda rows: [row["history"].update(kind="stack", length=256) for row in rows[:5]],
            "columns: must have 1 to 1024",
        ),
    ],
)
def test_a_bundle_that_observes_what_cannot_be_is_refused(
    change: Callable[[list[dict[str, Any]]], object], reason: str, tmp_path: Path
) -> None:
    path = bundle(tmp_path / "bundle", "kmmscand-tunable", tree("kmmscand-tunable"))
    edit(path, lambda content: change(content["observation"]))
    with pytest.raises(ConfigError, match=reason) as raised:
        load_policy(str(path), tiny())
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 1000


def test_columns_keep_the_order_of_the_bundle(tmp_path: Path) -> None:
    backwards = observation_rows(OBSERVATION, DAEMONS["kmmscand-tunable"])[::-1]
    model = tree("kmmscand-tunable")
    policy = BundlePolicy.load(bundle(tmp_path / "bundle", "kmmscand-tunable", model, observation=backwards))
    assert policy.observation == backwards
