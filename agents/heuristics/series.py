"""The daemons of the series as posted: what a kernel with one of them does by itself, with its own adaptation rule."""

from tierenv.agents.policy import PassivePolicy
from tierenv.scenario import Scenario


def make_v0(_scenario: Scenario, _argument: str) -> PassivePolicy:
    """RFC V0 "mm: slowtier page promotion based on PTE A bit" (1 Dec 2024)."""
    return PassivePolicy("kmmscand-v0", daemon="kmmscand-v0", control="kernel-rule")


def make_v1(_scenario: Scenario, _argument: str) -> PassivePolicy:
    """RFC V1 of the same (19 Mar 2025), rule of patches P6 and P7."""
    return PassivePolicy("kmmscand-v1", daemon="kmmscand-v1", control="kernel-rule")


def make_v3(_scenario: Scenario, _argument: str) -> PassivePolicy:
    """RFC V3 of the same (14 Aug 2025), renamed kscand: second access, failed promotions slow the scan."""
    return PassivePolicy("kscand-v3", daemon="kscand-v3", control="kernel-rule")
