"""What the peers share: the contract, the threads, and the arithmetic of normalising in NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""Top, left, height, width."""
Run = Callable[[Sequence[bytes], Sequence[Box], NDArray[np.float32]], NDArray[np.float32]]
One = Callable[[bytes, Box, NDArray[np.float32]], None]

MEAN: Final = np.array((0.485, 0.456, 0.406), np.float32)
STD: Final = np.array((0.229, 0.224, 0.225), np.float32)
SCALE: Final = 1 / (255 * STD[:, None, None])
OFFSET: Final = -MEAN[:, None, None] / STD[:, None, None]


def each_poster(one: One, threads: int) -> Run:
    """Run a function of one poster over batches, in threads that take the next poster when they are free."""
    pool = ThreadPoolExecutor(max(1, threads - 1))

    def run(bodies: Sequence[bytes], boxes: Sequence[Box], out: NDArray[np.float32]) -> NDArray[np.float32]:
        for begin in range(0, len(bodies), len(out)):
            count = min(len(out), len(bodies) - begin)
            places = itertools.count()

            def work(begin: int = begin, count: int = count, places: itertools.count[int] = places) -> None:
                for place in itertools.takewhile(lambda at: at < count, places):
                    one(bodies[begin + place], boxes[begin + place], out[place])

            others = [pool.submit(work) for _ in range(threads - 1)]
            work()
            for other in others:
                other.result()
        return out

    return run


def normalize_into(pixels: NDArray[Any], out: NDArray[np.float32]) -> None:
    """Turn uint8 ``[h, w, 3]`` into normalised float32 ``[3, h, w]`` in two passes without a copy."""
    np.multiply(pixels.transpose(2, 0, 1), SCALE, out=out, dtype=np.float32)
    out += OFFSET
