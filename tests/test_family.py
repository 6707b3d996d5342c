"""Families: sets that share nothing, mixes that are met, scenarios that follow from family, seed and number alone."""

import copy
import pickle
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny_family import tiny_family, write_family
from tierenv import family as families
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.family import LEAST_FINAL, SPLITS, Family, Split, load_family
from tierenv.records import load_record, packaged, validate_record
from tierenv.scenario import Scenario
from tierenv.sim.parameters import alone_s, scenario_arrays
from tierenv.workload import Workload

KINDS = ("separable", "flat", "nothing-to-win")


@cache
def tiny() -> Family:
    return read()


def read() -> Family:
    return validate_record(Family, tiny_family(name="tiny"), "tiny.yaml")


RANGE = "forms.mild-final.scenario.workload.memory_parallelism"


def changed(place: str, value: Any) -> dict[str, Any]:
    """Returns the tiny family with another value at a place; None leaves it out."""
    return put(tiny().model_dump(mode="json"), place, value)  # which needs no file to be read


def read_with(place: str, value: Any) -> Family:
    """Returns the tiny family with another value at a place, read."""
    return validate_record(Family, changed(place, value), "")


def put(content: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """Returns the content of a family with another value at a place; None leaves it out."""
    *path, last = place.split(".")
    here: Any = content
    for key in path:
        here = here[key]
    if value is None:
        del here[last]
    else:
        here[last] = value
    return content


def without_daemon(scenario: Scenario) -> Scenario:
    return scenario.under(load_daemon("kmmscand-tunable"))


@pytest.mark.parametrize("name", packaged("families"))
def test_packaged_families_keep_their_sets_apart(name: str) -> None:
    mine = load_family(name)
    assert mine.name == name and mine.summary
    splits = [getattr(mine.splits, split) for split in SPLITS]
    for field in ("platforms", "forms"):
        names = [name for split in splits for name in getattr(split, field)]
        assert len(set(names)) == len(names) and min(len(getattr(split, field)) for split in splits) >= 3
    assert len({split.seed for split in splits}) == 3
    assert mine.splits.final.scenarios >= LEAST_FINAL and mine.splits.selection.scenarios >= 24


MOST_DRAWN = 2000
"""Scenarios of a set: all of a training set take a minute."""


@pytest.mark.parametrize("name", packaged("families"))
def test_all_scenarios_of_packaged_families_are_valid_and_one_policy_can_be_for_them(name: str) -> None:
    mine = load_family(name)
    for split in SPLITS:
        plan = getattr(mine.splits, split)
        drawn = mine.drawn(split, min(plan.scenarios, MOST_DRAWN))
        counts = Counter(each.kind for each in drawn)
        assert all(abs(counts[kind] - share * len(drawn)) <= 1 for kind, share in plan.mix.items())
        assert {(each.scenario.regions, each.scenario.control_interval) for each in drawn} == {(64, 2.0)}
        assert len({each.scenario.identity for each in drawn}) == len(drawn)
        for each in drawn[:20]:
            assert 50 <= alone_s(scenario_arrays(each.scenario))[0] <= 450


@given(
    st.integers(1, 1000), st.lists(st.integers(0, 1000), min_size=3, max_size=3).filter(lambda parts: sum(parts) > 0)
)
def test_a_mix_is_met_to_less_than_one_scenario(scenarios: int, parts: list[int]) -> None:
    mix = {kind: part / sum(parts) for kind, part in zip(KINDS, parts, strict=True)}
    split = Split(platforms=("a",), forms=("b",), scenarios=scenarios, seed=0, mix=mix)  # type: ignore[arg-type]
    assert sum(split.counts.values()) == scenarios
    assert all(abs(split.counts[kind] - share * scenarios) < 1 + 1e-6 for kind, share in mix.items())  # type: ignore[index]


def test_largest_remainders_get_what_is_left() -> None:
    mix = {"separable": 0.5, "flat": 0.2, "nothing-to-win": 0.3}
    split = Split(platforms=("a",), forms=("b",), scenarios=24, seed=0, mix=mix)  # type: ignore[arg-type]
    assert split.counts == {"separable": 12, "flat": 5, "nothing-to-win": 7}  # of 12, 4.8 and 7.2


@given(st.integers(0, 2**64 - 1), st.integers(1, 40), st.sampled_from(SPLITS))
@settings(max_examples=40)
def test_forms_and_platforms_have_their_turns(seed: int, scenarios: int, name: Any) -> None:
    split: Split = getattr(tiny().splits, name).model_copy(
        update={
            "scenarios": scenarios,
            "seed": seed,
            "platforms": ("near", "far", "last"),
            "forms": tuple(tiny().forms),
        }
    )
    mine = tiny().model_copy(update={"splits": tiny().splits.model_copy(update={name: split})})
    plan = mine._plan(name)
    assert Counter(mine.forms[form].kind for form, _ in plan) == Counter(split.counts)
    for kind in KINDS:
        turns = [sum(form == each for each, _ in plan) for form in split.forms if mine.forms[form].kind == kind]
        assert max(turns) - min(turns) <= 1
    for form in split.forms:
        platforms = [sum(entry == (form, platform) for entry in plan) for platform in split.platforms]
        assert max(platforms) - min(platforms) <= 1
    for number in range(1, len(plan) + 1):  # the first few have the mix, too
        for kind, count in split.counts.items():
            first = sum(mine.forms[form].kind == kind for form, _ in plan[:number])
            assert abs(first - count * number / len(plan)) < 2


@given(st.sampled_from(SPLITS), st.integers(1, 10))
@settings(max_examples=10)
def test_a_scenario_is_the_same_whatever_number_is_asked_for(split: Any, number: int) -> None:
    whole = tiny().scenarios(split)
    assert tiny().scenarios(split, number) == whole[:number]
    assert read().scenarios(split, number) == whole[:number], "read anew"


@pytest.mark.parametrize("daemon", ["numa-balancing", "kmmscand-v1"])
def test_a_scenario_is_the_same_whatever_the_daemon(daemon: str) -> None:
    for split in SPLITS:
        others = tiny().under(load_daemon(daemon)).scenarios(split)
        assert {scenario.daemon.name for scenario in others} == {daemon}
        assert tuple(map(without_daemon, others)) == tiny().scenarios(split)
        assert tiny().under(load_daemon(daemon)).identity_of_split(split) == tiny().identity_of_split(split)


def test_another_seed_or_set_draws_others_and_the_other_sets_stay() -> None:
    other = validate_record(Family, changed("splits.final.seed", 77), "")
    mine, theirs = ([each.identity for each in one.scenarios("final")] for one in (tiny(), other))
    assert mine != theirs and tiny().identity_of_split("final") != other.identity_of_split("final")
    for split in ("training", "selection"):
        assert other.scenarios(split) == tiny().scenarios(split)  # type: ignore[arg-type]
        assert other.identity_of_split(split) == tiny().identity_of_split(split)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("place", "value", "decides"),
    [
        ("forms.hot-final.scenario.size", "100MiB", True),
        ("forms.mild-final.let", {"unused": {"draw": "uniform", "from": 1, "to": 2}}, False),
        (RANGE, {"draw": "uniform", "from": 1, "to": 5}, True),
        (RANGE, {"draw": "uniform", "from": 1.0, "to": 4}, True),
        (RANGE, {"draw": "log-uniform", "from": 1, "to": 4}, True),
        (RANGE, {"draw": "uniform", "from": 1, "to": 4, "step": 2}, True),
        ("forms.hot-final.summary", "another", False),
        ("forms.hot-training.scenario.size", "100MiB", False),
        ("platforms.last", "persistent-memory", True),
        ("platforms.near.sockets", 1, False),
        ("base.regions", 8, True),
        ("splits.final.scenarios", 25, True),
        ("daemon", "numa-balancing", False),
        ("name", "another", False),
    ],
)
def test_a_set_is_known_by_what_decides_its_scenarios(place: str, value: Any, decides: bool) -> None:
    before = read_with(RANGE, {"draw": "uniform", "from": 1, "to": 4})
    other = validate_record(Family, put(before.model_dump(mode="json"), place, value), "")
    assert (other.identity_of_split("final") != before.identity_of_split("final")) == decides
    if place == RANGE:
        assert other.identity != before.identity
        drawn = [[each.workload.memory_parallelism for each in one.scenarios("final")] for one in (before, other)]
        assert drawn[0] != drawn[1]


