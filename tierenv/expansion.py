"""From the short forms of a workload to its canonical fields.

`expand` is applied when a workload is read: what simulators, `model_dump` and `identity` know are `classes`, `phases`
and the steps of `load`.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.heat import Band, numbered, rounded
from tierenv.heat_file import LEAST_PAGES, MAX_ROWS
from tierenv.records import validate_record
from tierenv.short_forms import (
    MAX_SHARES,
    SHAPE,
    Drift,
    Growth,
    HeatPhase,
    LoadCurve,
    ShortForms,
    has_heats,
)
from tierenv.units import DAY_S

NULLABLE = (*SHAPE, "classes", "phases", "load")
"""Keys with which null takes back what another file says."""
SAME_EDGE = LEAST_PAGES / 2
"""Classes of two heats end at the same page where their ends are nearer than this."""
NOTHING = 1e-12
"""Shares of accesses below this are none."""
DECIMALS = 12
"""Of shares of accesses, which are differences: other mathematics differ in the 16th, and the workload must not."""


def expand(values: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping with canonical fields in place of short forms. Raises `ConfigError` that names the field."""
    values = {key: value for key, value in values.items() if value is not None or key not in NULLABLE}
    short = {key: values[key] for key in SHAPE if key in values}
    if has_heats(values.get("phases")):
        short["phases"] = values["phases"]
    _check_together(short, values)
    if isinstance(values.get("load"), Mapping):
        short["load"] = _with_on_and_off(values["load"])
    forms = validate_record(ShortForms, short, "")
    rest = {key: value for key, value in values.items() if key not in {*short, *SHAPE}}
    if forms.load is not None:
        rest["load"] = load_steps(forms.load)
    return _layout(forms) | rest | _classes_and_phases(forms)


