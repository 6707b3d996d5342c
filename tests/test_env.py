"""The single environment."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import stable_baselines3.common.env_checker
from gymnasium.utils.env_checker import check_env

import tierenv  # noqa: F401  registers the environment
from tests.tiny import tiny
from tierenv.daemon import load_daemon
from tierenv.env import TieredMemoryEnv
from tierenv.errors import ConfigError
from tierenv.records import packaged
from tierenv.task import INFO_KEYS, MODELLED_INFO_KEYS, resolve_scenarios, simulated_task
from tierenv.wrappers import MENU, DiscreteMenu, MultiplicativeAction

ENV_ID = "tierenv/TieredMemory-v1"
NOTHING = np.zeros(3, dtype=np.float32)


def run_episode(env: gymnasium.Env[Any, Any], action: Any = NOTHING) -> list[tuple[Any, ...]]:
    """Returns what step returned until the episode's end."""
    steps = [env.step(action)]
    while not (steps[-1][2] or steps[-1][3]):
        steps.append(env.step(action))
    return steps


@pytest.mark.parametrize("scenario", sorted(packaged("scenarios")))
def test_gymnasium_finds_no_fault(scenario: str) -> None:
    env = gymnasium.make(ENV_ID, scenario=scenario, disable_env_checker=True)
    check_env(env.unwrapped)


@pytest.mark.parametrize("scenario", sorted(packaged("scenarios")))
def test_stable_baselines3_finds_no_fault(scenario: str) -> None:
    stable_baselines3.common.env_checker.check_env(TieredMemoryEnv(scenario))


def test_make_gives_a_serialisable_specification() -> None:
    env = gymnasium.make(ENV_ID, scenario="abench-8g", shaping_gamma=0.99, daemon="kmmscand-tunable")
    env.reset(seed=1)
    assert env.spec is not None
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert json.loads(env.spec.to_json())["kwargs"]["scenario"] == "abench-8g"
    np.testing.assert_array_equal(env.reset(seed=3)[0], again.reset(seed=3)[0])


def test_seed_determines_the_episode() -> None:
    env = TieredMemoryEnv(tiny())
    runs = []
    for seed in (5, 5, 6):
        env.reset(seed=seed)
        runs.append([step[4]["promoted_pages"] for step in run_episode(env)])
    assert runs[0] == runs[1] != runs[2]


def test_episodes_of_one_seed_differ_from_each_other() -> None:
    env = TieredMemoryEnv(tiny())
    env.reset(seed=5)
    first = run_episode(env)[-1][4]
    env.reset()
    assert run_episode(env)[-1][4] != first


def test_episode_ends_when_the_work_is_done_within_an_interval() -> None:
    env = TieredMemoryEnv(tiny())
    env.reset(seed=1)
    *before, (_, reward, terminated, truncated, info) = run_episode(env)
    assert terminated and not truncated and info["work_done"] == pytest.approx(1)
    assert all(step[1] == pytest.approx(-0.2 / info["reference_s"]) for step in before)
    last_s = info["elapsed_s"] - before[-1][4]["elapsed_s"]
    assert 0 < last_s < 0.2
    assert reward == pytest.approx(-last_s / info["reference_s"])


def test_no_episode_is_faster_than_with_all_memory_fast() -> None:
    env, rng = TieredMemoryEnv(tiny()), np.random.default_rng(0)
    for seed in range(40):
        env.reset(seed=seed)
        is_over = False
        while not is_over:
            _, _, terminated, truncated, info = env.step(rng.uniform(-1, 1, 3).astype(np.float32))
            is_over = terminated or truncated
        assert info["elapsed_s"] > info["reference_s"]


def test_episode_is_truncated_at_a_multiple_of_the_reference_time() -> None:
    env = TieredMemoryEnv(tiny(), max_time_multiple=0.5)
    env.reset(seed=1)
    *before, (_, _, terminated, truncated, info) = run_episode(env)
    assert truncated and not terminated
    limit_s = 0.5 * info["reference_s"]
    assert before[-1][4]["elapsed_s"] < limit_s <= info["elapsed_s"]


def test_truncation_counts_simulated_time_not_steps() -> None:
    lengths_s = []
    for interval in ("100ms", "300ms"):
        env = TieredMemoryEnv(tiny(control_interval=interval), max_time_multiple=0.5)
        env.reset(seed=1)
        lengths_s.append(run_episode(env)[-1][4]["elapsed_s"])
    assert abs(lengths_s[0] - lengths_s[1]) < 0.3


def test_info_has_the_documented_keys_after_reset_and_step() -> None:
    env = TieredMemoryEnv(tiny())
    _, at_reset = env.reset(seed=1)
    after_step = env.step(NOTHING)[4]
    in_force = {"scan_period_ms", "scan_size_bytes", "throttle_bytes_per_s"}
    assert set(at_reset) == set(after_step) == set(INFO_KEYS) | set(MODELLED_INFO_KEYS) | in_force
    assert all(type(value) in (int, float) for value in (at_reset | after_step).values())
    assert at_reset["elapsed_s"] == 0 and at_reset["promoted_pages"] == 0


