"""One chunk of a source -> one prediction file; and the folder that these files make up.

A prediction file is committed by a rename, and its presence is all that says that a chunk is done. ``manifest.json``
says what the folder is of; another model, other options or a changed source never mix with it.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from crawler.errors import UnusableInput, WorkFailed
from serving.engine import load_card
from serving.prediction import Outcome, RowOptions, to_rows, write_rows
from serving.predictor import BATCH, Predictor

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from serving.engine import EngineCard
    from serving.sources import Chunk

MANIFEST: Final = "manifest.json"
MANIFEST_FORMAT: Final = 1
SUFFIX: Final = ".parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a folder of predictions is of; small enough to be sent to any worker."""

    model: Path
    model_digest: str
    out: Path
    options: RowOptions = field(default_factory=RowOptions)
    batch: int = BATCH

    def path(self, chunk: Chunk) -> Path:
        """Where a chunk's predictions go."""
        return self.out / f"{chunk.name}{SUFFIX}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkReceipt:
    """What a finished chunk reports to the driver."""

    name: str
    posters: int


def score_chunk(job: Job, chunk: Chunk, threads: int) -> ChunkReceipt:
    """Score one chunk and commit its file; a file that is there already is left alone.

    Args:
        job: What is being scored.
        chunk: Its part.
        threads: CPU threads that may be busy.

    Raises:
        OSError: The prediction file cannot be written.
    """
    path = job.path(chunk)
    if not path.exists():  # else an attempt before this one was killed between its rename and its receipt
        predictor = _predictor(job.model, job.model_digest, threads, job.batch, job.options.embeddings)
        with chunk.open() as posters:
            scores = predictor.score(len(posters), posters.read)
            rows = to_rows(scores, posters, predictor.card, job.options)
        write_rows(path, rows)
    return ChunkReceipt(name=chunk.name, posters=pl.scan_parquet(path).select(pl.len()).collect().item())


@functools.cache
def _predictor(model: Path, digest: str, threads: int, batch: int, embeddings: bool) -> Predictor:  # noqa: FBT001 - a key
    """Load an engine once per worker process; the digest is part of the key."""
    predictor = Predictor.load(model, threads=threads, batch=batch, embeddings=embeddings)
    if predictor.card.digest != digest:
        msg = f"model {model}: changed while it was in use ({predictor.card.digest[:12]}, expected {digest[:12]})"
        raise WorkFailed(msg)
    return predictor


@contextmanager
def claimed(job: Job, chunks: list[Chunk], source: Path) -> Generator[list[Chunk]]:
    """Hold a folder of predictions while the block runs.

    Args:
        job: What is to be scored.
        chunks: All parts of the source.
        source: Where they are from, for the manifest.

    Yields:
        The chunks that are still to be scored.

    Raises:
        UnusableInput: The folder holds predictions of something else, or another process is writing to it.
    """
    job.out.mkdir(parents=True, exist_ok=True)
    with (job.out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = f"predictions {job.out}: another `keyart score` is writing to it; wait for it, or give another folder"
            raise UnusableInput(msg) from error
        _check_manifest(job, chunks, source)
        for path in job.out.glob(f".*{SUFFIX}.*.tmp"):  # of an attempt that was killed while it wrote
            path.unlink(missing_ok=True)
        yield [chunk for chunk in chunks if not job.path(chunk).exists()]


def _check_manifest(job: Job, chunks: list[Chunk], source: Path) -> None:
    """Compare the folder's manifest with the job, and write it where there is none or where the source has grown."""
    path, card = job.out / MANIFEST, load_card(job.model)
    manifest = _manifest(job, card, chunks, source)
    if not path.exists():
        if foreign := sorted(job.out.glob(f"*{SUFFIX}")):
            msg = f"predictions {job.out}: holds {foreign[0].name} and no {MANIFEST}; expected a new folder"
            raise UnusableInput(msg)
        _write(path, manifest)
        return
    try:
        before = json.loads(path.read_text())
        known: dict[str, str] = before["chunks"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"predictions {job.out}: {MANIFEST} cannot be read ({error}); give a new folder"
        raise UnusableInput(msg) from error
    for what in ("format", "model_digest", "options", "batch"):
        if before.get(what) != manifest[what]:
            found = before.get("model_id") if what == "model_digest" else before.get(what)
            wanted = manifest["model_id"] if what == "model_digest" else manifest[what]
            name = what.removesuffix("_digest")
            msg = f"predictions {job.out}: of {name} {found}, not of {wanted}; give another output folder"
            raise UnusableInput(msg)
    if changed := [name for name in known if manifest["chunks"].get(name) != known[name]]:
        msg = f"predictions {job.out}: of another source ({changed[0]} differs in {source}); give another output folder"
        raise UnusableInput(msg)
    if known != manifest["chunks"]:
        _write(path, manifest)


def _manifest(job: Job, card: EngineCard, chunks: list[Chunk], source: Path) -> dict[str, Any]:
    return {
        "format": MANIFEST_FORMAT,
        "model_id": card.model_id,
        "model_digest": job.model_digest,
        "task": card.task,
        "vocabulary": list(card.vocabulary),
        "options": asdict(job.options),
        "batch": job.batch,
        "source": str(source.resolve()),
        "chunks": {chunk.name: chunk.digest() for chunk in chunks},
    }


def _write(path: Path, manifest: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(manifest, indent=2) + "\n")
    temporary.replace(path)


def count_outcomes(out: Path) -> tuple[Counter[str], Counter[str]]:
    """Count what became of all posters in a folder of predictions.

    Returns:
        Posters by label, and posters without a label by reason (``abstained`` for those that were scored).
    """
    rows = pl.scan_parquet(out / f"*{SUFFIX}").group_by("status", "reason", "label").len().collect()
    labels: Counter[str] = Counter()
    without: Counter[str] = Counter()
    for status, reason, label, count in rows.iter_rows():
        if status == Outcome.OK:
            labels[label] += count
        else:
            without[reason or status] += count
    return labels, without
