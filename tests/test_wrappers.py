"""Rewards of one's own, and wrappers that a specification can name."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import SyncVectorEnv

import tierenv  # noqa: F401  registers the environment
from tests.tiny import tiny
from tierenv.env import TieredMemoryEnv
from tierenv.errors import ConfigError
from tierenv.vector_env import TieredMemoryVectorEnv
from tierenv.wrappers import DiscreteMenu, InfoReward, MultiplicativeAction, VectorDiscreteMenu, VectorInfoReward

SCENARIOS = [tiny(), tiny("skewed"), tiny(size="256MiB")]


def own_reward(before: Mapping[str, Any], after: Mapping[str, Any]) -> Any:
    """Time, and a price for each promotion."""
    return after["reward_time"] - 1e-6 * (after["promoted_pages"] - before["promoted_pages"])


def actions_of(num_envs: int, step: int) -> np.ndarray:
    return np.random.default_rng(step).uniform(-1, 1, (num_envs, 3)).astype(np.float32)


def test_rewards_of_an_episode_add_up_to_what_it_came_to() -> None:
    env = InfoReward(TieredMemoryEnv(tiny()), own_reward)
    for seed in (1, 2):
        env.reset(seed=seed)
        total, is_over = 0.0, False
        while not is_over:
            _, reward, terminated, truncated, info = env.step(np.array([-0.5, 0.5, 0.4], dtype=np.float32))
            total, is_over = total + reward, terminated or truncated
        assert info["promoted_pages"] > 0
        time = info["elapsed_s"] / info["reference_s"]
        assert total == pytest.approx(-time - 1e-6 * info["promoted_pages"])


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_a_batch_s_own_rewards_are_those_of_single_environments(mode: str) -> None:
    ours = VectorInfoReward(TieredMemoryVectorEnv(3, SCENARIOS, max_time_multiple=1.1, autoreset_mode=mode), own_reward)
    makers = [lambda s=s: InfoReward(TieredMemoryEnv(s, max_time_multiple=1.1), own_reward) for s in SCENARIOS]
    theirs = SyncVectorEnv(makers, autoreset_mode=gymnasium.vector.AutoresetMode(mode))
    for env in (ours, theirs):
        env.reset(seed=7)
    ends = 0
    for step in range(100):
        own, other = (env.step(actions_of(3, step)) for env in (ours, theirs))
        np.testing.assert_array_equal(own[1], other[1])
        ends += int((own[2] | own[3]).sum())
    assert ends >= 6


def test_a_reset_of_some_begins_their_counts_anew() -> None:
    env = VectorInfoReward(TieredMemoryVectorEnv(2, tiny(), autoreset_mode="Disabled"), own_reward)
    env.reset(seed=1)
    for step in range(3):
        env.step(actions_of(2, step))
    env.reset(options={"reset_mask": np.array([False, True]), "scenario": tiny("skewed")})
    fresh = InfoReward(TieredMemoryEnv(tiny("skewed")), own_reward)
    fresh.reset(seed=2)
    fresh.reset()
    assert env.step(actions_of(2, 3))[1][1] == fresh.step(actions_of(2, 3)[1])[1]


def test_a_constant_is_a_reward_of_a_batch() -> None:
    env = VectorInfoReward(TieredMemoryVectorEnv(2, tiny()), lambda _before, _after: -1)
    env.reset(seed=1)
    assert env.step(actions_of(2, 0))[1].tolist() == [-1.0, -1.0]


def test_wrapped_environments_are_made_again_from_their_specification() -> None:
    base = gymnasium.make("tierenv/TieredMemory-v1", scenario="abench-8g")
    for wrapped in (DiscreteMenu(base), MultiplicativeAction(base, max_factor=4.0), InfoReward(base, own_reward)):
        assert wrapped.spec is not None
        again = gymnasium.make(wrapped.spec)
        assert type(again) is type(wrapped) and again.action_space == wrapped.action_space
        action = wrapped.action_space.sample()
        results = []
        for env in (wrapped, again):
            env.reset(seed=1)
            results.append(env.step(action)[1])
        assert results[0] == results[1]
    specification = MultiplicativeAction(base, max_factor=4.0).spec
    assert specification is not None
    assert gymnasium.make(EnvSpec.from_json(specification.to_json())).action_space == base.action_space


def test_another_environment_is_refused() -> None:
    many = SyncVectorEnv([lambda: TieredMemoryEnv(tiny())])
    for wrap in (lambda: MultiplicativeAction(gymnasium.make("Pendulum-v1")), lambda: VectorDiscreteMenu(many)):
        with pytest.raises(ConfigError, match="must be, or be around, a TieredMemoryEnv or a TieredMemoryVectorEnv$"):
            wrap()
