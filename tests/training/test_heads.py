"""One label of several, a yes or no a label, and one number for two labels."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
import torch
from scipy.special import expit
from sklearn.metrics import log_loss
from torch.nn import functional

from crawler.errors import UnusableInput
from dataloading.dataset import Dataset, build
from dataloading.labels import Genres
from training.checkpoint import load_card
from training.cluster import train
from training.metrics import score, sigmoid
from training.models import ModelRecipe
from training.models import build as build_model
from training.objective import ObjectiveRecipe, loss_of

if TYPE_CHECKING:
    from pathlib import Path

    from training.recipe import Recipe


def test_a_binary_head_is_one_number() -> None:
    """Its two logits have the sigmoid of that number as softmax, and half as many weights as two labels need."""
    model = build_model("test_resnet", 2, binary_head=True).eval()
    images = torch.rand(3, 3, 32, 32)
    with torch.inference_mode():
        logits = model(images)
        number = model.fc.linear(model.forward_head(model.forward_features(images), pre_logits=True))
    torch.testing.assert_close(logits.softmax(dim=1)[:, 1:], torch.sigmoid(number))
    assert model.fc.linear.weight.shape[0] == 1
    with pytest.raises(UnusableInput, match=r"binary_head with 3 labels: expected a task of two"):
        build_model("test_resnet", 3, binary_head=True)
    assert "binary_head" not in ModelRecipe().options()


def test_several_labels_are_a_yes_or_no_each() -> None:
    """The loss is the mean over labels of binary cross-entropy; smoothing moves each answer towards one half."""
    logits, targets = torch.randn(5, 4), torch.tensor([[1, 0, 1, 0]] * 5)
    expected = functional.binary_cross_entropy_with_logits(logits, targets.float())
    torch.testing.assert_close(loss_of(ObjectiveRecipe(), logits, targets), expected)
    smoothed = functional.binary_cross_entropy_with_logits(logits, targets * 0.8 + 0.1)
    torch.testing.assert_close(loss_of(ObjectiveRecipe(label_smoothing=0.2), logits, targets), smoothed)


def test_figures_of_several_labels() -> None:
    """Loss as scikit-learn has it for each label; a poster with two labels stands in two rows of the confusion."""
    chance = np.random.default_rng(0)
    logits = chance.normal(0, 2, (50, 3)).astype(np.float32)
    targets = np.concatenate([np.eye(3, dtype=np.int64), chance.integers(0, 2, (47, 3))])
    scores = score(logits, targets)
    losses = [log_loss(targets[:, label], expit(logits[:, label].astype(float)), labels=[0, 1]) for label in range(3)]
    assert scores.loss == pytest.approx(np.mean(losses))
    assert scores.top1 == pytest.approx(targets[np.arange(50), logits.argmax(axis=1)].mean())
    assert np.sum(scores.confusion) == targets.sum()
    np.testing.assert_allclose(sigmoid(logits), expit(logits.astype(float)))


def test_a_task_with_several_labels_is_trained(
    recipe: Recipe, dataset: Dataset, catalog: pl.DataFrame, tmp_path: Path
) -> None:
    """Targets are lists in the results, and the card says how logits become probabilities."""
    both = pl.when(pl.col("movie_id") % 5 == 0).then(pl.lit(["Comedy", "Horror"])).otherwise(pl.col("genres"))
    build(dataset.archive, catalog.with_columns(genres=both), tmp_path / "dataset", Genres(classes=2))
    train(replace(recipe, epochs=3), Dataset.load(tmp_path / "dataset"), tmp_path / "run", workers=0)
    rows = pl.read_parquet(tmp_path / "run/predictions.parquet")
    assert {tuple(sorted(one)) for one in rows["target"].to_list()} == {("comedy",), ("horror",), ("comedy", "horror")}
    sums = rows["probabilities"].list.sum()
    assert sums.min() != pytest.approx(sums.max())  # each label for itself
    assert load_card(tmp_path / "run/checkpoints/best").several_labels
    losses = [json.loads(line)["train_loss"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]


def test_a_probe_of_several_labels_is_refused(
    recipe: Recipe, dataset: Dataset, catalog: pl.DataFrame, tmp_path: Path
) -> None:
    """One line, nothing written."""
    build(dataset.archive, catalog, tmp_path / "dataset", Genres(classes=2))
    with pytest.raises(UnusableInput, match=r"freeze=trunk on task genres: expected a task with one label a poster"):
        train(replace(recipe, freeze="trunk"), Dataset.load(tmp_path / "dataset"), tmp_path / "run", workers=0)
    assert not (tmp_path / "run").exists()
