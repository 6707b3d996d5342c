"""No migration: the daemon is off."""

from tierenv.agents.policy import PassivePolicy
from tierenv.scenario import Scenario


def make(_scenario: Scenario, _argument: str) -> PassivePolicy:
    """Every page stays where it started: /sys/kernel/mm/kmmscand/scan_enabled = 0, NUMA balancing off."""
    return PassivePolicy("no-migration", daemon=None, control="off", numa_balancing_mode=0)
