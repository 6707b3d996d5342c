"""Comparing policies on the same episodes, with bounds on what any policy can reach."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from tierenv.agents.foreign import kind_of
from tierenv.agents.heuristics import StaticPolicy
from tierenv.agents.kinds import Kind
from tierenv.agents.policies import PolicyLoader, load_policy
from tierenv.agents.policy import Policy, scenario_for
from tierenv.errors import ConfigError
from tierenv.objective import objective_name, objective_row, objective_words
from tierenv.progress import ReportProgress, unreported
from tierenv.render import Timeline
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.task import ModelledTask, simulated_task
from tierenv.train import seeds as seed_blocks
from tierenv.train.config import load_suite
from tierenv.train.episodes import CPU_TIMES, Episodes, episode_seeds, run_episodes
from tierenv.train.journal import Journal
from tierenv.train.judging import BASELINE, Standing, in_classes, standings
from tierenv.train.limits import LIMITS, NO_MIGRATION, Bounds
from tierenv.train.outcomes import NOTHING, Outcome, Stake, objective_measure
from tierenv.train.processes import ProcessResult, process_results
from tierenv.train.provenance import git_revision
from tierenv.train.rivals import LeftOut, Rivals
from tierenv.train.statistics import Estimate, mean_estimate, paired_difference
from tierenv.train.verdicts import Verdict, harm_words, verdict

MAX_TIME_MULTIPLE = 20.0
"""Episodes are given up at this many times the all-fast time and then count as "at least"."""


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
        """Gap closed by the means, None where there are no bounds or no gap."""
        return None if self.bounds is None else self.bounds.mean_gap_closed(self.episodes.objective)

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

    @property
    def chosen_on(self) -> dict[str, tuple[str, ...]]:
        """By policies of one setting for several scenarios, the names of those that it was chosen on."""
        found = {row.policy: row.chosen_on for row in self.rows}
        return {policy: names for policy, names in found.items() if len(names) > 1}

    @property
    def without_bounds(self) -> list[str]:
        """Scenarios that no aggregate takes in, because what is judged is no time."""
        return [outcome.scenario for outcome in self.outcomes if outcome.stake is None]

    def to_json(self) -> dict[str, Any]:
        """What `--json` writes."""
        known = [outcome for outcome in self.outcomes if outcome.stake is not None]
        in_all = verdict(known)
        return {
            "schema": 1,
            "suite": self.suite,
            "git_revision": git_revision(),
            "seeds": self.seeds,
            "objective": "; ".join(dict.fromkeys(objective_words(row.scenario.objective) for row in self.rows)),
            "verdict": in_all and in_all.to_json() | {"harm": harm_words(known)},
            "verdicts": [_verdict_to_json(outcome) for outcome in self.outcomes],
            "by_stake": [_class_to_json(stake, members) for stake, members in in_classes(self.outcomes)],
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
    scenario, bounds = rows[0].scenario, rows[0].bounds
    if bounds is not None:
        return Outcome(scenario.name, runs, bounds.no_migration, bounds.limits, kinds)
    unit, measure = objective_row(scenario.objective).unit, objective_measure(objective_name(scenario.objective))
    return Outcome(scenario.name, runs, runs.get(NOTHING), {}, kinds, measure=measure, unit=unit)


def _verdict_to_json(outcome: Outcome) -> dict[str, Any]:
    found: Verdict | None = verdict([outcome])
    limits = dict(outcome.limits) | ({} if outcome.no_migration is None else {NO_MIGRATION: outcome.no_migration})
    return {
        "scenario": outcome.scenario,
        **stake_to_json(outcome),
        "bounds": {key: {"mean": float(runs.mean()), "runs": runs.tolist()} for key, runs in limits.items()},
        **(found.to_json() if found else {}),
    }


def _class_to_json(stake: Stake, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    found = verdict(outcomes)
    return {
        "stake_class": stake.name,
        "stake": stake.words,
        "scenarios": [outcome.scenario for outcome in outcomes],
        "verdict": found and found.to_json() | {"harm": harm_words(outcomes)},
        "policies": {standing.name: standing.to_json() for standing in standings(outcomes)},
    }


def evaluate(
    suite_or_scenario: str,
    policy_names: Sequence[str],
    num_seeds: int,
    *,
    with_rivals: bool = False,
    with_timelines: bool = False,
    daemon: str | None = None,
    load: PolicyLoader = load_policy,
    journal: Journal | None = None,
    report_progress: ReportProgress = unreported,
) -> Evaluation:
    """Run every policy on the same episodes of every scenario. Raises `ConfigError`.

    Args:
        suite_or_scenario: name or path.
        policy_names: of policies, as `load` takes them.
        num_seeds: episodes for each scenario.
        with_rivals: whether to add those of `tierenv.train.rivals.RIVALS` that there are for each scenario.
        with_timelines: whether to record the first episode of the only scenario.
        daemon: name or path of one that takes the place of the scenarios' own.
        load: makes a policy of a name.
        journal: keeps what is done and knows what was done before.
        report_progress: told what is being run.
    """
    suite = load_suite(suite_or_scenario, daemon)
    names = list(dict.fromkeys(policy_names))
    if not names and not with_rivals:
        raise ConfigError("--policy: name at least one, or give --rivals; run: tierenv list policies")
    if with_timelines and len(suite.scenarios) > 1:
        raise ConfigError(f"--plot: draws one scenario, {suite.name} has {len(suite.scenarios)}; name one of them")
    seeds = seed_blocks.block(seed_blocks.EVALUATION, num_seeds, "--seeds")
    rivals = Rivals(suite.scenarios) if with_rivals else None
    # every policy of every scenario before the first run: a bad name must not cost minutes
    policies = [{name: load(name, scenario) for name in names} for scenario in suite.scenarios]
    if rivals is not None:
        policies = [rivals.of(*each) for each in zip(suite.scenarios, policies, strict=True)]
    evaluation = Evaluation(suite.name, seeds, rows=[], left_out=rivals.left_out if rivals else ())
    journal = journal or Journal()
    parts = itertools.count()
    num_parts = sum(1 + len(of_scenario) for of_scenario in policies)
    for scenario, of_scenario in zip(suite.scenarios, policies, strict=True):
        report_progress(next(parts), num_parts, f"{scenario.name}: bounds")
        bounds = compute_bounds(scenario, seeds, journal)
        results: dict[str, Episodes] = {}
        for name, policy in of_scenario.items():
            report_progress(next(parts), num_parts, f"{scenario.name}: {name}")
            if with_timelines:
                task = evaluation_task(policy, scenario, num_seeds)
                evaluation.timelines[name] = Timeline(task.system)
                results[name] = run_episodes(task, policy, seeds, evaluation.timelines[name], with_recovery=True)
            else:
                results[name] = _run(policy, scenario, seeds, journal)
        evaluation.rows.extend(_row(name, policy, scenario, results, bounds) for name, policy in of_scenario.items())
    return evaluation if rivals is None else _without_twins(evaluation, names)


def _without_twins(evaluation: Evaluation, asked_for: Sequence[str]) -> Evaluation:
    """Leaves out rules that nobody asked for and that did in every episode what another one did."""
    twins: dict[str, str] = {}
    known: dict[tuple[Any, ...], str] = {}
    for policy in [policy for policy in evaluation.policies if kind_of(policy) == "rule"]:
        rows = [row for row in evaluation.rows if row.policy == policy]
        first = known.setdefault(tuple((row.scenario.name, *row.episodes.objective) for row in rows), policy)
        if first != policy and policy not in asked_for:
            twins[policy] = first
    left_out = [
        LeftOut(row.policy, row.scenario.name, f"did in every episode what {twins[row.policy]} did")
        for row in evaluation.rows
        if row.policy in twins
    ]
    return replace(
        evaluation,
        rows=[row for row in evaluation.rows if row.policy not in twins],
        timelines={policy: timeline for policy, timeline in evaluation.timelines.items() if policy not in twins},
        left_out=[*evaluation.left_out, *left_out],
    )


def _row(name: str, policy: Policy, scenario: Scenario, results: dict[str, Episodes], bounds: Bounds | None) -> Row:
    difference = None
    if BASELINE in results and name != BASELINE:
        difference = paired_difference(results[name].objective, results[BASELINE].objective)
    return Row(
        scenario=scenario,
        policy=name,
        kind=kind_of(name),
        daemon=(policy.daemon or scenario.daemon).name,
        chosen_on=policy.chosen_on if isinstance(policy, StaticPolicy) else (),
        episodes=results[name],
        bounds=bounds,
        difference_to_baseline=difference,
    )


def evaluation_task(policy: Policy, scenario: Scenario, num_episodes: int, trace_events: int = 0) -> ModelledTask:
    """The scenario as the policy runs it, every second episode with held-out phase orders."""
    return simulated_task(
        [scenario_for(policy, scenario)] * num_episodes,
        phase_orders=seed_blocks.evaluation_phase_orders(num_episodes),
        max_time_multiple=MAX_TIME_MULTIPLE,
        trace_events=trace_events,
    )


def _run(policy: Policy, scenario: Scenario, seeds: Sequence[int], journal: Journal) -> Episodes:
    """The evaluation episodes of a policy."""
    identity = policy.identity
    decides = None if identity is None else [scenario_for(policy, scenario).identity, identity, list(seeds)]

    def run() -> Episodes:
        return run_episodes(evaluation_task(policy, scenario, len(seeds)), policy, seeds, with_recovery=True)

    return journal.once(decides, run)


def compute_bounds(scenario: Scenario, seeds: Sequence[int], journal: Journal) -> Bounds | None:
    """Bounds of the evaluation episodes of these seeds; None where what is judged is no time."""
    if objective_row(scenario.objective).judges_end_of is None:
        return None
    no_migration = _run(load_policy(NOTHING, scenario), scenario, seeds, journal)
    system = LumpedSystem([scenario] * len(seeds))
    system.reset(episode_seeds(seeds), seed_blocks.evaluation_phase_orders(len(seeds)))
    limits = {key: limit.seconds(system, no_migration) for key, limit in LIMITS.items()}
    return Bounds(no_migration.objective, limits)
