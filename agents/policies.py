"""The table of policies, and how a name or path becomes one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tierenv.agents.best_static import StoredSetting, find_best_static, find_one_static
from tierenv.agents.heuristics import PassivePolicy, RandomPolicy, StaticPolicy, parse_setting
from tierenv.agents.kinds import Kind
from tierenv.agents.policy import Policy
from tierenv.daemon import load_daemon, tunable_daemons
from tierenv.errors import ConfigError
from tierenv.records import is_bare_word, locate, packaged, path_hint
from tierenv.scenario import Control, Scenario

Factory = Callable[[Scenario, str], Policy]
"""Makes a policy for a scenario; the text is what follows the colon of "static:...", empty where nothing does."""


PolicyLoader = Callable[[str, Scenario], Policy]
"""Makes a policy of a name, as `load_policy` does."""


@dataclass(frozen=True)
class PolicyEntry:
    """One row of the table."""

    summary: str
    kind: Kind
    make: Factory
    argument: str = ""
    """What follows the colon of the name, empty where nothing does."""
    is_argument_optional: bool = False

    def usage(self, name: str) -> str:
        """How the policy is named."""
        if self.is_argument_optional:
            return f"{name}[:{self.argument}]"
        return f"{name}:{self.argument}" if self.argument else name

    def takes(self, argument: str | None) -> bool:
        """Whether it can be named with this after its colon, or without a colon."""
        if argument is None:
            return not self.argument or self.is_argument_optional
        return bool(self.argument) and not (self.is_argument_optional and not argument)


def _passive(name: str, summary: str, control: Control = "kernel-rule", daemon_name: str | None = None) -> PolicyEntry:
    policy = PassivePolicy(name, control, daemon_name)
    return PolicyEntry(summary, "nothing" if control == "off" else "rule", lambda _scenario, _argument: policy)


def _static(scenario: Scenario, argument: str) -> StaticPolicy:
    setting = parse_setting(argument, scenario.daemon)
    try:
        return StaticPolicy(setting, scenario.daemon)
    except ConfigError as error:
        raise ConfigError(f"static:{argument}: {error}") from None


def _random(scenario: Scenario, _argument: str) -> RandomPolicy:
    return RandomPolicy(len(scenario.daemon.tunables))


def _best_static(scenario: Scenario, argument: str) -> StaticPolicy:
    """With a daemon for argument, what was searched for the scenario under that one, which it runs on."""
    scenario = _under(argument, scenario)
    return _stored(find_best_static(scenario), scenario, f"best-static:{argument}" if argument else "best-static")


def _one_static(scenario: Scenario, argument: str) -> StaticPolicy:
    """The argument is a suite, whose name may have colons, and after another one a daemon, as for best-static."""
    suite, _, daemon = argument.rpartition(":")
    if not suite or (is_bare_word(daemon) and daemon not in packaged("daemons")):
        suite, daemon = argument, ""
    scenario = _under(daemon, scenario)
    return _stored(find_one_static(suite, scenario.daemon), scenario, f"one-static:{argument}")


def _under(name_or_path: str, scenario: Scenario) -> Scenario:
    """The scenario under a daemon that can be tuned, if one is named. Raises `ConfigError`."""
    if not name_or_path:
        return scenario
    daemon = load_daemon(name_or_path)
    if not daemon.can_be_tuned:
        raise ConfigError(f"daemon {daemon.name}: has no tunables that can be written; use {tunable_daemons()}")
    return scenario.under(daemon)


def _stored(found: StoredSetting, scenario: Scenario, name: str) -> StaticPolicy:
    try:
        setting = found.setting_for(scenario.daemon)
        return StaticPolicy(setting, scenario.daemon, name=name, chosen_on=found.chosen_on)
    except ConfigError as error:
        raise ConfigError(f"{name}, as stored for {scenario.name}: {error}; search anew: tierenv tune") from None


POLICIES = {
    "no-migration": _passive("no-migration", "nothing promotes: every page stays where it started", "off"),
    "numab1": _passive("numab1", "NUMA balancing alone, mode 1 (normal), as booted", daemon_name="numab1"),
    "numab2": _passive("numab2", "NUMA balancing alone, mode 2 (memory tiering), as booted", daemon_name="numab2"),
    "kmmscand-v0": _passive("kmmscand-v0", "the series' V0 with its own adaptation rule", daemon_name="kmmscand-v0"),
    "kmmscand-v1": _passive("kmmscand-v1", "the series' V1 with its own adaptation rule", daemon_name="kmmscand-v1"),
    "kscand-v3": _passive("kscand-v3", "the series' V3 with its own adaptation rule", daemon_name="kscand-v3"),
    # on kmmscand-tunable the rule of V1: beside kmmscand-v1 it separates the worth of the rule from that of the access
    # test and the chunk rule; on NUMA balancing its defaults as booted, with its own adaptation
    "built-in": _passive("built-in", "the rule that the scenario's daemon has of its own"),
    "static": PolicyEntry("one setting throughout", "constant", _static, "NUMBER,...|NAME=VALUE,..."),
    "random": PolicyEntry("a random setting every control interval", "chance", _random),
    "best-static": PolicyEntry(
        "the setting `tierenv tune` found for the scenario, under its daemon or under another one",
        "search",
        _best_static,
        "DAEMON",
        is_argument_optional=True,
    ),
    "one-static": PolicyEntry(
        "the one setting that `tierenv tune` found for all of a suite, under the scenario's daemon or another one",
        "constant",
        _one_static,
        "SUITE[:DAEMON]",
    ),
}


def load_policy(name_or_path: str, scenario: Scenario) -> Policy:
    """The policy a name of `POLICIES`, a packaged bundle's name, a bundle folder or a run folder stands for.

    Raises `ConfigError` if there is none, or if it cannot run on the scenario.
    """
    name, colon, argument = name_or_path.partition(":")
    if name in POLICIES:
        entry = POLICIES[name]
        if not entry.takes(argument if colon else None):
            raise ConfigError(f"policy {name_or_path!r}: write {entry.usage(name)}")
        return entry.make(scenario, argument)
    folder = find_policy_folder(name_or_path)
    if (folder / "policy.json").is_file():
        from tierenv.agents.bundle import BundlePolicy

        return BundlePolicy.load(folder)
    from tierenv.agents.learned import LearnedPolicy

    return LearnedPolicy.load(folder, scenario)


def find_policy_folder(name_or_path: str) -> Path:
    """The bundle or run folder a packaged name or a path stands for. Raises `ConfigError`."""
    bundles = {name: path for name, path in packaged("policies").items() if path.is_dir()}
    if is_bare_word(name_or_path):
        if name_or_path not in bundles:
            hint = path_hint(name_or_path, [*POLICIES, *bundles])
            raise ConfigError(f"unknown policy {name_or_path!r}{hint}; run: tierenv list policies")
        return bundles[name_or_path]
    path = locate(name_or_path)
    if not path.is_dir():
        problem = "not a run or bundle folder" if path.exists() else "no such folder"
        raise ConfigError(f"{name_or_path}: {problem}; for policies by name run: tierenv list policies")
    return path
