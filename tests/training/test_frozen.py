"""A frozen trunk's features are computed once; the head on them is the best linear one, inside an ordinary network."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from dataloading.loader import PosterLoader
from training import models
from training.checkpoint import load_card, load_weights
from training.cluster import train
from training.frozen import FEATURES
from training.metrics import probabilities
from training.probe import STRENGTHS, choose_head, fit_head
from training.recipe import Freeze

if TYPE_CHECKING:
    from pathlib import Path

    from dataloading.dataset import Dataset
    from training.recipe import Recipe


@pytest.mark.parametrize("classes", [2, 5])
def test_a_head_gives_the_probabilities_of_logistic_regression(classes: int) -> None:
    """With the standardising folded into weight and bias."""
    chance = np.random.default_rng(classes)
    targets = chance.integers(0, classes, 300)
    features = (chance.normal(5, 3, (300, 8)) + targets[:, None]).astype(np.float32)
    head = fit_head(features, targets, classes, strength=0.1)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    expected = LogisticRegression(C=0.1, max_iter=1000).fit(standard, targets).predict_proba(standard)
    np.testing.assert_allclose(probabilities(head.logits(features)), expected, atol=1e-4)


def test_the_penalty_is_chosen_on_validation() -> None:
    """Many features of noise and few posters ask for a strong penalty."""
    chance = np.random.default_rng(0)
    noise = chance.normal(size=(60, 200)).astype(np.float32)
    targets = np.arange(60) % 2
    head = choose_head((noise[:40], targets[:40]), (noise[40:], targets[40:]), 2)
    assert head.strength <= 1e-2 < max(STRENGTHS)


def test_a_frozen_training_is_an_ordinary_run(recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    """Its checkpoint, built from the card, gives the stored predictions; its features are kept for the next run."""
    frozen = replace(recipe, freeze=Freeze.TRUNK, seed=11)
    report = train(frozen, dataset, tmp_path / "run", workers=2)
    assert report.top1 > report.majority
    card = load_card(tmp_path / "run/checkpoints/best")
    model = models.build(card.architecture, len(card.vocabulary), **card.model_options).eval()
    model.load_state_dict(load_weights(tmp_path / "run/checkpoints/best"))
    stored = pl.read_parquet(tmp_path / "run/predictions.parquet").sort("movie_id")
    loader = PosterLoader(dataset, card.preprocess.for_evaluation(), split="test", shuffle=False, batch_size=64)
    (batch,) = loader
    with torch.inference_mode():
        again = model(torch.from_numpy(batch.images)).softmax(dim=1).numpy()
    np.testing.assert_allclose(np.stack(stored["probabilities"].to_list()), again, atol=1e-4)

    kept = list((dataset.archive / FEATURES).glob("*.safetensors"))
    touched = [path.stat().st_mtime_ns for path in kept]
    other = train(replace(frozen, select_by="top1"), dataset, tmp_path / "other", workers=0)
    assert [path.stat().st_mtime_ns for path in kept] == touched
    assert len(list((dataset.archive / FEATURES).glob("*.safetensors"))) == len(kept)
    assert (other.top1, other.loss) == (report.top1, report.loss)
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "finished"
