"""The command line: help, exit codes, and one line for every bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tierenv import __version__
from tierenv.records import packaged
from tierenv.train.cli import main

WriteConfig = Callable[..., Path]

VERBS = (
    "init",
    "platform",
    "import",
    "calibrate",
    "evaluate",
    "tune",
    "train",
    "sweep",
    "distil",
    "export",
    "replay",
    "fidelity",
    "report",
    "bench",
    "list",
)
HEAVY = {"ray", "torch", "numba", "scipy", "matplotlib", "stable_baselines3", "pydantic"}


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own."""
    command = [sys.executable, "-m", "tierenv.train", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Returns stderr, which must be one line."""
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured.err
    return captured.err


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom tierenv.train.cli import main\ncode = main(['--help'])\n"
        f"print(code, sorted({HEAVY} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.splitlines()[-1] == "0 []", result.stderr
    assert all(verb in result.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert capsys.readouterr().out.count("\n") > 5


@pytest.mark.parametrize("arguments", [[], ["fly"], ["train"], ["tune", "skewed", "--trails", "3"]])
def test_bad_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "ppo-abnch"], "unknown algorithm 'ppo-abnch'; did you mean 'ppo-abench'"),
        (["train", "missing.yaml"], "missing.yaml: no such file"),
        (["train", "ppo-abench", "--seed", "-1"], "ppo-abench: seed=-1: must be"),
        (["evaluate", "skewd", "--policy", "random"], "unknown suite or scenario 'skewd'"),
        (["evaluate", "skewed"], "--policy: name at least one"),
        (["evaluate", "skewed", "--policy", "best-statc"], "did you mean 'best-static'"),
        (["evaluate", "skewed", "--policy", "runs/none"], "runs/none: no such folder"),
        (["evaluate", "skewed", "--policy", "static:1,256,inf"], "scan_period_ms=1: daemon"),
        (["evaluate", "skewed", "--policy", "static:1"], "must be 3 numbers"),
        (["evaluate", "skewed", "--policy", "random", "--json", "."], ".: is a folder"),
        (["tune", "skewed", "--sampler", "tpee"], "--sampler=tpee: must be one of"),
        (["export", "random", "--format", "xml", "--output", "out"], "unknown format 'xml'"),
        (["fidelity", "abench-v9"], "unknown measurement 'abench-v9'; did you mean 'abench-v"),
        (["fidelity", "--seeds", "0"], "--seeds=0: must be 1 to 10000"),
        (["sweep", "dem", "--serial"], "unknown sweep 'dem'; did you mean 'demo'"),
        (["sweep", "demo", "--serial", "--workers", "2"], "--serial: takes neither --workers nor --address"),
        (["bench", "--seconds", "0"], "--seconds=0: must be above 0"),
        (["list", "polices"], "unknown kind 'polices'; did you mean 'policies'"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in one_line(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\nsize:", "\nsise:", "sise: unknown key; did you mean 'size'?"),
        ("fast_capacity: 134217728B", "fast_capacity: 4 parsecs", "fast_capacity: '4 parsecs' is not a quantity"),
        ("regions: 4", "regions: 0", "regions=0: must be greater than or equal to 1"),
        ("name: moving-hot-set", "name: [", "not valid YAML"),
    ],
)
def test_bad_scenario_is_one_line_that_names_file_and_field(
    scenario_path: Path, old: str, new: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = scenario_path.read_text()
    assert old in text
    scenario_path.write_text(text.replace(old, new, 1))
    assert main(["evaluate", str(scenario_path), "--policy", "random"]) == 2
    line = one_line(capsys)
    assert message in line and str(scenario_path) in line


def test_bad_training_file_is_one_line_that_names_file_and_field(
    write_config: WriteConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(hyperparameters={"learning_rat": 1e-3})
    assert main(["train", str(path)]) == 2
    line = one_line(capsys)
    assert f"{path}: hyperparameters.learning_rat" in line and "did you mean 'learning_rate'" in line


def test_train_evaluate_and_a_broken_model(
    write_config: WriteConfig, scenario_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report = tmp_path / "run", tmp_path / "report.json"
    assert main(["train", str(write_config()), "--run-dir", str(folder), "--timesteps", "64"]) == 0
    assert "64 environment steps" in capsys.readouterr().out
    evaluate = ["evaluate", str(scenario_path), "--policy", str(folder), "--policy", "random"]
    assert main([*evaluate, "--seeds", "2", "--json", str(report)]) == 0
    assert "gap closed" in capsys.readouterr().out
    rows = json.loads(report.read_text())["rows"]
    assert [row["policy"] for row in rows] == [str(folder), "random"]

    model = folder / "best" / "model.zip"
    model.write_bytes(model.read_bytes()[:1000])
    assert main(evaluate) == 2
    assert str(model) in one_line(capsys)


def test_plot_and_tune_write_their_files(scenario_path: Path, tmp_path: Path) -> None:
    picture, found = tmp_path / "plot.png", tmp_path / "tune.json"
    policies = ["--policy", "no-migration", "random"]
    assert main(["evaluate", str(scenario_path), *policies, "--seeds", "1", "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    tune = ["tune", str(scenario_path), "--sampler", "random", "--trials", "3", "--seeds", "1"]
    assert main([*tune, "--json", str(found)]) == 0
    assert json.loads(found.read_text())["budget"]["trials"] == 3


def test_list_shows_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    from tierenv.train.catalogue import KINDS

    assert main(["list"]) == 0
    overview = capsys.readouterr().out
    assert all(kind in overview for kind in KINDS)
    assert main(["list", *KINDS]) == 0
    text = capsys.readouterr().out
    for word in ("best-static", "moving-hot-set", "kmmscand-v1", "scan_period_ms", "sysfs", "ppo-abench"):
        assert word in text


def test_list_is_there_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "scenarios", "formats", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["scenario"] for row in content["scenarios"]] == list(packaged("scenarios"))
    assert content["formats"][1] | {"what it is": ""} == {
        "format": "sysfs",
        "policies": "static",
        "what it is": "",
        "targets": "kmmscand, numa-balancing, damon",
    }
    assert main(["list", "--json"]) == 0
    assert {row["kind"] for row in json.loads(capsys.readouterr().out)["kinds"]} >= {"policies", "targets"}


def test_json_to_stdout_is_all_there_is_on_it(scenario_path: Path) -> None:
    done = run("evaluate", scenario_path, "--policy", "random", "--seeds", "1", "--json", "-")
    assert json.loads(done.stdout)["rows"][0]["policy"] == "random"
    assert "gap closed" in done.stderr


def test_two_outputs_to_one_file_are_refused(
    scenario_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "x")
    assert main(["evaluate", str(scenario_path), "--policy", "random", "--json", path, "--trace", path]) == 2
    assert f"{path}: is given for two outputs" in one_line(capsys)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tierenv {__version__}\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_keeps_a_checkpoint_and_resume_goes_on(
    write_config: WriteConfig, tmp_path: Path, number: signal.Signals
) -> None:
    config, folder = write_config(timesteps=50_000_000), tmp_path / "run"
    command = [sys.executable, "-m", "tierenv.train", "train", str(config), "--run-dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(folder.glob("checkpoints/*.zip")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted; continue with --resume" in output and "Traceback" not in errors

    done = max(int(path.stem.removeprefix("step_")) for path in folder.glob("checkpoints/*.zip"))
    resumed = run("train", config, "--run-dir", folder, "--resume", "--timesteps", done + 64)
    assert resumed.returncode == 0, resumed.stderr
    assert f"{done + 64:,} environment steps" in resumed.stdout
