"""Policies by name: every row of the table, and what bad names and settings get."""

import itertools
import json
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny import setting_of_three
from tierenv.action import ActionCodec
from tierenv.agents import best_static
from tierenv.agents.best_static import (
    BestStatic,
    BestStaticFile,
    OneStatic,
    check_storage,
    find_best_static,
    packaged_path,
    read_best_static,
    write_best_static,
    write_one_static,
)
from tierenv.agents.foreign import kind_of
from tierenv.agents.heuristics import StaticPolicy
from tierenv.agents.policies import POLICIES, load_policy
from tierenv.agents.policy import scenario_for
from tierenv.daemon import load_daemon
from tierenv.errors import ConfigError
from tierenv.observation import ObservationEncoder
from tierenv.records import packaged
from tierenv.scenario import load_scenario
from tierenv.task import simulated_task
from tierenv.train.config import load_suite
from tierenv.train.studies.pieces import GENERALISTS
from tierenv.units import GIB, MIB

SCENARIO = load_scenario("skewed")
NUM_FEATURES = len(ObservationEncoder(SCENARIO.daemon).features)
FOUND = BestStatic(
    scenario="skewed",
    daemon="kmmscand-tunable",
    setting=setting_of_three(500, GIB, math.inf).to_json(),
    mean_s=200.5,
    trials=144,
    episodes=616,
    env_steps=70_000,
    wall_s=6.5,
    seeds=(20000, 20001),
    command="tierenv tune skewed --save",
    git_revision=None,
)

ONE = OneStatic(
    scenarios=("skewed",),
    daemon="kmmscand-tunable",
    setting=FOUND.setting,
    relative_time=0.9,
    seeds=(20000,),
    command="tierenv tune mine --save",
    git_revision=None,
)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's best-static.json, with a setting for skewed; none comes with tierenv."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(best_static, "packaged_path", lambda: tmp_path / "none")
    path = check_storage()
    write_best_static(SCENARIO, FOUND, path)
    write_one_static("mine", ONE, path)
    return path


@pytest.mark.parametrize("name", POLICIES)
def test_every_row_of_the_table_runs(name: str, stored: Path) -> None:
    argument = {"static": ":500,1024,inf", "one-static": ":mine"}.get(name, "")
    policy = load_policy(name + argument, SCENARIO)
    scenario = scenario_for(policy, SCENARIO)
    assert scenario.control == policy.control
    task = simulated_task([scenario, scenario])
    observation, _ = task.reset(np.array([1, 2], np.uint64))
    policy.reset(2)
    for _ in range(3):
        actions = policy.act(observation)
        width = len(scenario.daemon.tunables) if policy.control == "tunables" else 0
        assert (actions.shape, actions.dtype) == ((2, width), np.float32)
        observation = task.step(actions).observation


@pytest.mark.parametrize(
    ("name", "daemon", "control"),
    [
        ("no-migration", "kmmscand-tunable", "off"),
        ("numab1", "numab1", "kernel-rule"),
        ("numab2", "numab2", "kernel-rule"),
        ("kmmscand-v1", "kmmscand-v1", "kernel-rule"),
        ("built-in", "kmmscand-tunable", "kernel-rule"),
        ("static:500,1024,inf", "kmmscand-tunable", "tunables"),
    ],
)
def test_policy_brings_its_daemon_and_control(name: str, daemon: str, control: str) -> None:
    scenario = scenario_for(load_policy(name, SCENARIO), SCENARIO)
    assert (scenario.daemon.name, scenario.control) == (daemon, control)
    changed = {"daemon": SCENARIO.daemon, "control": SCENARIO.control, "numa_balancing_mode": None}
    assert scenario.replace(**changed) == SCENARIO


@pytest.mark.parametrize("daemon", ["kmmscand-v1", "numab2"])
@pytest.mark.parametrize("name", ["random", "static:scan_period=1s"])
def test_what_sets_tunables_is_refused_where_nobody_can(name: str, daemon: str) -> None:
    scenario = SCENARIO.replace(daemon=load_daemon(daemon))
    with pytest.raises(
        ConfigError,
        match=f"daemon {daemon} .*(use kmmscand-threshold or kmmscand-tunable or numa-balancing$|has no tunables$)",
    ):
        scenario_for(load_policy(name, scenario), scenario)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sttic", "unknown policy 'sttic'; did you mean 'static'.*tierenv list policies"),
        ("statik:1,2,3", "unknown policy 'statik:1,2,3'.*tierenv list policies"),
        ("./no-such-run", "no such folder"),
        ("static", r"write static:NUMBER,...\|NAME=VALUE,..."),
        ("built-in:1", "write built-in"),
        ("best-static:", r"write best-static\[:DAEMON\]"),
        (
            "best-static:numab2",
            "daemon numab2: has no tunables that can be written; use kmmscand-threshold or kmmscand-tu",
        ),
        ("best-static:numab3", "unknown daemon 'numab3'"),
        ("one-static:", "no setting stored for suite ''"),
        ("one-static:mine:numab2", "daemon numab2: has no tunables that can be written"),
        ("one-static:mine:numab3", "no setting stored for suite 'mine:numab3' with daemon kmmscand-tunable"),
        ("static:", "3 numbers"),
        ("static:500,1024", "3 numbers"),
        ("static:500,1024,inf,1", "3 numbers"),
        ("static:500,x,inf", "3 numbers"),
        ("static:nan,1024,inf", "3 numbers"),
        ("static:-500,1024,inf", "scan_period_ms=-500: daemon kmmscand-tunable allows 100 to 20000"),
        ("static:500,1e9,inf", "scan_size_bytes"),
        ("static:500,1024,0.5", "throttle_bytes_per_s.*or 0 or inf"),
    ],
)
def test_bad_names_are_refused_in_one_line(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as raised:
        load_policy(name, SCENARIO)
    assert "\n" not in str(raised.value)


def test_file_and_folder_without_a_policy_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="not a run or bundle folder"):
        load_policy(str(tmp_path / "file"), SCENARIO)
    with pytest.raises(ConfigError, match=r"neither a bundle \(policy.json\) nor a run folder"):
        load_policy(str(tmp_path), SCENARIO)


