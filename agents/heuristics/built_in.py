"""The kernel's adaptation rule on the tunable daemon."""

from tierenv.agents.policy import PassivePolicy
from tierenv.scenario import Scenario


def make(_scenario: Scenario, _argument: str) -> PassivePolicy:
    """The rule of RFC V1, patches P6 and P7, on the variant learned policies run on.

    Beside `kmmscand-v1` it separates the worth of the rule from that of the access test and the chunk rule.
    """
    return PassivePolicy("built-in", daemon="kmmscand-tunable", control="kernel-rule")
