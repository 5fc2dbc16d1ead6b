"""Dataset or folder -> the few posters that an engine is calibrated and checked with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from crawler.errors import UnusableInput
from crawler.shards import SHARD_FOLDER, open_shard
from crawler.storage import open_store
from dataloading.prepare import make_preparer
from serving.sources import IMAGE_SUFFIXES, image_files

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dataloading.dataset import Dataset
    from dataloading.preprocess import Preprocess

BATCH: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Encoded posters, and their targets where they are known."""

    origin: str
    """Where they come from, for the card."""
    bodies: list[bytes]
    targets: NDArray[np.int64] | None = None
    """[n]."""

    @classmethod
    def of_dataset(cls, dataset: Dataset, split: str, count: int) -> Self:
        """Take at most ``count`` posters of a split, evenly from its whole length."""
        rows = dataset.rows(split)
        rows = rows[_evenly(len(rows), count)].sort("shard", "movie_id")
        bodies: list[bytes] = []
        shards = open_store(dataset.archive).within(SHARD_FOLDER)
        for group in rows.partition_by("shard", maintain_order=True):
            with open_shard(shards, group["shard"][0]) as reader:
                bodies += [reader.read(*place) for place in group.select("offset_bytes", "size_bytes").iter_rows()]
        origin = f"{split} split of dataset {dataset.digest[:12]}"
        return cls(origin=origin, bodies=bodies, targets=rows["target"].to_numpy().astype(np.int64))

    @classmethod
    def of_folder(cls, folder: Path, count: int) -> Self:
        """Take at most ``count`` posters of a folder, evenly from all in name order.

        Raises:
            UnusableInput: There is no image in it.
        """
        names = image_files(folder)
        if not names:
            msg = f"calibration folder {folder}: no image in it; expected files ending in {', '.join(IMAGE_SUFFIXES)}"
            raise UnusableInput(msg)
        chosen = [names[index] for index in _evenly(len(names), count)]
        return cls(
            origin=f"{len(chosen)} files of {folder.name}", bodies=[(folder / name).read_bytes() for name in chosen]
        )

    def prepared(self, spec: Preprocess) -> tuple[list[NDArray[np.float32]], NDArray[np.int64] | None]:
        """Prepare them for evaluation, leaving out what does not decode.

        Returns:
            Batches float32 [b, 3, h, w], and the targets [n] of what is in them.

        Raises:
            UnusableInput: None of them decodes.
        """
        preparer = make_preparer(spec.for_evaluation(), "native")
        batches: list[NDArray[np.float32]] = []
        kept: list[bool] = []
        for begin in range(0, len(self.bodies), BATCH):
            prepared = preparer.prepare(self.bodies[begin : begin + BATCH])
            good = np.array([reason is None for reason in prepared.reasons])
            kept += good.tolist()
            if good.any():
                batches.append(prepared.images[good])
        if not batches:
            msg = f"calibration posters ({self.origin}): none of {len(self.bodies)} can be decoded; give other posters"
            raise UnusableInput(msg)
        return batches, None if self.targets is None else self.targets[np.array(kept)]


def _evenly(length: int, count: int) -> list[int]:
    return np.unique(np.linspace(0, length - 1, min(length, count)).astype(int)).tolist() if length else []
