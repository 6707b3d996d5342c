"""Packaged scenarios shrunk until an episode takes milliseconds."""

from typing import Any

from tierenv.scenario import Scenario, load_scenario


def tiny(name: str = "moving-hot-set", **changes: Any) -> Scenario:
    """Returns a scenario of 512 MiB: about 6 s, 30 control intervals, with promotions and demotions."""
    small = {"size": "512MiB", "fast_capacity": "128MiB", "regions": 4, "control_interval": "200ms"}
    return load_scenario(name).replace(**small | changes)
