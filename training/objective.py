"""Logits and targets -> the loss that is made small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from crawler.errors import UnusableInput

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveRecipe:
    """What training makes small."""

    label_smoothing: float = 0.0
    """Share of the target that is spread over all labels, 0 to 1 (Szegedy et al., arXiv 1512.00567)."""
    mixup: float = 0.0
    """Both parameters of the Beta distribution that mixes pairs of posters; 0 mixes none (arXiv 1710.09412)."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.label_smoothing < 1:
            msg = f"objective.label_smoothing {self.label_smoothing}: expected a number from 0 up to 1"
            raise UnusableInput(msg)
        if self.mixup < 0:
            msg = f"objective.mixup {self.mixup}: expected a number of 0 or above"
            raise UnusableInput(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """How the posters of one batch are mixed: ``share`` of each, the rest of its partner."""

    partner: Tensor
    """int64 [b], a permutation."""
    share: float

    def images(self, images: Tensor) -> Tensor:
        """Mix float [b, 3, h, w]."""
        return images * self.share + images[self.partner] * (1 - self.share)


def draw_mixture(recipe: ObjectiveRecipe, size: int, *keys: int) -> Mixture | None:
    """Draw how a batch is mixed, as a pure function of ``keys`` (seed, step, rank, part); None where it is not."""
    if recipe.mixup == 0:
        return None
    chance = np.random.default_rng(keys)
    share = float(chance.beta(recipe.mixup, recipe.mixup))
    return Mixture(partner=torch.from_numpy(chance.permutation(size)), share=share)


def loss_of(recipe: ObjectiveRecipe, logits: Tensor, targets: Tensor, mixture: Mixture | None = None) -> Tensor:
    """Give the mean loss of a batch, smoothed and mixed as the recipe says.

    Args:
        recipe: The choices.
        logits: float32 [b, c].
        targets: int64 [b]: cross-entropy over all labels; or for several labels a poster int64 [b, c] of 0 and 1: a yes
            or no for each label.
        mixture: How the posters were mixed.
    """
    loss = _loss(recipe, logits, targets)
    if mixture is None:
        return loss
    return loss * mixture.share + _loss(recipe, logits, targets[mixture.partner]) * (1 - mixture.share)


def _loss(recipe: ObjectiveRecipe, logits: Tensor, targets: Tensor) -> Tensor:
    if targets.ndim == 1:
        return functional.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)
    smoothed = targets.to(logits.dtype) * (1 - recipe.label_smoothing) + recipe.label_smoothing / 2
    return functional.binary_cross_entropy_with_logits(logits, smoothed)
