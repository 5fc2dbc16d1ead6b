"""What one writes with NumPy: exclusive or, ``bitwise_count``, blocks of rows in threads, SciPy's components."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

PACKAGES = ("numpy", "scipy")
ROWS = 64


def make(job: dict[str, Any]) -> Callable[[], dict[str, float]]:
    """Load the hashes."""
    hashes = np.load(job["hashes"])
    pool = ThreadPoolExecutor(job["threads"])

    def block(begin: int) -> tuple[np.ndarray, np.ndarray]:
        distances = np.bitwise_count(hashes[begin : begin + ROWS, None] ^ hashes[None, begin:])
        left, right = np.nonzero(distances <= job["distance"])
        return left + begin, right + begin

    def lap() -> dict[str, float]:
        parts = list(pool.map(block, range(0, len(hashes), ROWS)))
        left, right = (np.concatenate(side) for side in zip(*parts, strict=True))
        graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(len(hashes), len(hashes)))
        _, labels = connected_components(graph, directed=False)
        counts = np.bincount(labels)
        return {"groups": int((counts > 1).sum()), "members": int(counts[counts > 1].sum())}

    return lap
