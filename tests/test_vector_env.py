"""The vector environment: equal to single ones, in every autoreset mode."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector as wrappers
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

import tierenv  # noqa: F401  registers the environment
from tests.tiny import tiny
from tierenv.env import TieredMemoryEnv
from tierenv.errors import ConfigError
from tierenv.scenario import Scenario
from tierenv.sim import threads
from tierenv.vector_env import TieredMemoryVectorEnv
from tierenv.wrappers import MENU, VectorDiscreteMenu, VectorMultiplicativeAction

ENV_ID = "tierenv/TieredMemory-v1"
MIXED = [tiny(), tiny("skewed"), tiny("abench-8g", size="256MiB", fast_capacity="4GiB", regions=3)]
STEPS = 120


@pytest.fixture(params=[1, 2], ids=["1-thread", "2-threads"])
def num_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(threads, "_num_threads", request.param)
    monkeypatch.setattr(threads, "WORTH_SHARING_S", 0.0)
    return request.param


def random_actions(num_envs: int, seed: int = 0) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    while True:
        yield rng.uniform(-1, 1, (num_envs, 3)).astype(np.float32)


def assert_same_info(info: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compares an info with that of SyncVectorEnv, whose masks repeat that every environment has every key."""
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_same_info(info[key], {k: v for k, v in value.items() if not k.startswith("_")})
        elif key == "final_obs":
            for own, other in zip(info[key], value, strict=True):
                np.testing.assert_array_equal(own, other)
        elif not key.startswith("_") or key.startswith("_final"):
            mask = expected.get(f"_{key}", slice(None))
            np.testing.assert_array_equal(info[key][mask], value[mask])


def masked(info: dict[str, Any]) -> dict[str, Any]:
    """Returns an info with the rows of final_info that belong to no finished episode set to zero."""
    if "final_info" in info:
        ended = info["_final_info"]
        rows = {k: np.where(ended, v, 0) for k, v in info["final_info"].items()}
        return info | {"final_info": rows}
    return info


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("gamma", [None, 1.0])
def test_equals_single_environments_bit_for_bit_across_autoresets(
    mode: AutoresetMode, gamma: float | None, num_threads: int
) -> None:
    num_envs = 5
    scenarios = [MIXED[index % len(MIXED)] for index in range(num_envs)]
    ours = TieredMemoryVectorEnv(num_envs, MIXED, autoreset_mode=mode, shaping_gamma=gamma)
    makers = [lambda s=s: TieredMemoryEnv(s, shaping_gamma=gamma) for s in scenarios]
    theirs = SyncVectorEnv(makers, autoreset_mode=mode)
    results = ours.reset(seed=7), theirs.reset(seed=7)
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert_same_info(results[0][1], results[1][1])
    episodes = 0
    for _, actions in zip(range(STEPS), random_actions(num_envs), strict=False):
        own, other = ours.step(actions), theirs.step(actions)
        for mine, expected in zip(own[:4], other[:4], strict=True):
            assert mine.dtype == expected.dtype
            np.testing.assert_array_equal(mine, expected)
        assert set(own[4]) >= {key for key in other[4] if not key.startswith("_")}
        assert_same_info(masked(own[4]), other[4])
        episodes += int((own[2] | own[3]).sum())
    assert episodes >= 10


def test_size_of_the_batch_does_not_matter(num_threads: int) -> None:
    small, large = TieredMemoryVectorEnv(2, tiny()), TieredMemoryVectorEnv(33, tiny())
    np.testing.assert_array_equal(small.reset(seed=3)[0], large.reset(seed=3)[0][:2])
    for _, actions in zip(range(60), random_actions(33), strict=False):
        one, other = small.step(actions[:2]), large.step(actions)
        for mine, expected in zip(one[:4], other[:4], strict=True):
            np.testing.assert_array_equal(mine, expected[:2])


def test_next_step_gives_the_new_episode_one_step_later_with_reward_0() -> None:
    env = TieredMemoryVectorEnv(3, MIXED)
    env.reset(seed=1)
    ended = np.zeros(3, dtype=np.bool_)
    resets = 0
    for _, actions in zip(range(STEPS), random_actions(3), strict=False):
        _, reward, terminated, truncated, info = env.step(actions)
        assert (reward[ended] == 0).all() and (info["elapsed_s"][ended] == 0).all()
        assert not (terminated | truncated)[ended].any()
        assert (info["elapsed_s"][~ended] > 0).all() and (reward[~ended] < 0).all()
        resets += int(ended.sum())
        ended = terminated | truncated
    assert resets >= 6


