"""Pictures of an episode: which class lies on which tier and which tunables are in force, over time."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

from tierenv.errors import ConfigError
from tierenv.palette import LABEL_CHARACTERS, class_layers, layer_colours, process_colours
from tierenv.scenario import Scenario
from tierenv.system import ModelledSystem
from tierenv.tunables import TUNABLES, setting_of
from tierenv.units import GIB, PAGE_BYTES, format_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RENDER_MODES = ["ansi", "rgb_array"]

_BAR_WIDTH = 24
_FIGURE_WIDTH_INCHES = 8.0
_PANEL_INCHES = 1.0
"""Height of the panel of a tunable, its share of the legend and titles included."""
_FIGURE_DPI = 80

_CHARACTER_INCHES = 0.09
"""Of a character in the legend at most, and of the patch beside a name a few times that."""

MOST_PHASE_LINES = 20
"""Changes of phase that are marked; those of a drift, of which there are more, would hide the rest."""
MOST_COLUMNS = 4
"""Timelines side by side; more of them stand below."""

_EDGE_POINTS = 0.4
"""Width of what parts neighbouring classes."""

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
    names = [printed(name, LABEL_CHARACTERS) for name, _ in classes]
    entry_inches = (max(map(len, names)) + 5) * _CHARACTER_INCHES
    columns = max(1, min(len(names), int(figure.get_figwidth() / entry_inches)))
    legend = figure.legend(
        [area for _, area in classes], ["?"] * len(names), loc="outside lower center", fontsize="small", ncols=columns
    )
    for entry, name in zip(legend.get_texts(), names, strict=True):  # as given, "_x" would be left out and "$x$" set
        entry.set_text(name)
        entry.set_parse_math(False)


def add_panels(figure: "Figure", *timelines: "Timeline") -> list["Panels"]:
    """Axes of a figure for each timeline, `MOST_COLUMNS` side by side at most, with the same panels on a common time.

    The figure is made as high as they need.
    """
    tunables = [name for name in TUNABLES if any(name in timeline.tunable_names for timeline in timelines)]
    has_processes = any(timeline.has_several_processes for timeline in timelines)
    heights = [_OCCUPANCY_HEIGHT] + [1] * (has_processes + len(tunables))
    num_rows = num_rows_for(len(timelines))
    num_columns = math.ceil(len(timelines) / num_rows)
    ratios = heights * num_rows
    figure.set_figheight(_PANEL_INCHES * sum(ratios))
    grid = figure.subplots(len(ratios), num_columns, sharex=True, squeeze=False, height_ratios=ratios)
    blocks = [
        grid[row * len(heights) : (row + 1) * len(heights), column]
        for row in range(num_rows)
        for column in range(num_columns)
    ]
    for axes in blocks[len(timelines) :]:
        for each in axes:
            each.remove()
    panels = []
    for axes in blocks[: len(timelines)]:
        occupancy, *rest = axes
        occupancy.sharey(grid[0, 0])  # the tunables' axes differ: ranges belong to the daemon variant
        access = rest.pop(0) if has_processes else None
        if access is not None:
            access.sharey(grid[1, 0])
        axes[-1].tick_params(labelbottom=True)
        panels.append(Panels(occupancy, access, dict(zip(tunables, rest, strict=True))))
    return panels


def num_rows_for(num_timelines: int) -> int:
    """Rows of timelines in one figure."""
    return math.ceil(num_timelines / MOST_COLUMNS)


class Panels(NamedTuple):
    """Axes of one timeline, top to bottom."""

    occupancy: Any
    """Of the fast tier."""
    access: Any | None
    """Of access times by process; None where there is one process."""
    tunables: dict[str, Any]
    """By name."""

    @property
    def all(self) -> list[Any]:
        """Every one of them."""
        return [self.occupancy, *([] if self.access is None else [self.access]), *self.tunables.values()]


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
        self.finished_s: list[NDArray[np.float64]] = []
        """float64[processes] at each time: when each ended, 0 before."""
        self.accesses: list[NDArray[np.float64]] = []
        """float64[processes] at each time: what each has done."""

    @property
    def tunable_names(self) -> tuple[str, ...]:
        """Tunables that its machine's daemon has; of one that is off none is in force."""
        return () if self._scenario.control == "off" else tuple(self._scenario.daemon.tunables)

    @property
    def has_several_processes(self) -> bool:
        """Whether there is more to tell than of the application alone."""
        return len(self._scenario.processes) > 1

    @property
    def _scenario(self) -> Scenario:
        return self._system.scenarios[self._index]

    def restart(self) -> None:
        """Forget the last episode and record the start of this one."""
        columns = (self.elapsed_s, self.phase, self.fast_pages, self.tunables, self.finished_s, self.accesses)
        for column in columns:
            column.clear()
        self.record()

    def record(self) -> None:
        """Add the present state."""
        system, index = self._system, self._index
        self.elapsed_s.append(float(system.elapsed_s[index]))
        self.phase.append(int(system.phase[index]))
        self.fast_pages.append(system.fast_pages_by_class(index))
        self.tunables.append(system.tunables[index])
        num_processes = len(self._scenario.processes)
        self.finished_s.append(system.finished_s[index, :num_processes])
        self.accesses.append(system.process_accesses[index, :num_processes])

    def frame(self, render_mode: str | None) -> str | NDArray[np.uint8]:
        """The episode so far in a render mode: a text, or an image uint8[height, width, 3]."""
        return self.text() if render_mode == "ansi" else self.image()

    def text(self) -> str:
        """The last record: one bar per class, # what lies on the fast tier."""
        self._require_records()
        system, index = self._system, self._index
        scenario = self._scenario
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
        """The episode so far: pages on the fast tier by class above, each tunable below, phases and ends as lines."""
        from matplotlib.figure import Figure  # not pyplot, which keeps figures alive and wants a display

        figure = Figure(figsize=(_FIGURE_WIDTH_INCHES, 1.0), dpi=_FIGURE_DPI, layout="constrained")
        (panels,) = add_panels(figure, self)
        add_legend(figure, self.draw(panels))
        title = printed(str(self._scenario), most_characters=90)
        panels.occupancy.set_title(title, fontsize="medium", parse_math=False)
        return figure

    def draw(self, panels: Panels) -> list[tuple[str, Any]]:
        """Draw the episode so far into axes of `add_panels`. Returns what a legend has to name, each with its name."""
        self._require_records()
        scenario = self._scenario
        fast_gib = np.array(self.fast_pages).T * (PAGE_BYTES / GIB)
        layers = class_layers(scenario)
        areas = panels.occupancy.stackplot(
            self.elapsed_s,
            [fast_gib[layer.classes].sum(axis=0) for layer in layers],
            colors=layer_colours(scenario, layers),
            edgecolor="white",
            linewidth=_EDGE_POINTS,
        )
        panels.occupancy.set_ylabel("fast tier [GiB]")
        panels.occupancy.set_ylim(0, 1.05 * scenario.fast_capacity_pages * PAGE_BYTES / GIB)
        settings = dict(zip(TUNABLES, np.array(self.tunables).T, strict=True))
        for name, axes in panels.tunables.items():
            self._draw_tunable(axes, name, settings[name])
        changes = np.flatnonzero(np.diff(self.phase)) + 1
        for change in changes if len(changes) <= MOST_PHASE_LINES else ():
            for axes in panels.all:
                axes.axvline(self.elapsed_s[change], color="black", linewidth=1, linestyle="--")
        lines = [] if panels.access is None else self._draw_processes(panels)
        panels.all[-1].set_xlabel("time [s]")
        return [*((layer.label, area) for layer, area in zip(layers, areas, strict=True)), *lines]

    def _draw_processes(self, panels: Panels) -> list[tuple[str, Any]]:
        """Draw what an access took each process in each interval, and where it ended, through all panels."""
        assert panels.access is not None
        panels.access.set_ylabel("access [ns]", fontsize="small")
        scenario, elapsed_s = self._scenario, np.array(self.elapsed_s)
        named = []
        colours = process_colours(scenario)
        for number, (process, name) in enumerate(zip(scenario.processes, scenario.process_names, strict=True)):
            finished_s, accesses = (np.array(column)[:, number] for column in (self.finished_s, self.accesses))
            end_s = np.where(finished_s > 0, finished_s, elapsed_s)
            done, worked_s = np.diff(accesses), np.diff(process.thread_seconds(np.maximum(end_s - process.start, 0.0)))
            with np.errstate(divide="ignore", invalid="ignore"):
                access_ns = np.where(done > 0, 1e9 * worked_s / done, np.nan)
            (line,) = panels.access.step(end_s, np.append(np.nan, access_ns), where="pre", color=colours[number])
            if process.is_awaited and finished_s[-1] > 0:
                for axes in panels.all:
                    axes.axvline(finished_s[-1], color=colours[number], linewidth=1.5, linestyle=":")
            named.append((f"{name}{'' if process.is_awaited else f' ({process.lifetime})'}", line))
        return named

    def _draw_tunable(self, axes: Any, name: str, values: NDArray[np.float64]) -> None:
        """Draw a tunable on the log scale of its range; 0 and infinity stand just outside of it."""
        axes.set_ylabel(name.replace("_", " "), fontsize="small")
        bounds = self._scenario.daemon.tunables.get(name)
        if bounds is None or name not in self.tunable_names:
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
