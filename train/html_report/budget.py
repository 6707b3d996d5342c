"""What a report says of how long to search: regret against budget, of searches and learners on one scenario.

The regret of a search at a budget is what its incumbent comes to, on fresh seeds, over what nobody beats, less one.
That of a learner is the same of the best model so far on the episodes of selection, which have chosen it: it looks
better than it is by as much as the least of some noisy means does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.train.html_report.charts import CONFIG, SCHEMA, WIDTH
from tierenv.train.html_report.document import BudgetCurve, Chart, Charts, Part, Section, Table, Text
from tierenv.train.texts import cut, listed, percent

MOST_GROUPS = 10
"""As many colours as the page's style has; of more the table tells."""
WITHIN = 0.005
"""What was found is as good as it gets where it is within this much of the best known."""
MOST_POINTS = 300
"""Of a line."""
_HEIGHT = 260
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4])
_BUDGETS = {"env_steps": ("environment steps", 1.0), "machine_s": ("hours of a real machine", 3600.0)}
"""Fields of a curve's points that a picture may stand over, what they are called, and in what unit they are shown."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Group:
    """Curves of one sampler or training configuration on one scenario, in units of what they are compared with."""

    name: str
    curves: Sequence[BudgetCurve]
    best: float
    """Normalised time that has no regret."""

    def regrets(self, budget: str, at: Floats) -> Floats:
        """float64[curves, len(at)]: regret of each at these budgets; NaN before its first point."""
        rows = []
        for curve in self.curves:
            points = [(getattr(point, budget), point.value) for point in curve.points]
            known = [(cost, value) for cost, value in points if cost is not None]
            costs, values = (np.array(column) for column in zip(*known, strict=True))
            index = np.searchsorted(costs, at, side="right") - 1
            rows.append(np.where(index >= 0, values[np.maximum(index, 0)] / self.best - 1.0, math.nan))
        return np.array(rows)

    def costs(self, budget: str) -> Floats:
        """All budgets at which one of the curves changes, as long as all of them have begun and none has ended."""
        costs = [[getattr(point, budget) for point in curve.points] for curve in self.curves]
        if any(cost is None for column in costs for cost in column):
            return np.array([])
        first, last = max(column[0] for column in costs), min(column[-1] for column in costs)
        found = np.unique([cost for column in costs for cost in [*column, first, last] if first <= cost <= last])
        kept = np.linspace(0, len(found) - 1, min(len(found), MOST_POINTS)).round().astype(int)
        return found[kept]


def comparison(sections: Sequence[Section]) -> Section | None:
    """The section on all curves of the inputs; None where none can be compared with another."""
    curves = [curve for section in sections for curve in section.curves]
    places = dict.fromkeys((curve.scenario, curve.daemon) for curve in curves)
    parts = []
    for scenario, daemon in places:
        here = [curve for curve in curves if (curve.scenario, curve.daemon) == (scenario, daemon)]
        if len(here) > 1:
            parts.append(_part(scenario, daemon, here))
    if not parts:
        return None
    summary = Text(
        "How good what was found is against what it cost, charged in control intervals and in the modelled time of a "
        "machine. Of several seeds the line is the median and the band reaches from the best to the worst. The "
        "incumbent of a search was picked on coarse runs and is judged on fresh seeds at the full resolution, which is "
        "not charged. A learner's best model so far is judged on the episodes that selected it, and hence looks a "
        "little better than it is; its evaluations are not charged either."
    )
    origin = listed([section.origin for section in sections if section.curves])
    return Section("How long to search", origin, [summary], parts)


def _part(scenario: str, daemon: str, curves: Sequence[BudgetCurve]) -> Part:
    bounds = [curve.bound for curve in curves if curve.bound is not None]
    best_known = min(point.value for curve in curves for point in curve.points)
    best = float(np.mean(bounds)) if bounds else best_known
    words = "the clairvoyant bound" if bounds else "the best that was found"
    names = list(dict.fromkeys(curve.group for curve in curves))
    groups = [_Group(name, [curve for curve in curves if curve.group == name], best) for name in names]
    blocks: list[Any] = []
    pictures = [
        _chart(title, budget, factor, words, groups[:MOST_GROUPS])
        for budget, (title, factor) in _BUDGETS.items()
        if any(len(group.costs(budget)) for group in groups[:MOST_GROUPS])
    ]
    if pictures:
        caption = f"Regret: mean time over {words}, less one. Less is better; budgets on a logarithmic scale."
        blocks.append(Charts(caption, pictures))
    blocks.append(_table(groups, best_known / best - 1.0, words))
    return Part(f"Budgets on {scenario} under {daemon}", blocks)


def _table(groups: Sequence[_Group], least: float, words: str) -> Table:
    columns = ["found by", "seeds", "environment steps", "hours of a machine", f"regret to {words}", "of the seeds"]
    reached = f"steps until within {percent(WITHIN)} of the best"
    rows = []
    for group in groups:
        ends = [curve.points[-1] for curve in group.curves]
        regrets = np.array([point.value / group.best - 1.0 for point in ends])
        hours = [point.machine_s / 3600 for point in ends if point.machine_s is not None]
        costs = group.costs("env_steps")
        medians = np.median(group.regrets("env_steps", costs), axis=0)
        within = costs[1.0 + medians <= (1.0 + WITHIN) * (1.0 + least)]
        rows.append(
            [
                group.name,
                str(len(group.curves)),
                f"{np.median([point.env_steps for point in ends]):,.0f}",
                f"{np.median(hours):,.1f}" if hours else "-",
                percent(float(np.median(regrets)), 2),
                f"{percent(regrets.min(), 2)} to {percent(regrets.max(), 2)}",
                f"{within[0]:,.0f}" if len(within) else "-",
            ]
        )
    return Table("What was found in the end", [*columns, reached], rows)


def _chart(title: str, budget: str, factor: float, words: str, groups: Sequence[_Group]) -> Chart:
    labels = [f"{number}. {cut(group.name)}" for number, group in enumerate(groups, start=1)]
    values: list[dict[str, Any]] = []
    said = []
    for label, group in zip(labels, groups, strict=True):
        costs = group.costs(budget)
        if not len(costs):
            continue
        regrets = 100 * group.regrets(budget, costs)
        columns = (costs / factor, np.median(regrets, axis=0), regrets.min(axis=0), regrets.max(axis=0))
        values += [
            {"label": label, "x": x, "y": y, "low": low, "high": high}
            for x, y, low, high in zip(*(column.tolist() for column in columns), strict=True)
        ]
        said.append(f"{label} {columns[1][-1]:.3g} % after {columns[0][-1]:,.3g}")
    colours = [f"var(--c{number})" for number in range(len(labels))]
    dashes = [_DASHES[number % len(_DASHES)] for number in range(len(labels))]
    x = {
        "field": "x",
        "type": "quantitative",
        "scale": {"type": "log", "nice": False},
        "axis": {"title": title, "tickCount": 4, "format": "~s", "grid": False},
    }
    axis = {"title": "regret [%]", "tickCount": 5}
    legend = {"title": None, "orient": "bottom", "columns": 2, "labelColor": "var(--text)"}
    legend |= {"symbolType": "stroke", "symbolSize": 400}
    colour = {"field": "label", "type": "nominal", "scale": {"domain": labels, "range": colours}, "legend": legend}
    dash = {"field": "label", "type": "nominal", "scale": {"domain": labels, "range": dashes}, "legend": legend}
    step = {"interpolate": "step-after"}
    specification = {
        "$schema": SCHEMA,
        "config": CONFIG,
        "width": WIDTH,
        "height": _HEIGHT,
        "autosize": {"type": "fit", "contains": "padding"},
        "data": {"values": values},
        "layer": [
            {
                "mark": {"type": "area", "opacity": 1, "fillOpacity": 0.15} | step,
                "encoding": {
                    "x": x,
                    "y": {"field": "low", "type": "quantitative", "scale": {"zero": False}, "axis": axis},
                    "y2": {"field": "high"},
                    "color": colour,
                },
            },
            {
                "mark": {"type": "line", "strokeWidth": 2, "point": False} | step,
                "encoding": {
                    "x": x,
                    "y": {"field": "y", "type": "quantitative", "scale": {"zero": False}, "axis": axis},
                    "color": colour,
                    "strokeDash": dash,
                },
            },
        ],
    }
    description = f"Regret to {words} against {title}; medians at the end: {'; '.join(said)}."
    return Chart(f"Regret against {title}", description, specification)