def test_the_kinds_of_forms_decide() -> None:
    content = changed("forms.hot-final.kind", "flat")
    content["forms"]["mild-final"]["kind"] = "separable"
    other = validate_record(Family, content, "")
    assert other.identity_of_split("final") != tiny().identity_of_split("final")
    assert other.identity_of_split("training") == tiny().identity_of_split("training")


def test_another_family_is_known_by_what_decides() -> None:
    for place, value in (
        ("daemon", "numa-balancing"),
        ("base.regions", 8),
        ("splits.final.seed", 77),
        ("forms.mild-final.scenario.size", "300MiB"),
        ("platforms.last", "persistent-memory"),
    ):
        assert read_with(place, value).identity != tiny().identity
    for place in ("name", "summary", "forms.mild-final.summary"):
        assert read_with(place, "another").identity == tiny().identity


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "flat"},
        {"summary": "another"},
        {"let": {"unused": 3}},
        {"scenario.size": "262144KiB"},
        {"scenario.size": {"value": "256MiB", "source": "another"}},
        {"scenario.workload": {"name": "another", "summary": "more"}},
        {"scenario.workload": {"heat": {"classes": {"hotter": {"pages": 0.2, "accesses": 0.8}, "other": {}}}}},
    ],
)
def test_the_same_form_in_two_sets_is_refused_whatever_it_is_called(change: dict[str, Any]) -> None:
    content = tiny_family(name="tiny")
    heat = {"classes": {"hot": {"pages": 0.2, "accesses": 0.8}, "rest": {}}}
    workload = {"like": "skewed", "heat": heat, "threads": 4}
    scenario = {"size": "256MiB", "fast_capacity": "64MiB", "workload": workload}
    for split in ("training", "final"):
        content["forms"][split] = {"kind": "separable", "run_time": "2s", "scenario": copy.deepcopy(scenario)}
        content["splits"][split]["forms"].append(split)
    for place, value in change.items():
        put(
            content,
            f"forms.final.{place}",
            (workload | value) if isinstance(value, dict) and "workload" in place else value,
        )
    with pytest.raises(ConfigError, match="forms.final: is training under another name; must differ from it"):
        validate_record(Family, content, "")
    put(content, "forms.final.scenario.size", "257MiB")
    validate_record(Family, content, "")


