"""Ray Data with PyTorch, as Ray's guide to offline batch inference has it: read, map, an actor with the network, write.

``read_webdataset`` decodes tars without copying them, a stateless map prepares, a class that holds the network is
mapped over batches with ``concurrency=1``, and ``write_parquet`` commits. Two CPUs: one for the actor, one for reading
and preparing. Same network, precision and squares as the plain script.
"""

from __future__ import annotations

import io
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from PIL import Image
from torchvision import transforms

from serving.torch import read_network
from training.checkpoint import load_card

PACKAGES = ("ray", "torch", "torchvision", "pillow")
BATCH = 32


class Classifier:
    """The network, loaded once in its actor."""

    def __init__(self, checkpoint: str, threads: int, *, autocast: bool) -> None:
        """Load it."""
        torch.set_num_threads(threads)
        self._card = load_card(Path(checkpoint))
        network: Any = read_network(
            Path(checkpoint), self._card.architecture, len(self._card.vocabulary), self._card.model_options
        )[0]
        self._network = network.to(memory_format=torch.channels_last)
        self._autocast = autocast

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Score a batch."""
        images = torch.from_numpy(np.ascontiguousarray(batch["image"])).to(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._autocast):
            logits = self._network(images)[0]
        best = logits.float().softmax(dim=1).max(dim=1)
        labels = [self._card.vocabulary[index] for index in best.indices.tolist()]
        return {"movie_id": batch["movie_id"], "label": labels, "probability": best.values.numpy()}


def make(job: dict[str, Any]) -> Callable[[], dict[str, float]]:
    """Start Ray; a lap is a whole pipeline from tar to Parquet, as a user calls it."""
    ray.init(
        address="local",  # of its own, whatever else runs here
        num_cpus=job["threads"],
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    spec = load_card(Path(job["checkpoint"])).preprocess
    prepare = transforms.Compose(
        [transforms.Resize((spec.size, spec.size)), transforms.ToTensor(), transforms.Normalize(spec.mean, spec.std)]
    )

    def decode(row: dict[str, Any]) -> dict[str, Any]:
        poster = Image.open(io.BytesIO(row["jpg"])).convert("RGB")
        return {"movie_id": int(row["__key__"]), "image": prepare(poster).numpy()}

    tars = [str(Path(folder) / f"{name}.tar") for folder, name in job["chunks"][:1]]

    def lap() -> dict[str, float]:
        shutil.rmtree(job["out"], ignore_errors=True)
        dataset = ray.data.read_webdataset(tars, decoder=None).limit(job["posters"]).map(decode)
        scored = dataset.map_batches(
            Classifier,
            fn_constructor_args=(job["checkpoint"], max(1, job["threads"] - 1)),
            fn_constructor_kwargs={"autocast": job["autocast"]},
            concurrency=1,
            num_cpus=1,
            batch_size=BATCH,
        )
        scored.write_parquet(job["out"])
        return {"posters": job["posters"]}

    return lap
