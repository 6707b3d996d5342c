"""The laws of the tree: who may import whom, what an installation holds, what importing tierenv costs."""

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium
import pytest

import tierenv
from tests.tools import needs
from tierenv.sim import jit

ROOT = Path(__file__).resolve().parent.parent
ENV_ID = "tierenv/TieredMemory-v1"
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]

# The installed packages, lowest first: each may import those before it.
PACKAGES = ["tierenv", "tierenv.agents", "tierenv.train"]

STANDARD_LIBRARY_ALONE = ["tierenv", *map("tierenv.{}".format, ("errors", "files", "units", "counters", "tunables"))]

# Inside tierenv, lowest layer first; modules of one layer may import each other.
LAYERS = [
    {"live"},
    {
        "errors",
        "checks",
        "extras",
        "files",
        "folders",
        "progress",
        "units",
        "reading",
        "tunables",
        "counters",
        "records",
        "daemon",
        "phase_orders",
        "platform",
        "workload",
        "heat",
        "heat_file",
        "short_forms",
        "draws",
        "fragments",
        "expansion",
        "objective",
        "scenario",
        "history",
        "features",
        "observation_spec",
    },
    {
        *("shrink", "system", "sim", "forms", "family", "bounds", "finding", "no_foresight"),
        *("quantities", "measurements", "experiments"),
    },
    {"observation", "action", "score", "reward"},
    {"task"},
    {"env", "vector_env", "reset_options", "palette", "render", "wrappers", "priors", "fit", "calibration"},
]


def source_files(package: str) -> list[Path]:
    """Returns the modules of one of PACKAGES, where the mapping in pyproject.toml says they stand."""
    return sorted((ROOT / SETUPTOOLS["package-dir"][package]).rglob("*.py"))


def imported_names(source: str, module: str, is_package: bool) -> set[str]:
    """Returns the absolute name of everything a module imports, inside functions and TYPE_CHECKING too."""
    names = set()
    parts = module.split(".")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = node.level - is_package
            base = parts[: len(parts) - up] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            names.update(f"{origin}.{alias.name}" for alias in node.names)
    return names


def imports(package: str) -> Iterator[tuple[Path, str]]:
    """Yields (file, absolute imported name) over all modules of one of PACKAGES."""
    folder = ROOT / SETUPTOOLS["package-dir"][package]
    for path in source_files(package):
        inner = path.relative_to(folder).with_suffix("").parts
        is_package = inner[-1] == "__init__"
        module = ".".join([package, *(inner[:-1] if is_package else inner)])
        for name in imported_names(path.read_text(), module, is_package):
            yield path.relative_to(ROOT), name


def is_within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def project_files(folder: str) -> list[Path]:
    """Returns the files below a folder that are tracked, or would be by `git add`, relative to ROOT."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", folder]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [Path(name) for name in names if (ROOT / name).is_file()]


def run_python(code: str, cwd: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter, where nothing of this test run is imported yet."""
    command = [sys.executable, *options, "-c", code]
    environment = os.environ | environment
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.nn as nn", {"torch.nn"}),
        ("def f():\n    from tierenv import train", {"tierenv.train"}),
        ("from . import units", {"tierenv.sim.units"}),
        ("from ..train.cli import main", {"tierenv.train.cli.main"}),
    ],
)
def test_reader_of_imports_sees_every_form(source: str, expected: set[str]) -> None:
    assert imported_names(source, "tierenv.sim.state", is_package=False) == expected
    assert imported_names(source, "tierenv.sim", is_package=True) == expected


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_never_import_those_above_them(package: str) -> None:
    above = PACKAGES[PACKAGES.index(package) + 1 :]
    assert source_files(package)
    assert [(file, name) for file, name in imports(package) for other in above if is_within(name, other)] == []


def test_world_needs_no_learner() -> None:
    learners = ("torch", "stable_baselines3", "optuna", "sklearn")
    assert [(file, name) for file, name in imports("tierenv") if is_within(name, *learners)] == []


def test_modules_of_tierenv_never_import_a_layer_above() -> None:
    rank = {module: level for level, modules in enumerate(LAYERS) for module in modules}
    upward = []
    for file, name in imports("tierenv"):
        importer = file.relative_to("tierenv").with_suffix("").parts[0]
        imported = name.split(".")[1] if name.startswith("tierenv.") else ""
        if rank.get(imported, -1) > rank.get(importer, len(LAYERS)):
            upward.append((file, name))
    assert upward == []


def test_every_module_of_tierenv_has_a_layer() -> None:
    modules = {path.relative_to(ROOT / "tierenv").with_suffix("").parts[0] for path in source_files("tierenv")}
    assert modules - {"__init__"} - set().union(*LAYERS) == set()


def test_importing_tierenv_is_light(tmp_path: Path) -> None:
    heavy = {"torch", "numba", "stable_baselines3", "pydantic", "scipy", "matplotlib"}
    result = run_python(f"import sys, tierenv; print(sorted({heavy} & set(sys.modules)))", tmp_path)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


def test_names_people_look_for_are_there_and_load_when_used(tmp_path: Path) -> None:
    assert set(tierenv.__all__) == set(tierenv._MODULES) <= set(dir(tierenv))
    for name, module in tierenv._MODULES.items():
        assert getattr(tierenv, name) is getattr(importlib.import_module(f"tierenv.{module}"), name)
    with pytest.raises(AttributeError, match="module 'tierenv' has no attribute 'TieredMemory'"):
        tierenv.TieredMemory  # noqa: B018
    code = "from tierenv import *; print(TieredMemoryEnv.__module__, load_scenario('skewed').name)"
    assert run_python(code, tmp_path).stdout == "tierenv.env skewed\n"


