"""What reset(options=...) takes: the episode is that of an environment made so, and nobody else's is another."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

import tierenv  # noqa: F401  registers the environment
from tests.tiny import tiny
from tierenv.daemon import load_daemon
from tierenv.env import TieredMemoryEnv
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario
from tierenv.sim import threads
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.vector_env import TieredMemoryVectorEnv
from tierenv.wrappers import VectorMultiplicativeAction

SMALL = tiny(size="128MiB", fast_capacity="32MiB", regions=2)
LARGE = tiny("skewed", regions=64)
BUSY = tiny(
    numa_balancing_mode=1, corunners=[{"workload": "abench", "size": "128MiB", "count": 2, "lifetime": "endless"}]
)
FAR = tiny("moving-hot-set-far", remote_fast_capacity="64MiB", regions=7, objective={"access_time": {"percentile": 90}})
SCENARIOS = [SMALL, LARGE, BUSY, FAR]
"""In each other's place arrays have to become longer and shorter in every direction."""


def same(one: Any, other: Any) -> bool:
    """Whether two results, or all that two objects hold, are the same to the last bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray | np.void) and one.dtype.names:  # between whose fields may be anything
        return all(same(one[name], other[name]) for name in one.dtype.names)
    if isinstance(one, np.ndarray | np.generic | float):
        return np.asarray(one).tobytes() == np.asarray(other).tobytes()
    return same(vars(one), vars(other)) if type(one).__module__.startswith("tierenv.sim") else bool(one == other)


def action_of(step: int) -> np.ndarray:
    return np.random.default_rng(step).uniform(-1, 1, 3).astype(np.float32)


def steps_of(env: TieredMemoryEnv, count: int = 4) -> list[tuple[Any, ...]]:
    return [env.step(action_of(step)) for step in range(count)]


def test_the_episode_is_that_of_an_environment_made_with_the_scenario() -> None:
    env = TieredMemoryEnv(SMALL, max_time_multiple=1.2, render_mode="ansi")
    for seed, scenario in enumerate([*SCENARIOS, *reversed(SCENARIOS)]):
        fresh = TieredMemoryEnv(scenario, max_time_multiple=1.2, render_mode="ansi")
        assert same(env.reset(seed=seed, options={"scenario": scenario}), fresh.reset(seed=seed))
        assert env.scenario is scenario
        is_over = False
        while not is_over:
            own, other = env.step(action_of(seed)), fresh.step(action_of(seed))
            assert same(own, other) and env.render() == fresh.render()
            is_over = own[2] or own[3]


def test_a_shaped_reward_goes_on_with_another_scenario() -> None:
    batch = TieredMemoryVectorEnv(2, SMALL, shaping_gamma=0.9, autoreset_mode="Disabled")
    kept = TieredMemoryEnv(SMALL, shaping_gamma=0.9)
    batch.reset(seed=3)
    kept.reset(seed=3)
    for step in range(3):
        assert batch.step(np.tile(action_of(step), (2, 1)))[1][0] == kept.step(action_of(step))[1]
    batch.reset(seed=[None, 8], options={"reset_mask": np.array([False, True]), "scenario": BUSY})
    fresh = TieredMemoryEnv(BUSY, shaping_gamma=0.9)
    fresh.reset(seed=8)
    rewards = batch.step(np.tile(action_of(5), (2, 1)))[1]
    assert rewards.tolist() == [kept.step(action_of(5))[1], fresh.step(action_of(5))[1]]
    with pytest.raises(ConfigError, match="cannot be shaped"):
        batch.reset(options={"scenario": FAR})


def test_a_system_that_took_a_scenario_holds_what_one_made_with_it_does() -> None:
    for before in SCENARIOS:
        for after in SCENARIOS:
            changed, made = LumpedSystem([before]), LumpedSystem([after])
            for system in (changed, LumpedSystem([before])):
                system.reset(np.array([1], np.uint64), ["training"])
                system.advance(1.0)
            changed.change_scenarios({0: after})
            for each in (changed, made):
                del each._sharing
            assert same(vars(changed), vars(made))
            many, made_so = LumpedSystem([SMALL, before, FAR]), LumpedSystem([SMALL, after, FAR])
            many.change_scenarios({1: after})
            width = made_so.alone_s.shape[1]
            assert np.isinf(many.alone_s[:, width:]).all()
            many.alone_s = many.alone_s[:, :width]
            for each in (many, made_so):
                del each._sharing, each._machines
            assert same(vars(many), vars(made_so))


def test_what_was_given_holds_until_another_is() -> None:
    env = TieredMemoryEnv(SMALL)
    env.reset(seed=1)
    orders = set()
    env.reset(options={"scenario": FAR, "phase_orders": "held-out"})
    for _ in range(3):
        orders.add(tuple(env.task.system.phase_names(0)))
        env.reset()
    assert env.scenario is FAR
    held_out, training = TieredMemoryEnv(FAR, phase_orders="held-out"), TieredMemoryEnv(FAR)
    known = {split: set() for split in ("held-out", "training")}  # type: ignore[var-annotated]
    for seed in range(60):
        for split, other in (("held-out", held_out), ("training", training)):
            other.reset(seed=seed)
            known[split].add(tuple(other.task.system.phase_names(0)))
    assert orders <= known["held-out"] and not orders & known["training"]
    assert env.reset(options={})[1]["reference_s"] == held_out.reset()[1]["reference_s"]


MODES = ("NextStep", "SameStep", "Disabled")


@settings(max_examples=12)
@given(
    st.sampled_from(MODES),
    st.lists(
        st.tuples(
            st.lists(st.booleans(), min_size=3, max_size=3).filter(any),
            st.lists(st.sampled_from(SCENARIOS), min_size=1, max_size=3) | st.none(),
            st.lists(st.sampled_from(["training", "held-out"]), min_size=1, max_size=3) | st.none(),
            st.integers(1, 50),
        ),
        min_size=2,
        max_size=4,
    ),
)
def test_environments_of_a_batch_are_single_ones_whatever_is_given_to_which(mode: str, rounds: list[Any]) -> None:
    before, threads.WORTH_SHARING_S = threads.WORTH_SHARING_S, 0.0
    try:
        batch = TieredMemoryVectorEnv(3, [SMALL, LARGE], autoreset_mode=mode)
        singles = [TieredMemoryEnv(scenario) for scenario in (SMALL, LARGE, SMALL)]
        observation = batch.reset(seed=5)[0]
        assert same(list(observation), [env.reset(seed=5 + index)[0] for index, env in enumerate(singles)])
        for mask, scenarios, splits, steps in rounds:
            chosen = np.array(mask) | (batch._has_ended & (mode == "Disabled"))
            options: dict[str, Any] = {"reset_mask": chosen}
            options |= {} if scenarios is None else {"scenario": scenarios}
            options |= {} if splits is None else {"phase_orders": splits}
            observation = batch.reset(options=options)[0]
            for index in np.flatnonzero(chosen):
                own: dict[str, Any] = {} if scenarios is None else {"scenario": scenarios[index % len(scenarios)]}
                own |= {} if splits is None else {"phase_orders": splits[index % len(splits)]}
                assert same(observation[index], singles[index].reset(options=own)[0])
            for step in range(steps):
                if not play(batch, singles, step, mode):
                    break
        assert batch.scenarios == tuple(env.scenario for env in singles)
    finally:
        threads.WORTH_SHARING_S = before


def play(batch: TieredMemoryVectorEnv, singles: list[TieredMemoryEnv], step: int, mode: str) -> bool:
    """Steps a batch and single environments, which autoreset as it does. Returns whether it can be stepped again."""
    had_ended = batch._has_ended.copy()
    observation, reward, terminated, truncated, info = batch.step(np.tile(action_of(step), (3, 1)))
    for index, env in enumerate(singles):
        if had_ended[index]:  # of NEXT_STEP
            assert same(observation[index], env.reset()[0]) and reward[index] == 0
            continue
        own = env.step(action_of(step))
        assert (reward[index], terminated[index], truncated[index]) == own[1:4]
        if mode == "SameStep" and (own[2] or own[3]):
            assert same(info["final_obs"][index], own[0])
            assert same(observation[index], env.reset()[0])
        else:
            assert same(observation[index], own[0])
    return mode != "Disabled" or not (terminated | truncated).any()


def test_lists_are_kept_where_another_machine_needs_longer_ones() -> None:
    backlogged = tiny(regions=64)
    env, control = (TieredMemoryVectorEnv(2, [backlogged, SMALL]) for _ in range(2))
    found_all = np.tile(np.array([-1, 1, -0.45], np.float32), (2, 1))  # scans all, promotes little
    for each in (env, control):
        each.reset(seed=1)
        for _ in range(12):
            each.step(found_all)
    machines = env.task.system._machines
    before = machines.ring.shape[1]
    shift = before - int(machines.state["list_head"][0]) - 1  # as after a long episode: a list that begins at the end
    machines.ring[0] = np.roll(machines.ring[0], shift, axis=0)
    for end in ("list_head", "list_tail"):
        machines.state[end][0] += shift
    assert machines.state["list_tail"][0] > before > machines.state["list_head"][0]
    env.reset(options={"reset_mask": np.array([False, True]), "scenario": tiny(regions=512)})
    assert env.task.system._machines.ring.shape[1] > before
    env.task.system.audit()
    for _ in range(10):
        own, other = env.step(found_all), control.step(found_all)
        assert same(own[0][0], other[0][0]) and same(own[1][0], other[1][0])


@pytest.mark.parametrize("daemon", ["kmmscand-tunable", "numa-balancing"])
def test_environments_left_out_repeat_their_last(daemon: str) -> None:
    env = TieredMemoryVectorEnv(3, SMALL, daemon=daemon)
    env.reset(seed=1)
    for _ in range(3):
        observation, _, _, _, info = env.step(np.full(env.action_space.shape, 0.3, np.float32))
    after = env.reset(options={"reset_mask": np.array([False, True, False]), "scenario": LARGE})
    assert same(after[0][::2], observation[::2])
    assert same({key: values[::2] for key, values in after[1].items()}, {key: info[key][::2] for key in after[1]})
    assert after[1]["elapsed_s"][1] == 0


def test_daemon_and_control_of_the_environment_replace_the_scenarios() -> None:
    env = TieredMemoryEnv(SMALL, daemon="numa-balancing", control="kernel-rule")
    env.reset(seed=1, options={"scenario": LARGE})
    assert env.scenario.daemon == load_daemon("numa-balancing") and env.scenario.control == "kernel-rule"
    env.step(np.full(4, np.nan, np.float32))
    env = TieredMemoryEnv(SMALL)
    env.reset(seed=1, options={"scenario": LARGE.replace(control="off")})
    assert env.step(np.full(3, np.nan, np.float32))[4]["promoted_pages"] == 0
    env.reset(options={"scenario": SMALL})
    with pytest.raises(ConfigError, match=r"\[-1, 1\]"):
        env.step(np.full(3, np.nan, np.float32))


def test_names_and_paths_are_taken_and_wrappers_go_on() -> None:
    env = gymnasium.make("tierenv/TieredMemory-v1", scenario="abench-8g")
    env.reset(seed=1, options={"scenario": "abench-16g"})
    assert env.unwrapped.scenario.name == "abench-16g"  # type: ignore[attr-defined]
    assert env.spec is not None and env.spec.kwargs["scenario"] == "abench-8g"
    check_env(env.unwrapped)
    scaled = VectorMultiplicativeAction(TieredMemoryVectorEnv(2, SMALL))
    before = scaled.reset(seed=1, options={"scenario": [LARGE, FAR]})[1]["scan_size_bytes"]
    after = scaled.step(np.array([[0, 1, 0], [0, -1, 0]], dtype=np.float32))[4]["scan_size_bytes"]
    np.testing.assert_allclose(after, before * [2, 0.5], rtol=1e-4)


def other_range() -> Scenario:
    tunables = {"throttle": {"min": "1MiB/s", "max": "1GiB/s", "start": "256MiB/s"}}
    daemon = SMALL.daemon.model_dump() | {"name": "narrower"}
    return SMALL.replace(daemon=daemon | {"tunables": daemon["tunables"] | tunables})


OF_EITHER = [
    ({"seeed": 3}, "options: unknown key 'seeed'; allowed: "),
    ({"scenarios": SMALL}, "options: unknown key 'scenarios'; did you mean 'scenario'"),
    ({1: 2}, "options: unknown key 1; allowed: "),
    ([], r"options=\[\]: must be a mapping, which may hold "),
    ("scenario", "options='scenario': must be a mapping"),
    (True, "options=True: must be a mapping"),
    ({"scenario": "skewd"}, "options: .*'skewd'; did you mean 'skewed'"),
    ({"scenario": "./no.yaml"}, "options: .*no.yaml"),
    ({"scenario": None}, "options: scenario=None: must be the name of a scenario, a path or a Scenario"),
    ({"scenario": SMALL.replace(control_interval="1s")}, "options: scenario .*: control_interval=1s: must be 0.2s"),
    (
        {"scenario": SMALL.under(load_daemon("numa-balancing"))},
        "options: scenario moving-hot-set: its daemon numa-balancing must have .* of daemon kmmscand-tunable, .* "
        "differ in .*hot_threshold",
    ),
    ({"scenario": other_range()}, "daemon narrower must have .* of daemon kmmscand-tunable, .* differ in throttle$"),
    ({"phase_orders": "all"}, "options: phase_orders='all': must be 'training' or 'held-out'"),
    ({"phase_orders": None}, "options: phase_orders=None: must be 'training' or 'held-out'"),
]
OF_SINGLE = [
    ({"scenario": [SMALL, LARGE]}, "options: scenario: must be one, for one environment, got a sequence of 2"),
    ({"phase_orders": ["training"]}, "options: phase_orders: must be one, for one environment, got a sequence of 1"),
    ({"reset_mask": np.array([True])}, "options: unknown key 'reset_mask'; allowed: 'scenario', 'phase_orders'"),
]
OF_BATCH = [
    ({"scenario": [SMALL, SMALL.replace(control_interval="1s")]}, "control_interval=1s: must be 0.2s"),
    ({"scenario": []}, r"options: scenario=\[\]: must name at least one scenario"),
    ({"phase_orders": []}, r"options: phase_orders=\[\]: must name at least one split"),
    ({"scenario": LARGE, "phase_orders": ["training", "x"]}, "options: phase_orders='x'"),
    *(
        ({"reset_mask": mask}, r"options\['reset_mask'\]: must be bool\[2\] with a True in it")
        for mask in (np.array([True]), [True, False], np.array([0, 1]), np.array([False, False]), None)
    ),
]


@pytest.mark.parametrize(("options", "message"), OF_EITHER + OF_SINGLE)
def test_other_options_are_refused_in_one_line_and_change_nothing(options: Any, message: str) -> None:
    env, control = TieredMemoryEnv(SMALL), TieredMemoryEnv(SMALL)
    for each in (env, control):
        each.reset(seed=3)
    with pytest.raises(ConfigError, match=f"^.*{message}") as caught:
        env.reset(seed=4, options=options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert env.np_random_seed == 3 and env.scenario is SMALL
    assert same(steps_of(env), steps_of(control)) and same(env.reset(), control.reset())


@pytest.mark.parametrize(("options", "message"), OF_EITHER + OF_BATCH)
def test_a_batch_refuses_them_too(options: Any, message: str) -> None:
    env, control = TieredMemoryVectorEnv(2, SMALL), TieredMemoryVectorEnv(2, SMALL)
    for each in (env, control):
        each.reset(seed=3)
    with pytest.raises(ConfigError, match=f"^.*{message}") as caught:
        env.reset(seed=4, options=options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert env.np_random_seed == (3, 4) and env.scenarios == (SMALL, SMALL)
    assert same(env.step(np.zeros((2, 3))), control.step(np.zeros((2, 3)))) and same(env.reset(), control.reset())


def test_a_bad_seed_changes_nothing_either() -> None:
    batch = TieredMemoryVectorEnv(2, SMALL)
    batch.reset(seed=3)
    for bad in (TieredMemoryEnv(SMALL), batch):
        with pytest.raises(ConfigError, match="^seed"):
            bad.reset(seed=-1, options={"scenario": LARGE, "phase_orders": "held-out"})
        assert "training" in bad.task.phase_orders and bad.task.system.scenarios[0] is SMALL


@pytest.mark.parametrize("make", [lambda: TieredMemoryEnv(SMALL), lambda: TieredMemoryVectorEnv(2, SMALL)])
def test_after_an_interrupted_reset_another_one_is_asked_for(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    env, control = make(), make()
    for each in (env, control):
        each.reset(seed=1)
    with monkeypatch.context() as patched:
        patched.setattr(LumpedSystem, "reset", interrupt)
        with pytest.raises(KeyboardInterrupt):
            env.reset(options={"scenario": LARGE})
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(env.action_space.shape, np.float32))
    assert same(env.reset(seed=2), control.reset(seed=2, options={"scenario": LARGE}))
