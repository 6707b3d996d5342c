"""Policies that are somebody's code: archives of stable-baselines3 with their pickles, and factories in modules.

Only who types a command can name them: files are read through `tierenv.agents.policies.load_policy`, which knows none
of these names.
"""

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from gymnasium.spaces import Discrete

from tierenv.action import ActionCodec
from tierenv.agents.kinds import Kind
from tierenv.agents.policies import POLICIES, PolicyLoader, load_policy
from tierenv.agents.policy import Array, Policy
from tierenv.daemon import Daemon, DaemonRecord
from tierenv.errors import ConfigError
from tierenv.extras import require
from tierenv.features import Feature
from tierenv.observation import ObservationEncoder
from tierenv.observation_spec import observation_rows
from tierenv.records import is_bare_word, locate, packaged
from tierenv.scenario import Control, Scenario
from tierenv.wrappers import MENU, menu_actions


@dataclass(frozen=True)
class ForeignEntry:
    """One row of the table."""

    summary: str
    kind: Kind
    argument: str
    """What follows the colon of the name."""
    make: Callable[[str, Scenario], Policy]
    """Makes a policy of the argument. Raises `ConfigError`."""
    needs_trust: bool
    """Whether a name alone does not say that code will run."""


def command_line_loader(*, is_trusted: bool) -> PolicyLoader:
    """`load_policy` for names that were typed, which knows `FOREIGN` as well.

    Args:
        is_trusted: whether who typed them said that pickles may be loaded.
    """

    def load(name_or_path: str, scenario: Scenario) -> Policy:
        name, colon, argument = name_or_path.partition(":")
        if name not in FOREIGN or not colon:
            return load_policy(name_or_path, scenario)
        entry = FOREIGN[name]
        if not argument:
            raise ConfigError(f"policy {name_or_path!r}: write {name}:{entry.argument}")
        if os.geteuid() == 0:
            raise ConfigError(f"policy {name_or_path}: runs code of others, which root must not; use another account")
        if entry.needs_trust and not is_trusted:
            raise ConfigError(
                f"policy {name_or_path}: loading it unpickles it, which runs whatever its author put there; if that is "
                "you, say --trust"
            )
        return entry.make(argument, scenario)

    return load


class Sb3Policy:
    """A policy of stable-baselines3, with whatever networks and algorithm; acts without exploration noise."""

    control: Control = "tunables"
    daemon = None
    observation = None
    identity = None

    def __init__(self, name: str, module: Any, menu: Array | None = None) -> None:
        self.name = name
        self._module = module
        self._menu = menu  # float32[choices, T], for a policy that chooses by number
        self._state: Any = None
        self._is_start = np.zeros(0, dtype=np.bool_)

    def reset(self, num_machines: int) -> None:
        """Forget what a recurrent policy remembers."""
        self._state = None
        self._is_start = np.ones(num_machines, dtype=np.bool_)

    def act(self, observation: Array) -> Array:
        """What it would do without noise, clipped."""
        actions, self._state = self._module.predict(
            observation, state=self._state, episode_start=self._is_start, deterministic=True
        )
        self._is_start = np.zeros_like(self._is_start)
        return np.asarray(actions, dtype=np.float32) if self._menu is None else self._menu[actions]


def _from_archive(path: str, scenario: Scenario) -> Sb3Policy:
    """A policy out of what `model.save` of stable-baselines3 writes, trained on the box of actions or on `MENU`."""
    require("train", f"sb3:{path}")
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.save_util import load_from_zip_file

    if not Path(path).is_file():
        raise ConfigError(f"sb3:{path}: no such file; give a .zip that stable-baselines3 saved")
    try:
        content, states, _ = load_from_zip_file(path, device="cpu")
        data = content or {}
        kind, spaces = data["policy_class"], (data["observation_space"], data["action_space"])
        options = dict(data["policy_kwargs"])
        if issubclass(kind, ActorCriticPolicy):
            options["use_sde"] = data["use_sde"]
        module = kind(*spaces, lambda _progress: 0.0, **options)
        module.load_state_dict(states["policy"])
        module.set_training_mode(False)
    except Exception as error:  # what is unpickled may raise anything
        raise ConfigError(f"sb3:{path}: cannot be loaded: {type(error).__name__}: {error}") from None
    menu = menu_actions(scenario.daemon)[0] if spaces[1] == Discrete(len(MENU)) else None
    own_actions = ActionCodec(scenario.daemon).space if menu is None else spaces[1]
    ours = (ObservationEncoder(scenario.daemon).space, own_actions)
    elsewhere = "; what has learned with another observation= is played by a policy in Python (docs/algorithm.md)"
    parts = (("observations", elsewhere), ("actions", ""))
    for (what, remedy), own, its in zip(parts, ours, spaces, strict=True):
        if its != own:
            raise ConfigError(
                f"sb3:{path}: {what}: it is for {its}, scenario {scenario.name} with daemon {scenario.daemon.name} "
                f"has {own}{remedy}"
            )
    return Sb3Policy(f"sb3:{path}", module, menu)


