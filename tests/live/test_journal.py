"""Notes of knobs: whatever is killed when, what was found can be put back."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.live.hosts import AS_BOOTED, Host
from tierenv.live import journal as journal_module
from tierenv.live.files import NOTES, Refused, locked_notes
from tierenv.live.journal import Journal
from tierenv.live.kernel import HOT_THRESHOLD, KNOBS, RATE_LIMIT, SCAN_SIZE


class Killed(Exception):
    """The end of a process in the middle of things."""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def journal(host: Host) -> Journal:
    return Journal(str(host.root))


def test_what_was_found_is_put_back_and_no_note_stays(host: Host, journal: Journal) -> None:
    for value in (64, 1, 0, 64):
        assert journal.write(RATE_LIMIT, value) is None
        assert host.knob(RATE_LIMIT) == value
    lines, is_complete = journal.restore()
    assert (host.knobs, host.notes, is_complete) == (AS_BOOTED, [], True)
    assert lines == [f"{RATE_LIMIT}: 64 -> 65536"]


@given(writes=st.lists(st.tuples(st.sampled_from(KNOBS), st.integers(1, 3)), max_size=8), kill_at=st.integers(1, 60))
def test_a_kill_at_any_time_leaves_notes_that_put_all_back(
    writes: list[tuple[str, int]], kill_at: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    host = Host(tmp_path_factory.mktemp("host"))
    calls = 0

    def counted(function):  # type: ignore[no-untyped-def]
        def call(*arguments):  # type: ignore[no-untyped-def]
            nonlocal calls
            calls += 1
            if calls == kill_at:
                raise Killed
            result = function(*arguments)
            calls += 1
            if calls == kill_at:
                raise Killed
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_module, "replace_whole", counted(journal_module.replace_whole))
        patch.setattr(journal_module, "write_existing", counted(journal_module.write_existing))
        patch.setattr(os, "unlink", counted(os.unlink))
        try:
            for path, value in writes:
                assert Journal(str(host.root)).write(path, value) is None
            Journal(str(host.root)).restore()
        except Killed:
            pass
    _, is_complete = Journal(str(host.root)).restore()
    assert (host.knobs, host.notes, is_complete) == (AS_BOOTED, [], True)


def test_a_knob_that_somebody_else_wrote_is_left_to_him(host: Host, journal: Journal) -> None:
    journal.write(RATE_LIMIT, 64)
    journal.write(SCAN_SIZE, 16)
    host.put(RATE_LIMIT, 128)
    lines, is_complete = journal.restore()
    assert (host.knob(RATE_LIMIT), host.knob(SCAN_SIZE), host.notes, is_complete) == (128, 256, [], True)
    assert f"{RATE_LIMIT} was changed to 128 by somebody else; left as it is, it held 65536 before" in lines


def test_a_value_that_the_kernel_clamps_is_said_and_put_back(
    host: Host, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = journal_module.write_existing
    monkeypatch.setattr(journal_module, "write_existing", lambda path, text: write(path, str(min(int(text), 70_000))))
    assert journal.write(RATE_LIMIT, 80_000) == "the kernel took 70000 instead of 80000"
    monkeypatch.undo()
    assert journal.restore()[1]
    assert (host.knobs, host.notes) == (AS_BOOTED, [])


def test_a_value_that_the_kernel_refuses_changes_nothing(
    host: Host, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, text: str) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(journal_module, "write_existing", refuse)
    assert journal.write(RATE_LIMIT, 64) == "Invalid argument"
    assert (host.knobs, host.notes) == (AS_BOOTED, [])


@pytest.mark.parametrize("content", ["", "-1", "99999999999999", "1; reboot", "½"])
def test_a_note_that_holds_no_value_of_a_knob_is_not_written_to_one(content: str, host: Host, journal: Journal) -> None:
    host.put(f"{NOTES}/original{HOT_THRESHOLD}", content)
    host.put(f"{NOTES}/applied{HOT_THRESHOLD}", 1000)
    journal.restore()
    assert host.knobs == AS_BOOTED


def test_other_files_than_knobs_are_neither_written_nor_put_back(host: Host, journal: Journal) -> None:
    host.put("/etc/shadow", 7)
    host.put(f"{NOTES}/original/etc/shadow", 8)
    host.put(f"{NOTES}/applied/etc/shadow", 7)
    assert journal.restore() == ([], True)
    assert journal.write("/etc/shadow", 9) is not None
    assert (host.root / "etc/shadow").read_text() == "7\n"


def test_a_knob_that_is_a_symbolic_link_is_not_followed(host: Host, journal: Journal) -> None:
    elsewhere = host.root / "elsewhere"
    elsewhere.write_text("65536\n")
    knob = Path(f"{host.root}{RATE_LIMIT}")
    knob.unlink()
    knob.symlink_to(elsewhere)
    assert journal.write(RATE_LIMIT, 64) is not None
    assert elsewhere.read_text() == "65536\n"


def test_one_holder_of_the_notes_at_a_time(host: Host) -> None:
    root = str(host.root)
    with locked_notes(root):
        with pytest.raises(Refused, match="is locked"), locked_notes(root):
            pass
    with locked_notes(root):
        pass


def test_a_folder_of_notes_that_others_can_write_is_refused(host: Host) -> None:
    folder = Path(f"{host.root}{NOTES}")
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(Refused, match="can be written by others"), locked_notes(str(host.root)):
        pass
