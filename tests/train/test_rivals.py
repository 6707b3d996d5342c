"""The rivals of a comparison, from the command line to the tables and the JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import tiny
from tierenv.agents import best_static
from tierenv.agents.best_static import BestStatic, OneStatic, check_storage, write_best_static, write_one_static
from tierenv.daemon import load_daemon
from tierenv.scenario import Scenario, load_scenario
from tierenv.train.cli import main
from tierenv.train.limits import LIMITS, Limit
from tierenv.train.rivals import Rivals
from tierenv.train.run_dir import to_yaml

TUNED = {"seeds": (20000,), "command": "tierenv tune", "git_revision": None}
BUDGET = {"mean_s": 6.0, "trials": 2, "episodes": 4, "env_steps": 100, "wall_s": 1.0}
NUMA = load_daemon("numa-balancing")


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a suite of two scenarios; settings are stored for the first, and for another suite."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(best_static, "packaged_path", lambda: tmp_path / "none")
    quick = Limit("clairvoyant", "bound", lambda _system, episodes, _above: 0.8 * episodes.objective)  # not seconds
    monkeypatch.setitem(LIMITS, "clairvoyant", quick)
    scenarios = [tiny().replace(name="one"), tiny(fast_capacity="256MiB").replace(name="two")]
    for scenario in scenarios:
        (tmp_path / f"{scenario.name}.yaml").write_text(to_yaml(scenario.model_dump(mode="json")))
    (tmp_path / "suite.yaml").write_text("name: both\nscenarios: [one.yaml, two.yaml]\n")
    path = check_storage()
    for scenario in (scenarios[0], scenarios[0].under(NUMA)):
        write_best_static(scenario, BestStatic(scenario="one", **stored(scenario), **BUDGET, **TUNED), path)
    one = OneStatic(scenarios=("one", "elsewhere"), relative_time=0.9, **stored(scenarios[0]), **TUNED)
    write_one_static("others", one, path)
    return tmp_path / "suite.yaml"


def stored(scenario: Scenario) -> dict[str, Any]:
    return {"daemon": scenario.daemon.name, "setting": scenario.daemon.start_setting.to_json()}


def evaluated(suite: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[dict[str, Any], str]:
    """Returns what was written and said, spaces alike."""
    result = suite.parent / "result.json"
    assert main(["evaluate", str(suite), *options, "--seeds", "3", "--json", str(result)]) == 0
    return json.loads(result.read_text()), " ".join(capsys.readouterr().out.split())


def test_rivals_are_added_as_far_as_they_are_there_and_what_is_missing_is_said(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, text = evaluated(suite, capsys, "--rivals", "--policy", "static:500,256,inf")
    policies: dict[str, list[str]] = {}
    for row in content["rows"]:
        policies.setdefault(row["scenario"], []).append(row["policy"])
    common = ["static:500,256,inf", "no-migration", "numab2", "built-in"]
    assert policies == {
        "one": [*common, "best-static", "best-static:numa-balancing", "one-static:others"],
        "two": [*common, "one-static:others"],
    }
    assert [(each["policy"], each["scenario"]) for each in content["left_out"]] == [
        ("best-static:kmmscand-threshold", "one"),
        ("best-static", "two"),
        ("best-static:kmmscand-threshold", "two"),
        ("best-static:numa-balancing", "two"),
    ]
    assert all("no setting stored" in each["reason"] for each in content["left_out"])
    assert "Left out: best-static on two: best-static: no setting stored for scenario 'two'" in text
    assert "one-static:others was chosen on 2 scenarios (one and elsewhere), by name 1 of those here." in text
    rows = {(row["scenario"], row["policy"]): row for row in content["rows"]}
    assert rows["two", "one-static:others"]["chosen_on"] == ["one", "elsewhere"]
    assert rows["one", "best-static:numa-balancing"]["daemon"] == "numa-balancing"
    kinds = {policy: row["kind"] for (_, policy), row in rows.items()}
    assert (kinds["best-static"], kinds["one-static:others"], kinds["numab2"]) == ("search", "constant", "rule")


def test_json_has_the_verdicts_by_stake_and_what_it_costs(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, text = evaluated(suite, capsys, "--policy", "no-migration", "numab2", "static:500,256,inf")
    assert [each["scenario"] for each in content["verdicts"]] == ["one", "two"]
    for each in content["verdicts"]:
        rows = [row for row in content["rows"] if row["scenario"] == each["scenario"]]
        best = min(rows, key=lambda row: row["seconds"]["mean"])
        assert (each["winner"], each["kind"]) == (best["policy"], best["kind"])
        bounds = {key: limit["mean"] for key, limit in each["bounds"].items()}
        assert bounds == pytest.approx(best["bounds"]) and len(each["bounds"]["clairvoyant"]["runs"]) == 3
        assert each["stake"] == best["stake"] == pytest.approx(1 - bounds["clairvoyant"] / bounds["no_migration"])
        assert {row["stake_class"] for row in rows} == {each["stake_class"]}
    classes = {each["stake_class"]: each["scenarios"] for each in content["by_stake"]}
    assert sorted(sum(classes.values(), [])) == ["one", "two"]
    assert f"In all, 2 scenarios by total time: {content['verdict']['words']}." in text
    totals = [
        sum(row["seconds"]["mean"] for row in content["rows"] if row["policy"] == name)
        for name in ("numab2", "no-migration")
    ]
    ratio = content["aggregate"]["numab2"]["time_over_no_migration"]["ratio"]
    assert ratio == pytest.approx(totals[0] / totals[1])
    row = content["rows"][2]
    assert (
        set(row["daemon_cpu_s"]) == {"scanner", "migrator", "threads", "total"} and row["recovery_s"]["regained"] <= 1
    )
    assert row["daemon_cpu_s"]["total"]["mean"] > 0


def test_a_rule_that_does_what_another_did_is_left_out_unless_it_was_asked_for(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, text = evaluated(suite, capsys, "--rivals", "--daemon", "numa-balancing")
    policies = {row["policy"] for row in content["rows"]}
    assert "built-in" not in policies and "numab2" in policies
    assert "Left out: built-in on one and two: did in every episode what numab2 did." in text
    content, _ = evaluated(suite, capsys, "--rivals", "--daemon", "numa-balancing", "--policy", "built-in")
    assert {"built-in", "numab2"} & {row["policy"] for row in content["rows"]} == {"built-in"}


def test_rivals_have_timelines_and_traces_as_far_as_they_are_there(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, _ = evaluated(suite, capsys, "--rivals", "--timelines", "--trace", str(tmp_path / "events"))
    played = [(row["scenario"], row["policy"]) for row in content["rows"]]
    assert [(each["scenario"], each["policy"]) for each in content["timelines"]] == played
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert {(event["scenario"], event["policy"]) for event in events} <= set(played)


def test_of_many_scenarios_the_tables_of_each_are_shown_if_asked_for(
    suite: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{name}.yaml" for name in ("one", "two")]
    for number in range(3):
        copy = suite.parent / f"copy{number}.yaml"
        copy.write_text(to_yaml(tiny().replace(name=f"copy{number}").model_dump(mode="json")))
        names.append(copy.name)
    suite.write_text(f"name: many\nscenarios: [{', '.join(names)}]\n")
    _, short = evaluated(suite, capsys, "--policy", "no-migration", "numab2")
    _, long = evaluated(suite, capsys, "--policy", "no-migration", "numab2", "--details")
    assert "suite many: verdicts" in short and "regret" not in short
    assert short in long and long.count("regret") == 5


def test_without_policies_and_without_rivals_there_is_nothing_to_do(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(suite)]) == 2
    assert "--policy: name at least one, or give --rivals" in capsys.readouterr().err


def test_a_broken_file_of_settings_is_said_and_not_taken_for_none(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (suite.parent / "data" / "tierenv" / "best-static.json").write_text("{")
    assert main(["evaluate", str(suite), "--rivals"]) == 2
    error = capsys.readouterr().err
    assert "best-static.json" in error and error.count("\n") == 1


def test_rivals_that_were_searched_for_nowhere_are_left_out_by_name(suite: Path) -> None:
    check_storage().unlink()
    one = tiny().replace(name="one")
    rivals = Rivals([one])
    assert list(rivals.of(one, {})) == ["no-migration", "numab2", "built-in"]
    reasons = {each.policy: each.reason for each in rivals.left_out}
    elsewhere = ["best-static:kmmscand-threshold", "best-static:numa-balancing"]
    assert list(reasons) == ["best-static", *elsewhere, "one-static"]
    for name in elsewhere:
        assert "run tierenv tune --save on its file" in reasons[name]
        assert reasons[name].endswith(f"with --daemon {name.removeprefix('best-static:')}")
    assert "run tierenv tune SUITE --daemon kmmscand-tunable --save" in reasons["one-static"]


def test_under_numa_balancing_daemons_of_another_mechanism_are_rivals_where_they_were_searched_for(suite: Path) -> None:
    one, two = (load_scenario(str(suite.parent / f"{name}.yaml")).under(NUMA) for name in ("one", "two"))
    assert "best-static:kmmscand-tunable" in Rivals([one]).of(one, {})
    rivals = Rivals([two])
    rivals.of(two, {})
    assert [each.policy for each in rivals.left_out] == ["best-static", "one-static"]
