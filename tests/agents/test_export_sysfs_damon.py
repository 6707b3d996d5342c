"""The DAMON script run for real on a copy of its files; they are all there from the start, unlike the kernel's."""

import os
import shutil
from pathlib import Path

import pytest

from tests.agents.script_trees import (
    DAMON,
    DAMON_FILES,
    DEMOTION,
    NOBODY,
    NODES,
    OTHER_POLICY,
    SCHEME,
    contents,
    make_node,
    make_script,
    make_tree,
    notes,
    run,
    settings,
    write_file,
)
from tierenv.units import MIB


@pytest.fixture
def damon(folder: Path) -> Path:
    """The files of DAMON in a machine's tree."""
    make_tree(folder, "damon")
    return folder / DAMON


def test_damon_dry_run_shows_every_file_and_changes_nothing(damon: Path, folder: Path) -> None:
    script = make_script(folder, "damon")
    before = contents(folder)
    result = run(script)
    assert (result.returncode, result.stderr) == (0, "")
    shown = dict(line.removesuffix(" with --apply").split(": ") for line in result.stdout.splitlines())
    assert set(shown) == {str(damon / name) for name in DAMON_FILES}
    assert contents(folder) == before


def test_damon_applies_and_stops(damon: Path, folder: Path) -> None:
    script = make_script(folder, "damon")
    result = run(script, "--apply")
    assert (result.returncode, result.stderr) == (0, "")
    content = {name: text.strip() for name, text in contents(damon).items()}
    context = "0/contexts/0"
    expected = {
        "nr_kdamonds": "1",
        "0/state": "on",
        f"{context}/operations": "paddr",
        f"{context}/monitoring_attrs/intervals/sample_us": "1600000",  # a tenth of 16 chunks of 1 s
        f"{context}/monitoring_attrs/intervals/aggr_us": "32000000",
        f"{context}/monitoring_attrs/intervals/update_us": "32000000",
        f"{context}/targets/0/regions/nr_regions": "2",
        f"{context}/targets/0/regions/0/start": str(9 << 27),  # in the order of addresses, not of names
        f"{context}/targets/0/regions/0/end": str(12 << 27),
        f"{context}/targets/0/regions/1/start": str(64 << 27),
        f"{context}/targets/0/regions/1/end": str(66 << 27),
        f"{SCHEME}/action": "migrate_hot",
        f"{SCHEME}/target_nid": "0",
        f"{SCHEME}/access_pattern/nr_accesses/min": "2",
        f"{SCHEME}/quotas/bytes": str(256 * MIB * 32),
        f"{SCHEME}/quotas/reset_interval_ms": "0",  # with more, kernels limit nothing in the first aggregation
    }
    assert {name: content[name] for name in expected} == expected
    applied = contents(folder)
    again = run(script, "--apply")
    assert (again.returncode, "already" in again.stdout, contents(folder)) == (0, True, applied)
    result = run(script, "--restore")
    assert (result.returncode, result.stdout) == (0, "stopped migrating hot memory\n")
    assert ((damon / "0/state").read_text(), (damon / "nr_kdamonds").read_text()) == ("off\n", "0\n")
    assert notes(folder) == []
    assert "nothing to restore" in run(script, "--restore").stdout


def test_damon_unlimited_is_no_quota(damon: Path, folder: Path) -> None:
    run(make_script(folder, "damon", "static:100,16384,inf"), "--apply")
    assert (damon / SCHEME / "quotas/bytes").read_text() == "0\n"


def test_second_damon_setting_replaces_the_first(damon: Path, folder: Path) -> None:
    first, second = make_script(folder, "damon"), make_script(folder, "damon", OTHER_POLICY, "other.sh")
    run(first, "--apply")
    result = run(second, "--apply")
    assert (result.returncode, result.stderr) == (0, "")
    assert (damon / "0/contexts/0/monitoring_attrs/intervals/sample_us").read_text() == "6400000\n"
    assert run(first, "--restore").returncode == 0  # either script knows how to stop it
    assert (damon / "nr_kdamonds").read_text() == "0\n"


@pytest.mark.parametrize("arguments", [[], ["--apply"], ["--restore"]])
def test_damon_in_use_by_somebody_else_is_left_alone(damon: Path, folder: Path, arguments: list[str]) -> None:
    script = make_script(folder, "damon")
    (damon / "nr_kdamonds").write_text("1\n")
    before = contents(folder)
    result = run(script, *arguments)
    assert "somebody else" in result.stdout + result.stderr
    assert result.returncode == (0 if arguments == ["--restore"] else 1)
    assert contents(folder) == before


def test_damon_setting_that_somebody_else_changed_is_left_alone(damon: Path, folder: Path) -> None:
    script = make_script(folder, "damon")
    run(script, "--apply")
    (damon / SCHEME / "target_nid").write_text("5\n")
    assert run(script, "--apply").returncode == 1
    result = run(script, "--restore")
    assert (result.returncode, "somebody else" in result.stdout) == (0, True)
    assert (damon / "0/state").read_text() == "on\n"


