"""What an evaluation comes to, policy by policy and scenario by scenario, and what `--json` writes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tierenv.agents.kinds import Kind
from tierenv.family import SplitName
from tierenv.objective import objective_name, objective_row, objective_words
from tierenv.render import Timeline
from tierenv.scenario import Scenario
from tierenv.train import seeds as seed_blocks
from tierenv.train.episodes import CPU_TIMES, Episodes
from tierenv.train.judging import Standing, bounded, in_classes, mean_gap_closed, standings
from tierenv.train.limits import LIMITS, NO_MIGRATION, Bounds
from tierenv.train.outcomes import NOTHING, Outcome, Stake, objective_measure
from tierenv.train.processes import ProcessResult, process_results
from tierenv.train.provenance import git_revision
from tierenv.train.results import OpenedSet, opening_words
from tierenv.train.rivals import LeftOut
from tierenv.train.statistics import Estimate, mean_estimate
from tierenv.train.verdicts import harm_words, verdict


@dataclass(frozen=True)
class Row:
    """One policy on one scenario."""

    scenario: Scenario
    """As it was read, whatever the policy makes of it."""
    policy: str
    kind: Kind
    daemon: str
    """Variant it ran on."""
    chosen_on: tuple[str, ...]
    """Names of the scenarios on which a search chose its setting, if one did."""
    episodes: Episodes
    bounds: Bounds | None
    """None where what is judged is no time."""
    difference_to_baseline: Estimate | None
    """Of the objective, paired; negative is better. None without the baseline, and for the baseline itself."""

    @property
    def objective(self) -> Estimate:
        """Mean of what is judged, in its unit."""
        return mean_estimate(self.episodes.objective)

    @property
    def seconds(self) -> Estimate:
        """Mean completion time of the run."""
        return mean_estimate(self.episodes.seconds)

    @property
    def gap_closed(self) -> float | None:
        """Gap closed by the means (`mean_gap_closed`); None without bounds, or with next to nothing at stake."""
        closed = mean_gap_closed(_outcome([self]), self.policy)
        return closed and closed.value

    @property
    def regret(self) -> float | None:
        """Regret of the means, None where there are no bounds."""
        return None if self.bounds is None else self.bounds.regret(self.episodes.objective)

    @property
    def cpu_s(self) -> dict[str, Estimate]:
        """Mean CPU time of an episode, by `CPU_TIMES` and in all [s]."""
        times = self.episodes.cpu_s
        return {key: mean_estimate(times[key]) for key in CPU_TIMES} | {"total": mean_estimate(sum(times.values()))}

    @property
    def recovery_s(self) -> Estimate | None:
        """Mean time until a change is no longer felt, at least where it is to the end [s]; None without changes."""
        recovery = self.episodes.recovery
        if recovery is None or not recovery.changes.any():
            return None
        had_any = recovery.changes > 0
        return mean_estimate(recovery.seconds[had_any] / recovery.changes[had_any])

    @property
    def regained(self) -> float | None:
        """Share of the changes after which the rate was regained; None without changes."""
        recovery = self.episodes.recovery
        if recovery is None or not recovery.changes.any():
            return None
        return float(recovery.regained.sum() / recovery.changes.sum())

    @property
    def processes(self) -> list[ProcessResult]:
        """What each process came to."""
        return process_results(self.scenario, self.episodes)

    @property
    def process_seconds(self) -> list[tuple[str, Estimate]]:
        """Workload and mean completion time of each process."""
        columns = self.episodes.process_seconds.T
        return [
            (process.workload.name, mean_estimate(seconds))
            for process, seconds in zip(self.scenario.processes, columns, strict=False)
        ]

    @property
    def num_truncated(self) -> int:
        """Episodes that were given up."""
        return int(self.episodes.is_truncated.sum())

    def to_json(self, seeds: Sequence[int], outcome: Outcome) -> dict[str, Any]:
        """The row as `--json` writes it, for episodes of these seeds, with what is at stake on its scenario."""
        seconds, objective = self.seconds, self.objective
        row = objective_row(self.scenario.objective)
        difference = self.difference_to_baseline and self.difference_to_baseline.to_json()
        means = {key: float(counts.mean()) for key, counts in self.episodes.counts.items()}
        return {
            "scenario": self.scenario.name,
            "policy": self.policy,
            "kind": self.kind,
            "daemon": self.daemon,
            "chosen_on": list(self.chosen_on),
            **stake_to_json(outcome),
            "objective": {
                "name": objective_name(self.scenario.objective),
                "unit": row.unit,
                **objective.to_json(),
                "runs": self.episodes.objective.tolist(),
            },
            "seconds": seconds.to_json() | {"runs": self.episodes.seconds.tolist()},
            "process_seconds": [{"workload": name} | estimate.to_json() for name, estimate in self.process_seconds],
            "truncated_runs": self.num_truncated,
            "processes": [process.to_json() for process in self.processes],
            "bounds": {key: self.bounds and float(self.bounds.runs[key].mean()) for key in (*LIMITS, NO_MIGRATION)},
            "gap_closed": self.gap_closed,
            "regret": self.regret,
            **means,
            "recovery_s": self.recovery_s and self.recovery_s.to_json() | {"regained": self.regained},
            "daemon_cpu_s": {key: estimate.to_json() for key, estimate in self.cpu_s.items()},
            "difference_to_best_static": difference,
            "difference_to_best_static_s": difference if row.judges_end_of else None,
            "runs": self._runs(seeds),
        }

    def _runs(self, seeds: Sequence[int]) -> list[dict[str, Any]]:
        """One entry for each episode."""
        orders, processes = seed_blocks.evaluation_phase_orders(len(seeds)), self.processes
        return [
            {
                "seed": seed,
                "phase_orders": orders[index],
                "is_truncated": bool(self.episodes.is_truncated[index]),
                "processes": [
                    {"process": process.name, "finished_s": process.finished_s(index)} for process in processes
                ],
            }
            for index, seed in enumerate(seeds)
        ]


def stake_to_json(outcome: Outcome) -> dict[str, Any]:
    """What is at stake on a scenario; null where what is judged is no time."""
    stake = outcome.stake
    return {"stake": stake and outcome.at_stake, "stake_class": stake and stake.name}


@dataclass(frozen=True)
class Evaluation:
    """Several policies on the scenarios of a suite."""

    suite: str
    seeds: list[int]
    rows: list[Row]
    timelines: dict[str, Timeline] = field(default_factory=dict)
    """By policy, the first episode of a single scenario, if asked for."""
    left_out: Sequence[LeftOut] = ()
    """Rivals that there are not, of those that were asked for."""
    family: str | None = None
    """Whose scenarios they are, if they are a family's."""
    split: SplitName | None = None
    """Which of its sets."""
    openings: Sequence[OpenedSet] = ()
    """Of a final set, this one last; others that were opened, of other seeds or daemons, are to be told beside it."""

    @property
    def policies(self) -> list[str]:
        """Policies in the order given."""
        return list(dict.fromkeys(row.policy for row in self.rows))

    @property
    def entries(self) -> list[tuple[Scenario, str]]:
        """Scenario and policy of each row."""
        return [(row.scenario, row.policy) for row in self.rows]

    @cached_property
    def by_scenario(self) -> dict[str, list[Row]]:
        """Rows of each scenario, in order."""
        rows: dict[str, list[Row]] = {}
        for row in self.rows:
            rows.setdefault(row.scenario.name, []).append(row)
        return rows

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """Each scenario, for who judges it."""
        return [_outcome(rows) for rows in self.by_scenario.values()]

    @cached_property
    def standings(self) -> list[Standing]:
        """Every policy and limit over all scenarios with a known stake."""
        return standings(self.outcomes)

    @cached_property
    def by_stake(self) -> list[tuple[Stake, list[Outcome], list[Standing]]]:
        """Classes of stakes that have scenarios, these, and every policy and limit over them."""
        return [(stake, members, standings(members)) for stake, members in in_classes(self.outcomes)]

    @property
    def chosen_on(self) -> dict[str, tuple[str, ...]]:
        """By policies of one setting for several scenarios, the names of those that it was chosen on."""
        found = {row.policy: row.chosen_on for row in self.rows}
        return {policy: names for policy, names in found.items() if len(names) > 1}

    @property
    def without_bounds(self) -> list[str]:
        """Scenarios that no aggregate takes in: what is judged is no time, or no migration was given up."""
        return [outcome.scenario for outcome in self.outcomes if outcome.stake is None]

    @property
    def opening_words(self) -> list[str]:
        """Of a final set: when it was opened and for whom, and what else was."""
        return [f"final set of family {self.family}: {opening_words(self.openings)}"] if self.openings else []

    def to_json(self) -> dict[str, Any]:
        """What `--json` writes."""
        known = bounded(self.outcomes)
        in_all = verdict(known)
        return {
            "schema": 1,
            "suite": self.suite,
            "family": self.family,
            "split": self.split,
            "openings": [opening.model_dump(mode="json") for opening in self.openings],
            "git_revision": git_revision(),
            "seeds": self.seeds,
            "objective": "; ".join(dict.fromkeys(objective_words(row.scenario.objective) for row in self.rows)),
            "verdict": in_all and in_all.to_json() | {"harm": harm_words(known)},
            "verdicts": [_verdict_to_json(outcome) for outcome in self.outcomes],
            "by_stake": [_class_to_json(*each) for each in self.by_stake],
            "aggregate": {standing.name: standing.to_json() for standing in self.standings},
            "rows": [
                row.to_json(self.seeds, outcome)
                for outcome in self.outcomes
                for row in self.by_scenario[outcome.scenario]
            ],
            "without_bounds": self.without_bounds,
            "left_out": [each._asdict() for each in self.left_out],
        }


