"""NUMA balancing alone: what a kernel without the daemon does by itself."""

from tierenv.agents.policy import PassivePolicy
from tierenv.scenario import Scenario


def make_mode_1(_scenario: Scenario, _argument: str) -> PassivePolicy:
    """/proc/sys/kernel/numa_balancing = 1, the series' base column NUMAB1."""
    return PassivePolicy("numab1", daemon=None, control="off", numa_balancing_mode=1)


def make_mode_2(_scenario: Scenario, _argument: str) -> PassivePolicy:
    """/proc/sys/kernel/numa_balancing = 2, the series' base column NUMAB2."""
    return PassivePolicy("numab2", daemon=None, control="off", numa_balancing_mode=2)
