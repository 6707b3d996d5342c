"""One setting of the tunables from start to end."""

import math

import numpy as np

from tierenv.action import ActionCodec
from tierenv.agents.policy import Array
from tierenv.daemon import DaemonVariant
from tierenv.errors import ConfigError
from tierenv.scenario import Control, Scenario
from tierenv.tunables import TunableSetting
from tierenv.units import MIB

USAGE = "static:PERIOD_MS,SIZE_MIB,THROTTLE_MIBPS (for example static:500,1024,inf)"


class StaticPolicy:
    """Holds one setting, as an administrator's boot script would.

    Raises `ConfigError` for a setting outside the ranges of the daemon.
    """

    control: Control = "tunables"

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
        raise ConfigError(f"static:{text}: must be three numbers, {USAGE}") from None
    if any(math.isnan(number) for number in (period_ms, size_mib, throttle_mib_per_s)):
        raise ConfigError(f"static:{text}: must be three numbers, {USAGE}")
    return TunableSetting(period_ms, size_mib * MIB, throttle_mib_per_s * MIB)


def make(scenario: Scenario, argument: str) -> StaticPolicy:
    """The setting the argument spells."""
    return StaticPolicy(parse_setting(argument), scenario.daemon)
