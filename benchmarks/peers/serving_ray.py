"""The same predictor behind Ray Serve: a deployment with ``@serve.batch``, as Ray's guide to dynamic batching has it.

Batches as ours (16, 4 ms, three under way), the predictor in a thread so that the replica's loop stays free, and enough
ongoing requests for full batches. The proxy and the replica are processes of their own, as Ray Serve has it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from serving.live import LivePredictor, Question, Reply, to_plain

PACKAGES = ("ray", "openvino")
PATH = "/"
TYPE = "image/jpeg"


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Posters:
    """One replica."""

    def __init__(self, model: str, threads: int) -> None:
        """Load the model."""
        self._predictor = LivePredictor(
            Path(model), threads=threads, pixels=25_000_000, observe=lambda _stage, _seconds: None
        )

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.004, max_concurrent_batches=3)
    async def answer(self, bodies: list[bytes]) -> list[Reply]:
        """Score what came together."""
        return await asyncio.to_thread(self._predictor.answer, [Question(body=body) for body in bodies])

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one request as ours does."""
        reply = await self.answer(await request.body())
        card = self._predictor.card
        return {"model_id": card.model_id, "predictions": [to_plain(reply, card, top_k=3, probabilities=False)]}


def main(model: Path, port: int, threads: int) -> None:
    """Serve until told to stop."""
    stop = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: stop.set())
    ray.init(
        address="local",  # of its own, whatever else runs here
        num_cpus=max(2, threads),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Posters.bind(str(model), threads))
    stop.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
