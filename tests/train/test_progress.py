"""What a long command says while it works."""

import io
import logging

import pytest
from rich.console import Console

from tierenv.train import progress


def test_lines_tell_count_and_time_left_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.shown_progress("evaluating", Console(file=io.StringIO())) as report:
        for done in range(4, 60):
            report(done, 100, "built-in")
            now[0] += 4
    lines = [record.getMessage() for record in caplog.records]
    # four parts were done before; each takes 4 s
    assert lines[:2] == [
        "evaluating: 8 of 100, 0:06:08 left: built-in",
        "evaluating: 12 of 100, 0:05:52 left: built-in",
    ]
    assert len(lines) == 13


def test_nothing_is_said_of_what_is_short(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with progress.shown_progress("evaluating", Console(file=io.StringIO())) as report:
        report(0, 1, "built-in")
    assert not caplog.records


def test_a_terminal_shows_a_bar_with_count_and_time_left() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    with progress.shown_progress("evaluating", console) as report:
        report(3, 12, "skewed: built-in")
    for word in ("evaluating", "3/12", "-:--:--", "skewed: built-in"):
        assert word in screen.getvalue()
