"""torchvision's v2 transforms on Pillow images: what most training scripts do."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from benchmarks.peers.squares import MEAN, STD, Box, Run, each_poster

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PACKAGES: Final = ("torchvision", "torch", "pillow")


def make(threads: int, variant: str) -> Run:  # noqa: ARG001 - one variant
    """Prepare posters with torchvision; each thread works on a poster of its own, so torch itself gets one."""
    torch.set_num_threads(1)
    return each_poster(_one, threads)


def finish(square: torch.Tensor, out: NDArray[np.float32]) -> None:
    """Scale to 0 to 1 and normalise, as ``ToTensor`` and ``Normalize`` do."""
    scaled = functional.to_dtype(square, torch.float32, scale=True)
    torch.from_numpy(out).copy_(functional.normalize(scaled, MEAN.tolist(), STD.tolist(), inplace=True))


def _one(body: bytes, box: Box, out: NDArray[np.float32]) -> None:
    image = Image.open(io.BytesIO(body))
    image = image if image.mode == "RGB" else image.convert("RGB")  # to convert what is RGB would be to copy it
    square = functional.resized_crop(image, *box, list(out.shape[1:]), antialias=True)
    finish(functional.pil_to_tensor(square), out)
