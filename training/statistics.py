"""Two models' answers on the same posters -> intervals and tests that a sceptic accepts.

What scipy and scikit-learn have is theirs. What is here: resampling by group, because related movies are not
independent, and the bookkeeping of several comparisons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from crawler.errors import UnusableInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with the range that holds the true value in ``confidence`` of all repetitions."""

    estimate: float
    low: float
    high: float
    confidence: float = 0.95
    p_value: float | None = None
    """Two-sided, of the true value being 0, from the same resamples; None where it was not asked for."""

    def __str__(self) -> str:
        return f"{self.estimate:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def group_bootstrap(
    values: NDArray[np.float64],
    groups: NDArray[np.int64],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Give a percentile interval of a mean over posters, resampling whole groups of related movies.

    For a paired comparison of two models give the difference of their scores on each poster.

    Args:
        values: [n] or [s, n], one value a poster; with several seeds s, seeds are averaged on each poster, so the
            interval speaks of these seeds' mean model on other posters.
        groups: [n], the same number for related movies.
        resamples: Bootstrap samples.
        confidence: Of the interval.
        seed: Of the resampling.

    Source: Field and Welsh, "Bootstrapping clustered data", J. R. Statist. Soc. B 69 (2007).

    Example:
        >>> str(group_bootstrap(np.ones(20), np.arange(20)))
        '+1.0000 [+1.0000, +1.0000]'
    """
    flat = values if values.ndim == 1 else values.mean(axis=0)
    if len(flat) != len(groups) or len(flat) == 0:
        msg = f"bootstrap: {len(flat)} values for {len(groups)} groups; expected one group for each of 1 or more values"
        raise UnusableInput(msg)
    _, member = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(member, weights=flat), np.bincount(member)
    chance = np.random.default_rng(seed)
    means = np.empty(resamples)
    for begin in range(0, resamples, 500):  # bounded memory: 500 x groups
        drawn = chance.integers(0, len(sums), (min(500, resamples - begin), len(sums)))
        means[begin : begin + len(drawn)] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    tail = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return Interval(
        estimate=float(flat.mean()),
        low=float(low),
        high=float(high),
        confidence=confidence,
        p_value=min(1.0, 2 * (tail + 1) / (resamples + 1)),
    )


def mcnemar(right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> float:
    """Test whether two models are right equally often on the same posters; the exact two-sided p value.

    Args:
        right_a: bool [n], where the first model is right.
        right_b: bool [n], where the second is.

    Source: McNemar, Psychometrika 12 (1947); the exact form is a binomial test of the posters on which they differ.

    Example:
        >>> mcnemar(np.array([True] * 10), np.array([False] * 9 + [True]))
        0.00390625
    """
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for being one of several comparisons.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    stepped = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values, float)[order] * factors))
    adjusted = np.empty(len(order))
    adjusted[order] = stepped
    return [round(float(value), 12) for value in adjusted]


def expected_calibration_error(
    probabilities: NDArray[np.float64], targets: NDArray[np.int64], *, bins: int = 15
) -> float:
    """Mean distance between confidence and accuracy over equal-width bins of confidence, weighted by posters.

    Args:
        probabilities: [n, c].
        targets: [n].
        bins: Number of bins between 0 and 1.

    Source: Guo et al., arXiv 1706.04599.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weights=confidence, minlength=bins) - np.bincount(place, weights=right, minlength=bins)
    return float(np.abs(gaps).sum() / len(targets))


def brier_score(probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    """Mean squared distance between probabilities [n, c] and what came true, from 0 to 2.

    Source: Brier, Monthly Weather Review 78 (1950), over all labels.
    """
    truth = np.zeros_like(probabilities)
    truth[np.arange(len(targets)), targets] = 1
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def detectable_difference(disagreement: float, n: int, *, power: float = 0.8, level: float = 0.05) -> float:
    """Give the smallest difference of accuracies that a paired test on ``n`` posters finds with ``power``.

    Args:
        disagreement: Share of posters on which exactly one of the two models is right.
        n: Posters.
        power: Share of repetitions in which a true difference is found.
        level: Two-sided level of the test.

    Source: Connor, Biometrics 43 (1987), the large-sample form: the difference of two proportions of the same posters
    has variance (disagreement - difference ** 2) / n.

    Example:
        >>> round(detectable_difference(0.1, 1000), 3)
        0.028
    """
    quantiles = float(stats.norm.ppf(1 - level / 2)), float(stats.norm.ppf(power))
    low, high = 0.0, disagreement
    for _ in range(60):  # the difference is in its own variance: halve the range until it fits
        middle = (low + high) / 2
        deviation = np.sqrt(max(0.0, disagreement - middle**2))
        needed = (quantiles[0] * np.sqrt(disagreement) + quantiles[1] * deviation) / np.sqrt(n)
        low, high = (middle, high) if middle < needed else (low, middle)
    return high
