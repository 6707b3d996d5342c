"""Memory that is checked while the daemon moves its pages, and loads of the daemon that end in the middle of it."""

from typing import Any

import pytest

from tests.kernel.qemu import Boot

DISTURBANCES = ("fork", "map", "discard", "protect", "move", "huge", "swap", "lock")
CHECKS = ("nothing", *DISTURBANCES, "demotion", "all")
LOADS = 20
ALLOWED_SHARE = 0.25
"""Of the memory that was moved in the loads, what may be in use after them and was not before. A page lost at every
move would be all of it; kernels free some pages later, and some are on a processor's list while others are counted."""
IDLE = 3
"""Address spaces that processors keep while they idle, workers of the kernel."""


def step_of(stress: Boot, step: str, name: str) -> dict[str, Any]:
    [row] = (row for row in stress.steps(step) if row["name"] == name)
    return row


@pytest.mark.parametrize("name", CHECKS)
def test_no_byte_is_lost_under(stress: Boot, name: str) -> None:
    row = step_of(stress, "checked", name)
    assert (row["code"], row["errors"], row["end"]["errors"]) == (0, "", 0)
    assert row["end"]["checks"] > row["end"]["pages"]


@pytest.mark.parametrize("name", CHECKS)
def test_pages_were_promoted_while_checked_under(stress: Boot, name: str) -> None:
    row = step_of(stress, "checked", name)
    assert (row["error"], row["is_scanned"]) == (0, True)
    assert step_of(stress, "counted", name)["nr_kmmscand_migrated"] > 0


@pytest.mark.parametrize("name", DISTURBANCES)
def test_there_was_something_to_disturb_for(stress: Boot, name: str) -> None:
    disturbances = step_of(stress, "checked", name)["end"]["disturbances"]
    assert disturbances[name]["effects"] > 0
    assert disturbances["back"]["effects"] > 0


@pytest.mark.parametrize("name", ["map", "discard", "move"])
def test_memory_that_comes_and_goes_was_promoted_too(stress: Boot, name: str) -> None:
    assert step_of(stress, "checked", name)["end"]["disturbances"][name]["moved"] > 0


def test_huge_pages_are_met_and_left_alone(stress: Boot) -> None:
    counted = step_of(stress, "counted", "huge")
    assert min(counted["huge_pages"], counted["thp_fault_alloc"]) > 0
    assert step_of(stress, "checked", "huge")["end"]["disturbances"]["huge"]["moved"] == 0


def test_pages_were_swapped_out_and_in_and_demoted(stress: Boot) -> None:
    swapped, demoted = (step_of(stress, "counted", name) for name in ("swap", "demotion"))
    assert min(swapped["pswpout"], swapped["pswpin"], demoted["pgdemote_direct"]) > 0


@pytest.fixture
def loads(stress: Boot) -> list[dict[str, Any]]:
    rows = list(stress.steps("load"))
    assert [row["number"] for row in rows] == list(range(LOADS + 1))
    for field, kinds in (("order", 4), ("registered_by", 3), ("policy", 3)):
        assert len({row[field] for row in rows}) == kinds
    return rows


def test_processes_are_killed_while_they_are_scanned_and_moved(loads: list[dict[str, Any]]) -> None:
    for row in loads:
        assert (row["is_scanned"], row["is_moving"], row["are_gone"], row["codes"]) == (True, True, True, [-9, -9])
        assert set(row["refused"].values()) == {0}
    assert sum(sum(row["meddled"]) for row in loads) > 0


def test_it_unloads_and_leaves_nothing_whoever_ends_first(stress: Boot, loads: list[dict[str, Any]]) -> None:
    for row in (stress.step("unloaded"), *loads):
        assert (row["errors"], row["left"]) == ("", [])


def test_loads_cost_no_memory(stress: Boot, loads: list[dict[str, Any]]) -> None:
    row = stress.step("memory")
    before, after = row["before"], row["after"]
    moved_kib = 4 * sum(row["counted"]["nr_kmmscand_migrated"] for row in loads[1:])
    assert before["free"] - after["free"] < ALLOWED_SHARE * moved_kib
    for cache in ("mm_struct", "task_struct"):
        assert after[cache] <= before[cache] + IDLE


def test_the_kernel_does_not_complain(stress: Boot) -> None:
    assert stress.step("start")["errors"] == ""
    assert stress.step("complaints")["lines"] == []
