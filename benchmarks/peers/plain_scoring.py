"""The script that one writes first: Pillow, torchvision's transforms, PyTorch in float32, batches of 32."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING, Any

import polars as pl
import torch
from PIL import Image
from torchvision import transforms

from crawler.shards import ShardReader, read_sidecar
from serving.torch import read_network
from training.checkpoint import load_card

if TYPE_CHECKING:
    from pathlib import Path

    from training.checkpoint import Card

BATCH = 32


def score(run: Path, folder: Path, name: str, out: Path) -> int:
    """Score one shard into one Parquet file; returns the posters."""
    network, card = _load(run / "checkpoints" / "best")
    size, spec = card.preprocess.size, card.preprocess
    prepare = transforms.Compose(
        [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(spec.mean, spec.std)]
    )
    rows = read_sidecar(folder, name).drop_nulls("offset_bytes")
    ids, labels, probabilities = rows["movie_id"].to_list(), [], []
    with ShardReader(folder / f"{name}.tar") as shard, torch.inference_mode():
        places = list(rows.select("offset_bytes", "size_bytes").iter_rows())
        for begin in range(0, len(places), BATCH):
            bodies = [shard.read(*place) for place in places[begin : begin + BATCH]]
            images = torch.stack([prepare(Image.open(io.BytesIO(body)).convert("RGB")) for body in bodies])
            best = network(images)[0].softmax(dim=1).max(dim=1)
            labels += [card.vocabulary[index] for index in best.indices.tolist()]
            probabilities += best.values.tolist()
    pl.DataFrame({"movie_id": ids, "label": labels, "probability": probabilities}).write_parquet(out)
    return len(ids)


@functools.cache
def _load(checkpoint: Path) -> tuple[Any, Card]:
    """Load it once, as ours is."""
    card = load_card(checkpoint)
    return read_network(checkpoint, card.architecture, len(card.vocabulary), card.model_options)[0], card
