"""What the numbers of an observation and of an action mean, as policy.json and a run's manifest say it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv import __version__
from tierenv.action import edges_of
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.features import Count, Feature, InForce, LinearScale, LogScale, observed_columns, supplied_features
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


def check_action(path: Path, definition: Sequence[Mapping[str, Any]], daemon: Daemon, remedy: str) -> None:
    """Raise `ConfigError` unless the coordinates of an action are those of this build.

    Their words may have changed, their numbers and names may not.
    """
    if without_words(definition) != without_words(action_definition(daemon)):
        raise ConfigError(f"{path}: action: {_otherwise(daemon)}; {remedy}")


def columns_looked_at(
    path: Path, definition: Sequence[Mapping[str, Any]], daemon: Daemon, remedy: str
) -> NDArray[np.intp]:
    """Where a policy finds its columns in a present observation: features may have come since, or changed places.

    Raises `ConfigError` for a feature that is no more, or means something else by now.
    """
    ours = {row["name"]: row for row in observation_definition(daemon)}
    positions = {column.name: index for index, column in enumerate(observed_columns(daemon))}
    features = {feature.name: feature for feature in supplied_features(daemon)}
    columns: list[int] = []
    for row in definition:
        name = str(row.get("name"))
        if name not in ours or without_words([row]) != without_words([ours[name]]):
            raise ConfigError(f"{path}: observation: feature {name}: {_otherwise(daemon)}; {remedy}")
        columns += [positions[column] for column in features[name].history.column_names(name)]
    return np.array(columns, dtype=np.intp)


def _otherwise(daemon: Daemon) -> str:
    return f"defined otherwise than in tierenv {__version__} on daemon {daemon.name}"


def without_words(definition: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The numbers and names of a definition."""
    return [{key: value for key, value in row.items() if key != "meaning"} for row in definition]
