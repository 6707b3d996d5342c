"""The command line on streams that are closed, unread, full, or of an encoding without our characters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIERENV = f"'{sys.executable}' -m tierenv.train"

ASCII = {"PYTHONIOENCODING": "ascii"}
ENCODINGS = [ASCII, {"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
EXPORT = "export static:2000,1024,inf --scenario skewed --format sysfs --output apply.sh"


def shell(script: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a script of bash, which fails where one of a pipe's programs does."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    command = ["bash", "-o", "pipefail", "-c", script]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, timeout=300)


@pytest.mark.parametrize("variables", ENCODINGS, ids=lambda variables: next(iter(variables.values())))
@pytest.mark.parametrize("arguments", ["--help", "export --help", "list policies tunables formats", "fly", EXPORT])
def test_a_terminal_of_few_characters_gets_others(arguments: str, variables: dict[str, str], tmp_path: Path) -> None:
    result = shell(f"{TIERENV} {arguments}", tmp_path, **variables)
    assert result.returncode == (2 if arguments == "fly" else 0), result.stderr
    output = (result.stdout + result.stderr).decode("latin-1" if "latin-1" in variables.values() else "ascii")
    assert output and "Traceback" not in output and "\\u" not in output


@pytest.mark.parametrize("arguments", ["--help", "list policies", EXPORT])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_done_without(arguments: str, closed: str, tmp_path: Path) -> None:
    result = shell(f"{TIERENV} {arguments} {closed}", tmp_path)
    assert (result.returncode, result.stderr) == (0, b"")
    assert (result.stdout == b"") == (">&-" in closed.split())
    if arguments == EXPORT:
        assert (tmp_path / "apply.sh").read_text().startswith("#!/bin/sh\n"), "nothing printed into the file"


@pytest.mark.parametrize("arguments", ["--help", "list policies", EXPORT, "list nothing 2>&3"])
def test_whoever_stops_reading_hears_nothing_more(arguments: str, tmp_path: Path) -> None:
    result = shell(f"exec 3> >(exec true); wait $!; {TIERENV} {arguments} >&3", tmp_path)
    assert result.stderr == b""
    assert result.returncode == (2 if "nothing" in arguments else 141)
    assert (tmp_path / "apply.sh").exists() == (arguments == EXPORT), "files are written all the same"


@pytest.mark.parametrize("arguments", ["--help", "list policies"])
def test_a_full_disk_is_one_line(arguments: str, tmp_path: Path) -> None:
    result = shell(f"{TIERENV} {arguments} > /dev/full", tmp_path)
    assert result.returncode == 1
    assert result.stderr.count(b"\n") == 1 and b"No space left on device" in result.stderr


def test_nothing_is_said_of_an_error_stream_that_takes_nothing(tmp_path: Path) -> None:
    assert shell(f"{TIERENV} list nothing 2> /dev/full", tmp_path).returncode == 2
