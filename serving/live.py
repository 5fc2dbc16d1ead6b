"""One batch of encoded posters -> answers, with what people want to see beside the numbers."""

from __future__ import annotations

import base64
import io
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from crawler.records import Reason
from dataloading.prepare import make_preparer
from serving.engine import MAPS, Goal, load_card, load_engine
from serving.parity import softmax

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from serving.engine import Engine, EngineCard


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One poster to be scored."""

    body: bytes
    explains: bool = False
    """Whether the prepared square and the heat map are wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the network says of a poster, or why it cannot."""

    reason: Reason | None = None
    probabilities: NDArray[np.float32] | None = None
    """[c], calibrated."""
    image: NDArray[np.float32] | None = None
    """[3, h, w], normalised; where it was asked for."""
    maps: NDArray[np.float32] | None = None
    """[c, h', w']; where it was asked for and the network has them."""
    also: NDArray[np.float32] | None = None
    """Probabilities of the second model, where there is one."""


class LivePredictor:
    """Scores small batches, from several threads at once."""

    def __init__(self, model: Path, *, threads: int, pixels: int, observe: Callable[[str, float], None]) -> None:
        """Load a model and warm it up.

        Args:
            model: Folder written by ``keyart export``.
            threads: CPU threads of the engine and of the preparation.
            pixels: Largest poster that is decoded.
            observe: Told how long each stage of a batch took: its name and seconds.

        Raises:
            UnusableInput: The folder holds no model that can run here.
        """
        self.card: EngineCard = load_card(model)
        self.explains = MAPS in self.card.outputs
        self._engine: Engine = load_engine(model, goal=Goal.THROUGHPUT, threads=threads, explains=self.explains)
        self._preparer = make_preparer(self.card.preprocess.for_evaluation(), "native", threads=threads)
        self._pixels, self._observe = pixels, observe
        blank = io.BytesIO()
        Image.new("RGB", (185, 278)).save(blank, "JPEG")
        self.answer([Question(body=blank.getvalue(), explains=True)])

    @property
    def parallel(self) -> int:
        """Batches worth running at the same time."""
        return self._engine.parallel + 1

    def answer(self, questions: list[Question]) -> list[Reply]:
        """Score a batch; a poster that cannot be scored is its own matter."""
        begin = time.perf_counter()
        refused = [self._look(question.body) for question in questions]
        bodies = [b"" if reason else question.body for question, reason in zip(questions, refused, strict=True)]
        prepared = self._preparer.prepare(bodies)
        reasons = [early or late for early, late in zip(refused, prepared.reasons, strict=True)]
        middle = time.perf_counter()
        maps = None
        if self.explains and any(question.explains for question in questions):
            explanation = self._engine.explain(prepared.images)
            logits, maps = explanation.logits, explanation.maps
        else:
            logits = self._engine.infer(prepared.images)
        probabilities = softmax(logits, self.card.temperature)
        self._observe("prepare", middle - begin)
        self._observe("infer", time.perf_counter() - middle)
        return [
            Reply(reason=reason)
            if reason
            else Reply(
                probabilities=probabilities[index],
                image=prepared.images[index] if question.explains else None,
                maps=maps[index] if maps is not None and question.explains else None,
            )
            for index, (question, reason) in enumerate(zip(questions, reasons, strict=True))
        ]

    def infer(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score posters that are prepared already: images [b, 3, h, w] to logits [b, c]."""
        return self._engine.infer(images)

    def _look(self, body: bytes) -> Reason | None:
        """Refuse by the header alone what would cost too much to decode."""
        try:
            with Image.open(io.BytesIO(body)) as image:
                return Reason.TOO_LARGE if image.width * image.height > self._pixels else None
        except (OSError, SyntaxError, ValueError):
            return Reason.NOT_AN_IMAGE
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            return Reason.TOO_LARGE


class PairPredictor:
    """Scores small batches with one model, and puts a second model's probabilities beside them."""

    def __init__(self, first: LivePredictor, second: LivePredictor) -> None:
        self._first, self._second = first, second
        self.card, self.also_card = first.card, second.card
        self.explains = first.explains

    def answer(self, questions: list[Question]) -> list[Reply]:
        """Score a batch with both; what the first cannot score, the second is not asked."""
        replies = self._first.answer(questions)
        good = [index for index, reply in enumerate(replies) if reply.reason is None]
        if good:
            others = self._second.answer([Question(body=questions[index].body) for index in good])
            for index, other in zip(good, others, strict=True):
                replies[index] = replace(replies[index], also=other.probabilities)
        return replies

    def infer(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score prepared posters with the first model."""
        return self._first.infer(images)


def to_plain(
    reply: Reply, card: EngineCard, also: EngineCard | None = None, *, top_k: int, probabilities: bool
) -> dict[str, Any]:
    """Turn a reply into what JSON can hold."""
    if reply.reason or reply.probabilities is None:
        return {"status": "failed", "reason": reply.reason}
    values = reply.probabilities.tolist()
    order = sorted(range(len(values)), key=lambda index: -values[index])[:top_k]
    plain: dict[str, Any] = {
        "status": "ok",
        "label": card.vocabulary[order[0]],
        "probability": values[order[0]],
        "top": [{"label": card.vocabulary[index], "probability": values[index]} for index in order],
    }
    if probabilities:
        plain["probabilities"] = dict(zip(card.vocabulary, values, strict=True))
    if also is not None and reply.also is not None:
        shares = dict(zip(also.vocabulary, reply.also.tolist(), strict=True))
        plain["also"] = {"task": also.task, "model_id": also.model_id, "probabilities": shares}
    if reply.image is not None:
        plain["square"] = _data_address(reply.image, card)
    if reply.maps is not None:
        plain["heat_map"] = _scaled(reply.maps[order[0]]).round(3).tolist()
    return plain


def _scaled(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring a map to 0 to 1."""
    low, high = heat.min(), heat.max()
    return (heat - low) / max(float(high - low), 1e-6)


def _data_address(image: NDArray[np.float32], card: EngineCard) -> str:
    """Show a prepared square as the network sees it, as a data address of a PNG."""
    mean, std = (np.array(values)[:, None, None] for values in (card.preprocess.mean, card.preprocess.std))
    pixels = np.clip((image * std + mean) * 255 + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
