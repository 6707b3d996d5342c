"""Format `onnx`: the actor of a learned policy for ONNX Runtime and other programs that read ONNX.

What makes actions of its sums is included: a clip, tanh, or the choice from a menu.

One input, `observation` float32[batch, columns], scaled as the metadata say; one output, `action` float32[batch,
tunables] in [-1, 1]. The graph is built from the weights, so exporting a bundle needs neither torch nor
stable-baselines3. Before the file is written, ONNX Runtime plays it against the policy it was made from.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv import __version__
from tierenv.agents.bundle import SELF_TEST_TOLERANCE
from tierenv.agents.definition import action_definition, observation_definition
from tierenv.agents.export import ExportRequest
from tierenv.agents.export.learned_source import LearnedSource, requested_source
from tierenv.agents.network import Network
from tierenv.agents.policy import Array
from tierenv.agents.tree import DecisionTree
from tierenv.errors import ConfigError
from tierenv.extras import require
from tierenv.files import atomic_write_bytes

OPSET = 12
"""Version of the operators: the first with LessOrEqual, which trees need. Runtimes since 2020 take it."""

INPUT, OUTPUT, MENU = "observation", "action", "menu"

_NUM_RANDOM, _NUM_CORNERS = 512, 256
_SEED = 0

_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu"}


def write(request: ExportRequest) -> None:
    """Write the model. Raises `ConfigError` for policies that are not learned, and if ONNX Runtime acts otherwise."""
    require("export", "format onnx")
    source = requested_source(request)
    content = serialise(source)
    _check(content, source)
    atomic_write_bytes(request.output, content)


def serialise(source: LearnedSource) -> bytes:
    """The model as a file holds it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    is_tree = isinstance(source.model, DecisionTree)
    steps = _tree_steps(source.model) if isinstance(source.model, DecisionTree) else _network_steps(source.model)
    nodes, constants = [], []
    for operator, inputs, output, options, tensors in steps:
        constants += [numpy_helper.from_array(array, name) for name, array in tensors.items()]
        nodes.append(helper.make_node(operator, [*inputs, *tensors], [output], **options))
    if isinstance(source.model, Network) and source.model.menu is not None:
        constants.append(numpy_helper.from_array(source.model.menu, MENU))
    graph = helper.make_graph(
        nodes,
        "decision_tree" if is_tree else "actor",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", source.model.num_features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", source.model.num_actions])],
        initializer=constants,
    )
    rows = source.origin.rows()
    model = helper.make_model_gen_version(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="tierenv",
        producer_version=__version__,
        doc_string="\n".join(f"{label}: {text}" for label, text in rows.items()),
    )
    helper.set_model_props(model, metadata(source) | rows)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def metadata(source: LearnedSource) -> dict[str, str]:
    """What the numbers mean; values that are not plain text are JSON."""
    return {
        "daemon": source.daemon.name,
        "scenarios": json.dumps([scenario.name for scenario in source.scenarios]),
        "features": json.dumps(observation_definition(source.daemon)),
        "actions": json.dumps(action_definition(source.daemon)),
        "training": json.dumps(source.training, allow_nan=False),
        "self_check": json.dumps(
            {"max_difference": SELF_TEST_TOLERANCE, "observations": _NUM_RANDOM + _NUM_CORNERS + 3, "seed": _SEED}
        ),
    }


Step = tuple[str, list[str], str, dict[str, Any], dict[str, NDArray[Any]]]
"""Operator, its inputs, its output, its attributes and the constants that follow the inputs, by name."""


