"""Pictures that stand still: specifications of Vega-Lite, and drawing them as SVG.

Vega draws them (https://vega.github.io/vega-lite, through vl-convert), with colours that the page's style defines:
whatever a specification names is a custom property there, so that pictures follow the reader's colour scheme. A
picture is as wide as a narrow screen; on a wide one several stand side by side.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from tierenv.train.html_report.document import Chart
from tierenv.train.statistics import Estimate
from tierenv.train.texts import cut

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"

WIDTH = 340
"""Of a picture [px]: what 400 px leave."""
_ROW_HEIGHT = 22
_LABEL_PIXELS = 165
_CURVE_HEIGHT = 180
MOST_DOTS = 60
"""Rows of a picture; of more the tables tell."""
MOST_CHARTS = 60
"""Pictures side by side; so do they of more."""
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

CONFIG: dict[str, Any] = {
    "font": "sans-serif",
    "background": "transparent",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--text)",
        "titleColor": "var(--text)",
        "domainColor": "var(--muted)",
        "tickColor": "var(--muted)",
        "gridColor": "var(--grid)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelOverlap": "greedy",
        "labelSeparation": 6,
    },
}


@dataclass(frozen=True)
class Dot:
    """A labelled value with its interval."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    kind: str = ""
    """What its shape stands for."""


def dot_of(label: str, estimate: Estimate, scale: float = 1.0) -> Dot:
    """An estimate with its interval, in units of 1 / scale."""
    low, high = (None, None) if estimate.interval is None else (scale * estimate.low, scale * estimate.high)
    return Dot(label, scale * estimate.value, low, high)


@dataclass(frozen=True)
class Line:
    """Where the eye may compare, with what it stands for."""

    value: float
    meaning: str
    is_dashed: bool = False


def draw(chart: Chart) -> str:
    """A picture as SVG with its words: text is text, nothing is loaded, and no style stands outside the page's."""
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(chart.specification)
    start, end = svg.index("<svg") + len("<svg"), svg.index(">")
    words = f"<title>{escape(chart.title)}</title><desc>{escape(chart.description)}</desc>"
    return f'<svg role="img"{svg[start:end]}>{words}{svg[end + 1 :]}'


def dot_chart(title: str, axis: str, dots: Sequence[Dot], lines: Sequence[Line] = ()) -> Chart:
    """Values one below the other with their intervals, as many as there is room for, and lines to compare them with."""
    left_out, dots = len(dots) - MOST_DOTS, dots[:MOST_DOTS]
    kinds = list(dict.fromkeys(dot.kind for dot in dots))
    labels = _unique([cut(dot.label) for dot in dots])
    values = [
        {"label": label, "value": dot.value, "low": dot.low, "high": dot.high, "shape": kinds.index(dot.kind)}
        for label, dot in zip(labels, dots, strict=True)
    ]
    y = {
        "field": "label",
        "type": "ordinal",
        "sort": None,
        "scale": {"domain": labels},
        "axis": {"title": None, "labelLimit": _LABEL_PIXELS, "labelOverlap": False, "grid": True, "ticks": False},
    }
    x_axis = {"title": axis, "tickCount": 4, "format": ",~r", "grid": False}
    shapes = {"domain": list(range(len(kinds))), "range": [_SHAPES[i % len(_SHAPES)] for i in range(len(kinds))]}
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": [{"at": line.value} for line in lines if line.is_dashed == dashed]},
            "mark": {"type": "rule", "stroke": "var(--muted)", "strokeDash": [5, 4] if dashed else [1, 0]},
            "encoding": {"x": {"field": "at", "type": "quantitative"}},
        }
        for dashed in (False, True)
        if any(line.is_dashed == dashed for line in lines)
    ]
    layers += [
        {
            "transform": [{"filter": "isValid(datum.low)"}],
            "mark": {"type": "rule", "stroke": "var(--ink)", "strokeWidth": 2},
            "encoding": {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}, "y": y},
        },
        {
            "mark": {"type": "point", "filled": True, "fill": "var(--ink)", "size": 60, "opacity": 1},
            "encoding": {
                "x": {"field": "value", "type": "quantitative", "axis": x_axis, "scale": {"zero": False, "padding": 8}},
                "y": y,
                "shape": {"field": "shape", "type": "nominal", "scale": shapes, "legend": None},
            },
        },
    ]
    specification = {
        "$schema": SCHEMA,
        "config": CONFIG,
        "width": WIDTH,
        "height": _ROW_HEIGHT * len(dots) + 48,
        "autosize": {"type": "fit", "contains": "padding"},
        "data": {"values": values},
        "layer": layers,
    }
    words = f"{axis}, by row: " + "; ".join(f"{dot.label} {dot.value:.3g}" for dot in dots) + "."
    words += "".join(f" A {'dashed' if line.is_dashed else 'solid'} line marks {line.meaning}." for line in lines)
    if left_out > 0:
        title += f" (the first {MOST_DOTS})"
        words += f" {left_out} rows more are in the table alone."
    return Chart(title, words, specification)


def curve_chart(title: str, x_axis: str, y_axis: str, points: Sequence[tuple[float, float]]) -> Chart:
    """A curve through points, each of which is marked unless there are many."""
    specification = {
        "$schema": SCHEMA,
        "config": CONFIG,
        "width": WIDTH,
        "height": _CURVE_HEIGHT,
        "autosize": {"type": "fit", "contains": "padding"},
        "data": {"values": [{"x": x, "y": y} for x, y in points]},
        "mark": {
            "type": "line",
            "stroke": "var(--ink)",
            "point": {"fill": "var(--ink)", "size": 40} if len(points) <= 40 else False,
        },
        "encoding": {
            "x": {
                "field": "x",
                "type": "quantitative",
                "axis": {"title": x_axis, "tickCount": 4, "format": "~s", "grid": False},
            },
            "y": {
                "field": "y",
                "type": "quantitative",
                "axis": {"title": y_axis, "tickCount": 5},
                "scale": {"zero": False},
            },
        },
    }
    first, last = points[0], points[-1]
    words = f"{y_axis} against {x_axis}: {first[1]:.4g} at {first[0]:,.0f}, {last[1]:.4g} at {last[0]:,.0f}."
    return Chart(title, words, specification)


def _unique(labels: Sequence[str]) -> list[str]:
    """Labels that differ, for one row would stand for both."""
    unique: dict[str, None] = {}
    for label in labels:
        names = itertools.chain([label], (f"{label} ({number})" for number in itertools.count(2)))
        unique[next(name for name in names if name not in unique)] = None
    return list(unique)
