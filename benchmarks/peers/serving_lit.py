"""The same predictor behind LitServe: a LitAPI with batches of 16, a worker process for each thread of the engine.

A poster comes as base64 in JSON, as its documentation has it for images; its raw bodies do not reach
``decode_request``. ``fast_queue`` is its own faster way between processes. A worker takes one batch at a time, so it
gets as many workers as ours has batches under way in the engine, each with one thread.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import litserve

from serving.live import LivePredictor, Question, Reply, to_plain

PACKAGES = ("litserve", "openvino")
PATH = "/predict"
TYPE = "application/json"


class Posters(litserve.LitAPI):
    """One worker."""

    def __init__(self, model: str) -> None:
        """Keep the path; the model is loaded where it runs."""
        super().__init__(max_batch_size=16, batch_timeout=0.004)
        self._model = model

    def setup(self, device: Any) -> None:
        """Load the model."""
        del device
        self._predictor = LivePredictor(
            Path(self._model), threads=1, pixels=25_000_000, observe=lambda _stage, _seconds: None
        )

    def decode_request(self, request: dict[str, str]) -> bytes:
        """Take the poster out of JSON."""
        return base64.b64decode(request["image"])

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Leave them as they are."""
        return inputs

    def predict(self, bodies: list[bytes]) -> list[Reply]:
        """Score a batch."""
        return self._predictor.answer([Question(body=body) for body in bodies])

    def unbatch(self, output: list[Reply]) -> list[Reply]:
        """Leave them as they are."""
        return output

    def encode_response(self, output: Reply) -> dict[str, Any]:
        """Answer one request as ours does."""
        card = self._predictor.card
        return {"model_id": card.model_id, "predictions": [to_plain(output, card, top_k=3, probabilities=False)]}


def main(model: Path, port: int, threads: int) -> None:
    """Serve until told to stop."""
    server = litserve.LitServer(
        Posters(str(model)), accelerator="cpu", workers_per_device=threads, fast_queue=True, timeout=60
    )
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False, num_api_servers=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