def test_same_step_keeps_the_end_of_the_old_episode() -> None:
    env = TieredMemoryVectorEnv(3, MIXED, autoreset_mode="SameStep", max_time_multiple=1.1)
    env.reset(seed=1)
    ends = {"terminated": 0, "truncated": 0}
    for _, actions in zip(range(STEPS), random_actions(3), strict=False):
        observation, _, terminated, truncated, info = env.step(actions)
        ended = terminated | truncated
        assert ("final_obs" in info) == ended.any()
        for index in np.flatnonzero(ended):
            assert env.single_observation_space.contains(info["final_obs"][index])
            assert not np.array_equal(info["final_obs"][index], observation[index])
            assert info["final_info"]["elapsed_s"][index] > 0 == info["elapsed_s"][index]
            assert info["final_info"]["reward_time"][index] < 0 == info["reward_time"][index]
        ends["terminated"] += int(terminated.sum())
        ends["truncated"] += int(truncated.sum())
    assert min(ends.values()) > 0


def test_disabled_leaves_resets_to_the_caller() -> None:
    env = TieredMemoryVectorEnv(3, MIXED, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=1)
    resets = 0
    for _, actions in zip(range(STEPS), random_actions(3), strict=False):
        observation, _, terminated, truncated, info = env.step(actions)
        ended = terminated | truncated
        if ended.any():
            with pytest.raises(gymnasium.error.ResetNeeded, match="reset_mask"):
                env.step(actions)
            after, new_info = env.reset(options={"reset_mask": ended})
            np.testing.assert_array_equal(after[~ended], observation[~ended])
            for key, values in new_info.items():
                np.testing.assert_array_equal(values[~ended], info[key][~ended])
            assert (new_info["elapsed_s"][ended] == 0).all()
            resets += int(ended.sum())
    assert resets >= 6


def test_reset_of_some_environments_can_seed_them() -> None:
    env = TieredMemoryVectorEnv(3, tiny(), autoreset_mode="Disabled")
    first = env.reset(seed=[4, 5, 6])[0]
    env.step(np.zeros((3, 3), dtype=np.float32))
    mask = np.array([False, True, False])
    again = env.reset(seed=[None, 6, None], options={"reset_mask": mask})[0]
    np.testing.assert_array_equal(again[1], first[2])
    assert env.np_random_seed == (4, 6, 6)


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_autoreset_goes_on_with_the_scenarios_that_it_is_told(mode: AutoresetMode) -> None:
    asked: list[int] = []

    def next_scenario(number: int) -> Scenario:
        asked.append(number)
        return tiny(size=f"{400 + number}MiB")

    env = TieredMemoryVectorEnv(3, tiny(), autoreset_mode=mode, max_episode_steps=4, next_scenario=next_scenario)
    twin = TieredMemoryVectorEnv(3, tiny(), autoreset_mode=AutoresetMode.DISABLED, max_episode_steps=4)
    env.reset(seed=1)
    twin.reset(seed=1)
    actions = np.zeros((3, 3), np.float32)
    for turn in range(3):
        for _ in range(4):
            observation, *_ = env.step(actions)
            twin.step(actions)
        if mode is AutoresetMode.NEXT_STEP:
            observation, *_ = env.step(actions)
        expected = [tiny(size=f"{400 + 3 * turn + index}MiB") for index in range(3)]
        begun, _ = twin.reset(options={"reset_mask": np.ones(3, dtype=np.bool_), "scenario": expected})
        np.testing.assert_array_equal(observation, begun)
        assert list(env.scenarios) == expected
    assert asked == list(range(9))


def test_what_runs_next_is_under_the_daemon_and_control_of_the_environment() -> None:
    options: dict[str, Any] = {"autoreset_mode": "SameStep", "max_episode_steps": 1}
    env = TieredMemoryVectorEnv(2, tiny(), control="off", next_scenario=lambda _: tiny(size="300MiB"), **options)
    env.reset(seed=1)
    env.step(np.zeros((2, 3), np.float32))
    assert [scenario.control for scenario in env.scenarios] == ["off", "off"] and not env.task.is_controlled
    env = TieredMemoryVectorEnv(
        2, tiny(), daemon="numa-balancing", next_scenario=lambda _: tiny(size="300MiB"), **options
    )
    env.reset(seed=1)
    env.step(np.zeros((2, 4), np.float32))
    assert {scenario.daemon.name for scenario in env.scenarios} == {"numa-balancing"}


