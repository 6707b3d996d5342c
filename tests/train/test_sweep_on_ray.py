"""Sweeps on Ray: the results of one process, and what workers, nodes and drivers that are killed cost.

What is killed is stopped first (SIGSTOP), so that it is known how far it was.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.train.test_sweep import SEARCH, files_of, index_of, trainings, write_sweep
from tierenv.agents.run_folder import RunFolder
from tierenv.files import locked
from tierenv.folders import user_folder
from tierenv.train.cli import main
from tierenv.train.sweep.jobs import Outcome, Task, last_steps
from tierenv.train.sweep.on_ray import (
    MAX_DEATHS,
    _Dispatcher,
    _short_folder,
    environment_here,
    perform_remotely,
    problem_of_node,
)
from tierenv.train.sweep.plan import load_sweep

WriteConfig = Callable[..., Path]
LIMIT_S = 300
ROLLOUT, INTERVAL = 32, 512
LONG = {"timesteps": 8192, "checkpoint_interval": INTERVAL, "evaluation": {"interval": 4096, "seeds": 1}}
"""Some seconds of training with sixteen checkpoints."""


def wait_until(is_so: Callable[[], Any], *running: subprocess.Popen[str]) -> Any:
    """Returns what the function gives once that is something, while processes run."""
    end = time.monotonic() + LIMIT_S
    while not (found := is_so()):
        assert time.monotonic() < end, "took too long"
        for process in running:
            assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def sweeping(path: Path, *options: str | Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Runs `tierenv sweep` beside the block, at whose end it is gone."""
    command = [sys.executable, "-P", "-m", "tierenv.train", "sweep", path, *options]  # as the installed command
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=path.parent,
        env=os.environ | variables,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def worker_of(job: str) -> int | None:
    """Returns the process that does a job; Ray names it after that."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(f"ray::{job}".encode()):
                return int(path.parent.name)
    return None


def frozen_worker(job: str, folder: Path, *running: subprocess.Popen[str]) -> int:
    """Returns the worker of a training, stopped in its midst, some time after its first checkpoint."""
    wait_until(lambda: RunFolder(folder / job).checkpoints and last_steps(folder / job / "progress.csv"), *running)
    process = worker_of(job)
    assert process is not None, "the training was over before it was seen"
    os.kill(process, signal.SIGSTOP)
    wait_until(lambda: "\nState:\tT" in Path(f"/proc/{process}/status").read_text())
    return process


def newest_checkpoint(folder: Path) -> int:
    return int(RunFolder(folder).checkpoints[0].stem.removeprefix("step_"))


def check_at_most_an_interval_was_repeated(folder: Path, job: str, steps: float, checkpoint: int) -> None:
    """`steps` and `checkpoint` stood in the folder when the worker had been stopped."""
    entry = index_of(folder)[job]
    assert entry["state"] == "finished"
    facts = entry["facts"]
    assert (facts["timesteps"], facts["times_resumed"]) == (LONG["timesteps"], 1)
    assert facts["resumed_from"] == checkpoint > 0
    most = steps + ROLLOUT  # of which the last may have been under way
    assert most - facts["resumed_from"] <= INTERVAL + ROLLOUT, "an interval ends with a rollout"


def digest_of_best(folder: Path) -> str:
    """Returns what is the same for the same weights: the archive says when it was made."""
    with zipfile.ZipFile(folder / "best" / "model.zip") as archive:
        state = torch.load(BytesIO(archive.read("policy.pth")), weights_only=True)
    return hashlib.sha256(b"".join(name.encode() + state[name].numpy().tobytes() for name in sorted(state))).hexdigest()


def without_times(content: Any) -> Any:
    """Returns the content of a JSON file less what time of day and command decide."""
    if isinstance(content, dict):
        return {
            key: without_times(value) for key, value in content.items() if key not in ("wall_s", "cpu_s", "command")
        }
    return [without_times(value) for value in content] if isinstance(content, list) else content


@pytest.mark.expensive
def test_results_are_those_of_one_process_and_a_killed_worker_costs_an_interval_of_its_job(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    write_config(**LONG).rename(tmp_path / "frail.yaml")
    write_config()
    serial, on_ray, home = tmp_path / "serial", tmp_path / "on-ray", tmp_path / "home"
    home.mkdir()
    path = write_sweep(tmp_path, trainings=trainings(0, 1), searches=SEARCH)
    assert main(["sweep", str(path), "--serial", "--output", str(serial)]) == 0

    content = {"configurations": ["./training.yaml", "./frail.yaml"], "seeds": [0, 1]}
    path = write_sweep(tmp_path, trainings=content, searches=SEARCH)
    for module in ("torch", "tierenv"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('what lies in the working folder was run')")
    cache = user_folder("cache")
    variables = {"HOME": str(home), "XDG_CACHE_HOME": str(cache and cache.parent)}
    with sweeping(path, "--workers=2", "--output", on_ray, **variables) as sweep:
        worker = frozen_worker("frail-s1", on_ray, sweep)
        steps, checkpoint = last_steps(on_ray / "frail-s1" / "progress.csv"), newest_checkpoint(on_ray / "frail-s1")
        done_before = files_of(on_ray / "training-s0")
        os.kill(worker, signal.SIGKILL)
        _, errors = sweep.communicate(timeout=LIMIT_S)
    assert sweep.returncode == 0
    told = {line for line in errors.splitlines() if "sweeping: " not in line and not line.endswith(": finished")}
    assert told == {"frail-s1: its worker is gone; it goes on with another"}
    check_at_most_an_interval_was_repeated(on_ray, "frail-s1", steps, checkpoint)
    assert {name: entry["starts"] for name, entry in index_of(on_ray).items() if name != "frail-s1"} == dict.fromkeys(
        ("training-s0", "training-s1", "frail-s0", "moving-hot-set-random"), 1
    )
    assert files_of(on_ray / "training-s0") == done_before
    assert not list(home.iterdir()), "Ray left something behind, a token, say"

    one, other = (without_times(index_of(folder)) for folder in (serial, on_ray))
    assert list(one) == ["training-s0", "training-s1", "moving-hot-set-random"]
    for name in one:
        assert one[name] == other[name]
    for name in list(one)[:2]:
        assert digest_of_best(serial / name) == digest_of_best(on_ray / name)
        assert (serial / name / "evaluations.json").read_text() == (on_ray / name / "evaluations.json").read_text()
    assert digest_of_best(serial / "training-s0") != digest_of_best(serial / "training-s1")
    searches = [json.loads((folder / "moving-hot-set-random/search.json").read_text()) for folder in (serial, on_ray)]
    assert without_times(searches[0]) == without_times(searches[1])


@pytest.mark.expensive
def test_a_killed_or_stopped_sweep_goes_on(write_config: WriteConfig, tmp_path: Path) -> None:
    write_config(**LONG).rename(tmp_path / "halting.yaml")
    write_config(timesteps=64)
    names = ["./training.yaml", "./halting.yaml"]
    path, out = write_sweep(tmp_path, trainings={"configurations": names}), tmp_path / "out"
    job = out / "halting-s0"
    with sweeping(path, "--workers=1", "--output", out) as sweep:
        wait_until(lambda: last_steps(job / "progress.csv") > INTERVAL, sweep)
        sweep.send_signal(signal.SIGTERM)
        output, _ = sweep.communicate(timeout=LIMIT_S)
        stored = newest_checkpoint(job)
        assert sweep.returncode == 130 and "interrupted; the same command goes on" in output
        assert last_steps(job / "progress.csv") <= stored < LONG["timesteps"], "what it had was not stored"
    with sweeping(path, "--workers=1", "--output", out) as sweep:
        wait_until(lambda: newest_checkpoint(job) > stored, sweep)
        worker = worker_of("halting-s0")
        sweep.kill()
        wait_until(lambda: not Path(f"/proc/{worker}").exists())
    assert {name: entry["state"] for name, entry in index_of(out).items()} == {
        "training-s0": "finished",
        "halting-s0": "unfinished",
    }
    stored = newest_checkpoint(job)
    assert main(["sweep", str(path), "--serial", "--output", str(out)]) == 0
    facts = index_of(out)["halting-s0"]["facts"]
    assert (facts["resumed_from"], facts["times_resumed"]) == (stored, 2)
    assert index_of(out)["training-s0"]["starts"] == 1


def test_nothing_runs_on_a_node_that_would_come_to_other_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, folder = environment_here(), str(tmp_path)
    assert "does not see" in str(problem_of_node(here, folder))
    (tmp_path / "sweep.json").touch()
    assert "takes no notice of the lock" in str(problem_of_node(here, folder))
    task = Task(load_sweep("demo")[1][0], tmp_path / "job", "tierenv sweep")
    with locked(tmp_path):
        assert problem_of_node(here, folder) is None
        assert problem_of_node(here | {"sources": "0"}, folder) == "has other sources of tierenv"
        other = here | {"versions": here["versions"] | {"numpy": "1.0"}}
        assert str(problem_of_node(other, folder)).startswith("has numpy 2.")
        outcome = Outcome.from_text(perform_remotely(task.to_text(), json.dumps(other), folder))
        assert outcome.state == "failed" and "not 1.0" in str(outcome.reason)
        assert not task.folder.exists()


def test_folders_for_sockets_are_short_and_those_of_killed_sweeps_go(tmp_path: Path) -> None:
    with _short_folder() as folder:
        assert len(str(folder)) + len("/session_2026-11-28_01-41-45_047500_4194304/sockets/plasma_store") < 108
        code = "import sys; from tierenv.train.sweep.on_ray import _short_folder as f; g = f(); print(g.__enter__()); "
        code += "import os; sys.stdout.flush(); os.kill(os.getpid(), 9)"
        killed = Path(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip())
        assert killed.is_dir()
        with _short_folder() as third:
            assert not killed.exists() and folder.is_dir() and third != folder
    assert not folder.exists() and not third.exists()


class FakeRay:
    """A cluster on which each worker says what is next in a list, or dies."""

    class exceptions:  # noqa: N801
        class RayError(Exception): ...

        class RayTaskError(RayError):
            cause = None

    def __init__(self, says: list[Outcome | None], happens: Callable[[], None] = lambda: None) -> None:
        self.says, self.happens, self.begun = says, happens, 0

    def remote(self, **options: Any) -> Callable[[Any], Any]:
        assert options == {"max_retries": 0}
        return lambda _function: self

    def options(self, **options: Any) -> Any:
        return SimpleNamespace(remote=self.start)

    def start(self, *_arguments: str) -> int:
        self.begun += 1
        self.happens()
        return self.begun

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def wait(self, references: list[int], **_options: Any) -> tuple[list[int], list[int]]:
        return references[:1], references[1:]

    def get(self, _reference: int) -> str:
        outcome = self.says.pop(0)
        if outcome is None:
            raise self.exceptions.RayError
        return outcome.to_text()


FINISHED = Outcome("finished", {})


@pytest.mark.parametrize(
    ("says", "keeps_something", "starts", "state"),
    [
        ([None] * MAX_DEATHS + [FINISHED], False, MAX_DEATHS + 1, "finished"),
        ([None] * (MAX_DEATHS + 1) + [FINISHED], False, MAX_DEATHS + 1, "failed"),
        ([None] * 9 + [FINISHED], True, 10, "finished"),
        ([Outcome("interrupted"), FINISHED], False, 2, "finished"),
        ([Outcome("failed", reason="a"), FINISHED], False, 1, "failed"),
    ],
)
def test_a_job_is_begun_again_as_long_as_it_gets_further(
    says: list[Outcome | None],
    keeps_something: bool,
    starts: int,
    state: str,
    write_config: WriteConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_config()
    _, [job] = load_sweep(str(write_sweep(tmp_path, trainings=trainings())))
    checkpoints = tmp_path / "job" / "checkpoints"
    checkpoints.mkdir(parents=True)

    def keep() -> None:
        if keeps_something:
            (checkpoints / f"step_{fake.begun:010d}.zip").touch()

    fake = FakeRay(list(says), keep)
    monkeypatch.setitem(sys.modules, "ray", fake)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "ray.exceptions", fake.exceptions)  # type: ignore[arg-type]
    ended: list[Outcome] = []
    watcher = SimpleNamespace(
        began=lambda _: None, is_at=lambda *_: None, ended=lambda _, outcome: ended.append(outcome)
    )
    _Dispatcher([Task(job, tmp_path / "job", "")], watcher, "", "", None).run()
    assert fake.begun == starts and [outcome.state for outcome in ended] == [state]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yields a cluster of a node without processors, where the sweep is run, and two with one each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="tierenv-", dir="/tmp") as folder:  # short, for sockets
        monkeypatch.setenv("RAY_TMPDIR", folder)
        cluster = Cluster()
        try:
            for processors in (0, 1, 1):
                cluster.add_node(num_cpus=processors)
            yield cluster
        finally:
            cluster.shutdown()


@pytest.mark.expensive
def test_a_killed_node_costs_an_interval_of_its_job_and_nothing_of_the_others(
    cluster: Any, write_config: WriteConfig, tmp_path: Path
) -> None:
    write_config(**LONG).rename(tmp_path / "stranded.yaml")
    write_config(timesteps=64)
    content = {"configurations": ["./training.yaml", "./stranded.yaml"]}
    path, out = write_sweep(tmp_path, trainings=content), tmp_path / "out"
    with sweeping(path, "--address", cluster.address, "--output", out) as sweep:
        worker = frozen_worker("stranded-s0", out, sweep)
        wait_until(lambda: index_of(out)["training-s0"]["state"] == "finished", sweep)
        done_before = files_of(out / "training-s0")
        steps, checkpoint = last_steps(out / "stranded-s0" / "progress.csv"), newest_checkpoint(out / "stranded-s0")
        parent = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
        [node] = [node for node in cluster.worker_nodes if node.all_processes["raylet"][0].process.pid == parent]
        cluster.remove_node(node, allow_graceful=False)
        wait_until(lambda: index_of(out)["stranded-s0"]["starts"] == 2, sweep)
        assert newest_checkpoint(out / "stranded-s0") == checkpoint, "two workers at one job"
        os.kill(worker, signal.SIGKILL)  # which cannot see that its node is dead as long as it is stopped
        _, errors = sweep.communicate(timeout=LIMIT_S)
    assert sweep.returncode == 0, errors
    check_at_most_an_interval_was_repeated(out, "stranded-s0", steps, checkpoint)
    assert index_of(out)["training-s0"]["starts"] == 1 and files_of(out / "training-s0") == done_before
