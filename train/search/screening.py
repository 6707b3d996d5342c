"""Running settings: all on the same seeds, many machines at once, and what they came to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tierenv.action import ActionCodec
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.task import ModelledTask, simulated_task
from tierenv.train.episodes import MAX_TIME_MULTIPLE, Episodes, Stateless, holding, run_episodes
from tierenv.train.journal import Journal
from tierenv.train.search.samplers import Coordinates, Proposals, Settings
from tierenv.train.search.storage import NOWHERE, Outcome, TrialStore
from tierenv.tunables import TUNABLES, Setting, setting_of

GIVEN_UP_AT = 4.0
"""Candidates are given up at this many times the time without migration: none that slow can win. What the objective
has come to by then counts."""

COARSER = 8
"""Every setting is tried with so many times fewer regions, several times as fast; the best are judged at the full
resolution."""

MACHINES_AT_ONCE = 128
"""What a kill loses, at most, and the memory of a batch; a machine takes about a third of a MiB."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tried:
    """What settings came to on the screening seeds, one entry each, in the order in which they were tried."""

    settings: Settings
    objective: Floats
    """Mean of what is judged; of several scenarios the same as `relative`."""
    relative: Floats
    """The same over that without migration; of several scenarios their mean. Samplers are told this."""
    env_steps: NDArray[np.int64]
    """Control intervals of the runs of each."""
    machine_s: Floats
    """Modelled time of the runs of each: what a real machine would have been busy [s]."""

    def __len__(self) -> int:
        return len(self.settings)

    @classmethod
    def joined(cls, parts: "Sequence[Tried]") -> Self:
        """Several, one after the other."""
        names = ("settings", "objective", "relative", "env_steps", "machine_s")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @classmethod
    def averaged(cls, parts: "Sequence[Tried]") -> Self:
        """The same settings on several scenarios."""
        relative = np.mean([part.relative for part in parts], axis=0)
        steps = np.sum([part.env_steps for part in parts], axis=0)
        return cls(parts[0].settings, relative, relative, steps, np.sum([part.machine_s for part in parts], axis=0))

    @classmethod
    def recalled(cls, settings: Settings, outcomes: Sequence[Outcome]) -> Self:
        """Those of which this is known."""
        rows = [(each.objective, each.value, each.env_steps, each.machine_s) for each in outcomes]
        return cls(settings, *map(np.array, zip(*rows, strict=True)))

    def outcomes(self) -> list[Outcome]:
        """One by one."""
        return [
            Outcome(
                value=float(self.relative[index]),
                objective=float(self.objective[index]),
                env_steps=int(self.env_steps[index]),
                machine_s=float(self.machine_s[index]),
                policy=self.setting(index).policy_name,
            )
            for index in range(len(self))
        ]

    def setting(self, index: int) -> Setting:
        """One of the settings."""
        row = self.settings[index]
        return setting_of(row, [name for name, value in zip(TUNABLES, row, strict=True) if not np.isnan(value)])

    def best(self, count: int) -> NDArray[np.intp]:
        """Indices of the best, best first; the last of them promotes nothing, unless there is one.

        At the coarser resolution of the screening what promotes may look better than it is: where nothing can be
        gained, nothing that promotes should win for want of what does not.
        """
        best = np.argsort(self.objective, kind="stable")[:count]
        resting = np.flatnonzero(self.settings[:, list(TUNABLES).index("throttle")] == 0.0)
        if not len(resting) or np.isin(best, resting).any():
            return best
        return np.append(best[:-1], resting[self.objective[resting].argmin()])

    def incumbents(self) -> list[int]:
        """Indices of those that were better than all before them."""
        before = np.minimum.accumulate(np.append(np.inf, self.objective))[:-1]
        return np.flatnonzero(self.objective < before).tolist()


TrySettings = Callable[[Settings], Tried]


