"""What the controller does in a Debian 6.12 guest with two tiers."""

from typing import Any

import pytest

from tests.kernel.build import commands_of
from tests.kernel.qemu import Boot
from tierenv.live import kernel


def start_of(controller: Boot) -> dict[str, str]:
    """What the knobs held before anything was done."""
    knobs: dict[str, str] = controller.step("start")["knobs"]
    assert set(kernel.KNOBS) < set(knobs)
    return knobs


def document(controller: Boot, word: str) -> dict[str, Any]:
    """What came of the command of docs/live.md that holds a word."""
    [row] = (row for row in controller.steps("document") if word in row["command"].split())
    return row


def test_every_command_of_the_document_works_and_leaves_the_knobs_as_they_were(controller: Boot) -> None:
    rows = list(controller.steps("document"))
    assert [row["command"] for row in rows] == commands_of("live")
    for row in rows:
        assert (row["code"], row["knobs"]) == (0, start_of(controller)), row


def test_check_finds_the_tiers_of_the_machine(controller: Boot) -> None:
    output = document(controller, "check")["output"]
    assert "fast tier: nodes 0, 0.5 GiB" in output
    assert "slow tier: nodes 1, 0.5 GiB" in output
    assert "demotion_enabled is false" in output
    assert output.endswith("nothing forbids run --apply\n")


def test_a_run_sets_and_reads_back_what_the_policy_decides(controller: Boot) -> None:
    lines = document(controller, "run")["output"].splitlines()
    assert len(lines) == 8
    assert sum('"outcome":"set"' in line for line in lines) >= 3


def test_what_was_written_is_what_the_next_interval_reads(controller: Boot) -> None:
    decisions = controller.step("after yielding")["decisions"]
    compared = 0
    for before, after in zip(decisions, decisions[1:], strict=False):
        if before["outcome"] != "set" or after["outcome"] != "set":
            continue
        for path, value in before["written"].items():
            if path in (kernel.PERIOD_MAX, kernel.SCAN_SIZE, kernel.HOT_THRESHOLD, kernel.RATE_LIMIT):
                in_force = after["in_force"]
                throttle = in_force["throttle_bytes_per_s"]
                read = {
                    kernel.PERIOD_MAX: in_force["scan_period_ms"],
                    kernel.SCAN_SIZE: in_force["scan_size_bytes"] // kernel.MIB,
                    kernel.HOT_THRESHOLD: in_force["hot_threshold_ms"],
                    kernel.RATE_LIMIT: kernel.UNLIMITED_MIB_PER_S if throttle is None else throttle // kernel.MIB,
                }
                assert read[path] == value
                compared += 1
    assert compared > 0


@pytest.mark.parametrize(("way", "code"), [("loop", 1), ("guard", -9), ("sigterm", 0)])
def test_whatever_ends_it_the_knobs_are_as_found_byte_by_byte(controller: Boot, way: str, code: int) -> None:
    [row] = (row for row in controller.steps("killed") if row["way"] == way)
    assert row["during"] != start_of(controller)
    assert (row["code"], row["after"], row["notes"]) == (code, start_of(controller), [])


@pytest.mark.parametrize("by", ["restore", "ExecStopPost", "the next start", "an exported script"])
def test_after_a_kill_of_both_processes_they_are_put_back(controller: Boot, by: str) -> None:
    killed = [row for row in controller.steps("killed") if row["way"] == "both"]
    assert len(killed) == 4
    for row in killed:
        assert row["after"] == row["during"] != start_of(controller)
        assert row["notes"]
    [restored] = (row for row in controller.steps("restored") if row["by"] == by)
    assert (restored["code"], restored["knobs"], restored["notes"]) == (0, start_of(controller), []), restored


def test_it_gives_way_to_whoever_writes_a_knob(controller: Boot) -> None:
    row, start = controller.step("yielded"), start_of(controller)
    assert f"somebody else wrote {kernel.RATE_LIMIT}" in row["last"]["reason"]
    assert row["knobs"] == start | {kernel.RATE_LIMIT: "123\n"}
    assert row["notes"] == []
    assert controller.step("after yielding")["knobs"] == row["knobs"]


def test_it_takes_all_back_when_health_gets_worse(controller: Boot) -> None:
    row = controller.step("returned")
    assert "health_command 1000 is above" in row["last"]["reason"]
    assert (row["knobs"], row["notes"]) == (start_of(controller), [])


def test_after_a_loss_of_power_the_kernel_has_its_own_values(controller: Boot, changing: Boot) -> None:
    assert controller.step("power off")["knobs"] != start_of(controller)
    assert changing.step("start")["knobs"] == start_of(controller)
