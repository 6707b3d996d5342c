"""Who wins, how sure that is, and who does harm: one sentence for a scenario, and one for several.

The winner is the policy with the least mean, over several scenarios with the least sum of means. It is compared with
every other by Student's t of the paired differences. Which policy it is is only known afterwards; so that no choice
among many looks like a finding, p-values are adjusted by Holm's procedure together with those of all other pairs of
policies. What is then not below 0.05, or too small a difference to be seen, is not told apart from the winner; nor is
anything where runs of the winner were given up, whose times are only known to be no less.

Who does harm is found among all policies and scenarios, so the p-values of all differences to no migration are adjusted
together in the same way. Intervals in the sentences are those of each difference alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tierenv.agents.kinds import KINDS, Kind
from tierenv.train.judging import UNSEEN, over_no_migration, policies_of, policies_on_all
from tierenv.train.outcomes import NOTHING, Outcome
from tierenv.train.statistics import CONFIDENCE, Estimate, holm, ratio_of_totals, stratified_p_values
from tierenv.train.texts import listed, percent, percent_interval

HARM = 0.001
"""Share of the time without migration by which a policy must be slower for that to be said."""
MUCH_SLOWER = 0.01
"""From here on one digit of a percentage is enough."""


class Other(NamedTuple):
    """A policy that does not have the least mean."""

    policy: str
    kind: Kind
    slower: Estimate
    """Than the winner, as a share of the winner's time; the 95 % interval is its own."""
    p_value: float
    """Adjusted by `holm`."""
    is_told_apart: bool
    is_at_least: bool
    """Whether runs of it were given up, so that it is at least so much slower."""

    def to_json(self) -> dict[str, Any]:
        """What results hold of it."""
        return {
            "policy": self.policy,
            "kind": self.kind,
            "slower": {"share": self.slower.value, "ci95": self.slower.interval},
            "p_value_holm": self.p_value,
            "is_told_apart": self.is_told_apart,
            "is_at_least": self.is_at_least,
        }


@dataclass(frozen=True)
class Verdict:
    """Who wins on some scenarios, among the policies that ran on all of them."""

    outcomes: Sequence[Outcome]
    winner: str
    kind: Kind
    others: Sequence[Other]
    """From the next on."""
    left_out: Sequence[str]
    """Policies that ran on some of the scenarios alone."""

    @property
    def is_at_least(self) -> bool:
        """Whether runs of the winner were given up, so that it takes at least what is said."""
        return _is_at_least(self.outcomes, self.winner)

    @property
    def equals(self) -> list[Other]:
        """Of which the episodes do not tell that they are slower."""
        return [other for other in self.others if not other.is_told_apart]

    @property
    def rival(self) -> Other | None:
        """The strongest of another kind; without one the next."""
        return next((other for other in self.others if other.kind != self.kind), next(iter(self.others), None))

    @property
    def best_learned(self) -> Other | None:
        """Unless it is the winner."""
        return None if self.kind == "learned" else next((each for each in self.others if each.kind == "learned"), None)

    @property
    def is_sure(self) -> bool:
        """Whether episodes tell that no policy of another kind is as good."""
        return all(other.kind == self.kind for other in self.equals)

    @property
    def headline(self) -> str:
        """Which kind wins, or between which the episodes do not decide."""
        if not self.others:
            return "nobody to compare with"
        if self.is_sure:
            return f"{KINDS[self.kind]} wins"
        kinds = dict.fromkeys([self.kind, *(other.kind for other in self.equals)])
        return f"undecided between {listed([KINDS[kind] for kind in kinds])}"

    @property
    def words(self) -> str:
        """A sentence."""
        return f"{self._stake}{self.headline}: {self._least}{self._equal}{self._rival}{self._learned}{self._left_out}"

    @property
    def _stake(self) -> str:
        stake = self.outcomes[0].stake
        if stake is None or len(self.outcomes) > 1:
            return ""
        return f"{stake.title.lower()} ({percent(self.outcomes[0].at_stake)}): "

    @property
    def _least(self) -> str:
        outcome, at_least = self.outcomes[0], "at least " * self.is_at_least
        if len(self.outcomes) > 1:
            totals = [(each.runs[self.winner], each.no_migration) for each in self.outcomes]
            share = ratio_of_totals(*zip(*totals, strict=True))
            return f"{self.winner} takes {at_least}{percent_interval(share)} of the time without migration"
        if outcome.unit == "s" and outcome.measure == "time":
            return f"{self.winner} takes {at_least}{outcome.runs[self.winner].mean():.1f} s"
        return f"{self.winner} has a {outcome.measure} of {at_least}{outcome.runs[self.winner].mean():.4g}"

    @property
    def _equal(self) -> str:
        names = [other.policy for other in self.equals]
        if not names:
            return ""
        if all(math.isnan(other.slower.low) for other in self.others):
            return ", and one episode does not tell how sure that is"
        return f", not told apart from {listed(names)}"

    @property
    def _rival(self) -> str:
        rival = self.rival
        return "" if rival is None else f"; {self._slower(rival)}"

    @property
    def _learned(self) -> str:
        learned = self.best_learned
        if learned is None or learned is self.rival:
            return ""
        return f"; of the learned ones {self._slower(learned)}"

    def _slower(self, other: Other) -> str:
        worse = "slower" if self.outcomes[0].unit == "s" else "worse"
        digits = 1 if other.slower.value >= MUCH_SLOWER else 2
        at_least = "at least " * (other.is_at_least and not self.is_at_least)
        unknown = ", as far as runs went" * self.is_at_least
        return f"{other.policy} is {at_least}{percent_interval(other.slower, digits)} {worse}{unknown}"

    @property
    def _left_out(self) -> str:
        return f"; not on all of them ran {listed(list(self.left_out))}" if self.left_out else ""

    def to_json(self) -> dict[str, Any]:
        """What results hold of it."""
        return {
            "winner": self.winner,
            "kind": self.kind,
            "is_at_least": self.is_at_least,
            "headline": self.headline,
            "is_sure": self.is_sure,
            "not_told_apart": [other.policy for other in self.equals],
            "others": [other.to_json() for other in self.others],
            "left_out": list(self.left_out),
            "words": self.words,
        }


