"""Policies of training runs: the actor's weights out of best/model.zip, played by numpy.

Of stable-baselines3's archive only tensors are read, by torch's loader that unpickles nothing else; their shapes follow
from the run's configuration. So somebody else's run folder is data, as a bundle is. torch is imported when a policy is
loaded.
"""

import hashlib
import io
import math
import zipfile
from pathlib import Path
from typing import Any, Self

import numpy as np

from tierenv.agents.definition import check_action, columns_looked_at
from tierenv.agents.network import Network
from tierenv.agents.policy import Array
from tierenv.agents.run_folder import RunFolder
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.extras import require
from tierenv.features import observed_columns
from tierenv.scenario import Control, Scenario

ACTOR = "policy.pth"
"""The archive's member with the state of the policy."""
_ROOM_BYTES = 1 << 20
"""For what torch and zip add to the numbers."""


class LearnedPolicy:
    """The best model of a run; acts without exploration noise."""

    control: Control = "tunables"

    def __init__(self, name: str, daemon: Daemon, network: Network) -> None:
        self.name = name
        self.daemon: Daemon | None = daemon
        self.network = network
        tensors = (tensor.tobytes() for tensor in network.tensors().values())
        self.identity = hashlib.sha256(b"".join(tensors)).hexdigest()

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
        manifest, num_columns = run.manifest, len(observed_columns(daemon))
        columns = np.arange(num_columns)
        if manifest.action is not None:
            check_action(run.manifest_path, manifest.action, daemon, "train it again")
        if manifest.observation is not None:
            columns = columns_looked_at(run.manifest_path, manifest.observation, daemon, "train it again")
        network = _read_network(run, daemon, len(columns)).looking_at(columns, num_columns)
        return cls(folder.resolve().name, daemon, network)

    def reset(self, num_machines: int) -> None:
        """Nothing to forget."""

    def act(self, observation: Array) -> Array:
        """The mean of the learned distribution, clipped."""
        return self.network(observation)


def _read_network(run: RunFolder, daemon: Daemon, num_features: int) -> Network:
    """The actor alone: hidden layers, mean of the action, clip. Raises `ConfigError`."""
    if not run.best_model.is_file():
        raise ConfigError(f"{run.best_model}: no such file; the run has not been evaluated yet")
    require("train", f"{run.path}: the model of a run")
    num_actions = len(daemon.tunables)
    sizes = (num_features, *run.configuration.policy_net, num_actions)
    layers = [*(f"mlp_extractor.policy_net.{2 * index}" for index in range(len(sizes) - 2)), "action_net"]
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, inputs, outputs in zip(layers, sizes, sizes[1:], strict=False):
        shapes |= {f"{layer}.weight": (outputs, inputs), f"{layer}.bias": (outputs,)}
    shapes["log_std"] = (num_actions,)  # another one where the noise depends on the state, or the output is squashed
    # beside the actor the state holds a critic of the same size
    tensors = _read_tensors(run.best_model, 2 * 4 * sum(map(math.prod, shapes.values())) + _ROOM_BYTES)
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
    return Network(
        weights=tuple(tensors[f"{layer}.weight"] for layer in layers),
        biases=tuple(tensors[f"{layer}.bias"] for layer in layers),
        activation="tanh",
    )


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
