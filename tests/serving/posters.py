"""Posters, records and hand-made answers that the tests of serving share."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from crawler.records import Failure, Fetched, PosterRecord, PosterRequest, Reason
from dataloading.prepare import make_preparer
from dataloading.preprocess import Preprocess
from serving.parity import softmax
from training import models
from training.checkpoint import load_card, load_weights

if TYPE_CHECKING:
    from pathlib import Path

VOCABULARY = ("comedy", "drama", "horror")
SPEC = Preprocess(size=64, method="random_crop", crop=128)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def poster(seed: int, height: int = 140, width: int = 92) -> bytes:
    """A JPEG of soft random colour, different for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 255, (7, 5, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=88)
    return stream.getvalue()


def record(movie_id: int, body: bytes) -> PosterRecord:
    """A stored poster."""
    request = PosterRequest(movie_id=movie_id, url=f"http://127.0.0.1/{movie_id}.jpg")
    fetched = Fetched(request=request, body=body, http_status=200, attempts=1, fetched_at=NOON)
    return PosterRecord(fetched=fetched, height=140, width=92, sha256=hashlib.sha256(body).hexdigest(), dhash=movie_id)


def failure(movie_id: int) -> Failure:
    """A poster that was not there."""
    request = PosterRequest(movie_id=movie_id, url=f"http://127.0.0.1/{movie_id}.jpg")
    return Failure(request=request, reason=Reason.NOT_FOUND, http_status=404, attempts=1, fetched_at=NOON)


def checkpoint_logits(run: Path, images: np.ndarray) -> np.ndarray:
    """What the checkpoint's network says, called by hand."""
    best = run / "checkpoints" / "best"
    card = load_card(best)
    network = models.build(card.architecture, len(card.vocabulary), weights=None).eval()
    network.load_state_dict(load_weights(best))
    with torch.inference_mode():
        return network(torch.from_numpy(images)).numpy()


def spread_labels(network: torch.nn.Module, bodies: list[bytes]) -> None:
    """Scale a random network's head so that its labels differ from poster to poster, as a trained one's do."""
    images = torch.from_numpy(make_preparer(SPEC.for_evaluation(), "native").prepare(bodies).images)
    with torch.inference_mode():
        logits = network(images)
    with torch.no_grad():
        network.fc.weight.mul_(2 / logits.std(dim=0)[:, None])
        network.fc.bias.sub_(logits.mean(dim=0)).mul_(2 / logits.std(dim=0))


def by_hand(run: Path, bodies: list[bytes]) -> np.ndarray:
    """Probabilities from the checkpoint's network."""
    images = make_preparer(SPEC.for_evaluation(), "native").prepare(bodies).images
    return softmax(checkpoint_logits(run, images))
