"""Copies of records, environments and systems, by pickle, by deepcopy or in another process, go on as the original."""

import copy
import hashlib
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import tierenv  # noqa: F401  registers the environment
from tests.tiny import tiny
from tierenv.daemon import load_daemon
from tierenv.env import TieredMemoryEnv
from tierenv.platform import Platform
from tierenv.records import load_record, packaged
from tierenv.scenario import Scenario, load_scenario
from tierenv.shrink import shrink
from tierenv.sim import threads
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.sim.pages.system import PagesSystem
from tierenv.system import System
from tierenv.task import TieredMemoryTask
from tierenv.train.config import load_suite, load_training_config
from tierenv.vector_env import TieredMemoryVectorEnv
from tierenv.workload import Workload

ROOT = Path(__file__).resolve().parent.parent
CROWDED = tiny(
    count=2,
    corunners=[
        {"workload": "skewed", "size": "128MiB", "count": 3, "lifetime": "endless"},
        {"workload": "abench", "size": "128MiB", "start": "1s"},
    ],
)
"""Several processes, some of which come later."""


def on_another_scenario() -> TieredMemoryEnv:
    env = TieredMemoryEnv(tiny("skewed", regions=9))
    env.reset(seed=8, options={"scenario": tiny(), "phase_orders": "held-out"})
    return env


COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda each: pickle.loads(pickle.dumps(each)),
    "deepcopy": copy.deepcopy,
}
SINGLE: dict[str, Callable[[], Any]] = {
    "plain": lambda: TieredMemoryEnv(tiny()),
    "shaped, with a picture": lambda: TieredMemoryEnv(tiny(), shaping_gamma=0.9, render_mode="ansi"),
    "two processes": lambda: TieredMemoryEnv(tiny(corunners=[{"workload": "abench", "size": "256MiB", "start": "1s"}])),
    "beside NUMA balancing": lambda: TieredMemoryEnv(tiny(numa_balancing_mode=1)),
    "NUMA balancing of several": lambda: TieredMemoryEnv(CROWDED, daemon="numa-balancing"),
    "another scenario than it was made with": lambda: on_another_scenario(),
    "made": lambda: gymnasium.make("tierenv/TieredMemory-v1", scenario="abench-8g"),
}
VECTOR: dict[str, Callable[[], Any]] = {
    mode: lambda mode=mode: TieredMemoryVectorEnv(3, [tiny(), tiny("skewed")], autoreset_mode=mode, render_mode="ansi")
    for mode in ("NextStep", "SameStep")
}
SMALL = shrink(tiny(), 2048)
SYSTEMS: dict[str, Callable[[Scenario], System]] = {
    "lumped": lambda scenario: LumpedSystem([scenario]),
    "pages": PagesSystem,
}


def actions_for(env: Any, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.uniform(-1, 1, env.action_space.shape).astype(np.float32) for _ in range(count)]


