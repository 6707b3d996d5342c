"""Verdicts: who wins, how sure that is, who does harm; by hand-made runs and by simulation."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierenv.agents.kinds import KINDS, Kind
from tierenv.train.outcomes import Outcome
from tierenv.train.verdicts import harm_words, verdict

OF: dict[str, Kind] = {
    "no-migration": "nothing",
    "best-static": "search",
    "one-static:a": "constant",
    "numab2": "rule",
    "learned": "learned",
    "other-learned": "learned",
}


def outcome(clairvoyant_s: float = 60.0, name: str = "a", **runs: list[float]) -> Outcome:
    """A scenario of a hundred seconds without migration."""
    by_policy = {policy.replace("_", "-"): np.array(seconds) for policy, seconds in runs.items()}
    episodes = len(next(iter(by_policy.values())))
    limits = {"clairvoyant": np.full(episodes, clairvoyant_s)}
    return Outcome(name, by_policy, np.full(episodes, 100.0), limits, OF)


def words(*outcomes: Outcome) -> str:
    found = verdict(outcomes)
    assert found is not None
    return found.words


def test_the_verdict_says_who_wins_by_how_much_over_the_strongest_rival() -> None:
    assert words(outcome(best_static=[80.0, 80.1, 80.2, 80.1], numab2=[90.0, 90.2, 90.1, 90.3])) == (
        "much at stake (40.0 %): search wins: best-static takes 80.1 s; numab2 is 12.5 % [12.3, 12.8] slower"
    )
    assert words(
        outcome(
            learned=[70.0, 71.0, 72.0, 73.0],
            other_learned=[70.1, 71.0, 72.1, 72.9],
            best_static=[80.0, 81.0, 82.1, 83.1],
        )
    ) == (
        "much at stake (40.0 %): learning wins: learned takes 71.5 s, not told apart from other-learned; "
        "best-static is 14.1 % [13.8, 14.4] slower"
    )


def test_where_learning_is_behind_the_verdict_says_by_how_much() -> None:
    found = words(
        outcome(learned=[75.0, 75.2, 75.1], best_static=[70.0, 70.1, 70.2], numab2=[72.0, 72.2, 72.1]),
    )
    assert found.startswith("much at stake (40.0 %): search wins: best-static takes 70.1 s; numab2 is 2.9 % ")
    assert "; of the learned ones learned is 7.1 % " in found


def test_what_is_within_the_noise_is_not_told_apart() -> None:
    found = verdict([outcome(learned=[80.0, 90.0, 70.0], best_static=[81.0, 85.0, 75.0], numab2=[190.0, 191.0, 192.0])])
    assert found is not None and [other.policy for other in found.equals] == ["best-static"]
    assert not found.is_sure and found.headline == "undecided between learning and search"
    paired = verdict([outcome(learned=[80.0, 90.0, 70.0], numab2=[81.0, 91.0, 71.1])])
    assert paired is not None and paired.headline == "learning wins", "episode by episode"
    alike = verdict([outcome(learned=[80.0, 80.0], numab2=[80.001, 80.001])])
    assert alike is not None and not alike.is_sure, "0.00 % is no difference"


def test_one_episode_decides_nothing() -> None:
    found = words(outcome(best_static=[80.0], numab2=[90.0]))
    assert found == (
        "much at stake (40.0 %): undecided between search and a rule: best-static takes 80.0 s, and one episode does "
        "not tell how sure that is; numab2 is 12.5 % slower"
    )


def test_where_there_is_little_to_win_doing_nothing_may() -> None:
    harmful = outcome(99.0, no_migration=[100.0, 100.1, 100.0], numab2=[120.0, 120.1, 120.2])
    assert words(harmful).startswith(
        "little at stake (1.0 %): doing nothing wins: no-migration takes 100.0 s; numab2 is 20.1 %"
    )
    assert harm_words([harmful]) == "Slower than no migration: numab2 up to 20.1 % [19.9, 20.3] (a)."
    assert harm_words([outcome(best_static=[100.05])]).startswith("No policy is more than 0.1 % slower")


def test_over_scenarios_total_time_decides_and_policies_that_did_not_run_on_all_are_named() -> None:
    long = Outcome(
        "long", {"numab2": np.array([900.0, 901.0]), "learned": np.array([890.0, 890.5])}, np.full(2, 1000.0), {}, OF
    )
    short = outcome(name="short", numab2=[90.0, 91.0], learned=[95.0, 95.5], best_static=[50.0, 51.0])
    found = verdict([long, short])
    assert found is not None and found.winner == "learned" and list(found.left_out) == ["best-static"]
    assert "learned takes 89.6 % [" in found.words and found.words.endswith("; not on all of them ran best-static")
    assert verdict([]) is None


def test_where_no_time_is_judged_there_is_no_stake() -> None:
    runs = {"no-migration": np.array([1.5, 1.51, 1.52]), "numab2": np.array([1.6, 1.61, 1.62])}
    found = Outcome("a", runs, runs["no-migration"], {}, OF, measure="mean slowdown", unit="1")
    told = "doing nothing wins: no-migration has a mean slowdown of 1.51; numab2 is 6.6 % [6.5, 6.7] worse"
    assert words(found) == told
    assert harm_words([found]) == "Worse than no migration: numab2 up to 6.6 % [6.5, 6.7] (a)."


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_win(kind: Kind) -> None:
    runs = {"one": np.array([80.0, 80.1]), "two": np.array([90.0, 90.1])}
    found = verdict([Outcome("a", runs, None, {}, {"one": kind})])
    assert found is not None and found.headline == ("a program wins" if kind == "program" else f"{KINDS[kind]} wins")


RUNS = st.lists(
    st.lists(st.floats(50.0, 150.0), min_size=3, max_size=3), min_size=2, max_size=5
)  # policies by episodes


@given(runs=RUNS, data=st.data())
def test_the_order_of_policies_does_not_matter(runs: list[list[float]], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(runs))))
    verdicts = []
    for indices in (range(len(runs)), order):
        by_policy = {f"p{index}": np.array(runs[index]) for index in indices}
        verdicts.append(verdict([Outcome("a", by_policy, np.full(3, 100.0), {"clairvoyant": np.full(3, 50.0)})]))
    first, second = verdicts
    assert first is not None and second is not None
    assert first.words == second.words and first.to_json() == second.to_json()
    json.dumps(first.to_json(), allow_nan=False)


@given(runs=st.lists(st.floats(50.0, 150.0), min_size=1, max_size=5))
def test_a_policy_is_not_told_apart_from_itself(runs: list[float]) -> None:
    same = np.array(runs)
    found = verdict([Outcome("a", {"one": same, "other": same.copy()}, None, {}, {"one": "learned", "other": "rule"})])
    assert found is not None and len(found.equals) == 1 and not found.is_sure
    assert found.others[0].slower.value == 0 and found.others[0].p_value == 1


def test_of_policies_that_are_alike_one_is_told_apart_in_one_comparison_of_twenty_at_most() -> None:
    """All pairs of the eight are in the correction, so whoever has the least mean by chance gains nothing by it."""
    generator, trials = np.random.default_rng(0), 400
    wrong = 0
    for _ in range(trials):
        runs = 100 + generator.normal(size=(8, 10)) + generator.normal(size=10)
        found = verdict([Outcome("a", {str(index): row for index, row in enumerate(runs)}, None)])
        assert found is not None
        wrong += len(found.equals) < 7
    assert wrong <= 0.05 * trials + 3.1 * math.sqrt(0.05 * 0.95 * trials), "one in a thousand above the level"


def test_a_difference_that_is_there_is_found() -> None:
    generator = np.random.default_rng(1)
    common = generator.normal(scale=10, size=20)
    policies = {str(index): 100 + index + common + 0.3 * generator.normal(size=20) for index in range(6)}
    found = verdict([Outcome("a", policies, None)])
    assert found is not None and found.winner == "0" and found.equals == []
    assert [other.policy for other in found.others] == ["1", "2", "3", "4", "5"]
    assert all(first.p_value >= second.p_value for first, second in itertools.pairwise(found.others))


def noisy(generator: np.random.Generator, *slower: float, scenarios: int = 24, episodes: int = 10) -> list[Outcome]:
    """Policies that are so much slower than doing nothing, episode by episode with half a percent of noise."""
    found = []
    for index in range(scenarios):
        nothing = 100 + 5 * generator.normal(size=episodes)
        noise = 1 + 0.005 * generator.normal(size=(len(slower), episodes))
        runs = {f"p{number}": nothing * (1 + share) * noise[number] for number, share in enumerate(slower)}
        found.append(Outcome(str(index), runs, nothing, {}))
    return found


def test_whoever_does_no_harm_is_accused_in_one_comparison_of_twenty_at_most() -> None:
    generator, trials = np.random.default_rng(2), 200
    told = [harm_words(noisy(generator, 0.0)) for _ in range(trials)]
    wrong = sum(words.startswith("Slower") for words in told)
    assert wrong <= 0.05 * trials + 3.1 * math.sqrt(0.05 * 0.95 * trials), "one in a thousand above the level"
    assert told[0] == (
        "No policy is told to be slower than no migration on any of these scenarios; not told apart from it: p0."
    )


def test_harm_that_is_there_is_told_of_where_it_is_worst() -> None:
    generator = np.random.default_rng(3)
    outcomes = [*noisy(generator, 0.0, 0.03), *noisy(generator, 0.0, 0.09, scenarios=1)]
    outcomes[-1] = Outcome("worst", outcomes[-1].runs, outcomes[-1].no_migration, {})
    told = harm_words(outcomes)
    assert told.startswith("Slower than no migration: p1 up to 8.9 % [")
    assert told.endswith("] (worst); not told apart from it: p0.")


def test_one_episode_accuses_nobody() -> None:
    told = harm_words([outcome(numab2=[120.0])])
    assert told.startswith("No policy is told to be slower") and told.endswith("not told apart from it: numab2.")


def given_up(**num_given_up: int) -> Outcome:
    """A rule and a setting of which runs were given up."""
    known = outcome(best_static=[80.0, 80.1, 80.2], numab2=[190.0, 190.2, 190.1])
    numbers = {policy.replace("_", "-"): number for policy, number in num_given_up.items()}
    return Outcome("a", known.runs, known.no_migration, known.limits, OF, given_up=numbers)


def test_runs_that_were_given_up_take_at_least_what_is_said() -> None:
    found = verdict([given_up(numab2=2)])
    assert found is not None and found.is_sure and "numab2 is at least 137.3 % [" in found.words
    assert harm_words([given_up(numab2=2)]).startswith("Slower than no migration: numab2 at least 90.1 % [")
    both = verdict([given_up(numab2=2), given_up()])
    assert both is not None and both.others[0].is_at_least and "numab2 is at least" in both.words


def test_a_winner_whose_runs_were_given_up_is_not_told_apart_from_anybody() -> None:
    found = verdict([given_up(numab2=3, best_static=1)])
    assert found is not None and not found.is_sure and not found.others[0].is_told_apart
    assert "best-static takes at least 80.1 s, not told apart from numab2" in found.words
    assert "slower, as far as runs went" in found.words and found.to_json()["is_at_least"]


def test_where_no_migration_was_given_up_there_is_no_stake_and_no_harm() -> None:
    found = given_up(no_migration=1)
    assert found.stake is None and words(found).startswith("search wins")
    assert harm_words([found]).startswith("No policy is more than")
