"""Comparing policies on the same episodes, with bounds on what any policy can reach."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierenv.agents.policies import load_policy
from tierenv.agents.policy import Policy, scenario_for
from tierenv.bounds import clairvoyant_bound_s
from tierenv.errors import ConfigError
from tierenv.render import Timeline
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.task import ModelledTask, simulated_task
from tierenv.train import seeds as seed_blocks
from tierenv.train.config import load_suite
from tierenv.train.episodes import Episodes, episode_seeds, run_episodes
from tierenv.train.provenance import git_revision
from tierenv.train.statistics import Estimate, mean_estimate, paired_difference, stratified_bootstrap

MAX_TIME_MULTIPLE = 20.0
"""Episodes are given up at this many times the all-fast time and then count as "at least"."""

BASELINE = "best-static"
"""The policy others are paired with: the one a learner must beat."""

LEAST_GAP = 1e-3
"""Below this share of the clairvoyant time between it and no migration there is nothing to gain."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """Per seed, what no policy beats and what doing nothing takes [s]."""

    all_fast: Floats
    clairvoyant: Floats
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
    bounds: Bounds
    difference_to_baseline: Estimate | None
    """Paired, in seconds; negative is faster. None without the baseline, and for the baseline itself."""

    @property
    def seconds(self) -> Estimate:
        """Mean completion time."""
        return mean_estimate(self.episodes.seconds)

    @property
    def num_truncated(self) -> int:
        """Episodes that were given up."""
        return int(self.episodes.is_truncated.sum())

    def to_json(self) -> dict[str, Any]:
        """The row as `--json` writes it."""
        seconds, runs, bounds = self.seconds, self.episodes.seconds, self.bounds
        difference = self.difference_to_baseline
        means = {key: float(counts.mean()) for key, counts in self.episodes.counts.items()}
        return {
            "scenario": self.scenario.name,
            "policy": self.policy,
            "daemon": self.daemon,
            "seconds": {"mean": seconds.value, "ci95": seconds.interval, "runs": runs.tolist()},
            "truncated_runs": self.num_truncated,
            "bounds": {
                "all_fast": float(bounds.all_fast.mean()),
                "clairvoyant": float(bounds.clairvoyant.mean()),
                "no_migration": float(bounds.no_migration.mean()),
            },
            "gap_closed": bounds.mean_gap_closed(runs),
            "regret": bounds.regret(runs),
            **means,
            "difference_to_best_static_s": difference and {"mean": difference.value, "ci95": difference.interval},
        }


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
        gaps = [row.bounds.gap_closed(row.episodes.seconds) for row in self.rows if row.policy == policy]
        strata = [gap for gap in gaps if gap is not None]
        return stratified_bootstrap(strata) if strata else None

    def to_json(self) -> dict[str, Any]:
        """What `--json` writes."""
        aggregates = {policy: self.aggregate(policy) for policy in self.policies}
        return {
            "schema": 1,
            "suite": self.suite,
            "git_revision": git_revision(),
            "seeds": self.seeds,
            "rows": [row.to_json() for row in self.rows],
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
    report_progress: Callable[[str], None] = lambda _line: None,
) -> Evaluation:
    """Run every policy on the same episodes of every scenario. Raises `ConfigError`."""
    suite = load_suite(suite_or_scenario)
    names = list(dict.fromkeys(policy_names))
    if not names:
        raise ConfigError("--policy: name at least one; run: tierenv list policies")
    if with_timelines and len(suite.scenarios) > 1:
        raise ConfigError(f"--plot: draws one scenario, {suite.name} has {len(suite.scenarios)}; name one of them")
    seeds = seed_blocks.block(seed_blocks.EVALUATION, num_seeds, "--seeds")
    # every policy of every scenario before the first run: a bad name must not cost minutes
    policies = [[load_policy(name, scenario) for name in names] for scenario in suite.scenarios]
    evaluation = Evaluation(suite.name, seeds, rows=[])
    for scenario, loaded in zip(suite.scenarios, policies, strict=True):
        report_progress(f"{scenario.name}: bounds")
        bounds = compute_bounds(scenario, seeds)
        results: dict[str, Episodes] = {}
        for name, policy in zip(names, loaded, strict=True):
            report_progress(f"{scenario.name}: {name}")
            task = evaluation_task(policy, scenario, num_seeds)
            timeline = Timeline(task.system) if with_timelines else None
            results[name] = run_episodes(task, policy, seeds, timeline)
            if timeline is not None:
                evaluation.timelines[name] = timeline
        for name, policy in zip(names, loaded, strict=True):
            difference = None
            if BASELINE in results and name != BASELINE:
                difference = paired_difference(results[name].seconds, results[BASELINE].seconds)
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


def compute_bounds(scenario: Scenario, seeds: Sequence[int]) -> Bounds:
    """Bounds of the evaluation episodes of these seeds."""
    idle = load_policy("no-migration", scenario)
    no_migration = run_episodes(evaluation_task(idle, scenario, len(seeds)), idle, seeds)
    system = LumpedSystem([scenario] * len(seeds))
    system.reset(episode_seeds(seeds), seed_blocks.evaluation_phase_orders(len(seeds)))
    clairvoyant = np.array([clairvoyant_bound_s(system, index) for index in range(len(seeds))])
    return Bounds(no_migration.reference_s, clairvoyant, no_migration.seconds)
