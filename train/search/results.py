"""What a search found and what that cost, and storing the winner as a policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tierenv.agents.best_static import BestStatic, OneStatic, write_best_static, write_one_static
from tierenv.family import SplitName
from tierenv.objective import objective_name, objective_row
from tierenv.scenario import Scenario
from tierenv.train.provenance import git_revision
from tierenv.train.results import OpenedSet, opening_words
from tierenv.train.statistics import Estimate
from tierenv.tunables import Setting


@dataclass(frozen=True)
class Budget:
    """What a search cost, the second look at the finalists included."""

    trials: int
    """Settings tried."""
    episodes: int
    """Runs of a scenario."""
    env_steps: int
    """Control intervals of all runs."""
    wall_s: float
    """Of the last command."""
    machine_s: float
    """Modelled time of all runs: what a real machine would have been busy [s]."""


@dataclass(frozen=True)
class Finalist:
    """One of the best settings, judged on fresh seeds."""

    setting: Setting
    screening: float
    """Mean objective on the seeds that picked it, hence optimistic, and at less resolution."""
    objective: Estimate
    """Mean of what is judged, the scenario's objective, on fresh seeds."""
    seconds: Estimate
    """Mean completion time of these runs."""


@dataclass(frozen=True)
class Incumbent:
    """A setting that was the best so far when it was tried, and what the search had cost by then."""

    trials: int
    env_steps: int
    machine_s: float
    setting: Setting
    screening: float
    """As a finalist's."""
    objective: Estimate
    """The same."""

    def to_json(self) -> dict[str, Any]:
        """A point of the curve."""
        return {
            "trials": self.trials,
            "env_steps": self.env_steps,
            "machine_s": self.machine_s,
            "policy": self.setting.policy_name,
            "screening": self.screening,
            "objective": self.objective.to_json(),
        }


@dataclass(frozen=True)
class Curve:
    """What a search had found against what it had cost.

    The incumbents were picked on the screening seeds and are judged on fresh ones, as the finalists are: that is not
    charged to the budget, for a search that ends there would judge its last alone.
    """

    incumbents: list[Incumbent]
    trials: int
    env_steps: int
    machine_s: float
    """Of the whole screening."""

    def to_json(self) -> dict[str, Any]:
        """What `tune --json` writes."""
        totals = {"trials": self.trials, "env_steps": self.env_steps, "machine_s": self.machine_s}
        return totals | {"incumbents": [incumbent.to_json() for incumbent in self.incumbents]}


@dataclass(frozen=True)
class References:
    """What the objective comes to on the fresh seeds without a search; means."""

    no_migration: Estimate
    all_fast: float
    """With all memory fast, computed: its scale."""
    clairvoyant: float | None
    """What no policy beats (`tierenv.bounds`); None where what is judged is no time."""

    def to_json(self) -> dict[str, Any]:
        """What `tune --json` writes beside the curve."""
        return {"all_fast": self.all_fast, "clairvoyant": self.clairvoyant}


@dataclass(frozen=True)
class SearchedSet:
    """Where the scenarios of a search come from."""

    family: str | None = None
    """Whose they are, if they are a family's."""
    split: SplitName | None = None
    """Which of its sets."""
    openings: Sequence[OpenedSet] = ()
    """Of a final set, as of an evaluation."""

    @property
    def words(self) -> list[str]:
        """Of a final set: when it was opened and for whom, and what else was."""
        return [f"final set of family {self.family}: {opening_words(self.openings)}"] if self.openings else []

    def to_json(self) -> dict[str, Any]:
        """What `tune --json` writes, as `evaluate --json` does."""
        openings = [opening.model_dump(mode="json") for opening in self.openings]
        return {"family": self.family, "split": self.split, "openings": openings}


