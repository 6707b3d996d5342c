"""The algorithms of stable-baselines3 and sb3-contrib that `train` knows; one more is a row here and a configuration.

What differs between them is data: whether they act by numbers or choose from a menu, whether they learn from whole
rollouts or from a buffer of transitions, which tensors act (`tierenv.agents.actors`), and which hyperparameters their
constructors and their policies' take.
"""

import importlib
import inspect
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from tierenv.agents.actors import ACTORS, MAX_QUANTILES, MAX_UNITS, Actor
from tierenv.errors import ConfigError, close_match
from tierenv.extras import require
from tierenv.records import Record

REPLAY_BUFFER = {"buffer_size": 200_000, "learning_starts": 10_000}
"""Transitions kept, 30 MB of an observation of 14 features, and made before the first is learned from."""


class LinearDecay(Record):
    """A hyperparameter that goes linearly from one value to another while a training lasts."""

    start: Annotated[float, Field(gt=0)]
    """Before the first step."""
    end: Annotated[float, Field(gt=0)]
    """After the last one, or at the end of the wall time if that comes first."""


@dataclass(frozen=True)
class Algorithm:
    """One row of the table."""

    name: str
    location: str
    """module:Class of a stable-baselines3 or sb3-contrib algorithm."""
    summary: str
    actor: str = "gaussian"
    """Which of its tensors act: a row of `tierenv.agents.actors`."""
    is_off_policy: bool = False
    """Whether it learns from a buffer of transitions, not from the latest rollout."""
    policy: str = "MlpPolicy"
    """Name of its policy."""
    policy_arguments: Mapping[str, int] = field(default_factory=dict)
    """Hyperparameters that its policy's constructor takes, and their defaults."""
    own_defaults: Mapping[str, Any] = field(default_factory=dict)
    """Where a default of the constructor suits one environment rather than many."""

    makes_it: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the constructor that tell it from others of its class."""

    @property
    def acts_by(self) -> Actor:
        """The row of its actor."""
        return ACTORS[self.actor]

    @property
    def chooses(self) -> bool:
        """Whether it chooses from a menu rather than set every tunable."""
        return self.acts_by.output == "menu"

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
        scalar = (bool, int, float, str, type(None))
        of_class = {
            parameter.name: parameter.default
            for parameter in parameters
            if parameter.name not in RESERVED and isinstance(parameter.default, scalar)
        }
        return of_class | dict(self.policy_arguments) | dict(self.own_defaults)

    def check(self, hyperparameters: Mapping[str, Any], origin: str) -> None:
        """Raise `ConfigError` for a key the algorithm lacks or a value of another kind or out of range."""
        for name, value in hyperparameters.items():
            where = f"{origin}: hyperparameters.{name}"
            if name in RESERVED:
                raise ConfigError(f"{where}: set by the run itself; {RESERVED[name]}")
            if name not in self.defaults:
                hint = close_match(name, self.defaults)
                raise ConfigError(f"{where}: {self.name} has no such key{hint}; allowed: {', '.join(self.defaults)}")
            low, high = RANGES.get(name, (-math.inf, math.inf))
            if isinstance(value, LinearDecay):
                if name not in DECAYING:
                    raise ConfigError(f"{where}: cannot decay, only {' and '.join(DECAYING)} can; give one value")
                for end in ("start", "end"):
                    _check_value(f"{where}.{end}", getattr(value, end), 1.0, low, high)
            else:
                _check_value(where, value, self.defaults[name], low, high)
        self._check_quantiles(hyperparameters, origin)

    def _check_quantiles(self, hyperparameters: Mapping[str, Any], origin: str) -> None:
        """Raise `ConfigError` where nothing is left of what truncated critics estimate."""
        settings = self.defaults | dict(hyperparameters)
        dropped = settings.get("top_quantiles_to_drop_per_net", 0)
        if dropped and dropped >= settings["n_quantiles"]:
            raise ConfigError(
                f"{origin}: hyperparameters.top_quantiles_to_drop_per_net={dropped}: must be below "
                f"n_quantiles={settings['n_quantiles']}"
            )

    def policy_kwargs(self, hyperparameters: Mapping[str, Any]) -> dict[str, int]:
        """Those of the hyperparameters that the policy's constructor takes, all of them."""
        return {name: hyperparameters.get(name, default) for name, default in self.policy_arguments.items()}

    def constructor_arguments(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """Those that the algorithm's own constructor takes, where they differ from its defaults."""
        given = dict(self.makes_it) | dict(self.own_defaults) | dict(hyperparameters)
        return {name: value for name, value in given.items() if name not in self.policy_arguments}


ALGORITHMS = {
    row.name: row
    for row in (
        Algorithm("ppo", "stable_baselines3:PPO", "proximal policy optimisation, on-policy"),
        Algorithm(
            "ppo-gsde",
            "stable_baselines3:PPO",
            "the same with noise that each environment keeps for a rollout (gSDE), on-policy",
            actor="gaussian-of-units",
            makes_it={"use_sde": True},
        ),
        Algorithm("a2c", "stable_baselines3:A2C", "advantage actor-critic, on-policy, one gradient step a rollout"),
        Algorithm(
            "sac",
            "stable_baselines3:SAC",
            "soft actor-critic, off-policy, as random as pays",
            actor="squashed",
            is_off_policy=True,
            own_defaults=REPLAY_BUFFER | {"gradient_steps": 8},
        ),
        Algorithm(
            "td3",
            "stable_baselines3:TD3",
            "twin delayed deterministic policy gradients, off-policy",
            actor="deterministic",
            is_off_policy=True,
            own_defaults=REPLAY_BUFFER | {"gradient_steps": 8, "action_noise": 0.1},
        ),
        Algorithm(
            "tqc",
            "sb3_contrib:TQC",
            "soft actor-critic with quantiles of the value, of which the highest are dropped, off-policy",
            actor="squashed",
            is_off_policy=True,
            policy_arguments={"n_quantiles": 25, "n_critics": 2},
            own_defaults=REPLAY_BUFFER | {"gradient_steps": 8},
        ),
        Algorithm(
            "recurrent-ppo",
            "sb3_contrib:RecurrentPPO",
            "proximal policy optimisation with a long short-term memory, on-policy; no export",
            actor="recurrent",
            policy="MlpLstmPolicy",
            policy_arguments={"lstm_hidden_size": 64},
        ),
        Algorithm(
            "dqn",
            "stable_baselines3:DQN",
            "deep Q-learning on a menu of settings, off-policy",
            actor="values",
            is_off_policy=True,
            own_defaults=REPLAY_BUFFER | {"train_freq": 1, "gradient_steps": 8},
        ),
        Algorithm(
            "qr-dqn",
            "sb3_contrib:QRDQN",
            "deep Q-learning of quantiles on a menu of settings, off-policy",
            actor="quantiles",
            is_off_policy=True,
            policy_arguments={"n_quantiles": 50},
            own_defaults=REPLAY_BUFFER | {"train_freq": 1, "gradient_steps": 8},
        ),
    )
}
"""Gradient steps of those off-policy come after a step of all environments together: with 64 of them 8 are one for 8
transitions."""

RESERVED = (
    {
        "gamma": "the key gamma serves learner and shaping alike",
        "policy_kwargs": "use policy_net, activation and log_std_init",
        "seed": "use the key seed",
        "tensorboard_log": "TensorBoard files go to the run folder",
        "device": "networks this small are fastest on one CPU core",
        "verbose": "progress is reported by tierenv train",
        "optimize_memory_usage": "it takes the end of an episode's time for the end of its work",
        "_init_setup_model": "internal to stable-baselines3",
        "stats_window_size": "it only smooths what stable-baselines3 prints",
    }
    | dict.fromkeys(
        (
            *("self", "policy", "env", "rollout_buffer_class", "rollout_buffer_kwargs"),
            *("replay_buffer_class", "replay_buffer_kwargs"),
        ),
        "not a setting",
    )
    | dict.fromkeys(
        ("use_sde", "sde_sample_freq", "use_sde_at_warmup"),
        "ppo-gsde has noise that depends on the state",
    )
)
"""Constructor arguments a configuration may not set, and what to use instead."""

DECAYING = ("learning_rate", "clip_range")
"""Hyperparameters that may be a `LinearDecay`."""

RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": (1e-8, 1),
    "n_steps": (1, 1e6),
    "batch_size": (2, 1e7),
    "n_epochs": (1, 1000),
    "gae_lambda": (0, 1),
    "clip_range": (1e-6, 10),
    "clip_range_vf": (1e-6, 1e6),
    "ent_coef": (0, 10),
    "vf_coef": (0, 100),
    "max_grad_norm": (1e-6, 1e6),
    "target_kl": (1e-8, 100),
    "rms_prop_eps": (1e-12, 1),
    "buffer_size": (1, 1e7),
    "learning_starts": (0, 1e9),
    "tau": (1e-6, 1),
    "train_freq": (1, 1e5),
    "gradient_steps": (-1, 1e5),
    "target_update_interval": (1, 1e9),
    "target_entropy": (-1e3, 1e3),
    "exploration_fraction": (1e-6, 1),
    "exploration_initial_eps": (0, 1),
    "exploration_final_eps": (0, 1),
    "policy_delay": (1, 1000),
    "target_policy_noise": (1e-6, 10),
    "target_noise_clip": (1e-6, 10),
    "action_noise": (0, 2),
    "n_quantiles": (1, MAX_QUANTILES),
    "n_critics": (1, 10),
    "top_quantiles_to_drop_per_net": (0, MAX_QUANTILES),
    "lstm_hidden_size": (1, MAX_UNITS),
}
"""Least and greatest value, whichever algorithm has the key; stable-baselines3 itself checks few."""

