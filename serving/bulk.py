"""One chunk of a source -> one prediction file; and the folder that these files make up.

A prediction file is committed by a rename, and its presence is all that says that a chunk is done. ``manifest.json``
says what the folder is of; another model, other options or a changed source never mix with it.
"""

from __future__ import annotations

import fcntl
import functools
import io
import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from crawler.bucket import BucketStore
from crawler.errors import UnusableInput, WorkFailed
from crawler.lease import leased
from crawler.storage import open_store
from serving.engine import load_card
from serving.prediction import Outcome, RowOptions, to_parquet, to_rows
from serving.predictor import BATCH, Predictor

if TYPE_CHECKING:
    from collections.abc import Generator

    from crawler.storage import Place, Store
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
    out: Place
    options: RowOptions = field(default_factory=RowOptions)
    batch: int = BATCH

    @property
    def store(self) -> Store:
        """Where prediction files go."""
        return open_store(self.out)


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
        WorkFailed: The prediction file cannot be written.
    """
    store, name = job.store, f"{chunk.name}{SUFFIX}"
    if not store.exists(name):  # else an attempt before this one was killed between its rename and its receipt
        predictor = _predictor(job.model, job.model_digest, threads, job.batch, job.options.embeddings)
        with chunk.open() as posters:
            scores = predictor.score(len(posters), posters.read)
            rows = to_rows(scores, posters, predictor.card, job.options)
        store.put(name, to_parquet(rows))
        return ChunkReceipt(name=chunk.name, posters=len(rows))
    return ChunkReceipt(name=chunk.name, posters=len(_outcomes(store, name)))


@functools.cache
def _predictor(model: Path, digest: str, threads: int, batch: int, embeddings: bool) -> Predictor:  # noqa: FBT001 - a key
    """Load an engine once per worker process; the digest is part of the key."""
    predictor = Predictor.load(model, threads=threads, batch=batch, embeddings=embeddings)
    if predictor.card.digest != digest:
        msg = f"model {model}: changed while it was in use ({predictor.card.digest[:12]}, expected {digest[:12]})"
        raise WorkFailed(msg)
    return predictor


@contextmanager
def claimed(job: Job, chunks: list[Chunk], source: Place) -> Generator[list[Chunk]]:
    """Hold a folder of predictions while the block runs.

    Args:
        job: What is to be scored.
        chunks: All parts of the source.
        source: Where they are from, for the manifest.

    Yields:
        The chunks that are still to be scored.

    Raises:
        UnusableInput: The folder holds predictions of something else, or another process is writing to it.
        WorkFailed: Another process is writing to it in a bucket.
    """
    store = job.store
    with _alone(store):
        _check_manifest(job, chunks, source)
        if store.folder is not None:
            for path in store.folder.glob(".*.tmp"):  # of an attempt that was killed while it wrote
                path.unlink(missing_ok=True)
        done = set(store.names())
        yield [chunk for chunk in chunks if f"{chunk.name}{SUFFIX}" not in done]


@contextmanager
def _alone(store: Store) -> Generator[None]:
    """Keep other drivers out: by a lock on a disk, by a lease in a bucket."""
    if isinstance(store, BucketStore):
        with leased(store):
            yield
        return
    folder = Path(store.url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"predictions {folder}: cannot be made ({error.strerror}); give another folder"
        raise UnusableInput(msg) from error
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = f"predictions {folder}: another `keyart score` is writing to it; wait for it, or give another folder"
            raise UnusableInput(msg) from error
        yield


def _check_manifest(job: Job, chunks: list[Chunk], source: Place) -> None:
    """Compare the folder's manifest with the job, and write it where there is none or where the source has grown."""
    store, card = job.store, load_card(job.model)
    manifest = _manifest(job, card, chunks, source)
    content = (json.dumps(manifest, indent=2) + "\n").encode()
    if not store.exists(MANIFEST):
        if foreign := [name for name in store.names() if name.endswith(SUFFIX)]:
            msg = f"predictions {store.url}: holds {foreign[0]} and no {MANIFEST}; expected a new folder"
            raise UnusableInput(msg)
        store.put(MANIFEST, content)
        return
    try:
        before = json.loads(store.read(MANIFEST))
        known: dict[str, str] = before["chunks"]
    except (ValueError, KeyError, TypeError) as error:
        msg = f"predictions {store.url}: {MANIFEST} cannot be read ({error}); give a new folder"
        raise UnusableInput(msg) from error
    for what in ("format", "model_digest", "options", "batch"):
        if before.get(what) != manifest[what]:
            found = before.get("model_id") if what == "model_digest" else before.get(what)
            wanted = manifest["model_id"] if what == "model_digest" else manifest[what]
            name = what.removesuffix("_digest")
            msg = f"predictions {store.url}: of {name} {found}, not of {wanted}; give another output folder"
            raise UnusableInput(msg)
    if changed := [name for name in known if manifest["chunks"].get(name) != known[name]]:
        what = f"of another source ({changed[0]} differs in {source})"
        msg = f"predictions {store.url}: {what}; give another output folder"
        raise UnusableInput(msg)
    if known != manifest["chunks"]:
        store.put(MANIFEST, content)


def _manifest(job: Job, card: EngineCard, chunks: list[Chunk], source: Place) -> dict[str, Any]:
    origin = open_store(source)
    return {
        "format": MANIFEST_FORMAT,
        "model_id": card.model_id,
        "model_digest": job.model_digest,
        "task": card.task,
        "vocabulary": list(card.vocabulary),
        "options": asdict(job.options),
        "batch": job.batch,
        "source": origin.url if origin.folder is None else str(origin.folder.resolve()),
        "chunks": {chunk.name: chunk.digest() for chunk in chunks},
    }


def count_outcomes(out: Place) -> tuple[Counter[str], Counter[str]]:
    """Count what became of all posters in a folder of predictions.

    Returns:
        Posters by label, and posters without a label by reason (``abstained`` for those that were scored).
    """
    labels: Counter[str] = Counter()
    without: Counter[str] = Counter()
    store = open_store(out)
    for name in store.names():
        if not name.endswith(SUFFIX):
            continue
        for status, reason, label, count in _outcomes(store, name).group_by(pl.all()).len().iter_rows():
            if status == Outcome.OK:
                labels[label] += count
            else:
                without[reason or status] += count
    return labels, without


def _outcomes(store: Store, name: str) -> pl.DataFrame:
    """Read status, reason and label of a prediction file."""
    place = io.BytesIO(store.read(name)) if store.folder is None else store.folder / name
    return pl.read_parquet(place, columns=["status", "reason", "label"])
