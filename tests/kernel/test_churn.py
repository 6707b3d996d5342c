"""The memory checker of the guests, on this machine: nothing moves its pages here, so that all errors are made."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.build import benchmark

DISTURBANCES = ("fork", "map", "discard", "protect", "move", "huge", "swap", "lock")
CHECKED = ("check", "fork", "map", "discard", "protect", "move", "huge")
"""What compares memory with what was written to it: the checkers' visits, and most of the disturbances."""
ROUNDS = 3


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return benchmark(tmp_path_factory.mktemp("churn"), "churn")


def run_churn(churn: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [churn, "-s", "4", "-n", "-1", "-r", str(ROUNDS), "-p", "1", *options]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def end_of(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    start, end = (json.loads(line) for line in result.stdout.splitlines())
    assert (start["event"], end["event"]) == ("start", "end")
    return dict(end)


@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_memory_is_as_written_under(churn: Path, disturbance: str) -> None:
    result = run_churn(churn, disturbance)
    end = end_of(result)
    assert (result.returncode, result.stderr, end["errors"]) == (0, "", 0)
    assert end["checks"] > 0
    assert end["disturbances"].keys() == {"back", disturbance}
    assert all(counts["rounds"] >= ROUNDS for counts in end["disturbances"].values())


@pytest.mark.parametrize("spoiled", CHECKED)
def test_one_wrong_bit_is_found_by(churn: Path, spoiled: str) -> None:
    result = run_churn(churn, "-x", spoiled, *DISTURBANCES)
    assert result.returncode == 1
    assert end_of(result)["errors"] > 0
    places = ["check", "fork", "protect", "end"] if spoiled in ("check", "protect") else [spoiled]
    assert any(f"churn: {place}: " in result.stderr for place in places)


@pytest.mark.parametrize("words", [["-s", "0"], ["-s", "3"], ["-t", "9"], ["-q"], ["sleep"]])
def test_words_that_mean_nothing_are_refused(churn: Path, words: list[str]) -> None:
    result = run_churn(churn, *words)
    assert result.returncode == 2 and "usage: churn" in result.stderr
