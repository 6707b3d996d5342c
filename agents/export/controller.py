"""Format `controller`: one file that steers NUMA balancing of a running kernel by a policy (`tierenv.live`).

A zipapp of tierenv/live, as it stands, and the policy's tables: what was learned in the integers of format kernel-c, or
the one setting that a static policy holds. Nothing else of
tierenv is in it, and it needs nothing but Python 3.9.
"""

import io
import json
import math
import zipfile
from importlib import resources
from typing import Any

from tierenv.agents.export import ExportRequest
from tierenv.agents.export.header import Origin
from tierenv.agents.export.learned_source import LearnedSource, requested_source
from tierenv.agents.export.modelled import ModelledSetting, modelled_setting
from tierenv.agents.integer.interface import FeatureRule, Interface
from tierenv.agents.integer.policy import IntegerPolicy, IntegerTree
from tierenv.agents.policies import POLICIES
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.features import InForce, LogScale, OctaveScale
from tierenv.files import atomic_write_bytes
from tierenv.live.arithmetic import UNLIMITED
from tierenv.live.policy import SCHEMA, Tables

TABLES = "tierenv/live/tables.json"
_MECHANISM = "hint-faults"
_SHEBANG = b"#!/usr/bin/python3 -I\n"
_MAIN = """\
import sys

from tierenv.live.command import main

sys.exit(main(sys.argv[1:]))
"""
_TIME = (1980, 1, 1, 0, 0, 0)
"""Of every member, so that one policy makes one archive, byte for byte."""


def write(request: ExportRequest) -> None:
    """Write the archive. Raises `ConfigError` for a policy of another daemon than NUMA balancing."""
    if request.policy.partition(":")[0] in POLICIES:
        tables = setting_tables(request.policy, modelled_setting(request))
    else:
        tables = tables_of(request.policy, requested_source(request))
    atomic_write_bytes(request.output, archive(tables), executable=True)


def tables_of(name: str, source: LearnedSource) -> Tables:
    """What was learned, as `tierenv.live.policy` reads it.

    Args:
        name: of the policy, for messages.
        source: what was learned.

    Raises:
        ConfigError: for a policy that no running kernel can be steered by, or that integers cannot express.
    """
    _check_mechanism(name, source.daemon)
    try:
        policy = IntegerPolicy(source.model, source.daemon, source.observation)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    interface = policy.interface
    return _head(source.origin, source.control_interval_ms(name), interface) | {
        "features": [_feature(rule) for rule in interface.rules],
        "counts": {
            symbol: {"terms": [[sign, counter] for sign, counter in count.terms], "is_increment": count.is_increment}
            for symbol, count in (interface.increments | interface.levels).items()
        },
        "model": _model(policy),
    }


def setting_tables(name: str, modelled: ModelledSetting) -> Tables:
    """A setting that is held whatever is observed, as `tierenv.live.policy` reads it.

    Raises `ConfigError` as `tables_of` does.
    """
    daemon = modelled.scenario.daemon
    _check_mechanism(name, daemon)
    interface = Interface(daemon)
    values = {row.symbol: modelled.setting[row.name] for row in interface.tunables}
    return _head(modelled.origin, round(1000 * modelled.scenario.control_interval), interface) | {
        "features": [],
        "counts": {},
        "model": {
            "kind": "setting",
            "values": {symbol: UNLIMITED if math.isinf(value) else round(value) for symbol, value in values.items()},
        },
    }


def _check_mechanism(name: str, daemon: Daemon) -> None:
    if daemon.mechanism != _MECHANISM:
        raise ConfigError(
            f"{name}: steers daemon {daemon.name}, which no released kernel has; a controller takes a policy of "
            "numa-balancing, such as tierenv train ppo-numa-balancing makes, or a setting of it (--daemon "
            "numa-balancing)"
        )


def _head(origin: Origin, interval_ms: int, interface: Interface) -> Tables:
    return {
        "schema": SCHEMA,
        "name": origin.policy,
        "origin": origin.rows(),
        "interval_ms": interval_ms,
        "ranges": _ranges(interface),
    }


def archive(tables: Tables) -> bytes:
    """The zipapp."""
    package = resources.files("tierenv.live")
    members = {"__main__.py": _MAIN.encode(), "tierenv/__init__.py": b""}
    for file in sorted(package.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".py"):
            members[f"tierenv/live/{file.name}"] = file.read_bytes()
    members[TABLES] = json.dumps(tables, separators=(",", ":")).encode()
    content = io.BytesIO(_SHEBANG)
    content.seek(0, io.SEEK_END)
    with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as packed:
        for path, text in members.items():
            packed.writestr(zipfile.ZipInfo(path, _TIME), text, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def _ranges(interface: Interface) -> list[dict[str, Any]]:
    return [
        {
            "symbol": row.symbol,
            "has_off": row.has_zero,
            "has_unlimited": row.has_unlimited,
            **vars(span),
        }
        for row, span in zip(interface.tunables, interface.ranges, strict=True)
    ]


def _feature(rule: FeatureRule) -> dict[str, Any]:
    history, scale = rule.feature.history, rule.feature.scale
    row: dict[str, Any] = {
        "name": rule.feature.name,
        "field": rule.symbol,
        "function": "encode",
        "per": [],
        "history": history.kind,
        "length": history.length,
    }
    if isinstance(rule.feature.source, InForce):
        return row
    row |= {"per": [size.symbol for size in rule.feature.per], "log2_unit": rule.log2_unit, "gain": rule.gain}
    if isinstance(scale, LogScale):
        return row | {"function": "log_feature", "octaves": rule.octaves}
    is_octaves = isinstance(scale, OctaveScale)
    return row | {"function": "octave_feature" if is_octaves else "share_feature", "offset": rule.offset}


def _model(policy: IntegerPolicy) -> dict[str, Any]:
    if isinstance(policy.model, IntegerTree):
        tree = policy.model.tree
        return {
            "kind": "tree",
            "feature": [-1 if leaf else int(split) for leaf, split in zip(tree.is_leaf, tree.feature, strict=True)],
            "threshold": policy.model.thresholds.tolist(),
            "left": tree.left.tolist(),
            "right": tree.right.tolist(),
            "values": policy.model.values.tolist(),
        }
    return {
        "kind": "network",
        "activation": policy.model.activation,
        "output": policy.model.output,
        "menu": None if policy.model.menu is None else policy.model.menu.tolist(),
        "layers": [
            {
                "weights": layer.weights.tolist(),
                "biases": layer.biases.tolist(),
                "shift": layer.shift,
                "limit": layer.limit,
            }
            for layer in policy.model.layers
        ],
    }
