"""Format `rules`: a decision tree in words and units, beside the kernel's own rule."""

from collections.abc import Iterator

import numpy as np

from tierenv.action import ActionCodec, edges_of
from tierenv.agents.export import ExportRequest
from tierenv.agents.export.header import Origin, one_line
from tierenv.agents.export.learned_source import requested_source
from tierenv.agents.tree import DecisionTree
from tierenv.daemon import AccessedBitDaemon, Daemon
from tierenv.errors import ConfigError
from tierenv.features import Column, Feature, InForce, feature_columns
from tierenv.files import atomic_write_text
from tierenv.tunables import TUNABLES, setting_of
from tierenv.units import PAGE_BYTES, format_bytes

_INDENT = "    "


def write(request: ExportRequest) -> None:
    """Write the rules. Raises `ConfigError` for a policy that is not a tree."""
    source = requested_source(request)
    if not isinstance(source.model, DecisionTree):
        raise ConfigError(f"{request.policy}: format rules takes a tree, not a network; run: tierenv distil")
    atomic_write_text(request.output, rules_text(source.model, source.daemon, source.observation, source.origin))


def rules_text(tree: DecisionTree, daemon: Daemon, observation: tuple[Feature, ...], origin: Origin) -> str:
    """The text of the file, for a tree that observes these rows."""
    legend = tree_legend(tree, daemon, observation)
    return _TEMPLATE.format(
        daemon=one_line(daemon.name),
        origin=origin.comment(),
        legend="\n".join(f"#   {name:<14} {meaning}" for name, meaning in legend.items()),
        rules="\n".join(tree_lines(tree, daemon, observation)),
        kernel_rule=kernel_rule(daemon),
    )


def tree_lines(tree: DecisionTree, daemon: Daemon, observation: tuple[Feature, ...]) -> list[str]:
    """The tree in words, thresholds and settings in units."""
    return list(_rules(tree, daemon, feature_columns(observation), node=0, indent=""))


def tree_legend(tree: DecisionTree, daemon: Daemon, observation: tuple[Feature, ...]) -> dict[str, str]:
    """What the columns that the lines of a tree ask for are, by name."""
    asked_for = {words[1] for line in tree_lines(tree, daemon, observation) if (words := line.split())[0] == "if"}
    return {column.name: _meaning(column) for column in feature_columns(observation) if column.name in asked_for}


def kernel_rule(daemon: Daemon) -> str:
    """The rule by which a daemon sets its tunables when left alone; empty where there is none that could be read."""
    return _kernel_rule(daemon) if isinstance(daemon, AccessedBitDaemon) else ""


def _rules(tree: DecisionTree, daemon: Daemon, columns: tuple[Column, ...], *, node: int, indent: str) -> Iterator[str]:
    """The lines of a node and all below it."""
    if tree.is_leaf[node]:
        setting = setting_of(ActionCodec(daemon).decode(tree.value[node]), daemon.tunables)
        yield indent + ", ".join(f"{name} = {setting_text(name, value)}" for name, value in setting.values.items())
        return
    below, above = (
        list(_rules(tree, daemon, columns, node=int(child), indent=indent + _INDENT))
        for child in (tree.left[node], tree.right[node])
    )
    if below == above:  # the same as far as it is written
        yield from (line.removeprefix(_INDENT) for line in below)
        return
    column = columns[tree.feature[node]]
    yield f"{indent}if {column.name} <= {_threshold(column.feature, float(tree.threshold[node]), daemon)}:"
    yield from below
    yield f"{indent}else:"
    yield from above


def _threshold(feature: Feature, threshold: float, daemon: Daemon) -> str:
    """A threshold in the unit of its feature."""
    if not isinstance(feature.source, InForce):
        value = feature.scale.invert(threshold)
        return format_bytes(PAGE_BYTES * value) if feature.unit == "pages" else f"{value:.3g}"
    name = feature.source.tunable
    # unlimited is above every threshold: one inside its zone says the same as the end of the range
    _, end = edges_of(TUNABLES[name])
    codec = ActionCodec(daemon)
    tunables = codec.decode(np.full(len(codec.names), min(threshold, end)))
    value = float(tunables[codec.columns[name]])
    # of whole numbers the greatest that passes, which the nearest need not do
    is_beyond = np.float32(codec.encode(tunables)[codec.names.index(name)]) > threshold
    return setting_text(name, value - 1 if TUNABLES[name].quantity.is_whole and is_beyond else value)


def setting_text(name: str, value: float) -> str:
    """The value of a tunable by name for people, in three digits where it is a time; seconds as such."""
    quantity = TUNABLES[name].quantity
    if quantity.unit == "ms" and value >= 1000:
        return f"{value / 1000:.3g}s"
    return quantity.text(float(f"{value:.3g}") if quantity.unit == "ms" else float(value))  # no number of numpy's


def _meaning(column: Column) -> str:
    """What a column is, with its unit where the rules do not write one."""
    feature, history = column.feature, column.feature.history
    past = {"none": "", "average": f", moving average over {history.length} steps", "stack": ", now or steps ago"}
    has_unit_in_rules = isinstance(feature.source, InForce) or feature.unit == "pages"
    return feature.meaning + past[history.kind] + ("" if has_unit_in_rules else f" [{feature.unit}]")


def _kernel_rule(daemon: AccessedBitDaemon) -> str:
    period, size = daemon.tunables["scan_period"], daemon.tunables["scan_size"]
    return _KERNEL_RULE.format(
        decay=2**daemon.decay_shift,
        ignored=daemon.ignore_threshold_pages,
        periods=f"{setting_text('scan_period', period.min)} to {setting_text('scan_period', period.max)}",
        sizes=f"{format_bytes(size.min)} to {format_bytes(size.max)}",
        slower=f"{1 + daemon.period_step_percent / 100:g}",
        faster=f"{1 - daemon.period_step_percent / 100:g}",
        jump=2**daemon.period_jump_shift,
        largest=format_bytes(size.max),
    )


_TEMPLATE = """\
# A decision tree for the daemon {daemon}: what to set after each control interval, from what was counted in it.
#
{origin}
#
# Numbers are rounded; the bundle holds them as they are. The tree looks at
#
{legend}

{rules}
{kernel_rule}"""

_KERNEL_RULE = """\

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
