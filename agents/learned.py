"""Policies of training runs: the actor's weights out of best/model.zip, played by numpy.

Of stable-baselines3's archive only tensors are read, by torch's loader that unpickles nothing else; their shapes follow
from the run's configuration. So somebody else's run folder is data, as a bundle is. torch is imported when a policy is
loaded.
"""

import hashlib
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any, Self

import numpy as np

from tierenv.agents.actors import ACTORS, MAX_QUANTILES, MAX_UNITS, Actor
from tierenv.agents.definition import check_action, observation_definition, rows_of_definition
from tierenv.agents.network import Network, RecurrentNetwork
from tierenv.agents.policy import Array
from tierenv.agents.run_folder import RunFolder
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.extras import require
from tierenv.features import Feature
from tierenv.observation_spec import observation_rows
from tierenv.scenario import Control, Scenario

ACTOR = "policy.pth"
"""The archive's member with the state of the policy."""
_ROOM_BYTES = 1 << 20
"""For what torch and zip add to the numbers."""


class LearnedPolicy:
    """The best model of a run; acts without exploration noise."""

    control: Control = "tunables"

    def __init__(
        self, name: str, daemon: Daemon, observation: tuple[Feature, ...], network: Network | RecurrentNetwork
    ) -> None:
        self.name = name
        self.daemon: Daemon | None = daemon
        self.observation: tuple[Feature, ...] | None = observation
        self.network = network
        self.identity = _identity(network, observation)
        self._state = np.zeros((2, 0, 0), np.float32)

    @classmethod
    def load(cls, folder: Path, scenario: Scenario | None = None) -> Self:
        """Read a run's best model. Raises `ConfigError` if it has none, or one that means something else by now.

        Args:
            folder: of the run.
            scenario: to run on, whose daemon is taken if the run was trained on it; otherwise the first of its own.
        """
        run = RunFolder(folder)
        daemons = run.configuration.daemons
        daemon = scenario.daemon if scenario is not None and scenario.daemon in daemons else daemons[0]
        manifest = run.manifest
        if manifest.action is not None:
            check_action(run.manifest_path, manifest.action, daemon, "train it again")
        if manifest.observation is not None:
            rows = rows_of_definition(run.manifest_path, manifest.observation, daemon, "train it again")
        else:
            rows = observation_rows(run.configuration.observation, daemon, f"{run.config_path}: observation")
        if manifest.actor not in ACTORS:
            raise ConfigError(f"{run.manifest_path}: actor={manifest.actor!r}: unknown; allowed: {', '.join(ACTORS)}")
        network = _read_network(run, ACTORS[manifest.actor], daemon, sum(row.history.num_columns for row in rows))
        return cls(folder.resolve().name, daemon, rows, network)

    def reset(self, num_machines: int) -> None:
        """Forget the past, if there is one."""
        if isinstance(self.network, RecurrentNetwork):
            self._state = self.network.initial_state(num_machines)

    def act(self, observation: Array) -> Array:
        """The action without noise."""
        if isinstance(self.network, Network):
            return self.network(observation)
        actions, self._state = self.network.step(observation, self._state)
        return actions


def _identity(network: Network | RecurrentNetwork, observation: tuple[Feature, ...]) -> str:
    """By which networks that act alike are the same."""
    parts = [tensor.tobytes() for tensor in network.tensors().values()]
    head = network if isinstance(network, Network) else network.head
    if head.output != "clip":
        parts.append(head.output.encode())
    if head.menu is not None:
        parts.append(head.menu.tobytes())
    parts.append(json.dumps(observation_definition(observation)).encode())
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _read_network(run: RunFolder, actor: Actor, daemon: Daemon, num_features: int) -> Network | RecurrentNetwork:
    """The actor alone. Raises `ConfigError`."""
    if not run.best_model.is_file():
        raise ConfigError(f"{run.best_model}: no such file; the run has not been evaluated yet")
    require("train", f"{run.path}: the model of a run")
    hidden, menu = run.configuration.policy_net, _menu(run, actor, daemon)
    num_outputs = len(daemon.tunables) if menu is None else len(menu)
    most = actor.shapes(num_features, hidden, num_outputs * (1 if menu is None else MAX_QUANTILES), MAX_UNITS)
    tensors = _read_tensors(run.best_model, 4 * actor.copies * sum(map(math.prod, most.values())) + _ROOM_BYTES)
    num_outputs *= _num_quantiles(tensors, actor, len(hidden), num_outputs) if menu is not None else 1
    shapes = actor.shapes(num_features, hidden, num_outputs, _num_units(tensors, actor))
    for name, shape in shapes.items():
        if name not in tensors:
            raise ConfigError(f"{run.best_model}: lacks {name}: not a model of `tierenv train`")
        if tensors[name].shape != shape:
            raise ConfigError(
                f"{run.best_model}: {name} has shape {tensors[name].shape}, of {run.config_path} and daemon "
                f"{daemon.name} follows {shape}; train it again"
            )
        if not np.isfinite(tensors[name]).all():
            raise ConfigError(f"{run.best_model}: {name}: weights must be finite numbers; the training has diverged")
    return actor.network(tensors, len(hidden), run.configuration.activation, menu)


def _menu(run: RunFolder, actor: Actor, daemon: Daemon) -> Array | None:
    """float32[choices, T] of a policy that chooses; None for others. Raises `ConfigError`."""
    if actor.output != "menu":
        return None
    rows = run.configuration.menu
    if rows is None or {len(row) for row in rows} != {len(daemon.tunables)}:
        raise ConfigError(
            f"{run.config_path}: menu: must be rows of {len(daemon.tunables)} coordinates, one for each tunable of "
            f"{daemon.name}; train it again"
        )
    return np.array(rows, np.float32)


def _num_quantiles(tensors: dict[str, Array], actor: Actor, num_hidden: int, num_choices: int) -> int:
    """Values of each choice; 1 where the last layer is none of such a policy, which its shape then tells."""
    bias = tensors.get(f"{actor.layers(num_hidden)[-1]}.bias", np.zeros(num_choices))
    return bias.size // num_choices if bias.size and bias.size % num_choices == 0 else 1


def _num_units(tensors: dict[str, Array], actor: Actor) -> int:
    """Of the LSTM; 1 where there is none, which shows when its tensors are looked for."""
    weight = tensors.get(f"{actor.memory}.weight_hh_l0")
    return weight.shape[1] if weight is not None and weight.ndim == 2 and weight.size else 1


def _read_tensors(path: Path, most_bytes: int) -> dict[str, Array]:
    """The state of the policy in a model's archive, float32. Raises `ConfigError`, also for more bytes than given."""
    import torch

    try:
        state: Any = torch.load(_member(path, ACTOR, most_bytes), map_location="cpu", weights_only=True)
        return {str(name): np.array(tensor.numpy(), dtype=np.float32) for name, tensor in state.items()}
    except ConfigError:
        raise
    except Exception as error:  # neither zipfile nor torch says what it raises for an archive that is spoiled
        raise ConfigError(f"{path}: cannot be loaded: {type(error).__name__}: {error}") from None


def _member(path: Path, name: str, most_bytes: int) -> io.BytesIO:
    """A member of a model's archive, itself an archive, neither of which unpacks to more than it may."""
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo(name).file_size
        content = io.BytesIO(archive.read(name) if size <= most_bytes else b"")
    if size <= most_bytes:
        with zipfile.ZipFile(content) as inner:
            size = sum(member.file_size for member in inner.infolist())
    if size > most_bytes:
        raise ConfigError(f"{path}: {name} holds {size} bytes, the network of the configuration {most_bytes} at most")
    content.seek(0)
    return content
