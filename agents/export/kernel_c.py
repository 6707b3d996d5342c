"""Format `kernel-c`: a learned policy as C for the daemon, in integers only, with its header file.

The C stands in c_source; this module fills in tables, observation and provenance. `tierenv.agents.integer` is
the same arithmetic in Python.
"""

import itertools
import re
import textwrap
from collections.abc import Iterable, Mapping
from importlib import resources

import numpy as np

from tierenv.agents.export import ExportRequest
from tierenv.agents.export.header import Origin
from tierenv.agents.export.learned_source import LearnedSource, requested_source
from tierenv.agents.integer.arithmetic import (
    EXP2_TABLE,
    LOG2_TABLE,
    Ints,
    TunableRange,
)
from tierenv.agents.integer.interface import FeatureRule, Interface
from tierenv.agents.integer.policy import TANH_TABLE, IntegerNetwork, IntegerPolicy, IntegerTree
from tierenv.agents.network import Network
from tierenv.errors import ConfigError
from tierenv.features import ELAPSED, LogScale, OctaveScale
from tierenv.files import atomic_folder
from tierenv.live.arithmetic import ACTION_BITS, AVERAGE_BITS
from tierenv.tunables import Tunable, setting_of

SOURCE = "tierenv_policy.c"
HEADER = "tierenv_policy.h"

TOLERANCE = 0.002
"""Greatest difference of an action to the floating-point policy's."""
_NUM_PROBES = 4096
_LINE_LENGTH = 110


def write(request: ExportRequest) -> None:
    """Write a folder with both files. Raises `ConfigError` for what cannot take this form."""
    files = c_files(request.policy, requested_source(request))
    with atomic_folder(request.output) as folder:
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")


def c_files(name: str, source: LearnedSource) -> dict[str, str]:
    """Header and source of a policy, by their names. Raises `ConfigError` for what cannot take this form.

    Args:
        name: of the policy, for messages.
        source: what was learned.
    """
    try:
        policy = IntegerPolicy(source.model, source.daemon, source.observation)
        _check_probes(policy, source)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    return {HEADER: header_text(policy, source), SOURCE: source_text(policy, source)}


def header_text(policy: IntegerPolicy, source: LearnedSource) -> str:
    """The header file."""
    interface = policy.interface
    increments = [_field(symbol, count.meaning) for symbol, count in interface.increments.items()]
    levels = [_field(symbol, count.meaning) for symbol, count in interface.levels.items()]
    return _filled(
        "policy.h",
        PROVENANCE=_provenance(source),
        NAME=quoted(source.origin.policy),
        INTERVAL=_interval(source),
        STACK=str(stack_bytes(policy)),
        STATE=str(state_bytes(policy)),
        FEATURES=str(interface.num_columns),
        TUNABLES=str(len(interface.tunables)),
        ACTION_BITS=str(ACTION_BITS),
        SETTING_FIELDS="\n".join(_setting_field(row) for row in interface.tunables),
        INCREMENT_FIELDS="\n".join([*increments, _field(ELAPSED.symbol, ELAPSED.meaning)]),
        LEVEL_FIELDS="\n".join([*levels, *(_field(size.symbol, size.meaning) for size in interface.sizes)]),
        STATE_FIELDS="\n".join(_state_fields(interface)),
    )


def source_text(policy: IntegerPolicy, source: LearnedSource) -> str:
    """The C file."""
    interface = policy.interface
    arithmetic = _filled(
        "arithmetic.c",
        LOG2_TABLE=_numbers(LOG2_TABLE),
        EXP2_TABLE=_numbers(EXP2_TABLE, "u"),
        RANGES="\n".join(
            _range_row(span, row.symbol) for span, row in zip(interface.ranges, interface.tunables, strict=True)
        ),
    )
    functions = [_filled(f"{name}.c", AVERAGE_BITS=str(AVERAGE_BITS)) for name in _functions(interface)]
    decode = [
        f"\tsetting->{row.symbol} = ({row.quantity.c_type})decode(&ranges[{index}], action[{index}]);"
        for index, row in enumerate(interface.tunables)
    ]
    decide = _filled("decide.c", OBSERVE=_observe(interface), DECODE="\n".join(decode))
    opening = f'// SPDX-License-Identifier: GPL-2.0-only OR MIT\n/*\n{_provenance(source)}\n */\n#include "{HEADER}"\n'
    return "\n".join((opening, arithmetic, *functions, *_model(policy), decide))


