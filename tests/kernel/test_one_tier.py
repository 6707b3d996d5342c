"""A Debian 6.1 guest, which has the same memory as the others in one tier."""

import pytest

from tests.kernel.qemu import Boot


def test_the_kernel_has_both_nodes_in_one_tier(one_tier: Boot) -> None:
    assert one_tier.step("start")["tiers"] == ["0-1"]


@pytest.mark.parametrize("call", ["--check", "--apply"])
def test_the_script_refuses_and_names_the_cause(one_tier: Boot, call: str) -> None:
    [row] = (row for row in one_tier.steps("script") if row["call"] == call)
    assert row["code"] == 1
    assert "is '0-1': all memory is in one tier, so nothing would be promoted" in row["errors"]
    assert row["knobs"] == one_tier.step("start")["knobs"]


@pytest.mark.parametrize(
    ("call", "stream"), [(["check"], "output"), (["run", "--apply"], "errors")], ids=["check", "run"]
)
def test_the_controller_refuses_and_names_the_cause(one_tier: Boot, call: list[str], stream: str) -> None:
    [row] = (row for row in one_tier.steps("controller") if row["call"] == call)
    assert row["code"] == 1
    assert "all memory is in one tier (nodes 0, 1), so nothing would be promoted" in row[stream]
    assert row["knobs"] == one_tier.step("start")["knobs"]