def _network_steps(network: Network) -> Iterator[Step]:
    hidden, last = INPUT, len(network.weights) - 1
    for index, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        tensors = {f"layer{index}.weight": weight, f"layer{index}.bias": bias}
        sums = f"layer{index}.sum"
        yield "Gemm", [hidden], sums, {"transB": 1}, tensors
        hidden = f"layer{index}"
        if index < last:
            yield _ACTIVATIONS[network.activation], [sums], hidden, {}, {}
    inputs = [f"layer{last}.sum"]
    if network.menu is not None:
        yield "ArgMax", inputs, "choice", {"axis": 1, "keepdims": 0}, {}  # of equal values the first
        yield "Gather", [MENU, "choice"], OUTPUT, {"axis": 0}, {}
    elif network.output == "tanh":
        yield "Tanh", inputs, OUTPUT, {}, {}
    else:
        limits = {"least": np.float32(-1), "greatest": np.float32(1)}
        yield "Clip", inputs, OUTPUT, {}, {name: np.array(value) for name, value in limits.items()}


def _tree_steps(tree: DecisionTree) -> Iterator[Step]:
    """A leaf is the one whose every comparison came out as its path says: count those that did."""
    inner, leaves = np.flatnonzero(~tree.is_leaf), np.flatnonzero(tree.is_leaf)
    agreement = np.zeros((len(tree.feature), len(tree.feature)), np.float32)  # [node, inner node]: 1 left, -1 right
    for node in inner:
        for child, sign in ((tree.left[node], 1), (tree.right[node], -1)):
            agreement[child] = agreement[node]
            agreement[child, node] = sign
    inner = inner if len(inner) else np.zeros(1, np.intp)  # a lone leaf compares something, too, and ignores it
    paths = agreement[np.ix_(leaves, inner)]
    yield "Gather", [INPUT], "seen", {"axis": 1}, {"feature": np.maximum(tree.feature[inner], 0).astype(np.int64)}
    yield "LessOrEqual", ["seen"], "is_left", {}, {"threshold": tree.threshold[inner]}
    yield "Cast", ["is_left"], "left", {"to": 1}, {}
    yield "Gemm", ["left"], "wrong", {"transB": 1}, {"path": -paths, "lefts": (paths == 1).sum(1).astype(np.float32)}
    yield "Equal", ["wrong"], "is_here", {}, {"none": np.zeros(1, np.float32)}
    yield "Cast", ["is_here"], "here", {"to": 1}, {}
    yield "MatMul", ["here"], OUTPUT, {}, {"value": tree.value[leaves]}


def _check(content: bytes, source: LearnedSource) -> None:
    """Raise `ConfigError` unless ONNX Runtime agrees with the policy, in one batch and one by one."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    observations = _probes(source.model)
    actions = session.run([OUTPUT], {INPUT: observations})[0]
    single = np.concatenate([session.run([OUTPUT], {INPUT: row[None]})[0] for row in observations[:8]])
    expected = source.model(observations)
    difference = max(np.abs(actions - expected).max(), np.abs(single - expected[:8]).max())
    if not difference <= SELF_TEST_TOLERANCE:
        raise ConfigError(
            f"{source.origin.policy}: ONNX Runtime's actions differ by {difference:.2g} from the policy's, "
            f"more than {SELF_TEST_TOLERANCE:g}; nothing was written"
        )


def _probes(model: Network | DecisionTree) -> Array:
    """Features all at -1, 0 and 1, random corners of the cube, and random ones, some of them at a tree's thresholds."""
    rng = np.random.default_rng(_SEED)
    edges = np.repeat([[-1.0], [0.0], [1.0]], model.num_features, axis=1)
    corners = rng.choice([-1.0, 1.0], (_NUM_CORNERS, model.num_features))
    random = rng.uniform(-1, 1, (_NUM_RANDOM, model.num_features)).astype(np.float32)
    if isinstance(model, DecisionTree):
        inner = np.flatnonzero(~model.is_leaf)[:_NUM_RANDOM]
        random[np.arange(len(inner)), model.feature[inner]] = model.threshold[inner]
    probes = np.concatenate((edges, corners, random)).astype(np.float32)
    return probes[model.is_decisive(probes)] if isinstance(model, Network) else probes
