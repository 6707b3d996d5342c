"""The compiled model's cache: what it is keyed by, what is said while it is filled, and life without it."""

import os
import subprocess
import sys
from collections.abc import Iterator
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
def nothing_is_writable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(jit, "_is_usable", lambda _folder: False)
    jit._cache_base.cache_clear()
    jit._cache_folder.cache_clear()
    yield
    jit._cache_base.cache_clear()
    jit._cache_folder.cache_clear()


@pytest.mark.usefixtures("nothing_is_writable")
def test_without_a_writable_folder_functions_compile_for_the_process_alone() -> None:
    twice = jit.njit(lambda number: 2 * number)
    assert twice(21) == 42
    assert jit._cache_folder(Path(__file__)) is None


def test_a_folder_of_somebody_else_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert jit._is_usable(tmp_path)
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert not jit._is_usable(tmp_path)
