"""Which classes of a scenario are drawn as one, in which colour: few enough to be told apart, and one legend's worth.

Classes of one process are drawn in the usual cycle of colours as far as it goes. Where there are more, those of like
heat share a band, from red for the hottest to blue. Where there are several processes, each has a hue of its own, and
its bands are shades of it, the hottest darkest.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tierenv.scenario import Process, Scenario

MOST_LAYERS = 10
"""Colours one can tell apart."""
HUES = ("Blues_r", "Oranges_r", "Greens_r", "Purples_r", "Reds_r")
"""Colour maps of processes, dark to light; of more than these the last ones are grey together."""
GREY_HUE = "Greys_r"
MANY_CLASSES = "turbo_r"
"""Colour map of the only process, from red to blue."""
DARKEST, LIGHTEST = 0.15, 0.75
"""Part of a process's colour map that stands out from white."""

LABEL_CHARACTERS = 24


class Layer(NamedTuple):
    """Classes that are drawn as one."""

    label: str
    classes: list[int]
    """Of the scenario (`Scenario.class_names`)."""
    process: int | None
    """Whose they are; None for several."""


def class_layers(scenario: Scenario) -> list[Layer]:
    """The layers of a scenario from the bottom up, at most `MOST_LAYERS`, each class in one of them."""
    processes = scenario.processes
    if len(processes) == 1 and len(scenario.class_pages) <= MOST_LAYERS:
        return [Layer(name, [index], 0) for index, name in enumerate(scenario.class_names)]
    layers, first = [], 0
    shown = min(len(processes), len(HUES))
    is_few = len(processes) == shown and len(scenario.class_pages) <= MOST_LAYERS
    most = MOST_LAYERS if is_few else MOST_LAYERS // (shown + (len(processes) > shown))
    others: list[int] = []
    for number, (process, name) in enumerate(zip(processes, scenario.process_names, strict=True)):
        names = [page_class.name for page_class in process.workload.classes]
        if number < shown:
            prefix = f"{name}/" if len(processes) > 1 else ""
            layers += [
                Layer(prefix + _label(names, band), [first + index for index in band], number)
                for band in _bands(process, most)
            ]
        else:
            others += range(first, first + len(names))
        first += len(names)
    if others:
        layers.append(Layer(f"{len(processes) - shown} other processes", others, None))
    return layers


def layer_colours(scenario: Scenario, layers: Sequence[Layer]) -> list[Any]:
    """A colour for each layer of a scenario, as matplotlib takes it."""
    if len(scenario.processes) == 1 and len(scenario.class_pages) <= MOST_LAYERS:
        return [f"C{index}" for index in range(len(layers))]
    if len(scenario.processes) == 1:
        return _rainbow(len(layers))
    colours: list[Any] = []
    for process, group in itertools.groupby(layers, key=lambda layer: layer.process):
        number = len(list(group))
        colours += [_shades(GREY_HUE, 2)[-1]] if process is None else _shades(HUES[process], number)
    return colours


def process_colours(scenario: Scenario) -> list[Any]:
    """A colour for each process: its hue, dark."""
    hues = [*HUES, *[GREY_HUE] * len(scenario.processes)]
    return [_shades(hue, 1)[0] for hue, _ in zip(hues, scenario.processes, strict=False)]


def _bands(process: Process, most: int) -> list[list[int]]:
    """Classes of a process by heat, the hottest first, in bands of about the same share of accesses and pages.

    Those of like heat stay together, unless all are alike: then bands are runs of neighbours.
    """
    pages = np.array([page_class.fraction for page_class in process.workload.classes])
    accesses = _access_shares(process)
    if len(pages) <= most:
        return [[index] for index in range(len(pages))]
    heat, rank = np.unique(np.round(-accesses / pages, 9), return_inverse=True)  # classes of equal heat stay together
    if len(heat) == 1:  # what is hot moves over all of them: neighbours are alike
        heat, rank = np.arange(len(pages)), np.arange(len(pages))
    share = np.bincount(rank, (accesses + pages) / 2, minlength=len(heat))
    band = np.minimum(most * (np.cumsum(share) - share / 2), most - 1).astype(np.int64)[rank]
    return [np.flatnonzero(band == number).tolist() for number in range(most) if (band == number).any()]


def _access_shares(process: Process) -> NDArray[np.float64]:
    """float64[classes]: share of a process's accesses over all its phases."""
    phases = process.workload.phases
    work = np.array(process.phase_lengths)
    shares = [
        [phase.access_share.get(page_class.name, 0.0) for page_class in process.workload.classes] for phase in phases
    ]
    total: NDArray[np.float64] = work @ np.array(shares) / work.sum()
    return total


def _label(names: Sequence[str], band: Sequence[int]) -> str:
    """The names of a band, neighbours as the first and the last of them."""
    runs: list[list[int]] = []
    for index in band:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    text = ", ".join(names[run[0]] if len(run) == 1 else f"{names[run[0]]} to {names[run[-1]]}" for run in runs)
    if len(text) <= LABEL_CHARACTERS or len(band) == 1:
        return text
    return f"{names[band[0]]} and {len(band) - 1} more"


def _rainbow(number: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps[MANY_CLASSES](place) for place in np.linspace(0.05, 0.95, number)]


def _shades(colour_map: str, number: int) -> list[Any]:
    from matplotlib import colormaps

    places = np.linspace(DARKEST, LIGHTEST, number) if number > 1 else [DARKEST]
    return [colormaps[colour_map](place) for place in places]
