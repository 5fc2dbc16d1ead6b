"""scikit-image as the article uses it: a float64 canvas, and ``skimage.transform.resize`` with its default filter."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image
from skimage.transform import resize

from benchmarks.peers.squares import MEAN, STD, Box, Run, each_poster

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGES: Final = ("scikit-image", "scipy")


def make(threads: int, variant: str) -> Run:  # noqa: ARG001 - one variant
    """Prepare posters the article's way."""
    return each_poster(_one, threads)


def _one(body: bytes, box: Box, out: NDArray[np.float32]) -> None:
    image = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))
    top, left, height, width = box
    canvas = np.zeros((height, width, 3), np.float64)
    inside = image[max(0, top) : top + height, max(0, left) : left + width]
    canvas[max(0, -top) : max(0, -top) + inside.shape[0], max(0, -left) : max(0, -left) + inside.shape[1]] = inside
    square = resize(canvas, out.shape[1:]) / 255
    out[...] = ((square - MEAN) / STD).transpose(2, 0, 1)
