"""Networks and trees in integers, and the whole way from raw counters to tunables.

The counterpart of `tierenv.agents.network.Network` and `tierenv.agents.tree.DecisionTree`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tierenv.agents.integer.arithmetic import Ints, shift_rounded
from tierenv.agents.integer.interface import IntegerState, Interface
from tierenv.agents.network import Activation, Network, Output
from tierenv.agents.policy import Array
from tierenv.agents.tree import DecisionTree
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.live import arithmetic
from tierenv.live.arithmetic import ACTION_BITS, ONE, TANH_LIMIT
from tierenv.observation_spec import Observation

TANH_TABLE = np.array(arithmetic.TANH_TABLE, dtype=np.int64)

MAX_LAYER = 128
"""Units of the widest layer, and columns of an observation: two rows of them stand on a kernel stack."""
MAX_WEIGHTS = 32768
"""Of all layers together, 4 bytes each: a decision has to stay a matter of microseconds."""
MAX_LEAVES = 4096

_WEIGHT_BITS = 28
"""Fractional bits of weights where their size leaves room for them."""
_LEAST_BITS = 14
"""With fewer, for weights or results, the precision would be gone; and a shift stays above 0."""
_SUM_BITS = 61
"""The sum of a layer stays below 2^61, whatever is observed."""
_INT32_MAX = 2**31 - 1


def tanh_of(value: Ints) -> Ints:
    """Tanh of values in [-8, 8], both with 20 fractional bits."""
    magnitude = np.abs(value)
    index, rest = np.minimum(magnitude >> 13, 1023), magnitude & 0x1FFF
    inside = TANH_TABLE[index] + (((TANH_TABLE[index + 1] - TANH_TABLE[index]) * rest + 0x1000) >> 13)
    result = np.where(magnitude >= TANH_LIMIT, TANH_TABLE[1024], inside)
    return np.where(value < 0, -result, result)


def relu_of(value: Ints) -> Ints:
    """The positive part."""
    return np.maximum(value, 0)


ACTIVATIONS: dict[Activation, Callable[[Ints], Ints]] = {"tanh": tanh_of, "relu": relu_of}


@dataclass(frozen=True)
class Layer:
    """A fully connected layer without its activation."""

    weights: Ints
    """int64[outputs, inputs], each within int32."""
    biases: Ints
    """int64[outputs], with the fractional bits of weights and inputs together."""
    shift: int
    """Fractional bits to drop from a sum."""
    limit: int
    """Results are clamped to [-limit, limit]."""

    def __call__(self, inputs: Ints) -> Ints:
        """Results int64[n, outputs] for inputs int64[n, inputs]."""
        return np.clip(shift_rounded(inputs @ self.weights.T + self.biases, self.shift), -self.limit, self.limit)


@dataclass(frozen=True)
class IntegerNetwork:
    """A network whose sums cannot overflow."""

    layers: tuple[Layer, ...]
    activation: Activation
    output: Output = "clip"
    menu: Ints | None = None
    """int64[choices, T], 20 fractional bits."""

    @classmethod
    def of(cls, network: Network) -> Self:
        """Choose the scales, each from a bound on what a layer's sums reach with any observation.

        Raises `ConfigError` for a network too large, or with weights that are not finite or leave no room for
        fractions.
        """
        _check_size(network)
        layers: list[Layer] = []
        input_bits, input_bound = ACTION_BITS, np.ones(network.num_features)
        for index, (rounded_weights, rounded_biases) in enumerate(zip(network.weights, network.biases, strict=True)):
            weights, biases = rounded_weights.astype(np.float64), rounded_biases.astype(np.float64)
            if not (np.isfinite(weights).all() and np.isfinite(biases).all()):
                raise ConfigError(f"layer {index}: weights and biases must be finite numbers")
            stage = network.activation if index < len(network.weights) - 1 else network.output
            if stage == "menu":  # which is the greatest a factor does not change, and with this one no bits are idle
                largest = float(np.abs(weights).max())
                factor = 2.0 ** -math.floor(math.log2(largest)) if largest > 0 else 1.0
                weights, biases = factor * weights, factor * biases
            bound = np.abs(weights) @ input_bound + np.abs(biases)
            sum_octaves, weight_octaves = _octaves(bound), _octaves(weights)
            weight_bits = min(_WEIGHT_BITS, 30 - weight_octaves, _SUM_BITS - input_bits - sum_octaves)
            output_bits, limit, input_bound = ACTION_BITS, ONE, np.ones(len(biases))
            if stage == "tanh":
                limit = TANH_LIMIT
            elif stage == "relu":
                output_bits, limit, input_bound = min(ACTION_BITS, 30 - sum_octaves), _INT32_MAX, bound
            elif stage == "menu":
                output_bits, limit = min(30 - sum_octaves, weight_bits + input_bits - 1), _INT32_MAX
            if min(weight_bits, output_bits) < _LEAST_BITS:
                raise ConfigError(
                    f"layer {index}: weights up to {np.abs(weights).max():.3g}, sums up to {bound.max():.3g}: "
                    "too large for 32-bit fixed point"
                )
            layers.append(
                Layer(
                    weights=np.round(weights * 2.0**weight_bits).astype(np.int64),
                    biases=np.round(biases * 2.0 ** (weight_bits + input_bits)).astype(np.int64),
                    shift=weight_bits + input_bits - output_bits,
                    limit=limit,
                )
            )
            input_bits = output_bits
        menu = None if network.menu is None else np.round(network.menu.astype(np.float64) * ONE).astype(np.int64)
        return cls(tuple(layers), network.activation, network.output, menu)

    def __call__(self, observation: Ints) -> Ints:
        """Actions int64[n, T] for observations int64[n, columns]."""
        values = np.clip(observation, -ONE, ONE)
        for layer in self.layers[:-1]:
            values = ACTIVATIONS[self.activation](layer(values))
        values = self.layers[-1](values)
        if self.menu is not None:
            return self.menu[values.argmax(axis=1)]
        return tanh_of(values) if self.output == "tanh" else values


def _check_size(network: Network) -> None:
    sizes = " x ".join(map(str, network.layers))
    if max(network.layers) > MAX_LAYER:
        raise ConfigError(f"network {sizes}: layers may have {MAX_LAYER} units in C; train a smaller one (policy_net)")
    num_weights = sum(weights.size for weights in network.weights)
    if num_weights > MAX_WEIGHTS:
        raise ConfigError(
            f"network {sizes}: {num_weights} weights, C takes {MAX_WEIGHTS}; train a smaller one (policy_net)"
        )


def _octaves(values: NDArray[np.float64]) -> int:
    """Least n >= 0 with every magnitude at most 2^n."""
    return max(0, math.ceil(math.log2(max(float(np.abs(values).max()), 1.0))))


@dataclass(frozen=True)
class IntegerTree:
    """A tree whose nodes have the order of the original's."""

    tree: DecisionTree

    @classmethod
    def of(cls, tree: DecisionTree) -> Self:
        """Raises `ConfigError` for a tree too large."""
        if tree.num_leaves > MAX_LEAVES:
            raise ConfigError(f"tree: {tree.num_leaves} leaves, C takes {MAX_LEAVES}; distil a smaller one")
        return cls(tree)

    @property
    def thresholds(self) -> Ints:
        """int64[nodes]; one beyond every observation stays beyond."""
        exact = np.clip(self.tree.threshold.astype(np.float64), -2, 2)
        return np.floor(exact * ONE).astype(np.int64)

    @property
    def values(self) -> Ints:
        """int64[nodes, tunables]."""
        return np.round(self.tree.value.astype(np.float64) * ONE).astype(np.int64)

    def __call__(self, observation: Ints) -> Ints:
        """Actions int64[n, T] for observations int64[n, columns]."""
        tree, thresholds = self.tree, self.thresholds
        node = np.zeros(len(observation), np.intp)
        rows = np.arange(len(observation))
        for _ in range(tree.depth):
            goes_left = observation[rows, tree.feature[node]] <= thresholds[node]
            node = np.where(tree.is_leaf[node], node, np.where(goes_left, tree.left[node], tree.right[node]))
        return self.values[node]


