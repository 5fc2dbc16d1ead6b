"""The loss is cross-entropy, smoothed and mixed as the recipe says."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from training.objective import ObjectiveRecipe, draw_mixture, loss_of


def test_the_plain_loss_is_cross_entropy() -> None:
    """Without smoothing and mixing."""
    logits, targets = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    expected = functional.cross_entropy(logits, targets)
    assert torch.equal(loss_of(ObjectiveRecipe(), logits, targets), expected)


def test_mixup_is_the_loss_of_mixed_labels() -> None:
    """Mixing two losses is the loss of the mixed one-hot targets, as in the paper."""
    recipe = ObjectiveRecipe(mixup=0.4)
    mixture = draw_mixture(recipe, 4, 7, 0, 0, 0)
    assert mixture is not None
    logits, targets = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    one_hot = functional.one_hot(targets, 3).float()
    mixed = mixture.share * one_hot + (1 - mixture.share) * one_hot[mixture.partner]
    assert loss_of(recipe, logits, targets, mixture).item() == pytest.approx(
        functional.cross_entropy(logits, mixed).item(), rel=1e-5
    )


def test_a_mixture_follows_from_its_keys() -> None:
    """The same seed, step, rank and part draw the same; another step draws another."""
    recipe = ObjectiveRecipe(mixup=0.4)
    first, again, other = (draw_mixture(recipe, 16, 7, step, 0, 0) for step in (1, 1, 2))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.share == again.share
    assert torch.equal(first.partner, again.partner)
    assert first.share != other.share
