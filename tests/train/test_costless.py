"""The environment that costs nothing: what a learner is timed on."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO

from tierenv.train.costless import CostlessVecEnv
from tierenv.train.vec_adapter import TieredMemoryVecEnv
from tierenv.vector_env import TieredMemoryVectorEnv


@pytest.fixture(scope="module")
def like() -> TieredMemoryVecEnv:
    envs = TieredMemoryVectorEnv(num_envs=3, scenario="skewed", autoreset_mode=AutoresetMode.SAME_STEP)
    return TieredMemoryVecEnv(envs)


def test_it_looks_like_the_other_one(like: TieredMemoryVecEnv) -> None:
    env = CostlessVecEnv(like)
    assert (env.num_envs, env.observation_space, env.action_space) == (3, like.observation_space, like.action_space)
    observations, rewards, dones, infos = env.step(np.zeros((3, 3), np.float32))
    assert isinstance(observations, np.ndarray) and observations.dtype == np.float32
    assert all(env.observation_space.contains(row) for row in observations)
    assert (rewards.shape, dones.tolist(), infos) == ((3,), [False] * 3, [{}] * 3)


def test_a_learner_learns_on_it(like: TieredMemoryVecEnv) -> None:
    model = PPO("MlpPolicy", CostlessVecEnv(like), n_steps=4, batch_size=12, n_epochs=1, device="cpu")
    assert model.learn(24).num_timesteps == 24
