"""What the exported files do in a Debian 6.12 guest with two tiers."""

import hashlib
import re
from typing import Any

import numpy as np
import pytest

from tests.agents.script_trees import APPLIED, DEMOTION
from tests.kernel.build import KILLED_AT, MACHINES, NO_VALUES, POLICIES, ROUNDS, integer_settings
from tests.kernel.qemu import Boot

SHELLS = ("dash", "busybox sh")
CALLS = ("", "--check", "--apply", "--apply", "--restore", "--apply", "--restore")
IN_FORCE = {f"/{path}": f"{value}\n" for path, value in APPLIED["numa-balancing"].items()}
WITH_DEMOTION = IN_FORCE | {f"/{DEMOTION}": "true\n"}


def start_of(exports: Boot) -> dict[str, str]:
    """What the knobs held before anything was done."""
    knobs: dict[str, str] = exports.step("start")["knobs"]
    assert knobs.keys() == WITH_DEMOTION.keys()
    return knobs


@pytest.fixture(params=SHELLS)
def calls(request: pytest.FixtureRequest, exports: Boot) -> list[dict[str, Any]]:
    """What the script did under a shell, call by call."""
    rows = [row for row in exports.steps("script") if row["shell"] == request.param]
    assert tuple(" ".join(row["call"]) for row in rows) == CALLS
    assert [(row["code"], row["errors"]) for row in rows] == [(0, "")] * len(CALLS)
    return rows


def test_the_kernel_has_two_tiers(exports: Boot) -> None:
    assert exports.step("start")["tiers"] == ["0", "1"]


def test_a_dry_run_and_a_check_change_nothing(exports: Boot, calls: list[dict[str, Any]]) -> None:
    dry_run, check, *_ = calls
    assert dry_run["output"].count(" with --apply\n") == len(IN_FORCE)
    assert check["output"].startswith("nothing forbids --apply\n")
    assert dry_run["knobs"] == check["knobs"] == start_of(exports)


def test_apply_puts_every_value_in_force(exports: Boot, calls: list[dict[str, Any]]) -> None:
    assert calls[2]["knobs"] == start_of(exports) | IN_FORCE
    assert calls[5]["knobs"] == WITH_DEMOTION


def test_a_second_apply_finds_every_value_in_force(calls: list[dict[str, Any]]) -> None:
    assert calls[3]["output"].count(" already\n") == len(IN_FORCE)
    assert calls[3]["knobs"] == calls[2]["knobs"]


def test_restore_puts_back_every_byte(exports: Boot, calls: list[dict[str, Any]]) -> None:
    assert calls[4]["knobs"] == calls[6]["knobs"] == start_of(exports)


@pytest.mark.parametrize(
    ("step", "reason"), [("refused", "Invalid argument"), ("clamped", "the kernel took 100 instead of 4294967396")]
)
def test_a_value_that_the_kernel_does_not_take_leaves_nothing_changed(exports: Boot, step: str, reason: str) -> None:
    row = exports.step(step)
    knob, value = NO_VALUES[step]
    assert row["code"] == 1
    assert re.fullmatch(
        rf"{step}\.sh: cannot set \S+{knob} to {value}: {reason}; everything was put back\n", row["errors"]
    )
    assert row["knobs"] == start_of(exports)


def test_killed_anywhere_it_is_restored_to_every_byte(exports: Boot) -> None:
    start, killed, restored = start_of(exports), list(exports.steps("killed")), list(exports.steps("restored"))
    assert len(killed) == len(restored) == len(KILLED_AT)
    changed = [sum(row["knobs"][path] != value for path, value in start.items()) for row in killed]
    assert any(0 < number < len(start) for number in changed)
    for dead, back in zip(killed, restored, strict=True):
        assert (dead["code"], back["code"], back["errors"]) == (-9, 0, "")
        assert back["knobs"] == start


@pytest.mark.parametrize(("name", "reached"), [("sysctl.conf", "/proc/sys/"), ("tmpfiles.conf", "/")])
def test_the_kernel_takes_every_value_of_a_file(exports: Boot, name: str, reached: str) -> None:
    [row] = (row for row in exports.steps("file") if row["name"] == name)
    assert row["knobs"] == start_of(exports) | {
        path: text for path, text in IN_FORCE.items() if path.startswith(reached)
    }


def test_damon_starts_and_stops(exports: Boot) -> None:
    check, apply, again, restore, *_ = exports.steps("damon")
    assert [row["code"] for row in (check, apply, again, restore)] == [0, 0, 0, 0]
    assert check["output"].startswith("nothing forbids --apply\n") and check["after"] == ["0"]
    assert "DAMON migrates hot memory of node 1 to node 0\n" in apply["output"] and apply["after"] == ["1", "on"]
    assert "DAMON migrates hot memory of node 1 to node 0 already\n" in again["output"] and again["after"] == [
        "1",
        "on",
    ]
    assert restore["output"] == "stopped migrating hot memory\n" and restore["after"] == ["0"]


def test_damon_of_somebody_else_is_left_alone(exports: Boot) -> None:
    *_, check, apply, restore = exports.steps("damon")
    assert [row["code"] for row in (check, apply, restore)] == [1, 1, 0]
    for row in (check, apply):
        assert "DAMON is in use by somebody else; it is left as it is" in row["errors"]
    assert restore["output"] == "nothing to restore: DAMON is somebody else's\n"
    assert [row["after"] for row in (check, apply, restore)] == [["1", "on"]] * 3


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_decides_in_the_kernel_as_its_integers_do(exports: Boot, name: str) -> None:
    [row] = (row for row in exports.steps("policy") if row["name"] == name)
    settings = integer_settings(POLICIES[name])
    assert len(settings) == ROUNDS * MACHINES == 10_000
    assert len(np.unique(settings)) > 10  # or there would be little to tell apart
    assert row["num_bytes"] == settings.nbytes
    assert row["sha256"] == hashlib.sha256(settings.tobytes()).hexdigest()


def test_the_kernel_does_not_complain(exports: Boot) -> None:
    assert exports.step("complaints")["lines"] == []
