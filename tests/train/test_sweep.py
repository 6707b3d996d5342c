"""Sweeps in one process: what a file may say, what a stop or a change of a file does, what is kept."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tierenv.errors import ConfigError
from tierenv.files import locked
from tierenv.records import packaged
from tierenv.train import learn as learn_module
from tierenv.train.cli import main
from tierenv.train.config import load_training_config
from tierenv.train.progress_csv import STEPS
from tierenv.train.run_dir import RunDirectory
from tierenv.train.search import screening as search_module
from tierenv.train.sweep import plan as plan_module
from tierenv.train.sweep.jobs import KINDS, Outcome, Task, TrainingJob, last_steps, perform
from tierenv.train.sweep.plan import load_sweep

WriteConfig = Callable[..., Path]
HOLD_UNTIL_AWAITED = """
import fcntl, os, sys, time
file = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
mine = f":{os.fstat(file).st_ino} "
while not any("->" in line and mine in line for line in open("/proc/locks")):
    time.sleep(0.01)
print("awaited")
"""
SEARCH = {"targets": ["./tiny.yaml"], "samplers": ["random"], "trials": 3, "seeds": 1}


def write_sweep(folder: Path, **content: Any) -> Path:
    """Writes the file of a sweep."""
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def trainings(*seeds: int, **overrides: list[Any]) -> dict[str, Any]:
    """Returns trainings of the tiny configuration."""
    return {"configurations": ["./training.yaml"], "seeds": list(seeds or (0,)), "overrides": overrides}


def index_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the entries of sweep.json by name."""
    return {entry["name"]: entry for entry in json.loads((folder / "sweep.json").read_text())["jobs"]}


def files_of(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Returns the content of all files, and when they were written."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", packaged("sweeps"))
def test_packaged_sweeps_are_valid(name: str) -> None:
    sweep, jobs = load_sweep(name)
    assert sweep.name == name and sweep.summary and len(jobs) > 1


def test_jobs_are_every_combination_and_their_names_say_which(write_config: WriteConfig, tmp_path: Path) -> None:
    write_config()
    values = {"gamma": [1.0, 0.9], "hyperparameters.learning_rate": [0.001], "policy_net": [[8], [8, 8]]}
    _, jobs = load_sweep(str(write_sweep(tmp_path, trainings=trainings(3, 4, **values), threads=2)))
    names = [job.name for job in jobs]
    assert names[:3] == [
        "training-gamma=1.0-learning_rate=0.001-policy_net=8-s3",
        "training-gamma=1.0-learning_rate=0.001-policy_net=8-s4",
        "training-gamma=1.0-learning_rate=0.001-policy_net=8,8-s3",
    ]
    assert len(set(names)) == len({job.identity for job in jobs}) == 8
    assert isinstance(jobs[-1], TrainingJob) and jobs[-1].threads == 2
    config = jobs[-1].config
    assert (config.gamma, config.policy_net, config.seed) == (0.9, (8, 8), 4)
    assert config.hyperparameters == {"learning_rate": 0.001, "n_steps": 8, "batch_size": 32, "n_epochs": 1}


