"""Notes of knobs: whatever is killed when, what was found can be put back."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.live.hosts import AS_BOOTED, Host
from tierenv.live import journal as journal_module
from tierenv.live.files import NOTES, Refused, locked_notes
from tierenv.live.journal import Journal, Restored, WrittenByOthers
from tierenv.live.kernel import KNOBS, RATE_LIMIT, SCAN_SIZE


class Killed(Exception):
    """The end of a process in the middle of things."""


@pytest.fixture
def journal(host: Host) -> Journal:
    return Journal(str(host.root))


def test_what_was_found_is_put_back_and_no_note_stays(host: Host, journal: Journal) -> None:
    for value in (64, 1, 0, 64):
        assert journal.write(RATE_LIMIT, value, host.knob(RATE_LIMIT)) is None
        assert host.knob(RATE_LIMIT) == value
    restored = journal.restore()
    assert (host.knobs, host.notes, restored.is_complete) == (AS_BOOTED, [], True)
    assert restored.lines == [f"{RATE_LIMIT}: 64 -> 65536"]


@given(
    writes=st.lists(st.tuples(st.sampled_from(sorted(KNOBS)), st.integers(1, 3)), max_size=8),
    kill_at=st.integers(1, 400),
)
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
        patch.setattr(os, "open", counted(os.open))
        patch.setattr(os, "replace", counted(os.replace))
        patch.setattr(os, "write", counted(os.write))
        patch.setattr(os, "unlink", counted(os.unlink))
        try:
            for path, value in writes:
                assert Journal(str(host.root)).write(path, value, host.knob(path)) is None
            Journal(str(host.root)).restore()
        except Killed:
            pass
    is_complete = Journal(str(host.root)).restore().is_complete
    assert (host.knobs, host.notes, is_complete) == (AS_BOOTED, [], True)


def test_a_knob_that_somebody_else_wrote_is_left_to_him(host: Host, journal: Journal) -> None:
    journal.write(RATE_LIMIT, 64, 65536)
    journal.write(SCAN_SIZE, 16, 256)
    host.put(RATE_LIMIT, 128)
    restored = journal.restore()
    assert (host.knob(RATE_LIMIT), host.knob(SCAN_SIZE), host.notes, restored.is_complete) == (128, 256, [], True)
    assert f"{RATE_LIMIT} was changed to 128 by somebody else; left as it is, it held 65536 before" in restored.lines
    assert restored.of_others == [RATE_LIMIT]


def test_a_value_that_the_kernel_clamps_is_said_and_put_back(
    host: Host, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = journal_module.write_existing
    monkeypatch.setattr(journal_module, "write_existing", lambda path, text: write(path, str(min(int(text), 70_000))))
    assert journal.write(RATE_LIMIT, 80_000, 65536) == "the kernel took 70000 instead of 80000"
    monkeypatch.undo()
    assert journal.restore().is_complete
    assert (host.knobs, host.notes) == (AS_BOOTED, [])


def test_a_value_that_the_kernel_refuses_changes_nothing(
    host: Host, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, text: str) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(journal_module, "write_existing", refuse)
    assert journal.write(RATE_LIMIT, 64, 65536) == "Invalid argument"
    assert (host.knobs, host.notes) == (AS_BOOTED, [])


@pytest.mark.parametrize("content", ["", "-1", "99999999999999", "0", "1; reboot", "½", "7 8"])
def test_a_note_that_holds_no_value_of_a_knob_is_kept_and_not_written_to_one(
    content: str, host: Host, journal: Journal
) -> None:
    journal.write(SCAN_SIZE, 16, 256)
    host.put(f"{NOTES}/original{SCAN_SIZE}", content)
    restored = Journal(str(host.root)).restore()
    assert (host.knob(SCAN_SIZE), restored.is_complete) == (16, False)
    assert len(restored.lines) == 1 and "the note" in restored.lines[0]
    assert host.notes == [f"{kind}{SCAN_SIZE}" for kind in ("applied", "original")]


def test_a_note_that_cannot_be_read_is_kept(host: Host, journal: Journal) -> None:
    journal.write(SCAN_SIZE, 16, 256)
    note = Path(f"{host.root}{NOTES}/original{SCAN_SIZE}")
    note.rename(f"{note}.away")
    note.symlink_to(f"{note}.away")
    assert not Journal(str(host.root)).restore().is_complete
    assert (note.is_symlink(), host.knob(SCAN_SIZE)) == (True, 16)


def test_what_was_found_is_put_back_though_the_notes_were_removed(host: Host, journal: Journal) -> None:
    journal.write(SCAN_SIZE, 16, 256)
    journal.write(RATE_LIMIT, 64, 65536)
    assert journal.is_there
    shutil.rmtree(f"{host.root}{NOTES}")
    assert not journal.is_there
    assert journal.restore().is_complete
    assert host.knobs == AS_BOOTED


def test_what_was_found_outlasts_the_loss_of_some_notes(host: Host, journal: Journal) -> None:
    journal.write(SCAN_SIZE, 64, 256)
    shutil.rmtree(f"{host.root}{NOTES}/original")
    assert not journal.is_there
    journal.write(SCAN_SIZE, 16, 64)  # though nobody should, by then
    assert journal.restore().is_complete
    assert (host.knobs, host.notes) == (AS_BOOTED, [])


def test_out_of_memory_too_somebody_else_s_value_is_left_to_him(host: Host, journal: Journal) -> None:
    journal.write(SCAN_SIZE, 16, 256)
    shutil.rmtree(f"{host.root}{NOTES}")
    host.put(SCAN_SIZE, 777)
    assert journal.restore().of_others == [SCAN_SIZE]
    assert host.knob(SCAN_SIZE) == 777


def test_notes_that_took_the_place_of_ours_are_not_touched(host: Host, journal: Journal) -> None:
    journal.write(RATE_LIMIT, 64, 65536)
    shutil.rmtree(f"{host.root}{NOTES}")
    host.put(f"{NOTES}/original{RATE_LIMIT}", 64)
    host.put(f"{NOTES}/applied{RATE_LIMIT}", 128)
    host.put(RATE_LIMIT, 128)
    journal.restore()
    assert host.knob(RATE_LIMIT) == 128
    assert len(host.notes) == 2


def test_a_folder_that_took_the_place_of_the_locked_one_is_noticed(host: Host) -> None:
    root = str(host.root)
    with locked_notes(root) as folder:
        journal = Journal(root, folder)
        assert journal.is_there
        Path(f"{root}{NOTES}").rename(f"{root}/away")
        assert not journal.is_there
        Path(f"{root}{NOTES}").mkdir(mode=0o700)
        assert not journal.is_there


def test_a_value_of_somebody_else_s_right_after_ours_is_his(
    host: Host, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = journal_module.write_existing, []

    def raced(path: str, text: str) -> None:
        write(path, text)
        written.append(text)
        host.put(RATE_LIMIT, 70 + len(written))  # not what the kernel makes of ours: that would be the same twice

    monkeypatch.setattr(journal_module, "write_existing", raced)
    with pytest.raises(WrittenByOthers):
        journal.write(RATE_LIMIT, 64, 65536)


def test_what_an_exported_script_has_set_is_left_to_it(host: Host, journal: Journal) -> None:
    host.put(f"{NOTES}/original{RATE_LIMIT}", 65536)
    host.put(f"{NOTES}/applied{RATE_LIMIT}", 64)
    host.put(RATE_LIMIT, 64)
    assert not journal.is_ours
    assert journal.restore() == Restored([], True, [])
    assert host.knob(RATE_LIMIT) == 64
    assert len(host.notes) == 2


def test_a_knob_that_changes_before_it_is_written_is_not(host: Host, journal: Journal) -> None:
    host.put(RATE_LIMIT, 77)
    with pytest.raises(WrittenByOthers, match=r"promote_rate_limit_MBps \(65536 -> 77\)"):
        journal.write(RATE_LIMIT, 64, 65536)
    assert (host.knob(RATE_LIMIT), host.notes) == (77, [])


def test_a_full_disk_is_a_reason_and_changes_nothing(
    host: Host, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal_module, "replace_whole", full)
    assert "No space left" in str(journal.write(RATE_LIMIT, 64, 65536))
    assert host.knobs == AS_BOOTED


def test_other_files_than_knobs_are_neither_written_nor_put_back(host: Host, journal: Journal) -> None:
    host.put("/etc/shadow", 7)
    host.put(f"{NOTES}/original/etc/shadow", 8)
    host.put(f"{NOTES}/applied/etc/shadow", 7)
    journal.write(RATE_LIMIT, 64, 65536)
    assert journal.restore() == Restored([f"{RATE_LIMIT}: 64 -> 65536"], True, [])
    assert journal.write("/etc/shadow", 9, 7) is not None
    assert (host.root / "etc/shadow").read_text() == "7\n"


def test_a_knob_that_is_a_symbolic_link_is_not_followed(host: Host, journal: Journal) -> None:
    elsewhere = host.root / "elsewhere"
    elsewhere.write_text("65536\n")
    knob = Path(f"{host.root}{RATE_LIMIT}")
    knob.unlink()
    knob.symlink_to(elsewhere)
    with pytest.raises(WrittenByOthers):
        journal.write(RATE_LIMIT, 64, 65536)
    assert elsewhere.read_text() == "65536\n"


def test_one_holder_of_the_notes_at_a_time(host: Host) -> None:
    root = str(host.root)
    with locked_notes(root):
        with pytest.raises(Refused, match="is locked"), locked_notes(root):
            pass
    shutil.rmtree(f"{root}{NOTES}")
    with locked_notes(root):
        assert Path(f"{root}{NOTES}").stat().st_mode & 0o777 == 0o700


def test_a_folder_of_notes_that_others_can_write_is_refused(host: Host) -> None:
    folder = Path(f"{host.root}{NOTES}")
    folder.chmod(0o777)
    with pytest.raises(Refused, match="can be written by others"), locked_notes(str(host.root)):
        pass
