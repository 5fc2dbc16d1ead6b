"""A frozen trunk and posters -> one row of features each, computed once and kept.

A trunk that does not change gives each poster the same features in every epoch, for every head and every seed. They are
stored under a digest of all that they follow from, beside the archive's dataset that asked for them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import safetensors.numpy
import torch

from dataloading.loader import IGNORED, PosterLoader
from training import evaluation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from crawler.progress import Advance
    from dataloading.dataset import Dataset
    from dataloading.preprocess import Preprocess
    from training.precision import Numerics

    Rows = tuple[NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What a trunk says of each poster of a dataset that can be decoded."""

    movie_ids: NDArray[np.int64]
    """[n], increasing."""
    values: NDArray[np.float32]
    """[n, d], after pooling and before the head."""

    def of(self, rows: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """Give ``movie_id`` [m], features [m, d] and targets [m] of the rows of a dataset that have features."""
        known = rows.filter(pl.col("movie_id").is_in(pl.Series(self.movie_ids).implode())).sort("movie_id")
        movie_ids = known["movie_id"].to_numpy()
        return movie_ids, self.values[np.searchsorted(self.movie_ids, movie_ids)], known["target"].to_numpy()


def extract(
    model: nn.Module,
    dataset: Dataset,
    spec: Preprocess,
    store: Path,
    *,
    keys: dict[str, Any],
    numerics: Numerics,
    device: torch.device,
    threads: int,
    advance: Advance,
) -> Features:
    """Run the trunk over all posters of a dataset, or read what an earlier call stored.

    Args:
        model: A timm network; its head is not used.
        dataset: Whose posters, of all splits.
        spec: How they are prepared; its deterministic twin is used.
        store: Folder for the features.
        keys: What the trunk follows from: architecture, options and the origin of its weights.
        numerics: Precision of the trunk.
        device: Where the trunk runs.
        threads: That prepare posters.
        advance: Receives posters done.
    """
    described = {**keys, "preprocess": spec.for_evaluation().to_dict(), "precision": str(numerics.precision)}

    def compute() -> Rows:
        return _run(model, dataset, spec, numerics=numerics, device=device, threads=threads, advance=advance)

    return stored(dataset, store, described, compute, advance)


def stored(
    dataset: Dataset, store: Path, described: dict[str, Any], compute: Callable[[], Rows], advance: Advance
) -> Features:
    """Compute features of all posters of a dataset, or read what an earlier call stored.

    Only one process computes the same features at a time; others wait for it and then read.

    Args:
        dataset: Whose posters.
        store: Folder for the features; made if missing.
        described: What the features follow from, beside the posters.
        compute: Gives ``movie_id`` [n] and features [n, d], in any order.
        advance: Receives all posters at once where the features are there.
    """
    whole = dataset.table.select("movie_id", "sha256").sort("movie_id")
    described = {**described, "posters": hashlib.sha256(whole.write_csv().encode()).hexdigest()}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:24]
    path = store / f"{digest}.safetensors"
    store.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            tensors = safetensors.numpy.load_file(path)
            advance(len(whole))
            return Features(movie_ids=tensors["movie_ids"], values=tensors["values"])
        movie_ids, values = compute()
        order = np.argsort(movie_ids)
        found = Features(movie_ids=movie_ids[order], values=values[order])
        temporary = path.with_suffix(".tmp")
        tensors = {"movie_ids": found.movie_ids, "values": found.values}
        safetensors.numpy.save_file(tensors, temporary, metadata={"made_of": json.dumps(described)})
        temporary.replace(path)
    return found


@torch.inference_mode()
def _run(
    model: Any,
    dataset: Dataset,
    spec: Preprocess,
    *,
    numerics: Numerics,
    device: torch.device,
    threads: int,
    advance: Advance,
) -> Rows:
    model.eval()
    ids: list[NDArray[np.int64]] = []
    values: list[NDArray[np.float32]] = []
    for split in dataset.table["split"].unique(maintain_order=True):
        loader = PosterLoader(
            dataset, spec.for_evaluation(), split=split, batch_size=64, shuffle=False, threads=threads
        )
        for batch in loader:
            images, _ = evaluation.to_device(batch, device, channels_last=True)
            with numerics.autocast():
                rows = model.forward_head(model.forward_features(images), pre_logits=True)
            seen = batch.targets != IGNORED
            ids.append(batch.movie_ids[seen])
            values.append(rows.float().cpu().numpy()[seen])
            advance(len(batch.movie_ids))
    return np.concatenate(ids), np.concatenate(values)
