"""Right and wrong answers -> how sure their share is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Z: Final = 1.959964
"""Of a 95 % interval of the normal distribution."""
RESAMPLES: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A share or a difference of shares, with a 95 % interval."""

    value: float
    low: float
    high: float


def share(hits: int, n: int) -> Estimate:
    """Give the Wilson interval of a share.

    Args:
        hits: Successes, 0 to ``n``.
        n: Trials, at least 1.

    Source:
        E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    Example:
        >>> estimate = share(9, 10)
        >>> round(estimate.low, 3), round(estimate.high, 3)
        (0.596, 0.982)
    """
    p = hits / n
    middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    reach = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return Estimate(value=p, low=max(0.0, middle - reach), high=min(1.0, middle + reach))


def gain(ours: NDArray[np.bool_], theirs: NDArray[np.bool_], seed: int = 0) -> Estimate:
    """Give by how much one answer is more often right than another on the same posters: paired bootstrap.

    Args:
        ours: [n] whether each answer is right.
        theirs: [n] whether the other's is.
        seed: Of the resampling.
    """
    differences = ours.astype(np.int64) - theirs.astype(np.int64)
    n = len(differences)
    counts = np.array([(differences == value).sum() for value in (-1, 0, 1)])
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=RESAMPLES)
    low, high = np.quantile((drawn[:, 2] - drawn[:, 0]) / n, (0.025, 0.975))
    return Estimate(value=float(differences.mean()), low=float(low), high=float(high))