def _field(symbol: str, meaning: str) -> str:
    return f"\tint64_t {symbol}; /* {_harmless(meaning)} */"


def _setting_field(row: Tunable) -> str:
    specials = ["0 is off"] * row.has_zero + ["TIERENV_UNLIMITED is no limit"] * row.has_unlimited
    return f"\t{row.quantity.c_type} {row.symbol}; /* {_harmless('; '.join([row.meaning, *specials]))} */"


def _state_fields(interface: Interface) -> list[str]:
    history = [f"\tint32_t history[{interface.num_kept}];"] if interface.num_kept else []
    return ["\tint32_t is_started; /* whether there is a past */", *history]


def stack_bytes(policy: IntegerPolicy) -> int:
    """A bound on the stack of a decision."""
    widest = _widest(policy.model) if isinstance(policy.model, IntegerNetwork) else 0
    return 448 + 4 * (policy.interface.num_columns + len(_shared(policy.interface)) + 2) + 2 * 4 * widest


def state_bytes(policy: IntegerPolicy) -> int:
    """Size of struct tierenv_state."""
    return 4 * (1 + policy.interface.num_kept)


def _check_probes(policy: IntegerPolicy, source: LearnedSource) -> None:
    """The proof against overflow says nothing of precision, so compare."""
    if isinstance(policy.model, IntegerTree):
        return  # leaves are exact, and random observations seldom meet a threshold
    probes = np.random.default_rng(0).uniform(-1, 1, (_NUM_PROBES, policy.interface.num_columns)).astype(np.float32)
    if isinstance(source.model, Network):
        probes = probes[source.model.is_decisive(probes)]
    error = np.abs(policy.error(source.model, probes)).max(initial=0)
    if not error < TOLERANCE:
        raise ConfigError(f"actions in fixed point are off by up to {error:.2g}, allowed is {TOLERANCE:g}")


def filled(text: str, values: Mapping[str, str]) -> str:
    """A template with its marks replaced, in one pass: a value may hold what is a mark."""
    return re.sub("@([A-Z0-9_]+)@", lambda mark: values[mark[1]], text)


def _filled(name: str, **values: str) -> str:
    return filled((resources.files("tierenv.agents.export") / "c_source" / name).read_text(encoding="utf-8"), values)


def _provenance(source: LearnedSource) -> str:
    title = "Settings of the page-promotion daemon from its counters, written by tierenv export --format kernel-c."
    return provenance(title, source.origin)


def provenance(title: str, origin: Origin) -> str:
    """Lines of a comment of C."""
    lines = [title, ""]
    for label, text in origin.rows().items():
        lines += textwrap.wrap(
            f"{label + ':':<15}{_harmless(text)}", _LINE_LENGTH, subsequent_indent=" " * 15, break_on_hyphens=False
        )
    return "\n".join(f" * {line}".rstrip() for line in lines)


def _harmless(text: str) -> str:
    """Text that neither ends the comment it stands in nor makes a compiler warn."""
    return " ".join(re.sub(r"\*(?=/)|/(?=\*)|\?(?=\?)", r"\g<0> ", _printable(text)).split())


def quoted(text: str) -> str:
    """Content of a C string."""
    return "".join("_" if char in '"\\?' else char for char in _printable(text))


def _printable(text: str) -> str:
    return "".join(char if char.isascii() and char.isprintable() else "_" for char in text)