def test_a_form_that_names_a_workload_has_that_one_alone() -> None:
    content = tiny_family(name="tiny")
    content["base"]["workload"] = {"like": "skewed", "store_share": 0.25, "threads": 3}
    content["forms"]["even-training"]["scenario"]["workload"] = "gups"
    content["forms"]["mild-training"]["scenario"]["workload"] = {"like": "skewed"}
    content["forms"]["hot-training"]["scenario"]["workload"] = {"memory_parallelism": 3}
    mine = validate_record(Family, content, "")
    again = validate_record(Family, mine.model_dump(mode="json"), "")
    assert again.identity == mine.identity and again.scenarios("training") == mine.scenarios("training")
    gups, skewed = (load_record("workloads", Workload, name) for name in ("gups", "skewed"))
    expected = {
        "even-training": (gups.threads, gups.store_share, gups.memory_parallelism),
        "mild-training": (skewed.threads, skewed.store_share, skewed.memory_parallelism),
        "hot-training": (3, 0.25, 3),
    }
    for each in mine.drawn("training"):
        found = each.scenario.workload
        assert (found.threads, found.store_share, found.memory_parallelism) == expected[each.form]


def test_fields_of_a_platform_follow_from_each_other() -> None:
    platform = {
        "like": "far-card",
        "let": {"reads": {"draw": "log-uniform", "from": "10GB/s", "to": "40GB/s"}},
        "cxl": {
            "bandwidth": {"draw": "product", "of": ["reads"]},
            "store_bandwidth": {"draw": "uniform", "from": 0.8, "to": 1.0, "times": "reads"},
        },
    }
    mine = read_with("platforms.last", platform)
    found = [each.scenario.platform.cxl for each in mine.drawn("final") if each.platform == "last"]
    assert all(0.799 <= tier.writes / tier.bandwidth <= 1.001 for tier in found)
    assert len({tier.bandwidth for tier in found}) > 1
    again = validate_record(Family, mine.model_dump(mode="json"), "")
    assert again.scenarios("final") == mine.scenarios("final") and again.identity == mine.identity
    content = mine.model_dump(mode="json")
    content["platforms"]["middle"] = platform | {"let": platform["let"] | {"unused": 1}}
    with pytest.raises(ConfigError, match="platforms.last: is middle under another name"):
        validate_record(Family, content, "")


