"""``keyart archive duplicates`` without reading the archive: every pair compared in one compiled loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from crawler.duplicates import near_identical

PACKAGES = ("numba", "numpy")


def make(job: dict[str, Any]) -> Callable[[], dict[str, float]]:
    """Compile before the first lap."""
    hashes = np.load(job["hashes"])
    near_identical(hashes[:2], job["distance"])

    def lap() -> dict[str, float]:
        clusters = hashes
        for _ in range(job["times"]):
            clusters = near_identical(hashes, job["distance"])
        _, counts = np.unique(clusters, return_counts=True)
        return {"groups": int((counts > 1).sum()), "members": int(counts[counts > 1].sum())}

    return lap
