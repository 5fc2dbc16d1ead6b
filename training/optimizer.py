"""A network and a recipe -> its optimiser and the learning rate of every step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import torch

from crawler.errors import UnusableInput

if TYPE_CHECKING:
    from torch import nn


class Algorithm(StrEnum):
    """How a gradient becomes a change of the weights."""

    SGD = "sgd"
    """With Nesterov momentum."""
    ADAMW = "adamw"


class Schedule(StrEnum):
    """How the learning rate falls after the warm-up."""

    CONSTANT = "constant"
    COSINE = "cosine"
    """To zero at the last step (Loshchilov and Hutter, arXiv 1608.03983)."""
    STEP = "step"
    """By ``step_factor`` every ``step_epochs``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerRecipe:
    """Every choice between a gradient and a step."""

    algorithm: Algorithm = Algorithm.SGD
    learning_rate: float = 0.02
    """At its highest, for the whole batch over all workers."""
    momentum: float = 0.9
    """Of SGD; the first beta of AdamW."""
    weight_decay: float = 1e-4
    decay_norms: bool = True
    """Decay the weights of norms and all biases too; False is one of the bag of tricks."""
    schedule: Schedule = Schedule.COSINE
    warmup_epochs: float = 0.0
    """Linear rise from near zero."""
    step_epochs: float = 5.0
    step_factor: float = 0.1
    clip_norm: float = 0.0
    """Largest norm of the whole gradient; 0 does not clip."""
    accumulate: int = 1
    """Parts that a worker's share of a batch is cut into, to fit into memory."""
    fused: bool = False
    """One kernel for all weights."""

    def __post_init__(self) -> None:
        """Check the ranges and turn plain strings into their types."""
        for name, kind in (("algorithm", Algorithm), ("schedule", Schedule)):
            value = getattr(self, name)
            if value not in list(kind):
                msg = f"optimizer.{name} {str(value)!r}: expected one of {', '.join(kind)}"
                raise UnusableInput(msg)
            object.__setattr__(self, name, kind(value))
        checks = {
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "momentum": (0 <= self.momentum < 1, "from 0 up to 1"),
            "weight_decay": (self.weight_decay >= 0, "0 or above"),
            "warmup_epochs": (self.warmup_epochs >= 0, "0 or above"),
            "step_epochs": (self.step_epochs > 0, "above 0"),
            "step_factor": (0 < self.step_factor <= 1, "above 0, at most 1"),
            "clip_norm": (self.clip_norm >= 0, "0 or above"),
            "accumulate": (self.accumulate >= 1, "1 or above"),
        }
        for name, (holds, expected) in checks.items():
            if not holds:
                msg = f"optimizer.{name} {getattr(self, name)}: expected a number {expected}"
                raise UnusableInput(msg)


def make_optimizer(model: nn.Module, recipe: OptimizerRecipe) -> torch.optim.Optimizer:
    """Make the optimiser of a network's trainable weights, in one or two groups by whether they decay."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decays = [parameter for parameter in trainable if recipe.decay_norms or parameter.ndim > 1]
    spared = [parameter for parameter in trainable if not recipe.decay_norms and parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decays, "weight_decay": recipe.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.algorithm is Algorithm.ADAMW:
        return torch.optim.AdamW(
            groups, lr=recipe.learning_rate, betas=(recipe.momentum, 0.999), fused=recipe.fused or None
        )
    return torch.optim.SGD(
        groups,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        fused=recipe.fused or None,
    )


def learning_rate_at(recipe: OptimizerRecipe, step: int, *, steps_per_epoch: int, epochs: int) -> float:
    """Learning rate of one step, as a pure function of where it stands.

    Args:
        recipe: The choices.
        step: Steps finished before it, over all epochs.
        steps_per_epoch: Steps of one epoch.
        epochs: Epochs of the whole run.

    Example:
        >>> recipe = OptimizerRecipe(learning_rate=1.0, warmup_epochs=1)
        >>> [round(learning_rate_at(recipe, step, steps_per_epoch=2, epochs=3), 2) for step in range(6)]
        [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    warmup_steps = recipe.warmup_epochs * steps_per_epoch
    if step < warmup_steps:
        return recipe.learning_rate * min(1.0, (step + 1) / warmup_steps)
    match recipe.schedule:
        case Schedule.CONSTANT:
            return recipe.learning_rate
        case Schedule.STEP:
            return recipe.learning_rate * recipe.step_factor ** math.floor(step / steps_per_epoch / recipe.step_epochs)
        case Schedule.COSINE:
            done = (step - warmup_steps) / max(1.0, steps_per_epoch * epochs - warmup_steps)
            return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
