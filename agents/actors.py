"""The forms in which stable-baselines3 and sb3-contrib keep what acts, and reading it from the tensors of a model.

A row says which tensors make up the network that acts without noise and what makes actions of its sums. Whoever adds
an algorithm of one of these forms names it (`actor` in `tierenv.train.algorithms`), and a run keeps the name in its
manifest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tierenv.agents.network import Activation, Network, Output, RecurrentNetwork
from tierenv.agents.policy import Array

GATES = 4
"""Of a unit of an LSTM: rows of its weights."""
MAX_UNITS = 256
"""Of an LSTM."""
MAX_QUANTILES = 512
"""Of the value of a choice."""


@dataclass(frozen=True)
class Actor:
    """One row of the table."""

    learned_by: tuple[str, ...]
    """Algorithms, for messages."""
    hidden: str
    """Tensors of hidden layer i are called HIDDEN.2i.weight and .bias: between them stand activations."""
    last: str | None
    """Name of the last layer; None where it follows the hidden ones in their row."""
    output: Output
    log_std: str | None = None
    """Logarithm of the noise's standard deviation: a tensor, or a layer where it depends on the state."""
    is_log_std_layer: bool = False
    is_log_std_of_units: bool = False
    """Whether each unit of the last hidden layer has noise of its own for each output."""
    memory: str | None = None
    """Name of the LSTM that the hidden layers look at."""
    copies: int = 2
    """Networks of about the actor's size in the state of a policy, the actor included: critics and targets."""

    @property
    def is_recurrent(self) -> bool:
        """Whether it remembers more than its observation holds."""
        return self.memory is not None

    def layers(self, num_hidden: int) -> list[str]:
        """Names of all layers, hidden ones and the last."""
        hidden = [f"{self.hidden}.{2 * index}" for index in range(num_hidden)]
        return [*hidden, self.last or f"{self.hidden}.{2 * num_hidden}"]

    def shapes(
        self, num_features: int, hidden: Sequence[int], num_outputs: int, units: int
    ) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors it is made of, and of the noise's, which tells it from other forms.

        Args:
            num_features: length of an observation.
            hidden: sizes of the hidden layers.
            num_outputs: of the last layer.
            units: of the LSTM, if there is one.
        """
        sizes = (units if self.is_recurrent else num_features, *hidden, num_outputs)
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, inputs, outputs in zip(self.layers(len(hidden)), sizes, sizes[1:], strict=False):
            shapes |= {f"{layer}.weight": (outputs, inputs), f"{layer}.bias": (outputs,)}
        if self.memory is not None:
            rows = GATES * units
            shapes |= {f"{self.memory}.weight_ih_l0": (rows, num_features), f"{self.memory}.bias_ih_l0": (rows,)}
            shapes |= {f"{self.memory}.weight_hh_l0": (rows, units), f"{self.memory}.bias_hh_l0": (rows,)}
        if self.is_log_std_layer:
            shapes |= {f"{self.log_std}.weight": (num_outputs, sizes[-2]), f"{self.log_std}.bias": (num_outputs,)}
        elif self.log_std is not None:
            shapes[self.log_std] = (sizes[-2], num_outputs) if self.is_log_std_of_units else (num_outputs,)
        return shapes

    def network(
        self, tensors: Mapping[str, Array], num_hidden: int, activation: Activation, menu: Array | None
    ) -> Network | RecurrentNetwork:
        """What acts, of tensors of these shapes."""
        layers = self.layers(num_hidden)
        weights, biases = ([tensors[f"{layer}.{kind}"] for layer in layers] for kind in ("weight", "bias"))
        if menu is not None:
            weights[-1], biases[-1] = advantages(weights[-1], biases[-1], len(menu))
        head = Network(tuple(weights), tuple(biases), activation, self.output, menu)
        if self.memory is None:
            return head
        bias = tensors[f"{self.memory}.bias_ih_l0"] + tensors[f"{self.memory}.bias_hh_l0"]
        of_input, of_hidden = (tensors[f"{self.memory}.weight_{which}_l0"] for which in ("ih", "hh"))
        return RecurrentNetwork(of_input, of_hidden, bias, head)


def advantages(weight: Array, bias: Array, num_choices: int) -> tuple[Array, Array]:
    """A last layer of one value for each choice, less their mean over the choices.

    The mean over quantiles, and over choices, is linear in the last layer's outputs, so it is taken of its weights.
    What all choices have in common decides nothing, and is large against the differences: fixed point is better off
    without.

    Args:
        weight: float32[quantiles * choices, inputs], the choices of one quantile side by side.
        bias: float32[quantiles * choices].
        num_choices: of the menu.
    """
    folded = (
        layer.astype(np.float64).reshape(-1, num_choices, *layer.shape[1:]).mean(axis=0) for layer in (weight, bias)
    )
    values, offsets = (layer - layer.mean(axis=0) for layer in folded)
    return values.astype(np.float32), offsets.astype(np.float32)


ACTORS = {
    "gaussian": Actor(("ppo", "a2c"), "mlp_extractor.policy_net", "action_net", "clip", log_std="log_std"),
    "gaussian-of-units": Actor(
        ("ppo-gsde",), "mlp_extractor.policy_net", "action_net", "clip", log_std="log_std", is_log_std_of_units=True
    ),
    "squashed": Actor(
        ("sac", "tqc"), "actor.latent_pi", "actor.mu", "tanh", log_std="actor.log_std", is_log_std_layer=True, copies=24
    ),
    "deterministic": Actor(("td3",), "actor.mu", None, "tanh", copies=24),
    "values": Actor(("dqn",), "q_net.q_net", None, "menu"),
    "quantiles": Actor(("qr-dqn",), "quantile_net.quantile_net", None, "menu"),
    "recurrent": Actor(
        ("recurrent-ppo",),
        "mlp_extractor.policy_net",
        "action_net",
        "clip",
        log_std="log_std",
        memory="lstm_actor",
    ),
}
"""By name: a normal distribution about a clipped mean; the same with noise that stays for a while and is linear in the
last hidden layer (generalised state-dependent exploration, gSDE: Raffin et al. 2021); one behind tanh; tanh alone; a
value for each choice of a menu; quantiles of the value of each; and the first with a memory."""

FEED_FORWARD = [name for row in ACTORS.values() if not row.is_recurrent for name in row.learned_by]
"""Algorithms whose policies can be exported, for messages."""