def test_a_next_scenario_that_does_not_go_with_the_others_is_refused() -> None:
    limits = {"autoreset_mode": AutoresetMode.SAME_STEP, "max_episode_steps": 1}
    env = TieredMemoryVectorEnv(2, tiny(), next_scenario=lambda _: tiny(control_interval="3s"), **limits)  # type: ignore[arg-type]
    env.reset(seed=1)
    with pytest.raises(ConfigError, match="control_interval=3s: must be"):
        env.step(np.zeros((2, 3), np.float32))


def test_make_vec_uses_the_native_environment_and_passes_arguments() -> None:
    env = gymnasium.make_vec(
        ENV_ID, num_envs=3, scenario=["abench-8g", "skewed"], autoreset_mode="SameStep", max_episode_steps=4
    )
    assert isinstance(env.unwrapped, TieredMemoryVectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert TieredMemoryVectorEnv.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert env.spec is not None and json.loads(env.spec.to_json())["kwargs"]["scenario"] == ["abench-8g", "skewed"]
    env.reset(seed=1)
    truncated = [env.step(env.action_space.sample())[3].tolist() for _ in range(4)]
    assert truncated == [[False] * 3] * 3 + [[True] * 3]


@pytest.mark.parametrize("vectorization_mode", ["sync", None])
def test_gymnasium_runs_it_in_either_vectorisation(vectorization_mode: Any) -> None:
    env = gymnasium.make_vec(
        ENV_ID, num_envs=2, vectorization_mode=vectorization_mode, scenario="abench-8g", control="kernel-rule"
    )
    observation, _ = env.reset(seed=11)
    assert env.observation_space.contains(observation)
    assert env.observation_space.contains(env.step(env.action_space.sample())[0])


def arrays_of(result: tuple[Any, ...]) -> list[np.ndarray]:
    """Returns all arrays in what reset or step returned."""
    found = []
    for item in result:
        if isinstance(item, dict):
            found.extend(arrays_of(tuple(item.values())))
        elif isinstance(item, np.ndarray):
            found.extend(arrays_of(tuple(item)) if item.dtype == object else [item])
    return found


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_returned_arrays_never_share_memory_between_calls(mode: AutoresetMode) -> None:
    env = TieredMemoryVectorEnv(2, tiny(), autoreset_mode=mode)
    control = TieredMemoryVectorEnv(2, tiny(), autoreset_mode=mode)
    calls = [env.reset(seed=1)]
    control.reset(seed=1)
    for _, actions in zip(range(60), random_actions(2), strict=False):
        calls.append(env.step(actions))
        expected = control.step(actions)
        np.testing.assert_array_equal(calls[-1][0], expected[0])
        np.testing.assert_array_equal(calls[-1][1], expected[1])
        for older in arrays_of(calls[-2]):
            for newer in arrays_of(calls[-1]):
                assert not np.shares_memory(older, newer)
        for array in arrays_of(calls[-1]):
            array[...] = 0  # the caller may write into what it got
        if mode is AutoresetMode.DISABLED and (ended := expected[2] | expected[3]).any():
            calls.append(env.reset(options={"reset_mask": ended}))
            control.reset(options={"reset_mask": ended})


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_gymnasium_wrappers_work_on_top(mode: AutoresetMode) -> None:
    env = RecordEpisodeStatistics(TieredMemoryVectorEnv(2, tiny(), autoreset_mode=mode))
    infos = DictInfoToList(env)
    infos.reset(seed=1)
    finished = []
    for _, actions in zip(range(STEPS), random_actions(2), strict=False):
        for info in infos.step(actions)[4]:
            if "episode" in info:
                finished.append(info["episode"]["r"])
    assert len(finished) >= 4 and all(-4.2 < episode_return < -1 for episode_return in finished)


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "VectorizeTransformObservation": lambda env: wrappers.VectorizeTransformObservation(
        env, gymnasium.wrappers.ReshapeObservation, shape=(7, 2)
    ),
    "VectorizeTransformAction": lambda env: wrappers.VectorizeTransformAction(
        env, gymnasium.wrappers.RescaleAction, min_action=0.0, max_action=1.0
    ),
    "VectorizeTransformReward": lambda env: wrappers.VectorizeTransformReward(
        env, gymnasium.wrappers.ClipReward, min_reward=-0.1, max_reward=0.0
    ),
    "DictInfoToList": wrappers.DictInfoToList,
    "FlattenObservation": wrappers.FlattenObservation,
    "ReshapeObservation": lambda env: wrappers.ReshapeObservation(env, (7, 2)),
    "RescaleObservation": lambda env: wrappers.RescaleObservation(env, 0.0, 1.0),
    "DtypeObservation": lambda env: wrappers.DtypeObservation(env, np.float64),
    "NormalizeObservation": wrappers.NormalizeObservation,
    "RescaleAction": lambda env: wrappers.RescaleAction(env, 0.0, 1.0),
    "ClipReward": lambda env: wrappers.ClipReward(env, -1.0, 0.0),
    "NormalizeReward": wrappers.NormalizeReward,
    "RecordEpisodeStatistics": wrappers.RecordEpisodeStatistics,
}
"""Gymnasium's for vector environments, but for those of pictures, dictionaries and other arrays' libraries."""


