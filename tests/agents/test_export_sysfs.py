"""The scripts of format sysfs run for real, on copies of the file trees of the kernels they are for."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.agents.script_trees import (
    APPLIED,
    DEMOTION,
    KNOBS,
    NOBODY,
    NUMA,
    NUMA_SCENARIO,
    OTHER_POLICY,
    asked_of,
    contents,
    make_script,
    make_tree,
    notes,
    run,
    settings,
    with_writes_by_tee,
    write_file,
)
from tests.tools import needs
from tierenv.agents.export import export_policy
from tierenv.agents.export.targets import TARGETS
from tierenv.tunables import TUNABLES


def knobs(folder: Path, target: str) -> dict[str, str]:
    return {name: (folder / name).read_text().strip() for name in KNOBS[target]}


def last_knob(target: str) -> str:
    """A knob without which no script of the target does anything."""
    return f"{NUMA}/scan_period_max_ms" if target == "numa-balancing" else list(KNOBS[target])[-1]


def open_to_all(folder: Path) -> int | None:
    """Let anybody write the tree; returns a user to be who may write no other file."""
    for path in folder.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o666)
    return NOBODY if os.geteuid() == 0 else None


def test_dry_run_is_the_default_and_changes_nothing(script: Path, folder: Path, target: str) -> None:
    before = contents(folder)
    result = run(script)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{folder}/{name}: {KNOBS[target][name]} -> {value} with --apply" for name, value in APPLIED[target].items()
    ]
    assert contents(folder) == before


def test_apply_then_restore_returns_to_the_start(script: Path, folder: Path, target: str) -> None:
    before = contents(folder)
    result = run(script, "--apply")
    assert (result.returncode, result.stderr) == (0, "")
    assert knobs(folder, target) == APPLIED[target]
    result = run(script, "--restore")
    assert (result.returncode, result.stderr) == (0, "")
    assert contents(folder) == before


def test_applying_and_restoring_twice_is_as_once(script: Path, folder: Path, target: str) -> None:
    run(script, "--apply")
    once = contents(folder)
    result = run(script, "--apply")
    assert (result.returncode, result.stdout.count("already")) == (0, len(KNOBS[target]))
    assert contents(folder) == once
    run(script, "--restore")
    result = run(script, "--restore")
    assert (result.returncode, result.stdout.count("nothing to restore")) == (0, len(KNOBS[target]))
    assert knobs(folder, target) == KNOBS[target]


def test_second_script_keeps_the_first_original(script: Path, folder: Path, target: str) -> None:
    other = make_script(folder, target, OTHER_POLICY, "other.sh")
    run(script, "--apply")
    assert run(other, "--apply").returncode == 0
    assert knobs(folder, target) != APPLIED[target]
    run(other, "--restore")
    assert knobs(folder, target) == KNOBS[target]


def test_restore_leaves_what_somebody_else_wrote_and_says_what_was_there(
    script: Path, folder: Path, target: str
) -> None:
    last = last_knob(target)
    run(script, "--apply")
    (folder / last).write_text("3000\n")
    result = run(script, "--restore")
    assert result.returncode == 0
    line = f"{folder}/{last} was changed to 3000 by somebody else; left as it is, it held {KNOBS[target][last]} before"
    assert result.stdout.splitlines().count(line) == 1
    assert knobs(folder, target) == KNOBS[target] | {last: "3000"}
    assert notes(folder) == []


def test_restore_does_what_it_can_and_keeps_the_rest(script: Path, folder: Path, target: str) -> None:
    last = folder / last_knob(target)
    run(script, "--apply")
    last.rename(folder / "elsewhere")
    result = run(script, "--restore")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert f"{last} cannot be read and put back to {KNOBS[target][last_knob(target)]}" in result.stderr
    assert "its note stays, call --restore again" in result.stderr
    (folder / "elsewhere").rename(last)
    others = knobs(folder, target).items() - {(last_knob(target), APPLIED[target][last_knob(target)])}
    assert others <= KNOBS[target].items()
    assert run(script, "--restore").returncode == 0
    assert knobs(folder, target) == KNOBS[target]


def test_restore_keeps_the_note_of_what_it_may_not_write(script: Path, folder: Path, target: str) -> None:
    user = open_to_all(folder)
    run(script, "--apply", user=user)
    last = folder / last_knob(target)
    last.chmod(0o444)
    result = run(script, "--restore", user=user)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert f"{last} cannot be put back" in result.stderr and "Permission denied" in result.stderr
    last.chmod(0o666)
    assert run(script, "--restore", user=user).returncode == 0
    assert knobs(folder, target) == KNOBS[target]


def test_missing_file_is_reported_before_anything_is_written(script: Path, folder: Path, target: str) -> None:
    last = folder / last_knob(target)
    last.unlink()
    before = contents(folder)
    result = run(script, "--apply")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert f"{last} is missing: this kernel has no" in result.stderr and "nothing was changed" in result.stderr
    assert contents(folder) == before


def test_a_kernel_without_scan_delay_takes_the_rest(folder: Path) -> None:
    make_tree(folder, "numa-balancing")
    script = make_script(folder, "numa-balancing")
    (folder / NUMA / "scan_delay_ms").unlink()
    result = run(script, "--apply")
    assert (result.returncode, result.stderr) == (0, "")
    assert f"warning: {folder / NUMA}/scan_delay_ms is missing: left out\n" in result.stdout
    assert (folder / NUMA / "scan_period_max_ms").read_text() == "16000\n"
    assert run(script, "--restore").returncode == 0
    assert (folder / NUMA / "scan_period_max_ms").read_text() == "60000\n"


@pytest.mark.parametrize("content", ["", "abc\n", "-5\n", "99\n100\n"])
def test_file_that_holds_no_number_is_refused(script: Path, folder: Path, target: str, content: str) -> None:
    (folder / last_knob(target)).write_text(content)
    before = contents(folder)
    result = run(script, "--apply")
    assert (result.returncode, "not a number" in result.stderr) == (1, True)
    assert contents(folder) == before


def test_read_only_file_is_reported_before_anything_is_written(script: Path, folder: Path, target: str) -> None:
    user = open_to_all(folder)
    last = folder / last_knob(target)
    last.chmod(0o444)
    before = contents(folder)
    result = run(script, "--apply", user=user)
    assert (result.returncode, result.stderr) == (
        1,
        f"setting.sh: cannot write {last} (are you root?); nothing was changed\n",
    )
    assert contents(folder) == before


def break_writes(script: Path, path: Path) -> Path:
    """A copy of a script for which the kernel does not take what is written to one file."""
    copy = script.with_name("broken.sh")
    refusal = f'if [ "$1" = "{path}" ]; then echo "tee: $1: Invalid argument" >&2; return 1; fi'
    copy.write_text(f'tee() {{ {refusal}; command tee "$@"; }}\n{with_writes_by_tee(script)}')
    return copy


def test_failed_second_setting_leaves_the_first_one_in_force(script: Path, folder: Path, target: str) -> None:
    last = folder / last_knob(target)
    other = make_script(folder, target, OTHER_POLICY, "other.sh")
    broken = break_writes(other, last)
    run(script, "--apply")
    before = contents(folder)
    result = run(broken, "--apply")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert f"cannot set {last} to " in result.stderr
    assert result.stderr.endswith(": Invalid argument; everything was put back\n")
    assert contents(folder) == before
    assert run(script, "--restore").returncode == 0
    assert knobs(folder, target) == KNOBS[target]


def test_value_the_kernel_clamps_is_put_back(script: Path, folder: Path, target: str) -> None:
    # a file that never reads 1000 or 16000, whatever is written: the kernel's answer to a value it does not take
    clamping = script.with_name("clamping.sh")
    clamping.write_text(script.read_text().replace('$(cat "$1")', '$(sed "s/^1000$/500/;s/^16000$/500/" "$1")'))
    before = contents(folder)
    result = run(clamping, "--apply")
    assert result.returncode == 1
    assert "the kernel took 500 instead" in result.stderr and "everything was put back" in result.stderr
    assert contents(folder) == before


@pytest.mark.parametrize("arguments", [["--aply"], ["--apply", "now"], ["--apply", "--with-demotion"], ["-h"]])
def test_bad_usage_changes_nothing(script: Path, folder: Path, arguments: list[str]) -> None:
    before = contents(folder)
    result = run(script, *arguments)
    assert result.returncode == 2
    assert result.stderr == "usage: setting.sh [--check | --apply | --restore]\n"
    assert contents(folder) == before


def test_later_series_are_found_under_their_name_and_put_back_when_they_are_gone(folder: Path) -> None:
    make_tree(folder, "kmmscand")
    kscand = (folder / "sys/kernel/mm/kmmscand").rename(folder / "sys/kernel/mm/kscand")
    script = make_script(folder, "kmmscand")
    assert run(script, "--apply").returncode == 0
    assert (kscand / "mm_scan_period_ms").read_text() == "1000\n"
    kscand.rename(folder / "elsewhere")
    assert run(script, "--restore").returncode == 1
    (folder / "elsewhere").rename(kscand)
    assert run(script, "--restore").returncode == 0
    assert (kscand / "mm_scan_period_ms").read_text() == "2500\n"


def test_demotion_is_switched_on_when_asked_for_and_put_back(any_target: str, folder: Path) -> None:
    script = make_script(folder, any_target)
    demoting = make_script(folder, any_target, name="demoting.sh", with_demotion=True)
    write_file(folder / DEMOTION, "false")
    before = settings(folder, any_target)
    run(script, "--apply")
    assert (folder / DEMOTION).read_text() == "false\n"
    assert run(demoting).stdout.splitlines()[0] == f"{folder / DEMOTION}: false -> true with --apply"
    assert run(demoting, "--apply").returncode == 0
    assert (folder / DEMOTION).read_text() == "true\n"
    other = make_script(folder, any_target, OTHER_POLICY, "other.sh")
    assert run(other, "--restore").returncode == 0
    assert settings(folder, any_target) == before
    assert notes(folder) == []


def test_without_flock_nothing_is_changed(any_target: str, folder: Path) -> None:
    script = make_script(folder, any_target)
    programs = folder.parent / "bin"
    programs.mkdir()
    for name in ("cat", "grep", "id", "mkdir", "sed", "sort", "tail", "tr", "wc"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    before = contents(folder)
    result = subprocess.run(
        ["/bin/sh", script, "--apply"],
        env={"PATH": str(programs), "TIERENV_ROOT": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr == "setting.sh: flock is missing, install util-linux; nothing was changed\n"
    assert (result.returncode, contents(folder)) == (1, before)


@pytest.mark.parametrize(
    "shell",
    [pytest.param(shell, marks=needs(shell[0])) for shell in (["dash"], ["busybox", "sh"], ["bash", "--posix"])],
    ids=" ".join,
)
def test_any_posix_shell_runs_it(any_target: str, folder: Path, shell: list[str]) -> None:
    script = make_script(folder, any_target, with_demotion=True)
    before = settings(folder, any_target)
    for arguments in ([], ["--check"], ["--apply"], ["--restore"]):
        result = subprocess.run(
            [*shell, script, *arguments],
            env={"PATH": os.environ["PATH"], "TIERENV_ROOT": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (result.returncode, result.stderr) == (0, "")
    assert settings(folder, any_target) == before


@pytest.mark.parametrize("target", TARGETS)
def test_script_says_what_it_is_and_what_becomes_of_each_tunable(folder: Path, target: str) -> None:
    header = make_script(folder, target).read_text().split("set -eu")[0]
    scenario, policy = asked_of(target)
    for words in (policy, "skewed", "16GiB", "modelled, not measured on your machine", "not evaluated for this target"):
        assert words in header
    assert all(line.startswith("#") for line in header.splitlines())
    said = ("16000:", "1GiB:", "256MiB/s:", "100:") if scenario is NUMA_SCENARIO else ("1000:", "1GiB:", "256MiB/s:")
    for name, value in zip(scenario.daemon.tunables, said, strict=True):
        name = TUNABLES[name].symbol
        assert any(line.split()[1:3] == [name, value] for line in header.splitlines() if len(line.split()) > 2)
    assert header.count("NOT applied") == (2 if target == "kmmscand" else 0)
    assert os.access(folder / "setting.sh", os.X_OK)


@pytest.mark.parametrize("target", TARGETS)
@needs("shellcheck")
def test_script_is_clean(folder: Path, target: str) -> None:
    result = subprocess.run(
        ["shellcheck", "--shell=sh", make_script(folder, target)], capture_output=True, text=True, timeout=60
    )
    assert result.stdout == ""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["x\ntouch evil #", "@EACH@", "$(touch evil)"])
def test_names_stay_in_the_comment(folder: Path, target: str, name: str) -> None:
    scenario, policy = asked_of(target)
    scenario = scenario.model_copy(update={"name": name})
    export_policy(policy, "sysfs", folder / "a.sh", scenario, target=target)
    assert all(line.startswith("#") for line in (folder / "a.sh").read_text().split("set -eu")[0].splitlines())


@pytest.mark.parametrize("note", ["", "x; touch TAKEN", "1 2", "$(touch TAKEN)"])
def test_a_note_that_is_no_value_is_not_written_back(folder: Path, note: str) -> None:
    make_tree(folder, "numa-balancing")
    script = make_script(folder, "numa-balancing")
    run(script, "--apply")
    write_file(folder / "run/tierenv/original" / f"{NUMA}/scan_size_mb", note)
    result = run(script, "--restore")
    assert result.returncode == 1
    assert f"scan_size_mb holds '{note}'; its note stays" in result.stderr
    assert (folder / NUMA / "scan_size_mb").read_text() == "1024\n"
    assert (folder / "run/tierenv/original" / NUMA / "scan_size_mb").exists()
    assert not list(folder.rglob("TAKEN"))
