"""Policies written by hand: those that set nothing, one setting throughout, and random ones."""

import math
from dataclasses import dataclass

import numpy as np

from tierenv.action import ActionCodec
from tierenv.agents.policy import Array
from tierenv.daemon import DaemonVariant
from tierenv.errors import ConfigError
from tierenv.scenario import Control, NumaBalancingMode
from tierenv.tunables import NUM_TUNABLES, TunableSetting
from tierenv.units import MIB

STATIC_USAGE = "static:PERIOD_MS,SIZE_MIB,THROTTLE_MIBPS (for example static:500,1024,inf)"


@dataclass(frozen=True)
class PassivePolicy:
    """Leaves the tunables alone: the kernel's rule sets them, or the daemon is off."""

    name: str
    control: Control
    daemon: str | None = None
    numa_balancing_mode: NumaBalancingMode | None = None

    def reset(self, num_machines: int) -> None:
        """Nothing to forget."""

    def act(self, observation: Array) -> Array:
        """Zeros, which nobody applies."""
        return np.zeros((len(observation), NUM_TUNABLES), np.float32)


class StaticPolicy:
    """Holds one setting, as an administrator's boot script would.

    Raises `ConfigError` for a setting outside the ranges of the daemon.
    """

    control: Control = "tunables"
    numa_balancing_mode: NumaBalancingMode | None = None

    def __init__(self, setting: TunableSetting, daemon: DaemonVariant, name: str | None = None) -> None:
        daemon.check_setting(setting)
        self.name = name or setting.policy_name
        self.daemon: str | None = daemon.name
        self.setting = setting
        self._action = ActionCodec(daemon).encode(np.array([setting])).astype(np.float32)

    def reset(self, num_machines: int) -> None:
        """Nothing to forget."""

    def act(self, observation: Array) -> Array:
        """The same action for every machine."""
        return np.repeat(self._action, len(observation), axis=0)


def parse_setting(text: str) -> TunableSetting:
    """The setting "500,1024,inf" (ms, MiB, MiB/s) spells. Raises `ConfigError`."""
    try:
        period_ms, size_mib, throttle_mib_per_s = (float(number) for number in text.split(","))
    except ValueError:
        raise ConfigError(f"static:{text}: must be three numbers, {STATIC_USAGE}") from None
    if any(math.isnan(number) for number in (period_ms, size_mib, throttle_mib_per_s)):
        raise ConfigError(f"static:{text}: must be three numbers, {STATIC_USAGE}")
    return TunableSetting(period_ms, size_mib * MIB, throttle_mib_per_s * MIB)


class RandomPolicy:
    """A uniform action every control interval, the distribution `action_space.sample()` has.

    Machine i draws from a stream of its own, so its actions do not depend on how many others run beside it.
    """

    name = "random"
    daemon: str | None = None
    control: Control = "tunables"
    numa_balancing_mode: NumaBalancingMode | None = None

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._generators: list[np.random.Generator] = []

    def reset(self, num_machines: int) -> None:
        """Start the streams again."""
        self._generators = [np.random.default_rng([self._seed, machine]) for machine in range(num_machines)]

    def act(self, observation: Array) -> Array:
        """Uniform in [-1, 1], whatever is observed."""
        draws = [generator.uniform(-1, 1, NUM_TUNABLES) for generator in self._generators]
        return np.array(draws, np.float32)
