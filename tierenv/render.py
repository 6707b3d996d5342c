"""Pictures of an episode: which class lies on which tier and which tunables are in force, over time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from tierenv.errors import ConfigError
from tierenv.scenario import Scenario
from tierenv.system import ModelledSystem
from tierenv.tunables import TUNABLES, setting_of
from tierenv.units import GIB, PAGE_BYTES, format_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RENDER_MODES = ["ansi", "rgb_array"]

_BAR_WIDTH = 24
_FIGURE_INCHES = (8.0, 6.0)
_FIGURE_DPI = 80

MOST_SHOWN_CLASSES = 10
"""Classes that get a colour of their own, as many as one can tell apart; the least accessed of more share one."""
_OTHERS_COLOUR = "lightgray"
_LEGEND_CHARACTERS = 24
_CHARACTER_INCHES = 0.09
"""Of a character in the legend at most, and of the patch beside a name a few times that."""

_OCCUPANCY_HEIGHT = 3
"""Of the panel of the fast tier, beside that of a tunable."""


def check_render_mode(render_mode: str | None) -> None:
    """Raise `ConfigError` for a mode there is not."""
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise ConfigError(f"render_mode={render_mode!r}: must be one of {', '.join(RENDER_MODES)} or None")


def printed(text: str, most_characters: int) -> str:
    """The end of a text, as long as there is room for, in characters that matplotlib's font has."""
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    shown = "".join(character if font.get_char_index(ord(character)) else "?" for character in text)
    return shown if len(shown) <= most_characters else f"…{shown[1 - most_characters :]}"


def add_legend(figure: "Figure", classes: Sequence[tuple[str, Any]]) -> None:
    """Put the names of classes below a figure's panels, in as many rows as it takes, beside what shows each."""
    names = [printed(name, _LEGEND_CHARACTERS) for name, _ in classes]
    entry_inches = (max(map(len, names)) + 5) * _CHARACTER_INCHES
    columns = max(1, min(len(names), int(figure.get_figwidth() / entry_inches)))
    legend = figure.legend(
        [area for _, area in classes], ["?"] * len(names), loc="outside lower center", fontsize="small", ncols=columns
    )
    for entry, name in zip(legend.get_texts(), names, strict=True):  # as given, "_x" would be left out and "$x$" set
        entry.set_text(name)
        entry.set_parse_math(False)


def add_panels(figure: "Figure", *timelines: "Timeline") -> tuple[Any, list[str]]:
    """Axes of a figure, a column for each timeline: occupancy of the fast tier, below it the tunables that any has.

    Returns them, and the names of those tunables.
    """
    names = [name for name in TUNABLES if any(name in timeline.tunable_names for timeline in timelines)]
    heights = [_OCCUPANCY_HEIGHT] + [1] * len(names)
    return figure.subplots(len(heights), len(timelines), sharex=True, squeeze=False, height_ratios=heights), names