@pytest.mark.filterwarnings("ignore:.*Box (low|high)'s precision")  # Gymnasium's about its own spaces
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("name", WRAPPERS)
def test_every_wrapper_of_gymnasium_s_for_vectors_works_on_top(name: str) -> None:
    env = WRAPPERS[name](TieredMemoryVectorEnv(2, tiny()))
    observation, _ = env.reset(seed=1)
    episodes = 0
    for _ in range(45):
        assert env.observation_space.contains(observation)
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        episodes += int((terminated | truncated).sum())
    assert episodes >= 2


def test_videos_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips: list[list[np.ndarray]] = []

    def make_clip(frames: list[np.ndarray], fps: int) -> Any:
        assert fps == TieredMemoryVectorEnv.metadata["render_fps"]
        clips.append(frames)
        return SimpleNamespace(write_videofile=lambda *_arguments, **_options: None)

    module = ModuleType("moviepy.video.io.ImageSequenceClip")
    module.ImageSequenceClip = make_clip  # type: ignore[attr-defined]
    for name in ("moviepy", "moviepy.video", "moviepy.video.io", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    batch = TieredMemoryVectorEnv(2, tiny(), render_mode="rgb_array")
    env = wrappers.RecordVideo(batch, str(tmp_path / "videos"), step_trigger=lambda step: step == 0, video_length=3)
    env.reset(seed=1)
    for _ in range(5):
        env.step(env.action_space.sample())
    env.close()
    assert len(clips) == 1 and len(clips[0]) > 3 and clips[0][0].shape == (480, 2 * 640, 3)


def test_attributes_are_asked_for_as_of_other_vector_environments() -> None:
    env = TieredMemoryVectorEnv(2, tiny(), render_mode="ansi")
    env.reset(seed=4)
    assert env.get_attr("render_mode") == env.call("render_mode") == ("ansi", "ansi")
    assert env.get_attr("np_random_seed") == (4, 5)
    assert env.get_attr("scenario") == env.scenarios
    assert env.get_attr("action_space") == (env.single_action_space,) * 2
    assert env.get_attr("observation_space") == (env.single_observation_space,) * 2
    assert env.call("render") == env.render()
    assert TieredMemoryVectorEnv(2, tiny()).call("render") == (None, None)
    with pytest.raises(AttributeError, match="nothing_such"):
        env.get_attr("nothing_such")
    with pytest.raises(ConfigError, match=r"^call\('step'\): is of the batch as a whole"):
        env.call("step", np.zeros(3))


def test_of_attributes_only_generators_can_be_set() -> None:
    env, other = TieredMemoryVectorEnv(2, tiny()), TieredMemoryVectorEnv(2, tiny())
    other.reset(seed=[8, 9])
    env.set_attr("np_random", [gymnasium.utils.seeding.np_random(seed)[0] for seed in (8, 9)])
    other.reset(seed=[8, 9])
    np.testing.assert_array_equal(env.reset()[0], other.reset(seed=[8, 9])[0])
    assert env.np_random_seed == (-1, -1)
    for name, values in (("render_mode", "ansi"), ("anything", [1, 2])):
        with pytest.raises(ConfigError, match=f"^set_attr\\('{name}'\\): must be 'np_random'"):
            env.set_attr(name, values)
    for values in (np.random.default_rng(1), [np.random.default_rng(1)], [1, 2], [np.random.default_rng(1)] * 3):
        with pytest.raises(ConfigError, match="must be given a list of 2 different generators"):
            env.set_attr("np_random", values)


def test_vector_wrappers_change_the_action_space() -> None:
    menu = VectorDiscreteMenu(TieredMemoryVectorEnv(2, tiny()))
    menu.reset(seed=1)
    info = menu.step(np.array([0, 12]))[4]
    assert info["throttle_bytes_per_s"].tolist() == [0, np.inf]
    scaled = VectorMultiplicativeAction(TieredMemoryVectorEnv(2, tiny()))
    before = scaled.reset(seed=1)[1]["scan_size_bytes"]
    after = scaled.step(np.array([[0, 1, 0], [0, -1, 0]], dtype=np.float32))[4]["scan_size_bytes"]
    np.testing.assert_allclose(after, before * [2, 0.5], rtol=1e-4)


def test_phase_orders_repeat_over_the_environments() -> None:
    env = TieredMemoryVectorEnv(4, tiny(), phase_orders=["training", "held-out"])
    env.reset(seed=[9, 9, 9, 9])
    orders = [env.task.system.phase_names(index) for index in range(4)]
    assert orders[0] == orders[2] != orders[1] == orders[3]


@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (5, 3), (0, 3), (3,), (4, 2), (4, 3, 1), ()])
def test_actions_of_another_shape_are_refused_by_name_of_both(shape: tuple[int, ...]) -> None:
    env = TieredMemoryVectorEnv(4, tiny())
    env.reset(seed=1)
    expected = f"actions: must have shape (4, 3), got {shape}"
    wrapped = VectorMultiplicativeAction(env)
    for step in (env.step, env.task.step, wrapped.step):
        with pytest.raises(ConfigError) as caught:
            step(np.zeros(shape, dtype=np.float32))
        assert str(caught.value) == expected
    np.testing.assert_array_equal(env.step(np.zeros((4, 3)))[4]["elapsed_s"], 0.2)  # as if nothing had been


