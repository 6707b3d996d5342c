"""Kills commands at random moments and looks at what is left: `python -m tests.reliability --kills 50`.

Each case runs once undisturbed, for its results and its time. Then it is started in a fresh folder and killed with
SIGKILL, at a moment drawn from that time; every file that then stands under its final name must be whole. The same
command is started again, and must come to the same results without a human, leave the same files and lose nothing that
was there before.
"""

import atexit
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

import tyro
import yaml
from rich.console import Console
from safetensors.numpy import load_file
from tyro.conf import Positional, arg

from tests.agents import script_trees
from tests.tiny import tiny
from tierenv.agents.best_static import find_best_static, write_best_static
from tierenv.agents.export import FORMATS
from tierenv.scenario import load_scenario
from tierenv.train.provenance import git_revision
from tierenv.train.run_dir import to_yaml, write_json
from tierenv.train.tables import plain_table

SEED = 0
TIMEOUT_S = 300

TRAINING = {
    "algorithm": "ppo",
    "scenarios": ["./tiny.yaml"],
    "timesteps": 4096,
    "num_envs": 4,
    "policy_net": [8],
    "hyperparameters": {"n_steps": 32, "batch_size": 128, "n_epochs": 1},
    "evaluation": {"interval": 256, "seeds": 1},
    "checkpoint_interval": 256,
    "simulator_threads": 1,
}
"""Some thirty checkpoints and evaluations in a few seconds."""

OTHER_SCENARIO = "abench-8g"
"""Whose stored setting a search over another one must not lose."""


@dataclass(frozen=True)
class Case:
    """A command that writes something."""

    name: str
    arguments: tuple[str, ...]
    """Of tierenv, in a folder that `prepare` has filled."""
    prepare: Callable[[Path], None] = lambda _folder: None
    results: Callable[[Path], Any] = lambda _folder: None
    """What must be the same after a kill as without one."""
    is_over: str = ""
    """What a second start says where the first was killed when all was done: that is no failure."""
    resume: str = ""
    """What a second start says where the work can go on, with --resume."""


@dataclass
class Outcome:
    """What so many kills of one case came to."""

    case: str
    seconds: float
    """Of an undisturbed run, which the moments are drawn from."""
    kills: int = 0
    """While it was running; a moment after its end kills nothing."""
    corrupt_files: int = 0
    different_results: int = 0
    needed_a_human: int = 0
    left_behind: int = 0
    problems: list[str] = field(default_factory=list)


def command(arguments: Sequence[str]) -> list[str]:
    """The command line of a fresh interpreter."""
    return [sys.executable, "-m", "tierenv.train", *arguments]


def environment(folder: Path) -> dict[str, str]:
    """With the user's folders inside, but for the cache of compiled code."""
    return os.environ | {"XDG_DATA_HOME": str(folder / "data"), "XDG_STATE_HOME": str(folder / "state")}


def run(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(arguments), cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=TIMEOUT_S
    )


