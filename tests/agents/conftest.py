"""A trained policy to export."""

import json
from pathlib import Path

import gymnasium
import pytest
import yaml


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as training leaves it, with an untrained model whose actions reach the clip."""
    import stable_baselines3
    import torch

    folder = tmp_path_factory.mktemp("runs") / "some-run"
    (folder / "best").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"algorithm": "ppo", "scenarios": ["skewed"], "seed": 3}))
    (folder / "manifest.json").write_text(json.dumps({"git_revision": "abc", "machine": {"cpu": "x"}}))
    env = gymnasium.make("tierenv/TieredMemory-v1", scenario="skewed")
    model = stable_baselines3.PPO("MlpPolicy", env, seed=1, device="cpu", policy_kwargs={"net_arch": [64, 64]})
    with torch.no_grad():
        model.policy.action_net.weight *= 400
        model.policy.action_net.bias += torch.tensor([0.1, -0.2, 0.3])
    model.save(folder / "best" / "model.zip")
    env.close()
    return folder
