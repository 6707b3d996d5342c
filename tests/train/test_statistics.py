"""Statistics against closed forms."""

import math

import numpy as np
import pytest

from tierenv.train import statistics
from tierenv.train.statistics import (
    Estimate,
    holm,
    interquartile_mean,
    mean_estimate,
    paired_difference,
    probability_of_improvement,
    ratio_of_totals,
    stratified_bootstrap,
    stratified_mean,
    stratified_p_values,
)


def test_t_interval_matches_a_printed_table() -> None:
    # runs 1..5: mean 3, standard deviation sqrt(2.5); t(0.975, 4) = 2.776 in every textbook
    estimate = mean_estimate([1, 2, 3, 4, 5])
    half_width = 2.776 * math.sqrt(2.5) / math.sqrt(5)
    assert estimate.value == 3
    assert estimate.interval == pytest.approx([3 - half_width, 3 + half_width], abs=1e-3)


def test_one_run_has_no_interval() -> None:
    assert mean_estimate([7.0]).value == 7
    assert mean_estimate([7.0]).interval is None
    assert stratified_bootstrap([[7.0]]).interval is None


def test_a_bootstrap_of_fewer_than_three_runs_of_a_stratum_has_no_interval() -> None:
    for strata in ([[1.0, 2.0]], [[1.0, 2.0, 3.0], [4.0, 5.0]]):
        estimate = stratified_bootstrap(strata)
        assert estimate.value == interquartile_mean(np.concatenate(strata)) and estimate.interval is None
        others = [[2 * run for run in runs] for runs in strata]
        assert probability_of_improvement(strata, others).interval is None
    assert stratified_bootstrap([[1.0, 2.0, 3.0]]).interval is not None


def test_t_interval_covers_the_mean_as_often_as_it_says() -> None:
    samples = np.random.default_rng(1).normal(size=(2000, 6))
    estimates = [mean_estimate(sample) for sample in samples]
    coverage = np.mean([estimate.low <= 0 <= estimate.high for estimate in estimates])
    assert coverage == pytest.approx(0.95, abs=0.015)  # three standard errors


def test_pairing_removes_what_seeds_have_in_common() -> None:
    common = np.random.default_rng(2).normal(scale=100, size=20)
    difference = paired_difference(common + 1 + 0.01 * np.arange(20), common)
    assert difference.value == pytest.approx(1.095)
    assert difference.high - difference.low < 0.1


def test_interquartile_mean_drops_a_quarter_at_each_end() -> None:
    assert interquartile_mean([0, 1, 2, 3, 4, 5, 6, 1000]) == pytest.approx(3.5)
    assert interquartile_mean([5, 1, 3]) == pytest.approx(3)  # too few to drop any
    rows = interquartile_mean([[0, 1, 2, 9], [4, 4, 4, 4]])
    assert rows.tolist() == [1.5, 4.0]


def test_bootstrap_of_a_mean_approaches_the_normal_interval() -> None:
    runs = np.random.default_rng(3).normal(10, 2, size=400)
    estimate = stratified_bootstrap([runs], lambda values: values.mean(axis=-1))
    half_width = 1.96 * runs.std() / 20
    assert estimate.value == pytest.approx(runs.mean())
    assert estimate.low == pytest.approx(runs.mean() - half_width, abs=0.03)
    assert estimate.high == pytest.approx(runs.mean() + half_width, abs=0.03)


def test_bootstrap_keeps_the_share_of_each_stratum() -> None:
    # within a stratum nothing varies, so stratified resampling has nothing to vary either
    estimate = stratified_bootstrap([[0.0] * 5, [1.0] * 5], lambda values: values.mean(axis=-1))
    assert estimate == Estimate(0.5, 0.5, 0.5)


def test_bootstrap_repeats_itself() -> None:
    runs = [[1.0, 2.0, 4.0, 8.0], [1.0, 3.0, 9.0, 27.0]]
    assert stratified_bootstrap(runs) == stratified_bootstrap(runs)
    assert stratified_bootstrap(runs) != stratified_bootstrap(runs, seed=1)


def test_the_stratified_mean_of_one_stratum_is_the_mean_and_of_several_counts_each_the_same() -> None:
    runs = [1.0, 2.0, 4.0, 9.0]
    assert stratified_mean([runs]) == pytest.approx(mean_estimate(runs))
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        estimate = stratified_mean([generator.normal(1, 1, 5), generator.normal(3, 4, 20)])
        covered += estimate.low <= 2 <= estimate.high
    assert 0.92 < covered / 400 < 0.98, "a sd of 1.1 points"
    assert stratified_mean([[1.0, 1.0], [3.0, 3.0]]) == (2.0, 2.0, 2.0)
    assert stratified_mean([[1.0], [3.0, 4.0]]).interval is None


def covered(truth: float, estimates: list[Estimate]) -> float:
    """Returns the share of the intervals that hold the truth."""
    return float(np.mean([estimate.low <= truth <= estimate.high for estimate in estimates]))


