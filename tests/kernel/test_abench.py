"""The benchmark of the guests, on this machine."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.build import benchmark

THREADS, MIB, PAGES, ITERATIONS = 3, 2, 512, 4


@pytest.fixture(scope="module")
def abench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return benchmark(tmp_path_factory.mktemp("abench"))


def lines_of(abench: Path, *options: object) -> list[dict[str, Any]]:
    command = [abench, "-s", MIB, "-t", THREADS, "-n", -1, "-i", ITERATIONS, *options]
    result = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, timeout=60)
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("pattern", ["uniform", "zipf", "moving"])
def test_every_thread_accesses_as_many_pages_as_there_are_in_each_iteration(abench: Path, pattern: str) -> None:
    first, *_, last = lines_of(abench, "-m", pattern)
    assert (first["event"], last["event"], last["threads"], last["pages"]) == ("start", "end", THREADS, PAGES)
    assert last["accesses"] == THREADS * ITERATIONS * PAGES


def test_threads_pause_between_iterations_or_more_often(abench: Path) -> None:
    pause_us, burst = 2000, 128
    seconds = [lines_of(abench, "-d", pause_us, *often)[-1]["elapsed_s"] for often in ((), ("-b", burst))]
    assert seconds[0] >= ITERATIONS * pause_us * 1e-6
    assert seconds[1] >= ITERATIONS * PAGES / burst * pause_us * 1e-6


@pytest.mark.parametrize("words", [["-m", "linear"], ["-s", "0"], ["-t", "65"], ["-q"], ["1"]])
def test_words_that_mean_nothing_are_refused(abench: Path, words: list[str]) -> None:
    result = subprocess.run([abench, "-s", "1", *words], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2 and "usage: abench" in result.stderr
