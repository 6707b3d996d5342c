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
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.family import LEAST_FINAL, SPLITS, Family, Split, load_family
from tierenv.records import packaged, validate_record
from tierenv.scenario import Scenario
from tierenv.sim.parameters import alone_s, scenario_arrays

KINDS = ("separable", "flat", "nothing-to-win")


@cache
def tiny() -> Family:
    return read()


def read() -> Family:
    return validate_record(Family, tiny_family(name="tiny"), "tiny.yaml")


def changed(place: str, value: Any) -> dict[str, Any]:
    """Returns the tiny family with another value at a place; None leaves it out."""
    content = tiny().model_dump(mode="json")  # which needs no file to be read
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


@pytest.mark.parametrize("name", packaged("families"))
def test_all_scenarios_of_packaged_families_are_valid_and_one_policy_can_be_for_them(name: str) -> None:
    mine = load_family(name)
    for split in SPLITS:
        drawn = mine.drawn(split)
        assert Counter(each.kind for each in drawn) == Counter(getattr(mine.splits, split).counts)
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
        ("forms.hot-final.kind", "separable", False),
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
    other = validate_record(Family, changed(place, value), "")
    assert (other.identity_of_split("final") != tiny().identity_of_split("final")) == decides


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
        ("splits.training.scenarios", 1001, "splits.training.scenarios=1001: must be less than or equal to 1,?000"),
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
        ("scenario.sise", "1GiB", "sise: unknown key; did you mean 'size'"),
        (
            "scenario.workload.threads",
            {"draw": "uniform", "from": 0.2, "to": 0.4},
            "workload.threads=0.*: must be a whole",
        ),
        ("scenario.size", {"draw": "product", "of": ["share"]}, "size"),
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
