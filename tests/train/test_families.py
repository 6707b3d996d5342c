"""Families at work: sets in place of suites, the final set once, trainings on one set that are chosen on another."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.tiny_family import tiny_family, write_family
from tierenv import family as families
from tierenv.agents.export import export_policy
from tierenv.agents.export.learned_source import learned_source
from tierenv.agents.heuristics import RandomPolicy, StaticPolicy, parse_setting
from tierenv.agents.policies import PolicyLoader, load_policy
from tierenv.agents.policy import Policy
from tierenv.agents.run_folder import RunFolder
from tierenv.errors import ConfigError
from tierenv.family import Family, load_family
from tierenv.records import packaged, validate_record
from tierenv.scenario import Scenario
from tierenv.train import openings
from tierenv.train.cli import main
from tierenv.train.config import family_suite, load_suite, load_training_config
from tierenv.train.distil import distil
from tierenv.train.evaluate import evaluate
from tierenv.train.evaluation import Evaluation
from tierenv.train.learn import Selection, Turns, learn, make_adapter
from tierenv.train.openings import UNKNOWN_CODE, Openings, read_openings
from tierenv.train.results import read_evaluation
from tierenv.train.run_dir import RunDirectory
from tierenv.train.search import search_target
from tierenv.train.studies.stakes import not_final

WriteConfig = Callable[..., Path]
FEW = 4
OFTEN, SELDOM = "static:200,256,inf", "static:2000,256,inf"


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    """Returns the tiny family without references to files, which take long to read."""
    return validate_record(Family, tiny_family(name="tiny"), "").model_dump(mode="json")


@pytest.fixture
def family(tmp_path: Path, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns its file, with a final set of four."""
    monkeypatch.setattr(families, "LEAST_FINAL", FEW)
    content["splits"]["final"]["scenarios"] = FEW
    return write_family(tmp_path, content, "tinies")


OPENED = packaged("families")["generalist"].with_name("generalist.openings.json").read_bytes()
"""Who looked at the packaged final set, before any test."""


def log_of(family: Path) -> Path:
    return family.with_name("tinies.openings.json")


def final(family: Path, *policies: str, daemon: str | None = None, **options: Any) -> Evaluation:
    return evaluate(f"{family}:final", policies, 1, open_final=True, daemon=daemon, **options)


def searched(family: Path) -> Any:
    return search_target(f"{family}:final", "random", 2, 1, open_final=True)


def report_of(result: dict[str, Any], folder: Path) -> str:
    """The report of a file that does not name its command, which is then told as far as it is known."""
    (folder / "r.json").write_text(json.dumps({key: value for key, value in result.items() if key != "command"}))
    assert main(["report", str(folder / "r.json"), "--output", str(folder / "r.html")]) == 0
    return (folder / "r.html").read_text()


def verbs(family: Path) -> list[str]:
    return [look.verb for look in read_openings(log_of(family)).looks]


def chosen(setting: str) -> PolicyLoader:
    """Loads policies, and in place of `best-static` a setting that a search chose."""

    def load(name: str, scenario: Scenario) -> Policy:
        if name != "best-static":
            return load_policy(name, scenario)
        values = parse_setting(setting, scenario.daemon)
        return StaticPolicy(values, scenario.daemon, name=name, chosen_on=(scenario.name,))

    return load


def reseed(family: Path, seed: int) -> None:
    values = yaml.safe_load(family.read_text())
    values["splits"]["final"]["seed"] = seed
    write_family(family.parent, values, "tinies")


