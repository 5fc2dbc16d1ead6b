"""imagededup on the same hashes: ``find_duplicates(encoding_map=...)``, its compiled brute force or its BK-tree.

Its answer, neighbours of each file, is made into groups as ours are, outside its call but inside the lap: milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from imagededup.methods import DHash

PACKAGES = ("imagededup",)


def make(job: dict[str, Any]) -> Callable[[], dict[str, float]]:
    """Turn the hashes into the strings that it wants, before the first lap."""
    hashes = np.load(job["hashes"])
    encodings = {f"{place}.jpg": f"{int(value):016x}" for place, value in enumerate(hashes)}
    method = DHash(verbose=False)

    def lap() -> dict[str, float]:
        found = method.find_duplicates(
            encoding_map=encodings,
            max_distance_threshold=job["distance"],
            search_method=job["search"],
            num_dist_workers=job["threads"],
        )
        parents = {name: name for name in encodings}

        def root(name: str) -> str:
            while parents[name] != name:
                parents[name] = parents[parents[name]]
                name = parents[name]
            return name

        for name, others in found.items():
            for other in others:
                parents[root(other)] = root(name)
        sizes: dict[str, int] = {}
        for name in encodings:
            sizes[root(name)] = sizes.get(root(name), 0) + 1
        groups = [size for size in sizes.values() if size > 1]
        return {"groups": len(groups), "members": sum(groups)}

    return lap
