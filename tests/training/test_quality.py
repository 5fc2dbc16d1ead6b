"""Every figure is scikit-learn's, under any weights; intervals know that related movies say the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from training.quality import Quality, measure
from training.statistics import brier_score, expected_calibration_error


def answers(seed: int, count: int, labels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities with many ties, targets of every label, and weights of 0 to 3."""
    chance = np.random.default_rng(seed)
    rough = chance.integers(1, 9, (count, labels)).astype(float)
    targets = np.concatenate([np.arange(labels), chance.integers(0, labels, count - labels)])
    weights = chance.integers(0, 4, count).astype(float)
    weights[:labels] = 1
    return rough / rough.sum(axis=1, keepdims=True), targets, weights


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 3, 10]))
def test_ranking_figures_agree_with_scikit_learn(seed: int, labels: int) -> None:
    """One label against the rest, then the mean over labels; ties count half."""
    probabilities, targets, weights = answers(seed, 60, labels)
    found = Quality(probabilities, targets).figures(weights)
    truth = np.arange(labels) == targets[:, None]
    areas = [metrics.roc_auc_score(truth[:, k], probabilities[:, k], sample_weight=weights) for k in range(labels)]
    precisions = [
        metrics.average_precision_score(truth[:, k], probabilities[:, k], sample_weight=weights) for k in range(labels)
    ]
    assert found["auroc"] == pytest.approx(np.mean(areas))
    assert found["map"] == pytest.approx(np.mean(precisions))


@pytest.mark.parametrize("labels", [2, 5])
def test_other_figures_agree_with_scikit_learn(labels: int) -> None:
    """Accuracy and macro F1 under weights; calibration and Brier score as ``statistics`` has them."""
    probabilities, targets, weights = answers(1, 200, labels)
    said = probabilities.argmax(axis=1)
    found = Quality(probabilities, targets).figures(weights)
    assert found["top1"] == pytest.approx(metrics.accuracy_score(targets, said, sample_weight=weights))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(targets, said, average="macro", sample_weight=weights))
    plain = Quality(probabilities, targets).figures()
    assert plain["ece"] == pytest.approx(expected_calibration_error(probabilities, targets))
    assert plain["brier"] == pytest.approx(brier_score(probabilities, targets))
    repeated = np.repeat(np.arange(200), weights.astype(int))
    again = Quality(probabilities[repeated], targets[repeated]).figures()
    assert again == pytest.approx(found)  # a weight of 2 is the poster twice


def test_several_labels_a_poster_agree_with_scikit_learn() -> None:
    """F1 at a threshold of one half, precision a label; top-1 asks whether the likeliest label is one of them."""
    chance = np.random.default_rng(2)
    truth = (chance.uniform(size=(100, 4)) < 0.4).astype(np.int64)
    probabilities = np.clip(0.5 * truth + chance.uniform(0, 0.6, (100, 4)), 0, 1)
    found = Quality(probabilities, truth).figures()
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(truth, probabilities >= 0.5, average="macro"))
    assert found["map"] == pytest.approx(metrics.average_precision_score(truth, probabilities, average="macro"))
    assert found["top1"] == pytest.approx(truth[np.arange(100), probabilities.argmax(axis=1)].mean())


def test_relatives_widen_every_interval() -> None:
    """Four copies of a poster in one group say no more than one poster."""
    probabilities, targets, _ = answers(3, 120, 2)
    single = measure([(Quality(probabilities, targets), np.arange(120))], resamples=100)
    four = np.repeat(np.arange(120), 4)
    copied = measure([(Quality(probabilities[four], targets[four]), four)], resamples=100)
    for name, interval in single.items():
        assert copied[name].low == pytest.approx(interval.low), name
        assert copied[name].high == pytest.approx(interval.high), name
        assert interval.low - 1e-9 <= interval.estimate <= interval.high + 1e-9, name


def test_a_label_that_no_poster_has_is_left_out_of_the_mean() -> None:
    """A resample may lose a rare label; the others' mean stands."""
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1]])
    found = Quality(probabilities, np.array([0, 1, 1])).figures()
    assert found["auroc"] == pytest.approx(1.0 * 0.5 + 1.0 * 0.5)
    assert 0 <= found["map"] <= 1
