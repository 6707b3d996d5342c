"""What make and CI promise: nothing is left out, no test is skipped in CI for a program that is missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

SKIPPED_WITHOUT_A_TOOL = """
from tests.tools import needs, unusable

@needs("no-such-program")
def test_marked():
    raise FileNotFoundError

def test_that_finds_out_on_the_way():
    unusable("no-such-program does not run")
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The folder of the scripts alone, with nothing fetched into it."""
    shutil.copytree(ROOT / ".ci", tmp_path / "checkout/.ci")
    return tmp_path / "checkout"


def test_missing_programs_fail_the_build_by_name(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("bash", "dirname"):
        (tmp_path / "bin" / program).symlink_to(str(shutil.which(program)))
    result = subprocess.run(
        [checkout / ".ci/fetch-tools"], env={"PATH": str(tmp_path / "bin")}, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    for program in ("gcc", "qemu-system-x86_64", "shellcheck", "systemd-tmpfiles", "tuned"):
        assert f"fetch-tools: {program} is missing" in result.stderr


@pytest.mark.parametrize(("environment", "outcome"), [({}, "2 skipped"), ({"TIERENV_TOOLS": "required"}, "2 failed")])
def test_a_missing_program_skips_tests_except_in_ci(tmp_path: Path, environment: dict[str, str], outcome: str) -> None:
    (tmp_path / "test_with_tool.py").write_text(SKIPPED_WITHOUT_A_TOOL)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--rootdir", tmp_path, "-c", os.devnull, tmp_path],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key != "TIERENV_TOOLS"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert outcome in result.stdout


def test_ci_refuses_such_skips() -> None:
    script = (ROOT / ".ci/run").read_text()
    fetched, required = script.index(".ci/fetch-tools"), script.index("TIERENV_TOOLS=required")
    assert fetched < required < script.index("make check") < script.index("make kernel-test")


@pytest.mark.parametrize(
    ("environment", "outcome", "reason"),
    [
        ({}, 1, "qemu-system-x86_64 is missing: run .ci/fetch-tools"),
        ({"TIERENV_KERNEL": "skip"}, 0, "TIERENV_KERNEL=skip"),
        ({"TIERENV_KERNEL": "skip", "TIERENV_TOOLS": "required"}, 1, "qemu-system-x86_64 is missing"),
    ],
)
def test_kernels_that_cannot_boot_fail_unless_they_are_to_be_left_out(
    tmp_path: Path, environment: dict[str, str], outcome: int, reason: str
) -> None:
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("TIERENV_", "PYTEST_"))}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/kernel/test_one_tier.py"],
        cwd=ROOT,
        env=ours | {"PATH": str(tmp_path)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == outcome
    assert reason in result.stdout


def test_kernels_boot_only_when_asked_for() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider"]
    listing = [
        subprocess.run([*command, *folder], cwd=ROOT, check=True, capture_output=True, text=True, timeout=120).stdout
        for folder in ((), ("tests/kernel",))
    ]
    assert ["tests/kernel/test_one_tier.py" in text for text in listing] == [False, True]


def test_every_target_for_people_is_in_the_help() -> None:
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    listing = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout
    targets = text.split(".PHONY:")[1].splitlines()[0].split()
    assert [target for target in targets if f"make {target} " not in listing] == []