_CONTROLS = get_args(get_args(Control)[0])
_PROTOCOL = ("name", "daemon", "control", "reset", "act")


def _from_module(location: str, scenario: Scenario) -> Policy:
    """What a factory makes of the scenario; modules of the working folder are found, as `python -m` finds them."""
    module_name, colon, factory_name = location.partition(":")
    if not colon or not module_name or not factory_name:
        raise ConfigError(f"policy 'python:{location}': write python:MODULE:FACTORY")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except (ImportError, TypeError, ValueError) as error:  # the last two for names such as ".."
        raise ConfigError(f"policy python:{location}: cannot be imported: {error}") from None
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        raise ConfigError(f"policy python:{location}: {module.__file__} has no function {factory_name}")
    try:
        policy = factory(scenario)
    except SystemExit as error:
        raise ConfigError(f"policy python:{location}: {factory_name}(scenario) ends the program: {error}") from None
    if missing := [name for name in _PROTOCOL if not hasattr(policy, name)]:
        raise ConfigError(
            f"policy python:{location}: what {factory_name}(scenario) returns lacks {', '.join(missing)}; see "
            "tierenv.agents.policy.Policy"
        )
    if not isinstance(policy.daemon, DaemonRecord | None):
        raise ConfigError(f"policy python:{location}: daemon: must be one of tierenv.daemon.load_daemon, or None")
    if policy.control not in _CONTROLS:
        raise ConfigError(f"policy python:{location}: control={policy.control!r}: must be {' or '.join(_CONTROLS)}")
    daemon: Daemon = policy.daemon or scenario.daemon  # type: ignore[assignment]  # both kinds are records
    observation = getattr(policy, "observation", None)
    rows = None
    if observation is not None:
        rows = observation_rows(observation, daemon, f"policy python:{location}: observation")
    return _Checked(policy, rows, len(daemon.tunables))


class _Checked:
    """A policy of which nobody can tell when its decisions change, and whose actions are looked at."""

    identity = None

    def __init__(self, policy: Any, observation: tuple[Feature, ...] | None, num_tunables: int) -> None:
        self.name, self.daemon, self.control = policy.name, policy.daemon, policy.control
        self.observation = observation
        self._policy = policy
        self._num_tunables = num_tunables

    def reset(self, num_machines: int) -> None:
        """A new episode begins."""
        self._policy.reset(num_machines)

    def act(self, observation: Array) -> Array:
        """Its actions. Raises `ConfigError` for anything else."""
        actions = np.asarray(self._policy.act(observation))
        if self.control != "tunables":
            return actions
        shape = (len(observation), self._num_tunables)
        if actions.shape != shape or actions.dtype.kind not in "fiu" or not (np.abs(actions) <= 1).all():
            raise ConfigError(
                f"policy {self.name}: act() must return numbers in [-1, 1] of shape {shape}, got "
                f"{actions.dtype} of shape {actions.shape}"
            )
        return actions.astype(np.float32)


FOREIGN = {
    "sb3": ForeignEntry(
        "a model of stable-baselines3; needs --trust", "learned", "PATH.zip", _from_archive, needs_trust=True
    ),
    "python": ForeignEntry(
        "what FACTORY(scenario) returns", "program", "MODULE:FACTORY", _from_module, needs_trust=False
    ),
}


def table_kind(name: str) -> Kind:
    """The kind of policy of a name in the tables, or of a packaged bundle; that of somebody's code for any other."""
    entry = (POLICIES | FOREIGN).get(name.partition(":")[0])
    if entry is not None:
        return entry.kind
    return "learned" if name in packaged("policies") else "program"


def kind_of(name_or_path: str) -> Kind:
    """The kind of policy that a name or path stands for, bundles and runs in folders included."""
    if is_bare_word(name_or_path) or name_or_path.partition(":")[0] in (POLICIES | FOREIGN):
        return table_kind(name_or_path)
    return "learned" if locate(name_or_path).is_dir() else "program"
