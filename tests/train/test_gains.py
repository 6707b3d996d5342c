"""Expected gains: read from what `evaluate --json` writes, told by what `export` writes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tierenv.errors import ConfigError
from tierenv.train.cli import main
from tierenv.train.gains import read_gains
from tierenv.train.statistics import paired_difference

RUNS = {
    "runs/x": [90.0, 100.0, 98.0],
    "built-in": [100.0, 120.0, 110.0],
    "best-static": [95.0, 99.0, 100.0],
    "random": [500.0, 600.0, 700.0],
}


def row(policy: str, runs: list[float], scenario: str = "skewed", daemon: str = "d") -> dict[str, Any]:
    seconds = {"mean": sum(runs) / len(runs), "ci95": None, "runs": list(runs)}
    key = {"scenario": scenario, "policy": policy, "daemon": daemon}
    return key | {"seconds": seconds, "truncated_runs": 0, "regret": 0.1}


def write(path: Path, change: Callable[[dict[str, Any]], object] = lambda _content: None) -> Path:
    content: dict[str, Any] = {"schema": 1, "suite": "s", "rows": [row(name, runs) for name, runs in RUNS.items()]}
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_gain_is_the_share_of_the_others_time_with_a_paired_interval(tmp_path: Path) -> None:
    over_built_in, over_static = read_gains(write(tmp_path / "a.json"), "runs/x/")
    assert (over_built_in.against, over_static.against) == ("built-in", "best-static")
    assert over_built_in.share == pytest.approx(42 / 330)
    saved = paired_difference(RUNS["built-in"], RUNS["runs/x"])
    assert over_built_in.ci95 == pytest.approx((saved.low / 110, saved.high / 110))
    assert over_static.ci95 is not None and over_static.ci95[0] < 0  # not significant, and it shows
    assert (over_built_in.scenario, over_built_in.episodes) == ("skewed", 3)


def test_what_the_kernel_does_as_booted_comes_first_and_says_so(tmp_path: Path) -> None:
    booted = row("numab2", [180.0, 200.0, 220.0], daemon="numab2")
    path = write(tmp_path / "a.json", lambda content: content["rows"].append(booted))
    gains = read_gains(path, "runs/x")
    assert [gain.against for gain in gains] == ["numab2", "built-in", "best-static"]
    assert gains[0].share == pytest.approx(312 / 600) and gains[0].ci95 is not None
    assert "less time than numab2, the kernel as booted with numa_balancing = 2, on skewed (3 episodes)" in str(
        gains[0]
    )


def test_a_folder_called_like_a_packaged_policy_has_not_its_gain(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", lambda content: content["rows"].append(row("abench", [1.0, 1.0, 1.0])))
    assert read_gains(path, "abench")
    for policy in ("./abench", str(tmp_path / "abench")):
        with pytest.raises(ConfigError, match="has no row for policy"):
            read_gains(path, policy)


def test_every_scenario_has_its_own_gain(tmp_path: Path) -> None:
    more = [row("runs/x", [1.0, 2.0], "abench-8g"), row("built-in", [2.0, 4.0], "abench-8g")]
    gains = read_gains(write(tmp_path / "a.json", lambda content: content["rows"].extend(more)), "runs/x")
    assert [(gain.scenario, gain.against) for gain in gains] == [
        ("skewed", "built-in"),
        ("skewed", "best-static"),
        ("abench-8g", "built-in"),
    ]


def test_a_baseline_that_ran_on_several_daemons_is_the_one_on_the_policys_own(tmp_path: Path) -> None:
    more = [row("built-in", [1.0, 2.0, 3.0], daemon="e"), row("runs/x", [1.0, 1.0, 1.0], daemon="e")]
    gains = read_gains(write(tmp_path / "a.json", lambda content: content["rows"].extend(more)), "runs/x")
    assert [(gain.against, gain.share) for gain in gains if gain.against == "built-in"] == [
        ("built-in", pytest.approx(42 / 330)),
        ("built-in", pytest.approx(3 / 6)),
    ]


def test_one_episode_has_no_interval(tmp_path: Path) -> None:
    def cut(content: dict[str, Any]) -> None:
        for entry in content["rows"]:
            del entry["seconds"]["runs"][1:]

    assert read_gains(write(tmp_path / "a.json", cut), "runs/x")[0].ci95 is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content.update(schema=2), "schema"),
        (lambda content: content.update(rows="none"), "rows"),
        (lambda content: content["rows"][0]["seconds"].update(runs=[]), r"rows\.0\.seconds\.runs"),
        (
            lambda content: content["rows"].pop(0),
            "has no row for policy 'runs/x'; it has built-in, best-static, random",
        ),
        (lambda content: content.update(rows=content["rows"][::3]), "no policy to compare with"),
        (lambda content: content["rows"][1].update(truncated_runs=2), "built-in was given up in 2 runs of skewed"),
        (lambda content: content["rows"][1]["seconds"]["runs"].pop(), "different numbers of runs"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_gains(write(tmp_path / "a.json", change), "runs/x")


def test_evaluation_goes_into_the_export(tmp_path: Path, scenario_path: Path) -> None:
    """From the command that evaluates to the header of what is exported."""
    policy, result = "static:1000,256,256", str(tmp_path / "result.json")
    policies = ["--policy", policy, "built-in"]
    assert main(["evaluate", str(scenario_path), *policies, "--seeds", "2", "--json", result]) == 0
    output = tmp_path / "a.json"
    arguments = ["--format", "parameters", "--output", str(output), "--evaluation", result]
    assert main(["export", policy, *arguments, "--scenario", str(scenario_path)]) == 0
    assert "less time than built-in on moving-hot-set (2 episodes)" in output.read_text()


def test_missing_evaluation_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--format", "parameters", "--output", str(tmp_path / "a"), "--evaluation", str(tmp_path / "none")]
    assert main(["export", "static:1000,256,256", *arguments, "--scenario", "skewed"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