def _interval(source: LearnedSource) -> str:
    seconds = sorted({row.control_interval for row in source.scenarios if row.control_interval is not None})
    return " or ".join(f"{interval:g} s" for interval in seconds) or "its scenarios' control_interval"


def _numbers(values: Iterable[int] | Ints, suffix: str = "") -> str:
    """Values as the lines of an initialiser."""
    words = " ".join(f"{int(value)}{suffix}," for value in values)
    lines = textwrap.wrap(words, _LINE_LENGTH - 8)
    return "\n".join(f"\t{line}" for line in lines)


def _wide(value: int) -> str:
    """A 64-bit constant on every target."""
    return f"{value}LL"


def _range_row(span: TunableRange, name: str) -> str:
    octaves = f"{_wide(span.log2_min)}, {_wide(span.octaves_per_unit)}, {_wide(span.units_per_octave)}"
    edges = f"{span.low_edge}, {span.high_edge}"
    return f"\t{{ {span.min}ULL, {span.max}ULL, {octaves}, {edges} }}, /* {name} */"


def _functions(interface: Interface) -> list[str]:
    """C files of the functions that some feature needs."""
    scales = {_scale_function(rule) for rule in interface.rules if rule.tunable is None}
    used = scales | {_HISTORY_FUNCTIONS[rule.feature.history.kind] for rule in interface.rules}
    if scales:
        used.add("feature_of")
    if any(rule.tunable is not None for rule in interface.rules):
        used.add("encode")
    if "octave_feature" in scales or any(rule.feature.per for rule in interface.rules):
        used.add("at_least_one")
    return [name for name in _FUNCTIONS if name in used]


_FUNCTIONS = (
    *("encode", "at_least_one", "feature_of", "log_feature", "octave_feature", "share_feature"),
    *("averaged", "stacked"),
)
_HISTORY_FUNCTIONS = {"none": "", "average": "averaged", "stack": "stacked"}


def _scale_function(rule: FeatureRule) -> str:
    if isinstance(rule.feature.scale, LogScale):
        return "log_feature"
    return "octave_feature" if isinstance(rule.feature.scale, OctaveScale) else "share_feature"


def _observe(interface: Interface) -> str:
    divisors = dict.fromkeys(size.symbol for rule in interface.rules for size in rule.feature.per)
    lines = [f"\tconst int64_t log2_{symbol} = log2_of(at_least_one(sample->{symbol}));" for symbol in divisors]
    shared = _shared(interface)
    lines += [f"\tconst int32_t now_{name} = {_value(rule)};" for name, rule in shared.items()]
    column = kept = 0
    for rule in interface.rules:
        name, history = rule.feature.name, rule.feature.history
        value = f"now_{name}" if name in shared else _value(rule)
        lines += ["", f"\t/* {name}: {_harmless(rule.feature.meaning)} */"]
        past = f"&state->history[{kept}], state->is_started"
        if history.kind == "average":
            lines.append(f"\tobservation[{column}] = averaged({past}, {value}, {history.shift});")
        elif history.kind == "stack":
            lines.append(f"\tstacked({past}, {value}, {history.length}, &observation[{column}]);")
        else:
            lines.append(f"\tobservation[{column}] = {value};")
        column += history.num_columns
        kept += history.num_kept
    return "\n".join(lines)


def _shared(interface: Interface) -> dict[str, FeatureRule]:
    """By name, features that are observed with several histories: their value is computed once."""
    names = [rule.feature.name for rule in interface.rules]
    return {rule.feature.name: rule for rule in interface.rules if names.count(rule.feature.name) > 1}


def _value(rule: FeatureRule) -> str:
    """The expression of a feature before its history."""
    if rule.tunable is not None:
        return f"encode(&ranges[{rule.tunable}], sample->in_force.{rule.symbol})"
    divisor = "".join(f" - log2_{size.symbol}" for size in rule.feature.per)
    quotient = f"{_wide(rule.log2_unit)}{divisor}"
    scale = [_wide(rule.octaves), _wide(rule.gain)]
    if not isinstance(rule.feature.scale, LogScale):
        scale = [_wide(rule.gain), _wide(rule.offset)]
    return f"{_scale_function(rule)}(sample->{rule.symbol}, {quotient}, {', '.join(scale)})"


