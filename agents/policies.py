"""The table of policies, and how a name or path becomes one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tierenv.agents.best_static import StoredSetting, find_best_static, find_one_static
from tierenv.agents.heuristics import PassivePolicy, RandomPolicy, StaticPolicy, parse_setting
from tierenv.agents.policy import Policy
from tierenv.errors import ConfigError
from tierenv.records import is_bare_word, locate, packaged, path_hint
from tierenv.scenario import Control, Scenario

Factory = Callable[[Scenario, str], Policy]
"""Makes a policy for a scenario; the text is what follows the colon of "static:..."."""


PolicyLoader = Callable[[str, Scenario], Policy]
"""Makes a policy of a name, as `load_policy` does."""


@dataclass(frozen=True)
class PolicyEntry:
    """One row of the table."""

    summary: str
    make: Factory
    argument: str = ""
    """What follows the colon of the name, empty where nothing does."""


def _passive(name: str, summary: str, control: Control = "kernel-rule", daemon_name: str | None = None) -> PolicyEntry:
    policy = PassivePolicy(name, control, daemon_name)
    return PolicyEntry(summary, lambda _scenario, _argument: policy)


def _static(scenario: Scenario, argument: str) -> StaticPolicy:
    setting = parse_setting(argument, scenario.daemon)
    try:
        return StaticPolicy(setting, scenario.daemon)
    except ConfigError as error:
        raise ConfigError(f"static:{argument}: {error}") from None


def _random(scenario: Scenario, _argument: str) -> RandomPolicy:
    return RandomPolicy(len(scenario.daemon.tunables))


def _best_static(scenario: Scenario, _argument: str) -> StaticPolicy:
    return _stored(find_best_static(scenario), scenario, "best-static")


def _one_static(scenario: Scenario, argument: str) -> StaticPolicy:
    return _stored(find_one_static(argument), scenario, f"one-static:{argument}")


def _stored(found: StoredSetting, scenario: Scenario, name: str) -> StaticPolicy:
    try:
        return StaticPolicy(found.setting_for(scenario.daemon), scenario.daemon, name=name)
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
    "static": PolicyEntry("one setting throughout", _static, "NUMBER,...|NAME=VALUE,..."),
    "random": PolicyEntry("a random setting every control interval", _random),
    "best-static": PolicyEntry("the setting `tierenv tune` found for the scenario", _best_static),
    "one-static": PolicyEntry("the one setting that `tierenv tune` found for all of a suite", _one_static, "SUITE"),
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
