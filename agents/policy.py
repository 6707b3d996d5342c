"""What decides: the protocol of policies, and the scenario each of them runs on.

A policy sees the observation only, so that whatever works here can be deployed.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tierenv.daemon import DaemonVariant
from tierenv.records import load_record
from tierenv.scenario import Control, NumaBalancingMode, Scenario

Array = NDArray[np.float32]


class Policy(Protocol):
    """Decides for n machines at once. A caller runs it on `scenario_for(policy, scenario)`."""

    @property
    def name(self) -> str:
        """For people and tables."""

    @property
    def daemon(self) -> str | None:
        """Daemon variant it runs on; None for the scenario's."""

    @property
    def control(self) -> Control:
        """Whether its actions set the tunables, or the kernel's rule does, or the daemon is off."""

    @property
    def numa_balancing_mode(self) -> NumaBalancingMode | None:
        """The kernel's own page balancing; None for the scenario's."""

    def reset(self, num_machines: int) -> None:
        """Forget the past: a new episode begins on this many machines."""

    def act(self, observation: Array) -> Array:
        """Actions float32[n, NUM_TUNABLES] in [-1, 1] for observations float32[n, features]."""
        ...


def daemon_for(policy_daemon: str | None, scenario: Scenario) -> DaemonVariant:
    """The daemon variant a policy runs on: the scenario's unless the policy names another."""
    if policy_daemon is None or policy_daemon == scenario.daemon.name:
        return scenario.daemon
    return load_record("daemons", DaemonVariant, policy_daemon)


def scenario_for(policy: Policy, scenario: Scenario) -> Scenario:
    """The scenario with the daemon, the control and the NUMA balancing that the policy runs on."""
    mode = policy.numa_balancing_mode
    return scenario.replace(
        daemon=daemon_for(policy.daemon, scenario),
        control=policy.control,
        numa_balancing_mode=scenario.numa_balancing_mode if mode is None else mode,
    )