def test_a_set_is_a_suite(family: Path) -> None:
    suite = load_suite(f"{family}:selection:4")
    assert (suite.name, suite.family, suite.split) == ("tiny:selection:4", "tiny", "selection")
    assert suite.scenarios == load_family(str(family)).scenarios("selection", 4)
    whole = load_suite(f"{family}:training", "numa-balancing")
    assert (whole.name, len(whole.scenarios)) == ("tiny:training", 10)
    assert {scenario.daemon.name for scenario in whole.scenarios} == {"numa-balancing"}
    assert (load_suite("demo").family, load_suite("demo").split, load_suite("skewed").split) == (None, None, None)
    assert load_suite(family_suite("generalist", "selection", 2)).scenarios[1].name == "generalist-selection-01"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--family", "generalst"], "unknown family 'generalst'; did you mean 'generalist'"),
        (
            ["--family", "generalist", "--split", "trainin"],
            "--split=trainin: must be one of training, selection, final",
        ),
        (["--family", "generalist", "--split", ""], "--split=: must be one of training, selection, final"),
        (["--family", ""], "unknown family ''; run: tierenv list families"),
        (["--family", "generalist", "--scenarios", "99"], "99 scenarios of generalist:selection: must be 1 to 24"),
        (["--family", "generalist", "--scenarios", "0"], "0 scenarios of generalist:selection: must be 1 to 24"),
        (["--family", "generalist", "--scenarios", "-1"], "--scenarios=-1: must be at least 1"),
        (["skewed", "--family", "generalist"], "--family=generalist: stands in place of skewed; leave one out"),
        (["skewed", "--split", "final"], "--split=final: is of a family; give --family"),
        (["skewed", "--scenarios", "3"], "--scenarios=3: is of a family; give --family"),
        (["skewed", "--open-final"], "--open-final: is for the final set of a family, skewed is none"),
        (["--family", "generalist", "--open-final"], "generalist:selection is none; leave it out"),
        (
            ["--family", "generalist", "--split", "final"],
            "generalist:final: is judged on once, and that is logged; --open",
        ),
        (["generalist:final"], "--open-final opens it"),
        (["generalist:final:24", "--open-final"], "is judged on as a whole, 30 scenarios; ask for no fewer"),
        (["generalist:fina"], "unknown suite or scenario 'generalist:fina'"),
        ([], "name a suite, a scenario or --family; run: tierenv list suites scenarios families"),
    ],
)
def test_what_is_wrong_with_a_target_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *arguments, "--policy", "no-migration"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and message in captured.err
    assert packaged("families")["generalist"].with_name("generalist.openings.json").read_bytes() == OPENED


def test_a_family_in_place_of_a_suite_is_told_apart(family: Path) -> None:
    with pytest.raises(
        ConfigError, match=rf"{family}: holds a family; give --family {family}, or name one of its sets"
    ):
        load_suite(str(family))


def test_an_evaluation_tells_family_and_set(family: Path, tmp_path: Path) -> None:
    command = ["evaluate", "--family", str(family), "--scenarios", "3", "--policy", OFTEN, "--seeds", "1"]
    assert main([*command, "--json", str(tmp_path / "e.json")]) == 0
    result = json.loads((tmp_path / "e.json").read_text())
    assert (result["family"], result["split"], result["openings"]) == ("tiny", "selection", [])
    assert [row["scenario"] for row in result["rows"]] == [f"tiny-selection-{number}" for number in range(3)]
    assert main(["evaluate", f"{family}:selection:3", *command[5:], "--json", str(tmp_path / "same.json")]) == 0
    same = json.loads((tmp_path / "same.json").read_text())
    assert same["rows"] == result["rows"] and not log_of(family).exists()


