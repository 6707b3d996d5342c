"""Policy bundles: trained networks and trees in a form that is safe to load, and the numpy runtime that plays them.

A bundle is a folder of two files, policy.json and weights.safetensors. policy.json says what the numbers mean
(observation, action ranges, daemon variant), where they come from (training), how to tell that they are whole
(SHA-256 of both files) and that they compute what they should (self-test vectors). Neither file can hold code, and
loading refuses whatever is not exactly as this build expects it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as serialise_tensors

from tierenv import __version__
from tierenv.action import DEAD_ZONE_EDGE
from tierenv.agents.policy import Array, daemon_for
from tierenv.agents.tree import DecisionTree
from tierenv.daemon import DaemonVariant
from tierenv.errors import ConfigError
from tierenv.files import atomic_folder
from tierenv.observation import LogScale, ObservationEncoder
from tierenv.records import Record, load_record, validate_record
from tierenv.scenario import Control, NumaBalancingMode, Scenario
from tierenv.tunables import NUM_TUNABLES, TUNABLES

DOCUMENT = "policy.json"
WEIGHTS = "weights.safetensors"

Activation = Literal["tanh", "relu"]
ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}
"""Functions between layers, by the name policy.json gives them."""

SELF_TEST_TOLERANCE = 1e-5
"""Room for another order of summation; a wrong weight shows far above it."""
_NUM_SELF_TESTS = 32
_SELF_TEST_SEED = 0

Size = Annotated[int, Field(ge=1, le=4096)]
TensorType = tuple[str, tuple[int, ...]]
"""Element type and shape."""


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron whose outputs are clipped to [-1, 1]."""

    weights: tuple[Array, ...]
    """float32[outputs, inputs] of each layer."""
    biases: tuple[Array, ...]
    """float32[outputs] of each layer."""
    activation: Activation

    @property
    def num_features(self) -> int:
        """Length of an observation."""
        return self.weights[0].shape[1]

    @property
    def layers(self) -> tuple[int, ...]:
        """Inputs, then the outputs of each layer."""
        return (self.num_features, *(len(bias) for bias in self.biases))

    def __call__(self, observation: Array) -> Array:
        """Actions float32[n, outputs] for observations float32[n, inputs]."""
        hidden = observation
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = ACTIVATIONS[self.activation](hidden @ weight.T + bias)
        return np.clip(hidden @ self.weights[-1].T + self.biases[-1], -1, 1)

    def tensors(self) -> dict[str, Array]:
        """What weights.safetensors holds, by name."""
        named = {}
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            named[f"layer{index}.weight"] = weight
            named[f"layer{index}.bias"] = bias
        return named


class NetworkDescription(Record):
    """The shape of the network."""

    layers: Annotated[tuple[Size, ...], Field(min_length=2, max_length=10)]
    activation: Activation
    output: Literal["clip"] = "clip"

    @property
    def summary(self) -> str:
        """For messages."""
        return f"a network with layers {list(self.layers)}"

    def tensors(self, num_features: int) -> dict[str, TensorType]:
        """What weights.safetensors must hold. Raises ValueError unless the layers fit observation and action."""
        if (self.layers[0], self.layers[-1]) != (num_features, NUM_TUNABLES):
            raise ValueError(
                f"network.layers: must lead from {num_features} features to {NUM_TUNABLES} tunables, "
                f"got {list(self.layers)}"
            )
        expected: dict[str, TensorType] = {}
        for index, (inputs, outputs) in enumerate(zip(self.layers, self.layers[1:], strict=False)):
            expected[f"layer{index}.weight"] = ("float32", (outputs, inputs))
            expected[f"layer{index}.bias"] = ("float32", (outputs,))
        return expected

    def build(self, tensors: Mapping[str, Any], _num_features: int) -> Network:
        """The network of these tensors."""
        indices = range(len(self.layers) - 1)
        return Network(
            weights=tuple(tensors[f"layer{index}.weight"] for index in indices),
            biases=tuple(tensors[f"layer{index}.bias"] for index in indices),
            activation=self.activation,
        )


class TreeDescription(Record):
    """The size of the tree."""

    leaves: Size

    @property
    def summary(self) -> str:
        """For messages."""
        return f"a tree with {self.leaves} leaves"

    def tensors(self, _num_features: int) -> dict[str, TensorType]:
        """What weights.safetensors must hold."""
        nodes = 2 * self.leaves - 1
        kinds = {"feature": "int32", "threshold": "float32", "left": "int32", "right": "int32"}
        expected: dict[str, TensorType] = {name: (kind, (nodes,)) for name, kind in kinds.items()}
        return expected | {"value": ("float32", (nodes, NUM_TUNABLES))}

    def build(self, tensors: Mapping[str, Any], num_features: int) -> DecisionTree:
        """The tree of these tensors. Raises ValueError unless they are one."""
        return DecisionTree(num_features, **tensors)