@pytest.mark.parametrize("module", STANDARD_LIBRARY_ALONE)
def test_modules_of_the_standard_library_alone_import_in_a_bare_interpreter(module: str, tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}; print({module}.__name__)"
    result = run_python(code, tmp_path, "-I", "-S")  # neither site-packages nor the user's environment
    assert (result.returncode, result.stdout.strip()) == (0, module), result.stderr


def test_a_bare_interpreter_has_no_gymnasium(tmp_path: Path) -> None:
    assert "No module named 'gymnasium'" in run_python("import gymnasium", tmp_path, "-I", "-S").stderr


@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec, gymnasium.spec])
def test_the_id_of_other_dynamics_is_refused_with_the_one_in_force(make: Callable[[str], object]) -> None:
    with pytest.raises(gymnasium.error.DeprecatedEnv, match=ENV_ID):
        make("tierenv/TieredMemory-v0")


def test_environment_is_registered_by_name_and_serialisable() -> None:
    spec = gymnasium.spec(ENV_ID)
    assert isinstance(spec.entry_point, str) and isinstance(spec.vector_entry_point, str)
    assert json.loads(spec.to_json())["id"] == ENV_ID
    assert gymnasium.envs.registration.EnvSpec.from_json(spec.to_json()) == spec


def test_registering_twice_is_silent() -> None:
    path = list(tierenv.__path__)
    before = gymnasium.registry[ENV_ID]
    importlib.reload(tierenv)  # warnings are errors in this suite
    assert gymnasium.registry[ENV_ID] is before
    assert list(tierenv.__path__) == path


def test_bare_agents_is_refused() -> None:
    result = run_python("import agents", ROOT)
    assert result.returncode == 1
    assert "use tierenv.agents" in result.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder a wheel of the present tree unpacks to, without its dependencies."""
    source, built, unpacked = (tmp_path_factory.mktemp(name) for name in ("source", "built", "unpacked"))
    for file in project_files("."):  # a copy, because setuptools leaves build/ behind and packs what it finds there
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, source / file)
    pip_wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip_wheel, "--wheel-dir", built, source], check=True, timeout=120)
    zipfile.ZipFile(next(built.glob("*.whl"))).extractall(unpacked)
    return unpacked


def test_wheel_holds_every_file_of_the_installed_folders(wheel: Path) -> None:
    expected = {
        Path(*package.split("."), file.relative_to(folder))
        for package, folder in SETUPTOOLS["package-dir"].items()
        for file in project_files(folder)
        if "studies" not in file.parts
    }
    held = {file.relative_to(wheel) for file in (wheel / "tierenv").rglob("*") if file.is_file()}
    assert held == expected


def test_wheel_installs_one_top_level_name(wheel: Path) -> None:
    assert [path.name for path in wheel.iterdir() if path.suffix != ".dist-info"] == ["tierenv"]


def test_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    code = "import tierenv.agents, tierenv.train, tierenv.configs as c; print(*tierenv.__path__, c.__file__)"
    result = run_python(code, tmp_path, PYTHONPATH=str(wheel))
    assert result.stdout == f"{wheel}/tierenv {wheel}/tierenv/configs/__init__.py\n", result.stderr


STRANGER = 12345
"""An account without home, without an entry in passwd, and without a right to write where we do."""

BY_STRANGER = ("setpriv", "--reuid", str(STRANGER), "--regid", str(STRANGER), "--clear-groups")
READS_ALL = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
"""For an interpreter that stands in root's home."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder of the stranger's, with what we have compiled so far as its cache of the model."""
    folder = tmp_path_factory.mktemp("stranger")
    account = STRANGER if os.geteuid() == 0 else os.geteuid()
    compiled, _ = jit._cache_base()
    if compiled is not None:
        shutil.copytree(compiled, folder / f"tierenv-{account}")
    if account == STRANGER:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, account, account)
    return folder


@pytest.mark.expensive
@needs("setpriv")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list"],
        ["evaluate", "skewed", "--policy", "built-in", "--seeds", "1"],
        ["export", "static:2000,1024,inf", "--scenario", "skewed", "--format", "sysfs", "--output", "apply.sh"],
        ["export", "moving-hot-set-tree", "--format", "rules", "--output", "rules.txt"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_account_without_anything_of_its_own_uses_an_installation(
    arguments: list[str], wheel: Path, place: Path
) -> None:
    ascii_terminal = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(wheel), "TMPDIR": str(place)} | ascii_terminal
    account = (*BY_STRANGER, *READS_ALL) if os.geteuid() == 0 else ()
    result = subprocess.run(
        [*account, sys.executable, "-m", "tierenv.train", *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        encoding="ascii",
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout
    expected = ("compiling the model", "evaluating: ")  # where nothing is compiled yet, or the machine is busy
    assert [line for line in result.stderr.splitlines() if not line.startswith(expected)] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@needs("setpriv")
def test_a_folder_of_somebody_else_is_one_line(wheel: Path) -> None:
    command = ["export", "static:2000,1024,inf", "--scenario", "skewed", "--format", "sysfs", "--output", "apply.sh"]
    result = subprocess.run(
        [*BY_STRANGER, *READS_ALL, sys.executable, "-m", "tierenv.train", *command],
        cwd=wheel,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stderr) == (2, "tierenv: apply.sh: Permission denied\n")
