"""The stable-baselines3 adapter: the same numbers as the vector environment, and the keys SB3 wants."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from tests.tiny import tiny
from tierenv.errors import ConfigError
from tierenv.train.rewards import RewardForm, Rewards
from tierenv.train.vec_adapter import EPISODE_KEYS, TieredMemoryVecEnv
from tierenv.vector_env import TieredMemoryVectorEnv

NUM_ENVS = 3


def make_env(**options: object) -> TieredMemoryVectorEnv:
    same_step = {"autoreset_mode": AutoresetMode.SAME_STEP, "shaping_gamma": 1.0}
    return TieredMemoryVectorEnv(num_envs=NUM_ENVS, scenario=tiny(), **same_step | options)  # type: ignore[arg-type]


def test_other_autoreset_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="SAME_STEP"):
        TieredMemoryVecEnv(make_env(autoreset_mode=AutoresetMode.NEXT_STEP))


def test_adapter_equals_the_vector_environment() -> None:
    adapter, env = TieredMemoryVecEnv(make_env()), make_env()
    adapter.seed(5)
    observations, _ = env.reset(seed=5)
    np.testing.assert_array_equal(adapter.reset(), observations)
    env.action_space.seed(0)
    for _ in range(80):  # more than two episodes
        actions = env.action_space.sample()
        adapted = adapter.step(actions)
        observations, rewards, terminated, truncated, info = env.step(actions)
        np.testing.assert_array_equal(adapted[0], observations)
        np.testing.assert_allclose(adapted[1], rewards, rtol=1e-6)
        np.testing.assert_array_equal(adapted[2], terminated | truncated)
        for index in np.flatnonzero(adapted[2]):
            np.testing.assert_array_equal(adapted[3][index]["terminal_observation"], info["final_obs"][index])
    assert adapter.seconds_in_model > 0


def test_reward_scale_reaches_the_learner_and_no_report() -> None:
    adapters = [
        TieredMemoryVecEnv(make_env(shaping_gamma=None), Rewards(RewardForm(scale=scale))) for scale in (1.0, 50.0)
    ]
    for adapter in adapters:
        adapter.seed(3)
        adapter.reset()
    num_finished = 0
    while num_finished < 2:
        (_, rewards, dones, infos), (_, scaled, _, same) = (
            adapter.step(np.zeros((NUM_ENVS, 3), np.float32)) for adapter in adapters
        )
        assert (rewards != 0).all()
        np.testing.assert_allclose(scaled, 50 * rewards, rtol=1e-6)
        for index in np.flatnonzero(dones):
            assert same[index]["episode"]["r"] == infos[index]["episode"]["r"]
        num_finished += int(dones.sum())


def test_finished_episode_reports_return_length_and_figures() -> None:
    adapter = TieredMemoryVecEnv(make_env(shaping_gamma=None))
    adapter.seed(1)
    adapter.reset()
    returns, lengths = np.zeros(NUM_ENVS), np.zeros(NUM_ENVS, int)
    num_finished = 0
    while num_finished < 4:
        _, rewards, dones, infos = adapter.step(np.zeros((NUM_ENVS, 3), np.float32))
        returns += rewards
        lengths += 1
        for index in np.flatnonzero(dones):
            info, episode = infos[index], infos[index]["episode"]
            assert info["TimeLimit.truncated"] is False
            assert episode["l"] == lengths[index]
            assert episode["r"] == pytest.approx(returns[index], rel=1e-5)
            # without shaping an episode's return is minus its normalised completion time
            assert -episode["r"] == pytest.approx(episode["elapsed_s"] / episode["reference_s"])
            assert set(EPISODE_KEYS) <= set(episode)
            num_finished += 1
        returns[dones], lengths[dones] = 0, 0
        assert all(infos[index] == {} for index in np.flatnonzero(~dones))


def test_truncation_is_told_from_termination() -> None:
    adapter = TieredMemoryVecEnv(make_env(max_episode_steps=5))
    adapter.seed(1)
    adapter.reset()
    for step in range(1, 11):
        observations, _, dones, infos = adapter.step(np.zeros((NUM_ENVS, 3), np.float32))
        assert dones.all() == (step % 5 == 0) and dones.any() == dones.all()
        if dones.all():
            assert all(info["TimeLimit.truncated"] is True for info in infos)
            last = np.stack([info["terminal_observation"] for info in infos])
            assert last.shape == observations.shape and (last != observations).any()


def test_steps_without_an_end_share_their_infos() -> None:
    adapter = TieredMemoryVecEnv(make_env())
    adapter.reset()
    first, second = (adapter.step(np.zeros((NUM_ENVS, 3), np.float32))[3] for _ in range(2))
    assert first is second and first == [{}] * NUM_ENVS


def test_seed_is_used_once() -> None:
    adapter = TieredMemoryVecEnv(make_env())
    adapter.seed(3)
    adapter.reset()
    adapter.step(np.zeros((NUM_ENVS, 3), np.float32))
    first_generator = adapter.env.np_random[0].bit_generator.state
    adapter.reset()
    assert adapter.env.np_random[0].bit_generator.state != first_generator


def test_options_reach_the_next_reset_and_hold() -> None:
    adapter = TieredMemoryVecEnv(make_env())
    adapter.reset()
    large = [tiny("skewed"), tiny(), tiny("skewed")]
    adapter.set_options([{"scenario": scenario} for scenario in large])
    adapter.seed(2)
    env = TieredMemoryVectorEnv(NUM_ENVS, large, autoreset_mode=AutoresetMode.SAME_STEP, shaping_gamma=1.0)
    np.testing.assert_array_equal(adapter.reset(), env.reset(seed=2)[0])
    for _ in range(50):  # beyond an autoreset
        actions = env.action_space.sample()
        np.testing.assert_array_equal(adapter.step(actions)[0], env.step(actions)[0])
    adapter.reset()
    assert [scenario.name for scenario in adapter.env.get_attr("scenarios")[0]] == [one.name for one in large]
    adapter.set_options({"scenario": tiny(), "phase_orders": "held-out"})
    adapter.reset()
    assert adapter.get_attr("scenarios")[0] == (tiny(),) * NUM_ENVS


def test_options_of_some_environments_alone_are_refused() -> None:
    adapter = TieredMemoryVecEnv(make_env())
    adapter.set_options([{"scenario": tiny()}, {}, {}])
    with pytest.raises(ConfigError, match="^set_options: must give every environment the same keys$"):
        adapter.reset()
    adapter.set_options({"reset_mask": np.array([True])})
    with pytest.raises(ConfigError, match=r"^options\['reset_mask'\]"):
        adapter.reset()


def test_machine_time_is_that_of_all_episodes_those_that_run_included() -> None:
    adapter = TieredMemoryVecEnv(make_env())
    adapter.seed(1)
    adapter.reset()
    finished_s = 0.0
    for _ in range(75):  # more than two episodes
        _, _, dones, infos = adapter.step(np.zeros((NUM_ENVS, 3), np.float32))
        finished_s += sum(infos[index]["episode"]["elapsed_s"] for index in np.flatnonzero(dones))
    assert isinstance(adapter.env, TieredMemoryVectorEnv)
    running_s = adapter.env.task.system.elapsed_s.sum()
    assert 0 < running_s < finished_s
    assert adapter.machine_s == pytest.approx(finished_s + running_s)
    adapter.reset()
    assert adapter.machine_s == pytest.approx(finished_s + running_s)
