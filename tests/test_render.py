"""Pictures of an episode."""

import builtins
import itertools
from typing import Any

import gymnasium
import numpy as np
import pytest

import tierenv  # noqa: F401  registers the environment
from tests.tiny import tiny
from tierenv.env import TieredMemoryEnv
from tierenv.render import MOST_SHOWN_CLASSES, Timeline
from tierenv.train.report import timeline_figure
from tierenv.tunables import setting_of
from tierenv.units import GIB, PAGE_BYTES
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
    assert f"tunables: {setting_of(env.task.system.tunables[0], tiny().daemon.tunables)}" in text
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


def with_classes(names: list[str]) -> TieredMemoryEnv:
    """An environment in mid-episode whose classes are called so, each less accessed than the one before."""
    weights = [1 / 2**index for index in range(len(names))]
    shares = {name: weight / sum(weights) for name, weight in zip(names, weights, strict=True)}
    workload = {
        "like": "skewed",
        "classes": [{"name": name, "fraction": 1 / len(names)} for name in names],
        "phases": [{"name": "run", "access_share": shares}],
    }
    env = TieredMemoryEnv(tiny("skewed", workload=workload), render_mode="rgb_array")
    env.reset(seed=1)
    for _ in range(3):
        env.step(NOTHING)
    return env


def test_many_classes_and_policies_are_told_apart_by_one_legend() -> None:
    timeline = with_classes([f"class{index:02d}" for index in range(17)])._timeline
    assert timeline is not None
    figure = timeline_figure({f"policy {number}": timeline for number in range(4)})
    assert len(figure.legends) == 1 and not any(axes.get_legend() for axes in figure.axes)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [*(f"class{index:02d}" for index in range(MOST_SHOWN_CLASSES - 1)), "8 others"]
    occupancy = figure.axes[0]
    assert len({tuple(area.get_facecolor()[0]) for area in occupancy.collections}) == MOST_SHOWN_CLASSES
    tops = [area.get_paths()[0].vertices[:, 1].max() for area in occupancy.collections]
    assert max(tops) == pytest.approx(sum(timeline.fast_pages[0]) * PAGE_BYTES / GIB, rel=0.05), "others are drawn too"
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert 0 <= legend.x0 < legend.x1 <= figure.bbox.x1
    assert all(axes.get_tightbbox().y0 >= legend.y1 for axes in figure.axes)
    titles = [axes.title.get_window_extent() for axes in figure.axes[:4]]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(titles))


def test_names_are_drawn_as_they_are_written() -> None:
    env = with_classes(["$x$", "_under", "漢字", "$a^{", "a" * 60])
    assert isinstance(env.render(), np.ndarray)  # warnings are errors
    assert env._timeline is not None
    (legend,) = env._timeline.figure().legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["$x$", "_under", "??", "$a^{", f"…{'a' * 23}"]


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
