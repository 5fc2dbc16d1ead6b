"""PyTorch DataLoader over torchvision's ImageFolder: worker processes, Pillow, transforms v2."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final, cast

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from dataloading.preprocess import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from benchmarks.peers.loader import Poster, Setting

PACKAGES: Final = ("torch", "torchvision", "pillow")


def write(posters: Sequence[Poster], folder: Path) -> None:
    """Write one folder per label with one file per poster."""
    for poster in posters:
        path = folder / f"{poster.target:02}" / f"{poster.movie_id}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(poster.body)


def batches(folder: Path, setting: Setting) -> Iterable[torch.Tensor]:
    """Yield one shuffled epoch: float32 [b, 3, size, size], normalised."""
    dataset = ImageFolder(str(folder), transform(setting.size))
    for images, _ in DataLoader(dataset, setting.batch_size, shuffle=True, num_workers=setting.threads, drop_last=True):
        yield images


class Collate:
    """Samples with the bytes of a poster -> a batch; runs in the worker process that read them."""

    def __init__(self, size: int) -> None:
        self._prepare = cast("Callable[[Image.Image], torch.Tensor]", transform(size))

    def __call__(self, samples: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode with Pillow; samples have ``jpg`` and ``target``."""
        posters = (Image.open(io.BytesIO(sample["jpg"])).convert("RGB") for sample in samples)
        targets = [int(sample["target"]) for sample in samples]
        return torch.stack([self._prepare(poster) for poster in posters]), torch.tensor(targets)


def transform(size: int) -> v2.Compose:
    """Stretch to a square with the antialiased filter, scale and normalise; takes a Pillow image."""
    return v2.Compose(
        [
            v2.Resize((size, size), antialias=True),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
