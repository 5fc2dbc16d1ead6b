"""WebDataset: tar shards read front to back in worker processes, shuffled in a buffer, decoded with Pillow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import webdataset as _webdataset

from benchmarks.peers.loading_torch import Collate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import torch

    from benchmarks.peers.loader import Poster, Setting

PACKAGES: Final = ("webdataset",)
webdataset: Final[Any] = _webdataset  # fills its names at run time

SHARD_POSTERS: Final = 500
LEAST_SHARDS: Final = 8
"""So that each worker process has some of them."""
SHUFFLE_BUFFER: Final = 1000


def write(posters: Sequence[Poster], folder: Path) -> None:
    """Write shards of 500 posters, or of fewer where there would not be eight."""
    count = max(1, min(SHARD_POSTERS, len(posters) // LEAST_SHARDS))
    sink = webdataset.ShardWriter(str(folder / "%05d.tar"), maxcount=count, verbose=0)
    for poster in posters:
        sink.write({"__key__": str(poster.movie_id), "jpg": poster.body, "target": str(poster.target).encode()})
    sink.close()


def batches(folder: Path, setting: Setting) -> Iterable[torch.Tensor]:
    """Yield one shuffled epoch: float32 [b, 3, size, size], normalised."""
    shards = sorted(str(path) for path in folder.glob("*.tar"))
    dataset = webdataset.WebDataset(shards, shardshuffle=100).shuffle(SHUFFLE_BUFFER)
    batched = dataset.batched(setting.batch_size, collation_fn=Collate(setting.size), partial=False)
    for images, _ in webdataset.WebLoader(batched, batch_size=None, num_workers=setting.threads):
        yield images
