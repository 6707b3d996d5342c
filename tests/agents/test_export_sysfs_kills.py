"""Scripts killed at every change they make and at any moment, and several at once: no original is ever lost."""

import itertools
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.agents.script_trees import (
    DEMOTION,
    KNOBS,
    OTHER_POLICY,
    contents,
    make_script,
    make_tree,
    notes,
    run,
    run_killed,
    settings,
    start,
    write_file,
)

APPLY = ("--apply",)
TARGETS = [*KNOBS, "damon"]
SITUATIONS: dict[str, tuple[bool, Sequence[str]]] = {
    "first apply": (False, APPLY),
    "second apply over the first": (True, APPLY),
    "restore": (True, ("--restore",)),
}
"""Whether another setting is in force before, and the call that is killed."""


@pytest.fixture
def scripts(folder: Path, request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """Two settings for the target of the test; demotion is off."""
    target = request.getfixturevalue("killed_target")
    make_tree(folder, target)
    write_file(folder / DEMOTION, "false")
    return (
        make_script(folder, target, with_demotion=True),
        make_script(folder, target, OTHER_POLICY, "other.sh", with_demotion=True),
    )


def assert_restores(script: Path, folder: Path, target: str, before: dict[str, str]) -> None:
    result = run(script, "--restore")
    assert (result.returncode, result.stderr, "somebody else" in result.stdout) == (0, "", False)
    assert settings(folder, target) == before
    assert notes(folder) == []


def assert_goes_on(script: Path, folder: Path, target: str, before: dict[str, str]) -> None:
    result = run(script, *APPLY)
    assert (result.returncode, result.stderr) == (0, "")
    assert_restores(script, folder, target, before)


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("killed_target", TARGETS)
def test_killed_at_any_of_its_changes(
    folder: Path, killed_target: str, scripts: tuple[Path, Path], situation: str
) -> None:
    before = settings(folder, killed_target)
    has_first, arguments = SITUATIONS[situation]
    for number in itertools.count(1):
        if has_first:
            run(scripts[0], *APPLY)
        if not run_killed(scripts[1], number, *arguments):
            assert number > 4
            return
        check = assert_goes_on if number % 3 == 0 else assert_restores
        check(scripts[number % 2], folder, killed_target, before)


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("killed_target", TARGETS)
def test_killed_at_any_moment(folder: Path, killed_target: str, scripts: tuple[Path, Path], situation: str) -> None:
    moments = random.Random(7)
    before = settings(folder, killed_target)
    has_first, arguments = SITUATIONS[situation]
    started = time.perf_counter()
    run(scripts[0], *APPLY)
    duration_s = time.perf_counter() - started
    run(scripts[0], "--restore")
    for _ in range(5):
        if has_first:
            run(scripts[0], *APPLY)
        with start(scripts[1], *arguments) as process:
            time.sleep(moments.uniform(0, duration_s))
            process.send_signal(signal.SIGKILL)
        check = moments.choice((assert_restores, assert_goes_on))
        check(moments.choice(scripts), folder, killed_target, before)


@pytest.mark.parametrize("killed_target", TARGETS)
def test_applied_at_once_one_after_the_other_is_in_force(
    folder: Path, killed_target: str, scripts: tuple[Path, Path]
) -> None:
    before = settings(folder, killed_target)
    alone = []
    for script in scripts:
        run(script, *APPLY)
        alone.append(contents(folder))
        run(script, "--restore")
    for _ in range(10):
        processes = [start(script, *APPLY) for script in scripts]
        assert [process.communicate()[1] for process in processes] == ["", ""]
        assert [process.returncode for process in processes] == [0, 0]
        assert contents(folder) in alone
        assert_restores(scripts[1], folder, killed_target, before)


@pytest.mark.parametrize("killed_target", TARGETS)
def test_a_call_beside_one_that_does_not_end_is_refused(
    folder: Path, killed_target: str, scripts: tuple[Path, Path]
) -> None:
    waiting = folder / "waiting.sh"
    waiting.write_text(
        scripts[0].read_text().replace("\napply_all() {\n", "\napply_all() {\n    echo ready\n    read -r _\n")
    )
    hasty = folder / "hasty.sh"
    hasty.write_text(scripts[1].read_text().replace("flock -w 10", "flock -w 1"))
    with start(waiting, *APPLY) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        before = contents(folder)
        for arguments in (("--apply",), ("--restore",)):
            result = run(hasty, *arguments)
            assert (result.returncode, result.stdout) == (1, "")
            assert result.stderr == (f"hasty.sh: another call has locked {folder}/run/tierenv; nothing was changed\n")
        assert contents(folder) == before
        process.kill()
