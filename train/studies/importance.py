"""Which features a policy goes by: what it loses where one of them is another machine's.

Permutation importance, as Breiman, "Random forests" (2001), section 10, has it, of whole episodes: all columns of a
feature, its past as well as what it is now, come from another machine of the batch at the same step. Who gives to whom
is drawn once for an episode, not at every step: a feature then has a past that fits it and is as smooth as ever, and
one of the machine stays one machine's. Only what it says of this machine is gone. Features that say much the same stand
in for each other, so that each of them may matter little where both together matter much; what all of them together are
worth is what a policy loses that sees another machine altogether.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.agents.policy import Policy
from tierenv.features import Feature, feature_columns
from tierenv.system import ModelledSystem
from tierenv.train.episodes import Actor, Episodes
from tierenv.train.statistics import Estimate, stratified_bootstrap
from tierenv.train.studies.batch import Batch, Group

RING_SEED = 0
"""Of who gives to whom, for every feature the same."""

Indices = NDArray[np.intp]
Floats = NDArray[np.float64]


class Permuted:
    """An actor that decides on observations of which some columns are another machine's.

    The machines stand on a ring in random order. Each that still runs takes the columns of the next one on it that
    does: what it gives to another is never lost, and nobody sees a machine that stands still. The last one that runs
    keeps what it took last.

    Args:
        actor: decides.
        system: the machines.
        columns: that are another's.
        seed: of the order.
    """

    def __init__(self, actor: Actor, system: ModelledSystem, columns: Indices, seed: int = RING_SEED) -> None:
        self._actor = actor
        self._system = system
        self._columns = columns
        self._seed = seed
        self._ring: Indices = np.empty(0, np.intp)
        self._taken = np.empty((0, len(columns)), np.float32)

    def reset(self, num_machines: int) -> None:
        """An episode begins on all machines."""
        self._ring = np.random.default_rng(self._seed).permutation(num_machines)
        self._taken = np.empty((num_machines, len(self._columns)), np.float32)
        self._actor.reset(num_machines)

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the actor does."""
        running = self._ring[~self._system.is_done[self._ring]]
        if len(running) > 1:
            self._taken[running] = observation[np.roll(running, -1)][:, self._columns]
        seen = observation.copy()
        seen[:, self._columns] = self._taken
        return self._actor.act(seen)


@dataclass(frozen=True)
class Importance:
    """What the loss of a feature comes to."""

    changes: Sequence[Floats]
    """float64[seeds] of each scenario: time with another machine's less that with the own, over the mean time without
    migration there."""
    num_given_up: int
    """Runs that were given up: with any, what is lost is at least that."""

    def of(self, group: Group) -> Estimate:
        """The mean over the episodes of a group, with its bootstrap interval."""
        return stratified_bootstrap([self.changes[number] for number in group.members], _mean)

    def to_json(self, groups: Sequence[Group]) -> dict[str, Any]:
        """What a result holds of it."""
        estimates = {group.name: self.of(group) for group in groups}
        changes = {name: {"change": estimate.value, "ci95": estimate.interval} for name, estimate in estimates.items()}
        return {"changes": changes, "truncated_runs": self.num_given_up}


def columns_of(observation: Sequence[Feature]) -> dict[str, Indices]:
    """Columns of each feature in an observation of these rows, those of all its histories together, by its name."""
    names = [column.feature.name for column in feature_columns(observation)]
    return {name: np.array([i for i, each in enumerate(names) if each == name]) for name in dict.fromkeys(names)}


def importance(batch: Batch, policy: Policy, columns: Indices, own: Episodes, name: str) -> Importance:
    """What a policy loses by another machine's columns.

    Args:
        batch: of two machines at least.
        policy: decides.
        columns: that are another's.
        own: its episodes.
        name: of what is another's.
    """
    others = batch.run(policy, lambda actor, system: Permuted(actor, system, columns), f"permuted {name}")
    changes = batch.by_scenario(others.objective - own.objective)
    still_s = batch.by_scenario(batch.no_migration.objective)
    return Importance(
        [change / still.mean() for change, still in zip(changes, still_s, strict=True)],
        int(others.is_truncated.sum()),
    )


def _mean(values: Floats) -> Floats:
    mean: Floats = np.mean(values, axis=-1)
    return mean
