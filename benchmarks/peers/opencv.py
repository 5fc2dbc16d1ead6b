"""OpenCV: decode, cut, plain bilinear resize, normalise in NumPy plane by plane.

The variant ``reduced`` lets libjpeg halve a poster that is shrunk by two or more anyway (``IMREAD_REDUCED_COLOR_2``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from benchmarks.peers.squares import OFFSET, SCALE, Box, Run, each_poster

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGES: Final = ("opencv-python-headless",)


def make(threads: int, variant: str) -> Run:
    """Prepare posters with OpenCV; each thread works on a poster of its own, so OpenCV itself gets one."""
    cv2.setNumThreads(1)
    return each_poster(_reduced if variant == "reduced" else _whole, threads)


def _whole(body: bytes, box: Box, out: NDArray[np.float32]) -> None:
    _square(cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR), box, out)


def _reduced(body: bytes, box: Box, out: NDArray[np.float32]) -> None:
    if min(box[2:]) < 2 * out.shape[1]:
        _whole(body, box, out)
        return
    top, left, height, width = (side // 2 for side in box)
    half = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_REDUCED_COLOR_2)
    _square(half, (top, left, height, width), out)


def _square(image: NDArray[np.uint8], box: Box, out: NDArray[np.float32]) -> None:
    top, left, height, width = box
    over = (max(0, -top), max(0, top + height - image.shape[0]), max(0, -left), max(0, left + width - image.shape[1]))
    inside = image[max(0, top) : top + height, max(0, left) : left + width]
    cut = cv2.copyMakeBorder(inside, *over, cv2.BORDER_CONSTANT) if any(over) else inside
    square = cv2.resize(cut, out.shape[:0:-1], interpolation=cv2.INTER_LINEAR)
    for channel, plane in enumerate(reversed(cv2.split(square))):  # OpenCV's order is blue, green, red
        np.multiply(plane, SCALE[channel], out=out[channel], dtype=np.float32)
        out[channel] += OFFSET[channel]
