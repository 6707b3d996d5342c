"""Policy bundles: trained networks and trees in a form that is safe to load, and the numpy runtime that plays them.

A bundle is a folder of two files, policy.json and weights.safetensors. policy.json holds the daemon it is for, what the
numbers mean (observation and action), where they come from (training), how to tell that they are whole (SHA-256 of both
files) and that they compute what they should (self-test vectors). Neither file can hold code, and loading refuses
whatever is not exactly as this build expects it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as serialise_tensors

from tierenv import __version__
from tierenv.agents import bundle_schema_1
from tierenv.agents.definition import action_definition, check_action, observation_definition, rows_of_definition
from tierenv.agents.network import Activation, Network, Output
from tierenv.agents.policy import Array
from tierenv.agents.run_folder import Menu
from tierenv.agents.tree import DecisionTree
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.features import Feature
from tierenv.files import atomic_folder
from tierenv.observation_spec import Observation, observation_rows
from tierenv.reading import parse_json, read_bytes, read_json
from tierenv.records import Name, Record, Seconds, validate_record
from tierenv.scenario import Control, Scenario

DOCUMENT = "policy.json"
WEIGHTS = "weights.safetensors"

MAX_WEIGHTS_BYTES = 64 << 20
"""Far more than a policy has that decides while a machine runs; a shipped one has 22 kB."""

SELF_TEST_TOLERANCE = 1e-5
"""Room for another order of summation; a wrong weight shows far above it."""
_NUM_SELF_TESTS = 32
_SELF_TEST_SEED = 0

_STORED_TYPES = {"float32": "F32", "int32": "I32"}
"""What safetensors calls numpy's types, of those there are."""

Size = Annotated[int, Field(ge=1, le=4096)]
TensorType = tuple[str, tuple[int, ...]]
"""Element type and shape."""


class NetworkDescription(Record):
    """The shape of the network."""

    layers: Annotated[tuple[Size, ...], Field(min_length=2, max_length=10)]
    activation: Activation
    output: Output = "clip"
    """What makes actions of the sums of the last layer: a clip, tanh, or the choice of the menu that has the greatest,
    the first one of several."""
    menu: Menu | None = None
    """For output menu the action of each choice."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.output == "menu") != (self.menu is not None):
            raise ValueError(f"network.menu: must be given for output menu, and for no other; output is {self.output}")
        return self

    @property
    def summary(self) -> str:
        """For messages."""
        return f"a network with layers {list(self.layers)}"

    def tensors(self, num_features: int, num_actions: int) -> dict[str, TensorType]:
        """What weights.safetensors must hold. Raises ValueError unless the layers fit observation and action."""
        num_outputs = num_actions if self.menu is None else len(self.menu)
        if (self.layers[0], self.layers[-1]) != (num_features, num_outputs):
            what = "tunables" if self.menu is None else "choices"
            raise ValueError(
                f"network.layers: must lead from {num_features} features to {num_outputs} {what}, "
                f"got {list(self.layers)}"
            )
        if self.menu is not None and {len(row) for row in self.menu} != {num_actions}:
            raise ValueError(f"network.menu: every choice must have {num_actions} coordinates, one for each tunable")
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
            output=self.output,
            menu=None if self.menu is None else np.array(self.menu, np.float32),
        )


class TreeDescription(Record):
    """The size of the tree."""

    leaves: Size

    @property
    def summary(self) -> str:
        """For messages."""
        return f"a tree with {self.leaves} leaves"

    def tensors(self, _num_features: int, num_actions: int) -> dict[str, TensorType]:
        """What weights.safetensors must hold."""
        nodes = 2 * self.leaves - 1
        kinds = {"feature": "int32", "threshold": "float32", "left": "int32", "right": "int32"}
        expected: dict[str, TensorType] = {name: (kind, (nodes,)) for name, kind in kinds.items()}
        return expected | {"value": ("float32", (nodes, num_actions))}

    def build(self, tensors: Mapping[str, Any], num_features: int) -> DecisionTree:
        """The tree of these tensors. Raises ValueError unless they are one."""
        return DecisionTree(num_features, **tensors)


class TrainedOn(Record):
    """A scenario a policy was trained on, or a family's training set, whole or the first few."""

    name: Name
    """For people."""
    identity: str | None = None
    """`Scenario.identity`, or `Family.identity_of_split`; None where it is not known, as in bundles of schema 1."""
    control_interval: Seconds | None = None
    """Time between two decisions, likewise."""

    @classmethod
    def of(cls, scenario: Scenario) -> Self:
        """What a bundle keeps of a scenario."""
        return cls.model_construct(
            name=scenario.name, identity=scenario.identity, control_interval=scenario.control_interval
        )


