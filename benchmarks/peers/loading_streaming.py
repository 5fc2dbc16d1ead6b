"""MosaicML Streaming: MDS shards of encoded posters, worker processes, decoded with Pillow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from torch.utils.data import DataLoader

from benchmarks.peers.loading_torch import Collate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import torch

    from benchmarks.peers.loader import Poster, Setting

PACKAGES: Final = ("mosaicml-streaming",)
streaming: Final[Any] = importlib.import_module("streaming")
shared_memory: Final[Any] = importlib.import_module("streaming.base.util")


def write(posters: Sequence[Poster], folder: Path) -> None:
    """Write MDS shards, bytes as they are."""
    with streaming.MDSWriter(out=str(folder), columns={"jpg": "bytes", "target": "int"}) as sink:
        for poster in posters:
            sink.write({"jpg": poster.body, "target": poster.target})


def batches(folder: Path, setting: Setting) -> Iterable[torch.Tensor]:
    """Yield one shuffled epoch: float32 [b, 3, size, size], normalised."""
    shared_memory.clean_stale_shared_memory()
    dataset = streaming.StreamingDataset(local=str(folder), shuffle=True, batch_size=setting.batch_size)
    loader: Any = DataLoader(
        dataset, setting.batch_size, num_workers=setting.threads, drop_last=True, collate_fn=Collate(setting.size)
    )
    for images, _ in loader:
        yield images
