"""What stands in the way of a script and how it says so: the file, what it holds, what that means and what to do."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agents.script_trees import (
    DAMON,
    DEMOTION,
    KMMSCAND,
    KNOBS,
    NOBODY,
    NODES,
    NUMA,
    TIERS,
    contents,
    make_node,
    make_script,
    make_tree,
    run,
    with_writes_by_tee,
    write_file,
)

SYSCTL = "proc/sys/kernel/numa_balancing"
DEBUGFS = "sys/kernel/debug"
LOCKDOWN = "sys/kernel/security/lockdown"


def write(name: str, content: object) -> Callable[[Path], None]:
    return lambda folder: write_file(folder / name, content)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def unmount_debugfs(folder: Path) -> None:
    shutil.rmtree(folder / DEBUGFS)
    (folder / DEBUGFS).mkdir()


def make_node_1_without_blocks(folder: Path) -> None:
    shutil.rmtree(folder / NODES / "node1")
    make_node(folder, 1, "", ())


REFUSALS = [
    ("numa-balancing", write(LOCKDOWN, "none [integrity] confidentiality"), {}, LOCKDOWN, "Secure Boot"),
    ("numa-balancing", write(LOCKDOWN, "none integrity [confidentiality]"), {}, LOCKDOWN, "lockdown"),
    ("numa-balancing", unmount_debugfs, {}, DEBUGFS, "is empty: debugfs is not mounted; mount -t debugfs none"),
    ("numa-balancing", remove(DEBUGFS), {}, DEBUGFS, "is missing: this kernel has no debugfs (CONFIG_DEBUG_FS)"),
    ("numa-balancing", remove(NUMA), {}, NUMA, "is missing: this kernel has no NUMA balancing"),
    ("numa-balancing", write(f"{TIERS}/memory_tier22/nodelist", ""), {}, TIERS, "is '0': all memory is in one tier"),
    ("kmmscand", remove(f"{TIERS}/memory_tier22"), {}, TIERS, "so nothing would be promoted; slow memory gets a tier"),
    ("kmmscand", remove(KMMSCAND), {}, KMMSCAND, "is missing: this kernel has no kmmscand"),
    ("damon", remove(DAMON), {}, f"{DAMON}/nr_kdamonds", "this kernel has no DAMON sysfs interface"),
    ("damon", write(f"{DAMON}/nr_kdamonds", 1), {}, f"{DAMON}/nr_kdamonds", "DAMON is in use by somebody else"),
    *[
        (
            "damon",
            write(f"sys/module/{module}/parameters/enabled", "Y"),
            {},
            f"sys/module/{module}/parameters/enabled",
            f"is Y: DAMON is held by {module.upper()}; echo N > ",
        )
        for module in ("damon_stat", "damon_reclaim", "damon_lru_sort")
    ],
    ("damon", remove("sys/devices/system/memory"), {}, "block_size_bytes", "CONFIG_MEMORY_HOTPLUG=y"),
    ("damon", write("sys/devices/system/memory/block_size_bytes", "x"), {}, "block_size_bytes", "holds 'x', not a"),
    *[
        (
            "damon",
            write("sys/devices/system/memory/block_size_bytes", size),
            {},
            "block_size_bytes",
            "no size of a memory",
        )
        for size in ("0", "f" * 16, "f" * 19)
    ],
    ("damon", write("etc/x", ""), {"TIERENV_SLOW_NODE": "9" * 20}, "the slow one", "set TIERENV_SLOW_NODE"),
    *[
        (target, write(DEMOTION, value), {}, DEMOTION, f"holds '{value}', neither true nor false")
        for target, value in (("damon", "false extra"), ("numa-balancing", "[false] true"), ("kmmscand", "0"))
    ],
    ("damon", write("etc/x", ""), {"TIERENV_SLOW_NODE": "0"}, "node 0", "the fast node and the slow one"),
    (
        "damon",
        write("etc/x", ""),
        {"TIERENV_FAST_NODE": "1", "TIERENV_SLOW_NODE": "0"},
        f"{NODES}/node1/cpulist",
        "look reversed; set TIERENV_FAST_NODE=0 TIERENV_SLOW_NODE=1",
    ),
    ("damon", write("etc/x", ""), {"TIERENV_SLOW_NODE": "7"}, f"{NODES}/node7", "is missing: there is no node 7"),
    ("damon", write("etc/x", ""), {"TIERENV_FAST_NODE": "a b"}, "the fast one", "set TIERENV_FAST_NODE (with CPUs: 0)"),
    (
        "damon",
        make_node_1_without_blocks,
        {"TIERENV_SLOW_NODE": "1"},
        f"{NODES}/node1",
        "has no memory blocks, so node 1 cannot be the slow one",
    ),
    ("damon", make_node_1_without_blocks, {}, "the slow one", "set TIERENV_SLOW_NODE (without CPUs: none)"),
]


@pytest.mark.parametrize(("target", "prepare", "environment", "name", "words"), REFUSALS)
def test_what_forbids_a_setting_is_said_in_one_line_and_nothing_is_changed(
    folder: Path, target: str, prepare: Callable[[Path], None], environment: dict[str, str], name: str, words: str
) -> None:
    make_tree(folder, target)
    script = make_script(folder, target)
    prepare(folder)
    before = contents(folder)
    for arguments in ([], ["--check"], ["--apply"]):
        result = run(script, *arguments, **environment)
        assert (result.returncode, result.stderr.count("\n")) == (1, 1)
        assert name in result.stderr and words in result.stderr
        assert result.stderr.endswith("; nothing was changed\n")
        assert "nothing forbids" not in result.stdout
    assert result.stdout == ""
    assert contents(folder) == before


def test_debugfs_that_only_root_may_search_is_no_missing_numa_balancing(folder: Path) -> None:
    make_tree(folder, "numa-balancing")
    (folder / DEBUGFS).chmod(0o700 if os.geteuid() == 0 else 0)
    result = run(make_script(folder, "numa-balancing"), "--check", user=NOBODY if os.geteuid() == 0 else None)
    (folder / DEBUGFS).chmod(0o700)
    assert result.stderr.splitlines() == [
        f"setting.sh: {folder / DEBUGFS} cannot be searched (are you root?); nothing was changed"
    ]


def test_an_ordinary_user_is_asked_about_root_once_and_sees_what_would_change(folder: Path) -> None:
    make_tree(folder, "numa-balancing")
    script = make_script(folder, "numa-balancing")
    for name in contents(folder):
        (folder / name).chmod(0o444)
    result = run(script, user=NOBODY if os.geteuid() == 0 else None)
    assert result.stderr == f"setting.sh: cannot write {folder / SYSCTL} (are you root?); nothing was changed\n"
    assert (result.returncode, result.stdout.count(" with --apply\n")) == (1, len(KNOBS["numa-balancing"]))


REASONS = ["Device or resource busy", "Invalid argument", "Operation not permitted"]


@pytest.mark.skipif(os.geteuid() != 0, reason="what root is told")
@pytest.mark.parametrize("reason", REASONS)
def test_root_is_told_the_kernels_reason_and_not_asked_who_it_is(folder: Path, any_target: str, reason: str) -> None:
    script = make_script(folder, any_target)
    script.write_text(f'tee() {{ echo "tee: $1: {reason}" >&2; return 1; }}\n' + with_writes_by_tee(script))
    before = contents(folder)
    result = run(script, "--apply")
    assert result.returncode == 1
    assert reason in result.stderr and "root" not in result.stderr
    assert {name: text for name, text in contents(folder).items() if "run/" not in name} == before


def test_a_machine_that_is_in_order_passes(folder: Path, any_target: str) -> None:
    script = make_script(folder, any_target)
    before = contents(folder)
    result = run(script, "--check")
    assert (result.returncode, result.stdout, result.stderr) == (0, "nothing forbids --apply\n", "")
    assert contents(folder) == before
    run(script, "--apply")
    assert run(script, "--check").returncode == 0


def sysctl_line(name: str, line: str) -> Callable[[Path], None]:
    return write(name, f"# a comment\nvm.swappiness = 10\n{line}")


WARNINGS = [
    (write(DEMOTION, "false"), DEMOTION, "is false: promotion stops once the fast node is full"),
    (remove(TIERS), TIERS, "is missing: this kernel does not tell whether it has two memory tiers"),
    (sysctl_line("etc/sysctl.conf", "kernel.numa_balancing = 0"), "etc/sysctl.conf", f"has 0 for /{SYSCTL}, not 2"),
    (sysctl_line("etc/sysctl.d/99-sysctl.conf", "kernel/numa_balancing=0"), "99-sysctl.conf", "change that line"),
    (sysctl_line("run/sysctl.d/a.conf", "-kernel.numa_balancing =1"), "a.conf", "has 1 for"),
    (
        sysctl_line("usr/lib/sysctl.d/b.conf", "kernel.numa_balancing_promote_rate_limit_MBps=9"),
        "b.conf",
        f"has 9 for /{SYSCTL}_promote_rate_limit_MBps, not 256: whatever loads it (sysctl --system, TuneD's",
    ),
    *[
        (sysctl_line("etc/sysctl.d/a.conf", line), "a.conf", f"has 0 for /{SYSCTL}, not 2: whatever loads it")
        for line in (
            "kernel.numa_balancin? = 0",
            "-kernel/numa_[ab]alancing=0",
            "k*.numa_balancing =  0",
            "kernel.numa_balancin?=2\nkernel.numa_balancin?=0",
            "\t*/numa_balancing = 0  ",
        )
    ],
    (write("etc/tuned/active_profile", "balanced"), "active_profile", "sysctl.d again (reapply_sysctl = 1)"),
    (write("proc/4711/comm", "numad"), "numad", "places processes and memory on nodes by itself; stop it"),
]


@pytest.mark.parametrize(("prepare", "name", "words"), WARNINGS)
def test_what_spoils_a_setting_is_warned_of_in_one_line(
    folder: Path, prepare: Callable[[Path], None], name: str, words: str
) -> None:
    make_tree(folder, "numa-balancing")
    script = make_script(folder, "numa-balancing")
    prepare(folder)
    for arguments in ([], ["--check"], ["--apply"]):
        result = run(script, *arguments)
        assert (result.returncode, result.stderr) == (0, "")
        [line] = [line for line in result.stdout.splitlines() if line.startswith("warning: ")]
        assert name in line and words in line


@pytest.mark.parametrize(
    "line",
    [
        "#kernel.numa_balancing = 0",
        "; kernel.numa_balancing = 0",
        "kernel.numa_balancing = 2",
        "kernel.numa_balancing_other = 0",
        "",
        "kernel.numa_balancin? = 2",
        "kernel.numa = 0",
        "kernel.*.numa_balancing = 0",
        "* = 0",
        "kernel.numa_balancin? = 0\nkernel.numa_balancing = 2",  # what is named wins, wherever it stands
        "kernel.numa_balancin? = 0\n-kernel.numa_balancing",  # and may be left out
    ],
)
def test_sysctl_files_that_agree_are_not_spoken_of(folder: Path, line: str) -> None:
    make_tree(folder, "numa-balancing")
    write_file(folder / "etc/sysctl.d/99-sysctl.conf", line)
    assert run(make_script(folder, "numa-balancing"), "--check").stdout == "nothing forbids --apply\n"


def test_a_pattern_in_one_sysctl_file_yields_to_a_name_in_another(folder: Path) -> None:
    make_tree(folder, "numa-balancing")
    script = make_script(folder, "numa-balancing")
    write_file(folder / "usr/lib/sysctl.d/99-last.conf", "kernel.numa_balancin? = 0")
    assert "99-last.conf has 0" in run(script, "--check").stdout
    write_file(folder / "etc/sysctl.d/10-first.conf", "kernel.numa_balancing = 2")
    assert run(script, "--check").stdout == "nothing forbids --apply\n"


def test_our_own_tuned_profile_and_reapply_sysctl_are_recognised(folder: Path) -> None:
    make_tree(folder, "numa-balancing")
    script = make_script(folder, "numa-balancing")
    write_file(folder / "etc/tuned/active_profile", "mine")
    write_file(folder / "etc/tuned/tuned-main.conf", "daemon = 1\nreapply_sysctl = 0")
    assert "(reapply_sysctl = 0)" in run(script, "--check").stdout
    write_file(folder / "etc/tuned/profiles/mine/tuned.conf", "# A setting of numa-balancing, NUMA balancing in ...")
    assert "'mine', which is a setting of ours too: use one of the two" in run(script, "--check").stdout


@pytest.mark.parametrize("target", ["kmmscand", "damon"])
def test_demotion_that_is_off_is_warned_of_for_all_targets(folder: Path, target: str) -> None:
    make_tree(folder, target)
    write_file(folder / DEMOTION, "false")
    script = make_script(folder, target)
    assert f"warning: {folder / DEMOTION} is false" in run(script, "--check").stdout
    demoting = make_script(folder, target, name="demoting.sh", with_demotion=True)
    assert "warning" not in run(demoting, "--apply").stdout
    assert "warning" not in run(script, "--check").stdout


def test_demotion_that_a_kernel_lacks_is_refused_where_it_is_asked_for(folder: Path, any_target: str) -> None:
    (folder / DEMOTION).unlink()
    assert run(make_script(folder, any_target), "--check").returncode == 0
    result = run(make_script(folder, any_target, with_demotion=True), "--apply")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "this kernel cannot demote; export without --with-demotion" in result.stderr
