"""keyart's PosterLoader on the dataset itself: threads, shards mapped into memory, the native kernels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from dataloading.dataset import Dataset
from dataloading.loader import PosterLoader
from dataloading.order import LastStep
from dataloading.preprocess import Preprocess

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.peers.loader import Poster, Setting

PACKAGES: Final = ("keyart", "simplejpeg", "numba")
DATASET_NAME = "dataset.txt"


def write(posters: Sequence[Poster], folder: Path) -> None:
    """Note where the dataset is; its posters are read from its archive."""
    (folder / DATASET_NAME).write_text(posters[0].dataset)


def batches(folder: Path, setting: Setting) -> Iterable[NDArray[np.float32]]:
    """Yield one shuffled epoch: float32 [b, 3, size, size], normalised."""
    loader = PosterLoader(
        Dataset.load(Path((folder / DATASET_NAME).read_text())),
        Preprocess(size=setting.size),
        split="train",
        implementation="native",
        batch_size=setting.batch_size,
        threads=setting.threads,
        last=LastStep.DROP,
    )
    for batch in loader:
        yield batch.images
