"""Logits and targets -> the figures that say how good a model is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Quality on one split.

    With several labels a poster, ``loss`` is the mean over labels of a yes or no each, ``top1`` and ``top3`` ask
    whether one of the likeliest labels is true, and a poster stands in the row of each of its labels.
    """

    loss: float
    """Mean cross-entropy in nats, without label smoothing."""
    top1: float
    """Share of posters whose most probable label is right, 0 to 1."""
    top3: float
    """Share whose label is among the three most probable; 1 where there are three labels or fewer."""
    n: int
    """Posters."""
    majority: float
    """Share of the largest class: what a constant answer reaches."""
    confusion: tuple[tuple[int, ...], ...]
    """Posters by [true label][predicted label]."""

    def to_dict(self, vocabulary: Sequence[str]) -> dict[str, Any]:
        """Plain values for ``evaluation.json``."""
        return {
            "loss": self.loss,
            "top1": self.top1,
            "top3": self.top3,
            "n": self.n,
            "majority": self.majority,
            "vocabulary": list(vocabulary),
            "confusion": [list(row) for row in self.confusion],
        }


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probability of each label on its own, for several labels a poster.

    Example:
        >>> sigmoid(np.zeros((1, 2), np.float32)).tolist()
        [[0.5, 0.5]]
    """
    return np.exp(-np.logaddexp(0, -logits.astype(np.float64)))


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax of logits [n, c], each row adding up to 1.

    Example:
        >>> probabilities(np.zeros((1, 2), np.float32)).tolist()
        [[0.5, 0.5]]
    """
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def score(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> Scores:
    """Measure one split.

    Args:
        logits: float32 [n, c].
        targets: int64 [n], from 0 up to c; or for several labels a poster int64 [n, c] of 0 and 1.

    Example:
        >>> score(np.eye(4, dtype=np.float32), np.array([0, 1, 2, 0])).top1
        0.75
    """
    if targets.ndim > 1:
        return _score_several(logits, targets)
    count, classes = logits.shape
    rows = np.arange(count)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (targets, logits.argmax(axis=1)), 1)
    return Scores(
        loss=float(-log_probabilities[rows, targets].mean()),
        top1=top_k(logits, targets, 1),
        top3=top_k(logits, targets, 3),
        n=count,
        majority=float(np.bincount(targets, minlength=classes).max() / count),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def top_k(logits: NDArray[np.float32], targets: NDArray[np.int64], k: int) -> float:
    """Share of rows whose target is among the ``k`` largest logits; equal logits rank by label number."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return float((order == targets[:, None]).any(axis=1).mean())


def _score_several(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> Scores:
    """Measure several labels a poster; ``Scores`` says what is meant."""
    truth, order = targets.astype(bool), np.argsort(-logits, axis=1, kind="stable")
    rows = np.arange(len(truth))
    wide = logits.astype(np.float64)
    losses = np.logaddexp(0, np.where(truth, -wide, wide))
    named = np.zeros_like(targets)
    named[rows, order[:, 0]] = 1
    return Scores(
        loss=float(losses.mean()),
        top1=float(truth[rows, order[:, 0]].mean()),
        top3=float(truth[rows[:, None], order[:, :3]].any(axis=1).mean()),
        n=len(truth),
        majority=float(truth.mean(axis=0).max()),
        confusion=tuple(tuple(row) for row in (targets.T @ named).tolist()),
    )
