"""Multilayer perceptrons: float32 arrays and the numpy that plays them, many observations at once.

What stands behind the last layer makes actions of its sums: a clip, tanh, or a menu, of which the choice with the
greatest sum is taken, the first one of several. Beside them a recurrent network, of one LSTM and a perceptron.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tierenv.agents.policy import Array

Activation = Literal["tanh", "relu"]
ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}
"""Functions between layers, by name."""

Output = Literal["clip", "tanh", "menu"]
"""What makes actions of the sums of the last layer."""

CLOSE = 1e-3
"""Share of the distance between the best and the worst choice within which another arithmetic may prefer the second."""


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron whose actions lie in [-1, 1]."""

    weights: tuple[Array, ...]
    """float32[outputs, inputs] of each layer."""
    biases: tuple[Array, ...]
    """float32[outputs] of each layer."""
    activation: Activation
    output: Output = "clip"
    menu: Array | None = None
    """float32[choices, T]: for output menu the action of each choice."""

    @property
    def num_features(self) -> int:
        """Length of an observation."""
        return self.weights[0].shape[1]

    @property
    def num_actions(self) -> int:
        """T, coordinates of an action."""
        return len(self.biases[-1]) if self.menu is None else self.menu.shape[1]

    @property
    def layers(self) -> tuple[int, ...]:
        """Inputs, then the outputs of each layer."""
        return (self.num_features, *(len(bias) for bias in self.biases))

    def __call__(self, observation: Array) -> Array:
        """Actions float32[n, T] for observations float32[n, columns]."""
        sums = self.sums(observation)
        if self.menu is not None:
            return self.menu[sums.argmax(axis=1)]
        return np.tanh(sums) if self.output == "tanh" else np.clip(sums, -1, 1)

    def sums(self, observation: Array) -> Array:
        """float32[n, outputs] of the last layer, for observations float32[n, columns]."""
        hidden = observation
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = ACTIVATIONS[self.activation](hidden @ weight.T + bias)
        sums: Array = hidden @ self.weights[-1].T + self.biases[-1]
        return sums

    def is_decisive(self, observation: Array) -> NDArray[np.bool_]:
        """bool[n]: whether rounding leaves the action about as it is; not where two choices of a menu are CLOSE."""
        if self.menu is None or len(self.menu) < 2:
            return np.ones(len(observation), dtype=np.bool_)
        ordered = np.sort(self.sums(observation), axis=1)
        leads: NDArray[np.bool_] = ordered[:, -1] - ordered[:, -2] > CLOSE * (ordered[:, -1] - ordered[:, 0])
        return leads

    def tensors(self) -> dict[str, Array]:
        """What weights.safetensors holds, by name."""
        named = {}
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            named[f"layer{index}.weight"] = weight
            named[f"layer{index}.bias"] = bias
        return named


@dataclass(frozen=True)
class RecurrentNetwork:
    """A long short-term memory of H units (Hochreiter and Schmidhuber, 1997) and a network that looks at its output."""

    input_weight: Array
    """float32[4 H, features] of the input, forget, cell and output gates, in torch's order."""
    hidden_weight: Array
    """float32[4 H, H]."""
    bias: Array
    """float32[4 H]."""
    head: Network

    @property
    def num_units(self) -> int:
        """H."""
        return self.hidden_weight.shape[1]

    def initial_state(self, num_machines: int) -> NDArray[np.float32]:
        """float32[2, n, H]: output and cell of machines that have no past."""
        return np.zeros((2, num_machines, self.num_units), np.float32)

    def step(self, observation: Array, state: NDArray[np.float32]) -> tuple[Array, NDArray[np.float32]]:
        """Actions float32[n, T] for observations float32[n, columns], and the state from there."""
        sums = observation @ self.input_weight.T + state[0] @ self.hidden_weight.T + self.bias
        of_input, of_forgetting, of_cell, of_output = np.split(sums, 4, axis=1)
        cell = _sigmoid(of_forgetting) * state[1] + _sigmoid(of_input) * np.tanh(of_cell)
        hidden = _sigmoid(of_output) * np.tanh(cell)
        return self.head(hidden), np.stack((hidden, cell))

    def tensors(self) -> dict[str, Array]:
        """All numbers, by name."""
        own = {"input": self.input_weight, "hidden": self.hidden_weight, "bias": self.bias}
        return own | self.head.tensors()


def _sigmoid(values: Array) -> Array:
    """1 / (1 + exp(-x)), which never overflows in this form."""
    result: Array = np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.5) * values)
    return result
