"""What policies come to over several scenarios: by what is at stake, against no migration and best-static, at worst.

Scenarios are fixed and every interval is of what the episodes leave open, not of other scenarios that might have been
chosen. Policies ran on the same episodes, which every interval but that of `probability_of_improvement` uses: it is of
differences, episode by episode.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tierenv.train.limits import LIMITS
from tierenv.train.outcomes import AT_STAKE, NOTHING, STAKES, Outcome, Stake
from tierenv.train.statistics import (
    Estimate,
    mean_estimate,
    probability_of_improvement,
    ratio_of_totals,
    stratified_bootstrap,
    stratified_mean,
)

BASELINE = "best-static"
"""The policy others are paired with: the one a learner must beat."""
AGAINST = (BASELINE, NOTHING)
"""Policies whose improvement is told."""
UNSEEN = 5e-5
"""Differences, as shares of the time without migration, that two digits of a percentage do not show: none."""

Floats = NDArray[np.float64]


class Worst(NamedTuple):
    """The scenario on which a policy does worst."""

    scenario: str
    over_no_migration: Estimate
    """Time over time without migration; the interval is that of this scenario, chosen because it is the worst."""
    is_at_least: bool
    """Whether runs were given up there."""

    def to_json(self) -> dict[str, Any]:
        """What results hold of it."""
        return {"scenario": self.scenario} | _ratio(self.over_no_migration)


@dataclass(frozen=True)
class Standing:
    """A policy, or a limit, over some scenarios on which it ran."""

    name: str
    """Of the policy, or the key of the limit."""
    title: str
    kind: str
    """Of the policy, or whether the limit is a bound or an estimate."""
    num_scenarios: int
    over_no_migration: Estimate
    """Sum of the mean times over that without migration, paired."""
    relative_time: Estimate
    """Mean over the scenarios of that ratio, so that each counts the same however long it takes."""
    over_best_static: Estimate | None
    """Sum of the mean times over that of best-static, where both ran and it was not given up; None where it did
    nowhere, and of itself."""
    gap_closed: Estimate | None
    """Interquartile mean over the episodes of all scenarios with more than 2 % at stake; None where there is none."""
    improvement: Mapping[str, Estimate]
    """By rival of `AGAINST`, the probability that a run of the policy is faster than one of the rival."""
    worst: Worst
    num_given_up: int
    """Runs that were given up: with any, times are at least what is said."""
    num_paired: int
    """Scenarios of `over_best_static`."""

    def to_json(self) -> dict[str, Any]:
        """What results hold of it."""
        gap = self.gap_closed
        return {
            "kind": self.kind,
            "scenarios": self.num_scenarios,
            "truncated_runs": self.num_given_up,
            "time_over_no_migration": _ratio(self.over_no_migration),
            "mean_of_time_over_no_migration": _ratio(self.relative_time),
            "time_over_best_static": self.over_best_static and _ratio(self.over_best_static),
            "iqm_gap_closed": gap and gap.value,
            "ci95": gap and gap.interval,
            "probability_of_improvement": {
                rival: {"probability": estimate.value, "ci95": estimate.interval}
                for rival, estimate in self.improvement.items()
            },
            "worst": self.worst.to_json(),
        }


def _ratio(estimate: Estimate) -> dict[str, Any]:
    return {"ratio": estimate.value, "ci95": estimate.interval}


def in_classes(outcomes: Sequence[Outcome]) -> list[tuple[Stake, list[Outcome]]]:
    """Classes of stakes that have scenarios, and these; those of which nobody knows are in none."""
    classes = [(stake, [outcome for outcome in outcomes if outcome.stake is stake]) for stake in STAKES]
    return [(stake, members) for stake, members in classes if members]


def bounded(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those of which the stake is known."""
    return [outcome for outcome in outcomes if outcome.stake is not None]


