"""Results in pieces: what is made anew, and when; by the task runner itself, on pieces that write a word."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from doit.cmd_base import ModuleTaskLoader
from doit.doit_cmd import DoitMain

from tierenv.train.studies import dodo, sources
from tierenv.train.studies.piece import FULL, SMALL, Keys, Piece, Scale
from tierenv.train.studies.pieces import generalists, pieces, studies

ROOT = Path(__file__).resolve().parents[2]

CODE = {
    "tierenv": "",
    "tierenv.a": '"""Text."""\nfrom tierenv.b import f\n\n\ndef g():\n    """Text."""\n    return f(1)\n',
    "tierenv.b": "def f(x):\n    from tierenv import c\n    return c.h(x)\n",
    "tierenv.c": 'TABLE = "tierenv.d:Class"\n\n\ndef h(x):\n    return x\n',
    "tierenv.d": "class Class:\n    pass\n",
    "tierenv.e": "",
}


@pytest.fixture
def write_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Puts modules in place of tierenv's and returns the digest of the first."""
    cached: tuple[Any, ...] = (sources._imports, sources._code)

    def write(**changes: str) -> str:
        for name, text in (CODE | {f"tierenv.{key}": value for key, value in changes.items()}).items():
            (tmp_path / f"{name}.py").write_text(text)
        for function in cached:
            function.cache_clear()
        return sources.code_digest(["tierenv.a"])

    def find(name: str) -> Path | None:
        path = tmp_path / f"{name}.py"
        return path if path.exists() else None

    monkeypatch.setattr(sources, "_file", find)
    yield write
    for function in cached:
        function.cache_clear()


def test_a_digest_follows_imports_late_ones_and_those_named_in_tables(write_code: Callable[..., str]) -> None:
    before = write_code()
    assert sources.imported_by(["tierenv.a"]) == set(CODE) - {"tierenv.e"}
    for name in "abcd":
        assert write_code(**{name: CODE[f"tierenv.{name}"] + "\nX = 1\n"}) != before
    assert write_code(e="X = 1\n") == before


def test_comments_docstrings_and_layout_do_not_count(write_code: Callable[..., str]) -> None:
    before = write_code()
    same = '"""B."""\n\n\ndef f(x):  # why\n    """F."""\n    from tierenv import c\n\n    return c.h(x)\n'
    assert write_code(b=same) == before
    assert write_code(b="def f(x):\n    from tierenv import c\n    return c.h(x, 'text')\n") != before


def test_an_unknown_module_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"tierenv\.nothing"):
        sources.code_digest(["tierenv.nothing"])


def test_an_evaluation_depends_on_models_and_policies_but_not_on_reports() -> None:
    needed = sources.imported_by(["tierenv.train.evaluate"])
    assert {"tierenv.sim.lumped.scanner", "tierenv.agents.learned", "tierenv.agents.bundle"} <= needed
    assert not any("html_report" in name or ".verbs" in name or ".live.command" in name for name in needed)


@pytest.mark.parametrize("scale", [FULL, SMALL])
def test_each_piece_comes_after_those_it_needs_and_no_two_make_one_file(scale: Scale) -> None:
    table = [*pieces(scale), *generalists(scale)]
    names = [piece.name for piece in table]
    assert len(set(names)) == len(names)
    for index, piece in enumerate(table):
        assert {needed.name for needed in piece.needs} <= set(names[:index])
    outputs = [path for piece in table for path in piece.outputs if path.name != "best-static.json"]
    assert len(set(outputs)) == len(outputs)


def test_every_result_and_every_policy_is_a_piece() -> None:
    table = [*pieces(FULL), *generalists(FULL)]
    made = {path for piece in [*table, *studies(FULL, table)] for path in piece.outputs}
    committed = [*(ROOT / "results").glob("*.json"), *(ROOT / "configs/policies").glob("*/policy.json")]
    assert {*committed} <= made
    assert ROOT / "configs/policies/best-static.json" in made


def test_small_pieces_leave_what_is_committed_alone() -> None:
    for piece in pieces(SMALL):
        for path in (*piece.outputs, *piece.replaces):
            assert path.is_relative_to(ROOT / "build")
        assert str(ROOT / "results") not in str(piece.commands)