def kill_after(seconds: float, arguments: Sequence[str], folder: Path) -> bool:
    """Start a command and kill it, with all it has started. Returns whether it was running still."""
    process = subprocess.Popen(
        command(arguments),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def corrupt_files(folder: Path) -> list[str]:
    """Files under their final names that are not whole."""
    readers: dict[str, Callable[[Path], Any]] = {
        ".json": lambda path: json.loads(path.read_text()),
        ".yaml": lambda path: yaml.safe_load(path.read_text()),
        ".zip": lambda path: zipfile.ZipFile(path).testzip(),
        ".safetensors": load_file,
    }
    corrupt = []
    for path in sorted(folder.rglob("*")):
        if path.suffix in readers and not path.name.endswith(".tmp"):
            try:
                readers[path.suffix](path)
            except Exception as error:
                corrupt.append(f"{path.relative_to(folder)}: {type(error).__name__}: {error}")
    return corrupt


def files_in(folder: Path) -> set[str]:
    """All files, those of TensorBoard, whose names tell time and process, aside."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return {str(path) for path in paths if "tfevents" not in path.name}


def start_again(case: Case, folder: Path) -> str | None:
    """Start the command as somebody would who finds it dead. Returns what is wrong."""
    done = run(case.arguments, folder)
    if done.returncode == 2 and case.resume and case.resume in done.stderr:
        done = run([*case.arguments, "--resume"], folder)
    is_over = done.returncode == 2 and case.is_over and case.is_over in done.stderr
    return None if done.returncode == 0 or is_over else f"exit {done.returncode}: {done.stderr[-300:]}"


def try_case(case: Case, kills: int, moments: random.Random) -> Outcome:
    """Run a case undisturbed, then kill it so often."""
    with tempfile.TemporaryDirectory(prefix="reliability-") as scratch:
        whole = Path(scratch) / "whole"
        whole.mkdir()
        case.prepare(whole)
        run(case.arguments, whole)  # compiles
        shutil.rmtree(whole)
        whole.mkdir()
        case.prepare(whole)
        started = time.perf_counter()
        done = run(case.arguments, whole)
        outcome = Outcome(case.name, round(time.perf_counter() - started, 2))
        if done.returncode:
            raise SystemExit(f"{case.name}: fails undisturbed: {done.stderr}")
        expected, expected_files = case.results(whole), files_in(whole)
        while outcome.kills < kills:
            folder = Path(scratch) / "killed"
            folder.mkdir()
            case.prepare(folder)
            moment = moments.uniform(0, outcome.seconds)
            outcome.kills += kill_after(moment, case.arguments, folder)
            corrupt = corrupt_files(folder)
            refused = start_again(case, folder)
            is_different = refused is None and case.results(folder) != expected
            left = [] if refused else sorted(files_in(folder) ^ expected_files)
            outcome.corrupt_files += bool(corrupt)
            outcome.needed_a_human += refused is not None
            outcome.different_results += is_different
            outcome.left_behind += bool(left)
            for problem in (*corrupt, *([refused] if refused else []), *left, *(["results differ"] * is_different)):
                outcome.problems.append(f"killed after {moment:.2f} s: {problem}")
            shutil.rmtree(folder)
    return outcome


def _write_tiny(folder: Path) -> None:
    (folder / "tiny.yaml").write_text(to_yaml(tiny().model_dump(mode="json")))


def _write_training(folder: Path) -> None:
    _write_tiny(folder)
    (folder / "training.yaml").write_text(yaml.safe_dump(TRAINING))


def _write_settings(folder: Path) -> None:
    _write_tiny(folder)
    other = load_scenario(OTHER_SCENARIO)
    write_best_static(other, find_best_static(other), folder / "data" / "tierenv" / "best-static.json")


@cache
def _trained() -> Path:
    """The folder of a run, trained once."""
    folder = Path(tempfile.mkdtemp(prefix="reliability-run-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _write_training(folder)
    run(("train", "./training.yaml", "--run-dir", "run", "--timesteps", "128"), folder).check_returncode()
    return folder / "run"


def _copy_run(folder: Path) -> None:
    shutil.copytree(_trained(), folder / "run")


def _write_coarse_abench(folder: Path) -> None:
    (folder / "coarse.yaml").write_text("like: abench-8g\nregions: 1\n")


def _write_old_evaluation(folder: Path) -> None:
    _write_tiny(folder)
    (folder / "evaluation.json").write_text('{"schema": 1, "rows": []}\n')


def _json(path: Path, *without: str) -> Any:
    content = json.loads(path.read_text())
    return {key: value for key, value in content.items() if key not in without}


def _settings(folder: Path) -> Any:
    stored = _json(folder / "data" / "tierenv" / "best-static.json")["scenarios"]
    return {key: {name: value for name, value in best.items() if name != "wall_s"} for key, best in stored.items()}


def _training_results(folder: Path) -> Any:
    """What a resumed training has in common with one that ran through: how far it is, and a best model."""
    manifest, best = _json(folder / "run" / "manifest.json"), _json(folder / "run" / "best" / "evaluation.json")
    steps = [line.split(",") for line in (folder / "run" / "progress.csv").read_text().splitlines()]
    column = steps[0].index("time/total_timesteps")
    evaluations = _json(folder / "run" / "evaluations.json")["evaluations"]
    return (
        manifest["timesteps"],
        best["normalised_time"] == min(entry["normalised_time"] for entry in evaluations),
        [row[column] for row in steps[1:]],
        [entry["timesteps"] for entry in evaluations],
    )


def _bytes(*names: str) -> Callable[[Path], Any]:
    return lambda folder: [(folder / name).read_bytes() for name in names]


POLICIES = ("built-in", "numab2", "random", "static:1000,1024,inf")

CASES = {
    case.name: case
    for case in (
        Case(
            "train",
            ("train", "./training.yaml", "--run-dir", "run"),
            _write_training,
            _training_results,
            resume="continue it with --resume",
        ),
        Case(
            "tune --save",
            ("tune", "./tiny.yaml", "--sampler", "random", "--trials", "600", "--save"),
            _write_settings,
            _settings,
        ),
        Case(
            "evaluate --json",
            ("evaluate", "./tiny.yaml", "--seeds", "60", "--json", "evaluation.json", "--policy", *POLICIES),
            _write_old_evaluation,
            lambda folder: _json(folder / "evaluation.json"),
        ),
        Case(
            "distil",
            (*"distil moving-hot-set --scenario ./tiny.yaml --seeds 2 --output tree --json tree.json".split(),),
            _write_tiny,
            _bytes("tree/weights.safetensors", "tree.json"),
            is_over="tree: already exists",
        ),
        Case(
            "calibrate",
            (*"calibrate abench_rfc_v1 --platform amd-epyc-cxl --scenario ./coarse.yaml --output fitted.yaml".split(),),
            _write_coarse_abench,
            results=_bytes("fitted.yaml", "fitted.calibration.json"),
        ),
        Case(
            "export bundle",
            ("export", "./run", "--format", "bundle", "--output", "bundle"),
            _copy_run,
            results=_bytes("bundle/policy.json", "bundle/weights.safetensors"),
            is_over="bundle: already exists",
        ),
        Case(
            "export sysfs",
            ("export", "static:1000,1024,256", "--scenario", "skewed", "--format", "sysfs", "--output", "a.sh"),
            results=_bytes("a.sh"),
        ),
    )
}


APPLY = ("--apply",)
SITUATIONS: dict[str, tuple[Sequence[str], ...]] = {
    "first apply": (APPLY,),
    "second apply": (APPLY, APPLY),
    "apply beside apply": (APPLY, APPLY),
    "restore": (APPLY, ("--restore",)),
}
"""What two scripts are called with, the last of which is killed; beside each other or one after the other."""


def try_script(target: str, situation: str, kills: int, moments: random.Random) -> Outcome:
    """Kill the script of a target so often, and have one of the two scripts go on or put everything back."""
    *others, killed = SITUATIONS[situation]
    with tempfile.TemporaryDirectory(prefix="reliability-") as scratch:
        folder = Path(scratch)
        script_trees.make_tree(folder, target)
        script_trees.write_file(folder / script_trees.DEMOTION, "false")
        scripts = [
            script_trees.make_script(folder, target, policy, f"{number}.sh", with_demotion=True)
            for number, policy in enumerate((script_trees.OTHER_POLICY, script_trees.POLICY))
        ]
        before = script_trees.settings(folder, target)
        started = time.perf_counter()
        script_trees.run(scripts[1], *APPLY)
        outcome = Outcome(f"{target}: {situation}", round(time.perf_counter() - started, 2))
        script_trees.run(scripts[1], "--restore")
        while outcome.kills < kills:
            beside = [script_trees.start(scripts[0], *arguments) for arguments in others]
            if situation != "apply beside apply":
                for process in beside:
                    process.communicate()
            victim = script_trees.start(scripts[1], *killed)
            moment = moments.uniform(0, outcome.seconds)
            time.sleep(moment)
            outcome.kills += victim.poll() is None
            victim.kill()
            for process in (victim, *beside):
                process.communicate()
            next_calls = moments.choice(((("--restore",),), (APPLY, ("--restore",))))
            done = [script_trees.run(moments.choice(scripts), *arguments) for arguments in next_calls]
            refused = [call.stderr for call in done if call.returncode or "somebody else" in call.stdout]
            found, left = script_trees.settings(folder, target), script_trees.notes(folder)
            outcome.needed_a_human += bool(refused)
            outcome.different_results += found != before
            outcome.left_behind += bool(left)
            for problem in (*refused, *left, *([f"{found}"] if found != before else [])):
                outcome.problems.append(f"killed after {moment:.3f} s: {problem}")
    return outcome


def all_cases() -> dict[str, Callable[[int, random.Random], Outcome]]:
    """Commands, and scripts of every target in every situation."""
    commands = {name: partial(try_case, case) for name, case in CASES.items()}
    scripts = {
        f"{target}: {situation}": partial(try_script, target, situation)
        for target in FORMATS["sysfs"].targets
        for situation in SITUATIONS
    }
    return commands | scripts


@dataclass(frozen=True)
class Reliability:
    """Kill commands at random moments and look at what is left."""

    cases: Annotated[Positional[tuple[str, ...]], arg(metavar="CASE")] = tuple(all_cases())
    """Which; all without any."""
    kills: Annotated[int, arg(metavar="N")] = 50
    """Of each case."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the counts to this file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases. Returns 1 if anything was amiss."""
    options = tyro.cli(Reliability, args=arguments)
    outcomes = []
    for name in options.cases:
        outcomes.append(all_cases()[name](options.kills, random.Random(f"{SEED} {name}")))
        print(f"{name}: {outcomes[-1].kills} kills", *outcomes[-1].problems, sep="\n  ", file=sys.stderr)
    rows = [[str(value) for value in asdict(outcome).values()][:-1] for outcome in outcomes]
    columns = ["case", "time [s]", "kills", "corrupt", "different", "needed a human", "left behind"]
    Console(width=120).print(plain_table("kills at random moments", columns, rows))
    if options.json is not None:
        content = {"schema": 1, "git_revision": git_revision(), "seed": SEED}
        write_json(options.json, content | {"cases": [asdict(outcome) for outcome in outcomes]})
    return int(any(outcome.problems for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
