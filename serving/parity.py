"""Logits of the reference and of an engine -> how far they differ, and whether that is near enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from serving.engine import Precision

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The largest differences from the reference with which an engine is published."""

    mean_difference: float
    """Mean over posters of the largest difference of a probability."""
    disagreement: float
    """Share of posters whose first label differs."""
    accuracy_drop: float = 0.003
    """Share of posters, where targets are known; never less than one poster of the sample."""


BOUNDS: Final = {
    Precision.FP32: Bound(mean_difference=0.001, disagreement=0.005),
    Precision.BF16: Bound(mean_difference=0.02, disagreement=0.03),
    Precision.FP16: Bound(mean_difference=0.01, disagreement=0.02),
    Precision.INT8: Bound(mean_difference=0.03, disagreement=0.05),
    Precision.FP8: Bound(mean_difference=0.03, disagreement=0.05),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """An engine beside the float32 reference on the same prepared posters."""

    posters: int
    max_difference: float
    """Largest difference of any probability of any poster."""
    mean_difference: float
    """Mean over posters of the largest difference of a probability."""
    top1_agreement: float
    """Share of posters with the same first label."""
    reference_accuracy: float | None
    """Share of posters whose first label is the target, where targets are known."""
    engine_accuracy: float | None

    @property
    def accuracy_drop(self) -> float | None:
        """What the engine loses against the reference; negative where it gains."""
        if self.reference_accuracy is None or self.engine_accuracy is None:
            return None
        return self.reference_accuracy - self.engine_accuracy

    def beyond(self, bound: Bound) -> list[str]:
        """Name every figure that is beyond its bound, with both numbers."""
        checks = [
            ("mean difference of probabilities", self.mean_difference, bound.mean_difference),
            ("share of posters with another first label", 1 - self.top1_agreement, bound.disagreement),
            ("accuracy drop", self.accuracy_drop or 0.0, max(bound.accuracy_drop, 1 / self.posters)),
        ]
        return [f"{name} {value:.4f} (bound {limit:.4f})" for name, value, limit in checks if value > limit + 1e-9]


def compare(
    reference: NDArray[np.float32], engine: NDArray[np.float32], targets: NDArray[np.int64] | None = None
) -> Parity:
    """Compare two sets of logits.

    Args:
        reference: float32 [n, c] of the float32 reference.
        engine: float32 [n, c] of the engine, for the same posters.
        targets: int64 [n], the right labels, where known.

    Example:
        >>> logits = np.array([[2.0, 0.0], [0.0, 1.0]], np.float32)
        >>> compare(logits, logits, np.array([0, 0])).engine_accuracy
        0.5
    """
    difference = np.abs(softmax(reference) - softmax(engine)).max(axis=1)
    first, other = reference.argmax(axis=1), engine.argmax(axis=1)
    return Parity(
        posters=len(reference),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        top1_agreement=float((first == other).mean()),
        reference_accuracy=None if targets is None else float((first == targets).mean()),
        engine_accuracy=None if targets is None else float((other == targets).mean()),
    )


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float32]:
    """Turn logits [n, c] into probabilities [n, c] in float32.

    Example:
        >>> softmax(np.zeros((1, 4), np.float32)).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    scaled = logits.astype(np.float32) / np.float32(temperature)
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def fit_temperature(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Find the temperature that makes the targets most likely.

    Args:
        logits: float32 [n, c] of posters that training has not seen.
        targets: int64 [n].

    Returns:
        A number from 0.1 to 10, to within 0.1 %.

    Source:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017. The loss is convex in 1 / temperature, so a
        golden-section search finds its one minimum.
    """
    low, high = np.log(0.1), np.log(10.0)
    golden = (np.sqrt(5) - 1) / 2
    while high - low > 1e-3:  # noqa: PLR2004 - 0.1 % of a temperature
        left, right = high - golden * (high - low), low + golden * (high - low)
        if _loss(logits, targets, np.exp(left)) < _loss(logits, targets, np.exp(right)):
            high = right
        else:
            low = left
    return round(float(np.exp((low + high) / 2)), 4)


def calibration_error(probabilities: NDArray[np.float32], targets: NDArray[np.int64], bins: int = 15) -> float:
    """Expected calibration error: how far the first label's probability is from its share of hits.

    Args:
        probabilities: float32 [n, c].
        targets: int64 [n].
        bins: Equal intervals of the probability.

    Source:
        Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015.
    """
    confidence = probabilities.max(axis=1)
    hit = probabilities.argmax(axis=1) == targets
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(hit[place == index].mean() - confidence[place == index].mean()) * (place == index).mean()
        for index in np.unique(place)
    ]
    return float(sum(gaps))


def _loss(logits: NDArray[np.float32], targets: NDArray[np.int64], temperature: float) -> float:
    probabilities = softmax(logits, temperature)[np.arange(len(targets)), targets]
    return float(-np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)).mean())