class SelfTest(Record):
    """Observations and the actions they must give."""

    observations: Annotated[tuple[tuple[float, ...], ...], Field(min_length=1)]
    actions: tuple[tuple[float, ...], ...]


class BundleDocument(Record):
    """The content of policy.json."""

    model_config = ConfigDict(populate_by_name=True)

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    name: str
    written_by: str = f"tierenv {__version__}"
    daemon: str
    """Variant it was trained on."""
    scenarios: tuple[str, ...]
    """Scenarios it was trained on."""
    observation: tuple[dict[str, Any], ...]
    """`observation_definition` of the daemon."""
    action: tuple[dict[str, Any], ...]
    """`action_definition` of the daemon."""
    network: NetworkDescription | None = None
    tree: TreeDescription | None = None
    """What the tensors are: one of the two."""
    training: dict[str, Any]
    """Where the weights come from: configuration, revision, versions, evaluation."""
    self_test: SelfTest
    sha256: dict[str, str]
    """Of each file; policy.json's is that of its other content, see `_document_digest`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.network is None) == (self.tree is None):
            raise ValueError("network, tree: exactly one of them must be described, the other null")
        return self

    def find_daemon(self, scenario: Scenario | None) -> DaemonVariant:
        """The variant of that name: the scenario's, or else the packaged one. Raises `ConfigError` if there is none."""
        if scenario is None:
            return load_record("daemons", DaemonVariant, self.daemon)
        return daemon_for(self.daemon, scenario)

    @property
    def model_description(self) -> NetworkDescription | TreeDescription:
        """Whichever there is."""
        description = self.network or self.tree
        assert description is not None
        return description


class BundlePolicy:
    """Plays a bundle; needs numpy only."""

    control: Control = "tunables"
    numa_balancing_mode: NumaBalancingMode | None = None

    def __init__(self, document: BundleDocument, model: Network | DecisionTree) -> None:
        self.name = document.name
        self.daemon: str | None = document.daemon
        self.document = document
        self.model = model

    @classmethod
    def load(cls, folder: Path, scenario: Scenario | None = None) -> Self:
        """Read and check a bundle. Raises `ConfigError` unless it is whole and means what this build means.

        Args:
            folder: of the bundle.
            scenario: to run on, whose daemon is taken if it has the name the bundle wants; None for the packaged one.
        """
        document = _read_document(folder / DOCUMENT)
        daemon = document.find_daemon(scenario)
        definitions = {"observation": document.observation, "action": document.action}
        remedy = f"the bundle is by {document.written_by}"
        check_same_meaning(folder / DOCUMENT, definitions, daemon, remedy)
        model = _read_model(folder / WEIGHTS, document)
        _check_self_test(folder, document, model)
        return cls(document, model)

    def reset(self, num_machines: int) -> None:
        """Nothing to forget."""

    def act(self, observation: Array) -> Array:
        """The actions of the network or tree."""
        return self.model(observation)


def write_bundle(
    folder: Path,
    *,
    name: str,
    model: Network | DecisionTree,
    daemon: DaemonVariant,
    scenarios: Sequence[str],
    training: Mapping[str, Any],
) -> None:
    """Write a bundle, whole or not at all. Raises `ConfigError` if the folder holds something already."""
    weights = serialise_tensors(model.tensors())
    num_features = model.num_features
    rng = np.random.default_rng(_SELF_TEST_SEED)
    random = rng.uniform(-1, 1, (_NUM_SELF_TESTS - 3, num_features))
    edges = np.repeat([[-1.0], [0.0], [1.0]], num_features, axis=1)
    observations = np.concatenate((edges, random)).astype(np.float32)
    document = BundleDocument(
        name=name,
        daemon=daemon.name,
        scenarios=tuple(scenarios),
        observation=tuple(observation_definition(daemon)),
        action=tuple(action_definition(daemon)),
        **_description(model),
        training=dict(training),
        self_test=SelfTest(observations=observations.tolist(), actions=model(observations).tolist()),
        sha256={WEIGHTS: hashlib.sha256(weights).hexdigest()},
    )
    content = document.model_dump(mode="json", by_alias=True)
    content["sha256"][DOCUMENT] = _document_digest(content)
    with atomic_folder(folder) as temporary:
        (temporary / WEIGHTS).write_bytes(weights)
        (temporary / DOCUMENT).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def observation_definition(daemon: DaemonVariant) -> list[dict[str, Any]]:
    """The features of a variant as policy.json describes them."""
    return [
        {
            "name": feature.name,
            "meaning": feature.meaning,
            "unit": feature.unit,
            "scale": {"kind": "log2" if isinstance(feature.scale, LogScale) else "linear"}
            | dataclasses.asdict(feature.scale),
            "counters": list(feature.counters),
        }
        for feature in ObservationEncoder(daemon).features
    ]


