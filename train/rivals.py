"""The rivals of a comparison: what a policy has to beat before anything is claimed for it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from tierenv.agents.best_static import stored_settings, suites_of
from tierenv.agents.policies import load_policy
from tierenv.agents.policy import Policy, scenario_for
from tierenv.daemon import Daemon, load_daemon
from tierenv.errors import ConfigError
from tierenv.records import packaged
from tierenv.scenario import Scenario

Names = Callable[[Scenario], Iterable[str]]
"""Policies that are rivals on a scenario, as `load_policy` takes them."""


KERNEL_DAEMON = "numa-balancing"
"""The daemon that every kernel has."""
ONE_STATIC = "one-static"
"""The rival of one setting for several scenarios, by this name alone where none was searched for."""


class LeftOut(NamedTuple):
    """A rival that there is not on a scenario."""

    policy: str
    scenario: str
    reason: str


def _always(name: str) -> Names:
    return lambda _scenario: [name]


def _best_static_elsewhere(scenario: Scenario) -> list[str]:
    """Under the other daemons that are rivals, searched for or not, and any that it was searched for."""
    known = stored_settings().scenarios
    return [
        f"best-static:{daemon.name}"
        for daemon in _other_daemons(scenario)
        if _is_rival(daemon, scenario) or scenario.under(daemon).identity in known
    ]


def _is_rival(daemon: Daemon, scenario: Scenario) -> bool:
    """Whether its best setting has to be known: it works as the scenario's does, or is what every kernel has."""
    return daemon.mechanism == scenario.daemon.mechanism or daemon.name == KERNEL_DAEMON


def _one_static(scenario: Scenario) -> list[str]:
    """For every suite that was searched, under the scenario's daemon; without any a name that tells so."""
    return [f"{ONE_STATIC}:{suite}" for suite in suites_of(scenario.daemon.name)] or [ONE_STATIC]


def _one_static_elsewhere(scenario: Scenario) -> list[str]:
    """And under other daemons that can be tuned."""
    names = [daemon.name for daemon in _other_daemons(scenario)]
    return [f"{ONE_STATIC}:{suite}:{name}" for name in names for suite in suites_of(name)]


def _other_daemons(scenario: Scenario) -> list[Daemon]:
    return [daemon for daemon in _tunable_daemons() if daemon.name != scenario.daemon.name]


@cache
def _tunable_daemons() -> list[Daemon]:
    """The packaged ones that can be tuned while they run; to read them takes longer than an episode."""
    daemons = [load_daemon(name) for name in packaged("daemons")]
    return [daemon for daemon in daemons if daemon.can_be_tuned]


RIVALS: tuple[Names, ...] = (
    _always("no-migration"),
    _always("numab2"),  # the kernel's defaults, as booted
    _always("built-in"),  # the daemon's own rule
    _always("best-static"),
    _best_static_elsewhere,
    _one_static,
    _one_static_elsewhere,
)
"""All of them, in the order of the tables; bounds and estimates are those of `tierenv.train.limits`."""


class Rivals:
    """The rivals on the scenarios of a suite.

    A name that there is for one scenario is tried on all, so that what is missing is told.

    Args:
        scenarios: of the suite.
    """

    def __init__(self, scenarios: Sequence[Scenario]) -> None:
        self.left_out: list[LeftOut] = []
        """Those that there are not, of the scenarios that `of` was asked for."""
        self._names = list(
            dict.fromkeys(name for names in RIVALS for scenario in scenarios for name in names(scenario))
        )

    def of(self, scenario: Scenario, others: Mapping[str, Policy]) -> dict[str, Policy]:
        """By name, those on a scenario that are not among the others."""
        found = dict(others)
        for name in self._names:
            if name in found:
                continue
            if name == ONE_STATIC:
                self._left_out_one_static(scenario)
                continue
            try:
                policy = load_policy(name, scenario)
                scenario_for(policy, scenario)
            except ConfigError as error:
                self.left_out.append(LeftOut(name, scenario.name, str(error)))
            else:
                found[name] = policy
        return found

    def _left_out_one_static(self, scenario: Scenario) -> None:
        """Tell that there is no setting for several scenarios, if there is none under the scenario's daemon."""
        daemon = scenario.daemon.name
        if not suites_of(daemon):
            reason = f"no setting for several scenarios stored with daemon {daemon}"
            remedy = f"run tierenv tune SUITE --daemon {daemon} --save, best on other scenarios than these"
            self.left_out.append(LeftOut(ONE_STATIC, scenario.name, f"{ONE_STATIC}: {reason}; {remedy}"))
