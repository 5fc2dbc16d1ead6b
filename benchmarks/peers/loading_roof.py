"""The roof: libjpeg-turbo decodes every poster of the dataset in threads, and nothing else is done."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import simplejpeg

from benchmarks.peers.loading_keyart import DATASET_NAME, write
from crawler.records import Reason
from dataloading.dataset import Dataset
from dataloading.source import PosterSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from benchmarks.peers.loader import Setting

PACKAGES: Final = ("simplejpeg",)
__all__ = ["batches", "write"]


def batches(folder: Path, setting: Setting) -> Iterable[NDArray[np.float32]]:
    """Yield the same memory for each batch whose posters were decoded."""
    dataset = Dataset.load(Path((folder / DATASET_NAME).read_text()))
    rows = dataset.rows("train")
    source = PosterSource(dataset.archive, rows)
    memory = np.zeros((setting.batch_size, 3, 1, 1), np.float32)

    def decode(begin: int) -> None:
        for row in range(begin, begin + setting.batch_size):
            body = source.read(row)
            if not isinstance(body, Reason):
                simplejpeg.decode_jpeg(body)

    with ThreadPoolExecutor(setting.threads) as pool:
        for _ in pool.map(decode, range(0, len(rows) - setting.batch_size + 1, setting.batch_size)):
            yield memory
