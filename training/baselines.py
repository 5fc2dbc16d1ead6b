"""Dataset and catalogue -> what one reaches without a network: the answers that every model must beat."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from crawler.errors import UnusableInput
from crawler.progress import silent
from dataloading.loader import IGNORED, PosterLoader
from dataloading.preprocess import Preprocess
from training import evaluation, features
from training.probe import choose_head
from training.run_folder import MANIFEST_FORMAT, code_revision, machine, read_manifest, versions, write_json, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataloading.dataset import Dataset
    from training.run_folder import RunFolder

LEVELS: Final = 8
"""Of each colour of a histogram: 8 x 8 x 8 bins."""
SQUARE: Final = Preprocess(size=64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
"""What a histogram is counted on: the whole poster."""
FEATURES: Final = "features"


class Baseline(StrEnum):
    """What is looked at instead of the poster's picture."""

    CONSTANT = "constant"
    """Nothing: each label as likely as it is among the training posters."""
    HISTOGRAM = "histogram"
    """How much of the poster has which colour."""
    YEAR = "year"
    """When the movie came out."""
    BUDGET = "budget"
    """What the movie cost."""


def run_baseline(kind: Baseline, dataset: Dataset, movies: pl.DataFrame, run: RunFolder, *, seed: int) -> None:
    """Fit a baseline and write the same files as a training does, or do nothing where that is done.

    All but the constant are logistic regressions, their penalty chosen on validation as a probe's is.

    Args:
        kind: What it looks at.
        dataset: Whose posters; with one label a poster.
        movies: Catalogue, for years and budgets.
        run: Where the results go.
        seed: Of the study's split, for the manifest.

    Raises:
        UnusableInput: The dataset has several labels a poster.
    """
    if (known := read_manifest(run)) is not None and known["status"] == "finished":
        return
    if dataset.table.schema["target"].is_nested():
        msg = f"baseline {kind} on task {dataset.task}: expected a task with one label a poster"
        raise UnusableInput(msg)
    penalty, outputs = _answers(kind, dataset, movies)
    manifest = {
        "format": MANIFEST_FORMAT,
        "status": "finished",
        "baseline": str(kind),
        "dataset": str(dataset.folder.absolute()),
        "dataset_digest": dataset.digest,
        "task": dataset.task,
        "vocabulary": list(dataset.vocabulary),
        "seed": seed,
        "penalty": penalty,
        "versions": versions(),
        "revision": code_revision(),
        "machine": machine(),
        "test_split_opened_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    run.path.mkdir(parents=True, exist_ok=True)
    evaluation.write_results(run, {split: outputs[split] for split in ("validation", "test")}, dataset.vocabulary)
    write_text(run.metrics, json.dumps({"epoch": 1, "train_loss": outputs["train"].scores().loss}) + "\n")
    write_json(run.manifest, manifest)


def _answers(
    kind: Baseline, dataset: Dataset, movies: pl.DataFrame
) -> tuple[float | None, dict[str, evaluation.Outputs]]:
    """Fit it; give the penalty that was chosen, and what it says of each split."""
    classes = len(dataset.vocabulary)
    parts = {split: dataset.rows(split) for split in ("train", "validation", "test")}
    if kind is Baseline.CONSTANT:
        counts = np.bincount(parts["train"]["target"].to_numpy(), minlength=classes)
        fixed = np.log(np.maximum(counts, 0.5) / counts.sum()).astype(np.float32)
        return None, {split: _outputs(rows, np.tile(fixed, (len(rows), 1))) for split, rows in parts.items()}
    looked = _looked_at(kind, dataset, movies)
    seen = {split: looked.of(rows) for split, rows in parts.items()}
    (_, train_values, train_targets), (_, values, targets) = seen["train"], seen["validation"]
    head = choose_head((train_values, train_targets), (values, targets), classes)
    return head.strength, {
        split: evaluation.Outputs(movie_ids=ids, targets=targets, logits=head.logits(values))
        for split, (ids, values, targets) in seen.items()
    }


def _outputs(rows: pl.DataFrame, logits: NDArray[np.float32]) -> evaluation.Outputs:
    return evaluation.Outputs(movie_ids=rows["movie_id"].to_numpy(), targets=rows["target"].to_numpy(), logits=logits)


def _looked_at(kind: Baseline, dataset: Dataset, movies: pl.DataFrame) -> features.Features:
    if kind is Baseline.HISTOGRAM:
        described: dict[str, Any] = {"histogram": LEVELS, "preprocess": SQUARE.to_dict()}
        return features.stored(dataset, dataset.archive / FEATURES, described, lambda: histograms(dataset), silent)
    rows = dataset.table.select("movie_id").join(movies, on="movie_id", how="left").sort("movie_id")
    column = (pl.col("year") - 1980) / 10 if kind is Baseline.YEAR else pl.col("budget").log10()
    known = rows.select(column.cast(pl.Float32).alias("value"))["value"]
    filled = known.fill_null(known.mean()).to_numpy()  # pyright: ignore[reportArgumentType] - a mean of numbers
    values = np.stack([filled, filled**2, filled**3, known.is_null().to_numpy()], axis=1).astype(np.float32)
    return features.Features(movie_ids=rows["movie_id"].to_numpy(), values=values)


def histograms(dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Count the colours of all posters of a dataset.

    Returns:
        ``movie_id`` [n] and the root of each colour's share [n, 512]: roots, so that the distance of two posters is
        Hellinger's.
    """
    ids: list[NDArray[np.int64]] = []
    values: list[NDArray[np.float32]] = []
    for split in dataset.table["split"].unique(maintain_order=True):
        for batch in PosterLoader(dataset, SQUARE, split=split, batch_size=64, shuffle=False):
            seen = batch.targets != IGNORED
            levels = np.minimum((batch.images[seen] * LEVELS).astype(np.int64), LEVELS - 1)
            colours = ((levels[:, 0] * LEVELS + levels[:, 1]) * LEVELS + levels[:, 2]).reshape(len(levels), -1)
            counts = np.stack([np.bincount(one, minlength=LEVELS**3) for one in colours])
            ids.append(batch.movie_ids[seen])
            values.append(np.sqrt(counts / colours.shape[1]).astype(np.float32))
    return np.concatenate(ids), np.concatenate(values)
