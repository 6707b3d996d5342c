"""What the numbers of an observation and of an action mean, as policy.json and a run's manifest say it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tierenv import __version__
from tierenv.action import edges_of
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.features import Count, Feature, InForce, LinearScale, LogScale, supplied_features
from tierenv.tunables import TUNABLES


def observation_definition(daemon: Daemon) -> list[dict[str, Any]]:
    """The features of a daemon as policy.json describes them."""
    return [
        {
            "name": feature.name,
            "meaning": feature.meaning,
            "unit": feature.unit,
            "source": _source(feature),
            "per": [size.symbol for size in feature.per],
            "scale": {"kind": _scale_kind(feature)} | dataclasses.asdict(feature.scale),
            "history": dataclasses.asdict(feature.history),
        }
        for feature in supplied_features(daemon)
    ]


def _source(feature: Feature) -> dict[str, Any]:
    source = feature.source
    if isinstance(source, InForce):
        return {"kind": "in-force", "tunable": source.tunable}
    if isinstance(source, Count):
        counters = {name: sign for sign, name in source.terms}
        return {"kind": "increment" if source.is_increment else "level", "counters": counters, "unit": source.unit}
    return {"kind": "size", "symbol": source.symbol}


def _scale_kind(feature: Feature) -> str:
    if isinstance(feature.scale, LogScale):
        return "log2"
    return "linear" if isinstance(feature.scale, LinearScale) else "octaves"


def action_definition(daemon: Daemon) -> list[dict[str, Any]]:
    """The coordinates of an action as policy.json describes them: log scale from min to max between the zones."""
    definition = []
    for name, bounds in daemon.tunables.items():
        row, (low_edge, high_edge) = TUNABLES[name], edges_of(TUNABLES[name])
        definition.append(
            {
                "name": row.symbol,
                "meaning": row.meaning,
                "min": bounds.min,
                "max": bounds.max,
                "zero_below": low_edge if row.has_zero else None,
                "unlimited_above": high_edge if row.has_unlimited else None,
            }
        )
    return definition


def check_same_meaning(path: Path, definitions: Mapping[str, Any], daemon: Daemon, remedy: str) -> None:
    """Raise `ConfigError` unless the definitions of "observation" and "action" are those of this build.

    Their words may have changed, their numbers and names may not.
    """
    ours = {"observation": observation_definition(daemon), "action": action_definition(daemon)}
    for field, definition in definitions.items():
        if without_words(definition) != without_words(ours[field]):
            raise ConfigError(
                f"{path}: {field}: defined otherwise than in tierenv {__version__} on daemon {daemon.name}; {remedy}"
            )


def without_words(definition: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The numbers and names of a definition."""
    return [{key: value for key, value in row.items() if key != "meaning"} for row in definition]
