"""An interval holds the truth as often as it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.interval import gain, share


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_share_agrees_with_the_literature(hits: int, n: int, low: float, high: float) -> None:
    """Table I of R. G. Newcombe, Statistics in Medicine 17 (1998), method 3."""
    estimate = share(hits, n)
    assert (estimate.low, estimate.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_share_lies_in_its_interval(counts: tuple[int, int]) -> None:
    """For every count the interval is within 0 and 1 and holds the share itself."""
    estimate = share(*counts)
    assert 0 <= estimate.low <= estimate.value + 1e-12
    assert estimate.value - 1e-12 <= estimate.high <= 1


def test_gain_holds_the_truth_19_times_of_20() -> None:
    """Over 400 simulated tests of 100 posters the interval of a known difference holds it in 92 to 98 %."""
    dice = np.random.default_rng(7)
    held = 0
    for trial in range(400):
        ours, theirs = dice.random(100) < 0.6, dice.random(100) < 0.2
        estimate = gain(ours, theirs, seed=trial)
        held += estimate.low <= 0.4 <= estimate.high
    assert 0.92 <= held / 400 <= 0.98


def test_gain_of_the_same_answers_is_nothing() -> None:
    """Answers that are right on the same posters differ by exactly 0, with no width."""
    answers = np.array([True, False, True])
    estimate = gain(answers, answers)
    assert (estimate.low, estimate.value, estimate.high) == (0, 0, 0)
