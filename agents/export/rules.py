"""Format `rules`: a decision tree in words and units, beside the kernel's own rule."""

from collections.abc import Callable, Iterator

import numpy as np

from tierenv.action import DEAD_ZONE_EDGE, ActionCodec
from tierenv.agents.export import ExportRequest
from tierenv.agents.export.header import Origin
from tierenv.agents.export.learned_source import learned_source
from tierenv.agents.tree import DecisionTree
from tierenv.daemon import DaemonVariant
from tierenv.errors import ConfigError
from tierenv.files import atomic_write_text
from tierenv.observation import Feature, ObservationEncoder
from tierenv.tunables import NUM_TUNABLES, TUNABLES
from tierenv.units import GIB, format_bytes, format_bytes_per_s

_INDENT = "    "


def _format_ms(period_ms: float) -> str:
    return f"{period_ms:.3g}ms" if period_ms < 1000 else f"{period_ms / 1000:.3g}s"


_TUNABLES: dict[str, Callable[[float], str]] = {
    "scan_period": _format_ms,
    "scan_size": format_bytes,
    "throttle": format_bytes_per_s,
}
"""Features that are the tunables in force, in the order of `TUNABLES`, and how to write their values."""


def write(request: ExportRequest) -> None:
    """Write the rules. Raises `ConfigError` for a policy that is not a tree."""
    source = learned_source(request.policy, request.scenario, request.gains)
    if not isinstance(source.model, DecisionTree):
        raise ConfigError(f"{request.policy}: format rules takes a tree, not a network; run: tierenv distil")
    atomic_write_text(request.output, rules_text(source.model, source.daemon, source.origin))


def rules_text(tree: DecisionTree, daemon: DaemonVariant, origin: Origin) -> str:
    """The text of the file."""
    features = ObservationEncoder(daemon).features
    used = [features[index] for index in sorted(set(tree.feature[~tree.is_leaf].tolist()))]
    period, size, _throttle = daemon.ranges.by_name.values()
    return _TEMPLATE.format(
        daemon=daemon.name,
        origin=origin.comment(),
        legend="\n".join(f"#   {feature.name:<14} {_meaning(feature)}" for feature in used),
        rules="\n".join(_rules(tree, daemon, features, node=0, indent="")),
        decay=2**daemon.decay_shift,
        ignored=daemon.ignore_threshold_pages,
        periods=f"{_format_ms(period.min)} to {_format_ms(period.max)}",
        sizes=f"{format_bytes(size.min)} to {format_bytes(size.max)}",
        slower=f"{1 + daemon.period_step_percent / 100:g}",
        faster=f"{1 - daemon.period_step_percent / 100:g}",
        jump=2**daemon.period_jump_shift,
        largest=format_bytes(size.max),
    )


def _rules(
    tree: DecisionTree, daemon: DaemonVariant, features: tuple[Feature, ...], *, node: int, indent: str
) -> Iterator[str]:
    """The lines of a node and all below it."""
    if tree.is_leaf[node]:
        values = ActionCodec(daemon).decode(tree.value[node])
        settings = zip(_TUNABLES.items(), values, strict=True)
        yield indent + ", ".join(f"{name} = {form(value)}" for (name, form), value in settings)
        return
    feature = features[tree.feature[node]]
    branches = (
        (f"if {feature.name} <= {_threshold(feature, float(tree.threshold[node]), daemon)}:", tree.left[node]),
        ("else:", tree.right[node]),
    )
    for line, child in branches:
        yield indent + line
        yield from _rules(tree, daemon, features, node=int(child), indent=indent + _INDENT)


def _threshold(feature: Feature, threshold: float, daemon: DaemonVariant) -> str:
    """A threshold in the unit of its feature."""
    if feature.name not in _TUNABLES:
        value = feature.scale.invert(threshold)
        return format_bytes(GIB * 2.0**value) if feature.name == "resident" else f"{value:.3g}"
    index = list(_TUNABLES).index(feature.name)
    # unlimited is above every threshold: one inside its zone says the same as the end of the range
    end = DEAD_ZONE_EDGE if TUNABLES[index].has_unlimited else 1.0
    return _TUNABLES[feature.name](ActionCodec(daemon).decode(np.full(NUM_TUNABLES, min(threshold, end)))[index])


def _meaning(feature: Feature) -> str:
    """What a feature is, with its unit where the rules do not write one."""
    return feature.meaning if feature.name in (*_TUNABLES, "resident") else f"{feature.meaning} [{feature.unit}]"


_TEMPLATE = """\
# A decision tree for the daemon {daemon}: what to set after each control interval, from what was counted in it.
#
{origin}
#
# Numbers are rounded; the bundle holds them as they are. The tree looks at
#
{legend}

{rules}

# For comparison, what the kernel does when left alone. After each chunk of a scan it goes by the useful pages, those on
# the slow tier that were accessed:
#
#   useful = useful_before / {decay} + useful pages of this chunk, or 0 if that is below {ignored}
#
# It keeps scan_period within {periods}, scan_size within {sizes}, and sets no throttle.

if useful_before == 0:
    if useful == 0:
        scan_period *= {slower}, scan_size /= 2
    else:
        scan_period /= {jump}, scan_size = {largest}
else:
    if useful == 0:
        scan_period *= {jump}
    else:
        scan_period *= {faster}, scan_size *= 2
"""
