"""What policies come to over scenarios: against no migration and best-static, by stake, at worst."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tierenv.train.judging import in_classes, mean_gap_closed, over_no_migration, standings
from tierenv.train.outcomes import STAKES, Outcome
from tierenv.train.statistics import interquartile_mean

Floats = NDArray[np.float64]
NOTHING_S = np.array([100.0, 102.0, 98.0, 100.0])


def outcome(name: str, at_stake: float, scale: float = 1.0, **runs: Floats | list[float]) -> Outcome:
    """A scenario of so many hundred seconds; runs in units of these."""
    no_migration = scale * NOTHING_S
    by_policy = {policy.replace("_", "-"): scale * np.asarray(seconds) for policy, seconds in runs.items()}
    return Outcome(name, by_policy, no_migration, {"clairvoyant": (1 - at_stake) * no_migration})


@pytest.mark.parametrize(
    ("at_stake", "name"),
    [
        (-0.01, "little"),
        (0.0, "little"),
        (0.0199, "little"),
        (0.0201, "something"),
        (0.0799, "something"),
        (0.081, "much"),
    ],
)
def test_every_stake_is_in_one_class(at_stake: float, name: str) -> None:
    ((stake, _),) = in_classes([outcome("a", at_stake, numab2=NOTHING_S)])
    assert stake.name == name


def test_the_limits_of_the_classes_meet() -> None:
    assert all(lower.up_to == upper.above for lower, upper in zip(STAKES, STAKES[1:], strict=False))
    assert [stake.words for stake in STAKES] == ["at most 2 %", "more than 2 % and up to 8 %", "more than 8 %"]


def test_total_time_weighs_by_time_and_the_mean_of_shares_does_not() -> None:
    short = outcome("short", 0.3, numab2=0.8 * NOTHING_S, best_static=0.9 * NOTHING_S)
    long = outcome("long", 0.3, scale=9, numab2=0.9 * NOTHING_S, best_static=0.75 * NOTHING_S)
    found = {each.name: each for each in standings([short, long])}
    assert found["numab2"].over_no_migration.value == pytest.approx(0.89)
    assert found["numab2"].relative_time == pytest.approx((0.85, 0.85, 0.85))
    over_best_static = found["numab2"].over_best_static
    assert over_best_static is not None and over_best_static.value == pytest.approx(890 / 765)
    assert found["best-static"].over_best_static is None
    assert found["clairvoyant"].over_no_migration.value == pytest.approx(0.7)
    assert (found["clairvoyant"].kind, found["clairvoyant"].improvement) == ("bound", {})


def test_of_one_scenario_intervals_are_those_of_paired_differences() -> None:
    runs = np.array([90.0, 93.0, 87.0, 91.0])
    (standing, _) = standings([outcome("a", 0.3, numab2=runs)])
    difference = runs - 0.9025 * NOTHING_S
    half = 3.1824 * difference.std(ddof=1) / 2 / 100  # t(0.975, 3) of a table
    assert standing.over_no_migration == pytest.approx((0.9025, 0.9025 - half, 0.9025 + half), rel=1e-5)
    assert standing.over_no_migration == pytest.approx(standing.relative_time)
    assert standing.worst.over_no_migration == pytest.approx(standing.over_no_migration)
    known = outcome("a", 0.3, numab2=runs)
    assert over_no_migration(known, "numab2") == standing.over_no_migration


def test_the_gap_is_closed_where_there_is_one_and_is_a_share_of_the_scenarios_own() -> None:
    slow, fast = NOTHING_S - np.array([3.0, 9.0, 15.0, 21.0]), NOTHING_S - np.array([24.0, 24.0, 30.0, 30.0])
    outcomes = [
        outcome("a", 0.3, numab2=slow),
        outcome("b", 0.3, numab2=fast),
        outcome("c", 0.01, numab2=5 * NOTHING_S),
    ]
    found = next(iter(standings(outcomes)))
    assert found.gap_closed is not None
    expected = interquartile_mean([0.1, 0.3, 0.5, 0.7, 0.8, 0.8, 1.0, 1.0])
    assert found.gap_closed.value == pytest.approx(expected)
    assert found.gap_closed.low < found.gap_closed.value < found.gap_closed.high
    assert standings(outcomes[2:])[0].gap_closed is None
    mean = mean_gap_closed(outcomes[0], "numab2")
    assert mean is not None and mean.value == pytest.approx(0.4)
    assert mean_gap_closed(outcomes[2], "numab2") is None, "of next to nothing no share is told"


def test_improvement_is_told_against_best_static_and_no_migration() -> None:
    faster = outcome("a", 0.3, best_static=0.9 * NOTHING_S, numab2=0.5 * NOTHING_S)
    slower = outcome("b", 0.3, best_static=0.5 * NOTHING_S, numab2=0.9 * NOTHING_S)
    found = {each.name: each.improvement for each in standings([faster, slower])}
    assert found["numab2"]["best-static"].value == 0.5
    assert found["numab2"]["no-migration"] == (1.0, 1.0, 1.0)
    assert set(found["best-static"]) == {"no-migration"}
    everywhere = standings([faster, outcome("c", 0.3, numab2=NOTHING_S)])[1]
    assert everywhere.name == "numab2" and everywhere.improvement["best-static"].value == 1, "where both ran"
    assert everywhere.improvement["no-migration"].value == pytest.approx(0.75), "and next to no difference is none"


def test_the_worst_scenario_is_named() -> None:
    outcomes = [outcome("fine", 0.3, numab2=0.9 * NOTHING_S), outcome("bad", 0.01, numab2=1.2 * NOTHING_S)]
    worst = standings(outcomes)[0].worst
    assert worst.scenario == "bad" and worst.over_no_migration.value == pytest.approx(1.2)


def test_scenarios_without_a_known_stake_are_in_no_standing() -> None:
    timeless = Outcome("a", {"numab2": NOTHING_S}, NOTHING_S, {}, measure="mean slowdown", unit="1")
    assert standings([timeless]) == [] and in_classes([timeless]) == []
    assert standings([timeless, outcome("b", 0.3, numab2=NOTHING_S)])[0].num_scenarios == 1


def test_the_order_of_policies_does_not_matter() -> None:
    runs = {
        "numab2": NOTHING_S - [5, 7, 3, 2],
        "best_static": NOTHING_S - [9, 8, 7, 9],
        "learned": NOTHING_S - [4, 4, 9, 9],
    }
    forth, back = (
        {each.name: each for each in standings([outcome("a", 0.3, **dict(items)), outcome("b", 0.2, **dict(items))])}
        for items in (list(runs.items()), list(runs.items())[::-1])
    )
    assert forth == back
