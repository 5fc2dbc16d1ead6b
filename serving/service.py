"""A loaded model with its queue, its limits and its counters: what every request of the application meets."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import prometheus_client as prometheus
from fastapi import HTTPException

from serving.batcher import Batcher, BatcherOptions, Refusal
from serving.live import LivePredictor, PairPredictor, Question, Reply

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi import Request
    from starlette.types import Receive

RETRY_AFTER_S: Final = 1
REFUSALS: Final = {Refusal.FULL: 429, Refusal.LATE: 504, Refusal.STOPPING: 503}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a client may ask for."""

    body_bytes: int = 20 * 2**20
    """Of one request."""
    pixels: int = 25_000_000
    """Of one poster; more is refused by its header."""
    parts: int = 64
    """Posters a request."""
    body_s: float = 20.0
    """Within which a request must have arrived."""
    answer_s: float = 10.0
    """Within which a request must be answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """How a model is served."""

    limits: Limits = field(default_factory=Limits)
    batcher: BatcherOptions = field(default_factory=BatcherOptions)
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """CPU threads of the engine; all of this process where nothing else is said."""
    also: Path | None = None
    """Second model, of another task, whose probabilities stand beside the first one's."""
    token: str | None = None
    """That clients must bring as ``Authorization: Bearer``; None lets everyone in."""


class Metrics:
    """What ``/metrics`` shows; every application has its own."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        self.queue = prometheus.Gauge(
            "keyart_queue_posters", "Posters whose batch has not begun", registry=self.registry
        )
        self.batch = prometheus.Histogram(
            "keyart_batch_posters", "Posters a batch", buckets=(1, 2, 4, 8, 16, 32, 64), registry=self.registry
        )
        self.stage = prometheus.Histogram(
            "keyart_stage_seconds", "Seconds a batch spent in a stage", ["stage"], registry=self.registry
        )
        self.posters = prometheus.Counter("keyart_posters", "Posters by outcome", ["outcome"], registry=self.registry)

    def observe_batch(self, size: int, waited_s: float) -> None:
        """Note a batch that begins."""
        self.batch.observe(size)
        self.stage.labels("queue").observe(waited_s)

    def observe_stage(self, stage: str, seconds: float) -> None:
        """Note a stage that ended."""
        self.stage.labels(stage).observe(seconds)


class Service:
    """A loaded model with its queue; there while the application is up."""

    def __init__(self, predictor: LivePredictor | PairPredictor, metrics: Metrics, options: ServiceOptions) -> None:
        self.predictor, self.metrics, self.options = predictor, metrics, options
        self.batcher: Batcher[Question, Reply] = Batcher(predictor.answer, options.batcher, metrics.observe_batch)
        metrics.queue.set_function(lambda: self.batcher.waiting)

    async def answer(self, request: Request, questions: list[Question]) -> list[Reply]:
        """Have posters scored, unless the client goes away first.

        Raises:
            HTTPException: 429 where the queue is full, 504 where the deadline passed, 503 where the service stops.
        """
        work = asyncio.create_task(self.batcher.submit(questions, self.options.limits.answer_s))
        gone = asyncio.create_task(_disconnected(request.receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.metrics.posters.labels("client_gone").inc(len(questions))
                raise HTTPException(499, {"reason": "client_gone", "detail": "the client closed the connection"})
            answers = work.result()
        finally:
            gone.cancel()
            work.cancel()
        replies = [answer for answer in answers if isinstance(answer, Reply)]
        for reply in replies:
            self.metrics.posters.labels(str(reply.reason or "ok")).inc()
        refusals = [answer for answer in answers if isinstance(answer, Refusal)]
        if refusals:
            self.metrics.posters.labels(str(refusals[0])).inc(len(refusals))
            raise refused(refusals[0])
        return replies


def refused(refusal: Refusal) -> HTTPException:
    """Say why posters were not scored, and when to come back."""
    headers = {"Retry-After": str(RETRY_AFTER_S)} if refusal is not Refusal.LATE else None
    return HTTPException(REFUSALS[refusal], {"reason": refusal, "detail": "try again later"}, headers)


async def _disconnected(receive: Receive) -> None:
    """Return when the client is gone; the body has been read by then."""
    while (await receive())["type"] != "http.disconnect":
        pass
