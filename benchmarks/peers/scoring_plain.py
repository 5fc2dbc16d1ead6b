"""The script that one writes first: Pillow, torchvision's transforms, PyTorch, batches of 32, one Parquet file.

As written it runs in float32; with ``autocast`` it says bfloat16 and channels last, two lines that PyTorch's
documentation of CPUs recommends.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import torch
from PIL import Image
from torchvision import transforms

from crawler.shards import ShardReader, read_sidecar
from serving.torch import read_network
from training.checkpoint import load_card

PACKAGES = ("torch", "torchvision", "pillow")
BATCH = 32


def make(job: dict[str, Any]) -> Callable[[], dict[str, float]]:
    """Load the network once, as ours does."""
    torch.set_num_threads(job["threads"])
    checkpoint = Path(job["checkpoint"])
    card = load_card(checkpoint)
    network: Any = read_network(checkpoint, card.architecture, len(card.vocabulary), card.model_options)[0]
    if job["autocast"]:
        network = network.to(memory_format=torch.channels_last)
    size, spec = card.preprocess.size, card.preprocess
    prepare = transforms.Compose(
        [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(spec.mean, spec.std)]
    )
    folder, name = job["chunks"][0]
    rows = read_sidecar(Path(folder), name).drop_nulls("offset_bytes").head(job["posters"])
    places = list(rows.select("offset_bytes", "size_bytes").iter_rows())

    def lap() -> dict[str, float]:
        labels: list[str] = []
        probabilities: list[float] = []
        with ShardReader(Path(folder) / f"{name}.tar") as shard, torch.inference_mode():
            for begin in range(0, len(places), BATCH):
                bodies = [shard.read(*place) for place in places[begin : begin + BATCH]]
                images = torch.stack([prepare(Image.open(io.BytesIO(body)).convert("RGB")) for body in bodies])
                if job["autocast"]:
                    images = images.to(memory_format=torch.channels_last)
                with torch.autocast("cpu", torch.bfloat16, enabled=job["autocast"]):
                    logits = network(images)[0]
                best = logits.float().softmax(dim=1).max(dim=1)
                labels += [card.vocabulary[index] for index in best.indices.tolist()]
                probabilities += best.values.tolist()
        ids = rows["movie_id"].to_list()
        pl.DataFrame({"movie_id": ids, "label": labels, "probability": probabilities}).write_parquet(job["out"])
        return {"posters": len(ids)}

    return lap