_Row = tuple[Annotated[float, Field(ge=-1, le=1)], ...]


class SelfTest(Record):
    """Observations and the actions they must give."""

    observations: Annotated[tuple[_Row, ...], Field(min_length=1)]
    actions: tuple[_Row, ...]


class BundleDocument(Record):
    """The content of policy.json."""

    model_config = ConfigDict(populate_by_name=True)

    schema_version: Annotated[Literal[2], Field(alias="schema")] = 2
    name: str
    written_by: str = f"tierenv {__version__}"
    daemon: Daemon
    """The daemon it was trained for, whole."""
    scenarios: tuple[TrainedOn, ...]
    """What it was trained on."""
    observation: tuple[dict[str, Any], ...]
    """`observation_definition` of what it observes."""
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

    @property
    def model_description(self) -> NetworkDescription | TreeDescription:
        """Whichever there is."""
        description = self.network or self.tree
        assert description is not None
        return description


class BundlePolicy:
    """Plays a bundle; needs numpy only."""

    control: Control = "tunables"

    def __init__(
        self, document: BundleDocument, observation: tuple[Feature, ...], model: Network | DecisionTree
    ) -> None:
        self.name = document.name
        self.daemon: Daemon | None = document.daemon
        self.observation: tuple[Feature, ...] | None = observation
        self.document = document
        self.identity = document.sha256[DOCUMENT]
        self.model = model

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read and check a bundle. Raises `ConfigError` unless it is whole and means what this build means."""
        document = _read_document(folder / DOCUMENT)
        remedy = f"the bundle is by {document.written_by}; train the policy again"
        check_action(folder / DOCUMENT, document.action, document.daemon, remedy)
        observation = rows_of_definition(folder / DOCUMENT, document.observation, document.daemon, remedy)
        num_columns = sum(row.history.num_columns for row in observation)
        model = _read_model(folder / WEIGHTS, document, num_columns)
        _check_self_test(folder, document, model)
        return cls(document, observation, model)

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
    daemon: Daemon,
    scenarios: Sequence[TrainedOn],
    training: Mapping[str, Any],
    observation: Observation = None,
) -> None:
    """Write a bundle, whole or not at all. Raises `ConfigError` if the folder holds something already."""
    weights = serialise_tensors(model.tensors())
    num_features = model.num_features
    rng = np.random.default_rng(_SELF_TEST_SEED)
    random = rng.uniform(-1, 1, (_NUM_SELF_TESTS - 3, num_features))
    edges = np.repeat([[-1.0], [0.0], [1.0]], num_features, axis=1)
    observations = np.concatenate((edges, random)).astype(np.float32)
    if isinstance(model, Network):
        observations = observations[_told_apart(model, observations)]
    document = BundleDocument(
        name=name,
        daemon=daemon,
        scenarios=tuple(scenarios),
        observation=tuple(observation_definition(observation_rows(observation, daemon))),
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


def _document_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of policy.json's content without this digest itself, whatever its white space."""
    digests = {name: digest for name, digest in content["sha256"].items() if name != DOCUMENT}
    canonical = json.dumps({**content, "sha256": digests}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _read_document(path: Path) -> BundleDocument:
    content = read_json(path)
    is_whole = _is_whole(content)
    if content.get("schema") == 1:
        if not is_whole:  # told before the upgrade: it trusts what it upgrades
            raise _not_whole(path)
        content = bundle_schema_1.upgraded(content, str(path))
    document = validate_record(BundleDocument, content, str(path))
    if set(document.sha256) != {DOCUMENT, WEIGHTS}:
        raise ConfigError(f"{path}: sha256: must name {DOCUMENT} and {WEIGHTS}, got {', '.join(document.sha256)}")
    if not is_whole:
        raise _not_whole(path)
    return document


def _not_whole(path: Path) -> ConfigError:
    return ConfigError(f"{path}: does not match its SHA-256; export the policy again")


def _is_whole(content: Mapping[str, Any]) -> bool:
    """Whether the content matches the digest it holds; False where it holds none."""
    digests = content.get("sha256")
    return isinstance(digests, dict) and digests.get(DOCUMENT) == _document_digest(content)


def _description(model: Network | DecisionTree) -> dict[str, Any]:
    if isinstance(model, DecisionTree):
        return {"tree": TreeDescription(leaves=model.num_leaves)}
    menu = None if model.menu is None else tuple(map(tuple, model.menu.tolist()))
    return {
        "network": NetworkDescription(layers=model.layers, activation=model.activation, output=model.output, menu=menu)
    }


def _told_apart(model: Network, observations: Array) -> NDArray[np.bool_]:
    """bool[n]: observations whose action another order of summation leaves as it is; one at least."""
    is_told = model.is_decisive(observations)
    return is_told if is_told.any() else np.arange(len(observations)) == 0


def _read_model(path: Path, document: BundleDocument, num_features: int) -> Network | DecisionTree:
    weights = read_bytes(path, MAX_WEIGHTS_BYTES)
    if hashlib.sha256(weights).hexdigest() != document.sha256[WEIGHTS]:
        raise ConfigError(f"{path}: does not match the SHA-256 in {DOCUMENT}; export the policy again")
    description = document.model_description
    try:
        expected = description.tensors(num_features, len(document.action))
    except ValueError as error:
        raise ConfigError(f"{path.with_name(DOCUMENT)}: {error}") from None
    stored = _stored_tensors(path, weights)
    if {name: tuple(tensor["shape"]) for name, tensor in stored.items()} != {
        name: shape for name, (_, shape) in expected.items()
    }:
        raise ConfigError(f"{path}: tensors: must be those of {description.summary}")
    tensors = {}
    for name, (kind, shape) in expected.items():
        if stored[name]["dtype"] != _STORED_TYPES[kind]:
            raise ConfigError(f"{path}: {name}: must be {kind}, got {stored[name]['dtype']}")
        tensors[name] = np.frombuffer(stored[name]["data"], kind).reshape(shape)
        if not np.isfinite(tensors[name]).all():
            raise ConfigError(f"{path}: {name}: must be finite")
    try:
        return description.build(tensors, num_features)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def _stored_tensors(path: Path, content: bytes) -> dict[str, dict[str, Any]]:
    """Type, shape and data of the tensors in a safetensors file. Raises `ConfigError`, also for names given twice.

    Not through safetensors.numpy, which fails with a KeyError on types that numpy lacks.
    """
    try:
        stored = dict(deserialize(content))
    except SafetensorError as error:
        raise ConfigError(f"{path}: not valid safetensors: {error}") from None
    length = int.from_bytes(content[:8], "little")
    parse_json(content[8 : 8 + length].decode(), f"{path}: header")
    return stored


def _check_self_test(folder: Path, document: BundleDocument, model: Network | DecisionTree) -> None:
    rows = document.self_test.observations
    is_rectangular = {len(row) for row in rows} == {model.num_features}
    expected_shape = (len(rows), model.num_actions)
    actions = document.self_test.actions
    if not is_rectangular or (len(actions), *{len(row) for row in actions}) != expected_shape:
        raise ConfigError(f"{folder / DOCUMENT}: self_test: must pair observations with actions of the policy's size")
    with np.errstate(over="ignore", invalid="ignore"):  # of absurd weights, which show in the result
        computed = model(np.array(rows, dtype=np.float32))
    error = np.abs(computed - np.array(actions)).max()
    if not error <= SELF_TEST_TOLERANCE:
        raise ConfigError(f"{folder}: self-test failed: an action is off by {error:.2g}; export the policy again")
