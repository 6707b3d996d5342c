"""Policies written by hand: those that set nothing, one setting throughout, and random ones."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tierenv.action import ActionCodec
from tierenv.agents.policy import Array
from tierenv.daemon import Daemon, load_daemon
from tierenv.errors import ConfigError, close_match
from tierenv.scenario import Control
from tierenv.tunables import TUNABLES, Setting


@dataclass(frozen=True)
class PassivePolicy:
    """Leaves the tunables alone: the kernel's rule sets them, or nothing promotes."""

    observation = None

    name: str
    control: Control
    daemon_name: str | None = None
    """Packaged daemon it runs on; None for the scenario's."""

    @cached_property
    def daemon(self) -> Daemon | None:
        """The daemon of that name."""
        return None if self.daemon_name is None else load_daemon(self.daemon_name)

    @property
    def identity(self) -> str:
        """Daemon and control are the scenario's by then."""
        return "passive"

    def reset(self, num_machines: int) -> None:
        """Nothing to forget."""

    def act(self, observation: Array) -> Array:
        """No coordinates: nobody applies them."""
        return np.zeros((len(observation), 0), np.float32)


class StaticPolicy:
    """Holds one setting, as an administrator's boot script would.

    Args:
        setting: which.
        daemon: that it is for.
        name: unless it goes by the setting's.
        chosen_on: names of the scenarios that a search chose it on.

    Raises:
        ConfigError: for a setting outside the ranges of the daemon.
    """

    control: Control = "tunables"
    observation = None

    def __init__(
        self, setting: Setting, daemon: Daemon, name: str | None = None, chosen_on: tuple[str, ...] = ()
    ) -> None:
        daemon.check_setting(setting)
        self.chosen_on = chosen_on
        self.name = name or setting.policy_name
        self.daemon: Daemon | None = daemon
        self.setting = setting
        self.identity = setting.policy_name
        self._action = ActionCodec(daemon).encode([setting.row]).astype(np.float32)

    def reset(self, num_machines: int) -> None:
        """Nothing to forget."""

    def act(self, observation: Array) -> Array:
        """The same action for every machine."""
        return np.repeat(self._action, len(observation), axis=0)


def parse_setting(text: str, daemon: Daemon) -> Setting:
    """The setting that the argument of "static:" spells for a daemon. Raises `ConfigError`.

    Either a number for each tunable of the daemon, in their order ("500,1024,inf": ms, MiB, MiB/s), or some of them by
    name ("scan_period=500ms,throttle=inf"), where the others keep their value at start.
    """
    if not daemon.tunables:
        raise ConfigError(f"static:{text}: daemon {daemon.name} has no tunables")
    if "=" in text:
        return _setting_by_name(text, daemon)
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != len(daemon.tunables) or any(math.isnan(number) for number in numbers):
        quantities = {name: TUNABLES[name].quantity for name in daemon.tunables}
        usage = ",".join(f"{name.upper()}[{quantity.short_unit}]" for name, quantity in quantities.items())
        raise ConfigError(
            f"static:{text}: must be {len(quantities)} numbers, static:{usage}, or names and values, "
            f"static:NAME=VALUE,... (at start daemon {daemon.name} has {daemon.start_setting.policy_name})"
        )
    values = zip(daemon.tunables, numbers, strict=True)
    return Setting({name: number * TUNABLES[name].quantity.per_short_unit for name, number in values})


def _setting_by_name(text: str, daemon: Daemon) -> Setting:
    values = dict(daemon.start_setting.values)
    given = set()
    for word in text.split(","):
        name, _, value = (part.strip() for part in word.partition("="))
        if name not in daemon.tunables or name in given:
            problem = "given twice" if name in given else f"unknown{close_match(name, daemon.tunables)}"
            allowed = ", ".join(daemon.tunables)
            raise ConfigError(f"static:{text}: {name!r}: {problem}; tunables of daemon {daemon.name}: {allowed}")
        given.add(name)
        try:
            values[name] = _value(name, value)
        except ValueError as error:
            raise ConfigError(f"static:{text}: {name}: {error}") from None
    return Setting(values)


def _value(name: str, text: str) -> float:
    """A value with its unit ("2s"), or a number in the short unit of its quantity. Raises ValueError."""
    quantity = TUNABLES[name].quantity
    try:
        number = float(text) * quantity.per_short_unit
    except ValueError:
        return quantity.parse(text)
    if math.isnan(number):
        raise ValueError(f"{text!r} is not a number")
    return number


class RandomPolicy:
    """A uniform action every control interval, the distribution `action_space.sample()` has.

    Machine i draws from a stream of its own, so its actions do not depend on how many others run beside it.

    Args:
        num_tunables: coordinates of an action.
        seed: of the streams.
    """

    name = "random"
    identity = "random"
    daemon: Daemon | None = None
    observation = None
    control: Control = "tunables"

    def __init__(self, num_tunables: int, seed: int = 0) -> None:
        self._num_tunables = num_tunables
        self._seed = seed
        self._generators: list[np.random.Generator] = []

    def reset(self, num_machines: int) -> None:
        """Start the streams again."""
        self._generators = [np.random.default_rng([self._seed, machine]) for machine in range(num_machines)]

    def act(self, observation: Array) -> Array:
        """Uniform in [-1, 1], whatever is observed."""
        draws = [generator.uniform(-1, 1, self._num_tunables) for generator in self._generators]
        return np.array(draws, np.float32)