def test_what_a_policy_sets_is_in_force_and_seen() -> None:
    env = TieredMemoryEnv(tiny())
    env.reset(seed=1)
    names = [feature.name for feature in env.task.encoder.features]
    observation, _, _, _, info = env.step(np.array([0.5, -0.5, 0.25], dtype=np.float32))
    seen = observation[[names.index(name) for name in ("scan_period", "scan_size", "throttle")]]
    np.testing.assert_allclose(seen, [0.5, -0.5, 0.25], atol=1e-3)
    assert info["scan_period_ms"] == pytest.approx(env.task.codec.decode([0.5, -0.5, 0.25])[0], rel=1e-3)


@pytest.mark.parametrize(
    ("control", "daemon"), [("kernel-rule", "kmmscand-tunable"), ("kernel-rule", "kmmscand-v1"), ("off", None)]
)
def test_action_is_not_looked_at_unless_the_caller_controls(control: Any, daemon: str | None) -> None:
    ends = []
    for action in (NOTHING, np.full(3, np.nan)):
        env = TieredMemoryEnv(tiny(), control=control, daemon=daemon)
        env.reset(seed=1)
        ends.append(run_episode(env, action)[-1][4])
    assert ends[0] == ends[1]


def test_a_daemon_without_tunables_leaves_nothing_to_act_on_and_promotes_all_the_same() -> None:
    env = TieredMemoryEnv(tiny(), daemon="numab2", control="kernel-rule")
    assert env.action_space.shape == (0,)
    observation, at_reset = env.reset(seed=1)
    assert observation in env.observation_space
    *_, (observation, _, terminated, _, at_end) = run_episode(env, np.zeros(0, dtype=np.float32))
    assert terminated and observation in env.observation_space
    assert set(at_reset) == set(at_end) == set(INFO_KEYS) | set(MODELLED_INFO_KEYS)
    assert at_end["promoted_pages"] > 0


def test_off_promotes_nothing() -> None:
    env = TieredMemoryEnv(tiny(), control="off")
    env.reset(seed=1)
    assert run_episode(env)[-1][4]["promoted_pages"] == 0


