"""What one Ray worker of ``keyart score`` does with shards: map, decode, prepare, infer, write, sync and rename."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.bulk import SUFFIX, Job, score_chunk
from serving.engine import load_card
from serving.sources import ShardChunk

PACKAGES = ("openvino", "numba", "simplejpeg", "polars")


def make(job: dict[str, Any]) -> Callable[[], dict[str, float]]:
    """Name the shards; the engine is loaded by the first lap and kept, as a worker keeps it."""
    model, out = Path(job["model"]).resolve(), Path(job["out"])
    out.mkdir(parents=True)
    work = Job(model=model, model_digest=load_card(model).digest, out=out)
    chunks = [ShardChunk(folder=Path(folder), name=name) for folder, name in job["chunks"]]

    def lap() -> dict[str, float]:
        posters = 0
        for chunk in chunks:
            work.store.delete(f"{chunk.name}{SUFFIX}")
            posters += score_chunk(work, chunk, job["threads"]).posters
        return {"posters": posters}

    return lap
