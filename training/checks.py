"""Recipe, dataset and workers -> what can only fail later, refused before anything is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from crawler.errors import UnusableInput
from training import models, precision
from training.recipe import Freeze
from training.weights import TIMM_PREFIX

if TYPE_CHECKING:
    import polars as pl

    from dataloading.dataset import Dataset
    from training.recipe import Recipe


def check(recipe: Recipe, dataset: Dataset, workers: int) -> None:
    """Refuse what could only fail later.

    Raises:
        UnusableInput: The dataset lacks a target, a class or a split, the weights do not fit, or the batch cannot be
            divided.
    """
    _check_targets(dataset)
    for split in ("train", "validation", "test"):
        if dataset.rows(split).is_empty():
            msg = f"dataset {dataset.folder}: no poster in its {split} split; build it again from more posters"
            raise UnusableInput(msg)
    if workers < 0:
        msg = f"--workers {workers}: expected 0 (this process) or more"
        raise UnusableInput(msg)
    precision.choose(recipe.precision, default_device())
    if recipe.batch_size % max(1, workers):
        msg = f"batch_size {recipe.batch_size}: expected a multiple of the {workers} workers; --set batch_size=..."
        raise UnusableInput(msg)
    if recipe.freeze is Freeze.TRUNK and dataset.table.schema["target"].is_nested():
        msg = f"freeze=trunk on task {dataset.task}: expected a task with one label a poster; train the whole network"
        raise UnusableInput(msg)
    network = models.build(recipe.model.architecture, len(dataset.vocabulary), **recipe.model.options())
    models.load_recipe(network, recipe.model)


def _check_targets(dataset: Dataset) -> None:
    """Find the first movie without a usable target, and the first class that no poster is trained on."""
    last = len(dataset.vocabulary) - 1
    several = dataset.table.schema["target"].is_nested()
    each = dataset.table.explode("target") if several else dataset.table
    bad = each.filter(~each["target"].is_between(0, last).fill_null(value=False))
    if not bad.is_empty():
        row = bad.row(0, named=True)
        msg = (
            f"dataset {dataset.folder}: movie {row['movie_id']} has target {row['target']}, expected 0 to {last}; "
            "build it again with `keyart dataset`"
        )
        raise UnusableInput(msg)
    present = set(_trained_on(each)["target"])
    if empty := [label for target, label in enumerate(dataset.vocabulary) if target not in present]:
        msg = (
            f"dataset {dataset.folder}: class {empty[0]!r} has no poster in its train split; crawl more of it, or "
            "build the dataset with fewer classes"
        )
        raise UnusableInput(msg)


def _trained_on(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(rows["split"] == "train")


def default_device() -> torch.device:
    """Give this process's GPU, or the CPU where there is none."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def with_absolute_weights(recipe: Recipe) -> Recipe:
    """Make the paths of weights absolute: workers have a working directory of their own."""
    model = recipe.model
    return replace(
        recipe, model=replace(model, weights=_absolute(model.weights), wide_weights=_absolute(model.wide_weights))
    )


def _absolute(weights: str) -> str:
    if not weights or weights.startswith(TIMM_PREFIX):
        return weights
    return str(Path(weights).expanduser().absolute())
