"""Figures that compare an engine with its reference, and the temperature that calibrates it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.parity import Bound, calibration_error, compare, fit_temperature, softmax


@given(st.integers(0, 1000), st.floats(0.3, 3.0))
def test_softmax_gives_probabilities(seed: int, temperature: float) -> None:
    """Rows are positive and add up to 1, and the order of labels does not depend on the temperature."""
    logits = np.random.default_rng(seed).normal(scale=20, size=(5, 4)).astype(np.float32)
    probabilities = softmax(logits, temperature)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (probabilities.argmax(axis=1) == logits.argmax(axis=1)).all()


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.5])
def test_temperature_is_found(truth: float) -> None:
    """Labels drawn from softmax(logits / T) give T back, and a smaller calibration error."""
    random = np.random.default_rng(0)
    logits = random.normal(scale=3, size=(20_000, 3)).astype(np.float32)
    chance = softmax(logits, truth).cumsum(axis=1)
    targets = (random.random((20_000, 1)) > chance).sum(axis=1).clip(0, 2).astype(np.int64)
    temperature = fit_temperature(logits, targets)
    assert temperature == pytest.approx(truth, rel=0.05)
    assert calibration_error(softmax(logits, temperature), targets) < 0.02


def test_figures_beyond_their_bound_are_named() -> None:
    """Each figure that is too large is named with its bound; one poster of a small sample may be lost."""
    reference = np.array([[4.0, 0.0], [0.0, 4.0], [4.0, 0.0]], np.float32)
    engine = np.array([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0]], np.float32)
    parity = compare(reference, engine, np.array([0, 1, 0]))
    assert parity.accuracy_drop == pytest.approx(1 / 3)
    named = parity.beyond(Bound(mean_difference=0.01, disagreement=0.1))
    assert [text.split(" 0.")[0] for text in named] == [
        "mean difference of probabilities",
        "share of posters with another first label",
    ]
    assert parity.beyond(Bound(mean_difference=1, disagreement=1)) == []