def test_held_out_phase_orders_do_not_occur_in_training() -> None:
    orders: dict[str, set[tuple[str, ...]]] = {"training": set(), "held-out": set()}
    for split, seen in orders.items():
        env = TieredMemoryEnv(tiny(), phase_orders=split)  # type: ignore[arg-type]
        for seed in range(50):
            env.reset(seed=seed)
            seen.add(tuple(env.task.system.phase_names(0)))
    assert len(orders["training"]) > 10 and len(orders["held-out"]) > 5
    assert not orders["training"] & orders["held-out"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scenario": "movin-hot-set"}, "did you mean 'moving-hot-set'"),
        ({"daemon": "kmmscand-v9"}, "kmmscand-v1"),
        ({"daemon": "kmmscand-v1"}, "control='tunables' needs tunables that can be written at run time"),
        ({"control": "on"}, "control"),
        ({"phase_orders": "test"}, "'training' or 'held-out'"),
        ({"shaping_gamma": 1.5}, "shaping_gamma=1.5"),
        ({"max_time_multiple": 0.0}, "max_time_multiple=0.0"),
        ({"render_mode": "human"}, "ansi, rgb_array"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        TieredMemoryEnv(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "1", [1]])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    env = TieredMemoryEnv(tiny())
    with pytest.raises(ConfigError, match="^seed=.*: must be a whole number of at least 0$"):
        env.reset(seed=seed)
    env.reset(seed=2**200)


@pytest.mark.parametrize("wrapper", [TieredMemoryEnv, lambda scenario: MultiplicativeAction(TieredMemoryEnv(scenario))])
def test_an_action_of_another_shape_or_beyond_rounding_is_refused(wrapper: Any) -> None:
    env = wrapper(tiny())
    env.reset(seed=1)
    for shape in ((1, 3), (2,), (4,), (), (3, 1)):
        with pytest.raises(ConfigError) as caught:
            env.step(np.zeros(shape, dtype=np.float32))
        assert str(caught.value) == f"action: must have shape (3,), got {shape}"
    for bad in (np.full(3, np.nan), np.full(3, 1.001), ["0", "0", "0"], [None] * 3):
        with pytest.raises(ConfigError, match=r"^actions: must .*\[-1, 1\]"):
            env.step(bad)
    assert env.step(np.full(3, 1.0000001))[4]["elapsed_s"] == pytest.approx(0.2)


@pytest.mark.parametrize("choice", [-1, len(MENU), 1.0, np.nan, True, "1", None, [1]])
def test_what_is_not_on_the_menu_is_refused(choice: Any) -> None:
    env = DiscreteMenu(TieredMemoryEnv(tiny()))
    env.reset(seed=1)
    with pytest.raises(ConfigError, match="^choice"):
        env.step(choice)


def test_stepping_without_an_episode_is_refused() -> None:
    env = TieredMemoryEnv(tiny())
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(NOTHING)
    env.reset(seed=1)
    run_episode(env)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(NOTHING)


def test_returned_arrays_are_the_callers() -> None:
    env, control = TieredMemoryEnv(tiny()), TieredMemoryEnv(tiny())
    env.reset(seed=1)[0][:] = np.nan
    control.reset(seed=1)
    for _ in range(5):
        observation = env.step(NOTHING)[0]
        np.testing.assert_array_equal(observation, control.step(NOTHING)[0])
        observation[:] = np.nan


def test_finished_machines_of_a_task_stand_still() -> None:
    task = simulated_task([tiny(), tiny(size="256MiB")])
    task.reset(np.array([1, 2], dtype=np.uint64))
    while not (outcome := task.step(np.zeros((2, 3)))).terminated.all():
        pass
    again = task.step(np.zeros((2, 3)))
    assert again.terminated.all() and (again.reward == 0).all()
    np.testing.assert_array_equal(again.info["elapsed_s"], outcome.info["elapsed_s"])


def test_scenarios_repeat_over_the_machines() -> None:
    names = [scenario.name for scenario in resolve_scenarios(["abench-8g", "skewed"], 5)]
    assert names == ["abench-8g", "skewed", "abench-8g", "skewed", "abench-8g"]


def test_menu_offers_distinct_allowed_settings() -> None:
    env = DiscreteMenu(TieredMemoryEnv(tiny()))
    env.reset(seed=1)
    assert env.step(env.action_space.sample())[4]["elapsed_s"] > 0
    actions = [env.action(np.int64(choice)) for choice in range(len(MENU))]
    settings = env.unwrapped.task.codec.decode(actions)  # type: ignore[attr-defined]
    assert len(np.unique(settings, axis=0)) == len(MENU) == env.action_space.n == 13
    assert settings[list(MENU).index("pause"), 2] == 0


def test_a_menu_of_nothing_is_refused() -> None:
    scenario = tiny().replace(daemon=load_daemon("numab2"), control="kernel-rule", numa_balancing_mode=None)
    with pytest.raises(ConfigError, match="DiscreteMenu: daemon numab2 has no tunables"):
        DiscreteMenu(TieredMemoryEnv(scenario))


def test_multiplicative_action_doubles_and_halves_the_tunables_in_force() -> None:
    env = MultiplicativeAction(TieredMemoryEnv(tiny()))
    assert env.action_space == env.unwrapped.action_space
    env.reset(seed=1)
    env.unwrapped.step(NOTHING)
    before = env.step(NOTHING)[4]
    after = env.step(np.array([1, -1, -0.5], dtype=np.float32))[4]
    assert after["scan_period_ms"] == pytest.approx(2 * before["scan_period_ms"], rel=1e-2)
    assert after["scan_size_bytes"] == pytest.approx(before["scan_size_bytes"] / 2, rel=1e-4)
    assert after["throttle_bytes_per_s"] == pytest.approx(before["throttle_bytes_per_s"] / 2**0.5, rel=1e-4)


def test_multiplicative_action_enters_and_leaves_off_and_unlimited() -> None:
    env = MultiplicativeAction(TieredMemoryEnv(tiny()), max_factor=64)
    env.reset(seed=1)
    throttles = []
    for direction in (-1, -1, -1, -1, 1, 1, 1, 1, -1):
        action = np.array([0, 0, direction], dtype=np.float32)
        throttles.append(env.step(action)[4]["throttle_bytes_per_s"])
    assert 0 in throttles and np.inf in throttles
    assert throttles[3] == 0 < throttles[4] < throttles[6] and throttles[7] == np.inf > throttles[8] > 0


def test_a_daemon_may_be_a_record() -> None:
    by_name, by_record = (
        TieredMemoryEnv(tiny(), daemon=daemon, control="kernel-rule") for daemon in ("numab2", load_daemon("numab2"))
    )
    assert by_name.scenario == by_record.scenario != tiny()
    with pytest.raises(ConfigError, match="^daemon=3: must be the name of a daemon, a path or a daemon$"):
        TieredMemoryEnv(tiny(), daemon=3)  # type: ignore[arg-type]


def test_importing_the_environment_does_not_load_the_simulator(tmp_path: Path) -> None:
    code = "import sys, tierenv.env, tierenv.vector_env; print({'numba', 'matplotlib'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stderr
