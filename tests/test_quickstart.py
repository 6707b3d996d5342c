"""docs/quickstart.py runs as its reader would run it, and what it shows is so."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tierenv.agents.foreign import command_line_loader
from tierenv.scenario import load_scenario
from tierenv.task import simulated_task
from tierenv.train.episodes import run_episodes

SCRIPT = Path(__file__).resolve().parent.parent / "docs/quickstart.py"
WRITTEN = {"model.zip", "rules.txt", "setting.sh", "small.yaml", "state.pickle"}


@pytest.mark.expensive
def test_it_runs_and_what_it_leaves_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    command = [sys.executable, "-W", "error::UserWarning", str(SCRIPT), str(folder)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stderr) == (0, "")
    assert {path.name for path in folder.iterdir()} == WRITTEN and list(tmp_path.iterdir()) == [folder]
    assert len(result.stdout.splitlines()) < 25
    transitions = re.findall(r"^\w+Step: (\d+) transitions, (\d+) of them terminal$", result.stdout, re.MULTILINE)
    assert len(transitions) == 2 and all(0 < int(terminal) for _, terminal in transitions)

    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # tests run as root in a container
    scenario = load_scenario(str(folder / "small.yaml"))
    monkeypatch.chdir(SCRIPT.parent)
    for name in ("python:quickstart:open_when_hot", f"sb3:{folder / 'model.zip'}"):
        policy = command_line_loader(is_trusted=True)(name, scenario)
        assert run_episodes(simulated_task([scenario] * 2), policy, [1, 2]).is_truncated.tolist() == [False, False]


def test_either_mode_of_autoreset_gives_a_learner_the_same_transitions(monkeypatch: pytest.MonkeyPatch) -> None:
    import gymnasium

    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import quickstart

    found = {}
    for mode in ("SameStep", "NextStep"):
        envs = gymnasium.make_vec(
            quickstart.ENV_ID, num_envs=1, scenario=quickstart.SCENARIO, autoreset_mode=mode, max_episode_steps=20
        )
        rolled = quickstart.roll_out(envs, lambda seen: seen[:, :3] / 2, 90, seed=1)
        assert rolled["is_valid"].sum() == (90 if mode == "SameStep" else 86)
        found[mode] = {name: values[rolled["is_valid"]] for name, values in rolled.items()}
        value = quickstart.targets(rolled, lambda seen: seen.sum(axis=-1), gamma=0.9)
        assert value.shape == (rolled["is_valid"].sum(),)
    for name, values in found["NextStep"].items():
        np.testing.assert_array_equal(values, found["SameStep"][name][: len(values)])
