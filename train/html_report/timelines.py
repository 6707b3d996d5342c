"""Pictures over time: which classes hold the fast tier and which tunables are in force, a picture for each policy.

Drawn as all charts are, and again by the reader's browser, where `begin`, `end`, `cursor` and `shown` are the reader's
choice.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from tierenv.render import MOST_PHASE_LINES
from tierenv.train.html_report.charts import CONFIG, SCHEMA, WIDTH
from tierenv.train.html_report.document import LiveChart, Table, Timelines
from tierenv.train.results import Part
from tierenv.train.texts import four_digits
from tierenv.tunables import TUNABLES

MOST_CLASSES = 10
"""As many patterns as the page's style has."""
MOST_TUNABLES = 8
MOST_POINTS = 1000
_TABLE_ROWS = 12
_AXIS_PIXELS = 58
_OCCUPANCY_HEIGHT = 150
_TUNABLE_HEIGHT = 44

Time = Annotated[float, Field(ge=0, le=1e9)]
Gib = Annotated[float, Field(ge=0, le=1e9)]
Bound = Annotated[float, Field(gt=0, le=1e18)]
Value = Annotated[float, Field(ge=0, le=1e18)]


class PhaseStart(Part):
    """When a phase began."""

    from_s: Time
    name: str


class ClassOverTime(Part):
    """What a class holds of the fast tier."""

    name: str
    fast_gib: Annotated[tuple[Gib, ...], Field(max_length=MOST_POINTS)]


class TunableOverTime(Part):
    """What a tunable was set to."""

    name: str
    unit: str = ""
    min: Bound
    max: Bound
    values: Annotated[tuple[Value | None, ...], Field(max_length=MOST_POINTS)]
    """None for unlimited."""


class StoredTimeline(Part):
    """An episode of one policy on one scenario, as `tierenv.train.timelines` stores it."""

    scenario: str
    policy: str
    seed: int | None = None
    capacity_gib: Annotated[float, Field(gt=0, le=1e9)]
    phases: tuple[PhaseStart, ...] = ()
    time_s: Annotated[tuple[Time, ...], Field(min_length=2, max_length=MOST_POINTS)]
    classes: Annotated[tuple[ClassOverTime, ...], Field(min_length=1, max_length=MOST_CLASSES)]
    tunables: Annotated[tuple[TunableOverTime, ...], Field(max_length=MOST_TUNABLES)] = ()

    @property
    def problem(self) -> str:
        """What is wrong with it as a whole; empty if nothing is."""
        lengths = [("classes", len(entry.fast_gib)) for entry in self.classes]
        lengths += [("tunables", len(entry.values)) for entry in self.tunables]
        for field, length in lengths:
            if length != len(self.time_s):
                return f"{field}: must have as many numbers as time_s, {len(self.time_s)}, got {length}"
        if any(later <= earlier for earlier, later in zip(self.time_s, self.time_s[1:], strict=False)):
            return "time_s: must increase"
        return ""


def timelines_of(scenario: str, stored: Sequence[StoredTimeline]) -> Timelines:
    """The pictures of all policies on a scenario, on common axes."""
    end_s = max(entry.time_s[-1] for entry in stored)
    capacity_gib = max(entry.capacity_gib for entry in stored)
    classes = [entry.name for entry in max(stored, key=lambda entry: len(entry.classes)).classes]
    return Timelines(
        title=scenario,
        caption=(
            "What holds the fast tier, by class of pages, and the tunables in force, in one episode of each policy. "
            f"Dashed lines are changes of phase, where there are at most {MOST_PHASE_LINES}."
        ),
        classes=classes,
        end_s=end_s,
        charts=[_chart(entry, end_s, capacity_gib) for entry in stored],
    )


