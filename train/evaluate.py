"""Comparing policies on the same episodes, with bounds on what any policy can reach."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.agents.policies import PolicyLoader, load_policy
from tierenv.agents.policy import Policy, scenario_for
from tierenv.bounds import clairvoyant_bound_s
from tierenv.errors import ConfigError
from tierenv.no_foresight import Episode, no_foresight_s
from tierenv.objective import objective_name, objective_row, objective_words
from tierenv.progress import ReportProgress, unreported
from tierenv.render import Timeline
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.task import ModelledTask, simulated_task
from tierenv.train import seeds as seed_blocks
from tierenv.train.config import load_suite
from tierenv.train.episodes import Episodes, episode_seeds, run_episodes
from tierenv.train.journal import Journal
from tierenv.train.processes import ProcessResult, process_results
from tierenv.train.provenance import git_revision
from tierenv.train.statistics import Estimate, mean_estimate, paired_difference, stratified_bootstrap

MAX_TIME_MULTIPLE = 20.0
"""Episodes are given up at this many times the all-fast time and then count as "at least"."""

BASELINE = "best-static"
"""The policy others are paired with: the one a learner must beat."""

LEAST_GAP = 1e-3
"""Below this share of the clairvoyant time between it and no migration there is nothing to gain."""

BOUNDS = ("all_fast", "clairvoyant", "no_foresight", "no_migration")
"""Fields of `Bounds`."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """Per seed, what no policy beats and what doing nothing takes, to the end that is judged [s]."""

    all_fast: Floats
    clairvoyant: Floats
    no_foresight: Floats
    """An estimate, between the clairvoyant and no migration: `tierenv.no_foresight`."""
    no_migration: Floats

    @property
    def leaves_gap(self) -> bool:
        """Whether there is anything to gain."""
        gap = float(self.no_migration.mean() - self.clairvoyant.mean())
        return gap > LEAST_GAP * float(self.clairvoyant.mean())

    def gap_closed(self, seconds: Floats) -> Floats | None:
        """Per seed: 0 as slow as no migration, 1 as fast as the clairvoyant; None where there is no gap."""
        if not self.leaves_gap:
            return None
        return (self.no_migration - seconds) / (self.no_migration - self.clairvoyant)

    def mean_gap_closed(self, seconds: Floats) -> float | None:
        """Gap closed by the mean times."""
        if not self.leaves_gap:
            return None
        gap = self.no_migration.mean() - self.clairvoyant.mean()
        return float((self.no_migration.mean() - seconds.mean()) / gap)

    def regret(self, seconds: Floats) -> float:
        """Mean time over mean clairvoyant time, less one."""
        return float(seconds.mean() / self.clairvoyant.mean() - 1)


@dataclass(frozen=True)
class Row:
    """One policy on one scenario."""

    scenario: Scenario
    """As it was read, whatever the policy makes of it."""
    policy: str
    daemon: str
    """Variant it ran on."""
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

    def to_json(self, seeds: Sequence[int]) -> dict[str, Any]:
        """The row as `--json` writes it, for episodes of these seeds."""
        seconds, objective = self.seconds, self.objective
        row = objective_row(self.scenario.objective)
        difference = self.difference_to_baseline and self.difference_to_baseline.to_json()
        means = {key: float(counts.mean()) for key, counts in self.episodes.counts.items()}
        return {
            "scenario": self.scenario.name,
            "policy": self.policy,
            "daemon": self.daemon,
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
            "bounds": {key: self.bounds and float(getattr(self.bounds, key).mean()) for key in BOUNDS},
            "gap_closed": self.gap_closed,
            "regret": self.regret,
            **means,
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


@dataclass(frozen=True)
class Evaluation:
    """Several policies on the scenarios of a suite."""

    suite: str
    seeds: list[int]
    rows: list[Row]
    timelines: dict[str, Timeline] = field(default_factory=dict)
    """By policy, the first episode of a single scenario, if asked for."""

    @property
    def policies(self) -> list[str]:
        """Policies in the order given."""
        return list(dict.fromkeys(row.policy for row in self.rows))

    def aggregate(self, policy: str) -> Estimate | None:
        """Interquartile mean of the gap closed over all scenarios that leave one; None if none does."""
        rows = [row for row in self.rows if row.policy == policy]
        gaps = [row.bounds.gap_closed(row.episodes.objective) for row in rows if row.bounds is not None]
        strata = [gap for gap in gaps if gap is not None]
        return stratified_bootstrap(strata) if strata else None

    @property
    def without_bounds(self) -> list[str]:
        """Scenarios that no aggregate takes in, because what is judged is no time."""
        return list(dict.fromkeys(row.scenario.name for row in self.rows if row.bounds is None))

    def to_json(self) -> dict[str, Any]:
        """What `--json` writes."""
        aggregates = {policy: self.aggregate(policy) for policy in self.policies}
        return {
            "schema": 1,
            "suite": self.suite,
            "git_revision": git_revision(),
            "seeds": self.seeds,
            "objective": "; ".join(dict.fromkeys(objective_words(row.scenario.objective) for row in self.rows)),
            "rows": [row.to_json(self.seeds) for row in self.rows],
            "without_bounds": self.without_bounds,
            "aggregate": {
                policy: {
                    "iqm_gap_closed": estimate and estimate.value,
                    "ci95": estimate and estimate.interval,
                }
                for policy, estimate in aggregates.items()
            },
        }


def evaluate(
    suite_or_scenario: str,
    policy_names: Sequence[str],
    num_seeds: int,
    *,
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
        with_timelines: whether to record the first episode of the only scenario.
        daemon: name or path of one that takes the place of the scenarios' own.
        load: makes a policy of a name.
        journal: keeps what is done and knows what was done before.
        report_progress: told what is being run.
    """
    suite = load_suite(suite_or_scenario, daemon)
    names = list(dict.fromkeys(policy_names))
    if not names:
        raise ConfigError("--policy: name at least one; run: tierenv list policies")
    if with_timelines and len(suite.scenarios) > 1:
        raise ConfigError(f"--plot: draws one scenario, {suite.name} has {len(suite.scenarios)}; name one of them")
    seeds = seed_blocks.block(seed_blocks.EVALUATION, num_seeds, "--seeds")
    # every policy of every scenario before the first run: a bad name must not cost minutes
    policies = [[load(name, scenario) for name in names] for scenario in suite.scenarios]
    evaluation = Evaluation(suite.name, seeds, rows=[])
    journal = journal or Journal()
    parts = itertools.count()
    num_parts = len(suite.scenarios) * (1 + len(names))
    for scenario, loaded in zip(suite.scenarios, policies, strict=True):
        report_progress(next(parts), num_parts, f"{scenario.name}: bounds")
        bounds = compute_bounds(scenario, seeds, journal)
        results: dict[str, Episodes] = {}
        for name, policy in zip(names, loaded, strict=True):
            report_progress(next(parts), num_parts, f"{scenario.name}: {name}")
            if with_timelines:
                task = evaluation_task(policy, scenario, num_seeds)
                evaluation.timelines[name] = Timeline(task.system)
                results[name] = run_episodes(task, policy, seeds, evaluation.timelines[name])
            else:
                results[name] = _run(policy, scenario, seeds, journal)
        for name, policy in zip(names, loaded, strict=True):
            difference = None
            if BASELINE in results and name != BASELINE:
                difference = paired_difference(results[name].objective, results[BASELINE].objective)
            daemon = (policy.daemon or scenario.daemon).name
            evaluation.rows.append(Row(scenario, name, daemon, results[name], bounds, difference))
    return evaluation


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
    return journal.once(decides, lambda: run_episodes(evaluation_task(policy, scenario, len(seeds)), policy, seeds))


def compute_bounds(scenario: Scenario, seeds: Sequence[int], journal: Journal) -> Bounds | None:
    """Bounds of the evaluation episodes of these seeds; None where what is judged is no time."""
    if objective_row(scenario.objective).judges_end_of is None:
        return None
    no_migration = _run(load_policy("no-migration", scenario), scenario, seeds, journal)
    system = LumpedSystem([scenario] * len(seeds))
    system.reset(episode_seeds(seeds), seed_blocks.evaluation_phase_orders(len(seeds)))
    clairvoyant, estimate = np.array(list(_bounds_of_episodes(system))).T
    no_foresight = np.clip(estimate, clairvoyant, no_migration.objective)
    return Bounds(no_migration.objective_all_fast, clairvoyant, no_foresight, no_migration.objective)


def _bounds_of_episodes(system: LumpedSystem) -> Iterator[tuple[float, float]]:
    """Clairvoyant bound and estimate without foresight of each machine; where nothing is drawn, episodes are alike."""
    known: dict[bytes, tuple[float, float]] = {}
    for index in range(system.num_machines):
        key = Episode.of(system, index).key
        if key not in known:
            known[key] = clairvoyant_bound_s(system, index), no_foresight_s(system, index)
        yield known[key]