AUTOMATIC = re.compile(r"auto(_(?=.*[1-9])[0-9]*\.?[0-9]+)?")
"""What may stand for a number that the algorithm finds: auto, or for ent_coef auto_ and where it begins, above 0."""


def find_algorithm(name: str, origin: str) -> Algorithm:
    """The algorithm of that name. Raises `ConfigError`."""
    if name not in ALGORITHMS:
        hint = close_match(name, ALGORITHMS)
        raise ConfigError(f"{origin}: algorithm={name!r}: unknown{hint}; allowed: {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def _is_automatic(field: str, value: Any) -> bool:
    match = AUTOMATIC.fullmatch(value) if isinstance(value, str) else None
    return match is not None and (match[1] is None or field.endswith(".ent_coef"))


def _check_value(field: str, value: Any, default: Any, low: float, high: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a number or auto"}
    is_right_kind = {
        bool: isinstance(value, bool),
        int: isinstance(value, int) and is_number,
        float: is_number,
        str: is_number or _is_automatic(field, value),
    }.get(type(default), is_number or value is None)
    if not is_right_kind:
        kind = kinds.get(type(default), "a number or null")
        raise ConfigError(f"{field}={value!r}: must be {kind} (default {default})")
    if is_number and not low <= value <= high:
        raise ConfigError(f"{field}={value!r}: must be {low:g} to {high:g}")
