"""The engine alone, on batches that lie prepared in memory: the roof of scoring."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from serving.engine import load_engine
from serving.predictor import BATCH

PACKAGES = ("openvino",)


def make(job: dict[str, Any]) -> Callable[[], dict[str, float]]:
    """Load it as bulk scoring does: as many requests at a time as the engine wants."""
    engine = load_engine(Path(job["model"]), threads=job["threads"])
    resident = np.random.default_rng(0).normal(size=(BATCH, *engine.card.input_shape)).astype(np.float32)
    pool = ThreadPoolExecutor(engine.parallel)
    calls = job["posters"] // BATCH

    def lap() -> dict[str, float]:
        list(pool.map(engine.infer, [resident] * calls))
        return {"posters": calls * BATCH}

    return lap
