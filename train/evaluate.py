"""Comparing policies on the same episodes, with bounds on what any policy can reach."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tierenv.agents.foreign import kind_of
from tierenv.agents.heuristics import StaticPolicy
from tierenv.agents.policies import PolicyLoader, load_policy
from tierenv.agents.policy import Policy, scenario_for
from tierenv.errors import ConfigError
from tierenv.objective import objective_row
from tierenv.progress import ReportProgress, unreported
from tierenv.render import Timeline
from tierenv.scenario import Scenario
from tierenv.sim.lumped.system import LumpedSystem
from tierenv.task import ModelledTask, simulated_task
from tierenv.train import seeds as seed_blocks
from tierenv.train.config import load_suite
from tierenv.train.episodes import MAX_TIME_MULTIPLE, Episodes, episode_seeds, run_episodes
from tierenv.train.evaluation import Evaluation, Row
from tierenv.train.journal import Journal
from tierenv.train.judging import BASELINE
from tierenv.train.limits import Bounds, limits_of
from tierenv.train.openings import check_opened, open_for_policies
from tierenv.train.outcomes import NOTHING
from tierenv.train.rivals import LeftOut, Rivals
from tierenv.train.statistics import paired_difference


def evaluate(
    suite_or_scenario: str,
    policy_names: Sequence[str],
    num_seeds: int,
    *,
    with_rivals: bool = False,
    with_timelines: bool = False,
    daemon: str | None = None,
    open_final: bool = False,
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
        open_final: whether a family's final set may be looked at, which is logged (`tierenv.train.openings`).
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
    opened = check_opened(suite, open_final)
    seeds = seed_blocks.block(seed_blocks.EVALUATION, num_seeds, "--seeds")
    rivals = Rivals(suite.scenarios) if with_rivals else None
    # every policy of every scenario before the first run: a bad name must not cost minutes
    policies = [{name: load(name, scenario) for name in names} for scenario in suite.scenarios]
    if rivals is not None:
        policies = [rivals.of(*each) for each in zip(suite.scenarios, policies, strict=True)]
    evaluation = Evaluation(
        suite.name,
        seeds,
        rows=[],
        family=suite.family,
        split=suite.split,
        openings=[] if opened is None else open_for_policies(opened, suite.scenarios, policies, num_seeds),
        left_out=rivals.left_out if rivals else (),
    )
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
    """The scenario as the policy runs and observes it, every second episode with held-out phase orders."""
    return simulated_task(
        [scenario_for(policy, scenario)] * num_episodes,
        phase_orders=seed_blocks.evaluation_phase_orders(num_episodes),
        max_time_multiple=MAX_TIME_MULTIPLE,
        observation=policy.observation,
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
    num_given_up = int(no_migration.is_truncated.sum())
    return Bounds(no_migration.objective, limits_of(system, no_migration), num_given_up)