def action_definition(daemon: DaemonVariant) -> list[dict[str, Any]]:
    """The coordinates of an action as policy.json describes them: log scale from min to max between the zones."""
    return [
        {
            "name": row.name,
            "meaning": row.meaning,
            "min": daemon.ranges.by_name[row.name].min,
            "max": daemon.ranges.by_name[row.name].max,
            "zero_below": -DEAD_ZONE_EDGE if row.has_zero else None,
            "unlimited_above": DEAD_ZONE_EDGE if row.has_unlimited else None,
        }
        for row in TUNABLES
    ]


def _document_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of policy.json's content without this digest itself, whatever its white space."""
    digests = {name: digest for name, digest in content["sha256"].items() if name != DOCUMENT}
    canonical = json.dumps({**content, "sha256": digests}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _read_document(path: Path) -> BundleDocument:
    try:
        content = json.loads(_read(path), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold an object, got {type(content).__name__}")
    document = validate_record(BundleDocument, content, str(path))
    if set(document.sha256) != {DOCUMENT, WEIGHTS}:
        raise ConfigError(f"{path}: sha256: must name {DOCUMENT} and {WEIGHTS}, got {', '.join(document.sha256)}")
    if document.sha256[DOCUMENT] != _document_digest(content):
        raise ConfigError(f"{path}: does not match its SHA-256; export the policy again")
    return document


def check_same_meaning(path: Path, definitions: Mapping[str, Any], daemon: DaemonVariant, remedy: str) -> None:
    """Raise `ConfigError` unless the definitions of "observation" and "action" are those of this build.

    Their words may have changed, their numbers and names may not.
    """
    ours = {"observation": observation_definition(daemon), "action": action_definition(daemon)}
    for field, definition in definitions.items():
        if _without_words(definition) != _without_words(ours[field]):
            raise ConfigError(
                f"{path}: {field}: defined otherwise than in tierenv {__version__} on daemon {daemon.name}; {remedy}"
            )


def _without_words(definition: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "meaning"} for row in definition]


def _description(model: Network | DecisionTree) -> dict[str, Any]:
    if isinstance(model, DecisionTree):
        return {"tree": TreeDescription(leaves=model.num_leaves)}
    return {"network": NetworkDescription(layers=model.layers, activation=model.activation)}


def _read_model(path: Path, document: BundleDocument) -> Network | DecisionTree:
    weights = _read(path)
    if hashlib.sha256(weights).hexdigest() != document.sha256[WEIGHTS]:
        raise ConfigError(f"{path}: does not match the SHA-256 in {DOCUMENT}; export the policy again")
    try:
        tensors = parse_tensors(weights)
    except SafetensorError as error:
        raise ConfigError(f"{path}: not valid safetensors: {error}") from None
    description, num_features = document.model_description, len(document.observation)
    try:
        expected = description.tensors(num_features)
    except ValueError as error:
        raise ConfigError(f"{path.with_name(DOCUMENT)}: {error}") from None
    shapes = {name: shape for name, (_, shape) in expected.items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise ConfigError(f"{path}: tensors: must be those of {description.summary}")
    for name, tensor in tensors.items():
        if tensor.dtype != expected[name][0]:
            raise ConfigError(f"{path}: {name}: must be {expected[name][0]}, got {tensor.dtype}")
        if not np.isfinite(tensor).all():
            raise ConfigError(f"{path}: {name}: must be finite")
    try:
        return description.build(tensors, num_features)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def _check_self_test(folder: Path, document: BundleDocument, model: Network | DecisionTree) -> None:
    rows = document.self_test.observations
    is_rectangular = {len(row) for row in rows} == {model.num_features}
    expected_shape = (len(rows), NUM_TUNABLES)
    actions = document.self_test.actions
    if not is_rectangular or (len(actions), *{len(row) for row in actions}) != expected_shape:
        raise ConfigError(f"{folder / DOCUMENT}: self_test: must pair observations with actions of the policy's size")
    computed = model(np.array(rows, dtype=np.float32))
    error = np.abs(computed - np.array(actions)).max()
    if not error <= SELF_TEST_TOLERANCE:
        raise ConfigError(f"{folder}: self-test failed: an action is off by {error:.2g}; export the policy again")
