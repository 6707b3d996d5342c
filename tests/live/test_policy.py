"""Decisions in plain Python: those of the integers that the exported C has, bit for bit."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.live.hosts import DAEMON, network, tables, tree
from tests.tools import needs
from tierenv.agents.compiled import CompiledPolicy
from tierenv.agents.export import export_policy
from tierenv.agents.integer.interface import Interface
from tierenv.agents.integer.policy import IntegerPolicy
from tierenv.agents.network import Network
from tierenv.agents.tree import DecisionTree
from tierenv.live import arithmetic
from tierenv.live.policy import Policy

INTERFACE = Interface(DAEMON)
NUM_MACHINES, NUM_STEPS = 100, 100
MODELS: dict[str, Callable[[], Network | DecisionTree]] = {
    "tanh-64x64": lambda: network(64, 64),
    "relu-24": lambda: network(24, activation="relu"),
    "linear": lambda: network(),
    "relu-24-tanh": lambda: replace(network(24, activation="relu"), output="tanh"),
    "menu": lambda: menu(),
    "tree": lambda: tree(),
}


def menu() -> Network:
    """A choice of as many settings as the last layer has outputs."""
    model, rng = network(24), np.random.default_rng(5)
    choices = len(model.biases[-1])
    return replace(model, output="menu", menu=rng.uniform(-1, 1, (choices, len(DAEMON.tunables))).astype(np.float32))


def any_samples(count: int, seed: int) -> NDArray[np.void]:
    """Numbers of every magnitude and sign, an eighth of them corners of their types and of the ranges."""
    rng = np.random.default_rng(seed)
    samples = np.zeros(count, INTERFACE.sample)
    edges = [int(edge) + step for row in DAEMON.tunables.values() for edge in (row.min, row.max) for step in (-1, 0, 1)]
    counted = [samples[name] for name in INTERFACE.sample.names or () if name != "in_force"]
    for column in counted + [samples["in_force"][name] for name in INTERFACE.setting.names or ()]:
        limits = np.iinfo(column.dtype)
        corners = [0, 1, 2, -1, limits.max, limits.min, *edges]
        allowed = np.array([corner for corner in corners if limits.min <= corner <= limits.max], column.dtype)
        magnitudes = np.exp2(rng.uniform(0, math.log2(float(limits.max)) - 1e-3, count)).astype(column.dtype)
        column[:] = np.where(rng.random(count) < 1 / 8, rng.choice(allowed, count), magnitudes)
    return samples


def plain(sample: np.void) -> dict[str, int]:
    """The sample as the controller has it."""
    names = [name for name in INTERFACE.sample.names or () if name != "in_force"]
    in_force = {name: int(sample["in_force"][name]) for name in INTERFACE.setting.names or ()}
    return {name: int(sample[name]) for name in names} | in_force


@needs("gcc")
@pytest.mark.parametrize("name", MODELS)
def test_decisions_equal_those_of_kernel_c_and_its_reference_bit_for_bit(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    content, integers = tables(tmp_path / "bundle", model), IntegerPolicy(model, DAEMON)
    policies, state = [Policy(content) for _ in range(NUM_MACHINES)], integers.interface.initial_state(NUM_MACHINES)
    export_policy(str(tmp_path / "bundle"), "kernel-c", tmp_path / "c")
    compiled = CompiledPolicy(tmp_path / "c", INTERFACE)
    state_of_c = compiled.initial_state(NUM_MACHINES)
    samples = any_samples(NUM_MACHINES * NUM_STEPS, seed=1).reshape(NUM_STEPS, NUM_MACHINES)
    differing = set()
    for step in samples:
        settings = integers.decide(step, state)
        np.testing.assert_array_equal(compiled.decide(step, state_of_c), settings)
        expected = [{name: int(setting[name]) for name in INTERFACE.setting.names or ()} for setting in settings]
        assert [policy.decide(plain(sample)) for policy, sample in zip(policies, step, strict=True)] == expected
        differing |= {tuple(setting.values()) for setting in expected}
    assert len(differing) > 1


def test_a_policy_that_forgets_decides_as_at_first(tmp_path: Path) -> None:
    policy = Policy(tables(tmp_path / "bundle", network(16)))
    first, second = (plain(sample) for sample in any_samples(2, seed=2))
    alone = policy.decide(first)
    policy.decide(second)
    assert policy.decide(first) != alone  # the past counts
    policy.forget()
    assert policy.decide(first) == alone


@pytest.mark.parametrize(
    ("table", "exact"),
    [
        (arithmetic.LOG2_TABLE, lambda step: math.log2(1 + step / 256) * arithmetic.LOG_ONE),
        (arithmetic.EXP2_TABLE, lambda step: 2 ** (step / 256) * 2**30),
        (arithmetic.TANH_TABLE, lambda step: math.tanh(step / 128) * arithmetic.ONE),
    ],
    ids=["log2", "exp2", "tanh"],
)
def test_no_mathematics_library_rounds_a_table_otherwise(table: tuple[int, ...], exact: Callable[[int], float]) -> None:
    for step, entry in enumerate(table):
        ulp = math.ulp(exact(step))
        assert abs(abs(exact(step) - entry) - 0.5) > 4 * ulp, step


def test_tables_of_another_schema_are_refused(tmp_path: Path) -> None:
    content = tables(tmp_path / "bundle", tree())
    with pytest.raises(ValueError, match="tables of schema 1: this controller reads 2"):
        Policy(content | {"schema": 1})