class IntegerPolicy:
    """What tierenv_policy_decide() does.

    Args:
        model: of floating-point numbers.
        daemon: whose tunables it sets.
        observation: what it observes; None for all features that the daemon supplies.

    Raises:
        ConfigError: for a model, a tunable or a feature that integers cannot express.
    """

    def __init__(self, model: Network | DecisionTree, daemon: Daemon, observation: Observation = None) -> None:
        self.interface = Interface(daemon, observation)
        if self.interface.num_columns > MAX_LAYER:
            raise ConfigError(f"observation: {self.interface.num_columns} columns, C takes {MAX_LAYER}; observe less")
        self.model = IntegerTree.of(model) if isinstance(model, DecisionTree) else IntegerNetwork.of(model)

    def decide(self, samples: NDArray[np.void], state: IntegerState) -> NDArray[np.void]:
        """Settings for the samples of machines whose state takes them in."""
        return self.interface.decode(self.model(self.interface.observe(samples, state)))

    def error(self, model: Network | DecisionTree, observations: Array) -> NDArray[np.float64]:
        """Actions less those of the model, float64[n, T], for observations float32[n, columns]."""
        rounded = np.round(observations.astype(np.float64) * ONE).astype(np.int64)
        return self.model(rounded) / ONE - model(observations)
