"""Figures agree with scikit-learn and scipy on any logits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import confusion_matrix, log_loss, top_k_accuracy_score

from training.metrics import probabilities, score


@pytest.mark.parametrize("classes", [4, 10])
def test_figures_agree_with_scikit_learn(classes: int) -> None:
    """Loss, top-1, top-3 and the confusion matrix."""
    chance = np.random.default_rng(classes)
    logits = chance.normal(0, 3, (200, classes)).astype(np.float32)
    targets = chance.integers(0, classes, 200)
    labels = list(range(classes))
    scores = score(logits, targets)
    assert scores.loss == pytest.approx(log_loss(targets, softmax(logits.astype(float), axis=1), labels=labels))
    assert scores.top1 == pytest.approx(top_k_accuracy_score(targets, logits, k=1, labels=labels))
    assert scores.top3 == pytest.approx(top_k_accuracy_score(targets, logits, k=3, labels=labels))
    assert np.array_equal(scores.confusion, confusion_matrix(targets, logits.argmax(axis=1), labels=labels))
    assert scores.majority == pytest.approx(np.bincount(targets).max() / 200)


def test_top3_of_two_labels_is_always_right() -> None:
    """With three labels or fewer, the target is among the first three."""
    assert score(np.array([[0.0, 1.0]], np.float32), np.array([0])).top3 == 1.0


def test_large_logits_do_not_overflow() -> None:
    """A difference of a thousand is a certainty, not a not-a-number."""
    logits = np.array([[1000.0, 0.0]], np.float32)
    assert probabilities(logits).tolist() == [[1.0, 0.0]]
    assert score(logits, np.array([1])).loss == pytest.approx(1000.0)