def _chart(stored: StoredTimeline, end_s: float, capacity_gib: float) -> LiveChart:
    specification = _specification(stored, end_s, capacity_gib)
    title = f"{stored.policy}: {stored.time_s[-1]:.1f} s"
    held = [
        f"{entry.name} {entry.fast_gib[0]:.3g} at the start and {entry.fast_gib[-1]:.3g} at the end"
        for entry in stored.classes
    ]
    words = f"GiB of the fast tier ({stored.capacity_gib:.3g} GiB) held by class: {'; '.join(held)}."
    if stored.tunables:
        words += f" Below it the tunables {', '.join(entry.name for entry in stored.tunables)}."
    return LiveChart(title, words, specification, _numbers(stored))


def _numbers(stored: StoredTimeline) -> Table:
    """Some of the records as a table."""
    count = len(stored.time_s)
    rows = min(_TABLE_ROWS, count)
    kept = [round(index * (count - 1) / (rows - 1)) for index in range(rows)]
    columns = ["time [s]", "phase", *(f"{entry.name} [GiB]" for entry in stored.classes)]
    columns += [entry.name for entry in stored.tunables]
    return Table(
        f"{stored.policy} over time",
        columns,
        [
            [
                f"{stored.time_s[index]:.1f}",
                _phase(stored, stored.time_s[index]),
                *(f"{entry.fast_gib[index]:.2f}" for entry in stored.classes),
                *(_setting(entry, entry.values[index]) for entry in stored.tunables),
            ]
            for index in kept
        ],
        numbers_from=2,
    )


def _phase(stored: StoredTimeline, time_s: float) -> str:
    begun = [phase.name for phase in stored.phases if phase.from_s <= time_s]
    return begun[-1] if begun else "-"


def _setting(tunable: TunableOverTime, value: float | None) -> str:
    """A value of a tunable for people."""
    if value is None:
        return "unlimited"
    if tunable.name in TUNABLES:
        return TUNABLES[tunable.name].quantity.text(value)
    return f"{four_digits(value)} {tunable.unit}".strip()


def _state(stored: StoredTimeline, index: int) -> tuple[str, ...]:
    """Phase and settings of a record, in words."""
    settings = (_setting(entry, entry.values[index]) for entry in stored.tunables)
    return (_phase(stored, stored.time_s[index]), *settings)


def _specification(stored: StoredTimeline, end_s: float, capacity_gib: float) -> dict[str, Any]:
    states = [_state(stored, index) for index in range(len(stored.time_s))]
    distinct = {state: number for number, state in enumerate(dict.fromkeys(states))}
    values = [
        {"t": time_s}
        | {f"c{number}": entry.fast_gib[index] for number, entry in enumerate(stored.classes)}
        | {f"u{number}": _drawn(entry, entry.values[index]) for number, entry in enumerate(stored.tunables)}
        | {"state": distinct[states[index]]}
        for index, time_s in enumerate(stored.time_s)
    ]
    is_marked = len(stored.phases) <= MOST_PHASE_LINES
    changes = [{"at": phase.from_s} for phase in stored.phases[1:] if is_marked]
    panels = [_occupancy(len(stored.classes), capacity_gib), *map(_panel, range(len(stored.tunables)), stored.tunables)]
    for panel in panels:
        panel["layer"] += [*([_rule(changes, "var(--muted)", [4, 3])] if changes else []), _cursor()]
        panel["width"] = WIDTH - _AXIS_PIXELS - 12
        for layer in panel["layer"]:
            layer["encoding"]["x"]["axis"] = _time_axis(is_last=panel is panels[-1])
    return {
        "$schema": SCHEMA,
        "config": CONFIG,
        "usermeta": {
            "classes": [entry.name for entry in stored.classes],
            "tunables": [entry.name.replace("_", " ") for entry in stored.tunables],
            "states": list(distinct),
        },
        "params": [
            {"name": "begin", "value": 0},
            {"name": "end", "value": end_s},
            {"name": "cursor", "value": -1},
            {"name": "shown", "value": [f"c{number}" for number in range(len(stored.classes))]},
            *(
                {"name": f"ends{number}", "value": [_setting(entry, entry.min), _setting(entry, entry.max)]}
                for number, entry in enumerate(stored.tunables)
            ),
        ],
        "padding": {"left": 2, "top": 6, "right": 8, "bottom": 2},
        "spacing": 10,
        "data": {"name": "records", "values": values},
        "vconcat": panels,
    }


