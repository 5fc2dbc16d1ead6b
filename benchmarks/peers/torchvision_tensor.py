"""torchvision's own JPEG decoder and v2 transforms on tensors: the faster way that its documentation recommends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional

from benchmarks.peers.squares import Box, Run, each_poster
from benchmarks.peers.torchvision_pil import finish

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGES: Final = ("torchvision", "torch")


def make(threads: int, variant: str) -> Run:  # noqa: ARG001 - one variant
    """Prepare posters as tensors; each thread works on a poster of its own, so torch itself gets one."""
    torch.set_num_threads(1)
    return each_poster(_one, threads)


def _one(body: bytes, box: Box, out: NDArray[np.float32]) -> None:
    encoded = torch.from_numpy(np.frombuffer(bytearray(body), np.uint8))
    image = decode_jpeg(encoded, mode=ImageReadMode.RGB)
    finish(functional.resized_crop(image, *box, list(out.shape[1:]), antialias=True), out)