def test_paths_are_relative_to_the_file_of_the_sweep(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config()
    content = {"trainings": trainings(scenarios=[["./tiny.yaml"]]), "searches": SEARCH | {"daemons": ["./other.yaml"]}}
    (tmp_path / "other.yaml").write_text("like: kmmscand-tunable\nscan_sleep: 20ms\n")
    path = write_sweep(tmp_path, **content)
    monkeypatch.chdir("/")
    assert [job.name for job in load_sweep(str(path))[1]] == [
        "training-scenarios=tiny-s0",
        "moving-hot-set-other-random",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"summary": "nothing"}, "has neither trainings nor searches"),
        ({"threads": 1, "training": {}}, "training: unknown key; did you mean 'trainings'?"),
        ({"trainings": {"configurations": []}}, "trainings.configurations=[]: must have at least 1 entry"),
        (
            {"trainings": {"configurations": ["ppo-abnch"]}},
            "configurations: unknown algorithm 'ppo-abnch'; did you mean",
        ),
        ({"trainings": {"configurations": ["./none.yaml"]}}, "none.yaml: no such file"),
        ({"trainings": trainings(1, 1)}, "trainings.seeds: 1 stands there twice"),
        ({"trainings": trainings(-1)}, "trainings.seeds.0=-1: must be greater than or equal to 0"),
        ({"trainings": trainings(gama=[0.9])}, "./training.yaml: gama: unknown key; did you mean 'gamma'?"),
        ({"trainings": trainings(gamma=[7])}, "./training.yaml: gamma=7: must be less than or equal to 1"),
        ({"trainings": trainings(gamma=[])}, "trainings.overrides.gamma=[]: must have at least 1 entry"),
        ({"trainings": trainings(gamma=0.9)}, "trainings.overrides.gamma=0.9: must be a list"),
        ({"trainings": trainings(gamma=[{"a": 1}])}, "trainings.overrides.gamma.0"),
        ({"trainings": trainings(seed=[1])}, "trainings.overrides.seed: is set by the sweep itself"),
        ({"trainings": trainings(algorithm=["pppo"])}, "algorithm='pppo': unknown; did you mean 'ppo'?"),
        ({"trainings": trainings(daemon=["./a/b/.yaml"])}, "b/.yaml: no such file"),
        (
            {"trainings": trainings(evaluation=[1], **{"evaluation.seeds": [1]})},
            "overrides.evaluation.seeds: is part of evaluation, which is varied itself",
        ),
        (
            {"trainings": {"configurations": ["./training.yaml", "./a/training.yaml"]}},
            "two jobs would be called training-s0",
        ),
        ({"searches": SEARCH | {"targets": ["skewd"]}}, "searches: unknown suite or scenario 'skewd'"),
        ({"searches": SEARCH | {"daemons": ["numa"]}}, "searches: unknown daemon 'numa'"),
        ({"searches": SEARCH | {"samplers": ["tpx"]}}, "moving-hot-set-tpx: --sampler=tpx: must be one of"),
        ({"searches": SEARCH | {"samplers": ["grid"]}}, "moving-hot-set-grid: --trials=3: the grid has 144 points"),
        ({"searches": SEARCH | {"trials": 0}}, "searches.trials=0: must be greater than or equal to 1"),
        ({"searches": SEARCH, "threads": 0}, "threads=0: must be greater than or equal to 1"),
    ],
)
def test_bad_sweep_is_one_line_before_anything_begins(
    write_config: WriteConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: dict[str, Any],
    message: str,
) -> None:
    other = write_config()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "training.yaml").write_text(other.read_text())
    path = write_sweep(tmp_path, **content)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main(["sweep", str(path), "--serial"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert message in captured.err and "sweep.yaml" in captured.err
    assert sorted(tmp_path.iterdir()) == before


def test_too_many_jobs_are_refused(write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config()
    monkeypatch.setattr(plan_module, "MAX_JOBS", 5)
    path = write_sweep(tmp_path, trainings=trainings(0, 1, gamma=[0.5, 0.6, 0.7]))
    with pytest.raises(ConfigError, match="trainings: are 6 jobs, must be at most 5"):
        load_sweep(str(path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--serial", "--workers", "2"], "--serial: takes neither --workers nor --address"),
        (["--workers", "0"], "--workers=0: must be 1 to 1024"),
        (["--address", "ray://a:1"], "--address=ray://a:1: must be HOST:PORT, or auto"),
        (["--address", "a" * 70 + ":1"], ":1: nothing answers there: "),
        (["--address", "a:" + "9" * 5000], "must be HOST:PORT, or auto"),
        (["--address", "a:70000"], "--address=a:70000: must be HOST:PORT, or auto"),
        (["--address", "127.0.0.1:1"], "--address=127.0.0.1:1: nothing answers there: Connection refused"),
        (["--serial", "--output", "/proc/none"], "/proc/none: "),
        (["--serial", "--json", "."], ".: is a folder"),
    ],
)
def test_bad_options_are_one_line(
    tmp_path: Path,
    scenario_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", str(write_sweep(tmp_path, searches=SEARCH)), *options]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and message in captured.err


def test_jobs_survive_being_described(write_config: WriteConfig, tmp_path: Path) -> None:
    write_config()
    _, jobs = load_sweep(str(write_sweep(tmp_path, trainings=trainings(), searches=SEARCH)))
    assert {job.kind for job in jobs} == set(KINDS)
    for job in jobs:
        task = Task(job, tmp_path / "out" / job.name, "tierenv sweep")
        again = Task.from_text(task.to_text())
        assert again == task and again.job.identity == job.identity
    outcome = Outcome("failed", {"a": 1}, "x", 1.0, 2.0)
    assert Outcome.from_text(outcome.to_text()) == outcome


def test_a_run_of_a_sweep_is_that_of_train_and_a_search_that_of_tune(write_config: WriteConfig, tmp_path: Path) -> None:
    config = write_config()
    path = write_sweep(tmp_path, trainings=trainings(5), searches=SEARCH)
    results = tmp_path / "results.json"
    assert main(["sweep", str(path), "--serial", "--output", str(tmp_path / "out"), "--json", str(results)]) == 0
    assert main(["train", str(config), "--seed", "5", "--run-dir", str(tmp_path / "run")]) == 0
    one, other = (tmp_path / name / "evaluations.json" for name in ("out/training-s5", "run"))
    assert one.read_text() == other.read_text()
    tuned = tmp_path / "tuned.json"
    tune = ["tune", str(tmp_path / "tiny.yaml"), *"--sampler random --trials 3 --seeds 1 --json".split()]
    assert main([*tune, str(tuned)]) == 0
    one, other = (json.loads(file.read_text()) for file in (tmp_path / "out/moving-hot-set-random/search.json", tuned))
    assert one["finalists"] == other["finalists"]
    facts = {entry["name"]: entry["facts"] for entry in json.loads(results.read_text())["jobs"]}
    assert facts["training-s5"]["timesteps"] == 128 and facts["training-s5"]["resumed_from"] is None
    assert facts["moving-hot-set-random"]["setting"] == other["finalists"][0]["policy"]


def test_the_same_command_does_nothing_twice(write_config: WriteConfig, tmp_path: Path) -> None:
    write_config()
    path, out = write_sweep(tmp_path, trainings=trainings(), searches=SEARCH), tmp_path / "out"
    command = ["sweep", str(path), "--serial", "--output", str(out)]
    assert main(command) == 0
    before = files_of(out)
    assert main(command) == 0
    after = files_of(out)
    assert {path for path in before if before[path] != after[path]} == {out / "sweep.json"}
    assert {entry["starts"] for entry in index_of(out).values()} == {1}

    write_sweep(tmp_path, trainings=trainings(0, 1))
    assert main(command) == 0
    assert {name: entry["starts"] for name, entry in index_of(out).items()} == {
        "training-s0": 1,
        "moving-hot-set-random": 1,
        "training-s1": 1,
    }


def test_finished_jobs_are_known_without_an_index(write_config: WriteConfig, tmp_path: Path) -> None:
    """As after a kill between the end of a job and the writing of the index."""
    write_config()
    path, out = write_sweep(tmp_path, trainings=trainings(), searches=SEARCH), tmp_path / "out"
    assert main(["sweep", str(path), "--serial", "--output", str(out)]) == 0
    before = {path: content for path, (_, content) in files_of(out).items()}
    _, jobs = load_sweep(str(path))
    outcomes = [perform(Task(job, out / job.name, ""), lambda *_: None) for job in jobs]
    assert [outcome.state for outcome in outcomes] == ["finished", "finished"]
    assert outcomes[0].facts is not None and outcomes[0].facts["resumed_from"] == 128
    assert outcomes[1].facts == index_of(out)["moving-hot-set-random"]["facts"]
    kept = [path for path in before if path.name in ("search.json", "model.zip", "evaluations.json")]
    assert len(kept) == 3 and all(path.read_bytes() == before[path] for path in kept)


def test_another_content_of_a_job_is_refused_and_the_old_one_kept(
    write_config: WriteConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(timesteps=32)
    path, out = write_sweep(tmp_path, trainings=trainings()), tmp_path / "out"
    command = ["sweep", str(path), "--serial", "--output", str(out)]
    assert main(command) == 0
    before = files_of(out)
    write_config(timesteps=32, gamma=0.9)
    capsys.readouterr()
    assert main(command) == 2
    assert "out/training-s0: was begun with another configuration; choose another --output" in capsys.readouterr().err
    assert files_of(out) == before


def test_folders_of_others_are_left_alone(tmp_path: Path, scenario_path: Path) -> None:
    path, out = write_sweep(tmp_path, searches=SEARCH), tmp_path / "out"
    out.mkdir()
    command = ["sweep", str(path), "--serial", "--output", str(out)]
    with locked(out):
        assert main(command) == 2
    (out / "thesis.tex").write_text("x")
    assert main(command) == 2
    assert [file.name for file in out.iterdir()] == ["thesis.tex"]
    (out / "sweep.json").write_text('{"schema": 1, "jobs": [{"name": "../a", "kind": "b", "identity": "c"}]}')
    assert main(command) == 2


def test_what_fails_leaves_the_others_alone(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(timesteps=32)
    path, out = write_sweep(tmp_path, trainings=trainings(0, 1, 2)), tmp_path / "out"
    learn = learn_module.learn
    errors = [ConfigError("disk: is\nfull"), ZeroDivisionError("one\nline"), None]

    def fail(*arguments: Any) -> Any:
        error = errors.pop(0)
        if error is not None:
            raise error
        return learn(*arguments)

    command = ["sweep", str(path), "--serial", "--output", str(out)]
    with monkeypatch.context() as patch:
        patch.setattr(learn_module, "learn", fail)
        assert main(command) == 1
    states = {name: (entry["state"], entry["reason"]) for name, entry in index_of(out).items()}
    assert states["training-s0"] == ("failed", "disk: is\\nfull")
    assert states["training-s1"][0] == "failed"
    assert states["training-s1"][1].startswith("ZeroDivisionError: one line (test_sweep.py:")
    assert states["training-s2"] == ("finished", None)
    assert "1 of 3 jobs finished, 2 failed" in capsys.readouterr().out
    assert main(command) == 0
    assert {name: entry["starts"] for name, entry in index_of(out).items()} == {
        "training-s0": 2,
        "training-s1": 2,
        "training-s2": 1,
    }


def test_ctrl_c_keeps_all_and_the_same_command_goes_on(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config()
    path, out = write_sweep(tmp_path, trainings=trainings(), searches=SEARCH), tmp_path / "out"
    command = ["sweep", str(path), "--serial", "--output", str(out)]
    learn, run_episodes = learn_module.learn, search_module.run_episodes

    def press_in_training(config: Any, run: Any, report_progress: Any) -> Any:
        def report(done: int, total: int, doing: str) -> None:
            if done == 100:
                os.kill(os.getpid(), signal.SIGINT)

        return learn(config, run, report)

    with monkeypatch.context() as patch:
        patch.setattr(learn_module, "learn", press_in_training)
        assert main(command) == 130
    assert "interrupted; the same command goes on" in capsys.readouterr().out
    assert RunDirectory(out / "training-s0").latest_checkpoint() == out / "training-s0/checkpoints/step_0000000100.zip"
    assert {entry["state"] for entry in index_of(out).values()} == {"unfinished"}

    calls = []

    def press_in_search(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run_episodes(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(search_module, "run_episodes", press_in_search)
        assert main(command) == 130
    entries = index_of(out)
    facts = entries["training-s0"]["facts"]
    assert (facts["resumed_from"], facts["times_resumed"], facts["timesteps"]) == (100, 1, 132)
    assert entries["training-s0"]["state"] == "finished" and entries["moving-hot-set-random"]["state"] == "unfinished"
    [journal] = (out / "moving-hot-set-random").iterdir()
    assert journal.suffix == ".jsonl" and len(journal.read_text().splitlines()) == 1

    counted: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(search_module, "run_episodes", lambda *given: counted.append(1) or run_episodes(*given))
        assert main(command) == 0
    assert [file.name for file in (out / "moving-hot-set-random").iterdir()] == ["search.json"]
    assert main(["sweep", str(path), "--serial", "--output", str(tmp_path / "again")]) == 0
    one, other = (
        json.loads((tmp_path / name / "moving-hot-set-random/search.json").read_text()) for name in ("out", "again")
    )
    assert one["finalists"] == other["finalists"]


def test_a_job_killed_before_its_first_model_begins_anew(write_config: WriteConfig, tmp_path: Path) -> None:
    config = load_training_config(str(write_config()))
    path, out = write_sweep(tmp_path, trainings=trainings()), tmp_path / "out"
    _, [job] = load_sweep(str(path))
    with RunDirectory.create(out / job.name, config, "killed here"):
        pass
    outcome = perform(Task(job, out / job.name, "tierenv sweep"), lambda *_: None)
    assert outcome.facts is not None and outcome.facts["times_resumed"] == 0


def test_a_job_waits_for_the_process_that_has_its_folder(write_config: WriteConfig, tmp_path: Path) -> None:
    write_config(timesteps=32)
    _, [job] = load_sweep(str(write_sweep(tmp_path, trainings=trainings())))
    folder = tmp_path / "out" / job.name
    folder.mkdir(parents=True)
    holder = subprocess.Popen([sys.executable, "-c", HOLD_UNTIL_AWAITED, folder], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert perform(Task(job, folder, ""), lambda *_: None).state == "finished"
        assert holder.communicate(timeout=60)[0] == "awaited\n"
    finally:
        holder.kill()
        holder.communicate()


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (f"a,{STEPS},b\n1,32,2\n3,64,4\n", 64),
        (f"a,{STEPS},b\n1,32,2\n3,6", 32),
        (f"a,{STEPS},b\n", 0),
        ("a,b\n1,2\n", 0),
        (f"{STEPS}\nx\n", 0),
        ("\xff", 0),
        ("", 0),
        (f"{STEPS}\n" + "1\n" * 10_000 + "77\n", 77),
    ],
)
def test_steps_are_those_of_the_last_whole_row(tmp_path: Path, text: str, steps: int) -> None:
    path = tmp_path / "progress.csv"
    assert last_steps(path) == 0
    path.write_bytes(text.encode("latin-1"))
    assert last_steps(path) == steps
