"""The folder of a run through kills, torn files and two trainings at once."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tierenv.errors import ConfigError
from tierenv.train import run_dir as run_dir_module
from tierenv.train.config import load_training_config
from tierenv.train.learn import TrainingResult, learn
from tierenv.train.progress_csv import STEPS, ProgressCsv
from tierenv.train.run_dir import CHECKPOINTS_KEPT, RunDirectory

WriteConfig = Callable[..., Path]
COMMAND = "tierenv train"


class Killed(BaseException):
    """Stands for a signal that nobody catches."""


def train(config_path: Path, folder: Path, is_resumed: bool = False, timesteps: int | None = None) -> TrainingResult:
    config = load_training_config(str(config_path)).with_overrides(timesteps=timesteps)
    open_run = RunDirectory.resume if is_resumed else RunDirectory.create
    with open_run(folder, config, COMMAND) as run:
        return learn(config, run)


def steps_in(progress: Path) -> list[int]:
    with progress.open() as file:
        return [int(row[STEPS]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("writes", range(4))
def test_a_start_that_was_killed_can_be_started_again(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    done: list[Path] = []

    def write_or_die(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if len(done) == writes:
            path.with_name(f".{path.name}.01234567.tmp").write_text(text[:5])
            raise Killed
        done.append(path)
        path.write_text(text)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(run_dir_module, "atomic_write_text", write_or_die)
        train(write_config(), tmp_path / "run")
        raise Killed
    assert train(write_config(seed=5), tmp_path / "run").timesteps == 128
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_a_start_that_is_refused_can_be_started_again(write_config: WriteConfig, tmp_path: Path) -> None:
    config = load_training_config(str(write_config()))
    with RunDirectory.create(tmp_path / "run", config, COMMAND):
        pass  # and the learner finds something wrong
    assert train(write_config(), tmp_path / "run").timesteps == 128


def test_a_folder_with_something_else_in_it_is_left_alone(write_config: WriteConfig, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match=r"run: holds thesis\.tex, which no run does"):
        train(write_config(), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("is_resumed", [False, True])
def test_one_training_at_a_time(write_config: WriteConfig, tmp_path: Path, is_resumed: bool) -> None:
    config = load_training_config(str(write_config()))
    open_run = RunDirectory.resume if is_resumed else RunDirectory.create
    with RunDirectory.create(tmp_path / "run", config, COMMAND):
        before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
        with pytest.raises(ConfigError, match="another tierenv train is writing this run"):
            open_run(tmp_path / "run", config, COMMAND)
        assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    open_run(tmp_path / "run", config, COMMAND).__exit__(None, None, None)


def test_the_lock_of_a_killed_training_is_gone(write_config: WriteConfig, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from tierenv.train.config import load_training_config; from tierenv.train.run_dir import RunDirectory\n"
        "run = RunDirectory.create(Path(sys.argv[1]), load_training_config(sys.argv[2]), 'x'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run"), str(write_config())], check=False, timeout=60)
    assert train(write_config(), tmp_path / "run", is_resumed=True).timesteps == 128


def test_the_last_checkpoints_are_kept(write_config: WriteConfig, tmp_path: Path) -> None:
    train(write_config(checkpoint_interval=32), tmp_path / "run", timesteps=256)
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == [f"step_{256 - 32 * age:010d}.zip" for age in reversed(range(CHECKPOINTS_KEPT))]


@pytest.mark.parametrize("file", ["best/evaluation.json", "evaluations.json"])
def test_a_kill_between_model_and_evaluation_keeps_both_together(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    folder = tmp_path / "run"
    write = run_dir_module.write_json

    def write_or_die(path: Path, content: dict[str, object]) -> None:
        if path == folder / file:
            raise Killed
        write(path, content)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(run_dir_module, "write_json", write_or_die)
        train(write_config(), folder, timesteps=32)
    result = train(write_config(), folder, is_resumed=True, timesteps=32)
    assert result.best is not None and result.best.timesteps == 32 and result.new_timesteps == 0
    assert RunDirectory(folder).best_evaluation == result.best
    assert RunDirectory(folder).evaluations == (result.best,)
    assert RunDirectory(folder).timesteps_of(folder / "best" / "model.zip") == 32


@pytest.mark.parametrize("tear", ["row", "short row", "zeros", "half a number", "not UTF-8"])
def test_torn_rows_of_progress_are_dropped_alone(write_config: WriteConfig, tmp_path: Path, tear: str) -> None:
    progress = tmp_path / "run" / "progress.csv"
    train(write_config(), tmp_path / "run")
    with progress.open("ab") as file:
        file.write({"row": b'2,16384,"', "short row": b"2\n", "zeros": bytes(64)}.get(tear, b"\xff,1e,-\n"))
    train(write_config(), tmp_path / "run", is_resumed=True, timesteps=192)
    assert steps_in(progress) == [32, 64, 96, 128, 160, 192]


def test_progress_with_a_torn_header_is_set_aside(
    write_config: WriteConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    progress = tmp_path / "run" / "progress.csv"
    train(write_config(), tmp_path / "run")
    torn = progress.read_text()[:20]
    progress.write_text(torn)
    train(write_config(), tmp_path / "run", is_resumed=True, timesteps=192)
    assert steps_in(progress) == [160, 192]
    assert (tmp_path / "run" / "progress.torn-0.csv").read_text() == torn
    assert "its header is torn; set aside as progress.torn-0.csv" in caplog.text


def test_a_new_figure_becomes_a_column(tmp_path: Path) -> None:
    excluded = dict.fromkeys((STEPS, "a", "b", "text"), ("",)) | {"text": ("csv",)}
    progress = ProgressCsv(tmp_path / "progress.csv", 0)
    progress.write({STEPS: 1, "a": 0.5, "text": "x"}, excluded)
    progress.write({STEPS: 2, "b": 7}, excluded)
    progress.write({STEPS: 3}, excluded)
    assert (tmp_path / "progress.csv").read_text() == f"a,{STEPS},b\n0.5,1,\n,2,7\n,3,\n"
    again = ProgressCsv(tmp_path / "progress.csv", 2)
    again.write({"a": 1, STEPS: 3}, excluded)
    assert (tmp_path / "progress.csv").read_text() == f"a,{STEPS},b\n0.5,1,\n,2,7\n1,3,\n"


def test_manifest_keeps_what_is_not_set_anew(write_config: WriteConfig, tmp_path: Path) -> None:
    train(write_config(), tmp_path / "run", timesteps=32)
    before = json.loads((tmp_path / "run" / "manifest.json").read_text())
    train(write_config(), tmp_path / "run", is_resumed=True, timesteps=32)
    after = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert after["versions"] == before["versions"] and after["times_resumed"] == 1


def test_more_than_asked_for_is_said(
    write_config: WriteConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert train(write_config(), tmp_path / "run", timesteps=33).timesteps == 64
    assert "timesteps=33: whole rollouts of num_envs x n_steps = 4 x 8 = 32 steps are trained, 64 in all" in caplog.text
