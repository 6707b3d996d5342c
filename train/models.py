"""Models of stable-baselines3 as a configuration says: new, or going on from a checkpoint that is not unpickled."""

import io
import json
import logging
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

from tierenv.agents.actors import Actor
from tierenv.agents.run_folder import RunFolder
from tierenv.errors import ConfigError
from tierenv.train import replay_file
from tierenv.train.algorithms import LinearDecay
from tierenv.train.clock import Clock
from tierenv.train.config import TrainingConfig
from tierenv.train.vec_adapter import TieredMemoryVecEnv

log = logging.getLogger(__name__)

ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}
COUNTS = ("num_timesteps", "_n_updates", "_n_calls", "_episode_num")
"""Of a model, as far as it has them: they time updates of targets and of policies."""
TRAINED_S = "trained_s"
MACHINE_S = "machine_s"
"""What we keep beside them: time trained so far, and modelled time that passed meanwhile in all environments [s]."""
_OURS = "_update_current_progress_remaining"
"""Method of a model that a clock takes the place of."""
EDGE = 0.99
"""Greatest mean of an action behind tanh at the start: at 1 nothing would be learned any more."""
START_GAIN = 0.01
"""Factor on the last layer of those networks, as stable-baselines3 has it for the others: all observations have about
the same start action."""


def make_model(config: TrainingConfig, origin: Path, adapter: VecEnv) -> BaseAlgorithm:
    """A model that has learned nothing. Raises `ConfigError` for what only the algorithm refuses.

    Args:
        config: what to train.
        origin: file of the configuration, for messages.
        adapter: environments to learn in.
    """
    algorithm = config.find_algorithm()
    try:
        model: BaseAlgorithm = algorithm.algorithm_class(
            algorithm.policy,
            adapter,
            gamma=config.gamma,
            seed=config.seed,
            device="cpu",
            policy_kwargs={
                "net_arch": list(config.policy_net),
                "activation_fn": ACTIVATIONS[config.activation],
                **algorithm.policy_kwargs(config.hyperparameters),
            },
            **_arguments(algorithm.constructor_arguments(config.hyperparameters), adapter),
        )
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError(f"{origin}: hyperparameters: {algorithm.name}: {_one_line(error)}") from None
    _set_start(model.policy, algorithm.acts_by, config)
    if config.reward.overshoot_cost > 0:
        model.policy.action_space = Box(-1, 1, adapter.action_space.shape, np.float32)  # it is judged within the range
    return model


def hold_actor(model: BaseAlgorithm, config: TrainingConfig, *, is_held: bool) -> None:
    """Whether the critic of a model learns alone."""
    actor = config.find_algorithm().acts_by
    layers = actor.layers(len(config.policy_net))
    held = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")} | {actor.log_std}
    for name, tensor in model.policy.named_parameters():
        if name in held:
            tensor.requires_grad_(not is_held)


def follow(model: BaseAlgorithm, clock: Clock) -> None:
    """Let what changes while a training lasts, such as a learning rate, go by a clock.

    stable-baselines3 goes by the steps of a call, and knows of no wall time.
    """

    def update(num_timesteps: int, _total_timesteps: int) -> None:
        model._current_progress_remaining = clock.share_left(num_timesteps)

    setattr(model, _OURS, update)


def to_bytes(model: BaseAlgorithm, trained_s: float = 0.0) -> bytes:
    """A model as an archive, with the time it has been trained."""
    buffer = io.BytesIO()
    setattr(model, TRAINED_S, trained_s)
    setattr(model, MACHINE_S, _adapter(model).machine_s)
    model.save(buffer, exclude=[_OURS])
    return buffer.getvalue()


def machine_s(model: BaseAlgorithm) -> float | None:
    """Modelled time of the training so far [s]; None where a checkpoint that it went on from did not say."""
    seconds = _adapter(model).machine_s
    return None if math.isnan(seconds) else seconds


def _adapter(model: BaseAlgorithm) -> TieredMemoryVecEnv:
    """The environments that a model acts in."""
    adapter = model.get_env()
    assert isinstance(adapter, TieredMemoryVecEnv), "what it was made with"
    return adapter


def replay_bytes(model: BaseAlgorithm) -> bytes | None:
    """The transitions that a model remembers; None if it does not, or has none yet."""
    buffer = model.replay_buffer if isinstance(model, OffPolicyAlgorithm) else None
    return None if buffer is None or buffer.size() == 0 else replay_file.to_bytes(buffer)


