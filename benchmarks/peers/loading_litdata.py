"""LitData: optimised chunks of encoded posters, worker processes, decoded with Pillow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from benchmarks.peers.loading_torch import Collate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import torch

    from benchmarks.peers.loader import Poster, Setting

PACKAGES: Final = ("litdata",)
litdata: Final[Any] = importlib.import_module("litdata")
writer: Final[Any] = importlib.import_module("litdata.streaming.writer")

CHUNK_BYTES: Final = 8 * 2**20


def write(posters: Sequence[Poster], folder: Path) -> None:
    """Write chunks of 8 MiB, bytes as they are."""
    sink = writer.BinaryWriter(cache_dir=str(folder), chunk_bytes=CHUNK_BYTES)
    for index, poster in enumerate(posters):
        sink[index] = {"jpg": poster.body, "target": poster.target}
    sink.done()
    sink.merge()


def batches(folder: Path, setting: Setting) -> Iterable[torch.Tensor]:
    """Yield one shuffled epoch: float32 [b, 3, size, size], normalised."""
    dataset = litdata.StreamingDataset(str(folder), shuffle=True, drop_last=True)
    loader = litdata.StreamingDataLoader(
        dataset, batch_size=setting.batch_size, num_workers=setting.threads, collate_fn=Collate(setting.size)
    )
    for images, _ in loader:
        yield images
