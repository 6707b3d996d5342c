"""What no policy is and all are held against: no migration, bounds and estimates, episode by episode."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tierenv.bounds import clairvoyant_bound_s
from tierenv.no_foresight import Episode, no_foresight_s
from tierenv.system import ModelledSystem
from tierenv.train.episodes import Episodes

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Limit:
    """One row of the table."""

    title: str
    kind: Literal["bound", "estimate"]
    """Whether no policy beats it, or it only estimates what one can reach."""
    seconds: Callable[[ModelledSystem, Episodes, Mapping[str, Floats]], Floats]
    """float64[n]: time to the end that is judged, of machines that have just been reset [s]; takes the episodes without
    migration and the rows above by their keys, too."""


def of_each(system: ModelledSystem, seconds: Callable[[ModelledSystem, int], float]) -> Floats:
    """float64[n] of what takes one machine by its number; where nothing differs that decides it, episodes are alike."""
    known: dict[bytes, float] = {}
    times = np.empty(len(system.scenarios))
    for index in range(len(times)):
        key = Episode.of(system, index).key
        if key not in known:
            known[key] = seconds(system, index)
        times[index] = known[key]
    return times


def _no_foresight(system: ModelledSystem, no_migration: Episodes, above: Mapping[str, Floats]) -> Floats:
    """Never better than who knows all, nor worse than doing nothing, as the episodes without migration came to."""
    return np.clip(of_each(system, no_foresight_s), above["clairvoyant"], no_migration.objective)


LIMITS: dict[str, Limit] = {
    "all_fast": Limit("all memory fast", "bound", lambda _system, episodes, _above: episodes.objective_all_fast),
    "clairvoyant": Limit(
        "clairvoyant", "bound", lambda system, _episodes, _above: of_each(system, clairvoyant_bound_s)
    ),
    "no_foresight": Limit("without foresight", "estimate", _no_foresight),
}
"""By their keys in `--json`; one more is a row here."""


def limits_of(system: ModelledSystem, no_migration: Episodes) -> dict[str, Floats]:
    """By the keys of `LIMITS`, float64[n] of machines that have just been reset to the episodes without migration."""
    limits: dict[str, Floats] = {}
    for key, limit in LIMITS.items():
        limits[key] = limit.seconds(system, no_migration, limits)
    return limits


NO_MIGRATION = "no_migration"
"""The key of what doing nothing takes, beside these."""


@dataclass(frozen=True)
class Bounds:
    """The limits of a scenario's episodes, and what doing nothing takes, to the end that is judged [s]."""

    no_migration: Floats
    limits: Mapping[str, Floats]
    """By the keys of `LIMITS`, float64[episodes]."""
    num_given_up: int = 0
    """Episodes without migration that were given up: they take at least what is said."""

    @property
    def clairvoyant(self) -> Floats:
        """What no policy beats."""
        return self.limits["clairvoyant"]

    @property
    def all_fast(self) -> Floats:
        """With all memory fast."""
        return self.limits["all_fast"]

    @property
    def runs(self) -> dict[str, Floats]:
        """All of them by key."""
        return {**self.limits, NO_MIGRATION: self.no_migration}

    def regret(self, seconds: Floats) -> float:
        """Mean time over mean clairvoyant time, less one."""
        return float(seconds.mean() / self.clairvoyant.mean() - 1)
