"""The roof: libjpeg-turbo decodes each poster into memory that is used again, and nothing more."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import numpy as np
import simplejpeg

from benchmarks.peers.squares import Box, Run, each_poster

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGES: Final = ("simplejpeg",)


def make(threads: int, variant: str) -> Run:  # noqa: ARG001 - one variant
    """Decode posters; ``out`` stays as it is."""
    local = threading.local()

    def one(body: bytes, box: Box, out: NDArray[np.float32]) -> None:  # noqa: ARG001 - a roof makes no squares
        if not hasattr(local, "memory"):
            local.memory = np.empty(3 * 1024 * 1024, np.uint8)
        simplejpeg.decode_jpeg(body, buffer=local.memory)

    return each_poster(one, threads)