def _x(field: str) -> dict[str, Any]:
    domain = {"domainMin": {"expr": "begin"}, "domainMax": {"expr": "end"}, "nice": False, "zero": False}
    return {"field": field, "type": "quantitative", "scale": domain}


def _time_axis(*, is_last: bool) -> dict[str, Any]:
    """Words below the last panel alone."""
    axis: dict[str, Any] = {"tickCount": 5, "grid": False, "format": ",~r"}
    return axis | ({"title": "time [s]"} if is_last else {"title": None, "labels": False})


def _y_axis(**more: Any) -> dict[str, Any]:
    return {"title": None, "minExtent": _AXIS_PIXELS, "maxExtent": _AXIS_PIXELS} | more


def _heading(text: str) -> dict[str, Any]:
    """What a panel shows, above it, where there is room for a name."""
    look = {"anchor": "start", "fontSize": 12, "fontWeight": "normal", "color": "var(--text)", "offset": 4}
    return {"text": text, "limit": WIDTH - _AXIS_PIXELS} | look


def _occupancy(num_classes: int, capacity_gib: float) -> dict[str, Any]:
    fields = [f"c{number}" for number in range(num_classes)]
    patterns = [f"url(#class-{number})" for number in range(num_classes)]
    area = {
        "transform": [{"fold": fields}, {"filter": "indexof(shown, datum.key) >= 0"}],
        "mark": {"type": "area", "clip": True, "stroke": "var(--page)", "strokeWidth": 1},
        "encoding": {
            "x": _x("t"),
            "y": {
                "field": "value",
                "type": "quantitative",
                "stack": "zero",
                "scale": {"domain": [0, capacity_gib], "nice": False},
                "axis": _y_axis(tickCount=4, format=",~r"),
            },
            "fill": {
                "field": "key",
                "type": "nominal",
                "scale": {"domain": fields, "range": patterns},
                "legend": None,
            },
        },
    }
    return {"title": _heading("fast tier [GiB]"), "height": _OCCUPANCY_HEIGHT, "layer": [area]}


def _panel(number: int, tunable: TunableOverTime) -> dict[str, Any]:
    """A tunable on the log scale of its range; 0 and unlimited stand just outside of it."""
    ends = list(dict.fromkeys([tunable.min, tunable.max]))
    domain = [_drawn(tunable, 0.0) / 1.4, _drawn(tunable, None) * 1.4]
    line = {
        "mark": {"type": "line", "clip": True, "interpolate": "step-before", "stroke": "var(--ink)"},
        "encoding": {
            "x": _x("t"),
            "y": {
                "field": f"u{number}",
                "type": "quantitative",
                "scale": {"type": "log", "base": 2, "nice": False, "domain": domain},
                "axis": _y_axis(values=ends, labelExpr=f"ends{number}[datum.value > {ends[0]} ? 1 : 0]"),
            },
        },
    }
    title = tunable.name.replace("_", " ")
    return {"title": _heading(title), "height": _TUNABLE_HEIGHT, "layer": [line]}


def _drawn(tunable: TunableOverTime, value: float | None) -> float:
    """Where a value stands in its panel."""
    below, above = tunable.min / 2, tunable.max * 2
    return above if value is None else min(max(value, below), above)


def _rule(values: list[dict[str, float]], colour: str, dash: list[int]) -> dict[str, Any]:
    return {
        "data": {"values": values},
        "mark": {"type": "rule", "clip": True, "stroke": colour, "strokeDash": dash},
        "encoding": {"x": _x("at")},
    }


def _cursor() -> dict[str, Any]:
    """Where the reader looks."""
    layer = _rule([{"at": 0}], "var(--ink)", [1, 0])
    layer["transform"] = [{"calculate": "cursor", "as": "at"}]
    layer["mark"]["opacity"] = {"expr": "cursor >= begin ? 1 : 0"}
    return layer
