"""Drift, growth, phases of heat and curves of load: what they expand to, and what may stand together."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_heat import BASE, laws, shares, workload
from tierenv.errors import ConfigError
from tierenv.heat import Heat
from tierenv.records import load_record, validate_record, with_changes
from tierenv.scenario import Scenario, load_scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.workload import Workload

HOT_TENTH = {"histogram": [[0.1, 0.9], [0.9, 0.1]]}


def table(mine: Workload) -> np.ndarray:
    """Returns the access shares, phases by classes."""
    return np.array([shares(mine, number) for number in range(len(mine.phases))])


@given(laws, st.integers(2, 40), st.integers(2, 40), st.floats(1e-4, 1))
@settings(deadline=None, max_examples=40)
def test_drift_conserves_accesses_in_every_step_and_heats_all_pages_alike_in_a_round(
    heat: dict[str, Any], classes: int, steps: int, speed: float
) -> None:
    mine = workload(heat=heat, drift={"share_per_s": speed, "classes": classes, "steps": steps})
    assert table(mine).sum(axis=1) == pytest.approx(np.ones(steps), abs=1e-9)
    assert table(mine).mean(axis=0) == pytest.approx(np.full(classes, 1 / classes), abs=1e-9)
    assert sum(phase.duration or 0 for phase in mine.phases) == pytest.approx(1 / speed)
    assert mine.layout == "address-order"


@pytest.mark.parametrize(("classes", "steps"), [(16, 16), (32, 50), (7, 3)])
def test_drift_moves_the_heat_by_what_it_says(classes: int, steps: int) -> None:
    mine = workload(
        heat={"normal": {"deviation": 0.08, "classes": 64}},
        drift={"share_per_s": 0.02, "classes": classes, "steps": steps},
    )
    angles = 2 * math.pi * (np.arange(classes) + 0.5) / classes
    moments = table(mine) @ np.exp(1j * angles)
    moved = np.angle(moments[1:] / moments[:-1]) / (2 * math.pi)
    durations = [phase.duration for phase in mine.phases]
    assert moved == pytest.approx(np.array(durations[1:]) * 0.02, abs=0.1 / classes)
    assert moved.mean() == pytest.approx(1 / steps, rel=0.15)


def test_a_step_of_drift_is_the_average_over_its_time() -> None:
    mine = workload(heat=HOT_TENTH, drift={"share_per_s": 0.1, "classes": 10, "steps": 20})
    fine = workload(heat=HOT_TENTH, drift={"share_per_s": 0.1, "classes": 10, "steps": 400})
    assert table(mine) == pytest.approx(table(fine).reshape(20, 20, 10).mean(axis=1), abs=1e-9)
    # while the hot tenth leaves its class by half, a quarter of it has left on average
    assert table(mine)[0, :2] == pytest.approx([0.9 * 0.75 + 0.25 / 90, 0.9 * 0.25 + 0.75 / 90])


@given(laws, st.floats(0.05, 0.95), st.integers(1, 4), st.booleans())
@settings(deadline=None, max_examples=40)
def test_memory_that_grows_or_shrinks_keeps_the_heat_of_its_classes(
    heat: dict[str, Any], few: float, steps: int, is_growing: bool
) -> None:
    given_heat = validate_record(Heat, heat, "mine")
    bands = given_heat.bands
    if given_heat.lies_in_order:
        with pytest.raises(ConfigError, match="growth: cannot stand beside a heat by addresses"):
            workload(heat=heat, growth={"from": few, "to": 1.0, "over": "60s", "steps": steps})
        return
    if (steps + 1) ** 2 * len(bands) > 8192 or (steps + 1) * len(bands) > 1000:
        return
    ends = {"from": few, "to": 1.0} if is_growing else {"from": 1.0, "to": few}
    mine = workload(heat=heat, growth={**ends, "over": "60s", "steps": steps})
    resident = []
    for phase in mine.phases:
        there = [each for each in mine.classes if each.name not in phase.absent]
        resident.append(sum(each.fraction for each in there))
        for band in bands:
            parts = [each for each in there if each.name.split("+")[0] == band.name]
            accesses = [phase.access_share.get(each.name, 0.0) for each in parts]
            assert sum(accesses) == pytest.approx(band.accesses, abs=1e-9)
            pages = np.array([each.fraction for each in parts])
            assert accesses == pytest.approx(band.accesses * pages / pages.sum(), abs=1e-9)
    assert resident == pytest.approx(np.linspace(ends["from"], ends["to"], steps + 1), abs=1e-9)
    assert [phase.duration for phase in mine.phases] == pytest.approx([60 / steps] * steps + [86400])


def test_a_tail_that_no_run_reaches_changes_no_page_walk() -> None:
    heat = {"histogram": [[1, 1]]}
    long = workload(heat=heat, growth={"from": 1, "to": 0.01, "over": "1440min", "steps": 1}, accesses_per_page=100)
    still = workload(heat=heat, accesses_per_page=100)
    pages = [
        load_scenario("skewed").replace(workload=each, size="1GiB", fast_capacity="256MiB").processes[0].active_pages
        for each in (long, still)
    ]
    assert pages[0] == pytest.approx(pages[1], rel=0.01)


@pytest.mark.parametrize("field", ["phase_order", "phase_length_jitter"])
def test_a_drift_has_its_order_and_lengths(field: str) -> None:
    value = {"phase_order": "shuffled", "phase_length_jitter": 0.5}[field]
    with pytest.raises(ConfigError, match=f"{field}: cannot stand beside drift"):
        workload(heat=HOT_TENTH, drift={"share_per_s": 0.1}, **{field: value})


def test_null_takes_back_what_a_file_below_says() -> None:
    assert workload(heat=HOT_TENTH, classes=None, phases=None, load=None).classes


def test_what_comes_later_starts_on_no_fast_node() -> None:
    heat = {"classes": {"all": {"fast_at_start": 0.5, "visits": "stream"}}}
    mine = workload(heat=heat, growth={"from": 0.5, "to": 1, "over": "10s", "steps": 1})
    assert [(each.name, each.fast_at_start, each.visits) for each in mine.classes] == [
        ("all", 0.5, "stream"),
        ("all+1", None, "stream"),
    ]


def test_phases_share_their_pages_and_a_shift_makes_others_hot() -> None:
    mine = workload(
        phases=[
            {"name": "a", "heat": HOT_TENTH},
            {"name": "b", "work": 2, "heat": {"histogram": [[0.3, 0.6], [0.7, 0.4]]}},
            {"name": "c", "heat": HOT_TENTH, "shift": 0.95},
        ]
    )
    assert [(each.name, each.fraction) for each in mine.classes] == [
        *(("c0-0", pytest.approx(0.05)), ("c0-1", pytest.approx(0.05))),
        *(("c1-0", pytest.approx(0.2)), ("c1-1", pytest.approx(0.65)), ("c1-2", pytest.approx(0.05))),
    ]
    cold = 0.1 / 0.9
    assert table(mine) == pytest.approx(
        np.array(
            [
                [0.45, 0.45, 0.2 * cold, 0.65 * cold, 0.05 * cold],
                [0.1, 0.1, 0.4, 0.65 * 0.4 / 0.7, 0.05 * 0.4 / 0.7],
                [0.45, 0.05 * cold, 0.2 * cold, 0.65 * cold, 0.45],
            ]
        )
    )
    assert [phase.work for phase in mine.phases] == [1, 2, 1]


@given(st.lists(st.tuples(laws, st.floats(0, 1)), min_size=1, max_size=3))
@settings(deadline=None, max_examples=30)
def test_phases_of_heat_conserve_pages_and_accesses(heats: list[tuple[dict[str, Any], float]]) -> None:
    mine = workload(phases=[{"name": "p", "heat": heat, "shift": shift} for heat, shift in heats])
    assert sum(each.fraction for each in mine.classes) == pytest.approx(1, abs=1e-9)
    assert table(mine).sum(axis=1) == pytest.approx(np.ones(len(heats)), abs=1e-9)


def test_classes_that_no_other_heat_cuts_keep_their_names_and_marks() -> None:
    first = {"classes": {"log": {"pages": 0.5, "accesses": 0.5, "visits": "stream"}, "rows": {}}}
    second = {"classes": {"any": {"pages": 0.5, "accesses": 1}, "other": {}}}
    mine = workload(
        phases=[
            {"name": "a", "duration": "5s", "heat": first},
            {"name": "b", "duration": "7s", "heat": second},
        ]
    )
    assert [(each.name, each.visits) for each in mine.classes] == [("log", "stream"), ("rows", "random")]
    assert [phase.duration for phase in mine.phases] == [5, 7]


@pytest.mark.parametrize(("low", "high", "steps"), [(0.2, 1.0, 24), (0.5, 0.5, 2), (0.1, 0.9, 5)])
def test_a_daily_load_is_a_sine_from_low_to_high_and_back(low: float, high: float, steps: int) -> None:
    load = {"daily": {"low": low, "high": high, "period": "60min", "steps": steps}}
    mine = workload(heat=HOT_TENTH, load=load)
    share = np.array([step.share for step in mine.load])
    assert sum(step.duration for step in mine.load) == pytest.approx(3600)
    assert share == pytest.approx(share[::-1]) and share.mean() == pytest.approx((low + high) / 2)
    assert low <= share.min() and share.max() <= high
    assert share.argmax() in (steps // 2, (steps - 1) // 2) and share.argmin() in (0, steps - 1)


@pytest.mark.parametrize("text", ["{on: 10s, off: 50s, low: 0.1}", "{'on': 10s, 'off': 50s, low: 0.1}"])
def test_bursts_may_be_written_as_yaml_reads_them(text: str) -> None:
    mine = workload(heat=HOT_TENTH, load={"bursts": yaml.safe_load(text)})
    assert [(step.duration, step.share) for step in mine.load] == [(10, 1), (50, 0.1)]
    assert workload(heat=HOT_TENTH, load=[step.model_dump() for step in mine.load]).identity == mine.identity


CLASSES = [{"name": "all", "fraction": 1}]
PHASE = {"name": "p", "heat": HOT_TENTH}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"heat": HOT_TENTH, "classes": CLASSES}, "heat: is given beside classes; heat stands in place of"),
        ({"heat": HOT_TENTH, "phases": []}, "heat: is given beside phases; heat stands in place of"),
        ({"heat": HOT_TENTH, "phases": [PHASE]}, "phases: are given beside heat; leave it out"),
        ({"phases": [PHASE], "classes": CLASSES}, "phases: is given beside classes"),
        ({"phases": [PHASE, {"name": "q"}]}, "phases.1.heat: required key is missing"),
        ({"phases": [PHASE | {"access_share": {}}]}, "phases.0.access_share: unknown key; allowed: name, work,"),
        ({"phases": [PHASE | {"duration": "0s"}]}, "phases.0.duration='0s': must be greater than or equal to"),
        ({"drift": {"share_per_s": 0.1}}, "drift: must stand beside heat"),
        ({"phases": [PHASE], "growth": {}}, "growth: must stand beside heat, of one phase"),
        ({"heat": HOT_TENTH, "drift": {"share_per_s": 0}}, "drift.share_per_s=0: must be greater than or equal to"),
        ({"heat": HOT_TENTH, "drift": {"share_per_s": 0.1, "classes": 128, "steps": 65}}, "must be at most 64"),
        ({"heat": HOT_TENTH, "drift": {"share_per_s": 1}, "growth": {}}, "growth: cannot stand beside drift; leave"),
        ({"heat": {"classes": {"a": {"visits": "stream"}}}, "drift": {"share_per_s": 1}}, "heat.classes.a: with drift"),
        ({"heat": HOT_TENTH, "growth": {"from": 0.5, "to": 1}}, "growth.over: required key is missing"),
        ({"heat": HOT_TENTH, "growth": {"from": 0.5, "to": 0.7, "over": "1s"}}, "growth: from=0.5: it or to must be 1"),
        ({"heat": HOT_TENTH, "growth": {"from": 1, "to": 1, "over": "1s"}}, "growth: to=1: must differ from from=1"),
        ({"heat": HOT_TENTH, "growth": {"form": 1, "to": 1}}, "growth.form: unknown key; did you mean 'from'?"),
        (
            {"heat": {"zipf": {"classes": 32}}, "growth": {"from": 0.5, "to": 1, "over": "1s", "steps": 16}},
            "growth.steps=16: with 32 classes of heat must be at most 15",
        ),
        (
            {"heat": {"zipf": {"classes": 256}}, "growth": {"from": 0.5, "to": 1, "over": "1s", "steps": 4}},
            "growth.steps=4: with 256 classes of heat must be at most 2",
        ),
        (
            {"heat": {"histogram": [[1 / 501, 1 / 501]] * 501}, "growth": {"from": 0.5, "to": 1, "over": "1s"}},
            "growth: heat has 501 classes; must have at most 500",
        ),
        (
            {"phases": [PHASE | {"shift": number / 100} for number in range(100)]},
            "phases: their heats cut the pages into 100 classes; must be at most 81",
        ),
        ({"heat": HOT_TENTH, "load": {}}, "load: must be one of daily, bursts, or a list of steps"),
        (
            {"heat": HOT_TENTH, "load": {"daily": {"low": 0, "period": "1s"}}},
            "load.daily.low=0: must be greater than or equal to 1e-06",
        ),
        (
            {"heat": HOT_TENTH, "load": {"daily": {"low": 0.5, "high": 0.2, "period": "1s"}}},
            "load.daily: low=0.5: must be at most high=0.2",
        ),
        ({"heat": HOT_TENTH, "load": 3}, "load=3: must be a list"),
        ({"heat": HOT_TENTH, "load": {"bursts": {True: "0s", False: "1s", "low": 1}}}, "load.bursts.on='0s': must be"),
        (
            {"heat": HOT_TENTH, "drift": {"share_per_s": 1e-6, "steps": 2}},
            "drift: steps=2: each would take 500000s; must",
        ),
        (
            {"heat": HOT_TENTH, "growth": {"from": 0.5, "to": 1, "over": "1ms"}},
            "growth: steps=8: each would take 125us; must take 1ms to 86400s",
        ),
        (
            {"heat": HOT_TENTH, "growth": {"from": 2, "to": 1, "over": "1ms"}},
            "growth.from=2: must be less than or equal",
        ),
        ({"load": {"daily": {"low": 0.5, "period": "2ms"}}}, "load.daily: steps=24: each would take 83.3333us"),
        ({"haet": HOT_TENTH}, "haet: unknown key; did you mean 'heat'?"),
    ],
)
def test_what_cannot_stand_together_or_be_is_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        workload(**values)
    assert str(caught.value).startswith("mine.yaml: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


def read(folder: Path, **files: str) -> Workload:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return load_record("workloads", Workload, str(folder / f"{name}.yaml"))


def test_a_heat_over_another_workload_takes_the_place_of_its_classes(tmp_path: Path) -> None:
    base = load_record("workloads", Workload, "moving-hot-set")
    mine = read(tmp_path, mine="like: moving-hot-set\nheat: {histogram: [[0.1, 0.9], [0.9, 0.1]]}\n")
    plain = workload(heat=HOT_TENTH)
    assert (mine.classes, mine.phases, mine.layout) == (plain.classes, plain.phases, "scattered")
    assert (mine.threads, mine.think, mine.phase_order) == (base.threads, base.think, "fixed")


def test_classes_over_a_heat_take_its_place(tmp_path: Path) -> None:
    text = "like: database\nclasses: [{name: a, fraction: 1}]\nphases: [{name: p, access_share: {a: 1}}]\n"
    mine = read(tmp_path, mine=text)
    assert [each.name for each in mine.classes] == ["a"] and not mine.is_timed


def test_a_heat_over_a_heat_differs_key_by_key_or_is_another_form(tmp_path: Path) -> None:
    mine = read(tmp_path, mine="like: database\nheat: {zipf: {exponent: 2}}\ndrift: null\n")
    assert mine.classes == workload(heat={"zipf": {"exponent": 2}}).classes and not mine.is_timed
    slower = read(tmp_path, slower="like: database\ndrift: {steps: 4}\n")
    assert [phase.duration for phase in slower.phases] == [250] * 4
    bell = read(tmp_path, bell="like: ./mine.yaml\nheat: {normal: {deviation: 0.2}}\n")
    assert shares(bell) == shares(workload(heat={"normal": {"deviation": 0.2}}))
    growing = read(tmp_path, growing="like: database\ngrowth: {from: 0.5, to: 1, over: 1s, steps: 1}\n")
    assert len(growing.phases) == 2
    busy = read(tmp_path, busy="like: cache\nload: {bursts: {on: 1s, off: 1s, low: 0.5}}\n")
    assert len(busy.load) == 2


def test_phases_of_heat_over_classes_take_their_place(tmp_path: Path) -> None:
    mine = read(tmp_path, mine="like: skewed\nphases: [{name: p, heat: {histogram: [[0.1, 0.9], [0.9, 0.1]]}}]\n")
    assert [each.name for each in mine.classes] == ["c0", "c1"]


def test_a_heat_may_stand_wherever_a_scenario_has_a_workload(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        yaml.safe_dump({"like": "skewed", "workload": load_scenario("skewed").workload.model_dump()})
    )
    (tmp_path / "mine.yaml").write_text(
        "like: base.yaml\nworkload: {heat: {histogram: [[0.1, 0.9], [0.9, 0.1]]}}\n"
        "corunners: [{workload: {like: stream, threads: 8}, size: 1GiB, lifetime: repeating}]\n"
    )
    mine = load_scenario(str(tmp_path / "mine.yaml"))
    assert shares(mine.workload) == [0.9, 0.1]
    assert mine.corunners[0].workload.threads == 8 and mine.corunners[0].workload.classes[0].visits == "stream"
    changed = with_changes(load_scenario("skewed"), {"workload": {"heat": HOT_TENTH}}, "changed")
    assert shares(changed.workload) == [0.9, 0.1]
    again = validate_record(Scenario, yaml.safe_load(yaml.safe_dump(mine.model_dump())), "again")
    assert again.identity == mine.identity


@pytest.mark.parametrize("short", [{"drift": {"share_per_s": 0.01}}, {"growth": {"from": 0.2, "to": 1, "over": "9s"}}])
def test_what_was_expanded_is_self_contained(short: dict[str, Any]) -> None:
    mine = workload(heat={"zipf": {"classes": 8}}, load={"bursts": {"on": "1s", "off": "1s", "low": 0.5}}, **short)
    again = validate_record(Workload, yaml.safe_load(yaml.safe_dump(mine.model_dump())), "again")
    assert again == mine and again.identity == mine.identity
    assert BASE.keys() <= mine.model_dump().keys() and not {"heat", "drift", "growth"} & mine.model_dump().keys()


def test_a_model_runs_what_was_expanded() -> None:
    small = {"size": "256MiB", "fast_capacity": "64MiB", "regions": 2}
    base = {"like": "skewed", "heat": {"histogram": [[0.25, 0.75], [0.75, 0.25]]}, "accesses_per_page": 20000}
    growth = {"growth": {"from": 0.25, "to": 1, "over": "4s", "steps": 2}}
    drift = {
        "drift": {"share_per_s": 0.1, "classes": 4, "steps": 8},
        "load": {"bursts": {"on": "1s", "off": "2s", "low": 0.1}},
    }
    scenarios = [load_scenario("skewed").replace(workload=base | short, **small) for short in (growth, drift)]
    machines = LumpedSystem(scenarios)
    machines.reset(np.array([1, 1], np.uint64), ["training", "training"])
    resident = []
    for _ in range(3):
        resident.append(machines.resident_pages[0] / scenarios[0].pages)
        machines.advance(2.5)
    assert resident == pytest.approx([0.25, 0.625, 1], abs=0.01)
    assert machines.phase[1] == 6
    machines.run_to_end()
    assert machines.is_done.all()


def test_workloads_to_start_from_run() -> None:
    small = {"size": "64MiB", "fast_capacity": "16MiB", "regions": 1}
    names = ("database", "cache", "stream", "batch")
    scenarios = [load_scenario("skewed").replace(workload=name, **small) for name in names]
    machines = LumpedSystem(scenarios)
    machines.reset(np.ones(4, np.uint64), ["training"] * 4)
    machines.run_to_end()
    assert machines.is_done.all() and (machines.elapsed_s < 60).all()
