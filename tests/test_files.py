"""Nothing half-written: tierenv.files."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tierenv.errors import ConfigError
from tierenv.files import atomic_folder, atomic_write_text, atomic_write_texts, check_output, locked


def test_text_is_written_whole_and_leaves_nothing_else(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "new" / "a.txt", "one")
    atomic_write_text(tmp_path / "new" / "a.txt", "two")
    assert (tmp_path / "new" / "a.txt").read_text() == "two"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_text_file_has_the_mode_any_program_gives(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    atomic_write_text(tmp_path / "a", "")
    atomic_write_text(tmp_path / "b", "", executable=True)
    plain = (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "a").stat().st_mode == plain
    assert (tmp_path / "b").stat().st_mode == plain | 0o111


def test_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    atomic_write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "x"


def test_pipe_is_written_directly() -> None:
    reader, writer = os.pipe()
    atomic_write_text(f"/dev/fd/{writer}", "x")
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == "x"


@pytest.mark.parametrize("write", [lambda path: atomic_write_text(path, "x"), check_output])
@pytest.mark.parametrize("name", [".", "file/below", "circle", "circle/below", "x" * 300])
def test_path_that_cannot_be_written_is_bad_input(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(ConfigError, match=str(tmp_path)):
        write(tmp_path / name)
    assert (tmp_path / "file").read_text() == "kept" and (tmp_path / "circle").is_symlink()


@pytest.mark.parametrize("name", ["new", "new/below", "file", "link"])
def test_path_that_can_be_written_is_not_touched_by_looking(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to("later")
    check_output(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_folder_appears_whole(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "made") as folder:
        (folder / "a").write_text("x")
        assert not (tmp_path / "made").exists()
    assert (tmp_path / "made" / "a").read_text() == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_failure_while_filling_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "made") as folder:
        (folder / "a").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_folder_that_holds_something_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "kept").write_text("")
    with pytest.raises(ConfigError, match="already exists"), atomic_folder(tmp_path / "made"):
        pass
    assert (tmp_path / "made" / "kept").exists()


def test_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    with atomic_folder(tmp_path / "made") as folder:
        (folder / "a").write_text("")
    assert (tmp_path / "made" / "a").exists()


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    (tmp_path / ".a.txt.0123abcd.tmp").write_text("half")
    (tmp_path / ".b.0123abcd.tmp").mkdir()
    (tmp_path / ".b.0123abcd.tmp" / "half").write_text("")
    others = [".a.txt.own.tmp", ".c.0123abcd.tmp"]
    for name in others:
        (tmp_path / name).write_text("")
    atomic_write_text(tmp_path / "a.txt", "whole")
    with atomic_folder(tmp_path / "b"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "a.txt", "b"])


def test_what_another_writer_is_about_is_left_alone(tmp_path: Path) -> None:
    writing = tmp_path / ".a.txt.0123abcd.tmp"
    writing.write_text("half")
    with locked(writing):
        atomic_write_text(tmp_path / "a.txt", "whole")
        assert writing.exists()


def test_a_lock_is_one_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path, wait=False):
        pass
    with locked(tmp_path, wait=False):
        pass


def test_links_in_a_circle_are_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ConfigError, match="a: Too many levels of symbolic links"):
        atomic_write_text(tmp_path / "a", "x")
    with pytest.raises(ConfigError, match="a: Too many levels of symbolic links"), atomic_folder(tmp_path / "a"):
        pass


def test_of_files_that_belong_together_none_appears_unless_all_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    with pytest.raises(ConfigError, match="second: is a folder, not a file"):
        atomic_write_texts({tmp_path / "first": "1", tmp_path / "second": "2"})
    assert [path.name for path in tmp_path.iterdir()] == ["second"]
    atomic_write_texts({tmp_path / "first": "1", tmp_path / "new/third": "3"})
    assert (tmp_path / "first").read_text() + (tmp_path / "new/third").read_text() == "13"