def assert_same(one: Any, other: Any) -> None:
    """Two results are the same to the last bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_same(value, other[key])
    elif isinstance(one, tuple) or (isinstance(one, np.ndarray) and one.dtype.hasobject):
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    else:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("way", COPIES)
def test_records_of_every_kind_are_copied(way: str) -> None:
    records: list[Any] = [load_record("platforms", Platform, name) for name in packaged("platforms")]
    records += [load_record("workloads", Workload, name) for name in packaged("workloads")]
    records += [load_daemon(name) for name in packaged("daemons")]
    records += [load_scenario(name) for name in packaged("scenarios")]
    records += [load_suite(name) for name in packaged("suites")]
    records += [load_training_config(name) for name in packaged("algorithms")]
    for record in records:
        assert record.identity == COPIES[way](record).identity
        assert record == COPIES[way](record)


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("make", [*SINGLE.values(), *VECTOR.values()], ids=[*SINGLE, *VECTOR])
def test_a_copy_in_mid_episode_goes_on_as_the_original(make: Callable[[], Any], way: str) -> None:
    env = make()
    actions = actions_for(env, 45)
    env.reset(seed=3)
    env.action_space.seed(4)
    for action in actions[:7]:
        env.step(action)
    other = COPIES[way](env)
    is_vector = isinstance(env, gymnasium.vector.VectorEnv)
    for action in actions[7:] if is_vector else actions[7:20]:
        assert_same(env.step(action), other.step(action))
    if env.render_mode is not None:
        assert_same(env.render(), other.render())
    assert_same(env.reset(), other.reset())
    assert_same(env.action_space.sample(), other.action_space.sample())
    assert_same(env.step(actions[0]), other.step(actions[0]))


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_copy_and_its_original_are_two_machines(name: str, way: str) -> None:
    def play(task: TieredMemoryTask) -> list[np.ndarray]:
        steps = [task.step(np.full((1, 3), 0.2)).observation for _ in range(4)]
        return [*steps, task.reset(np.array([5], np.uint64))[0], *(task.step(np.zeros((1, 3)))[0] for _ in range(3))]

    task = TieredMemoryTask(SYSTEMS[name](SMALL), control_interval_s=SMALL.control_interval)
    task.reset(np.array([1], np.uint64))
    task.step(np.zeros((1, 3)))
    other = COPIES[way](task)
    np.testing.assert_array_equal(play(task), play(other))


def play_on(env: Any) -> tuple[Any, ...]:
    """What the environment gives for its next steps, in whichever process."""
    return tuple(env.step(action) for action in actions_for(env, 5))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_go_on_with_environments_that_have_been_used(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "WORTH_SHARING_S", 0.0)  # the pool of threads is in use
    envs = [TieredMemoryVectorEnv(4, tiny()), TieredMemoryEnv(tiny())]
    for env in envs:
        env.reset(seed=1)
        play_on(env)
    with multiprocessing.get_context(method).Pool(2) as pool:
        theirs = pool.map_async(play_on, envs).get(timeout=120)
        sizes = pool.map_async(str, [tiny()]).get(timeout=120)
    assert_same(tuple(theirs), tuple(play_on(env) for env in envs))
    assert sizes == [str(tiny())]


def digest_of(env: Any, count: int) -> str:
    """Hash of all that an environment gives for its next steps, through resets."""
    found = hashlib.sha256()

    def take_in(value: Any) -> None:
        if isinstance(value, dict):
            for key in sorted(value):
                take_in(value[key])
        elif isinstance(value, tuple) or (isinstance(value, np.ndarray) and value.dtype.hasobject):
            for each in value:
                take_in(each)
        else:
            found.update(repr(value).encode() if value is None else np.asarray(value).tobytes())

    for action in actions_for(env, count):
        result = env.step(action)
        take_in(result)
        if not isinstance(env, gymnasium.vector.VectorEnv) and (result[2] or result[3]):
            take_in(env.reset())
    return found.hexdigest()


RESTORED = """
import pickle, sys
from tests.test_copies import digest_of
from tierenv.sim import threads
threads.set_num_threads(int(sys.argv[2]))
threads.WORTH_SHARING_S = 0.0
with open(sys.argv[1], "rb") as file:
    print(*(digest_of(env, 60) for env in pickle.load(file)))
"""


def test_a_fresh_interpreter_goes_on_from_a_file_at_any_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [make() for make in SINGLE.values()] + [make() for make in VECTOR.values()]
    made.append(TieredMemoryVectorEnv(4, CROWDED, daemon="numa-balancing", autoreset_mode="SameStep"))
    for env in made:
        env.reset(seed=3)
        for action in actions_for(env, 11):
            env.step(action)
    (tmp_path / "state.pickle").write_bytes(pickle.dumps(made))
    monkeypatch.setattr(threads, "_num_threads", 1)
    expected = [digest_of(env, 60) for env in made]
    assert len(set(expected)) == len(made)
    command = [sys.executable, "-c", RESTORED, str(tmp_path / "state.pickle"), "3"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.stdout.split() == expected, result.stderr
