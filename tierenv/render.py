"""Pictures of an episode: which class lies on which tier and which tunables are in force, over time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from tierenv.errors import ConfigError
from tierenv.system import ModelledSystem
from tierenv.tunables import TUNABLES, setting_of
from tierenv.units import GIB, PAGE_BYTES, format_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RENDER_MODES = ["ansi", "rgb_array"]

_BAR_WIDTH = 24
_FIGURE_INCHES = (8.0, 6.0)
_FIGURE_DPI = 80

PANELS = 1 + len(TUNABLES)
PANEL_HEIGHTS = [3] + [1] * len(TUNABLES)
"""Panels of a picture, top to bottom: occupancy of the fast tier, then each tunable."""


def check_render_mode(render_mode: str | None) -> None:
    """Raise `ConfigError` for a mode there is not."""
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise ConfigError(f"render_mode={render_mode!r}: must be one of {', '.join(RENDER_MODES)} or None")


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
        axes = figure.subplots(PANELS, 1, sharex=True, height_ratios=PANEL_HEIGHTS)
        self.draw(axes)
        axes[0].set_title(str(self._system.scenarios[self._index]), fontsize="medium")
        return figure

    def draw(self, axes: Sequence[Any]) -> None:
        """Draw the episode so far into `PANELS` matplotlib axes, top to bottom."""
        self._require_records()
        scenario = self._system.scenarios[self._index]
        occupancy, *rows = axes
        fast_gib = np.array(self.fast_pages).T * (PAGE_BYTES / GIB)
        labels = scenario.class_names
        occupancy.stackplot(self.elapsed_s, fast_gib, labels=labels)
        occupancy.set_ylabel("fast tier [GiB]")
        capacity_gib = scenario.fast_capacity_pages * PAGE_BYTES / GIB
        occupancy.set_ylim(0, 1.2 * capacity_gib)  # headroom, so that the legend hides no page
        occupancy.legend(loc="upper right", fontsize="small", ncols=len(labels))
        settings = np.array(self.tunables)
        for panel, name, values in zip(rows, TUNABLES, settings.T, strict=True):
            self._draw_tunable(panel, name, values)
        changes = np.flatnonzero(np.diff(self.phase)) + 1
        for panel in axes:
            for change in changes:
                panel.axvline(self.elapsed_s[change], color="black", linewidth=1, linestyle="--")
        rows[-1].set_xlabel("time [s]")

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
