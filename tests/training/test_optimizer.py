"""A step is what the recipe says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from training.optimizer import OptimizerRecipe, Schedule, learning_rate_at, make_optimizer


@given(st.sampled_from(list(Schedule)), st.floats(0, 3), st.integers(1, 20), st.integers(1, 10), st.integers(0, 300))
def test_the_learning_rate_is_positive_and_never_above_its_peak(
    schedule: Schedule, warmup: float, steps: int, epochs: int, step: int
) -> None:
    """On every schedule, at every step of the run."""
    recipe = OptimizerRecipe(learning_rate=0.5, schedule=schedule, warmup_epochs=warmup)
    rate = learning_rate_at(recipe, step % (steps * epochs), steps_per_epoch=steps, epochs=epochs)
    assert 0 < rate <= 0.5


def test_the_step_schedule_falls_by_its_factor() -> None:
    """Every `step_epochs`, counted from the beginning."""
    recipe = OptimizerRecipe(learning_rate=1.0, schedule=Schedule.STEP, step_epochs=2, step_factor=0.1)
    rates = [learning_rate_at(recipe, step, steps_per_epoch=3, epochs=6) for step in range(0, 18, 3)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_norms_and_biases_are_spared_from_decay_on_request() -> None:
    """Every trainable weight is in exactly one group."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    all_alike = make_optimizer(model, OptimizerRecipe(weight_decay=0.1)).param_groups
    assert [len(group["params"]) for group in all_alike] == [4]
    decaying, spared = make_optimizer(model, OptimizerRecipe(weight_decay=0.1, decay_norms=False)).param_groups
    assert (decaying["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert [parameter.ndim for parameter in decaying["params"]] == [4]
    assert len(spared["params"]) == 3


def test_frozen_weights_are_left_out() -> None:
    """What does not require a gradient is not the optimiser's."""
    model = nn.Linear(2, 2)
    model.weight.requires_grad_(requires_grad=False)
    (group,) = make_optimizer(model, OptimizerRecipe()).param_groups
    assert [parameter.shape for parameter in group["params"]] == [torch.Size([2])]