def verdict(outcomes: Sequence[Outcome]) -> Verdict | None:
    """Who wins; None without scenarios or without a policy that ran on all. Doing nothing wins where it is best."""
    policies = policies_on_all(outcomes)
    if not policies:
        return None
    totals = {policy: sum(float(outcome.runs[policy].mean()) for outcome in outcomes) for policy in policies}
    ranked = sorted(policies, key=lambda policy: (totals[policy], policy))
    winner = ranked[0]
    others = []
    for policy, p_value in zip(ranked[1:], _p_values(outcomes, ranked), strict=True):
        ratio = ratio_of_totals(
            [outcome.runs[policy] for outcome in outcomes], [outcome.runs[winner] for outcome in outcomes]
        )
        slower = Estimate(*(limit - 1 for limit in ratio))
        is_told_apart = _is_told_apart(p_value) and slower.value > UNSEEN and not _is_at_least(outcomes, winner)
        is_at_least = _is_at_least(outcomes, policy)
        others.append(Other(policy, outcomes[0].kind(policy), slower, p_value, is_told_apart, is_at_least))
    left_out = [policy for policy in policies_of(outcomes) if policy not in policies]
    return Verdict(outcomes, winner, outcomes[0].kind(winner), others, left_out)


def _p_values(outcomes: Sequence[Outcome], policies: Sequence[str]) -> list[float]:
    """Of the first policy against each other one, adjusted as among all pairs of them."""
    runs = [np.array([outcome.runs[policy] for policy in policies]) for outcome in outcomes]
    found = [
        stratified_p_values([each[index + 1 :] - each[index] for each in runs]) for index in range(len(policies) - 1)
    ]
    return holm(np.concatenate([*found, []]).tolist())[: len(policies) - 1]


def _is_told_apart(adjusted_p_value: float) -> bool:
    return adjusted_p_value < 1 - CONFIDENCE


def _is_at_least(outcomes: Sequence[Outcome], policy: str) -> bool:
    return any(outcome.is_at_least(policy) for outcome in outcomes)


class _Harm(NamedTuple):
    """A policy that was slower than doing nothing on a scenario."""

    outcome: Outcome
    slower: Estimate
    """As a share of the time without migration."""
    is_told_apart: bool


def harm_words(outcomes: Sequence[Outcome]) -> str:
    """Which policies are slower than doing nothing on some of the scenarios, and how much where that is most.

    Only what is told apart from doing nothing is said to be slower; those that were so in the mean alone are named.
    """
    found = _harms(outcomes)
    harmful = {policy: [harm for harm in harms if harm.is_told_apart] for policy, harms in found.items()}
    sure = [
        _harm_on_worst(policy, max(harms, key=lambda harm: harm.slower.value))
        for policy, harms in harmful.items()
        if harms
    ]
    unsure = [policy for policy, harms in harmful.items() if not harms]
    worse = "slower" if all(outcome.measure == "time" for outcome in outcomes) else "worse"
    if sure:
        return f"{worse.capitalize()} than no migration: {listed(sure)}{_not_told_apart(unsure)}."
    if unsure:
        return f"No policy is told to be {worse} than no migration on any of these scenarios{_not_told_apart(unsure)}."
    return f"No policy is more than {percent(HARM)} {worse} than no migration on any of these scenarios."


def _harms(outcomes: Sequence[Outcome]) -> dict[str, list[_Harm]]:
    """By policy, where its mean is more than `HARM` above that of doing nothing."""
    compared, p_values = [], []
    for policy in policies_of(outcomes):
        for outcome in outcomes:
            if policy == NOTHING or policy not in outcome.runs or outcome.no_migration is None:
                continue
            ratio = over_no_migration(outcome, policy)
            if ratio is not None:
                compared.append((policy, outcome, Estimate(*(limit - 1 for limit in ratio))))
                p_values.append(float(stratified_p_values([outcome.runs[policy] - outcome.no_migration])))
    found: dict[str, list[_Harm]] = {}
    for (policy, outcome, slower), p_value in zip(compared, holm(p_values), strict=True):
        if slower.value > HARM:
            found.setdefault(policy, []).append(_Harm(outcome, slower, _is_told_apart(p_value)))
    return found


def _harm_on_worst(policy: str, harm: _Harm) -> str:
    up_to = "at least" if harm.outcome.is_at_least(policy) else "up to"
    return f"{policy} {up_to} {percent_interval(harm.slower)} ({harm.outcome.scenario})"


def _not_told_apart(policies: Sequence[str]) -> str:
    return f"; not told apart from it: {listed(policies)}" if policies else ""