def policies_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Policies that ran on any of the scenarios, in their order."""
    return list(dict.fromkeys(policy for outcome in outcomes for policy in outcome.runs))


def policies_on_all(outcomes: Sequence[Outcome]) -> list[str]:
    """Policies that ran on all of the scenarios, in their order."""
    return [policy for policy in policies_of(outcomes) if all(policy in outcome.runs for outcome in outcomes)]


def standings(outcomes: Sequence[Outcome]) -> list[Standing]:
    """Every policy, and after them every limit, over those scenarios with a known stake on which it ran."""
    known = bounded(outcomes)
    found = []
    for policy in policies_of(known):
        ran = [outcome for outcome in known if policy in outcome.runs]
        runs = [outcome.runs[policy] for outcome in ran]
        improvement = {rival: _improvement(ran, policy, rival) for rival in AGAINST if rival != policy}
        known_improvement = {rival: estimate for rival, estimate in improvement.items() if estimate is not None}
        found.append(_standing(policy, policy, ran[0].kind(policy), ran, runs, known_improvement))
    for key, limit in LIMITS.items():
        ran = [outcome for outcome in known if key in outcome.limits]
        if ran:
            found.append(_standing(key, limit.title, limit.kind, ran, [outcome.limits[key] for outcome in ran], {}))
    return found


def _standing(
    name: str,
    title: str,
    kind: str,
    outcomes: Sequence[Outcome],
    runs: Sequence[Floats],
    improvement: Mapping[str, Estimate],
) -> Standing:
    nothing = [_nothing(outcome) for outcome in outcomes]
    relative = [ratio_of_totals([own], [other]) for own, other in zip(runs, nothing, strict=True)]
    worst = max(range(len(outcomes)), key=lambda index: relative[index].value)
    paired = [
        (own, outcome.runs[BASELINE])
        for own, outcome in zip(runs, outcomes, strict=True)
        if BASELINE in outcome.runs and name != BASELINE and not outcome.is_at_least(BASELINE)
    ]
    gaps = [
        (_nothing(outcome) - own) / (outcome.no_migration_s - outcome.clairvoyant_s)
        for own, outcome in zip(runs, outcomes, strict=True)
        if outcome.at_stake > AT_STAKE
    ]
    # as `ratio_of_totals` does it: to first order, and episode by episode
    deviations = [
        ratio.value + (own - ratio.value * other) / other.mean()
        for own, other, ratio in zip(runs, nothing, relative, strict=True)
    ]
    return Standing(
        name=name,
        title=title,
        kind=kind,
        num_scenarios=len(outcomes),
        over_no_migration=ratio_of_totals(runs, nothing),
        relative_time=stratified_mean(deviations),
        over_best_static=ratio_of_totals(*zip(*paired, strict=True)) if paired else None,
        gap_closed=stratified_bootstrap(gaps) if gaps else None,
        improvement=improvement,
        worst=Worst(outcomes[worst].scenario, relative[worst], outcomes[worst].is_at_least(name)),
        num_given_up=sum(outcome.given_up.get(name, 0) for outcome in outcomes),
        num_paired=len(paired),
    )


def _nothing(outcome: Outcome) -> Floats:
    """Times without migration, which every outcome with a stake has."""
    assert outcome.no_migration is not None
    return outcome.no_migration


def _improvement(outcomes: Sequence[Outcome], policy: str, rival: str) -> Estimate | None:
    """Over the scenarios on which both ran; None where there is none."""
    rivals = [outcome.no_migration if rival == NOTHING else outcome.runs.get(rival) for outcome in outcomes]
    pairs = [
        (outcome.runs[policy], runs, UNSEEN * outcome.no_migration_s)
        for outcome, runs in zip(outcomes, rivals, strict=True)
        if runs is not None
    ]
    return probability_of_improvement(*zip(*pairs, strict=True)) if pairs else None


def over_no_migration(outcome: Outcome, policy: str) -> Estimate | None:
    """Time over time without migration on one scenario, episode by episode.

    None where nobody did nothing, or that was given up.
    """
    if outcome.no_migration is None or outcome.is_at_least(NOTHING):
        return None
    return ratio_of_totals([outcome.runs[policy]], [outcome.no_migration])


def mean_gap_closed(outcome: Outcome, policy: str) -> Estimate | None:
    """Share of what is at stake that is saved; None where next to nothing is: a share of that says nothing."""
    if outcome.no_migration is None or not outcome.at_stake > AT_STAKE:
        return None
    gap = outcome.no_migration_s - outcome.clairvoyant_s
    return mean_estimate((outcome.no_migration - outcome.runs[policy]) / gap)