def test_the_final_set_is_opened_once_for_some_policies(
    family: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "evaluate",
        "--family",
        str(family),
        "--split",
        "final",
        "--seeds",
        "1",
        "--json",
        str(tmp_path / "e.json"),
    ]
    mine = [*command, "--policy", "no-migration", "--policy", OFTEN]
    assert main(mine) == 2 and not log_of(family).exists()
    assert main([*command, "--policy", "no-migratio", "--open-final"]) == 2 and not log_of(family).exists()
    assert main([*mine, "--open-final"]) == 0
    first = json.loads((tmp_path / "e.json").read_text())
    [look] = read_openings(log_of(family)).looks
    assert (look.seed, look.daemon, look.seeds) == (2, "kmmscand-tunable", 1)
    assert [(each.policy, each.is_rival) for each in look.policies] == [("no-migration", True), (OFTEN, False)]
    [told] = first["openings"]
    assert (told["seed"], told["daemon"], told["opened"]) == (2, "kmmscand-tunable", look.date)
    assert (told["git_revision"], told["policies"], told["searched"]) == (look.git_revision, [OFTEN], None)
    assert told["looks"] == [{"verb": "evaluate", "date": look.date, "seeds": 1}]
    assert len(first["rows"]) == 2 * FEW
    assert "no other of the family was opened before" in " ".join(capsys.readouterr().out.split())

    assert main([*mine, "--open-final"]) == 0, "the same policies reproduce it"
    again = json.loads((tmp_path / "e.json").read_text())
    assert again["rows"] == first["rows"] and len(again["openings"][0]["looks"]) == 2
    assert main([*command, "--policy", OFTEN, "--open-final"]) == 0, "some of them do"
    assert verbs(family) == ["evaluate"] * 3

    capsys.readouterr()
    text = log_of(family).read_text()
    assert main([*mine, "--policy", SELDOM, "--open-final"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"was opened at {look.date} (seed 2, kmmscand-tunable); policy {SELDOM} is none of those" in error
    assert f"a new splits.final.seed is needed in {family}" in error and log_of(family).read_text() == text

    reseed(family, 99)
    assert main([*command, "--policy", SELDOM, "--open-final"]) == 0
    other = f"others of the family: opened at {look.date} (seed 2, kmmscand-tunable) for {OFTEN}"
    assert other in " ".join(capsys.readouterr().out.split())
    second = json.loads((tmp_path / "e.json").read_text())
    assert [entry["seed"] for entry in second["openings"]] == [2, 99]
    assert second["rows"][0]["seconds"] != first["rows"][1]["seconds"]
    html = report_of(second, tmp_path)
    assert "final set of family tiny" in html and other in html
    assert "--open-final" in html, "the command that reproduces it"


def test_a_search_of_static_settings_leaves_the_final_set_to_the_policies_and_is_told(
    family: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["tune", "--family", str(family), "--split", "final", "--sampler", "random", "--trials", "2"]
    command += ["--seeds", "1", "--json", str(tmp_path / "t.json")]
    assert main(command) == 2
    assert "--open-final opens it" in capsys.readouterr().err
    assert main([*command, "--open-final"]) == 0
    [first] = read_openings(log_of(family)).looks
    assert f"not opened for a policy yet (seed 2, kmmscand-tunable), searched at {first.date}" in " ".join(
        capsys.readouterr().out.split()
    )
    result = json.loads((tmp_path / "t.json").read_text())
    [told] = result["openings"]
    assert (result["family"], result["split"], told["opened"], told["searched"]) == ("tiny", "final", None, first.date)
    assert "family" not in result["scenarios"][0]
    assert "--open-final" in report_of(result, tmp_path), "the command that reproduces it"

    [told] = final(family, OFTEN).openings
    assert told.policies == (OFTEN,) and told.searched == first.date
    assert f"searched at {first.date} before it was opened; looked at 2 times" in told.words
    assert searched(family).searched.openings[0].opened == told.opened
    assert verbs(family) == ["tune", "evaluate", "tune"]
    with pytest.raises(ConfigError, match="was opened at"):
        final(family, SELDOM)


def test_the_first_evaluation_opens_a_set_and_all_others_are_told(family: Path) -> None:
    reseed(family, 50)
    searched(family)
    reseed(family, 2)
    assert [each.seed for each in final(family, OFTEN).openings] == [2], "a seed that was searched alone is not opened"
    reseed(family, 50)
    result = final(family, SELDOM)
    assert [(each.seed, each.policies, each.is_judged_here) for each in result.openings] == [
        (2, (OFTEN,), False),
        (50, (SELDOM,), True),
    ]
    assert result.openings[1].searched and f"for {OFTEN}" in result.opening_words[0]
    reseed(family, 2)
    assert [each.seed for each in final(family, OFTEN).openings] == [50, 2]


def test_rivals_alone_leave_the_set_closed(family: Path) -> None:
    [told] = final(family, "no-migration", "built-in").openings
    assert (told.opened, told.policies) == (None, ()) and told.searched
    [told] = final(family, OFTEN).openings
    assert told.opened and told.policies == (OFTEN,) and "before it was opened" in str(told)
    [told] = final(family, "built-in", "numab2").openings
    assert told.policies == (OFTEN,) and told.searched_anew == ("numab2",), "the other one was there before"


def test_every_policy_of_an_opening_and_every_look_is_told(family: Path, tmp_path: Path) -> None:
    final(family, "no-migration", OFTEN, SELDOM)
    result = final(family, SELDOM)
    [told] = result.openings
    assert told.policies == (OFTEN, SELDOM) and len(told.looks) == 2
    assert f"for {OFTEN}, {SELDOM}; looked at 2 times" in result.opening_words[0]
    result_path = tmp_path / "e.json"
    result_path.write_text(json.dumps(result.to_json()))
    assert read_evaluation(result_path).openings == tuple(result.openings)


def test_rivals_that_were_searched_anew_are_told(family: Path) -> None:
    load = chosen("200,256,inf")
    first = final(family, SELDOM, "best-static", "built-in", load=load)
    assert first.openings[0].searched_anew == ()
    assert final(family, SELDOM, "best-static", load=load).openings[0].searched_anew == ()
    again = final(family, SELDOM, "best-static", "built-in", load=chosen("300,256,inf"))
    assert again.openings[0].searched_anew == ("best-static",)
    assert "rivals searched anew or added since: best-static" in again.opening_words[0]
    assert final(family, SELDOM, "numab2").openings[0].searched_anew == ("numab2",)
    identities = [each.identity for look in read_openings(log_of(family)).looks for each in look.policies]
    assert all(len(identity) == 64 for identity in identities)


@pytest.mark.parametrize("policy", ["best-static", "built-in"])
def test_what_runs_on_a_daemon_of_ones_own_is_no_rival(family: Path, tmp_path: Path, policy: str) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("like: kmmscand-tunable\ninitial_delay: 3s\n")
    load = chosen("200,256,inf")
    final(family, SELDOM, "no-migration", load=load, daemon=str(own))
    with pytest.raises(ConfigError, match=rf"\(seed 2, own\); policy {policy} is none of those that it was opened for"):
        final(family, policy, load=load, daemon=str(own))
    final(family, "no-migration", load=load, daemon=str(own))
    copy = tmp_path / "copy.yaml"
    copy.write_text("like: kmmscand-tunable\n")
    final(family, SELDOM, daemon=str(copy))
    final(family, SELDOM, policy, load=load, daemon=str(copy))


def test_every_daemon_has_its_opening_and_all_are_told(family: Path) -> None:
    final(family, OFTEN)
    result = final(family, "static:2000,256,inf,1000", daemon="numa-balancing")
    both = [(2, "kmmscand-tunable"), (2, "numa-balancing")]
    assert [(each.seed, each.daemon) for each in result.openings] == both
    assert "kmmscand-tunable" in result.opening_words[0] and "numa-balancing" in result.opening_words[0]
    assert [(each.seed, each.daemon) for each in final(family, OFTEN).openings] == both[::-1]


def test_a_policy_is_checked_under_the_daemon_that_it_runs_on(family: Path) -> None:
    final(family, OFTEN)
    bundle = str(packaged("policies")["moving-hot-set-tree"])
    for under in (None, "numa-balancing"):
        with pytest.raises(ConfigError, match=rf"\(seed 2, kmmscand-tunable\); policy {bundle} is none of those"):
            final(family, bundle, daemon=under)
    reseed(family, 60)
    told = final(family, bundle, daemon="numa-balancing").openings[-1]
    assert (told.seed, told.daemon, told.policies) == (60, "kmmscand-tunable", (bundle,))
    with pytest.raises(ConfigError, match=f"is none of those that it was opened for: {bundle}"):
        final(family, OFTEN)


def test_other_scenarios_under_a_seed_that_was_opened_are_refused(family: Path, tmp_path: Path) -> None:
    final(family, OFTEN)
    values = yaml.safe_load(family.read_text())
    values["forms"]["mild-final"]["scenario"]["size"] = "300MiB"
    write_family(tmp_path, values, "tinies")
    with pytest.raises(
        ConfigError, match=rf"{family}: splits.final.seed=2: was opened at .* with other scenarios; a new"
    ):
        final(family, OFTEN)


def test_code_of_others_takes_part_in_the_first_opening_alone(family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RandomPolicy, "identity", None)
    final(family, OFTEN, "random")
    [look] = read_openings(log_of(family)).looks
    assert [policy.identity == UNKNOWN_CODE for policy in look.policies] == [False, True]
    with pytest.raises(
        ConfigError, match="policy random is code of others, of which nobody can tell whether it is the"
    ):
        final(family, OFTEN, "random")
    final(family, OFTEN)


def test_an_evaluation_that_was_interrupted_goes_on(family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tierenv.train import evaluate as evaluating
    from tierenv.train.journal import journal_of

    runs: list[str] = []
    run = evaluating.run_episodes

    def stopped(task: Any, *arguments: Any, **options: Any) -> Any:
        if len(runs) == 1:
            raise KeyboardInterrupt
        runs.append(task.system.scenarios[0].name)
        return run(task, *arguments, **options)

    monkeypatch.setattr(evaluating, "run_episodes", stopped)
    with pytest.raises(KeyboardInterrupt), journal_of("evaluate", "tiny") as journal:
        evaluate(f"{family}:final", [OFTEN], 1, open_final=True, journal=journal)
    assert verbs(family) == ["evaluate"]
    runs.clear()
    monkeypatch.setattr(evaluating, "run_episodes", lambda *given, **named: runs.append("") or run(*given, **named))
    with journal_of("evaluate", "tiny") as journal:
        result = evaluate(f"{family}:final", [OFTEN], 1, open_final=True, journal=journal)
    assert len(runs) == FEW - 1 and len(result.rows) == FEW


def test_a_broken_log_keeps_the_set_closed(family: Path) -> None:
    log_of(family).write_text('{"schema": 1, "looks": [{}]}')
    with pytest.raises(ConfigError, match=rf"{log_of(family)}: looks.0.* is missing; bring back the file as it was"):
        final(family, OFTEN)


def test_without_a_place_for_the_log_the_set_stays_closed(family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_arguments: False)
    with pytest.raises(ConfigError, match=rf"{log_of(family)}: cannot be written; the final set is not opened without"):
        final(family, OFTEN)


def test_the_log_of_a_packaged_family_falls_back_on_the_folder_of_the_user(
    family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(openings, "packaged", lambda kind: {"tinies": family} if kind == "families" else packaged(kind))
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != family.parent and access(path, mode))
    final(family, OFTEN)
    own = tmp_path / "data" / "tierenv" / "families" / "tinies.openings.json"
    assert own.exists() and not log_of(family).exists()
    monkeypatch.setattr(os, "access", access)
    with pytest.raises(ConfigError, match="was opened at"):
        final(family, SELDOM)


def test_logs_of_two_places_are_united_and_refused_where_they_differ(
    family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(openings, "packaged", lambda kind: {"tinies": family} if kind == "families" else packaged(kind))
    own = tmp_path / "data" / "tierenv" / "families" / "tinies.openings.json"
    own.parent.mkdir(parents=True)
    final(family, OFTEN)
    log_of(family).rename(own)
    searched(family)
    searched(family)
    assert verbs(family) == ["evaluate", "tune", "tune"]
    own.write_text(log_of(family).read_text())
    searched(family)
    assert verbs(family) == ["evaluate", "tune", "tune", "tune"], "a copy has the same looks"

    looks = read_openings(own).looks
    own.write_text(Openings(looks=looks[:1]).model_dump_json(by_alias=True))
    log_of(family).write_text(Openings(looks=looks[1:]).model_dump_json(by_alias=True))
    with pytest.raises(ConfigError, match=rf"policy {SELDOM} is none of those that it was opened for: {OFTEN}"):
        final(family, SELDOM)

    log_of(family).unlink()
    text = own.read_text()
    own.unlink()
    final(family, SELDOM)
    own.write_text(text)
    with pytest.raises(
        ConfigError, match=rf"{log_of(family)} and {own}: seed 2 was opened for policies that differ under kmmscand-"
    ):
        final(family, OFTEN)
    reseed(family, 71)
    told = final(family, OFTEN).openings
    assert [set(each.policies) for each in told] == [{OFTEN, SELDOM}, {OFTEN}]


def test_trained_on_one_set_and_chosen_on_another(write_config: WriteConfig, family: Path, tmp_path: Path) -> None:
    path = write_config(
        scenarios=None,
        family=str(family),
        family_scenarios=6,
        num_envs=16,
        shaping=False,
        evaluation={"interval": 64, "seeds": 1, "scenarios": 4},
    )
    config = load_training_config(str(path))
    mine = load_family(str(family))
    assert config.scenarios == mine.scenarios("training", 6)
    assert config.selection_scenarios == mine.scenarios("selection", 4)
    assert config.with_overrides(seed=3).scenarios == config.scenarios
    assert Selection(config)._names == [f"tiny-selection-{number}" for number in range(4)]
    with RunDirectory.create(tmp_path / "run", config, "tierenv train") as run:
        result = learn(config, run)
    assert result.best is not None and list(result.best.by_scenario) == Selection(config)._names
    family.unlink()  # a run needs nothing outside itself
    folder = RunFolder(tmp_path / "run")
    assert folder.configuration.first_scenarios == config.scenarios
    assert [daemon.name for daemon in folder.configuration.daemons] == ["kmmscand-tunable"]
    assert load_training_config(str(folder.config_path)).scenarios == config.scenarios
    source = learned_source(str(tmp_path / "run"))
    assert source.origin.trained_for == "6 scenarios of family tiny"
    assert [entry.name for entry in source.scenarios] == ["tiny:training:6"]
    with RunDirectory.resume(tmp_path / "run", config.with_overrides(timesteps=256), "tierenv train") as run:
        assert learn(config.with_overrides(timesteps=256), run).timesteps == 256
    other = config.model_copy(update={"family": mine.model_copy(update={"base": {}})})
    with pytest.raises(ConfigError, match=r"family: this run has tiny \(\w+\), the configuration given has tiny \("):
        RunDirectory.resume(tmp_path / "run", other, "tierenv train")


def test_more_scenarios_than_environments_have_their_turns(
    write_config: WriteConfig, family: Path, tmp_path: Path
) -> None:
    changes = {"scenarios": None, "family": str(family), "family_scenarios": 7, "shaping": False, "regions": 2}
    config = load_training_config(str(write_config(num_envs=4, **changes)))
    mine = load_family(str(family)).scenarios("training", 7)
    assert config.scenarios == mine[:4] and config.num_scenarios == 7
    assert config.with_overrides(num_envs=6).scenarios == mine[:6]
    adapter = make_adapter(config)
    adapter.seed(0)
    adapter.reset()
    begun: list[str] = []
    before = adapter.get_attr("scenarios")[0]
    assert [scenario.regions for scenario in before] == [2] * 4
    while len(begun) < 4:
        adapter.step(np.zeros((4, 3), np.float32))
        after = adapter.get_attr("scenarios")[0]
        begun += [new.name for old, new in zip(before, after, strict=True) if new is not old]
        before = after
    assert begun[:4] == [f"tiny-training-{number}" for number in (4, 5, 6, 0)]
    with RunDirectory.create(tmp_path / "run", config, "tierenv train") as run:
        learn(config, run)
    assert RunFolder(tmp_path / "run").configuration.trained_on == "7 scenarios of family tiny"
    again = Turns(config, times_resumed=1)
    assert [scenario.name for scenario in again.first] == [f"tiny-training-{number}" for number in (4, 5, 6, 0)]
    assert again.next(0).name == "tiny-training-1"
    bundle = tmp_path / "bundle"
    export_policy(str(tmp_path / "run"), "bundle", bundle)
    with pytest.raises(ConfigError, match="was trained on tiny:training:7, a set of a family; name scenarios"):
        distil(str(bundle), 4)


def test_a_scenario_that_no_environment_begins_with_is_checked_all_the_same(
    write_config: WriteConfig, family: Path
) -> None:
    values = yaml.safe_load(family.read_text())
    values["forms"][values["splits"]["training"]["forms"][-1]]["scenario"]["control_interval"] = "1s"
    own = write_family(family.parent, values, "others")
    changes = {"scenarios": None, "family": str(own), "shaping": False, "num_envs": 1}
    changes |= {"hyperparameters": {"n_steps": 8, "batch_size": 8, "n_epochs": 1}}
    with pytest.raises(ConfigError, match=r"scenarios: tiny-training-\d: control_interval=1s: must be that of"):
        load_training_config(str(write_config(**changes)))


def test_a_training_has_the_daemon_that_it_names(write_config: WriteConfig, family: Path) -> None:
    changes = {"scenarios": None, "shaping": False, "log_std_init": None, "daemon": "numa-balancing"}
    config = load_training_config(str(write_config(family=str(family), num_envs=16, **changes)))
    daemons = {each.daemon.name for each in (*config.scenarios, *config.selection_scenarios)}
    assert daemons == {"numa-balancing"} and config.family is not None and config.daemon is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "generalist"}, "scenarios: are given beside family; leave one out"),
        ({"scenarios": None}, "scenarios: required key is missing, or family"),
        ({"family_scenarios": 3}, "family_scenarios=3: must be left out without family"),
        ({"evaluation": {"scenarios": 3}}, "evaluation.scenarios=3: must be left out without family"),
        ({"scenarios": None, "family": "generalst"}, "family: unknown family 'generalst'; did you mean"),
        ({"scenarios": None, "family": "generalist:final"}, "family: unknown family 'generalist:final'"),
        (
            {"scenarios": None, "family": "TINY", "family_scenarios": 11},
            "11 scenarios of tiny:training: must be 1 to 10",
        ),
        (
            {"scenarios": None, "family": "TINY", "shaping": False, "evaluation": {"scenarios": 11}},
            "11 scenarios of tiny:selection: must be 1 to 10",
        ),
        (
            {"scenarios": None, "family": "TINY", "reward": {"worse_than_no_migration": 2}},
            "num_envs=4: must be at least 10, one for each scenario",
        ),
        ({"scenarios": None, "family": "TINY", "num_envs": 16}, "shaping=true"),
    ],
)
def test_what_is_wrong_with_a_training_on_a_family_is_said_in_one_line(
    write_config: WriteConfig, family: Path, changes: dict[str, Any], message: str
) -> None:
    changes = {key: str(family) if value == "TINY" else value for key, value in changes.items()}
    path = write_config(**changes)
    with pytest.raises(ConfigError) as caught:
        load_training_config(str(path))
    assert message in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_run_without_scenarios_and_family_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("algorithm: ppo\ntimesteps: 3\npolicy_net: [8]\n")
    with pytest.raises(ConfigError, match="scenarios: required key is missing, or family"):
        _ = RunFolder(tmp_path).configuration


def test_families_are_listed_and_called_by_what_they_are(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["list", "families"]) == 0
    assert "generalist" in capsys.readouterr().out
    (tmp_path / "mine.yaml").write_text("threads: 3\n")
    with pytest.raises(ConfigError, match="has none of the keys of a family file"):
        load_family(str(tmp_path / "mine.yaml"))


def test_stakes_of_the_final_set_are_looked_at_on_no_seed_that_anybody_takes_next(family: Path) -> None:
    mine = load_family(str(family))
    other = not_final(mine)
    seed = mine.splits.final.seed
    assert abs(other.splits.final.seed - seed) > 1 << 60
    assert other.scenarios("training") == mine.scenarios("training")
    assert other.scenarios("final") != mine.scenarios("final")