def test_a_run_time_that_cannot_be_met_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "TOLERANCE", 1e-15)
    with pytest.raises(ConfigError, match="run_time=.*: is not met, 30 values of accesses_per_page come to"):
        tiny().scenarios("training")


def test_no_machine_of_the_final_set_is_like_one_of_the_others() -> None:
    """What docs/families.md says of the packaged family: its files, and the ranges that do not overlap."""
    mine = load_family("generalist")
    content = yaml.safe_load(packaged("families")["generalist"].read_text())
    files = {
        split: {content["platforms"][name]["like"] for name in content["splits"][split]["platforms"]}
        for split in SPLITS
    }
    assert not any(files[one] & files[other] for one, other in (SPLITS[:2], SPLITS[1:], SPLITS[::2]))
    drawn = {split: mine.drawn(split, 24) for split in SPLITS}
    dram = {split: [each.scenario.platform.dram.bandwidth for each in drawn[split]] for split in SPLITS}
    assert max(dram["final"]) <= 140e9 < 240e9 <= min(dram["training"])
    tiers = [
        tier for each in sum(drawn.values(), []) for tier in (each.scenario.platform.dram, each.scenario.platform.cxl)
    ]
    assert all(tier.writes <= tier.bandwidth for tier in tiers)


def test_names_say_where_scenarios_come_from() -> None:
    drawn = tiny().drawn("final")
    assert [each.scenario.name for each in drawn] == [f"tiny-final-{number:02d}" for number in range(24)]
    assert all(each.scenario.summary == f"{each.form} on {each.platform}" for each in drawn)
    assert {each.scenario.platform.name for each in drawn} == {"other", "last"}


def test_the_work_follows_from_the_run_time() -> None:
    for each in tiny().drawn("training"):
        seconds = float(alone_s(scenario_arrays(each.scenario))[0])
        low, high = (2, 4) if each.kind == "separable" else (2, 2)
        assert low * 0.998 <= seconds <= high * 1.002


def test_the_work_follows_from_the_run_time_also_under_a_load_that_changes() -> None:
    load = {"bursts": {"on": "1s", "off": "3s", "low": 0.3}}
    other = validate_record(Family, changed("forms.hot-training.scenario.workload.load", load), "")
    for each in other.drawn("training"):
        if each.kind == "separable":
            assert 2 * 0.998 <= alone_s(scenario_arrays(each.scenario))[0] <= 4 * 1.002


