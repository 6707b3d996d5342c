"""A base installation, without any extra: what it does, and what it says it needs."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tierenv.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

Run = Callable[..., subprocess.CompletedProcess[str]]


def needed(requirements: list[str]) -> set[str]:
    """Returns the distributions that requirements bring, those that these require included."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        name = waiting.pop().name
        if name not in found:
            found.add(name)
            further = map(Requirement, metadata.requires(name) or [])
            waiting += [each for each in further if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="session")
def base_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the interpreter of a fresh virtual environment with the base's dependencies and this checkout alone."""
    folder = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    site = next(folder.glob("lib/python*/site-packages"))
    for name in needed(PROJECT["dependencies"]):
        for file in metadata.files(name) or ():
            entry = site / file.parts[0]
            if file.parts[0] not in ("..", "__pycache__") and not entry.exists():
                entry.symlink_to(Path(str(metadata.distribution(name).locate_file(file.parts[0]))))
    (site / "tierenv.pth").write_text(f"{ROOT}\n")
    return folder / "bin" / "python"


@pytest.fixture
def tierenv(base_python: Path, tmp_path: Path) -> Run:
    """Returns a function that runs a command line there."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [base_python, "-m", "tierenv.train", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    return run


def test_every_extra_has_its_modules_and_its_row_in_the_readme() -> None:
    assert set(EXTRAS) | {"dev"} == set(PROJECT["optional-dependencies"])
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- begin extras -->")[1].split("<!-- end")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(EXTRAS)


def test_the_environment_holds_no_extra(base_python: Path) -> None:
    modules = [module for extra in EXTRAS.values() for module in extra]
    code = f"from importlib.util import find_spec; print([name for name in {modules} if find_spec(name)])"
    result = subprocess.run([base_python, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout == "[]\n", result.stderr


LEARNERS = ("costless", "learn", "models", "progress_csv", "replay_file", "vec_adapter")
"""Modules that stand on stable-baselines3."""
TASKS = "dodo"
"""Whose import reads every training configuration."""


def test_every_module_but_the_learners_imports(base_python: Path) -> None:
    modules = [
        f"tierenv.{'.'.join(path.relative_to(ROOT).with_suffix('').parts)}".replace("tierenv.tierenv.", "tierenv.")
        for folder in ("tierenv", "agents", "train")
        for path in (ROOT / folder).rglob("*.py")
        if path.stem not in ("__init__", "__main__", TASKS, *LEARNERS)
    ]
    code = f"import importlib\nfor name in {modules}: importlib.import_module(name)"
    result = subprocess.run([base_python, "-c", code], capture_output=True, text=True, timeout=180)
    assert result.returncode == 0, result.stderr


def test_bundles_rules_and_settings_are_evaluated(tierenv: Run, tmp_path: Path) -> None:
    policies = ["moving-hot-set", "moving-hot-set-tree", "best-static", "kmmscand-v1"]
    options = [text for policy in policies for text in ("--policy", policy)]
    result = tierenv("evaluate", "moving-hot-set", "--seeds", "2", "--json", "result.json", *options)
    assert result.returncode == 0, result.stderr
    assert all(policy in result.stdout for policy in policies)
    assert (tmp_path / "result.json").is_file()


def test_settings_are_searched(tierenv: Run) -> None:
    result = tierenv("tune", "moving-hot-set", "--sampler", "random", "--trials", "3", "--seeds", "1")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("policy", "format_name"),
    [
        ("moving-hot-set", "kernel-c"),
        ("moving-hot-set-tree", "rules"),
        *(("static:1000,1024,256", name) for name in ("parameters", "sysfs", "tuned", "tmpfiles.d")),
        ("static:16000,1024,256,100", "sysctl.d"),
    ],
)
def test_policies_are_exported(tierenv: Run, tmp_path: Path, policy: str, format_name: str) -> None:
    scenario = ("--scenario", "skewed") if policy.startswith("static") else ()
    scenario += ("--daemon", "numa-balancing") if format_name == "sysctl.d" else ()
    result = tierenv("export", policy, "--format", format_name, "--output", "exported.conf", *scenario)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "exported.conf").exists()


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["train", "ppo-moving-hot-set-demo"], "train"),
        (["evaluate", "skewed", "--policy", "RUN"], "train"),
        (["export", "RUN", "--format", "bundle", "--output", "exported"], "train"),
        (["distil", "moving-hot-set", "--output", "tree"], "distil"),
        (["export", "moving-hot-set", "--format", "onnx", "--output", "a.onnx"], "export"),
        (["evaluate", "skewed", "--plot", "a.png"], "plots"),
        (["report", "RUN", "--output", "a.html"], "report"),
        (["sweep", "demo"], "cluster"),
        (["sweep", "demo", "--serial"], "train"),
        (["tune", "skewed", "--sampler", "gp"], "tune"),
        (["tune", "skewed", "--sampler", "random", "--trials", "3", "--storage", "a.log"], "tune"),
    ],
)
def test_what_needs_an_extra_names_it(tierenv: Run, run_folder: Path, arguments: list[str], extra: str) -> None:
    result = tierenv(*(str(run_folder) if text == "RUN" else text for text in arguments))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1 and f"pip install 'tierenv[{extra}]'" in result.stderr
