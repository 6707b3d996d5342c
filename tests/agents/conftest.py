"""A trained policy to export, and trees to run exported scripts on."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest
import yaml

from tests.agents.script_trees import KNOBS, make_script, make_tree


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


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user may enter, unlike pytest's, with a blank in its name."""
    parent = Path(tempfile.mkdtemp())
    parent.chmod(0o755)
    path = parent / "a tree"
    path.mkdir()
    yield path
    shutil.rmtree(parent)


@pytest.fixture(params=[*KNOBS, "damon"])
def any_target(request: pytest.FixtureRequest, folder: Path) -> str:
    """A target, whose tree is in the folder."""
    make_tree(folder, request.param)
    return str(request.param)


@pytest.fixture(params=KNOBS)
def target(request: pytest.FixtureRequest, folder: Path) -> str:
    """A target whose files hold numbers; its tree is in the folder."""
    make_tree(folder, request.param)
    return str(request.param)


@pytest.fixture
def script(folder: Path, target: str) -> Path:
    """The script of a setting for the target."""
    return make_script(folder, target)
