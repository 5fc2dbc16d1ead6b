"""Chunks over Ray -> a report; and the application as replicas under Ray Serve. The only file here that knows Ray."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import ray
from ray.exceptions import RayError, RayTaskError

from crawler.cluster import connected
from crawler.errors import KeyartError, UnusableInput, WorkFailed
from crawler.progress import Advance, silent
from crawler.storage import open_store
from serving.app import create_app
from serving.bulk import ChunkReceipt, Job, claimed, count_outcomes, score_chunk
from serving.engine import load_card
from serving.host import CONNECTIONS, DRAIN_S, IDLE_S, free_port
from serving.lists import Reaching
from serving.prediction import RowOptions
from serving.predictor import BATCH
from serving.receipts import ScoreReport
from serving.sources import find_chunks

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from fastapi import FastAPI

    from crawler.storage import Place
    from serving.service import ServiceOptions
    from serving.sources import Chunk

WORKER_CPUS: Final = 4
"""Of a worker, at most: it decodes beside its engine, and a killed worker loses one chunk."""
ATTEMPTS_AFTER_CRASH: Final = 3
APPLICATION: Final = "keyart"
"""Name of the application under Ray Serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """What a row holds, and how the work is divided."""

    rows: RowOptions = field(default_factory=RowOptions)
    batch: int = BATCH
    """Posters a call of the engine."""
    workers: int | None = None
    """Worker processes; None means one for every ``WORKER_CPUS`` CPUs."""

    reaching: Reaching = field(default_factory=Reaching)
    """How the URLs of a list are fetched."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("batch", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                msg = f"{name} {value}: expected a whole number from 1 up"
                raise UnusableInput(msg)


DEFAULT: Final = ScoreOptions()


def score(
    model: Path, source: Place, out: Place, options: ScoreOptions = DEFAULT, advance: Advance = silent
) -> ScoreReport:
    """Score every poster of a source; what is there already is left alone.

    Args:
        model: Folder written by ``keyart export``.
        source: See ``serving.sources.find_chunks``.
        out: Folder of the predictions, on a disk that all workers see or in a bucket.
        options: What a row holds, and how the work is divided.
        advance: Told of every finished chunk.

    Raises:
        UnusableInput: The model, the source or the output folder cannot be used.
        WorkFailed: Some chunks could not be scored; the others are done, and the same call goes on with the rest.
    """
    card, store = load_card(model), open_store(out)
    job = Job(
        model=model.resolve(),
        model_digest=card.digest,
        out=out if store.folder is None else store.folder.resolve(),
        options=options.rows,
        batch=options.batch,
    )
    if job.options.top_k > len(card.vocabulary):
        msg = f"top-k {job.options.top_k}: model {model} has {len(card.vocabulary)} labels; give at most as many"
        raise UnusableInput(msg)
    chunks = find_chunks(source, options.reaching)
    posters, seconds = 0, 0.0
    with claimed(job, chunks, source) as todo:
        if todo:
            with connected():
                begin = time.perf_counter()
                posters = _score_all(job, todo, options.workers, advance)
                seconds = time.perf_counter() - begin
        labels, without = count_outcomes(job.out)
    return ScoreReport(
        predictions=store.url,
        model_id=card.model_id,
        posters=labels.total() + without.total(),
        labels=dict(labels.most_common()),
        without_label=dict(without.most_common()),
        chunks=len(chunks),
        scored_now=posters,
        seconds=round(seconds, 3),
        posters_per_s=round(posters / seconds, 1) if posters else 0.0,
    )


def _score_all(job: Job, chunks: list[Chunk], workers: int | None, advance: Advance) -> int:
    """Keep every worker busy with one chunk and have one more waiting for it; return the posters scored."""
    cpus = int(ray.cluster_resources().get("CPU", 1))
    threads = max(1, cpus // workers) if workers else min(cpus, WORKER_CPUS)
    slots = max(1, cpus // threads)
    task = ray.remote(num_cpus=threads, max_retries=ATTEMPTS_AFTER_CRASH)(score_chunk)
    todo, running, posters = list(reversed(chunks)), {}, 0
    failures: list[str] = []
    while todo or running:
        while todo and len(running) < 2 * slots:
            chunk = todo.pop()
            running[task.remote(job, chunk, threads)] = chunk.name
        finished, _ = ray.wait(list(running), num_returns=1)
        name = running.pop(finished[0])
        try:
            receipt: ChunkReceipt = ray.get(finished[0])
        except RayTaskError as error:
            if isinstance(error.cause, KeyartError):
                raise error.cause from error  # every other chunk would say the same
            failures.append(f"{name}: {error.cause}")
        except RayError as error:
            failures.append(f"{name}: {str(error).splitlines()[0]}")
        else:
            posters += receipt.posters
            advance(receipt.posters, receipt.name)
    if failures:
        msg = f"{len(failures)} of {len(chunks)} chunks were not scored ({failures[0]}); the same command tries again"
        raise WorkFailed(msg)
    return posters


def serve_replicas(model: Path, host: str, port: int, options: ServiceOptions, replicas: int) -> None:
    """Serve a model from replicas until SIGTERM or SIGINT; requests that have begun are answered first.

    Args:
        model: Folder written by ``keyart export``, which every node can read.
        host: Address to listen on, on every node.
        port: Port to listen on; 0 takes a free one.
        options: How each replica serves it.
        replicas: Processes with a loaded model.

    Raises:
        UnusableInput: The folder holds no model, or the cluster has no room for the replicas.
    """
    stop = threading.Event()
    stops = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda _number, _frame: stop.set()) for number in stops}
    try:
        with connected(), replicated(model, host, port, options, replicas) as address:
            name = load_card(model).model_id
            sys.stderr.write(f"{name} at {address} from {replicas} replicas, {address}v1/predict\n")
            stop.wait()
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextmanager
def replicated(model: Path, host: str, port: int, options: ServiceOptions, replicas: int) -> Generator[str]:
    """Have the application up on the connected Ray while the block runs; gives its address.

    Every replica is the same application as under uvicorn, with a queue and a model of its own.

    Raises:
        UnusableInput: The folder holds no model, or the cluster has no room for the replicas.
    """
    load_card(model)
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if replicas < 1 or replicas * options.threads > cpus:
        msg = f"replicas {replicas} of {options.threads} CPUs each: the cluster has {cpus}; give fewer of either"
        raise UnusableInput(msg)
    model = model.resolve()
    options = replace(options, also=None if options.also is None else options.also.resolve())

    def build() -> FastAPI:  # runs in the replica
        return create_app(model, options)

    serve, port = _ray_serve(), port or free_port(host)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    quiet = {"log_level": "WARNING", "enable_access_log": False}
    serve.start(
        proxy_location="EveryNode",
        http_options={"host": host, "port": port, "keep_alive_timeout_s": IDLE_S},
        logging_config=quiet,
    )
    try:
        application = serve.ingress(build)()
        deployment: Any = serve.deployment(
            application,
            num_replicas=replicas,
            ray_actor_options={"num_cpus": options.threads},
            max_ongoing_requests=CONNECTIONS,
            graceful_shutdown_timeout_s=DRAIN_S,
            logging_config=quiet,
        )
        serve.run(deployment.bind(), name=APPLICATION, route_prefix="/")
        yield f"http://{host}:{port}/"
    finally:
        serve.shutdown()


def _ray_serve() -> Any:
    """Import Ray Serve, which scoring does without, and which uses what pydantic has deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray import serve  # noqa: PLC0415
    return serve
