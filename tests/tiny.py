"""Packaged scenarios shrunk until an episode takes milliseconds."""

from typing import Any

from tierenv.scenario import Scenario, load_scenario
from tierenv.tunables import Setting


def tiny(name: str = "moving-hot-set", **changes: Any) -> Scenario:
    """Returns a scenario of 512 MiB: about 6 s, 30 control intervals, with promotions and demotions."""
    small = {"size": "512MiB", "fast_capacity": "128MiB", "regions": 4, "control_interval": "200ms"}
    return load_scenario(name).replace(**small | changes)


def setting_of_three(scan_period_ms: float, scan_size_bytes: float, throttle_bytes_per_s: float) -> Setting:
    """Returns a setting of kmmscand-tunable."""
    return Setting({"scan_period": scan_period_ms, "scan_size": scan_size_bytes, "throttle": throttle_bytes_per_s})
