"""What has to be known about an evaluation beside its verdicts, in sentences: on a terminal and in a report."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from tierenv.train.outcomes import NOTHING, Outcome
from tierenv.train.texts import counted, listed

PASSED = 1e-6
"""Share of a bound that rounding may make."""
MOST_NAMES = 4
"""Of scenarios in a sentence."""


class Missing(Protocol):
    """A rival that there is not on a scenario, as `tierenv.train.rivals.LeftOut` or as a file has it."""

    @property
    def policy(self) -> str:
        """Its name."""

    @property
    def scenario(self) -> str:
        """Where."""

    @property
    def reason(self) -> str:
        """Why, and what would help."""


def passed_words(outcomes: Iterable[Outcome]) -> list[str]:
    """Which policies pass the clairvoyant, which is that of the scenario's daemon."""
    passed = dict.fromkeys(
        policy
        for outcome in outcomes
        for policy, runs in outcome.runs.items()
        if runs.mean() < outcome.clairvoyant_s * (1 - PASSED)
    )
    if not passed:
        return []
    return [f"Faster than the clairvoyant of the scenario's daemon, which is no bound to another: {listed([*passed])}."]


def unfinished_words(outcomes: Iterable[Outcome]) -> list[str]:
    """On which scenarios no migration was given up, so that nobody knows what is at stake."""
    names = [outcome.scenario for outcome in outcomes if outcome.limits and outcome.is_at_least(NOTHING)]
    if not names:
        return []
    return [f"Without {_few(names)}: no migration was given up there, so that nobody knows what is at stake."]


def chosen_words(chosen_on: Mapping[str, Sequence[str]], scenarios: Iterable[str]) -> list[str]:
    """Of each policy that is one setting for several scenarios, how many of those here it was chosen on."""
    here = set(scenarios)
    found = []
    for policy, names in chosen_on.items():
        number = len(here.intersection(names))
        which = f"{counted(len(names), 'scenario')} ({_few(names)})"
        found.append(f"{policy} was chosen on {which}, by name {number or 'none'} of those here.")
    return found


def left_out_words(left_out: Iterable[Missing]) -> list[str]:
    """A sentence for each rival that there is not, with the first reason."""
    by_policy: dict[str, list[Missing]] = {}
    for each in left_out:
        by_policy.setdefault(each.policy, []).append(each)
    return [
        f"Left out: {policy} on {_few([each.scenario for each in found])}: {found[0].reason}."
        for policy, found in by_policy.items()
    ]


def _few(names: Sequence[str]) -> str:
    if len(names) > MOST_NAMES:
        names = [*names[: MOST_NAMES - 1], f"{len(names) - MOST_NAMES + 1} others"]
    return listed(names)
