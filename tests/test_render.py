"""Pictures of an episode."""

import builtins
from typing import Any

import gymnasium
import numpy as np
import pytest

import tierenv  # noqa: F401  registers the environment
from tests.tiny import tiny
from tierenv.env import TieredMemoryEnv
from tierenv.render import Timeline
from tierenv.tunables import TUNABLES, setting_of
from tierenv.vector_env import TieredMemoryVectorEnv

NOTHING = np.zeros(3, dtype=np.float32)


def test_text_names_scenario_phase_tunables_and_classes() -> None:
    env = TieredMemoryEnv(tiny(), render_mode="ansi")
    env.reset(seed=1)
    env.step(NOTHING)
    text = env.render()
    assert isinstance(text, str)
    assert text.startswith("moving-hot-set: 512MiB")
    assert f"phase {env.task.system.phase_names(0)[0]}" in text
    assert f"tunables: {setting_of(env.task.system.tunables[0], TUNABLES)}" in text
    bars = [line for line in text.splitlines() if "[" in line]
    assert [bar.split()[0] for bar in bars] == list("abcde") and "#" in text
    assert "64MiB fast" in bars[0]


def test_image_changes_as_the_episode_goes_on() -> None:
    env = gymnasium.make("tierenv/TieredMemory-v1", scenario="abench-8g", render_mode="rgb_array")
    env.reset(seed=1)
    before = env.render()
    env.step(NOTHING)
    after = env.render()
    for image in (before, after):
        assert isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert not np.array_equal(before, after)


def test_every_environment_of_a_batch_has_its_own_picture() -> None:
    env = TieredMemoryVectorEnv(2, [tiny(), tiny("skewed")], render_mode="ansi", autoreset_mode="SameStep")
    env.reset(seed=1)
    for _ in range(60):
        env.step(np.zeros((2, 3), dtype=np.float32))
    frames = env.render()
    assert frames is not None and [frame.split(":")[0] for frame in frames] == ["moving-hot-set", "skewed"]


def test_timeline_begins_anew_with_each_episode() -> None:
    env = TieredMemoryVectorEnv(1, tiny())
    timeline = Timeline(env.task.system)
    for seed in (1, 2):
        env.reset(seed=seed)
        timeline.restart()
        for _ in range(3):
            env.step(NOTHING[None])
            timeline.record()
    np.testing.assert_allclose(timeline.elapsed_s, [0, 0.2, 0.4, 0.6])
    assert len(timeline.phase) == len(timeline.fast_pages) == len(timeline.tunables) == 4


def test_without_a_render_mode_there_is_nothing_to_see() -> None:
    env = TieredMemoryEnv(tiny())
    env.reset(seed=1)
    assert env.render() is None
    assert TieredMemoryVectorEnv(1, tiny()).render() is None


def test_rendering_needs_an_episode() -> None:
    with pytest.raises(gymnasium.error.ResetNeeded):
        TieredMemoryEnv(tiny(), render_mode="ansi").render()


def test_missing_matplotlib_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_matplotlib(name: str, *arguments: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *arguments)

    env = TieredMemoryEnv(tiny(), render_mode="rgb_array")
    env.reset(seed=1)
    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(gymnasium.error.DependencyNotInstalled, match=r"tierenv\[plots\]"):
        env.render()
