"""keyart's own preparers behind the peers' signature: ``reference``, ``antialiased``, ``plain`` and ``scaled``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dataloading.native import NativePreparer
from dataloading.preprocess import Draw, Preprocess
from dataloading.reference import ReferencePreparer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.peers.squares import Box, Run
    from dataloading.prepare import Preparer

PACKAGES: Final = ("keyart", "simplejpeg", "numba", "llvmlite")


def make(threads: int, variant: str) -> Run:
    """Prepare posters with keyart."""
    preparers: dict[int, Preparer] = {}

    def run(bodies: Sequence[bytes], boxes: Sequence[Box], out: NDArray[np.float32]) -> NDArray[np.float32]:
        size = out.shape[-1]
        if size not in preparers:
            preparers[size] = _preparer(size, threads, variant)
        for begin in range(0, len(bodies), len(out)):
            part = slice(begin, begin + len(out))
            draws = [_draw(box, size) for box in boxes[part]]
            preparers[size].prepare(bodies[part], draws, out[: len(draws)])
        return out

    return run


def _preparer(size: int, threads: int, variant: str) -> Preparer:
    spec = Preprocess(size=size, antialias=variant != "plain")
    if variant == "reference":
        return ReferencePreparer(spec, threads=threads)
    return NativePreparer(spec, threads=threads, scaled_decode=variant == "scaled")


def _draw(box: Box, size: int) -> Draw:
    top, left, height, width = box
    return Draw(top=top, left=left, height=height, width=width, frame_height=size, frame_width=size)