def _with_on_and_off(load: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping with the keys of `Bursts` as texts: YAML 1.1 reads true and false in on and off."""
    bursts = load.get("bursts")
    if not isinstance(bursts, Mapping):
        return dict(load)
    return dict(load) | {
        "bursts": {{True: "on", False: "off"}[key] if isinstance(key, bool) else key: bursts[key] for key in bursts}
    }


def _check_together(short: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Refuse what cannot stand side by side."""
    others = [key for key in ("classes", "phases") if key in values]
    if "phases" in short:
        others.remove("phases")
    for key in ("heat", "phases"):
        if key in short and others:
            raise ValueError(f"{key}: is given beside {others[0]}; heat stands in place of classes and phases")
    for key in ("drift", "growth"):
        if key in short and "heat" not in short:
            raise ValueError(f"{key}: must stand beside heat, of one phase")
    if "drift" in short and "growth" in short:
        raise ValueError("growth: cannot stand beside drift; leave one out, or write phases with absent")
    for key in ("drift", "growth"):
        if key in short:
            for other in ("phase_order", "phase_length_jitter"):
                if values.get(other) not in (None, "fixed", 0):
                    raise ValueError(f"{other}: cannot stand beside {key}, whose phases have their order and lengths")
    if "heat" in short and "phases" in short:
        raise ValueError("phases: are given beside heat; leave it out, or give each phase's heat")


def _layout(forms: ShortForms) -> dict[str, str]:
    """Where classes lie that are told by addresses, unless the file says it."""
    heats = [forms.heat] if forms.heat else [phase.heat for phase in forms.phases or ()]
    is_by_address = forms.drift is not None or any(heat.lies_in_order for heat in heats)
    return {"layout": "address-order"} if is_by_address else {}


def _classes_and_phases(forms: ShortForms) -> dict[str, Any]:
    if forms.phases is not None:
        return heat_phases(forms.phases)
    if forms.heat is None:
        return {}
    if forms.drift is not None:
        return drifting(forms.heat.bands, forms.drift)
    if forms.growth is not None:
        if forms.heat.lies_in_order:
            raise ValueError("growth: cannot stand beside a heat by addresses; write phases with absent")
        return growing(forms.heat.bands, forms.growth)
    bands = forms.heat.bands
    return {"classes": _classes(bands), "phases": [_phase("run", bands, [band.accesses for band in bands])]}


def _classes(bands: Sequence[Band]) -> list[dict[str, Any]]:
    """Their classes, as a file has them."""
    marks = ("visits", "fast_at_start")
    return [
        {"name": band.name, "fraction": rounded(band.pages)}
        | {mark: getattr(band, mark) for mark in marks if getattr(band, mark) is not None}
        for band in bands
    ]


def _phase(name: str, bands: Sequence[Band], accesses: Iterable[float], **more: Any) -> dict[str, Any]:
    shares = np.array(list(accesses))
    shares /= shares.sum()  # of narrow bands differences lose digits
    named = {
        band.name: round(float(share), DECIMALS) for band, share in zip(bands, shares, strict=True) if share > NOTHING
    }
    return {"name": name, **{key: value for key, value in more.items() if value is not None}, "access_share": named}


def _ends(bands: Sequence[Band]) -> NDArray[np.float64]:
    """Ends of the bands as shares of all pages, 0 in front."""
    return np.array([0.0, *itertools.accumulate(band.pages for band in bands)]).clip(0, 1)


def _below(bands: Sequence[Band], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the accesses on pages below each place; of places beyond 1, whole rounds are added."""
    ends = _ends(bands)
    ends[-1] = 1.0
    sums = np.array([0.0, *itertools.accumulate(band.accesses for band in bands)])
    return np.floor(places) * sums[-1] + np.interp(places % 1.0, ends, sums)


def drifting(bands: Sequence[Band], drift: Drift) -> dict[str, Any]:
    """Classes and timed phases of a profile that moves over a ring of pages.

    With the profile's integral C(x), the accesses below page share x, the class from x to y has the share
    C(y - d) - C(x - d) when the profile has moved by d. A step has the average of that over the d of its time, from
    the integral of C, which is exact: C is piecewise linear.
    """
    marked = next((band.name for band in bands if band.visits is not None or band.fast_at_start is not None), None)
    if marked is not None:
        raise ValueError(
            f"heat.classes.{marked}: with drift, what is hot moves over all pages; leave out visits and fast_at_start"
        )
    ring = [Band(name, 1 / drift.classes, 0.0) for name in numbered(drift.classes, "p")]
    edges = np.arange(drift.classes + 1) / drift.classes
    length = 1 / drift.steps
    phases = []
    for step, name in enumerate(numbered(drift.steps, "step-")):
        # the profile comes from the left, so that places are looked up from where it was, a round ahead of 0
        late = _integral(bands, 1 + edges - step * length)
        early = _integral(bands, 1 + edges - (step + 1) * length)
        phases.append(_phase(name, ring, np.diff((late - early) / length), duration=_time(length / drift.share_per_s)))
    return {"classes": _classes(ring), "phases": phases}


def _integral(bands: Sequence[Band], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """The integral of `_below` from 0 to each place."""
    ends = _ends(bands)
    sums = _below(bands, ends[:-1])
    slopes = np.array([band.accesses / band.pages for band in bands])
    lengths = np.diff(ends)
    areas = np.array([0.0, *itertools.accumulate(sums * lengths + slopes * lengths**2 / 2)])
    rounds, rest = np.floor(places), places % 1.0
    piece = np.searchsorted(ends, rest, side="right") - 1
    piece = piece.clip(0, len(bands) - 1)
    beyond = rest - ends[piece]
    inside = areas[piece] + sums[piece] * beyond + slopes[piece] * beyond**2 / 2
    return rounds * (rounds - 1) / 2 + rounds * areas[-1] + rounds * rest + inside


def growing(bands: Sequence[Band], growth: Growth) -> dict[str, Any]:
    """Classes cut into what is always there and a part for each step, and a timed phase for each size.

    A class keeps its share of the accesses, which is spread evenly over those of its parts that are there.
    """
    few, steps = min(growth.from_, growth.to), growth.steps
    most = min(math.isqrt(MAX_SHARES // len(bands)), MAX_ROWS // len(bands)) - 1
    if most < 1:
        raise ValueError(f"growth: heat has {len(bands)} classes; must have at most {MAX_ROWS // 2}")
    if steps > most:
        raise ValueError(f"growth.steps={steps}: with {len(bands)} classes of heat must be at most {most}")
    sizes = [few, *[(1 - few) / steps] * steps]
    parts = [[replace(band, pages=band.pages * few) for band in bands]]
    for number, size in enumerate(sizes[1:], 1):
        part = [replace(band, name=f"{band.name}+{number}", pages=band.pages * size) for band in bands]
        if growth.to > growth.from_:  # what comes later comes to the slow node
            part = [replace(band, fast_at_start=None) for band in part]
        parts.append(part)
    everything = [band for part in parts for band in part]
    phases = []
    for step in range(steps + 1):
        there = 1 + (step if growth.to > growth.from_ else steps - step)
        resident = math.fsum(sizes[:there])
        accesses = [
            band.accesses * size / resident if number < there else 0.0
            for number, (size, part) in enumerate(zip(sizes, parts, strict=True))
            for band in part
        ]
        absent = [band.name for part in parts[there:] for band in part]
        # phases begin again after the last one: that one lasts longer than any run
        duration_s = growth.over / steps if step < steps else DAY_S
        phases.append(
            _phase(f"resident {resident:.4g}", everything, accesses, duration=_time(duration_s), absent=absent or None)
        )
    return {"classes": _classes(everything), "phases": phases}


def heat_phases(phases: Sequence[HeatPhase]) -> dict[str, Any]:
    """Classes of which every phase's heat is made, those of the first heat cut where others end, and the phases."""
    first = phases[0].heat.bands
    for number, phase in enumerate(phases[1:], 1):
        for band, own in itertools.zip_longest(phase.heat.bands, first):
            marks = (band.visits, band.fast_at_start) if band else (None, None)
            if marks != (None, None) and (own is None or marks != (own.visits, own.fast_at_start)):
                raise ValueError(
                    f"phases.{number}.heat.classes.{band.name}: visits and fast_at_start are the first phase's to say"
                )
    ends = [_ends(first)[1:-1], *[(_ends(phase.heat.bands) + phase.shift) % 1.0 for phase in phases]]
    edges = [0.0]
    for end in sorted(np.concatenate(ends)):
        if end - edges[-1] > SAME_EDGE and 1 - end > SAME_EDGE:
            edges.append(float(end))
    most = min(MAX_ROWS, MAX_SHARES // len(phases))
    if len(edges) > most:
        raise ValueError(f"phases: their heats cut the pages into {len(edges)} classes; must be at most {most}")
    places = np.array([*edges, 1.0])
    pieces = _cut(first, places)
    return {
        "classes": _classes(pieces),
        "phases": [
            _phase(
                phase.name,
                pieces,
                np.diff(_below(phase.heat.bands, 1 + places - phase.shift)),
                work=phase.work,
                duration=None if phase.duration is None else _time(phase.duration),
            )
            for phase in phases
        ],
    }


def _cut(bands: Sequence[Band], places: NDArray[np.float64]) -> list[Band]:
    """The bands in pieces that end at these places; those of one that is cut are numbered."""
    owners = np.searchsorted(_ends(bands)[1:-1], (places[1:] + places[:-1]) / 2)
    pieces = []
    for owner, group in itertools.groupby(zip(owners, np.diff(places), strict=True), key=lambda piece: piece[0]):
        lengths = [length for _, length in group]
        names = [bands[owner].name] if len(lengths) == 1 else numbered(len(lengths), f"{bands[owner].name}-")
        pieces += [
            replace(bands[owner], name=name, pages=float(length)) for name, length in zip(names, lengths, strict=True)
        ]
    return pieces


def load_steps(curve: LoadCurve) -> list[dict[str, Any]]:
    """The steps of a curve."""
    if curve.bursts is not None:
        levels = ((curve.bursts.on, curve.bursts.high), (curve.bursts.off, curve.bursts.low))
        return [{"duration": _time(duration_s), "share": share} for duration_s, share in levels]
    assert curve.daily is not None
    daily, turn = curve.daily, 2 * math.pi / curve.daily.steps
    steps = []
    for step in range(daily.steps):
        # the average over the step of (1 - cos t) / 2
        rise = (1 - (math.sin((step + 1) * turn) - math.sin(step * turn)) / turn) / 2
        steps.append(
            {
                "duration": _time(daily.period / daily.steps),
                "share": rounded(daily.low + (daily.high - daily.low) * rise),
            }
        )
    return steps


def _time(seconds: float) -> str:
    """A time as a file has it."""
    return f"{rounded(seconds)!r}s"