def _outcome(rows: Sequence[Row]) -> Outcome:
    """The rows of a scenario."""
    runs = {row.policy: row.episodes.objective for row in rows}
    kinds = {row.policy: row.kind for row in rows}
    given_up = {row.policy: row.num_truncated for row in rows}
    scenario, bounds = rows[0].scenario, rows[0].bounds
    if bounds is not None:
        given_up[NOTHING] = bounds.num_given_up
        return Outcome(scenario.name, runs, bounds.no_migration, bounds.limits, kinds, given_up=given_up)
    unit, measure = objective_row(scenario.objective).unit, objective_measure(objective_name(scenario.objective))
    return Outcome(scenario.name, runs, runs.get(NOTHING), {}, kinds, measure=measure, unit=unit, given_up=given_up)


def _verdict_to_json(outcome: Outcome) -> dict[str, Any]:
    found = verdict([outcome])
    limits = dict(outcome.limits) | ({} if outcome.no_migration is None else {NO_MIGRATION: outcome.no_migration})
    given_up = {NO_MIGRATION: outcome.given_up.get(NOTHING, 0)}
    return {
        "scenario": outcome.scenario,
        **stake_to_json(outcome),
        "bounds": {
            key: {"mean": float(runs.mean()), "runs": runs.tolist(), "truncated_runs": given_up.get(key, 0)}
            for key, runs in limits.items()
        },
        **(found.to_json() if found else {}),
    }


def _class_to_json(stake: Stake, outcomes: Sequence[Outcome], of_class: Sequence[Standing]) -> dict[str, Any]:
    found = verdict(outcomes)
    return {
        "stake_class": stake.name,
        "stake": stake.words,
        "scenarios": [outcome.scenario for outcome in outcomes],
        "verdict": found and found.to_json() | {"harm": harm_words(outcomes)},
        "policies": {standing.name: standing.to_json() for standing in of_class},
    }