def screen(
    try_settings: TrySettings,
    proposals: Proposals,
    trials: int,
    most_at_once: int,
    *,
    store: TrialStore = NOWHERE,
    report_progress: Callable[[int], None] = lambda _done: None,
) -> Tried:
    """Try as many settings as were asked for, and tell the proposals what each came to.

    Args:
        try_settings: runs settings.
        proposals: settings in order.
        trials: how many.
        most_at_once: settings that are run together, unless the rounds of the proposals say otherwise.
        store: keeps what is done and knows what was done before.
        report_progress: told how many settings are done.
    """
    parts: list[Tried] = []
    at_once = proposals.round_size or most_at_once
    for first in range(0, trials, at_once):
        report_progress(first)
        coordinates, settings = proposals.ask(min(at_once, trials - first))
        part = _try_or_recall(try_settings, first, coordinates, settings, store)
        proposals.tell(part.relative)
        parts.append(part)
    return Tried.joined(parts)


def _try_or_recall(
    try_settings: TrySettings, first: int, coordinates: Coordinates, settings: Settings, store: TrialStore
) -> Tried:
    """What the settings of a round come to, of which the first may be known."""
    known = store.recall(first, coordinates)
    new = slice(len(known), None)
    parts = [Tried.recalled(settings[: len(known)], known)] if known else []
    if len(known) < len(settings):
        parts.append(try_settings(settings[new]))
        store.add(coordinates[new], parts[-1].outcomes())
    return Tried.joined(parts)


def try_on(scenario: Scenario, seeds: Sequence[int], journal: Journal, settings: Settings) -> Tried:
    """Run settings coarsely on the screening seeds."""
    coarse = coarser(scenario)
    batches = run_settings(coarse, settings, seeds, journal)
    objective, seconds, steps = (
        np.concatenate([getattr(batch, name) for batch in batches]).reshape(len(settings), -1)
        for name in ("objective", "seconds", "steps")
    )
    means = objective.mean(axis=1)
    rest = left_alone(coarse, seeds, journal).objective.mean()
    return Tried(settings, means, means / rest, steps.sum(axis=1), seconds.sum(axis=1))


def try_on_all(scenarios: Sequence[Scenario], seeds: Sequence[int], journal: Journal, settings: Settings) -> Tried:
    """The same on each of several scenarios: the mean counts."""
    return Tried.averaged([try_on(scenario, seeds, journal, settings) for scenario in scenarios])


def coarser(scenario: Scenario) -> Scenario:
    """The scenario at the resolution of the screening."""
    return scenario.replace(regions=max(1, scenario.regions // COARSER))


def settings_at_once(num_seeds: int) -> int:
    """Settings whose machines are one batch."""
    return max(1, MACHINES_AT_ONCE // num_seeds)


def run_settings(scenario: Scenario, settings: Settings, seeds: Sequence[int], journal: Journal) -> list[Episodes]:
    """Each setting on the same seeds, in batches; episodes of a setting are neighbours."""
    controlled = scenario.replace(control="tunables")
    limit_s = GIVEN_UP_AT * float(left_alone(scenario, seeds, journal).seconds.max())
    actions = ActionCodec(scenario.daemon).encode(settings)
    at_once = settings_at_once(len(seeds))
    batches = []
    for start in range(0, len(settings), at_once):
        part = actions[start : start + at_once]
        decides = [controlled.identity, part.tolist(), list(seeds)]
        batches.append(journal.once(decides, partial(_play, controlled, part, seeds, limit_s)))
    return batches


def _play(scenario: Scenario, actions: Floats, seeds: Sequence[int], limit_s: float) -> Episodes:
    system = LumpedSystem([scenario] * (len(actions) * len(seeds)))
    task = ModelledTask(system, max_time_multiple=limit_s / float(system.reference_s.min()))
    return run_episodes(task, holding(np.repeat(actions, len(seeds), axis=0)), list(seeds) * len(actions))


def left_alone(scenario: Scenario, seeds: Sequence[int], journal: Journal) -> Episodes:
    """The runs of these seeds without migration."""
    scenario = scenario.replace(control="off")
    task = partial(simulated_task, [scenario] * len(seeds), max_time_multiple=MAX_TIME_MULTIPLE)
    nothing = Stateless(lambda observation: np.zeros((len(observation), 0), np.float32))
    return journal.once([scenario.identity, list(seeds)], lambda: run_episodes(task(), nothing, seeds))
