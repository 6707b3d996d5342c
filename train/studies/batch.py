"""Episodes of several scenarios under one policy after another, all machines in one batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.agents.kinds import Kind
from tierenv.agents.policies import load_policy
from tierenv.agents.policy import Policy, scenario_for
from tierenv.bounds import clairvoyant_bound_s
from tierenv.errors import ConfigError
from tierenv.objective import objective_row
from tierenv.phase_orders import PhaseOrders
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.system import ModelledSystem
from tierenv.task import SimulatedTask, simulated_task
from tierenv.train import seeds as seed_blocks
from tierenv.train.episodes import MAX_TIME_MULTIPLE, Actor, Episodes, episode_seeds, run_episodes
from tierenv.train.journal import Journal
from tierenv.train.judging import bounded, in_classes
from tierenv.train.limits import of_each
from tierenv.train.outcomes import NOTHING, Outcome

Floats = NDArray[np.float64]
Wrap = Callable[[Policy, ModelledSystem], Actor]
"""Something that acts in a policy's place on these machines."""

ALL = "all"
"""The group of all scenarios."""


@dataclass(frozen=True)
class Group:
    """Scenarios that are looked at together."""

    name: str
    """`ALL`, or that of a class of stakes."""
    words: str
    """What is at stake in it."""
    members: tuple[int, ...]
    """Numbers of its scenarios."""

    def to_json(self, batch: "Batch") -> dict[str, Any]:
        """What a result holds of it."""
        names = [batch.scenarios[number].name for number in self.members]
        return {"name": self.name, "words": self.words, "scenarios": names}


@dataclass(frozen=True)
class Batch:
    """Every scenario with every seed: machine i has scenario i // seeds and seed i mod seeds.

    As in an evaluation, every second seed has phase orders held out of training. Raises `ConfigError` for a scenario
    whose objective is no time: what is at stake there is not known.
    """

    scenarios: tuple[Scenario, ...]
    """Under the daemon that is looked at."""
    seeds: Sequence[int]
    journal: Journal

    def __post_init__(self) -> None:
        for scenario in self.scenarios:
            if objective_row(scenario.objective).judges_end_of is None:
                raise ConfigError(
                    f"scenario {scenario.name}: its objective is no time, so that nobody knows what is at stake; "
                    "name scenarios whose objective is last-end or application"
                )

    def task(self, policy: Policy) -> SimulatedTask:
        """The machines as a policy runs and observes them. Raises `ConfigError` if they do not go together."""
        return simulated_task(
            [scenario for each in self.scenarios for scenario in [scenario_for(policy, each)] * len(self.seeds)],
            phase_orders=self._phase_orders,
            max_time_multiple=MAX_TIME_MULTIPLE,
            observation=policy.observation,
        )

    def run(self, policy: Policy, wrap: Wrap | None = None, wrapped_as: str = "") -> Episodes:
        """The episodes under a policy, kept in the journal where it is known what decides them.

        Args:
            policy: decides, unless something acts in its place.
            wrap: makes what does.
            wrapped_as: tells it from others.
        """
        played = [scenario_for(policy, scenario).identity for scenario in self.scenarios]
        decides = None if policy.identity is None else [played, list(self.seeds), policy.identity, wrapped_as]

        def run() -> Episodes:
            task = self.task(policy)
            actor = policy if wrap is None else wrap(policy, task.system)
            return run_episodes(task, actor, self.machine_seeds)

        return self.journal.once(decides, run)

    @property
    def machine_seeds(self) -> list[int]:
        """Of each machine."""
        return list(self.seeds) * len(self.scenarios)

    def by_scenario(self, values: Floats) -> list[Floats]:
        """float64[machines] as float64[seeds] of each scenario."""
        return list(values.reshape(len(self.scenarios), len(self.seeds)))

    @cached_property
    def no_migration(self) -> Episodes:
        """The episodes of doing nothing."""
        return self.run(load_policy(NOTHING, self.scenarios[0]))

    @cached_property
    def clairvoyant_s(self) -> Floats:
        """float64[machines]: what no policy beats [s]."""

        def bound() -> Floats:
            system = LumpedSystem([scenario for scenario in self.scenarios for _ in self.seeds])
            system.reset(episode_seeds(self.machine_seeds), self._phase_orders)
            return of_each(system, clairvoyant_bound_s)

        identities = [scenario.identity for scenario in self.scenarios]
        return self.journal.numbers([identities, list(self.seeds), "clairvoyant"], bound)

    def outcomes(self, played: Mapping[str, Episodes], kinds: Mapping[str, Kind]) -> list[Outcome]:
        """What policies, by name, came to on each scenario."""
        nothing = self.no_migration
        runs = {name: self.by_scenario(episodes.objective) for name, episodes in played.items()}
        given_up = {name: self._given_up(episodes) for name, episodes in played.items()}
        given_up[NOTHING] = self._given_up(nothing)
        still_s, bound_s = self.by_scenario(nothing.objective), self.by_scenario(self.clairvoyant_s)
        return [
            Outcome(
                scenario.name,
                {name: of_each_scenario[index] for name, of_each_scenario in runs.items()},
                still_s[index],
                {"clairvoyant": bound_s[index]},
                kinds,
                given_up={name: numbers[index] for name, numbers in given_up.items()},
            )
            for index, scenario in enumerate(self.scenarios)
        ]

    @cached_property
    def groups(self) -> list[Group]:
        """All scenarios of which is known what is at stake, and after them the classes of stakes that have any."""
        outcomes = self.outcomes({}, {})
        numbers = {outcome.scenario: number for number, outcome in enumerate(outcomes)}
        classes = [(ALL, "all", bounded(outcomes))]
        classes += [(stake.name, stake.short_words, members) for stake, members in in_classes(outcomes)]
        return [
            Group(name, words, tuple(numbers[member.scenario] for member in members))
            for name, words, members in classes
        ]

    @property
    def _phase_orders(self) -> list[PhaseOrders]:
        return seed_blocks.evaluation_phase_orders(len(self.seeds)) * len(self.scenarios)

    def _given_up(self, episodes: Episodes) -> list[int]:
        """Of each scenario."""
        counts: list[int] = episodes.is_truncated.reshape(len(self.scenarios), -1).sum(axis=1).tolist()
        return counts
