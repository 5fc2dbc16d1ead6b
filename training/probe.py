"""Features and targets -> a linear head, in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from sklearn.linear_model import LogisticRegression

from training.metrics import score

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRENGTHS: Final = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths of the L2 penalty, the strongest penalty first; the best on validation is kept."""
ITERATIONS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A linear map from features to logits."""

    weight: NDArray[np.float32]
    """[c, d], for features as they come from the trunk: standardising is folded in."""
    bias: NDArray[np.float32]
    """[c]."""
    strength: float
    """Of ``STRENGTHS``."""

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map [n, d] to [n, c]."""
        return features @ self.weight.T + self.bias


def fit_head(features: NDArray[np.float32], targets: NDArray[np.int64], classes: int, *, strength: float) -> Head:
    """Fit multinomial logistic regression on standardised features.

    Args:
        features: [n, d].
        targets: [n], each class at least once.
        classes: Number of logits.
        strength: Inverse strength of the L2 penalty, scikit-learn's ``C``.
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    model = LogisticRegression(C=strength, max_iter=ITERATIONS)
    model.fit((features - mean) / deviation, targets)
    weight, bias = np.asarray(model.coef_), np.asarray(model.intercept_)
    if classes == 2:  # noqa: PLR2004 - scikit-learn keeps one row for two classes: the difference of their logits
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / deviation
    return Head(weight=weight.astype(np.float32), bias=(bias - weight @ mean).astype(np.float32), strength=strength)


def choose_head(
    train: tuple[NDArray[np.float32], NDArray[np.int64]],
    validation: tuple[NDArray[np.float32], NDArray[np.int64]],
    classes: int,
) -> Head:
    """Fit heads from the strongest penalty on, until the loss on validation rises, and keep the one with the lowest.

    The loss falls and then rises as the penalty weakens, and a weak penalty takes most of the time to fit.

    Args:
        train: Features [n, d] and targets [n].
        validation: The same of the split that is chosen on.
        classes: Number of logits.
    """
    best, least = None, float("inf")
    for strength in STRENGTHS:
        head = fit_head(*train, classes, strength=strength)
        loss = score(head.logits(validation[0]), validation[1]).loss
        if best is not None and loss >= least:
            break
        best, least = head, loss
    return best or fit_head(*train, classes, strength=STRENGTHS[0])