class Runner:
    """Runs the tasks of some pieces as `make results` does."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scale = replace(FULL, keys=folder / "keys.json", kept=folder / "build" / "keys.json")
        self.folder = folder
        self._monkeypatch = monkeypatch

    def piece(self, name: str, word: str, *needs: Piece, is_kept: bool = False) -> Piece:
        """One that appends a word to its file."""
        path = self.folder / name
        code = f"open({str(path)!r}, 'a').write({word!r})"
        return Piece(name, (("-c", code),), (path,), (), needs=needs, is_kept=is_kept)

    def run(self, *table: Piece) -> int:
        """Exit code of a run of all that is committed."""
        committed = [piece for piece in table if not piece.is_kept]
        for name, value in {"PIECES": table, "COMMITTED": committed, "KEYS": Keys(self.scale)}.items():
            self._monkeypatch.setattr(dodo, name, value)
        self._monkeypatch.setattr(dodo, "ROOT", self.folder)
        self._monkeypatch.setattr(dodo, "git_revision", lambda: "0123456789ab")
        config = {"dep_file": str(self.folder / "doit.json"), "backend": "json", "verbosity": 0}
        tasks = SimpleNamespace(task_piece=dodo.task_piece, DOIT_CONFIG=config)
        return int(DoitMain(ModuleTaskLoader(vars(tasks))).run([piece.name for piece in committed]))

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(tmp_path, monkeypatch)


def test_what_is_current_is_left_alone(runner: Runner) -> None:
    run = runner.piece("run", "r", is_kept=True)
    result = runner.piece("result", "x", run)
    for _ in range(2):
        assert runner.run(run, result) == 0
    assert (runner.text("run"), runner.text("result")) == ("r", "x")


def test_what_a_current_result_needed_is_not_made_in_a_fresh_clone(runner: Runner) -> None:
    run = runner.piece("run", "r", is_kept=True)
    result = runner.piece("result", "x", run)
    assert runner.run(run, result) == 0
    (runner.folder / "run").unlink()
    os.remove(runner.scale.kept)
    assert runner.run(run, result) == 0
    assert not (runner.folder / "run").exists()


def test_a_change_reaches_all_that_needs_it_and_nothing_else(runner: Runner) -> None:
    first, other = runner.piece("first", "a"), runner.piece("other", "o")
    assert runner.run(first, runner.piece("second", "b", first), other) == 0
    first = runner.piece("first", "A")
    assert runner.run(first, runner.piece("second", "b", first), other) == 0
    assert [runner.text(name) for name in ("first", "second", "other")] == ["aA", "bb", "o"]


def test_nothing_is_made_of_sources_that_are_not_committed(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    runner.run()
    monkeypatch.setattr(dodo, "git_revision", lambda: "0123456789ab-dirty")
    piece = runner.piece("result", "x")
    assert not dodo._make(piece) and not (runner.folder / "result").exists()


def test_what_fails_is_not_noted_and_what_is_done_stays_done(runner: Runner) -> None:
    good, bad = runner.piece("good", "g"), runner.piece("bad", "b")
    failing = replace(bad, commands=(*bad.commands, ("-c", "raise SystemExit(1)")))
    assert runner.run(good, failing) != 0
    keys = Keys(runner.scale)
    assert keys.is_current(good) and not keys.is_current(failing)
    assert runner.run(good, bad) == 0
    assert (runner.text("good"), runner.text("bad")) == ("g", "bb")


@pytest.mark.parametrize("is_changed", [False, True])
def test_a_training_that_was_stopped_goes_on_unless_something_changed(runner: Runner, is_changed: bool) -> None:
    folder = runner.folder / "run"
    (folder / "half").mkdir(parents=True)
    (folder / "config.yaml").touch()
    code = "import os, sys; print(sys.argv[1:], os.path.exists('run/half'), file=open('said', 'w'))"
    stopped = Piece("run", (("-c", code),), (runner.folder / "said",), (), is_kept=True, resumes=folder)
    Keys(runner.scale).begin(stopped)
    training = replace(stopped, reads=("another configuration",)) if is_changed else stopped
    assert runner.run(training, runner.piece("result", "x", training)) == 0
    assert runner.text("said") == ("[] False\n" if is_changed else "['--resume'] True\n")


def test_half_of_a_piece_is_never_current_again(runner: Runner) -> None:
    whole = runner.piece("result", "x")
    assert runner.run(whole) == 0
    failing = replace(whole, commands=(*whole.commands, ("-c", "raise SystemExit(1)")))
    assert runner.run(failing) != 0 and runner.text("result") == "xx"
    assert not Keys(runner.scale).is_current(whole), "as it was before, but for the output"


@pytest.mark.expensive
def test_a_policy_is_searched_trained_judged_and_shipped_in_little() -> None:
    shutil.rmtree(SMALL.results.parent, ignore_errors=True)
    environment = os.environ | {"TIERENV_SCALE": "small"}
    command = [sys.executable, "-m", "doit", "-f", "train/studies/dodo.py", "policy-abench"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=600)
    assert (ROOT / "build/small/policies/abench/policy.json").is_file()