@pytest.mark.parametrize("name", [f"{SCHEME}/target_nid", "0/state"])
def test_damon_refused_value_puts_back_what_was_begun(damon: Path, folder: Path, name: str) -> None:
    script = make_script(folder, "damon", with_demotion=True)
    for path in folder.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o666)
    write_file(folder / DEMOTION, "false")
    (damon / name).chmod(0o444)
    before = settings(folder, "damon")
    result = run(script, "--apply", user=NOBODY if os.geteuid() == 0 else None)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert f"for {damon / name}: Permission denied (are you root?); everything was put back" in result.stderr
    assert settings(folder, "damon") == before
    assert notes(folder) == []


def test_damon_that_cannot_be_stopped_stays_noted(damon: Path, folder: Path) -> None:
    script = make_script(folder, "damon")
    for path in folder.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o666)
    user = NOBODY if os.geteuid() == 0 else None
    run(script, "--apply", user=user)
    (damon / "0/state").chmod(0o444)
    result = run(script, "--restore", user=user)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "Permission denied (are you root?); its note stays, call --restore again" in result.stderr
    (damon / "0/state").chmod(0o666)
    assert run(script, "--restore", user=user).stdout == "stopped migrating hot memory\n"


def test_damon_stopped_half_way_is_started_again(damon: Path, folder: Path) -> None:
    script = make_script(folder, "damon")
    run(script, "--apply")
    (damon / "0/state").write_text("off\n")
    assert "already" not in run(script, "--apply").stdout
    assert (damon / "0/state").read_text() == "on\n"


@pytest.mark.parametrize(
    "found", [{f"{SCHEME}/target_nid": "5"}, {"0/contexts/0/operations": "fvaddr"}, {"0/state": "on"}]
)
def test_damon_of_somebody_else_is_left_alone_after_a_killed_apply(
    damon: Path, folder: Path, found: dict[str, str]
) -> None:
    script = make_script(folder, "damon")
    write_file(
        folder / "run/tierenv/damon",
        "applying\n1 nr_kdamonds\npaddr 0/contexts/0/operations\n1 " + f"{SCHEME}/target_nid",
    )
    for name, value in {"nr_kdamonds": "1", **found}.items():
        (damon / name).write_text(f"{value}\n")
    before = contents(damon)
    assert run(script, "--apply").returncode == 1
    assert "somebody else" in run(script, "--restore").stdout
    assert contents(damon) == before


def test_damon_killed_before_the_kernel_made_all_files_is_ours(damon: Path, folder: Path) -> None:
    script = make_script(folder, "damon")
    run(script, "--apply")
    note = folder / "run/tierenv/damon"
    note.write_text("applying\n" + note.read_text())
    shutil.rmtree(damon / "0/contexts/0/schemes/0")
    for name, value in {"0/state": "off", "0/contexts/0/operations": "vaddr"}.items():
        (damon / name).write_text(f"{value}\n")
    assert run(script, "--restore").stdout == "stopped migrating hot memory\n"
    assert (damon / "nr_kdamonds").read_text() == "0\n"


def test_damon_gone_at_restore_keeps_the_note(damon: Path, folder: Path) -> None:
    script = make_script(folder, "damon")
    run(script, "--apply")
    damon.rename(folder / "elsewhere")
    result = run(script, "--restore")
    assert (result.returncode, "is missing, so DAMON cannot be stopped" in result.stderr) == (1, True)
    (folder / "elsewhere").rename(damon)
    assert run(script, "--restore").stdout == "stopped migrating hot memory\n"


@pytest.mark.parametrize("name", ["nr_kdamonds", f"{SCHEME}/filters/0/type"])
def test_damon_missing_file_is_reported(damon: Path, folder: Path, name: str) -> None:
    script = make_script(folder, "damon")
    (damon / name).unlink()
    result = run(script, "--apply")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert str(damon / name) in result.stderr
    assert not (damon / name).exists()
    assert (damon / "0/state").read_text() == "off\n"


def test_damon_asks_which_node_is_meant_and_restores_without(damon: Path, folder: Path) -> None:
    script = make_script(folder, "damon")
    make_node(folder, 2, "", (200,))
    result = run(script, "--apply")
    assert (result.returncode, result.stdout) == (1, "")
    assert "which node is the slow one? set TIERENV_SLOW_NODE (without CPUs: 1 2); nothing was changed" in result.stderr
    result = run(script, "--apply", TIERENV_SLOW_NODE="2")
    assert result.stdout == "DAMON migrates hot memory of node 2 to node 0\n"
    assert run(script, "--restore").stdout == "stopped migrating hot memory\n"


def test_damon_names_no_block_that_the_kernel_would_not(folder: Path) -> None:
    make_tree(folder, "damon")
    script = make_script(folder, "damon")
    expected = run(script).stdout
    for name in ("memory08", "memory1x", "memory" + "9" * 20, "memory"):
        (folder / NODES / "node1" / name).mkdir()
    result = run(script)
    assert (result.returncode, result.stderr, result.stdout) == (0, "", expected)
