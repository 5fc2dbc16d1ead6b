"""Probabilities and what came true, with a weight for each poster -> every figure of quality, with intervals.

scikit-learn has each figure, and the tests hold these against it; but its checks of the arguments cost more than the
sums, and a bootstrap asks for the same posters a thousand times with other weights. So posters are ranked once and then
only added up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from crawler.errors import UnusableInput
from training.statistics import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FIGURES: Final = ("top1", "top3", "macro_f1", "auroc", "map", "ece", "brier")
"""Names of the figures; of ``ece`` and ``brier`` less is better."""
BINS: Final = 15
"""Of confidence, for the calibration error."""
RESAMPLES: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ranking:
    """One label's posters, ranked by its probability."""

    place: NDArray[np.int64]
    """[n], rank of each poster's probability among the distinct ones, the highest first."""
    positive: NDArray[np.bool_]
    """[n], whether the label is true of it."""

    def figures(self, weights: NDArray[np.float64]) -> tuple[float, float]:
        """Area under the ROC curve, and average precision; not a number where a side has no weight."""
        right = np.bincount(self.place, weights=weights * self.positive)
        wrong = np.bincount(self.place, weights=weights * ~self.positive)
        above_right, above_all = np.cumsum(right), np.cumsum(right + wrong)
        positives, negatives = above_right[-1], above_all[-1] - above_right[-1]
        if positives <= 0:
            return float("nan"), float("nan")
        seen = above_all > 0
        precision = float((right[seen] * above_right[seen] / above_all[seen]).sum() / positives)
        if negatives <= 0:
            return float("nan"), precision
        beaten = negatives - np.cumsum(wrong) + wrong / 2  # negatives further down, and half of the ties
        return float((right * beaten).sum() / (positives * negatives)), precision


class Quality:
    """What a model said of the posters of one split, ready to be measured under any weights."""

    def __init__(self, probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> None:
        """Rank the posters.

        Args:
            probabilities: [n, c].
            targets: [n], or for several labels a poster [n, c] of 0 and 1.
        """
        self.several = targets.ndim == 2  # noqa: PLR2004 - [n, c]
        self.probabilities = probabilities
        count, labels = probabilities.shape
        self.truth = targets.astype(bool) if self.several else np.arange(labels) == targets[:, None]
        order = np.argsort(-probabilities, axis=1, kind="stable")
        rows = np.arange(count)
        self.top1 = self.truth[rows, order[:, 0]].astype(float)
        """[n], 1 where the likeliest label is true."""
        self.top3 = self.truth[rows[:, None], order[:, :3]].any(axis=1).astype(float)
        self._said = probabilities >= 0.5 if self.several else np.arange(labels) == order[:, :1]  # noqa: PLR2004
        self.brier = ((probabilities - self.truth) ** 2).sum(axis=1)
        """[n], squared distance from what came true."""
        sure = probabilities if self.several else probabilities[rows, order[:, 0]][:, None]
        self._sure, self._came_true = sure, self.truth.astype(float) if self.several else self.top1[:, None]
        self._bin = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
        self._rankings = [
            _Ranking(place=np.unique(-column, return_inverse=True)[1], positive=positive)
            for column, positive in zip(probabilities.T, self.truth.T, strict=True)
        ]

    def figures(self, weights: NDArray[np.float64] | None = None) -> dict[str, float]:
        """Give every figure of ``FIGURES``.

        Args:
            weights: [n], how often each poster counts; None counts each once.

        Example:
            >>> Quality(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])).figures()["auroc"]
            1.0
        """
        weights = np.ones(len(self.top1)) if weights is None else weights
        total = weights.sum()
        ranked = np.array([ranking.figures(weights) for ranking in self._rankings])
        return {
            "top1": float(weights @ self.top1 / total),
            "top3": float(weights @ self.top3 / total),
            "macro_f1": self._macro_f1(weights),
            "auroc": _mean_of_known(ranked[:, 0]),
            "map": _mean_of_known(ranked[:, 1]),
            "ece": self._calibration_error(weights),
            "brier": float(weights @ self.brier / total),
        }

    def reliability(self) -> list[tuple[float, float, int]]:
        """Give mean confidence, share that came true, and answers of each of ``BINS`` parts of confidence."""
        places = self._bin.ravel()
        sizes = np.bincount(places, minlength=BINS)
        sure = np.bincount(places, weights=self._sure.ravel(), minlength=BINS)
        true = np.bincount(places, weights=self._came_true.ravel(), minlength=BINS)
        return [
            (float(sure[index] / size), float(true[index] / size), int(size)) if size else (0.0, 0.0, 0)
            for index, size in enumerate(sizes)
        ]

    def _macro_f1(self, weights: NDArray[np.float64]) -> float:
        hits = weights @ (self._said & self.truth)
        named, true = weights @ self._said, weights @ self.truth
        return float(np.mean(2 * hits / np.maximum(named + true, 1e-12)))

    def _calibration_error(self, weights: NDArray[np.float64]) -> float:
        each = np.repeat(weights[:, None], self._bin.shape[1], axis=1)
        gaps = np.bincount(self._bin.ravel(), weights=(each * (self._sure - self._came_true)).ravel(), minlength=BINS)
        return float(np.abs(gaps).sum() / each.sum())


def measure(
    parts: Sequence[tuple[Quality, NDArray[np.int64]]], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Give every figure as a mean over seeds, with a 95 % percentile interval over groups of related movies.

    That of the calibration error is moved to where the resamples' median is the estimate.

    Args:
        parts: For each seed what was said of its test posters, and their groups [n].
        resamples: Bootstrap samples; each draws groups, the same ones for all seeds.
        seed: Of the resampling.

    Source: Field and Welsh, "Bootstrapping clustered data", J. R. Statist. Soc. B 69 (2007).
    """
    if not parts:
        msg = "measure: no seed has finished; expected one or more"
        raise UnusableInput(msg)
    groups = np.unique(np.concatenate([members for _, members in parts]))
    places = [np.searchsorted(groups, members) for _, members in parts]
    chance = np.random.default_rng(seed)
    drawn: list[list[float]] = []
    for _ in range(resamples):
        times = np.bincount(chance.integers(0, len(groups), len(groups)), minlength=len(groups)).astype(float)
        each = [
            list(quality.figures(times[place]).values())
            for (quality, _), place in zip(parts, places, strict=True)
            if times[place].any()
        ]
        drawn.append(_means_of_known(np.array(each)))
    estimates = _means_of_known(np.array([list(quality.figures().values()) for quality, _ in parts]))
    low, middle, high = np.nanquantile(np.array(drawn), (0.025, 0.5, 0.975), axis=0)
    # A calibration error cannot be negative, so every resample adds to it: take away what it adds.
    index = FIGURES.index("ece")
    excess = middle[index] - estimates[index]
    low[index], high[index] = max(0.0, low[index] - excess), max(0.0, high[index] - excess)
    return {
        name: Interval(estimate=estimates[index], low=float(low[index]), high=float(high[index]))
        for index, name in enumerate(FIGURES)
    }


def _mean_of_known(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _means_of_known(rows: NDArray[np.float64]) -> list[float]:
    return [_mean_of_known(column) for column in rows.T]
