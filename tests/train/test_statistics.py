"""Statistics against closed forms."""

import math

import numpy as np
import pytest

from tierenv.train.statistics import (
    Estimate,
    interquartile_mean,
    mean_estimate,
    paired_difference,
    stratified_bootstrap,
    stratified_mean,
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
