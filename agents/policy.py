"""What decides: the protocol of policies, and the scenario each of them runs on.

A policy sees the observation only, so that whatever works here can be deployed.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tierenv.daemon import Daemon, HintFaultDaemon, tunable_daemons
from tierenv.errors import ConfigError
from tierenv.features import Feature
from tierenv.scenario import Control, Scenario

Array = NDArray[np.float32]


class Policy(Protocol):
    """Decides for n machines at once. A caller runs it on `scenario_for(policy, scenario)`, and lets it see that."""

    @property
    def name(self) -> str:
        """For people and tables."""

    @property
    def daemon(self) -> Daemon | None:
        """The daemon it runs on; None for the scenario's."""

    @property
    def control(self) -> Control:
        """Whether its actions set the tunables, or the kernel's rule does, or nothing promotes."""

    @property
    def observation(self) -> tuple[Feature, ...] | None:
        """What it observes, row by row; None for all features that its daemon supplies."""

    @property
    def identity(self) -> str | None:
        """A text that differs where its decisions may, for what is kept of them; None where nobody can tell."""

    def reset(self, num_machines: int) -> None:
        """Forget the past: a new episode begins on this many machines."""

    def act(self, observation: Array) -> Array:
        """Actions float32[n, T] in [-1, 1] for observations float32[n, columns]; nobody looks at a passive one's."""
        ...


def scenario_for(policy: Policy, scenario: Scenario) -> Scenario:
    """The scenario with the daemon and the control that the policy runs on.

    Where it is off, NUMA balancing is off, too. A policy on NUMA balancing itself leaves none beside it. Raises
    `ConfigError` for a policy that sets tunables where nobody can.
    """
    daemon = policy.daemon or scenario.daemon
    if policy.control == "tunables" and not daemon.can_be_tuned:
        raise ConfigError(
            f"policy {policy.name}: sets tunables, and daemon {daemon.name} of scenario {scenario.name} has none that "
            f"can be written at run time; use {tunable_daemons()}"
        )
    is_off = policy.control == "off" and not isinstance(daemon, HintFaultDaemon)
    return scenario.under(daemon, control=policy.control, **({"numa_balancing_mode": 0} if is_off else {}))
