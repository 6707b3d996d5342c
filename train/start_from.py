"""A policy that begins as another one: the same layers, of which what it observes beside has weight 0.

So it acts like that one on whatever machine until it has learned something; one that was fitted to its actions does so
only where it was fitted. The critic knows nothing by then: it learns alone at first, or it would spoil what is there.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from tierenv.agents.actors import Actor
from tierenv.agents.definition import action_definition, without_words
from tierenv.agents.export.learned_source import learned_source
from tierenv.agents.network import Activation, Network
from tierenv.agents.policy import Array
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.features import Feature, feature_columns
from tierenv.history import NO_HISTORY
from tierenv.reading import FileText
from tierenv.records import Record, is_bare_word, locate

ABLE = ("gaussian", "gaussian-of-units")
"""Forms of the actors that can begin as another one: rows of `tierenv.agents.actors`."""


def _placed(value: Any) -> Any:
    """A path out of a file as one that leads there from anywhere; names stay."""
    return str(locate(value).resolve()) if isinstance(value, FileText) and not is_bare_word(value) else value


class StartFrom(Record):
    """What a policy is before it learns."""

    policy: Annotated[str, BeforeValidator(_placed)]
    """Packaged policy, or the folder of a bundle or run: a network of the same hidden layers, whose features are all
    observed and whose tunables are all set."""
    critic_steps: Annotated[int, Field(ge=0)] = 200_000
    """Environment steps in which the critic learns alone, before the policy does."""


def start_tensors(
    start: StartFrom,
    actor: Actor,
    daemon: Daemon,
    observed: Sequence[Feature],
    hidden: Sequence[int],
    activation: Activation,
    initial_action: Sequence[float] | None,
) -> dict[str, Array]:
    """The tensors that act, float32, by name.

    Args:
        start: from which policy.
        actor: says how the tensors are called.
        daemon: that is tuned.
        observed: rows of what is observed.
        hidden: sizes of the hidden layers.
        activation: between the layers.
        initial_action: for each tunable of the daemon; taken for those that the other policy does not set. None for 0.

    Raises:
        ConfigError: for another policy than `StartFrom.policy` says; it starts with that field.
    """
    field = f"start_from.policy={start.policy}"
    try:
        source = learned_source(start.policy, ())
    except ConfigError as error:
        raise ConfigError(f"start_from.policy: {error}") from None
    network = source.model
    if not isinstance(network, Network) or network.output != "clip":
        raise ConfigError(f"{field}: must be a network whose outputs are clipped, as ppo, ppo-gsde and a2c learn them")
    if network.layers[1:-1] != tuple(hidden) or network.activation != activation:
        its = f"policy_net: [{', '.join(map(str, network.layers[1:-1]))}] and activation: {network.activation}"
        raise ConfigError(f"{field}: has {its}; say the same")
    columns = _columns(field, observed, source.observation)
    rows = _tunables(field, daemon, source.daemon)

    first = np.zeros((network.layers[1], len(feature_columns(observed))), np.float32)
    first[:, columns] = network.weights[0]
    last = np.zeros((len(daemon.tunables), network.layers[-2]), np.float32)
    last[rows] = network.weights[-1]
    bias = (
        np.zeros(len(daemon.tunables), np.float32) if initial_action is None else np.array(initial_action, np.float32)
    )
    bias[rows] = network.biases[-1]
    weights, biases = (first, *network.weights[1:-1], last), (*network.biases[:-1], bias)
    tensors: dict[str, Array] = {}
    for layer, weight, offset in zip(actor.layers(len(hidden)), weights, biases, strict=True):
        tensors |= {f"{layer}.weight": weight, f"{layer}.bias": offset}
    return tensors


def _columns(field: str, observed: Sequence[Feature], its: Sequence[Feature]) -> list[int]:
    """Where the columns of another observation stand in ours."""
    names = [column.name for column in feature_columns(observed)]
    ours = {row.name: replace(row, history=NO_HISTORY) for row in observed}
    for row in its:
        if missing := [name for name in row.column_names if name not in names]:
            raise ConfigError(f"{field}: observes {missing[0]}; observe it too")
        if ours[row.name] != replace(row, history=NO_HISTORY):
            raise ConfigError(f"{field}: observes another {row.name} than this version of tierenv; train it again")
    return [names.index(column.name) for column in feature_columns(its)]


def _tunables(field: str, daemon: Daemon, its: Daemon) -> list[int]:
    """Where the tunables of another daemon stand among ours."""
    ours, theirs = (
        dict(zip(own.tunables, without_words(action_definition(own)), strict=True)) for own in (daemon, its)
    )
    for name, row in theirs.items():
        if ours.get(name) != row:
            problem = "in another range" if name in ours else "not"
            raise ConfigError(f"{field}: sets {name}, which daemon {daemon.name} has {problem}")
    return [list(ours).index(name) for name in theirs]
