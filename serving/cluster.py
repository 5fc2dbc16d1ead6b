"""Chunks over Ray -> a report. The only file of this package that knows Ray."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import ray
from ray.exceptions import RayError, RayTaskError

from crawler.cluster import connected
from crawler.errors import KeyartError, UnusableInput, WorkFailed
from crawler.progress import Advance, silent
from serving.bulk import ChunkReceipt, Job, claimed, count_outcomes, score_chunk
from serving.engine import load_card
from serving.prediction import RowOptions
from serving.predictor import BATCH
from serving.receipts import ScoreReport
from serving.sources import find_chunks

if TYPE_CHECKING:
    from pathlib import Path

    from serving.sources import Chunk

WORKER_CPUS: Final = 4
"""Of a worker, at most: it decodes beside its engine, and a killed worker loses one chunk."""
ATTEMPTS_AFTER_CRASH: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """What a row holds, and how the work is divided."""

    rows: RowOptions = field(default_factory=RowOptions)
    batch: int = BATCH
    """Posters a call of the engine."""
    workers: int | None = None
    """Worker processes; None means one for every ``WORKER_CPUS`` CPUs."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("batch", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                msg = f"{name} {value}: expected a whole number from 1 up"
                raise UnusableInput(msg)


DEFAULT: Final = ScoreOptions()


def score(
    model: Path, source: Path, out: Path, options: ScoreOptions = DEFAULT, advance: Advance = silent
) -> ScoreReport:
    """Score every poster of a source; what is there already is left alone.

    Args:
        model: Folder written by ``keyart export``.
        source: See ``serving.sources.find_chunks``.
        out: Folder of the predictions.
        options: What a row holds, and how the work is divided.
        advance: Told of every finished chunk.

    Raises:
        UnusableInput: The model, the source or the output folder cannot be used.
        WorkFailed: Some chunks could not be scored; the others are done, and the same call goes on with the rest.
    """
    card = load_card(model)
    job = Job(
        model=model.resolve(),
        model_digest=card.digest,
        out=out.resolve(),
        options=options.rows,
        batch=options.batch,
    )
    if job.options.top_k > len(card.vocabulary):
        msg = f"top-k {job.options.top_k}: model {model} has {len(card.vocabulary)} labels; give at most as many"
        raise UnusableInput(msg)
    chunks = find_chunks(source)
    posters, seconds = 0, 0.0
    with claimed(job, chunks, source) as todo:
        if todo:
            with connected():
                begin = time.perf_counter()
                posters = _score_all(job, todo, options.workers, advance)
                seconds = time.perf_counter() - begin
        labels, without = count_outcomes(job.out)
    return ScoreReport(
        predictions=str(out),
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
