"""Multilayer perceptrons: float32 arrays and the numpy that plays them, many observations at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tierenv.agents.policy import Array

Activation = Literal["tanh", "relu"]
ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}
"""Functions between layers, by name."""


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
    def num_actions(self) -> int:
        """T, coordinates of an action."""
        return len(self.biases[-1])

    @property
    def layers(self) -> tuple[int, ...]:
        """Inputs, then the outputs of each layer."""
        return (self.num_features, *(len(bias) for bias in self.biases))

    def __call__(self, observation: Array) -> Array:
        """Actions float32[n, T] for observations float32[n, columns]."""
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
