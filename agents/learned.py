"""Policies of stable-baselines3, read from the folder of a training run.

A model.zip may hold pickled code: load only what you trained yourself, and deploy bundles (tierenv.agents.bundle).
stable-baselines3 and torch are imported when a policy is loaded.
"""

import zipfile
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from tierenv.action import ActionCodec
from tierenv.agents.bundle import SELF_TEST_TOLERANCE
from tierenv.agents.definition import check_same_meaning
from tierenv.agents.network import ACTIVATIONS, Activation, Network
from tierenv.agents.policy import Array
from tierenv.agents.run_folder import RunFolder
from tierenv.daemon import Daemon
from tierenv.errors import ConfigError
from tierenv.extras import require
from tierenv.observation import ObservationEncoder
from tierenv.scenario import Control, Scenario


class LearnedPolicy:
    """The best model of a run; acts without exploration noise."""

    control: Control = "tunables"

    def __init__(self, name: str, daemon: Daemon, model: Any) -> None:
        self.name = name
        self.daemon: Daemon | None = daemon
        self.model = model

    @classmethod
    def load(cls, folder: Path, scenario: Scenario | None = None) -> Self:
        """Read a run's best model. Raises `ConfigError` if it has none, or one that means something else by now.

        Args:
            folder: of the run.
            scenario: to run on, whose daemon is taken if the run was trained on it; otherwise the first of its own.
        """
        run = RunFolder(folder)
        daemons = [trained.daemon for trained in run.configuration.scenarios]
        daemon = scenario.daemon if scenario is not None and scenario.daemon in daemons else daemons[0]
        _check_definitions(run, daemon)
        model = _load_model(run)
        spaces = (ObservationEncoder(daemon).space, ActionCodec(daemon).space)
        for kind, ours, theirs in zip(
            ("observation", "action"), spaces, (model.observation_space, model.action_space), strict=True
        ):
            if theirs != ours:
                raise ConfigError(
                    f"{run.best_model}: {kind} has shape {theirs.shape}, daemon {daemon.name} has {ours.shape}; "
                    "train it again"
                )
        return cls(folder.resolve().name, daemon, model)

    def reset(self, num_machines: int) -> None:
        """Nothing to forget."""

    def act(self, observation: Array) -> Array:
        """The mean of the learned distribution, clipped."""
        actions, _ = self.model.predict(observation, deterministic=True)
        return np.asarray(actions, dtype=np.float32)

    def network(self) -> Network:
        """The actor alone: hidden layers, mean of the action, clip. Raises `ConfigError` for other designs."""
        policy = self.model.policy
        hidden = list(getattr(getattr(policy, "mlp_extractor", None), "policy_net", []))
        layers = [module for module in hidden if hasattr(module, "weight")] + [getattr(policy, "action_net", None)]
        activations = {type(module).__name__.lower() for module in hidden if not hasattr(module, "weight")}
        is_perceptron = len(hidden) == 2 * len(layers) - 2 and len(activations) <= 1 and layers[-1] is not None
        if not is_perceptron or not activations <= set(ACTIVATIONS) or policy.squash_output:
            raise ConfigError(f"{self.name}: {_DESIGN}")
        network = Network(
            weights=tuple(_array(layer.weight) for layer in layers),
            biases=tuple(_array(layer.bias) for layer in layers),
            activation=cast(Activation, activations.pop() if activations else "tanh"),
        )
        if not all(np.isfinite(tensor).all() for tensor in network.tensors().values()):
            raise ConfigError(f"{self.name}: weights must be finite numbers; the training has diverged")
        probes = np.random.default_rng(0).uniform(-1, 1, (256, network.layers[0])).astype(np.float32)
        # whatever else a policy may be made of (other features, layers without bias) shows in its actions
        if np.abs(network(probes) - self.act(probes)).max() > SELF_TEST_TOLERANCE:
            raise ConfigError(f"{self.name}: {_DESIGN}")
        return network


_DESIGN = f"only perceptrons with {' or '.join(ACTIVATIONS)} layers and clipped output can be bundled"


def _check_definitions(run: RunFolder, daemon: Daemon) -> None:
    """Refuse what was trained on other features or another scale of actions, where the manifest tells."""
    manifest = run.manifest
    try:
        definitions: dict[str, Any] = {
            key: [dict(row) for row in manifest[key]] for key in ("observation", "action") if key in manifest
        }
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{run.manifest_path}: {error}") from None
    check_same_meaning(run.manifest_path, definitions, daemon, "train it again")


def _load_model(run: RunFolder) -> Any:
    if not run.best_model.is_file():
        raise ConfigError(f"{run.best_model}: no such file; the run has not been evaluated yet")
    require("train", f"{run.path}: the model of a run")
    import stable_baselines3

    algorithm = run.configuration.algorithm
    learner = getattr(stable_baselines3, algorithm.upper(), None)
    if learner is None:
        raise ConfigError(f"{run.config_path}: algorithm={algorithm!r}: not one of stable-baselines3")
    try:
        return learner.load(run.best_model, device="cpu")
    except (ValueError, KeyError, OSError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{run.best_model}: cannot be loaded: {reason}") from None


def _array(parameter: Any) -> Array:
    return np.array(parameter.detach().cpu().numpy(), dtype=np.float32)