@pytest.mark.parametrize("text", ["500,1024,inf", "100,256,0", "20000,16384,4096", "123.5,300,1"])
def test_static_action_decodes_to_the_setting(text: str) -> None:
    policy = load_policy(f"static:{text}", SCENARIO)
    action = policy.act(np.zeros((1, NUM_FEATURES), np.float32))
    period_ms, size_mib, throttle_mib_per_s = (float(number) for number in text.split(","))
    expected = [period_ms, size_mib * MIB, throttle_mib_per_s * MIB]
    codec = ActionCodec(SCENARIO.daemon)
    np.testing.assert_allclose(codec.decode(action)[0, list(codec.columns.values())], expected, rtol=1e-6)
    assert policy.name == f"static:{text}"


def test_random_actions_are_repeatable_and_independent_of_the_batch() -> None:
    def play(num_machines: int) -> list[np.ndarray]:
        policy = load_policy("random", SCENARIO)
        policy.reset(num_machines)
        return [policy.act(np.zeros((num_machines, NUM_FEATURES), np.float32)) for _ in range(4)]

    many, few = play(5), play(2)
    np.testing.assert_array_equal([actions[:2] for actions in many], few)
    assert len(np.unique(many)) == 5 * 4 * len(SCENARIO.daemon.tunables)


def test_best_static_plays_what_was_stored(stored: Path) -> None:
    policy = load_policy("best-static", SCENARIO)
    assert isinstance(policy, StaticPolicy)
    assert (policy.name, policy.setting) == ("best-static", setting_of_three(500, GIB, math.inf))


def test_best_static_of_another_daemon_is_what_was_searched_under_it_and_runs_on_it(stored: Path) -> None:
    numa = load_daemon("numa-balancing")
    setting = numa.start_setting
    write_best_static(SCENARIO.under(numa), FOUND.model_copy(update={"setting": setting.to_json()}), stored)
    policy = load_policy("best-static:numa-balancing", SCENARIO)
    assert isinstance(policy, StaticPolicy) and policy.setting == setting and policy.chosen_on == ("skewed",)
    assert scenario_for(policy, SCENARIO).identity == SCENARIO.under(numa).identity
    assert load_policy("best-static:kmmscand-tunable", SCENARIO).setting == load_policy("best-static", SCENARIO).setting