@dataclass(frozen=True)
class SearchResult:
    """Finalists, best first, and the cost of finding them."""

    scenario: Scenario
    sampler: str
    sampler_seed: int
    finalists: list[Finalist]
    fresh_seeds: list[int]
    budget: Budget
    references: References
    curve: Curve
    searched: SearchedSet = SearchedSet()

    @property
    def winner(self) -> Finalist:
        """The best setting."""
        return self.finalists[0]

    @property
    def no_migration(self) -> Estimate:
        """What no migration comes to on the fresh seeds."""
        return self.references.no_migration

    def to_json(self) -> dict[str, Any]:
        """What `tune --json` writes; an unlimited throttle is null."""
        return self.searched.to_json() | self.found_to_json()

    def found_to_json(self) -> dict[str, Any]:
        """The same without where the scenario comes from."""
        row = objective_row(self.scenario.objective)
        return self.curve_to_json() | {
            "no_migration": self.no_migration.to_json(),
            "finalists": [
                {
                    "policy": finalist.setting.policy_name,
                    "setting": finalist.setting.to_json(),
                    "screening": finalist.screening,
                    "screening_s": finalist.screening if row.judges_end_of else None,
                    "objective": finalist.objective.to_json(),
                    "seconds": finalist.seconds.to_json(),
                }
                for finalist in self.finalists
            ],
        }

    def curve_to_json(self) -> dict[str, Any]:
        """The same without the finalists."""
        row = objective_row(self.scenario.objective)
        return {
            "schema": 1,
            "scenario": self.scenario.name,
            "daemon": self.scenario.daemon.name,
            "sampler": self.sampler,
            "sampler_seed": self.sampler_seed,
            "git_revision": git_revision(),
            "objective": {"name": objective_name(self.scenario.objective), "unit": row.unit},
            "budget": vars(self.budget),
            "references": self.references.to_json(),
            "curve": self.curve.to_json(),
        }


@dataclass(frozen=True)
class CommonFinalist:
    """One of the best settings for all scenarios of a suite, judged on fresh seeds."""

    setting: Setting
    screening: float
    """Mean over the scenarios of the objective over that without migration, on the seeds that picked it."""
    relative_time: float
    """The same on fresh seeds."""


@dataclass(frozen=True)
class SuiteSearchResult:
    """What a search found for each scenario of a suite, and the settings that are best for all of them together."""

    suite: str
    results: list[SearchResult]
    finalists: list[CommonFinalist]
    budget: Budget
    """Of the one setting for all. Of a sampler that fixes its settings beforehand the runs are those of the scenarios,
    counted there too; one that proposes has tried others for it."""
    searched: SearchedSet = SearchedSet()

    @property
    def winner(self) -> CommonFinalist:
        """The one setting for all."""
        return self.finalists[0]

    def to_json(self) -> dict[str, Any]:
        """What `tune --json` writes."""
        return {
            "schema": 1,
            "suite": self.suite,
            **self.searched.to_json(),
            "git_revision": git_revision(),
            "scenarios": [result.found_to_json() for result in self.results],
            "budget_for_all": vars(self.budget),
            "for_all": [
                {
                    "policy": finalist.setting.policy_name,
                    "setting": finalist.setting.to_json(),
                    "screening": finalist.screening,
                    "relative_time": finalist.relative_time,
                }
                for finalist in self.finalists
            ],
        }


def save_best_static(result: SearchResult, command: str, path: Path) -> None:
    """Store the winner as the scenario's best-static policy in a file of such settings."""
    best = BestStatic(
        scenario=result.scenario.name,
        daemon=result.scenario.daemon.name,
        setting=result.winner.setting.to_json(),
        mean_s=result.winner.seconds.value,
        **vars(result.budget),
        seeds=tuple(result.fresh_seeds),
        command=command,
        git_revision=git_revision(),
    )
    write_best_static(result.scenario, best, path)


def save_search(result: SearchResult | SuiteSearchResult, command: str, path: Path) -> None:
    """Store the winner of every scenario, and of a suite the one setting for all as its one-static policy."""
    if isinstance(result, SearchResult):
        save_best_static(result, command, path)
        return
    for each in result.results:
        save_best_static(each, command, path)
    scenarios = [each.scenario for each in result.results]
    one = OneStatic(
        scenarios=tuple(scenario.name for scenario in scenarios),
        daemon=scenarios[0].daemon.name,
        setting=result.winner.setting.to_json(),
        relative_time=result.winner.relative_time,
        seeds=tuple(result.results[0].fresh_seeds),
        command=command,
        git_revision=git_revision(),
    )
    write_one_static(result.suite, one, path)
