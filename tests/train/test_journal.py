"""Long commands that are stopped go on where they were, and leave nothing when they are done."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tierenv.train import evaluate as evaluate_module
from tierenv.train.cli import main
from tierenv.train.episodes import Episodes
from tierenv.train.journal import Journal, journal_of
from tierenv.train.recovery import Recovery
from tierenv.train.search import screening

WriteConfig = Callable[..., Path]


@pytest.fixture
def journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the journals, of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "tierenv" / "journals"


class Interrupting:
    """Stands for `run_episodes` until it is called for the last time."""

    def __init__(self, run: Callable[..., Any], calls: int) -> None:
        self.run, self.calls, self.made = run, calls, 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self.made == self.calls:
            raise KeyboardInterrupt
        self.made += 1
        return self.run(*arguments, **options)


@pytest.mark.parametrize(
    ("module", "command", "batches"),
    [
        (
            evaluate_module,
            ["evaluate", "--seeds", "2", *("--policy built-in --policy random --policy numab2".split())],
            4,
        ),
        (screening, "tune --sampler random --trials 9 --seeds 1".split(), 13),
    ],
)
def test_a_stopped_command_goes_on_and_says_so(
    module: Any,
    command: list[str],
    batches: int,
    scenario_path: Path,
    journals: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(screening, "MACHINES_AT_ONCE", 3)
    verb, *options = command
    one, other = (scenario_path.with_name(f"{name}.json") for name in ("one", "other"))
    assert main([verb, str(scenario_path), *options, "--json", str(one)]) == 0
    assert not list(journals.iterdir())

    run = module.run_episodes
    for stop in range(1, batches):
        monkeypatch.setattr(module, "run_episodes", Interrupting(run, 1))
        caplog.clear()
        assert main([verb, str(scenario_path), *options, "--json", str(other)]) == 130
        assert "the same command goes on from here" in caplog.text
        assert ("going on where the same command was stopped" in caplog.text) == (stop > 1)
        [journal] = journals.iterdir()
        assert len(journal.read_text().splitlines()) == stop
        with journal.open("ab") as file:
            file.write(b'{"key": "torn')
    counting = Interrupting(run, 99)
    monkeypatch.setattr(module, "run_episodes", counting)
    assert main([verb, str(scenario_path), *options, "--json", str(other)]) == 0
    assert counting.made == 1 and not list(journals.iterdir())
    first, second = (json.loads(path.read_text()) for path in (one, other))
    for content in (first, second):
        content.get("budget", {}).pop("wall_s", None)
    assert first == second


def test_another_command_begins_anew(scenario_path: Path, journals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = evaluate_module.run_episodes
    monkeypatch.setattr(evaluate_module, "run_episodes", Interrupting(run, 1))
    assert main(["evaluate", str(scenario_path), "--policy", "random", "--seeds", "2"]) == 130
    counting = Interrupting(run, 99)
    monkeypatch.setattr(evaluate_module, "run_episodes", counting)
    text = scenario_path.read_text()
    scenario_path.write_text(text.replace("accesses_per_page:", "accesses_per_page: 1.0 #", 1))
    assert scenario_path.read_text() != text
    assert main(["evaluate", str(scenario_path), "--policy", "random", "--seeds", "2"]) == 0
    assert counting.made == 2, "episodes of the scenario as it was were taken"


def test_what_failed_before_it_did_anything_leaves_nothing(scenario_path: Path, journals: Path) -> None:
    assert main(["evaluate", str(scenario_path), "--policy", "nonesuch"]) == 2
    assert not list(journals.iterdir())


@pytest.mark.parametrize("state", ["/proc/none", "relative"])
def test_without_a_place_nothing_is_kept(scenario_path: Path, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", state)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # of an account without a home
    assert main(["evaluate", str(scenario_path), "--policy", "random", "--seeds", "1"]) == 0


def test_the_same_command_twice_at_once_shares_no_journal(journals: Path) -> None:
    with journal_of("evaluate", 1), journal_of("evaluate", 1) as second:
        assert second.once([1], lambda: pytest.fail) is pytest.fail  # type: ignore[arg-type, return-value, comparison-overlap]
        assert second.num_kept == 0
    assert not list(journals.iterdir())


def test_a_link_in_the_place_of_a_journal_is_not_followed(journals: Path, tmp_path: Path) -> None:
    with journal_of("evaluate", 1):
        [path] = journals.iterdir()
    (tmp_path / "precious").write_text("x")
    path.symlink_to(tmp_path / "precious")
    with journal_of("evaluate", 1) as journal:
        assert journal.num_kept == 0
    assert (tmp_path / "precious").read_text() == "x"


def test_journals_of_a_month_ago_go(journals: Path) -> None:
    journals.mkdir(parents=True)
    for name, age in (("old.jsonl", 40 * 86400), ("new.jsonl", 20 * 86400)):
        (journals / name).write_text("")
        seconds = (journals / name).stat().st_mtime - age
        os.utime(journals / name, (seconds, seconds))
    with journal_of("evaluate", 1):
        pass
    assert [path.name for path in journals.iterdir()] == ["new.jsonl"]


def test_what_nobody_can_tell_is_not_kept(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+b") as file:
        journal = Journal(file)
        assert journal.once(None, lambda: np.float64(1)) == 1  # type: ignore[arg-type, return-value]
        assert journal.num_kept == 0


def one_episode(seconds: float = 1.0) -> Episodes:
    one = np.array([seconds])
    return Episodes(
        seconds=one,
        is_truncated=one == 0,
        reference_s=one,
        objective=one,
        objective_all_fast=one,
        process_seconds=one[:, None],
        process_accesses=one[:, None],
        process_alone_s=one[:, None],
        counts={"promoted_pages": np.array([3])},
        steps=np.array([5]),
        cpu_s={"scanner": one},
        recovery=Recovery(one, np.array([2]), np.array([1])),
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b"1.0", b"2.0", 1),
        lambda line: line.replace(b"[1.0]", b"[1.0, 1.0]", 1),
        lambda line: line.replace(b"{", b'{"a": ' + b"[" * 100_000, 1),
        lambda line: b"7\n",
        lambda line: b'{"key": 1}\n',
        lambda line: line[:-20] + b"\n",
    ],
)
def test_what_a_journal_does_not_hold_whole_is_run_anew(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "journal"
    with path.open("w+b") as file:
        Journal(file).once([1], one_episode)
    spoilt = change(path.read_bytes())
    assert spoilt != path.read_bytes()
    path.write_bytes(spoilt)
    with path.open("r+b") as file:
        journal = Journal(file)
        assert journal.num_kept == 0
        assert journal.once([1], lambda: one_episode(4.0)).seconds == [4.0]
    with path.open("r+b") as file:
        assert Journal(file).num_kept == 1


def test_a_full_disk_ends_the_journal_and_not_the_work(caplog: pytest.LogCaptureFixture) -> None:
    with Path("/dev/full").open("r+b", buffering=0) as file:
        journal = Journal()
        journal._file = file
        assert journal.once([1], one_episode).seconds == [1.0]
        assert journal.num_kept == 0 and "/dev/full: No space left on device; nothing more is kept" in caplog.text
        assert journal.once([1], one_episode).seconds == [1.0]
