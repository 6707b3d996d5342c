"""What decides, and how a name or path becomes one: the policy protocol and the table of policies.

A policy sees the observation only, so that whatever works here can be deployed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from tierenv.daemon import DaemonVariant
from tierenv.errors import ConfigError, close_match
from tierenv.records import load_record, packaged
from tierenv.scenario import Control, NumaBalancingMode, Scenario
from tierenv.tunables import NUM_TUNABLES

Array = NDArray[np.float32]


class Policy(Protocol):
    """Decides for n machines at once. A caller runs it on `scenario_for(policy, scenario)`."""

    name: str
    """For people and tables."""
    daemon: str | None
    """Daemon variant it runs on; None for the scenario's."""
    control: Control
    """Whether its actions set the tunables, or the kernel's rule does, or the daemon is off."""

    def reset(self, num_machines: int) -> None:
        """Forget the past: a new episode begins on this many machines."""

    def act(self, observation: Array) -> Array:
        """Actions float32[n, NUM_TUNABLES] in [-1, 1] for observations float32[n, features]."""
        ...


@dataclass(frozen=True)
class PassivePolicy:
    """Leaves the tunables alone: the kernel's rule sets them, or the daemon is off."""

    name: str
    daemon: str | None
    control: Control
    numa_balancing_mode: NumaBalancingMode | None = None
    """The kernel's own page balancing; None for the scenario's."""

    def reset(self, num_machines: int) -> None:
        """Nothing to forget."""

    def act(self, observation: Array) -> Array:
        """Zeros, which nobody applies."""
        return np.zeros((len(observation), NUM_TUNABLES), np.float32)


Factory = Callable[[Scenario, str], Policy]
"""Makes a policy for a scenario; the text is what follows the colon of "static:..."."""


@dataclass(frozen=True)
class PolicyEntry:
    """One row of the table."""

    summary: str
    factory: str
    """"module:function" under tierenv.agents.heuristics, imported when needed."""
    argument: str = ""
    """What follows the colon of the name, empty where nothing does."""


POLICIES = {
    "no-migration": PolicyEntry("daemon off: every page stays where it started", "no_migration:make"),
    "numab1": PolicyEntry("daemon off, NUMA balancing mode 1 (normal)", "numa_balancing:make_mode_1"),
    "numab2": PolicyEntry("daemon off, NUMA balancing mode 2 (memory tiering)", "numa_balancing:make_mode_2"),
    "kmmscand-v0": PolicyEntry("the series' V0 with its own adaptation rule", "series:make_v0"),
    "kmmscand-v1": PolicyEntry("the series' V1 with its own adaptation rule", "series:make_v1"),
    "kscand-v3": PolicyEntry("the series' V3 with its own adaptation rule", "series:make_v3"),
    "built-in": PolicyEntry("the kernel's adaptation rule on kmmscand-tunable", "built_in:make"),
    "static": PolicyEntry("one setting throughout", "static:make", "PERIOD_MS,SIZE_MIB,THROTTLE_MIBPS"),
    "random": PolicyEntry("a random setting every control interval", "random:make"),
    "best-static": PolicyEntry("the setting `tierenv tune` found for the scenario", "best_static:make"),
}


def load_policy(name_or_path: str, scenario: Scenario) -> Policy:
    """The policy a name of `POLICIES`, a packaged bundle's name, a bundle folder or a run folder stands for.

    Raises `ConfigError` if there is none, or if it cannot run on the scenario.
    """
    name, colon, argument = name_or_path.partition(":")
    if name in POLICIES:
        entry = POLICIES[name]
        if bool(colon) != bool(entry.argument):
            usage = f"{name}:{entry.argument}" if entry.argument else name
            raise ConfigError(f"policy {name_or_path!r}: write {usage}")
        module, function = entry.factory.split(":")
        factory = getattr(import_module(f"tierenv.agents.heuristics.{module}"), function)
        return cast(Factory, factory)(scenario, argument)
    folder = find_policy_folder(name_or_path)
    if (folder / "policy.json").is_file():
        from tierenv.agents.bundle import BundlePolicy

        return BundlePolicy.load(folder, scenario)
    from tierenv.agents.learned import LearnedPolicy

    return LearnedPolicy.load(folder, scenario)


def find_policy_folder(name_or_path: str) -> Path:
    """The bundle or run folder a packaged name or a path stands for. Raises `ConfigError`."""
    bundles = {name: path for name, path in packaged("policies").items() if path.is_dir()}
    path = bundles.get(name_or_path, Path(name_or_path))
    if path.is_dir():
        return path
    if "/" in name_or_path or path.exists():
        problem = "not a run or bundle folder" if path.exists() else "no such folder"
        raise ConfigError(f"{name_or_path}: {problem}; for policies by name run: tierenv list policies")
    hint = close_match(name_or_path, [*POLICIES, *bundles])
    raise ConfigError(f"unknown policy {name_or_path!r}{hint}; run: tierenv list policies")


def daemon_for(policy_daemon: str | None, scenario: Scenario) -> DaemonVariant:
    """The daemon variant a policy runs on: the scenario's unless the policy names another."""
    if policy_daemon is None or policy_daemon == scenario.daemon.name:
        return scenario.daemon
    return load_record("daemons", DaemonVariant, policy_daemon)


def scenario_for(policy: Policy, scenario: Scenario) -> Scenario:
    """The scenario with the daemon, the control and the NUMA balancing that the policy runs on."""
    mode = scenario.numa_balancing_mode
    if isinstance(policy, PassivePolicy) and policy.numa_balancing_mode is not None:
        mode = policy.numa_balancing_mode
    return scenario.replace(
        daemon=daemon_for(policy.daemon, scenario), control=policy.control, numa_balancing_mode=mode
    )
