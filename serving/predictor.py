"""Encoded posters -> scores: the preparation that the card states, the engine, the calibrated softmax."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from crawler.records import Reason
from dataloading.prepare import make_preparer
from serving.engine import Goal, load_engine
from serving.parity import softmax
from serving.prediction import Scores

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serving.engine import Engine, EngineCard

BATCH: Final = 16
"""Posters a call of the engine in bulk."""


class Predictor:
    """Scores posters; batches are read, prepared and computed side by side.

    Every thread takes a batch through all steps. While some wait for the engine, others decode, and no step needs a
    queue of its own.
    """

    def __init__(self, engine: Engine, *, threads: int, batch: int = BATCH, embeddings: bool = False) -> None:
        """Hold an engine.

        Args:
            engine: Loaded, with ``explains`` if embeddings are wanted.
            threads: CPU threads that may be busy.
            batch: Posters a call.
            embeddings: Whether scores carry embeddings.
        """
        self._engine = engine
        self._batch = batch
        self._embeddings = embeddings
        self._preparer = make_preparer(engine.card.preprocess.for_evaluation(), "native", threads=threads)
        self._pool = ThreadPoolExecutor(engine.parallel + 1, thread_name_prefix="keyart-score")

    @classmethod
    def load(cls, model: Path, *, threads: int | None = None, batch: int = BATCH, embeddings: bool = False) -> Self:
        """Load a model for bulk scoring.

        Raises:
            UnusableInput: The folder holds no model that can run here, or one without the embeddings that are wanted.
        """
        threads = threads or len(os.sched_getaffinity(0))
        engine = load_engine(model, goal=Goal.THROUGHPUT, threads=threads, explains=embeddings)
        return cls(engine, threads=threads, batch=batch, embeddings=embeddings)

    @property
    def card(self) -> EngineCard:
        """What the engine is."""
        return self._engine.card

    def score(self, count: int, read: Callable[[int], bytes | Reason]) -> Scores:
        """Score posters.

        Args:
            count: Posters.
            read: Gives the encoded bytes of the poster at an index, or why there are none; called from several threads.

        Returns:
            Scores of all posters, in order; the same posters give the same numbers, however they were timed.
        """
        begins = range(0, count, self._batch)
        parts = list(self._pool.map(partial(self._score, count=count, read=read), begins))
        embeddings = [part.embeddings for part in parts if part.embeddings is not None]
        return Scores(
            probabilities=np.concatenate([part.probabilities for part in parts]),
            reasons=[reason for part in parts for reason in part.reasons],
            embeddings=np.concatenate(embeddings) if embeddings else None,
        )

    def _score(self, begin: int, *, count: int, read: Callable[[int], bytes | Reason]) -> Scores:
        bodies = [read(index) for index in range(begin, min(begin + self._batch, count))]
        prepared = self._preparer.prepare([b"" if isinstance(body, Reason) else body for body in bodies])
        reasons = [
            body if isinstance(body, Reason) else reason for body, reason in zip(bodies, prepared.reasons, strict=True)
        ]
        embeddings = None
        if self._embeddings:
            explanation = self._engine.explain(prepared.images)
            logits, embeddings = explanation.logits, explanation.embeddings
        else:
            logits = self._engine.infer(prepared.images)
        return Scores(probabilities=softmax(logits, self.card.temperature), reasons=reasons, embeddings=embeddings)
