"""What a RUN folder holds beside its results: event files, and as many checkpoints as were asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.checkpoint import load_state, load_weights
from training.cluster import train
from training.recipe import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from dataloading.dataset import Dataset

TINY = {
    "name": "tiny",
    "batch_size": 8,
    "precision": "fp32",
    "preprocess": {"method": "resize", "size": 32},
    "model": {"architecture": "test_resnet"},
    "optimizer": {"learning_rate": 0.05},
}


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs, a checkpoint every three steps, of which three stay."""
    recipe = replace(Recipe.from_dict(TINY), epochs=3, checkpoint_every_steps=3, keep_checkpoints=3)
    train(recipe, dataset, run := tmp_path_factory.mktemp("kept") / "run", workers=0)
    return run


def test_tensorboard_reads_the_figures_of_each_epoch(run: Path) -> None:
    """Under the step at which the epoch ended, as in metrics.jsonl."""
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    losses = events.Scalars("epoch/validation_loss")
    assert [event.step for event in losses] == [7, 14, 21]
    assert events.Scalars("epoch/images_per_s")[-1].value > 0


def test_the_newest_checkpoints_stay(run: Path) -> None:
    """The newest is `last`; each older one can be gone on from."""
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["best", "last", "step-00000015", "step-00000018", "step-00000021"]
    kept = list((run / "checkpoints").glob("step-*"))
    newest = load_weights(run / "checkpoints/step-00000021")
    assert all(torch.equal(newest[name], tensor) for name, tensor in load_weights(run / "checkpoints/last").items())
    assert all((load_state(path) or {})["position"]["step"] == int(path.name.removeprefix("step-")) for path in kept)