def test_sets_cannot_share_what_is_held_out() -> None:
    for split, other in (("selection", "training"), ("final", "training"), ("final", "selection")):
        for field in ("platforms", "forms"):
            content = tiny().model_dump(mode="json")
            shared = content["splits"][other][field][0]
            content["splits"][split][field].append(shared)
            message = rf"splits.{split}.{field}: {shared} is in {other}, too; must be in one of the splits alone"
            with pytest.raises(ConfigError, match=message):
                validate_record(Family, content, "tiny.yaml")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("splits.final.seed", 0, "splits.final.seed=0: must differ from that of training"),
        ("splits.final.scenarios", 23, "splits.final.scenarios=23: must be at least 24"),
        (
            "splits.training.scenarios",
            10**5 + 1,
            "splits.training.scenarios=100001: must be less than or equal to 100,?0",
        ),
        ("splits.training.scenarios", 10**30, "splits.training.scenarios="),
        ("splits.training.mix.flat", 0.3, "splits.training: mix: must add up to 1, got 1.1"),
        ("splits.training.mix", {"sperable": 1}, "splits.training.mix"),
        ("forms.hot-training.kind", "flat", "splits.training.mix.separable=0.5: none of its forms is of that"),
        ("splits.training.mix", {"flat": 1}, "splits.training.forms: hot-training is separable, of which mix has no"),
        ("splits.training.forms", ["hot"], "splits.training.forms: unknown 'hot'; forms has hot-training, "),
        ("splits.training.platforms", ["near"], "platforms.far: is in none of the splits"),
        ("splits.training.platforms", ["near", "near"], "platforms: names must differ, got near, near"),
        ("platforms.middle", {"like": "amd-epyc-cxl"} | {"name": "x"}, None),
        ("platforms.middle", "other-socket", "platforms.last: is middle under another name"),
        ("platforms.middle", 3, "platforms.middle: must be the name or path of one platform"),
        (
            "platforms.middle",
            {"draw": "choice", "of": ["far-card"]},
            "platforms.middle: must be the name or path of one",
        ),
        (
            "forms.hot-training.scenario",
            {"draw": "choice", "of": [{}]},
            "must be a scenario's fields, of which each may",
        ),
        ("platforms.middle", "two-x8-crads", "platforms.middle: unknown platform 'two-x8-crads'; did you mean"),
        ("platforms.middle", {"like": "far-card", "cxl": {"draw": "some"}}, "platforms.middle: cxl.draw='some'"),
        ("forms.hot-training.kind", "cold", "forms.hot-training.kind='cold': must be"),
        ("forms.hot-training.scenario.platform", "far-card", "forms.hot-training.scenario: platform: must be left out"),
        ("forms.hot-training.scenario.daemon", "numab2", "daemon: must be left out: the family and --daemon say it"),
        ("forms.hot-training.scenario.size", {"draw": "no"}, "forms.hot-training: size.draw='no': must be one of"),
        ("forms.hot-training.let", {"/": 1}, "let: '/': must be 1 to 100 printable characters"),
        ("forms.hot-training.let.size", {"draw": "x"}, "forms.hot-training: let.size.draw='x'"),
        (
            "forms.hot-training.scenario.workload.heat",
            {"file": "heat.csv"},
            "heat.file: a family must not need other files",
        ),
        ("base", {"workload": "skewd"}, "unknown workload 'skewd'"),
        ("base.worklaod", "skewed", "base: worklaod: unknown key; did you mean 'workload'"),
        ("forms.hot-training.scenario.sise", "1GiB", "hot-training.scenario: sise: unknown key; did you mean 'size'"),
        ("forms.hot-training.scenario.worklaod", {}, "hot-training.scenario: worklaod: unknown key; did you mean"),
        ("forms.hot-training.scenario.workload.thread", 3, "scenario: workload.thread: unknown key; did you mean"),
        (
            "forms.even-training.scenario.workload.of",
            [{"like": "gups", "thread": 3}],
            "scenario: workload.thread: unknown key; did you mean 'threads'",
        ),
        ("forms.hot-training.scenario.workload.heat.clases", {}, "workload.heat.clases: unknown key; did you mean"),
        (
            "forms.hot-training.scenario.workload.heat.classes.hot.page",
            1,
            "classes.hot.page: unknown key; did you mean",
        ),
        ("platforms.near.cxl.idle_latncy", "200ns", "platforms.near: cxl.idle_latncy: unknown key; did you mean"),
        ("platforms.near.socket", 1, "platforms.near: socket: unknown key; did you mean 'sockets'"),
        ("platforms.near.let", [1], "platforms.near: let: must be a mapping of at most 100 names"),
        ("platforms.near.let", {"/": 1}, "platforms.near: let: '/': must be 1 to 100 printable characters"),
        ("platforms.near.let", {"x": {"draw": "no"}}, "platforms.near: let.x.draw='no': must be one of"),
        ("platforms.near.sockets", {"draw": "product", "of": ["x"]}, "sockets.of='x': must be a name under let"),
        (
            "forms.hot-training.scenario.workload.accesses_per_page",
            500,
            "scenario.workload.accesses_per_page: follows from run_time; one of them must be left out",
        ),
        (
            "forms.even-training.scenario.workload.of",
            ["gups", {"like": "gups", "accesses_per_page": 500}],
            "scenario.workload.accesses_per_page: follows from run_time; one of them must be left out",
        ),
    ],
)
def test_what_is_wrong_with_a_family_is_said_in_one_line(place: str, value: Any, message: str | None) -> None:
    content = changed(place, value)
    if message is None:
        validate_record(Family, content, "tiny.yaml")
        return
    with pytest.raises(ConfigError, match=message) as caught:
        validate_record(Family, content, "tiny.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            "scenario.fast_capacity",
            {"draw": "uniform", "from": "200GiB", "to": "300GiB"},
            "fast_capacity=2.*GiB: must be",
        ),
        (
            "scenario.regions",
            {"draw": "uniform", "from": -5, "to": -5},
            r"regions=-5: must be.*drawn were .*regions=-5",
        ),
        (
            "scenario.workload.threads",
            {"draw": "uniform", "from": 0.2, "to": 0.4},
            "workload.threads=0.*: must be a whole",
        ),
        ("scenario.size", {"draw": "product", "of": ["share"]}, "size: .* is not a quantity"),
        ("scenario.corunners", {"draw": "choice", "of": [3]}, "corunners=3: must be a list"),
        ("scenario.corunners", [3], "corunners.0=3: must be a mapping"),
        ("run_time", "3 weeks", "run_time: '3 weeks': must be"),
        ("run_time", 3, "run_time=3: must be a time from 1ms to 86400s"),
        ("run_time", {"draw": "product", "of": ["size"]}, "run_time=.*MiB: must be a time"),
    ],
)
def test_what_draws_cannot_give_is_said_with_form_and_draws(place: str, value: Any, message: str) -> None:
    mine = validate_record(Family, changed(f"forms.hot-training.{place}", value), "")
    with pytest.raises(
        ConfigError, match=rf"forms.hot-training on platforms.\w+, tiny-training-\d: .*{message}"
    ) as caught:
        mine.scenarios("training")
    assert "\n" not in str(caught.value)


