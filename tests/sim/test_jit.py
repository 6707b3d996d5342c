"""The compiled model's cache: what it is keyed by, what is said while it is filled, and life without it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tierenv
from tierenv.sim import jit
from tierenv.sim.lumped import engine as lumped
from tierenv.sim.pages import engine as pages

PACKAGE = Path(tierenv.__file__).parent
NOTICE = "compiling the model of the machine"


def keyed_by(module: object) -> set[str]:
    """Returns the sources that decide where a module's compiled code is kept."""
    return {str(path.relative_to(PACKAGE)) for path in jit._sources(Path(module.__file__))}


@pytest.mark.parametrize(("own", "other"), [(lumped, "sim/pages"), (pages, "sim/lumped")])
def test_an_edit_of_one_model_leaves_what_the_other_has_compiled(own: object, other: str) -> None:
    assert not [path for path in keyed_by(own) if path.startswith(other)]


@pytest.mark.parametrize("module", [lumped, pages])
def test_an_edit_of_anything_that_is_compiled_in_compiles_anew(module: object) -> None:
    own = module.__name__.split(".")[-2]
    shared = {
        "units.py",
        "counters.py",
        "tunables.py",
        "sim/jit.py",
        "sim/records.py",
        "sim/random.py",
        "sim/application.py",
    }
    actors = {f"sim/{own}/{name}.py" for name in ("engine", "state", "scanner", "migrator", "numa", "reclaim")}
    assert shared | actors <= keyed_by(module)
    assert not {"scenario.py", "daemon.py", "sim/parameters.py", "sim/settings.py"} & keyed_by(module)


def machine_in_a_new_process(cache: Path) -> str:
    """Compiles, unless the cache has it, what a machine needs at its beginning. Returns what is said on stderr."""
    code = (
        "from tierenv.scenario import load_scenario; from tierenv.sim.lumped.system import LumpedSystem;"
        "LumpedSystem([load_scenario('abench-8g')])"
    )
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stderr


@pytest.mark.expensive
def test_compilation_is_announced_once_and_not_with_a_warm_cache(tmp_path: Path) -> None:
    assert machine_in_a_new_process(tmp_path) == (
        f"{NOTICE}, once (kept in {tmp_path}/tierenv): this takes up to a minute\n"
    )
    assert machine_in_a_new_process(tmp_path) == ""


@pytest.fixture
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Returns an empty folder for caches, which is in force during the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jit.numba.config, "CACHE_DIR", "")
    memories = (jit._cache_base, jit._cache_folder, jit._warn_once)
    for memory in memories:
        memory.cache_clear()
    yield tmp_path
    for memory in memories:
        memory.cache_clear()


def double(number: int) -> int:
    return 2 * number


def hits_of_a_call() -> int:
    """Compiles a function anew, unless the cache has it, and plays it. Returns how often the cache had it."""
    compiled = jit.njit(double)
    assert compiled(21) == 42
    return sum(compiled.stats.cache_hits.values())


def stored_files(cache_home: Path) -> list[Path]:
    return [path for path in cache_home.rglob("*.nb?") if path.is_file()]


def test_what_is_compiled_is_kept_where_nobody_else_can_write(cache_home: Path) -> None:
    assert (hits_of_a_call(), hits_of_a_call()) == (0, 1)
    folder = jit._cache_folder(Path(__file__))
    assert folder is not None and folder.parent == cache_home / "tierenv"
    assert [path.stat().st_mode & 0o777 for path in (folder.parent, folder)] == [0o700, 0o700]


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize(
    "spoil", [lambda _text: b"", lambda text: text[: len(text) // 2], lambda text: bytes(len(text))]
)
def test_a_torn_cache_is_told_once_and_written_anew(
    cache_home: Path, suffix: str, spoil: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    hits_of_a_call()
    [path] = [path for path in stored_files(cache_home) if path.suffix == suffix]
    path.write_bytes(spoil(path.read_bytes()))
    assert hits_of_a_call() == 0
    [record] = caplog.records
    assert str(cache_home / "tierenv") in record.message and "\n" not in record.message
    assert hits_of_a_call() == 1


def test_a_cache_that_has_gone_is_told_once_and_survived(cache_home: Path, caplog: pytest.LogCaptureFixture) -> None:
    hits_of_a_call()
    shutil.rmtree(cache_home / "tierenv")
    assert (hits_of_a_call(), hits_of_a_call()) == (0, 0)
    [record] = caplog.records
    assert f"{cache_home}/tierenv: what is compiled is not kept (No such file or directory)" in record.message


FULL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # of a file, in bytes: every write fails
from tierenv.sim.jit import njit
double, triple = njit(lambda number: 2 * number), njit(lambda number: 3 * number)
print(double(7) + triple(7))
"""


def test_a_full_disk_is_told_once_and_survived(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(FULL_DISK)
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(PACKAGE.parent)}
    result = subprocess.run([sys.executable, module], env=environment, capture_output=True, text=True, timeout=60)
    assert result.stdout == "35\n"
    line = f"compiled model in {tmp_path}/cache/tierenv: what is compiled is not kept (File too large)\n"
    assert result.stderr == line


def test_without_any_place_functions_compile_for_the_process_alone(
    cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_home.joinpath("tierenv").write_text("in the way")
    monkeypatch.setattr(tempfile, "gettempdir", raise_file_not_found)
    assert (hits_of_a_call(), hits_of_a_call()) == (0, 0)
    assert jit._cache_base() == (None, f"{cache_home}/tierenv: File exists")


def raise_file_not_found() -> str:
    raise FileNotFoundError("no usable temporary folder")


@pytest.mark.usefixtures("cache_home")
@pytest.mark.parametrize("variables", [{}, {"XDG_CACHE_HOME": "relative"}])
def test_an_account_without_a_home_has_a_temporary_cache(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("pwd.getpwuid", lambda _uid: {}["no such entry"])
    assert jit._places() == [Path(tempfile.gettempdir()) / f"tierenv-{os.getuid()}"]


def test_what_somebody_else_could_have_written_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    assert jit._problem_with(own) is None
    own.chmod(0o755)
    assert jit._problem_with(own) is None
    for mode in (0o775, 0o757, 0o777):
        own.chmod(mode)
        assert jit._problem_with(own) == "others can write to it"
    own.chmod(0o700)
    link = tmp_path / "link"
    link.symlink_to(own)
    assert jit._problem_with(link) == "is a link"
    link.unlink()
    link.symlink_to(tmp_path / "nowhere")
    assert jit._problem_with(link) == "File exists"
    monkeypatch.setattr(os, "getuid", lambda: own.stat().st_uid + 1)
    assert jit._problem_with(own) == "belongs to somebody else"
