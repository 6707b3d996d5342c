"""The table of samplers: how a search comes by the settings that it tries.

Those of grid and random are fixed before the first is tried. The others, Optuna's, propose settings in rounds, knowing
what those of the rounds before came to. All but grid search the cube of actions (`tierenv.action`), with its zones for
0 and unlimited: what a learner acts in.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from tierenv.action import ActionCodec
from tierenv.daemon import Daemon, HintFaultDaemon, TunableRange
from tierenv.errors import ConfigError, close_match
from tierenv.extras import require
from tierenv.train.search.proposals import StudyProposals, cmaes_sampler, gp_sampler, tpe_sampler
from tierenv.tunables import TUNABLES, Setting, Tunable

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

RANDOM_SEED = 20_000
"""Seed of the random sampler's first sequence; --sampler-seed is added."""

DEFAULT_TRIALS = 200
"""Of the samplers that propose."""
MAX_TRIALS = 100_000
"""Settings; more would take days."""
MAX_PROPOSED = 10_000
"""The same, of samplers whose proposals take the longer the more trials there were."""
MAX_SAMPLER_SEED = 999_999

Settings = NDArray[np.float64]
"""float64[candidates, len(TUNABLES)]."""
Coordinates = NDArray[np.float64]
"""float64[candidates, T]: the same as actions."""


class Proposals(Protocol):
    """Settings one after the other."""

    @property
    def round_size(self) -> int | None:
        """Settings that are asked for before the first of them is told; None for any number."""
        ...

    def ask(self, count: int) -> tuple[Coordinates, Settings]:
        """The next `count` settings."""
        ...

    def tell(self, values: NDArray[np.float64]) -> None:
        """What those that were asked for last came to, less is better: float64[count]."""
        ...


class FixedCandidates:
    """Settings that do not depend on what others came to.

    Args:
        daemon: whose they are.
        settings: all of them.
    """

    round_size = None

    def __init__(self, daemon: Daemon, settings: Settings) -> None:
        self._settings = settings
        self._coordinates = ActionCodec(daemon).encode(settings)
        self._num_asked = 0

    def ask(self, count: int) -> tuple[Coordinates, Settings]:
        """The next of them."""
        part = slice(self._num_asked, self._num_asked + count)
        self._num_asked += count
        return self._coordinates[part], self._settings[part]

    def tell(self, values: NDArray[np.float64]) -> None:
        """Nothing depends on it."""


@dataclass(frozen=True)
class Sampler:
    """A way to come by settings."""

    summary: str
    candidates: Callable[[Daemon, int, int], Settings] | None = None
    """All settings beforehand, of a daemon, for a number of trials and a seed."""
    optuna_sampler: "Callable[[int], BaseSampler] | None" = None
    """Optuna's sampler of a seed, where settings are proposed."""
    draws: bool = True
    """Whether another seed, or another number of trials, gives other settings."""

    @property
    def proposes(self) -> bool:
        """Whether later settings depend on what earlier ones came to."""
        return self.optuna_sampler is not None

    def start(self, daemon: Daemon, trials: int, seed: int) -> Proposals:
        """Begin a search."""
        if self.candidates is not None:
            return FixedCandidates(daemon, self.candidates(daemon, trials, seed))
        assert self.optuna_sampler is not None, "a row has one of both"
        return StudyProposals(daemon, self.optuna_sampler(seed))


def grid(daemon: Daemon, _trials: int = 0, _seed: int = 0) -> Settings:
    """All combinations of the tunables' grid points, evenly spaced on the log scale of the daemon's ranges.

    A kernel's own defaults, where the daemon is one that kernels have, are a point more.
    """
    axes = [_axis(TUNABLES[name], bounds) for name, bounds in daemon.tunables.items()]
    names = list(daemon.tunables)
    points = [Setting(dict(zip(names, point, strict=True))).row for point in itertools.product(*axes)]
    return np.array(points + [daemon.start_setting.row] * _has_defaults(daemon))


def _axis(row: Tunable, bounds: TunableRange) -> list[float]:
    num_inner = row.grid_points - row.has_zero - row.has_unlimited
    inner = row.quantity.nearest(np.geomspace(bounds.min, bounds.max, num_inner))
    return [0.0] * row.has_zero + inner.tolist() + [np.inf] * row.has_unlimited


def grid_size(daemon: Daemon) -> int:
    """Points of the daemon's grid."""
    return math.prod(TUNABLES[name].grid_points for name in daemon.tunables) + _has_defaults(daemon)


def _has_defaults(daemon: Daemon) -> bool:
    return isinstance(daemon, HintFaultDaemon)


def random(daemon: Daemon, trials: int, seed: int = 0) -> Settings:
    """Uniform in the action space, as an untrained policy would explore."""
    actions = np.random.default_rng(RANDOM_SEED + seed).uniform(-1, 1, (trials, len(daemon.tunables)))
    return ActionCodec(daemon).decode(actions)


SAMPLERS = {
    "grid": Sampler("every combination of points that span the ranges, 0 and unlimited included", grid, draws=False),
    "random": Sampler("uniform in the action space, as exploration would draw", random),
    "tpe": Sampler("Optuna's tree-structured Parzen estimator, multivariate", optuna_sampler=tpe_sampler),
    "cmaes": Sampler("Optuna's CMA-ES: a normal distribution that adapts", optuna_sampler=cmaes_sampler),
    "gp": Sampler("Optuna's Gaussian process with expected improvement", optuna_sampler=gp_sampler),
}


def find_sampler(name: str, seed: int) -> Sampler:
    """A row of the table, which the seed suits. Raises `ConfigError`."""
    if name not in SAMPLERS:
        raise ConfigError(f"--sampler={name}: must be one of {', '.join(SAMPLERS)}{close_match(name, SAMPLERS)}")
    if not 0 <= seed <= MAX_SAMPLER_SEED:
        raise ConfigError(f"--sampler-seed={seed}: must be 0 to {MAX_SAMPLER_SEED}")
    if seed and not SAMPLERS[name].draws:
        raise ConfigError(f"--sampler-seed={seed}: the grid is the same for every seed; use another --sampler")
    if SAMPLERS[name].proposes:
        require("tune", f"--sampler={name}")
    return SAMPLERS[name]


def num_trials(name: str, daemon: Daemon, trials: int | None) -> int:
    """Settings that a search tries: those asked for, or as many as suit the sampler. Raises `ConfigError`."""
    points = grid_size(daemon)
    if trials is None:
        return DEFAULT_TRIALS if SAMPLERS[name].proposes else points
    if trials != points and not SAMPLERS[name].draws:
        raise ConfigError(f"--trials={trials}: the grid has {points} points; use another --sampler for another number")
    most = MAX_PROPOSED if SAMPLERS[name].proposes else MAX_TRIALS
    if not 1 <= trials <= most:
        raise ConfigError(f"--trials={trials}: must be 1 to {most} of --sampler {name}")
    return trials
