"""What scenarios with about as much at stake come to: who wins, how sure that is, and who does harm."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierenv.train.outcomes import AT_STAKE, MUCH_AT_STAKE, Outcome
from tierenv.train.results import NOTHING
from tierenv.train.statistics import Estimate, stratified_mean
from tierenv.train.texts import listed, percent, percent_interval

STATIC = ("one-static:", "static:")
"""What the name of a policy begins with that holds one setting; so does best-static."""
UNSEEN = 5e-5
"""Differences, as shares of the time without migration, that two digits of a percentage do not show: none."""
HARM = 0.001
"""Share of the time without migration by which a policy must be slower for that to be said."""

CLASSES = (
    ("Little at stake", -np.inf, AT_STAKE),
    ("Something at stake", AT_STAKE, MUCH_AT_STAKE),
    ("Much at stake", MUCH_AT_STAKE, np.inf),
)
"""Title, and the share of the time without migration that is at stake: above the one, up to the other."""


def stake_words(low: float, high: float) -> str:
    """The limits of a class of stakes."""
    if low == -np.inf:
        share = f"at most {percent(high, 0)}"
    elif high == np.inf:
        share = f"more than {percent(low, 0)}"
    else:
        share = f"more than {percent(low, 0)} and up to {percent(high, 0)}"
    return f"the clairvoyant saves {share} of the time without migration"


def is_static(policy: str) -> bool:
    """Whether a policy holds one setting, whatever happens."""
    return policy == "best-static" or policy.startswith(STATIC)


def same_policies(outcomes: Sequence[Outcome]) -> list[str]:
    """Policies that ran on all of these scenarios, in their order."""
    return [policy for policy in outcomes[0].runs if all(policy in outcome.runs for outcome in outcomes)]


def mean_excess(outcomes: Sequence[Outcome], policy: str) -> Estimate:
    """Mean over scenarios of time over time without migration, less one; every scenario counts the same."""
    return stratified_mean([outcome.runs[policy] / outcome.no_migration_s - 1 for outcome in outcomes])


def mean_difference(outcomes: Sequence[Outcome], first: str, second: str) -> Estimate | None:
    """First less second, episode by episode, in units of the time without migration; None if not the same ran."""
    if any(len(outcome.runs[first]) != len(outcome.runs[second]) for outcome in outcomes):
        return None
    return stratified_mean(
        [(outcome.runs[first] - outcome.runs[second]) / outcome.no_migration_s for outcome in outcomes]
    )


def mean_gap_closed(outcomes: Sequence[Outcome], policy: str) -> float | None:
    """Share of what is at stake on all scenarios together, each over its time without migration, that is saved.

    None where little is at stake: a share of next to nothing says nothing.
    """
    stake = sum(outcome.at_stake for outcome in outcomes)
    saved = -sum(float(outcome.runs[policy].mean()) / outcome.no_migration_s - 1 for outcome in outcomes)
    return saved / stake if stake > AT_STAKE * len(outcomes) else None


def worst(outcomes: Sequence[Outcome], policy: str) -> tuple[float, str]:
    """The greatest excess over the time without migration, and the scenario."""
    return max((outcome.excess(policy).value, outcome.scenario) for outcome in outcomes)


@dataclass(frozen=True)
class Verdict:
    """Who wins on some scenarios."""

    winner: str
    equals: list[str]
    """Others of which the episodes do not tell that they are slower."""
    runner_up: str | None
    """The next after the winner."""
    lead: Estimate | None
    """The winner less the runner-up, in units of the time without migration; below 0 is faster."""
    measure: str
    """What is judged."""

    @property
    def words(self) -> str:
        """One or two sentences."""
        if self.runner_up is None:
            return f"{self.winner} is the only policy."
        margin = percent_interval(self.lead, 2, signed=True)
        lead = f"{margin} of the {self.measure} without migration against {self.runner_up}"
        if not self.equals:
            return f"{_win(self.winner)} ({lead}; the interval of the paired difference does not hold 0)."
        name = f"The static setting {self.winner}" if is_static(self.winner) else self.winner
        if self.lead is None or self.lead.interval is None:
            return f"{name} has the least mean ({lead}); there is nothing to tell by how sure that is."
        statics = [policy for policy in self.equals if is_static(policy)]
        tail = ""
        if statics and not is_static(self.winner):
            tail = f" So no policy is shown to be {_better(self.measure)} than a static setting: {listed(statics)}."
        return (
            f"{name} has the least mean ({lead}), but the interval of the paired difference holds 0 against "
            f"{listed(self.equals)}: the episodes do not tell which is {_better(self.measure)}.{tail}"
        )


def _better(measure: str) -> str:
    return "faster" if measure == "time" else "better"


def _win(policy: str) -> str:
    if policy == NOTHING:
        return f"Doing nothing wins: {policy}"
    return f"A static setting wins: {policy}" if is_static(policy) else f"{policy} wins"


def verdict(outcomes: Sequence[Outcome]) -> Verdict | None:
    """Who wins; None without a policy that ran everywhere. Doing nothing wins too, where all else is slower."""
    policies = same_policies(outcomes)
    if not policies:
        return None
    ranked = sorted(policies, key=lambda policy: mean_excess(outcomes, policy).value)
    winner, others = ranked[0], ranked[1:]
    differences = {policy: mean_difference(outcomes, winner, policy) for policy in others}
    equals = [policy for policy, difference in differences.items() if not _is_faster(difference)]
    runner_up = others[0] if others else None
    return Verdict(winner, equals, runner_up, differences[runner_up] if runner_up else None, outcomes[0].measure)


def _is_faster(difference: Estimate | None) -> bool:
    return difference is not None and difference.interval is not None and difference.high < -UNSEEN


def harm_words(outcomes: Sequence[Outcome]) -> str:
    """Which policies are slower than doing nothing, and by how much at most."""
    harmful = []
    for policy in same_policies(outcomes):
        share, scenario = worst(outcomes, policy)
        if policy != NOTHING and share > HARM:
            harmful.append(f"{policy} up to {percent(share)} ({scenario})")
    worse = "slower" if outcomes[0].measure == "time" else "worse"
    if not harmful:
        return f"No policy is more than {percent(HARM)} {worse} than no migration on any of these scenarios."
    return f"{worse.capitalize()} than no migration: {listed(harmful)}."