def _model(policy: IntegerPolicy) -> tuple[str, ...]:
    model = policy.model
    if isinstance(model, IntegerTree):
        return (_filled("tree.c", **_tree_marks(policy, model)),)
    functions = {model.activation, model.output} & {"tanh", "relu"}
    activations = [_filled(f"{name}.c", TANH_TABLE=_numbers(TANH_TABLE)) for name in sorted(functions)]
    return *activations, _filled("network.c", **_network_marks(policy, model))


def _widest(network: IntegerNetwork) -> int:
    return max(size for layer in network.layers for size in layer.weights.shape)


def _network_marks(policy: IntegerPolicy, network: IntegerNetwork) -> Mapping[str, str]:
    tables, rows = [], []
    for index, layer in enumerate(network.layers):
        outputs, inputs = layer.weights.shape
        weights = "\n".join(_numbers(row) for row in layer.weights)
        biases = "\n".join(f"\t{_wide(bias)}," for bias in layer.biases.tolist())
        tables.append(f"static const int32_t weights{index}[{outputs} * {inputs}] = {{\n{weights}\n}};\n")
        tables.append(f"static const int64_t biases{index}[{outputs}] = {{\n{biases}\n}};\n")
        rows.append(f"\t{{ weights{index}, biases{index}, {layer.limit}, {inputs}, {outputs}, {layer.shift} }},")
    return {
        "LAYERS": str(len(network.layers)),
        "WIDEST": str(_widest(network)),
        "WEIGHTS": "\n".join(tables).rstrip(),
        "LAYER_ROWS": "\n".join(rows),
        "ACTIVATION": network.activation,
        "OUTPUT": _filled(f"output_{network.output}.c").rstrip(),
        "MENU": "" if network.menu is None else _menu(policy, network.menu),
    }


def _menu(policy: IntegerPolicy, actions: Ints) -> str:
    return _filled("menu.c", CHOICES=str(len(actions)), MENU_ROWS="\n".join(_action_rows(policy, actions)))


def _action_rows(policy: IntegerPolicy, actions: Ints) -> list[str]:
    """Actions int64[n, T] as lines of an initialiser, each with its number and the setting it stands for."""
    interface = policy.interface
    names = [row.name for row in interface.tunables]
    tunables = interface.tunables_of(interface.decode(actions))
    return [
        f"\t{{ {', '.join(map(str, action))} }}, /* {index}: {setting_of(row, names)} */"
        for index, (action, row) in enumerate(zip(actions.tolist(), tunables, strict=True))
    ]


def _tree_marks(policy: IntegerPolicy, integer_tree: IntegerTree) -> Mapping[str, str]:
    tree, thresholds, values = integer_tree.tree, integer_tree.thresholds, integer_tree.values
    interface = policy.interface
    names = [column.name for column in interface.columns]
    actions = _action_rows(policy, values[tree.is_leaf])
    nodes: list[str] = []
    leaves = itertools.count()
    for index, is_leaf in enumerate(tree.is_leaf):
        if is_leaf:
            leaf = next(leaves)
            nodes.append(f"\t{{ 0, -1, {leaf}, 0 }}, /* {index}: action {leaf} */")
        else:
            rule = f"{names[tree.feature[index]]} <= {tree.threshold[index]:.4f}"
            ways = f"{tree.left[index]}, {tree.right[index]}"
            nodes.append(f"\t{{ {thresholds[index]}, {tree.feature[index]}, {ways} }}, /* {index}: {rule} */")
    return {
        "DEPTH": str(tree.depth),
        "NODES": str(len(nodes)),
        "NODE_ROWS": "\n".join(nodes),
        "LEAVES": str(len(actions)),
        "ACTION_ROWS": "\n".join(actions),
    }
