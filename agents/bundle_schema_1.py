"""Bundles of schema 1, which named their daemon instead of holding it: read as if they were of the present schema."""

from typing import Any

from tierenv.agents.definition import action_definition, observation_definition, without_words
from tierenv.daemon import AccessedBitDaemon, load_daemon
from tierenv.errors import ConfigError
from tierenv.features import Count, Feature, LogScale, OctaveScale, supplied_features
from tierenv.records import packaged


def upgraded(content: dict[str, Any], origin: str) -> dict[str, Any]:
    """The content of policy.json with the daemon that it names and the present definitions.

    Raises `ConfigError` for a daemon that is no packaged one, or whose features or tunables have changed since.
    """
    name, scenarios = content.get("daemon"), content.get("scenarios")
    if not isinstance(scenarios, list) or not all(isinstance(scenario, str) for scenario in scenarios):
        raise ConfigError(f"{origin}: scenarios={scenarios!r}: must be a list of names")
    if not isinstance(name, str) or name not in packaged("daemons"):
        raise ConfigError(
            f"{origin}: daemon={name!r}: not a packaged one, and a bundle of schema 1 holds none; export it again"
        )
    daemon = load_daemon(name)
    features = _same_features(content, daemon) if isinstance(daemon, AccessedBitDaemon) else None
    if features is None:
        raise ConfigError(
            f"{origin}: observation, action: defined otherwise for daemon {name} when the bundle was written "
            f"(schema 1, {content.get('written_by')}); export the policy again"
        )
    return content | {
        "schema": 2,
        "daemon": daemon.model_dump(mode="json"),
        "scenarios": [{"name": scenario} for scenario in scenarios],
        "observation": observation_definition(features),
        "action": action_definition(daemon),
    }


def _same_features(content: dict[str, Any], daemon: AccessedBitDaemon) -> list[Feature] | None:
    """The bundle's features in its own order; None where one of them, or a tunable, is not as it was."""
    ours = {feature.name: feature for feature in supplied_features(daemon)}
    try:
        features = [ours[row["name"]] for row in content["observation"]]
        rows = {"observation": [_feature_row(feature) for feature in features], "action": action_definition(daemon)}
        is_same = all(without_words(content[field]) == without_words(expected) for field, expected in rows.items())
        return features if is_same else None
    except (KeyError, TypeError, AttributeError):
        return None


def _feature_row(feature: Feature) -> dict[str, Any]:
    """A feature as schema 1 described it: without its source, and a size in octaves of GiB on a linear scale."""
    scale, unit = feature.scale, feature.unit
    if isinstance(scale, LogScale):
        described: dict[str, Any] = {"kind": "log2", "unit": scale.unit, "octaves": scale.octaves}
    else:
        described = {"kind": "linear", "middle": scale.middle, "half": scale.half}
    if isinstance(scale, OctaveScale):
        unit = "log2(GiB)"
    counters = list(feature.source.counters) if isinstance(feature.source, Count) else []
    return {"name": feature.name, "unit": unit, "scale": described, "counters": counters}