@pytest.mark.parametrize("bad", [np.full((2, 3), np.nan), np.full((2, 3), "0"), np.full((2, 3), None), [[0] * 3, [0]]])
def test_actions_that_are_no_numbers_are_refused(bad: Any) -> None:
    env = TieredMemoryVectorEnv(2, tiny())
    env.reset(seed=1)
    with pytest.raises(ConfigError, match="^actions: must [^\n]*$"):
        env.step(bad)


@pytest.mark.parametrize("choices", [[-1, 0], [0, len(MENU)], [0.0, 1.0], [True, False], [0], [[0, 1]], "01", None])
def test_what_is_not_on_the_menu_is_refused(choices: Any) -> None:
    env = VectorDiscreteMenu(TieredMemoryVectorEnv(2, tiny()))
    env.reset(seed=1)
    with pytest.raises(ConfigError, match="^choice"):
        env.step(choices)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "1", [1, -2], [1, 2.0], [1], {}])
def test_bad_seeds_are_refused_and_change_nothing(seed: Any) -> None:
    env = TieredMemoryVectorEnv(2, tiny())
    env.reset(seed=5)
    with pytest.raises(ConfigError, match="^seed"):
        env.reset(seed=seed)
    assert env.np_random_seed == (5, 6)


def test_seeds_may_be_numpy_s_and_large() -> None:
    env, other = (TieredMemoryVectorEnv(2, tiny()) for _ in range(2))
    for seed in (np.array([3, 4]), np.int64(3)):
        np.testing.assert_array_equal(env.reset(seed=seed)[0], other.reset(seed=3)[0])  # type: ignore[arg-type]
    env.reset(seed=2**200)
    assert env.np_random_seed == (2**200, 2**200 + 1)


def slower() -> Scenario:
    return tiny(control_interval="1s")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(({"num_envs": bad}, "num_envs=.*: must be a whole number") for bad in (0, -1, 1.5, 2.0, True, "2")),
        ({"num_envs": 10**9}, "num_envs=1000000000: must be a whole number from 1 to 65536"),
        ({"scenario": []}, "at least one scenario"),
        ({"scenario": [tiny(), 3]}, "scenario=3: must be the name of a scenario, a path or a Scenario"),
        ({"scenario": None}, "scenario=None"),
        ({"daemon": 3}, "daemon=3"),
        ({"scenario": [tiny(), slower()]}, "control_interval: .* got 0.2, 1 s"),
        ({"autoreset_mode": "same_step"}, "'NextStep', 'SameStep', 'Disabled'"),
        ({"phase_orders": []}, "at least one split"),
        ({"phase_orders": 3}, "phase_orders=3"),
        *(({"max_episode_steps": bad}, "max_episode_steps=.*: must be a whole number") for bad in (0, 1.5, True, "9")),
        *(({"max_time_multiple": bad}, "max_time_multiple=.*: must be a number") for bad in (0, np.nan, True, "9")),
        *(({"shaping_gamma": bad}, "shaping_gamma=.*: must be a number") for bad in (0, 1.1, True, "1")),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TieredMemoryVectorEnv(**{"num_envs": 2, "scenario": tiny()} | arguments)


def test_stepping_before_the_first_reset_is_refused() -> None:
    env = TieredMemoryVectorEnv(2, tiny())
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ConfigError, match="seed"):
        env.reset(seed=[1, 2, 3])
