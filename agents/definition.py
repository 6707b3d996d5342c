"""What the numbers of an observation and of an action mean, as policy.json and a run's manifest say it."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tierenv import __version__
from tierenv.action import edges_of
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.features import Count, Feature, InForce, LinearScale, LogScale, all_features
from tierenv.history import History
from tierenv.observation_spec import MAX_COLUMNS, check_rows
from tierenv.records import MAX_NAME_LENGTH
from tierenv.tunables import TUNABLES


def observation_definition(features: Iterable[Feature]) -> list[dict[str, Any]]:
    """The rows of an observation as policy.json describes them, in the order of their columns."""
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
        for feature in features
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


def rows_of_definition(
    path: Path, definition: Sequence[Mapping[str, Any]], daemon: Daemon, remedy: str
) -> tuple[Feature, ...]:
    """What a policy observes, as its definition says: features of this build, with the histories that stand there.

    Features may have come since, or changed places. Raises `ConfigError` for one that is no more, means something else
    by now or has no such history.
    """
    if len(definition) > MAX_COLUMNS:
        raise ConfigError(f"{path}: observation: has {len(definition)} rows: must have 1 to {MAX_COLUMNS}")
    ours = {feature.name: feature for feature in all_features() if feature.is_supplied_by(daemon)}
    rows = []
    for described in definition:
        name = described.get("name")
        feature = ours.get(name) if isinstance(name, str) else None
        if feature is None or _told_of(described) != _told_of(observation_definition([feature])[0]):
            raise ConfigError(
                f"{path}: observation: feature {str(name)[:MAX_NAME_LENGTH]}: {_otherwise(daemon)}; {remedy}"
            )
        try:
            history = _history_of(described.get("history"))
        except ValueError as error:
            raise ConfigError(f"{path}: observation: feature {name}: history: {error}") from None
        rows.append(dataclasses.replace(feature, history=history))
    try:
        check_rows(rows, daemon)
    except ValueError as error:
        raise ConfigError(f"{path}: observation: {error}") from None
    return tuple(rows)


def _told_of(described: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a feature what it is; of which past is another matter."""
    return {key: value for key, value in described.items() if key not in ("meaning", "history")}


def _history_of(described: object) -> History:
    """A history as policy.json describes it. Raises ValueError."""
    if isinstance(described, dict) and described.keys() == {"kind", "length"}:
        kind, length = described["kind"], described["length"]
        if kind in ("none", "average", "stack") and type(length) is int:
            return History(kind, length)
    raise ValueError('must be of the form {"kind": "stack", "length": 4}, its kind none, average or stack')


def _otherwise(daemon: Daemon) -> str:
    return f"defined otherwise than in tierenv {__version__} on daemon {daemon.name}"


def without_words(definition: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The numbers and names of a definition."""
    return [{key: value for key, value in row.items() if key != "meaning"} for row in definition]
