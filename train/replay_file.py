"""What an off-policy algorithm remembers, as tensors in a file: safetensors, which hold no code."""

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as deserialise
from safetensors.numpy import save as serialise
from stable_baselines3.common.buffers import ReplayBuffer

from tierenv.errors import ConfigError
from tierenv.reading import read_bytes

log = logging.getLogger(__name__)

ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
"""Of a buffer, each [steps, environments, ...]."""
_HEADER_BYTES = 1 << 20
"""More than names, types and shapes take."""


def to_bytes(buffer: ReplayBuffer) -> bytes:
    """All transitions of a buffer, the oldest first."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name in ARRAYS:
        array = getattr(buffer, name)
        arrays[name] = np.roll(array, -buffer.pos, axis=0) if buffer.full else array[: buffer.pos]
    return serialise({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def fill(buffer: ReplayBuffer, path: Path) -> None:
    """Put the transitions of a file into an empty buffer. Raises `ConfigError` unless they are those of such a buffer.

    The episodes that were under way do not go on: their last transitions count as ends for want of time.
    """
    most_bytes = sum(getattr(buffer, name).nbytes for name in ARRAYS) + _HEADER_BYTES
    remedy = "remove it to go on with an empty buffer"
    try:
        stored = deserialise(read_bytes(path, most_bytes))
    except (SafetensorError, KeyError, ValueError) as error:
        raise ConfigError(f"{path}: not valid safetensors: {error}; {remedy}") from None
    if set(stored) != set(ARRAYS):
        raise ConfigError(f"{path}: must hold {', '.join(ARRAYS)}; {remedy}")
    steps = len(stored["rewards"]) if stored["rewards"].ndim else 0
    for name in ARRAYS:
        own, its = getattr(buffer, name), stored[name]
        shape = (steps, *own.shape[1:])
        if its.shape != shape or its.dtype != own.dtype or not 0 < steps <= buffer.buffer_size:
            raise ConfigError(
                f"{path}: {name} is {its.dtype} of shape {its.shape}, must be {own.dtype} of 1 to {buffer.buffer_size} "
                f"steps x {own.shape[1:]}; {remedy}"
            )
        if not np.isfinite(its).all():
            raise ConfigError(f"{path}: {name}: must be finite numbers; {remedy}")
        own[:steps] = its
    buffer.timeouts[steps - 1] = np.where(buffer.dones[steps - 1] > 0, buffer.timeouts[steps - 1], 1)
    buffer.dones[steps - 1] = 1
    buffer.pos, buffer.full = steps % buffer.buffer_size, steps == buffer.buffer_size
