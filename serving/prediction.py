"""Scores -> the prediction file: one row per requested poster."""

from __future__ import annotations

import io
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from crawler.errors import UnusableInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crawler.records import Reason
    from serving.engine import EngineCard
    from serving.posters import Posters

SCHEMA: Final[dict[str, pl.DataType]] = {
    "movie_id": pl.Int64(),
    "source": pl.String(),
    "label": pl.String(),
    "probability": pl.Float32(),
    "rank": pl.Int16(),
    "probabilities": pl.List(pl.Float32()),
    "status": pl.String(),
    "reason": pl.String(),
    "model_id": pl.String(),
}
"""Columns of every prediction file.

``movie_id`` or ``source`` names the poster. ``rank`` is the place of ``label`` among all labels, so 1, and null where
there is no label. ``probabilities`` stand in the order of the model's vocabulary, and are null unless asked for.
"""
TOP_SCHEMA: Final[dict[str, pl.DataType]] = {
    "top_labels": pl.List(pl.String()),
    "top_probabilities": pl.List(pl.Float32()),
}
"""Further columns where more than one label is asked for, the likeliest first."""
EMBEDDING_SCHEMA: Final[dict[str, pl.DataType]] = {"embedding": pl.List(pl.Float32())}
"""Further column where embeddings are asked for."""


class Outcome(StrEnum):
    """What became of a poster."""

    OK = "ok"
    FAILED = "failed"
    """It could not be scored; ``reason`` says why."""
    ABSTAINED = "abstained"
    """It was scored, and no label reached the confidence that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """What a prediction row holds."""

    top_k: int = 1
    """Labels a row, from 1 up."""
    probabilities: bool = False
    """Whether all probabilities are kept."""
    embeddings: bool = False
    """Whether the network's embedding is kept."""
    min_confidence: float = 0.0
    """Probability under which a poster gets no label, 0 to 1."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.top_k < 1:
            msg = f"top-k {self.top_k}: expected a whole number from 1 up"
            raise UnusableInput(msg)
        if not 0 <= self.min_confidence <= 1:
            msg = f"min-confidence {self.min_confidence}: expected a probability from 0 to 1"
            raise UnusableInput(msg)

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Columns of the file."""
        return SCHEMA | (TOP_SCHEMA if self.top_k > 1 else {}) | (EMBEDDING_SCHEMA if self.embeddings else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What the network says of some posters."""

    probabilities: NDArray[np.float32]
    """[n, c]; of no meaning where there is a reason."""
    reasons: list[Reason | None]
    """Why a poster could not be scored; None where it was."""
    embeddings: NDArray[np.float32] | None = None
    """[n, d]."""


def to_rows(scores: Scores, posters: Posters, card: EngineCard, options: RowOptions) -> pl.DataFrame:
    """Write scores as rows.

    Args:
        scores: Of the posters.
        posters: Which they are.
        card: Of the engine.
        options: What a row holds.

    Returns:
        One row per poster, in order, with the columns of ``options.schema``.
    """
    vocabulary = card.vocabulary
    scored = np.array([reason is None for reason in scores.reasons], bool)
    order = np.argsort(-scores.probabilities, axis=1, kind="stable")[:, : options.top_k]
    likely = np.take_along_axis(scores.probabilities, order, axis=1)
    sure = scored & (likely[:, 0] >= options.min_confidence)
    status = np.where(sure, Outcome.OK, np.where(scored, Outcome.ABSTAINED, Outcome.FAILED))
    columns: dict[str, object] = {
        "movie_id": posters.movie_ids,
        "source": posters.sources,
        "label": [vocabulary[first] if good else None for first, good in zip(order[:, 0], sure, strict=True)],
        "probability": _where(scored, likely[:, 0]),
        "rank": [1 if good else None for good in sure],
        "probabilities": _where(scored & options.probabilities, scores.probabilities),
        "status": status.tolist(),
        "reason": [None if reason is None else str(reason) for reason in scores.reasons],
        "model_id": [card.model_id] * len(scored),
        "top_labels": [
            [vocabulary[index] for index in row] if good else None for row, good in zip(order, scored, strict=True)
        ],
        "top_probabilities": _where(scored, likely),
        "embedding": None if scores.embeddings is None else _where(scored, scores.embeddings),
    }
    return pl.DataFrame({name: columns[name] for name in options.schema}, schema=options.schema)


def to_parquet(rows: pl.DataFrame) -> bytes:
    """Write rows as a prediction file: the same rows give the same bytes."""
    stream = io.BytesIO()
    rows.write_parquet(stream, compression="zstd")
    return stream.getvalue()


def _where(good: NDArray[np.bool_], values: NDArray[np.float32]) -> list[object]:
    return [value if keep else None for value, keep in zip(values.tolist(), good, strict=True)]
