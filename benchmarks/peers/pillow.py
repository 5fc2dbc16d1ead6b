"""Pillow, or Pillow-SIMD in an interpreter that has it: decode, cut, resize with antialiasing, normalise in NumPy."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from benchmarks.peers.squares import Box, Run, each_poster, normalize_into

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGES: Final = ("pillow", "pillow-simd")


def make(threads: int, variant: str) -> Run:  # noqa: ARG001 - one variant
    """Prepare posters with Pillow; it lets go of the GIL while it decodes and resizes."""
    return each_poster(_one, threads)


def cut(image: Image.Image, box: Box) -> Image.Image:
    """Cut a box, black outside the picture."""
    top, left, height, width = box
    if (top, left, height, width) == (0, 0, image.height, image.width):
        return image
    return image.crop((left, top, left + width, top + height))


def _one(body: bytes, box: Box, out: NDArray[np.float32]) -> None:
    image = Image.open(io.BytesIO(body))
    image = image if image.mode == "RGB" else image.convert("RGB")  # to convert what is RGB would be to copy it
    square = cut(image, box).resize(out.shape[:0:-1], Image.Resampling.BILINEAR)
    normalize_into(np.asarray(square), out)
