"""kmmscand as posted: what a kernel with the series' V1 does by itself."""

from tierenv.agents.policy import PassivePolicy
from tierenv.scenario import Scenario


def make(_scenario: Scenario, _argument: str) -> PassivePolicy:
    """RFC V1 "mm: slowtier page promotion based on PTE A bit" (19 Mar 2025), rule of patches P6 and P7."""
    return PassivePolicy("kmmscand-v1", daemon="kmmscand-v1", control="kernel-rule")