def test_a_ratio_of_totals_is_that_of_the_sums_of_means_and_paired() -> None:
    common = np.random.default_rng(4).normal(100, 20, size=(3, 10))
    estimate = ratio_of_totals([0.8 * row for row in common], list(common))
    assert estimate == pytest.approx((0.8, 0.8, 0.8)), "what runs have in common cancels"
    assert ratio_of_totals([[1.0, 3.0], [10.0]], [[2.0, 2.0], [20.0]]).value == pytest.approx(12 / 22)
    assert ratio_of_totals([[1.0, 3.0], [10.0]], [[2.0, 2.0], [20.0]]).interval is None
    one = ratio_of_totals([[8.0, 9.0, 10.0]], [[10.0, 10.0, 10.0]])
    assert one == pytest.approx(mean_estimate([0.8, 0.9, 1.0])), "over what does not vary it is a mean"


def test_the_interval_of_a_ratio_holds_it_as_often_as_it_says() -> None:
    generator, estimates = np.random.default_rng(5), []
    levels = np.array([50.0, 100.0, 400.0])[:, None]
    for _ in range(1000):
        common = levels * (1 + 0.1 * generator.normal(size=(3, 8)))
        tops = 0.9 * common + 0.05 * levels * generator.normal(size=(3, 8))
        estimates.append(ratio_of_totals(list(tops), list(common)))
    assert covered(0.9, estimates) == pytest.approx(0.95, abs=3.3 * math.sqrt(0.95 * 0.05 / 1000))


def test_p_values_are_uniform_where_there_is_no_difference_and_small_where_there_is() -> None:
    generator = np.random.default_rng(6)
    p_values = stratified_p_values([generator.normal(size=(1000, 6)), generator.normal(0, 3, size=(1000, 9))])
    assert np.mean(p_values < 0.05) == pytest.approx(0.05, abs=3.3 * math.sqrt(0.05 * 0.95 / 1000))
    # t = 2.776 with 4 degrees of freedom is the 5 % point of every textbook
    runs = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert stratified_p_values([runs - 3 + 2.776 * runs.std(ddof=1) / math.sqrt(5)]) == pytest.approx(0.05, abs=1e-4)
    assert [stratified_p_values(strata) for strata in ([[1.0]], [[0.0, 0.0]], [[2.0, 2.0]])] == [1.0, 1.0, 0.0]


def test_holms_procedure_is_that_of_its_paper() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_the_probability_of_improvement_is_counted_by_hand() -> None:
    # of the nine pairs four are faster, one ties
    assert probability_of_improvement([[1.0, 4.0, 6.0]], [[2.0, 4.0, 5.0]]).value == pytest.approx(4.5 / 9)
    both = probability_of_improvement([[1.0] * 3, [9.0] * 3], [[2.0] * 3, [2.0] * 3])
    assert both == (0.5, 0.5, 0.5)
    assert probability_of_improvement([[1.0, 1.0]], [[1.1, 1.1]], [0.2]).value == 0.5
    assert probability_of_improvement([[1.0]], [[2.0]]).interval is None


def test_nothing_improves_on_itself() -> None:
    runs = list(np.random.default_rng(7).normal(size=(4, 9)))
    assert probability_of_improvement(runs, runs) == pytest.approx((0.5, 0.5, 0.5))
    forth, back = probability_of_improvement(runs, runs[::-1]), probability_of_improvement(runs[::-1], runs)
    assert forth.value == pytest.approx(1 - back.value)
    assert (forth.low, forth.high) == pytest.approx((1 - back.high, 1 - back.low))


def test_percentile_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Of ten runs a little less: the bootstrap takes its spread for that of all runs there could be."""
    generator, trials = np.random.default_rng(8), 300
    closed, improved = [], []
    shifts = np.linspace(-2, 2, 8)
    truth = float(interquartile_mean(np.repeat(shifts, 50_000) + generator.normal(size=400_000)))
    for _ in range(trials):
        runs = list(shifts[:, None] + generator.normal(size=(8, 10)))
        closed.append(stratified_bootstrap(runs, resamples=400))
        # P(X < Y) of normal runs a standard deviation apart
        improved.append(
            probability_of_improvement(
                runs, [row + 1 for row in shifts[:, None] + generator.normal(size=(8, 10))], resamples=400
            )
        )
    slack = 3.3 * math.sqrt(0.95 * 0.05 / trials)
    assert 0.93 - slack < covered(truth, closed) < 0.95 + slack
    assert 0.92 - slack < covered(0.5 * math.erfc(-0.5), improved) < 0.95 + slack


def test_many_strata_are_resampled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = list(np.random.default_rng(9).normal(size=(5, 8)))
    whole = stratified_bootstrap(runs)
    monkeypatch.setattr(statistics, "MOST_RESAMPLED", 1000)
    parts = stratified_bootstrap(runs)
    assert parts.value == whole.value and parts == pytest.approx(whole, abs=0.05)
