"""The algorithms of stable-baselines3 that `train` knows; one more is a row here and a configuration file.

All are on-policy: the policy is a normal distribution about `action_net`'s output with a learned `log_std`, and what is
trained on is a whole rollout.
"""

import importlib
import inspect
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tierenv.errors import ConfigError, close_match
from tierenv.extras import require


@dataclass(frozen=True)
class Algorithm:
    """One row of the table."""

    name: str
    location: str
    """module:Class of a stable-baselines3 (or sb3-contrib) algorithm."""
    summary: str

    @cached_property
    def algorithm_class(self) -> Any:
        """The class, imported when first asked for. Raises `ConfigError` where the extra `train` is missing."""
        require("train", f"algorithm {self.name}")
        module, _, name = self.location.partition(":")
        return getattr(importlib.import_module(module), name)

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Hyperparameters a user may set and their defaults: the scalar arguments, less those we set."""
        parameters = inspect.signature(self.algorithm_class.__init__).parameters.values()
        scalar = (bool, int, float, type(None))
        return {
            parameter.name: parameter.default
            for parameter in parameters
            if parameter.name not in RESERVED and isinstance(parameter.default, scalar)
        }

    def check(self, hyperparameters: dict[str, Any], origin: str) -> None:
        """Raise `ConfigError` for a key the algorithm lacks or a value of another kind or out of range."""
        for name, value in hyperparameters.items():
            field = f"{origin}: hyperparameters.{name}"
            if name in RESERVED:
                raise ConfigError(f"{field}: set by the run itself; {RESERVED[name]}")
            if name not in self.defaults:
                hint = close_match(name, self.defaults)
                raise ConfigError(f"{field}: {self.name} has no such key{hint}; allowed: {', '.join(self.defaults)}")
            _check_value(field, value, self.defaults[name], *RANGES.get(name, (-math.inf, math.inf)))


ALGORITHMS = {
    row.name: row for row in (Algorithm("ppo", "stable_baselines3:PPO", "proximal policy optimisation, on-policy"),)
}

RESERVED = {
    "gamma": "the key gamma serves learner and shaping alike",
    "policy_kwargs": "use policy_net and log_std_init",
    "seed": "use the key seed",
    "tensorboard_log": "TensorBoard files go to the run folder",
    "device": "networks this small are fastest on one CPU core",
    "verbose": "progress is reported by tierenv train",
    "_init_setup_model": "internal to stable-baselines3",
    "stats_window_size": "it only smooths what stable-baselines3 prints",
} | dict.fromkeys(("self", "policy", "env", "rollout_buffer_class", "rollout_buffer_kwargs"), "not a setting")
"""Constructor arguments a configuration may not set, and what to use instead."""

RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": (1e-8, 1),
    "n_steps": (1, 1e6),
    "batch_size": (2, 1e7),
    "n_epochs": (1, 1000),
    "gae_lambda": (0, 1),
    "clip_range": (1e-6, 10),
    "ent_coef": (0, 10),
    "vf_coef": (0, 100),
    "max_grad_norm": (1e-6, 1e6),
    "target_kl": (1e-8, 100),
}
"""Least and greatest value, whichever algorithm has the key; stable-baselines3 itself checks few."""


def find_algorithm(name: str, origin: str) -> Algorithm:
    """The algorithm of that name. Raises `ConfigError`."""
    if name not in ALGORITHMS:
        hint = close_match(name, ALGORITHMS)
        raise ConfigError(f"{origin}: algorithm={name!r}: unknown{hint}; allowed: {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def _check_value(field: str, value: Any, default: Any, low: float, high: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    kinds = {bool: "true or false", int: "a whole number", float: "a number"}
    is_right_kind = {
        bool: isinstance(value, bool),
        int: isinstance(value, int) and is_number,
        float: is_number,
    }.get(type(default), is_number or value is None)
    if not is_right_kind:
        kind = kinds.get(type(default), "a number or null")
        raise ConfigError(f"{field}={value!r}: must be {kind} (default {default})")
    if is_number and not low <= value <= high:
        raise ConfigError(f"{field}={value!r}: must be {low:g} to {high:g}")