def test_one_static_goes_by_suite_and_daemon_whatever_it_is_tried_on(stored: Path) -> None:
    numa = load_daemon("numa-balancing")
    other = ONE.model_copy(update={"daemon": numa.name, "setting": numa.start_setting.to_json()})
    write_one_static("mine", other, stored)
    elsewhere = load_scenario("abench-8g")
    policies = [load_policy(name, elsewhere) for name in ("one-static:mine", "one-static:mine:numa-balancing")]
    assert [policy.setting for policy in policies] == [setting_of_three(500, GIB, math.inf), numa.start_setting]
    assert [policy.chosen_on for policy in policies] == [("skewed",)] * 2
    write_one_static("a:b", ONE, stored)
    assert load_policy("one-static:a:b", elsewhere).setting == load_policy("one-static:mine", elsewhere).setting
    assert load_policy("one-static:a:b:kmmscand-tunable", elsewhere).name == "one-static:a:b:kmmscand-tunable"
    write_one_static("other", other, stored)
    with pytest.raises(ConfigError, match="there is one with daemon numa-balancing: one-static:other:numa-balancing"):
        load_policy("one-static:other", elsewhere)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("no-migration", "nothing"),
        ("numab2", "rule"),
        ("static:1,2,3", "constant"),
        ("one-static:mine", "constant"),
        ("best-static:numa-balancing", "search"),
        ("moving-hot-set", "learned"),
        ("sb3:x.zip", "learned"),
        ("python:a:b", "program"),
        ("./nowhere", "program"),
    ],
)
def test_kinds_are_those_of_the_tables(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_best_static_without_a_setting_tells_how_to_find_one(stored: Path) -> None:
    with pytest.raises(ConfigError, match="run: tierenv tune abench-8g --save"):
        load_policy("best-static", load_scenario("abench-8g"))


@pytest.mark.parametrize("changes", [{"size": "15GiB"}, {"daemon": {"like": "kmmscand-tunable", "scan_sleep": "20ms"}}])
def test_another_scenario_of_the_same_name_neither_gets_nor_overwrites_the_setting(
    stored: Path, changes: dict[str, Any]
) -> None:
    namesake = SCENARIO.replace(**changes)
    with pytest.raises(ConfigError, match="stored under that name are for others.*run tierenv tune --save on its file"):
        load_policy("best-static", namesake)
    other = FOUND.model_copy(update={"setting": setting_of_three(700, GIB, math.inf).to_json()})
    write_best_static(namesake, other, stored)
    found = [load_policy("best-static", scenario) for scenario in (SCENARIO, namesake)]
    assert [policy.name for policy in found] == ["best-static"] * 2
    assert [find_best_static(scenario) for scenario in (SCENARIO, namesake)] == [FOUND, other]


def test_a_renamed_copy_of_a_scenario_has_its_setting(stored: Path) -> None:
    platform = {"like": "amd-epyc-cxl", "name": "mine", "summary": "my machine"}
    copy = SCENARIO.replace(name="copy", summary="of skewed", platform=platform)
    assert find_best_static(copy) == FOUND


def test_storing_keeps_the_other_scenarios_even_at_the_same_time(stored: Path) -> None:
    scenarios = [SCENARIO.replace(size=f"{index}GiB") for index in range(8, 16)]
    threads = [threading.Thread(target=write_best_static, args=(scenario, FOUND, stored)) for scenario in scenarios]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_best_static(stored) == BestStaticFile(
        scenarios={scenario.identity: FOUND for scenario in (SCENARIO, *scenarios)},
        suites={"mine under kmmscand-tunable": ONE},
    )


@pytest.mark.parametrize("throttle", [0.0, 64.0 * MIB, math.inf])
def test_stored_settings_survive_the_file(stored: Path, throttle: float) -> None:
    setting = setting_of_three(123.456, GIB, throttle)
    write_best_static(SCENARIO, FOUND.model_copy(update={"setting": setting.to_json()}), stored)
    assert find_best_static(SCENARIO).setting_for(SCENARIO.daemon) == setting
    json.loads(stored.read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not valid JSON"),
        ("[]", "must hold an object"),
        ('{"schema": 1}', "schema=1: must be 2"),
        ('{"schema": 2, "scenarios": {"1a2b": {}}}', "scenarios.1a2b.daemon: required key is missing"),
        ('{"schema": 2, "scenario": {}}', "unknown key"),
        ('{"schema": 2, "schema": 2}', "schema is given twice"),
    ],
)
def test_broken_file_is_named(stored: Path, content: str, reason: str) -> None:
    stored.write_text(content)
    with pytest.raises(ConfigError, match=f"^{stored}: .*{reason}"):
        load_policy("best-static", SCENARIO)


@pytest.mark.parametrize("name", packaged("scenarios"))
def test_packaged_scenarios_have_their_setting(name: str) -> None:
    scenario = load_scenario(name)
    best = find_best_static(scenario)
    StaticPolicy(best.setting_for(scenario.daemon), scenario.daemon)
    assert (best.scenario, best.daemon) == (name, scenario.daemon.name)


def test_no_setting_is_packaged_for_a_scenario_that_is_no_more() -> None:
    known = {load_scenario(name).identity for name in packaged("scenarios")}
    known |= {scenario.identity for scenario in load_suite("numa-balancing").scenarios}
    for split, daemon in itertools.product(("selection", "final"), GENERALISTS):
        known |= {scenario.identity for scenario in load_suite(f"generalist:{split}", daemon).scenarios}
    assert set(read_best_static(packaged_path()).scenarios) == known


def test_what_the_user_tuned_comes_before_what_is_packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged_setting = find_best_static(SCENARIO)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert find_best_static(SCENARIO) == packaged_setting
    write_best_static(SCENARIO, FOUND, check_storage())
    assert find_best_static(SCENARIO) == FOUND != packaged_setting
    other = load_scenario("abench-8g")
    assert find_best_static(other).scenario == "abench-8g"


def test_storage_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="best-static.json: cannot be written: Not a directory; set XDG_DATA_HOME"):
        check_storage()
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # of an account without a home
    with pytest.raises(ConfigError, match="neither HOME nor XDG_DATA_HOME names a folder"):
        check_storage()


def test_a_folder_of_the_name_does_not_shadow_a_packaged_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("moving-hot-set", "own"):
        (tmp_path / name).mkdir()
    assert load_policy("moving-hot-set", load_scenario("moving-hot-set")).name == "moving-hot-set"
    with pytest.raises(ConfigError, match="unknown policy 'own'; for the one in this folder write ./own"):
        load_policy("own", SCENARIO)
    with pytest.raises(ConfigError, match="neither a bundle"):
        load_policy("./moving-hot-set", SCENARIO)
