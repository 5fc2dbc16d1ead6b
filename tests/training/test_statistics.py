"""Intervals and tests agree with scipy, statsmodels' published cases and scikit-learn where those have them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from training.statistics import (
    brier_score,
    detectable_difference,
    expected_calibration_error,
    group_bootstrap,
    holm,
    mcnemar,
)


def test_without_relatives_the_group_bootstrap_is_scipys() -> None:
    """Each poster a group of its own: the same percentile interval but for chance."""
    values = np.random.default_rng(0).normal(0.3, 1.0, 400)
    found = group_bootstrap(values, np.arange(400), resamples=20_000)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.005)
    assert found.estimate == pytest.approx(values.mean())


def test_relatives_widen_the_interval() -> None:
    """Four copies of each poster say no more than one."""
    values = np.random.default_rng(0).normal(size=100)
    single = group_bootstrap(values, np.arange(100))
    copied = group_bootstrap(np.repeat(values, 4), np.repeat(np.arange(100), 4))
    assert (copied.low, copied.high) == (single.low, single.high)


def test_the_interval_covers_as_often_as_it_says() -> None:
    """In 200 repetitions a 95 % interval holds the true mean about 190 times."""
    chance = np.random.default_rng(3)
    covered = 0
    for repetition in range(200):
        found = group_bootstrap(chance.normal(size=150), np.arange(150), resamples=600, seed=repetition)
        covered += found.low <= 0 <= found.high
    assert 180 <= covered <= 199


def test_several_seeds_are_averaged_on_each_poster() -> None:
    """Two seeds that cancel out leave nothing."""
    values = np.array([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]])
    found = group_bootstrap(values, np.arange(3))
    assert (found.low, found.estimate, found.high) == (0, 0, 0)


def test_mcnemar_is_the_exact_binomial_test() -> None:
    """The textbook case of 121 against 59 discordant pairs, and symmetry."""
    a = np.array([True] * 121 + [False] * 59 + [True] * 101)
    b = np.array([False] * 121 + [True] * 59 + [True] * 101)
    expected = 2 * stats.binom.cdf(59, 180, 0.5)
    assert mcnemar(a, b) == pytest.approx(expected) == mcnemar(b, a)
    assert mcnemar(a, a) == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_corrects_in_steps(p_values: list[float]) -> None:
    """It keeps the order and never lowers a p value; the smallest is corrected as Bonferroni would."""
    adjusted = holm(p_values)
    for p_value, after in zip(p_values, adjusted, strict=True):
        assert p_value - 1e-9 <= after <= 1
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(adjusted)[order]) >= 0)
    assert adjusted[order[0]] == pytest.approx(min(1.0, p_values[order[0]] * len(p_values)), abs=1e-9)


def test_calibration_agrees_with_scikit_learn() -> None:
    """ECE from its reliability curve; Brier over two labels is twice its one-label score."""
    chance = np.random.default_rng(5)
    first = chance.uniform(0.01, 0.99, 2000)
    probabilities = np.stack([1 - first, first], axis=1)
    targets = (chance.uniform(size=2000) < first**1.5).astype(np.int64)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    accuracy, mean = calibration_curve(right, confidence, n_bins=10)
    edges = np.linspace(0, 1, 11)
    sizes = np.histogram(confidence, edges)[0]
    expected = np.sum(np.abs(accuracy - mean) * sizes[sizes > 0]) / 2000
    assert expected_calibration_error(probabilities, targets, bins=10) == pytest.approx(expected)
    assert brier_score(probabilities, targets) == pytest.approx(2 * brier_score_loss(targets, first))


def test_the_detectable_difference_is_found_with_its_power() -> None:
    """Simulated pairs with that difference are told apart by McNemar's test in about 80 % of cases."""
    disagreement, n = 0.2, 1500
    difference = detectable_difference(disagreement, n)
    chance = np.random.default_rng(0)
    found = 0
    for _ in range(300):
        discordant = chance.binomial(n, disagreement)
        only_a = chance.binomial(discordant, 0.5 + difference / disagreement / 2)
        found += stats.binomtest(only_a, discordant).pvalue < 0.05
    assert 0.72 <= found / 300 <= 0.87
