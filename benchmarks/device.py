"""A wait in place of an engine: what a worker sees of a device of its own that takes so long for each batch."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import serving.engine as real

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from serving.engine import EngineCard, Explanation

WAIT: Final = "KEYART_BENCH_ENGINE_S"
"""Environment variable: seconds that a batch takes."""


def install() -> None:
    """Have every engine that this process loads be one that waits: Ray calls it in each worker of a benchmark."""
    real.load_engine = load_engine


def load_engine(model: Path, **_how: Any) -> WaitingEngine:
    """Stand in for ``serving.engine.load_engine``."""
    return WaitingEngine(real.load_card(model), float(os.environ[WAIT]))


class WaitingEngine:
    """``Engine`` that computes nothing: one batch at a time, as a device does."""

    def __init__(self, card: EngineCard, batch_s: float) -> None:
        self._card, self._batch_s, self._device = card, batch_s, threading.Lock()

    @property
    def card(self) -> EngineCard:
        """What the engine would be."""
        return self._card

    @property
    def parallel(self) -> int:
        """One."""
        return 1

    def infer(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Wait, and give logits that say nothing."""
        with self._device:
            time.sleep(self._batch_s)
        return np.zeros((len(images), len(self._card.vocabulary)), np.float32)

    def explain(self, images: NDArray[np.float32]) -> Explanation:
        """Refuse; nothing here asks for it."""
        raise NotImplementedError