def test_a_platform_that_draws_cannot_give_is_named() -> None:
    draw = {"draw": "uniform", "from": 2.0, "to": 3.0}
    mine = validate_record(Family, changed("platforms.near.promotion_watermark", draw), "")
    with pytest.raises(
        ConfigError, match=r"on platforms.near, .*platform: promotion_watermark=2.*drawn were .*watermark=2"
    ):
        mine.scenarios("training")


@pytest.mark.parametrize("number", [0, -1, 11])
def test_no_more_scenarios_than_a_set_has(number: int) -> None:
    with pytest.raises(ConfigError, match=f"{number} scenarios of tiny:training: must be 1 to 10"):
        tiny().scenarios("training", number)


def test_files_may_be_like_others_and_refer_to_their_own(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text("like: far-card\ncxl: {idle_latency: 125ns}\n")
    (tmp_path / "shop.yaml").write_text("like: skewed\nthreads: 5\n")
    (tmp_path / "sub").mkdir()
    content = changed("platforms.near", "card.yaml")
    content["forms"]["hot-training"]["scenario"]["workload"]["like"] = "./shop.yaml"
    del content["forms"]["hot-training"]["scenario"]["workload"]["threads"]
    del content["name"]
    write_family(tmp_path, content)
    (tmp_path / "sub" / "mine.yaml").write_text(
        "like: ../tiny.yaml\nforms: {hot-training: {scenario: {size: {draw: uniform, from: 64MiB, to: 64MiB}}}}\n"
    )
    mine = load_family(str(tmp_path / "sub" / "mine.yaml"))
    assert mine.name == "mine"
    for each in mine.drawn("training"):
        if each.form == "hot-training":
            assert (each.scenario.size, each.scenario.workload.threads) == (64 << 20, 5)
        if each.platform == "near":
            assert each.scenario.platform.cxl.idle_latency == pytest.approx(125e-9)
    (tmp_path / "shop.yaml").unlink()
    (tmp_path / "card.yaml").unlink()
    assert mine.scenarios("training"), "what was read needs no file"


def test_a_family_that_was_written_is_the_same() -> None:
    text = yaml.safe_dump(tiny().model_dump(mode="json"), sort_keys=False)
    again = validate_record(Family, yaml.safe_load(text), "")
    for other in (again, pickle.loads(pickle.dumps(tiny())), copy.deepcopy(tiny())):
        assert other.identity == tiny().identity and other.scenarios("selection") == tiny().scenarios("selection")
        assert other.identity_of_split("final") == tiny().identity_of_split("final")
