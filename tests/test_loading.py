"""Names, paths, references and likeness: what a text in a file stands for, whatever the kind and the working folder."""

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import Field

from tests.fuzz import RECORDS
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.platform import Platform
from tierenv.reading import read_json
from tierenv.records import NamedRecord, Record, Reference, load_record, packaged, validate_record
from tierenv.scenario import Scenario, load_scenario
from tierenv.train.config import Suite, load_suite, load_training_config


def write(path: Path, **content: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files in folders of their own that refer to each other by relative paths; the working folder is another."""
    write(tmp_path / "parts" / "near.yaml", like="amd-epyc-cxl", cxl={"idle_latency": "150ns"})
    write(tmp_path / "parts" / "nearer.yaml", like="near.yaml", shootdown_receiver="3us")
    write(tmp_path / "parts" / "slow.yaml", like="kmmscand-tunable", scan_sleep="20ms")
    write(tmp_path / "parts" / "busy.yaml", like="skewed", threads=48)
    parts = {"platform": "../parts/nearer.yaml", "daemon": "../parts/slow.yaml", "workload": "../parts/busy.yaml"}
    write(tmp_path / "scenarios" / "mine.yaml", **parts, size="2GiB", fast_capacity="1GiB")
    corunners = [{"workload": "../../parts/busy.yaml", "size": "1GiB"}]
    write(tmp_path / "scenarios" / "more" / "derived.yaml", like="../mine.yaml", corunners=corunners)
    write(tmp_path / "suites" / "mine.yaml", scenarios=["../scenarios/mine.yaml", "skewed"])
    write(tmp_path / "suites" / "longer.yaml", like="mine.yaml", summary="the same")
    training = {"scenarios": ["../scenarios/mine.yaml"], "algorithm": "ppo", "timesteps": 64}
    write(tmp_path / "training" / "mine.yaml", **training)
    write(tmp_path / "training" / "deep" / "again.yaml", like="../mine.yaml", seed=3)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def test_references_are_relative_to_the_file_they_stand_in(family: Path) -> None:
    mine = load_scenario("../scenarios/mine.yaml")
    assert (mine.platform.shootdown_receiver, mine.platform.cxl.idle_latency) == pytest.approx((3e-6, 150e-9))
    assert (mine.platform.name, mine.daemon.name, mine.workload.name) == ("nearer", "slow", "busy")
    derived = load_scenario(str(family / "scenarios" / "more" / "derived.yaml"))
    assert derived.name == "derived" and derived.platform == mine.platform
    assert derived.corunners[0].workload == mine.workload and mine.workload.threads == 48

    suite, longer = (load_suite(str(family / "suites" / f"{name}.yaml")) for name in ("mine", "longer"))
    assert suite.scenarios == longer.scenarios == (mine, load_scenario("skewed"))
    for path in ("mine.yaml", "deep/again.yaml"):
        assert load_training_config(str(family / "training" / path)).scenarios == (mine,)


def test_what_a_program_refers_to_is_relative_to_the_working_folder(family: Path) -> None:
    scenario = load_scenario("skewed").replace(platform="../parts/near.yaml", workload={"like": "../parts/busy.yaml"})
    assert (scenario.platform.name, scenario.workload.threads) == ("near", 48)


@pytest.mark.parametrize("kind", RECORDS)
def test_a_bare_word_is_a_packaged_name_whatever_stands_in_the_working_folder(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = next(iter(packaged(kind)))
    before = load_record(kind, RECORDS[kind], name)
    (tmp_path / name).mkdir()
    assert load_record(kind, RECORDS[kind], name) == before
    (tmp_path / "mine.yaml").write_text(f"like: {name}\n")
    with pytest.raises(ConfigError, match=r"unknown .* 'mine'; for the one in this folder write ./mine.yaml; run: "):
        load_record(kind, RECORDS[kind], "mine")


@pytest.mark.parametrize("kind", RECORDS)
def test_a_file_of_any_kind_may_be_like_another(kind: str, tmp_path: Path) -> None:
    name = next(iter(packaged(kind)))
    path = write(tmp_path / "mine.yaml", like=name, summary="mine")
    base, found = (load_record(kind, RECORDS[kind], each) for each in (name, path))
    assert found == base.model_copy(update={"name": "mine", "summary": "mine"})
    assert found.identity == base.identity


@pytest.mark.parametrize("kind", RECORDS)
def test_a_circle_of_files_that_are_like_each_other_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{name}.yaml" for name in ("first", "second", "third"))
    write(first, like="second.yaml")
    write(second, like="third.yaml")
    write(third, like="./second.yaml")
    with pytest.raises(ConfigError) as caught:
        load_record(kind, RECORDS[kind], str(first))
    chain = f"{first}: like: {second}: like: {third}: like='./second.yaml': leads back to itself"
    assert str(caught.value) == chain


def test_a_record_inside_another_may_be_like_a_file(tmp_path: Path) -> None:
    base = load_scenario("skewed")
    workload = {"like": "skewed", "name": "few", "threads": 4}
    changes = {
        "platform": {"like": "amd-epyc-cxl", "sockets": 1},
        "corunners": [{"workload": workload, "size": "1GiB"}],
    }
    mine = load_scenario(write(tmp_path / "mine.yaml", like="skewed", **changes))
    assert mine.platform == base.platform.model_copy(update={"sockets": 1})
    few = base.workload.model_copy(update={"name": "few", "threads": 4})
    assert [process.workload for process in mine.corunners] == [few]
    suite = load_record(
        "suites", Suite, write(tmp_path / "suite.yaml", scenarios=[{"like": "mine.yaml", "size": "8GiB"}])
    )
    assert suite.scenarios == (mine.replace(size="8GiB"),)


def test_what_differs_inside_a_part_that_is_named_differs_from_that_part(tmp_path: Path) -> None:
    base = load_scenario("skewed")
    path = write(tmp_path / "mine.yaml", like="skewed", platform={"cxl": {"idle_latency": "300ns"}})
    cxl = base.platform.cxl.model_copy(update={"idle_latency": pytest.approx(300e-9)})
    assert load_scenario(path).platform == base.platform.model_copy(update={"cxl": cxl})
    again = load_scenario(write(tmp_path / "again.yaml", like="mine.yaml", platform={"sockets": 1}))
    assert again.platform == load_scenario(path).platform.model_copy(update={"sockets": 1})
    other = load_scenario(write(tmp_path / "other.yaml", like="mine.yaml", platform={"like": "amd-epyc-cxl"}))
    assert other.platform == base.platform, "one that says itself what it is like is like that alone"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"platform": "./none.yaml"}, "{folder}/mine.yaml: platform: {folder}/none.yaml: no such file; "),
        (
            {"platform": "bad.yaml"},
            "{folder}/mine.yaml: platform: {folder}/bad.yaml: cxl.idle_latenci: unknown key; did you mean",
        ),
        (
            {"platform": {"like": "amd-epic-cxl"}},
            "mine.yaml: platform: like: unknown platform 'amd-epic-cxl'; did you mean",
        ),
        ({"platform": {"like": 3}}, "mine.yaml: platform: like=3: must be the name or path of one of the platforms"),
        ({"platform": {"like": "amd-epyc-cxl", "sockets": 0}}, "mine.yaml: platform.sockets=0: must be 1 or 2"),
        ({"platform": 3}, "mine.yaml: platform=3: "),
        (
            {"corunners": [{"workload": {"like": "skewd"}, "size": "1GiB"}]},
            "mine.yaml: corunners.0.workload: like: unknown",
        ),
        ({"daemon": "/proc/version"}, "mine.yaml: daemon: /proc/version: "),
    ],
)
def test_what_is_wrong_is_one_line_with_the_chain_of_files_and_fields(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    write(tmp_path / "bad.yaml", like="amd-epyc-cxl", cxl={"idle_latenci": "1ns"})
    path = write(tmp_path / "mine.yaml", like="skewed", **change)
    with pytest.raises(ConfigError) as caught:
        load_scenario(path)
    assert message.format(folder=tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"like": "numab2", "tunables": {"scan_period": {"min": "1ms", "max": "2ms", "start": "1ms"}}},
            "mode 1 has none; got scan_period",
        ),
        ({"scan_sleep": "0s"}, "mine.yaml: scan_sleep='0s': must be greater than or equal to 1ms"),
        ({"migrate_sleep": "0s"}, "mine.yaml: migrate_sleep='0s': must be greater than or equal to 1ms"),
        ({"tunables": {"scan_size": {"min": "1KiB"}}}, "tunables.scan_size.min: must be at least a page, 4096B"),
        ({"tunables": {"scan_period": {"start": "1ms"}}}, "scan_period_ms=1: daemon mine allows 100 to 20000"),
        ({"tunables": {"scan_period": None}}, "needs the range of scan_period"),
        ({"tunables": {"throttel": None}}, "throttel: unknown tunable; did you mean 'throttle'"),
    ],
)
def test_a_daemon_that_could_not_run_is_refused_by_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_daemon(write(tmp_path / "mine.yaml", **{"like": "kmmscand-tunable"} | change))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"workload": {"memory_parallelism": math.inf}},
        {"workload": {"memory_parallelism": 0}},
        {"workload": {"cache_hit_share": 1}},
        {"workload": {"traffic_per_access": "2MiB"}},
        {"platform": {"dram": {"bandwidth": "0B/s"}}},
        {"platform": {"cxl": {"idle_latency": "0ns"}}},
        *({"platform": {cost: "0ns"}} for cost in ("failed_migration", "stale_entry", "reclaim_visit")),
        *({"platform": {cost: "0ns"}} for cost in ("demotion_per_page", "migration_per_page_at_8gib")),
        {"platform": {"numa_start_period_factor": 0}},
        {"platform": {"cxl": {"store_bandwidth": "0B/s"}}},
        {"platform": {"cxl": {"store_latency": "0ns"}}},
        {"platform": {"cxl": {"capacity": "4KiB"}}},
        {"platform": {"demotion_batch_pages": 10**400}},
        {"workload": {"accesses_per_page": math.inf}},
        {"workload": {"accesses_per_page": math.nan}},
        {"workload": {"accesses_per_page": 1e300}},
        {"workload": {"accesses_per_page": 1e-300}},
        {"workload": {"threads": 10**30}},
        {"daemon": {"list_entry": "0B"}},
        {"daemon": {"mms_to_scan": 10**23}},
        {"daemon": {"scan_sleep": "1ns"}},
        {"daemon": {"throttle_window": "1e-300s"}},
        {"numa_balancing": {"scan_delay": "1us"}},
        {"control_interval": "1e-12s"},
        {"size": "1e300B"},
        {"fast_capacity": "65TiB"},
    ],
)
def test_numbers_that_a_model_cannot_work_with_are_refused_by_field(tmp_path: Path, change: dict[str, Any]) -> None:
    field = next(iter(change))
    inner = change[field]
    while isinstance(inner, dict):
        field = f"{field}.{next(iter(inner))}"
        inner = inner[next(iter(inner))]
    with pytest.raises(ConfigError) as caught:
        load_scenario(write(tmp_path / "mine.yaml", like="skewed", **change))
    assert re.search(
        f"mine.yaml: {field}=.*: must be (a finite number|(greater|less) than( or equal to)? [0-9e.-]+[A-Za-z/]*)$",
        str(caught.value),
    )


@pytest.mark.parametrize(
    ("tunables", "message"),
    [
        ({"scan_period": {"min": "1ns"}}, "tunables: scan_period.min: '1ns' must be from 1ms to 86400000ms"),
        ({"scan_size": {"max": "10000000TiB"}}, "tunables: scan_size.max: '10000000TiB' must be from 1B to 64TiB"),
        ({"throttle": {"max": "1e30B/s"}}, "tunables: throttle.max: '1e30B/s' must be from 1B/s to 64TiB/s"),
    ],
)
def test_a_range_lies_within_what_a_kernel_and_a_model_hold(
    tmp_path: Path, tunables: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_daemon(write(tmp_path / "mine.yaml", like="kmmscand-tunable", tunables=tunables))
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize("wrong", [True, "8", "0x8"])
@pytest.mark.parametrize(
    "change",
    [
        lambda wrong: {"regions": wrong},
        lambda wrong: {"scan_scale": wrong},
        lambda wrong: {"numa_balancing_mode": wrong},
        lambda wrong: {"workload": {"threads": wrong}},
        lambda wrong: {"workload": {"accesses_per_page": wrong}},
        lambda wrong: {"workload": {"phases": [{"name": "run", "access_share": {"hot": wrong}}]}},
        lambda wrong: {"workload": {"memory_parallelism": wrong}},
        lambda wrong: {"daemon": {"failure_window": wrong}},
    ],
)
def test_true_and_texts_are_no_numbers(
    tmp_path: Path, change: Callable[[object], dict[str, Any]], wrong: object
) -> None:
    with pytest.raises(ConfigError, match=r"mine.yaml: [a-z_.0]+=.*: must be (a (whole )?number|0, 1 or 2)$"):
        load_scenario(write(tmp_path / "mine.yaml", like="skewed", **change(wrong)))


@pytest.mark.parametrize(("number", "value"), [("3", 3.0), ("3e-1", 0.3), ("3E+0", 3.0), (".3e1", 3.0), ("3.0", 3.0)])
def test_a_number_may_be_whole_or_have_an_exponent_without_a_point(tmp_path: Path, number: str, value: float) -> None:
    (tmp_path / "mine.yaml").write_text(f"like: amd-epyc-cxl\nnuma_start_period_factor: {number}\n")
    platform = load_record("platforms", Platform, str(tmp_path / "mine.yaml"))
    assert platform.numa_start_period_factor == value and type(platform.numa_start_period_factor) is float
    (tmp_path / "mine.yaml").write_text("like: skewed\nregions: 8.0\n")
    assert load_scenario(str(tmp_path / "mine.yaml")).regions == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corunners": "abench"}, "corunners='abench': must be a list"),
        ({"corunners": [5]}, "corunners.0=5: must be a mapping of keys to values"),
        ({"platform": 3}, "platform=3: must be the name or path of a platform, or what one holds"),
        ({"workload": {"classes": []}}, "workload.classes=[]: must have at least 1 entry"),
        ({"workload": {"phases": 5}}, "workload.phases=5: must be a list"),
        (
            {"workload": {"phases": [{"name": "a", "access_share": []}]}},
            ".access_share=[]: must be a mapping of keys",
        ),
        (
            {"workload": {"phases": [{"name": "a", "access_share": {1: 1.0}}]}},
            ".access_share: keys must be texts, got 1",
        ),
        ({1: 2}, "mine.yaml: must hold a mapping of names to values, got a key that is no name"),
        ({"summary": 5}, "summary=5: must be a text"),
        ({"demotion": 2}, "demotion=2: must be true or false"),
        ({"regions": 1.5}, "regions=1.5: must be a whole number"),
        ({"regions": None}, "regions=None: must be a whole number"),
        ({"size": "4KiB"}, "size='4KiB': must be greater than or equal to 256KiB"),
    ],
)
def test_what_is_allowed_is_said_in_our_words(tmp_path: Path, change: dict[Any, Any], message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"like": "skewed"} | change))
    with pytest.raises(ConfigError) as caught:
        load_scenario(str(path))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-99, "log_std_init=-99: must be greater than or equal to -20"),
        ([], "log_std_init=[]: must have at least 1 entry"),
        ([1, 2, 99], "log_std_init.2=99: must be less than or equal to 2"),
        ([True], "log_std_init.0=True: must be a number"),
    ],
)
def test_of_a_union_the_alternative_that_was_meant_is_named(tmp_path: Path, value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_training_config(write(tmp_path / "mine.yaml", like="ppo-moving-hot-set-demo", log_std_init=value))
    assert str(caught.value) == f"{tmp_path}/mine.yaml: {message}"


def test_off_needs_no_quotes(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("like: skewed\ncontrol: off\n")
    assert load_scenario(str(tmp_path / "mine.yaml")).control == "off"


def test_a_tunable_is_taken_out_by_null(tmp_path: Path) -> None:
    daemon = load_daemon(write(tmp_path / "mine.yaml", like="kmmscand-tunable", tunables={"throttle": None}))
    assert tuple(daemon.tunables) == ("scan_period", "scan_size")


def test_a_key_given_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("like: amd-epyc-cxl\ncxl:\n  idle_latency: 150ns\n  idle_latency: 160ns\n")
    with pytest.raises(ConfigError, match=f"^{path}:4: idle_latency: is given twice$"):
        load_record("platforms", Platform, str(path))
    path.write_text("{summary: x, a: &base {x: 1}, b: {<<: *base, x: 2}}")  # merged keys may be given again
    with pytest.raises(ConfigError, match="a: unknown key"):
        load_record("platforms", Platform, str(path))
    path.write_text('{"a": {"x": 1, "x": 2}}')
    with pytest.raises(ConfigError, match="x is given twice"):
        read_json(path)


@pytest.mark.parametrize("name", ["../x", "/abs", "a/b", "two\nlines", "", ".hidden", "\x1b[31m", "x" * 101])
def test_a_name_is_one_line_and_not_a_path(name: str) -> None:
    with pytest.raises(ConfigError, match="scenario skewed: name: .*must be 1 to 100 printable characters"):
        load_scenario("skewed").replace(name=name)


CHANGES: dict[str, Callable[[Scenario], dict[str, Any]]] = {
    "size": lambda _scenario: {"size": "15GiB"},
    "control": lambda _scenario: {"control": "off"},
    "platform": lambda scenario: {"platform": scenario.platform.model_copy(update={"sockets": 1})},
    "corunner": lambda scenario: {"corunners": [{"workload": "abench", "size": "1GiB"}]},
    "default that is given another value": lambda _scenario: {"numa_balancing": {"scan_delay": "2s"}},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_scenario_that_says_something_else_is_another(what: str) -> None:
    scenario = load_scenario("skewed")
    assert scenario.replace(**CHANGES[what](scenario)).identity != scenario.identity


def test_names_defaults_and_spelling_do_not_make_another_scenario() -> None:
    scenario = load_scenario("skewed")
    renamed = {"name": "other", "summary": "of the same content"}
    daemon, platform, workload = (
        part.model_copy(update=renamed) for part in (scenario.daemon, scenario.platform, scenario.workload)
    )
    parts = {"daemon": daemon, "platform": platform, "workload": workload}
    same = scenario.replace(**renamed, **parts, size="16384MiB", control_interval="2000ms")
    assert same != scenario and same.identity == scenario.identity
    factors = [platform.model_copy(update={"numa_start_period_factor": factor}) for factor in (2, 2.0)]
    whole = [scenario.replace(platform=each) for each in factors]
    copied = scenario.model_copy(update={"platform": factors[0]})
    assert {each.identity for each in (*whole, copied)} == {copied.identity}


def test_a_new_field_with_a_default_leaves_identities_as_they_are() -> None:
    class Older(NamedRecord):
        size: int

    class Inner(Record):
        rate: float = 1.5

    class Newer(Older):
        inner: Inner = Inner()
        order: tuple[int, ...] = ()

    older, newer = Older(name="x", size=3), Newer(name="y", size=3)
    assert older.identity == newer.identity
    assert Newer(name="x", size=3, inner=Inner(rate=2.0)).identity != older.identity


class Left(NamedRecord):
    """One of two."""

    side: Literal["left"]
    length: float


class Right(NamedRecord):
    """The other."""

    side: Literal["right"]
    weight: float


class Holder(Record):
    """Refers to either."""

    part: Annotated[Annotated[Left | Right, Field(discriminator="side")], Reference("daemons")]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            {"side": "left", "lenght": 3},
            "part.lenght: unknown key; did you mean 'length'?; allowed: name, summary, side,",
        ),
        ({"side": "left"}, "part.name: required key is missing"),
        ({"side": "up"}, "part.side='up': must be one of 'left', 'right'"),
        ({}, "part.side: required key is missing"),
    ],
)
def test_records_of_several_types_can_be_referred_to(tmp_path: Path, part: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "some.yaml", side="right", weight=2)
    expected = Right(name="some", side="right", weight=2)
    assert validate_record(Holder, {"part": path}, "here").part == expected
    assert validate_record(Holder, {"part": {"like": path, "name": "x"}}, "here").part.name == "x"
    assert load_record("daemons", Annotated[Left | Right, Field(discriminator="side")], path) == expected
    with pytest.raises(ConfigError) as caught:
        validate_record(Holder, {"part": part}, "here")
    assert str(caught.value).startswith(f"here: {message}")


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_written_out_is_read_as_the_same(kind: str, tmp_path: Path) -> None:
    for name in packaged(kind):
        record = load_record(kind, RECORDS[kind], name)
        path = write(tmp_path / "copy.yaml", **record.model_dump(mode="json"))
        found = load_record(kind, RECORDS[kind], path)
        assert found == record and found.identity == record.identity


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size: 0x_", "mine.yaml:1: a value is not a YAML int"),
        ("a: 1\nb: 2001-99-99", "mine.yaml:2: a value is not a YAML timestamp"),
        ("a: " + "[" * 5000, "mine.yaml: not valid YAML: nested too deeply"),
        ("a: 1\nroot:$6$secret: [\n", "mine.yaml:3: not valid YAML: expected the node content"),
        ("a: &a {b: *a}", "mine.yaml:1: the value of an alias holds the alias itself"),
        (
            "a0: &a0 [1, 1]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(20)),
            "more than 100000 values, those of aliases included",
        ),
        ("a: " + "x" * 600_000, "mine.yaml: holds more than 524288 bytes"),
        ("\ufeffsummary: x\na: 1", "mine.yaml: a: unknown key"),
        ("like: skewed\nsize: 1e308TiB", "mine.yaml: size: '1e308TiB' must be finite"),
        ('"\\ud800": 1', "mine.yaml:1: a value is not a YAML str"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line_and_without_the_file_s_text(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_scenario(str(path))
    assert message in str(caught.value) and "secret" not in str(caught.value)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mine.yaml")
    with pytest.raises(ConfigError, match="mine.yaml: must be a file, not a pipe"):
        load_scenario(str(tmp_path / "mine.yaml"))


def test_decimal_units_are_those_of_benchmarks(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.yaml", like="amd-epyc-cxl", cxl={"bandwidth": "20.5GB/s"})
    assert load_record("platforms", Platform, path).cxl.bandwidth == 20.5e9


def test_a_message_is_one_line_of_bounded_length_whatever_it_quotes() -> None:
    assert str(ConfigError("a\nb\x1b[2J\u202e\ud800é")) == "a\\nb\\x1b[2J\\u202e\\ud800é"
    message = str(ConfigError("mine.yaml: " + "x" * 5000 + ": no such file"))
    assert message.startswith("mine.yaml: ") and message.endswith(": no such file") and len(message) < 1100


SECRETS = {
    "shadow": "root:$6$SECRET$abc:20228:0:99999:7:::\n",
    "shadow twice": "root:$6$SECRET$abc:20228:0:99999:7:::\n" * 2,
    "environment": "SECRET: 1\n",
    "a tag": "summary: !!int SECRET\n",
    "an alias": "summary: *SECRET\n",
    "a word": "SECRET\n",
    "JSON": '{"$SECRET": 1, "$SECRET": 2}',
}


@pytest.mark.parametrize("content", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize(
    "scenario",
    [
        "like: ./secret",
        "{like: skewed, platform: ./secret}",
        "{like: skewed, platform: {like: ./secret}}",
        "{like: skewed, corunners: [{workload: ./secret, size: 1GiB}]}",
    ],
)
def test_nothing_is_told_of_a_file_that_is_no_record(tmp_path: Path, scenario: str, content: str) -> None:
    (tmp_path / "secret").write_text(content)
    (tmp_path / "mine.yaml").write_text(scenario)
    with pytest.raises(ConfigError, match="secret") as raised:
        load_scenario(str(tmp_path / "mine.yaml"))
    assert "SECRET" not in str(raised.value)
    with pytest.raises(ConfigError) as raised:
        read_json(tmp_path / "secret")
    assert "SECRET" not in str(raised.value)
