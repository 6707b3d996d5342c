"""A configuration that trains in a second, on a scenario whose episodes take milliseconds."""

from pathlib import Path
from typing import Any

import yaml

from tests.tiny import tiny
from tierenv.train.run_dir import to_yaml

TINY_TRAINING: dict[str, Any] = {
    "summary": "a second of training",
    "algorithm": "ppo",
    "timesteps": 128,
    "num_envs": 4,
    "policy_net": [8],
    "log_std_init": -1.2,
    "hyperparameters": {"n_steps": 8, "batch_size": 32, "n_epochs": 1},
    "evaluation": {"interval": 64, "seeds": 2},
    "checkpoint_interval": 64,
    "simulator_threads": 1,
}


def write_scenario(folder: Path) -> Path:
    """Write the tiny scenario. Returns its file."""
    path = folder / "tiny.yaml"
    path.write_text(to_yaml(tiny().model_dump(mode="json")))
    return path


def write_training(folder: Path, **changes: Any) -> Path:
    """Write `TINY_TRAINING` with other values (None: without), on the scenario of this folder. Returns its file."""
    content = TINY_TRAINING | {"scenarios": [str(folder / "tiny.yaml")]} | changes
    path = folder / "training.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return path