def go_on_from(checkpoint: Path, model: BaseAlgorithm) -> float:
    """Take weights, optimisers, counts and transitions from a checkpoint. Raises `ConfigError`.

    stable-baselines3 loads parameters as tensors alone; its `load` would unpickle the rest, which the configuration
    says anyway.

    Returns:
        The time trained so far [s].
    """
    try:
        _, parameters, variables = load_from_zip_file(checkpoint, device="cpu", load_data=False)
        model.set_parameters(parameters, device="cpu")
        _set_variables(model, variables or {})
        if not all(bool(torch.isfinite(tensor).all()) for tensor in model.policy.state_dict().values()):
            raise ValueError("weights must be finite numbers; the training has diverged")
        with zipfile.ZipFile(checkpoint) as archive:
            counts = json.loads(archive.read("data"))
        for name in COUNTS:
            if hasattr(model, name):
                setattr(model, name, int(counts[name]))
        trained_s = float(counts.get(TRAINED_S, 0.0))
        if not 0 <= trained_s < float("inf"):
            raise ValueError(f"{TRAINED_S}={trained_s:g}: must be a time")
        machine_s = float(counts.get(MACHINE_S, math.nan))
        if not (math.isnan(machine_s) or 0 <= machine_s < math.inf):
            raise ValueError(f"{MACHINE_S}={machine_s:g}: must be a time")
        _adapter(model).machine_s = machine_s
    except Exception as error:  # neither zipfile nor torch says what it raises for an archive that is spoiled
        reason = str(error).partition(". ")[0]  # torch adds advice
        raise ConfigError(
            f"{checkpoint}: cannot be resumed, remove it to go on from the one before: {type(error).__name__}: {reason}"
        ) from None
    if isinstance(model, OffPolicyAlgorithm):
        _remember(model, RunFolder.replay_path(checkpoint))
    return trained_s


def _set_variables(model: BaseAlgorithm, variables: Mapping[str, Any]) -> None:
    """Tensors of a model that belong to no network: how much soft actor-critics care for being random."""
    for name in model._get_torch_save_params()[1]:
        own = getattr(model, name)
        its = variables[name]
        if its.shape != own.shape or not bool(torch.isfinite(its).all()):
            raise ValueError(f"{name}: must be finite and of shape {tuple(own.shape)}")
        own.data = its.data


def _remember(model: OffPolicyAlgorithm, path: Path) -> None:
    """Fill the buffer from a file; without one it fills anew before it is learned from, by random actions."""
    assert model.replay_buffer is not None
    if path.exists():
        replay_file.fill(model.replay_buffer, path)
    else:
        log.warning("%s: no such file; transitions are gathered anew before learning goes on", path)
        model.learning_starts += model.num_timesteps


def _arguments(given: Mapping[str, Any], adapter: VecEnv) -> dict[str, Any]:
    """Arguments of a constructor for hyperparameters as a configuration says them."""
    arguments = {
        name: LinearSchedule(value.start, value.end, 1.0) if isinstance(value, LinearDecay) else value
        for name, value in given.items()
    }
    if "action_noise" in arguments:
        sigma = np.full(adapter.action_space.shape or (), arguments["action_noise"] or 0.0)
        arguments["action_noise"] = NormalActionNoise(np.zeros_like(sigma), sigma) if sigma.any() else None
    return arguments


def _set_start(policy: Any, actor: Actor, config: TrainingConfig) -> None:
    """Let exploration begin where the configuration says."""
    tensors = dict(policy.named_parameters())
    last = actor.layers(len(config.policy_net))[-1]
    with torch.no_grad():
        for name, tensor in config.start_tensors().items():
            tensors[name].copy_(torch.as_tensor(tensor))
        if config.initial_action is not None and config.start_from is None:
            action = torch.tensor(config.initial_action)
            if actor.output == "tanh":
                action = torch.atanh(action.clamp(-EDGE, EDGE))
                tensors[f"{last}.weight"].mul_(START_GAIN)
            tensors[f"{last}.bias"].copy_(action)
        if config.log_std_init is not None:
            name = f"{actor.log_std}.bias" if actor.is_log_std_layer else str(actor.log_std)
            tensors[name].copy_(torch.tensor(config.log_std_init).expand_as(tensors[name]))
            if actor.is_log_std_layer:
                tensors[f"{actor.log_std}.weight"].zero_()
        if hasattr(policy, "actor_target"):
            policy.actor_target.load_state_dict(policy.actor.state_dict())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
