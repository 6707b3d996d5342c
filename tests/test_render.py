"""Pictures of an episode."""

import builtins
import itertools
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tierenv  # noqa: F401  registers the environment
from tests.databases import database_and_batch
from tests.tiny import tiny
from tierenv.env import TieredMemoryEnv
from tierenv.palette import MOST_LAYERS, class_layers, process_colours
from tierenv.render import Timeline
from tierenv.task import simulated_task
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


def assert_legible(figure: Any) -> None:
    """Panels, titles, labels and the legend are in the picture and in nobody's way."""
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert not any(axes.get_legend() for axes in figure.axes)
    boxes = [axes.get_tightbbox() for axes in figure.axes] + [legend.get_window_extent()]
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1 + 1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1 + 1
    for one, other in itertools.combinations(boxes, 2):
        width, height = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
        assert width <= 1 or height <= TICK_PIXELS, (one, other)


TICK_PIXELS = 8
"""By which the label of a tick may reach beyond its panel."""


@pytest.mark.parametrize("num_policies", [1, 8])
def test_many_classes_and_policies_are_told_apart_by_one_legend(num_policies: int) -> None:
    timeline = with_classes([f"class{index:02d}" for index in range(32)])._timeline
    assert timeline is not None
    figure = timeline_figure({f"policy {number}": timeline for number in range(num_policies)})
    assert len(figure.axes) == 4 * num_policies
    assert_legible(figure)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[:2] == ["class00", "class01"] and len(names) <= MOST_LAYERS and " to " in names[-1]
    occupancy = figure.axes[0]
    assert len({tuple(area.get_facecolor()[0]) for area in occupancy.collections}) == len(names)
    tops = [area.get_paths()[0].vertices[:, 1].max() for area in occupancy.collections]
    assert max(tops) == pytest.approx(sum(timeline.fast_pages[0]) * PAGE_BYTES / GIB, rel=0.05), "all are drawn"
    lefts = {round(axes.get_position().x0, 3) for axes in figure.axes}
    assert len(lefts) == min(num_policies, 4)


def crowded(num_processes: int) -> Timeline:
    """A run to its end of so many processes, the second of which never ends."""
    scenario = database_and_batch()
    served = {"workload": scenario.workload, "size": "32MiB", "lifetime": "endless"}
    others = [{"workload": scenario.workload, "size": "16MiB"}] * (num_processes - 3)
    task = simulated_task([scenario.replace(corunners=[served, *others, *scenario.corunners])], max_time_multiple=100)
    task.reset(np.zeros(1, np.uint64))
    timeline = Timeline(task.system)
    timeline.restart()
    while not task.step(NOTHING[None]).terminated[0]:
        timeline.record()
    timeline.record()
    return timeline


def test_each_process_has_its_access_time_and_its_end_in_the_picture() -> None:
    timeline = crowded(3)
    figure = timeline_figure({"one": timeline, "two": timeline})
    assert_legible(figure)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["database/all", "database 2/all", "batch/all", "database", "database 2 (endless)", "batch"]
    occupancy, access = figure.axes[0], figure.axes[2]
    assert access.get_ylabel() == "access [ns]"
    finished_s = timeline.finished_s[-1]
    ends = [line.get_xdata()[0] for line in occupancy.lines if line.get_linestyle() == ":"]
    assert ends == [finished_s[0], finished_s[2]]
    lines = [line for line in access.lines if line.get_linestyle() == "-"]
    assert [line.get_color() for line in lines] == process_colours(timeline._scenario)
    for line in lines:
        times = np.array(line.get_ydata())
        assert 50 < np.nanmean(times) < 500
    assert np.max(lines[0].get_xdata()) == finished_s[0], "one that has ended does nothing"


def test_more_processes_than_hues_are_grey_together() -> None:
    timeline = crowded(12)
    figure = timeline_figure({"one": timeline})
    assert_legible(figure)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[5] == "7 other processes" and len(names) == 6 + 12


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 100), st.integers(0, 100)), min_size=1, max_size=40), st.integers(0, 2))
def test_every_class_is_drawn_once_and_bands_are_of_falling_heat(
    classes: list[tuple[int, int]], num_others: int
) -> None:
    total, accesses = sum(pages for pages, _ in classes), sum(touched for _, touched in classes)
    assume(accesses > 0)
    workload = {
        "like": "skewed",
        "classes": [{"name": f"c{index}", "fraction": pages / total} for index, (pages, _) in enumerate(classes)],
        "phases": [
            {"name": "run", "access_share": {f"c{i}": touched / accesses for i, (_, touched) in enumerate(classes)}}
        ],
    }
    others = [{"workload": "abench", "size": "64MiB"}] * num_others
    scenario = tiny("skewed", workload=workload, corunners=others)
    layers = class_layers(scenario)
    drawn = [index for layer in layers for index in layer.classes]
    assert sorted(drawn) == list(range(len(scenario.class_names))) and len(layers) <= MOST_LAYERS
    assert len({layer.label for layer in layers}) == len(layers) or num_others == 0
    assert len({str(layer.colour) for layer in layers}) == len(layers)
    if len(drawn) > MOST_LAYERS:
        heat = np.array([touched / pages for pages, touched in classes])
        bands = [heat[layer.classes] for layer in layers if max(layer.classes) < len(classes)]
        assert all(above.min() > below.max() for above, below in itertools.pairwise(bands))


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