class Timeline:
    """Record of one machine's episode.

    Args:
        system: what the machine belongs to.
        index: which of its machines.
    """

    def __init__(self, system: ModelledSystem, index: int = 0) -> None:
        self._system = system
        self._index = index
        self.elapsed_s: list[float] = []
        """Times of the records [s]."""
        self.phase: list[int] = []
        """Phase at each time."""
        self.fast_pages: list[NDArray[np.int64]] = []
        """int64[classes] at each time: pages on the fast tier."""
        self.tunables: list[NDArray[np.float64]] = []
        """float64[len(TUNABLES)] at each time: tunables in force."""

    @property
    def tunable_names(self) -> tuple[str, ...]:
        """Tunables that its machine's daemon has."""
        return tuple(self._system.scenarios[self._index].daemon.tunables)

    def restart(self) -> None:
        """Forget the last episode and record the start of this one."""
        for column in (self.elapsed_s, self.phase, self.fast_pages, self.tunables):
            column.clear()
        self.record()

    def record(self) -> None:
        """Add the present state."""
        system, index = self._system, self._index
        self.elapsed_s.append(float(system.elapsed_s[index]))
        self.phase.append(int(system.phase[index]))
        self.fast_pages.append(system.fast_pages_by_class(index))
        self.tunables.append(system.tunables[index])

    def frame(self, render_mode: str | None) -> str | NDArray[np.uint8]:
        """The episode so far in a render mode: a text, or an image uint8[height, width, 3]."""
        return self.text() if render_mode == "ansi" else self.image()

    def text(self) -> str:
        """The last record: one bar per class, # what lies on the fast tier."""
        self._require_records()
        system, index = self._system, self._index
        scenario = system.scenarios[index]
        lines = [
            str(scenario),
            f"{self.elapsed_s[-1]:.1f} s of about {system.reference_s[index]:.0f}, "
            f"{system.work_done[index]:.1%} done, phase {system.phase_names(index)[self.phase[-1]]}",
            f"tunables: {setting_of(self.tunables[-1], scenario.daemon.tunables)}",
        ]
        width = max(map(len, scenario.class_names))
        rows = zip(scenario.class_names, system.class_pages(index), self.fast_pages[-1], strict=True)
        for name, pages, fast in rows:
            filled = round(_BAR_WIDTH * fast / pages)
            bar = "#" * filled + "." * (_BAR_WIDTH - filled)
            sizes = f"{format_bytes(int(fast) * PAGE_BYTES)} of {format_bytes(int(pages) * PAGE_BYTES)} fast"
            lines.append(f"{name:<{width}} [{bar}] {sizes}")
        return "\n".join(lines) + "\n"

    def image(self) -> NDArray[np.uint8]:
        """`figure` as pixels, uint8[height, width, 3]."""
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
        except ImportError as error:
            message = "render_mode='rgb_array' needs matplotlib; run: pip install 'tierenv[plots]'"
            raise gymnasium.error.DependencyNotInstalled(message) from error
        canvas = FigureCanvasAgg(self.figure())
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def figure(self) -> "Figure":
        """The episode so far: pages on the fast tier by class above, each tunable below, phases as lines."""
        from matplotlib.figure import Figure  # not pyplot, which keeps figures alive and wants a display

        figure = Figure(figsize=_FIGURE_INCHES, dpi=_FIGURE_DPI, layout="constrained")
        columns, names = add_panels(figure, self)
        axes = columns[:, 0]
        add_legend(figure, self.draw(axes, names))
        title = printed(str(self._system.scenarios[self._index]), most_characters=90)
        axes[0].set_title(title, fontsize="medium", parse_math=False)
        return figure

    def draw(self, axes: Sequence[Any], tunables: Sequence[str]) -> list[tuple[str, Any]]:
        """Draw the episode so far into axes of `add_panels`, top to bottom. Returns each class with its area."""
        self._require_records()
        scenario = self._system.scenarios[self._index]
        occupancy, *rows = axes
        fast_gib = np.array(self.fast_pages).T * (PAGE_BYTES / GIB)
        shown = _shown_classes(scenario)
        colours = [f"C{number}" for number in range(len(shown))]
        names = [scenario.class_names[index] for index in shown]
        layers = [fast_gib[index] for index in shown]
        if others := len(fast_gib) - len(shown):
            colours.append(_OTHERS_COLOUR)
            names.append(f"{others} others")
            layers.append(np.delete(fast_gib, shown, axis=0).sum(axis=0))
        areas = occupancy.stackplot(self.elapsed_s, layers, colors=colours)
        occupancy.set_ylabel("fast tier [GiB]")
        occupancy.set_ylim(0, 1.05 * scenario.fast_capacity_pages * PAGE_BYTES / GIB)
        settings = dict(zip(TUNABLES, np.array(self.tunables).T, strict=True))
        for panel, name in zip(rows, tunables, strict=True):
            self._draw_tunable(panel, name, settings[name])
        changes = np.flatnonzero(np.diff(self.phase)) + 1
        for panel in axes:
            for change in changes:
                panel.axvline(self.elapsed_s[change], color="black", linewidth=1, linestyle="--")
        axes[-1].set_xlabel("time [s]")
        return list(zip(names, areas, strict=True))

    def _draw_tunable(self, axes: Any, name: str, values: NDArray[np.float64]) -> None:
        """Draw a tunable on the log scale of its range; 0 and infinity stand just outside of it."""
        axes.set_ylabel(name.replace("_", " "))
        bounds = self._system.scenarios[self._index].daemon.tunables.get(name)
        if bounds is None:
            axes.set_yticks([])
            return
        below, above = bounds.min / 2, bounds.max * 2
        axes.step(self.elapsed_s, np.clip(values, below, above), where="pre", color="black", linewidth=1)
        axes.set_yscale("log", base=2)
        axes.set_ylim(below / 1.4, above * 1.4)
        text = TUNABLES[name].quantity.text
        axes.set_yticks([bounds.min, bounds.max], [text(bounds.min), text(bounds.max)])
        axes.minorticks_off()

    def _require_records(self) -> None:
        if not self.elapsed_s:
            raise gymnasium.error.ResetNeeded("nothing to render before reset()")


def _shown_classes(scenario: Scenario) -> list[int]:
    """Classes with a colour of their own: those with most accesses, in their order."""
    accesses = [
        process.total_accesses
        * sum(phase.length * phase.access_share.get(page_class.name, 0.0) for phase in phases)
        / length
        for process in scenario.processes
        for phases, length in [(process.workload.phases, sum(phase.length for phase in process.workload.phases))]
        for page_class in process.workload.classes
    ]
    if len(accesses) <= MOST_SHOWN_CLASSES:
        return list(range(len(accesses)))
    most_accessed = sorted(range(len(accesses)), key=accesses.__getitem__, reverse=True)
    return sorted(most_accessed[: MOST_SHOWN_CLASSES - 1])
