"""Poster records and failures -> a committed shard, and back.

A shard is ``{name}.tar`` in WebDataset form (``{movie_id}.jpg`` and ``{movie_id}.json`` per poster) with
``{name}.parquet`` beside it: one row per requested poster, failures included. Both are written under temporary
names, synced and renamed; the sidecar is renamed last and is the commit mark. The bytes of the tar depend on the
posters and their ids alone: members stand in ``movie_id`` order with a fixed owner, mode and time.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import polars as pl

from crawler.commit import commit, staging
from crawler.errors import UnusableInput
from crawler.records import Failure, Fetched, PosterRecord, PosterRequest, Reason, ShardReceipt, Status
from crawler.storage import open_store
from crawler.tars import TarWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from types import TracebackType
    from typing import BinaryIO

    from crawler.storage import Place, Store

SIDECAR_SCHEMA: Final[dict[str, pl.DataType]] = {
    "movie_id": pl.Int64(),
    "status": pl.String(),
    "reason": pl.String(),
    "http_status": pl.Int16(),
    "attempts": pl.Int16(),
    "url": pl.String(),
    "offset_bytes": pl.Int64(),
    "size_bytes": pl.Int64(),
    "height": pl.Int32(),
    "width": pl.Int32(),
    "sha256": pl.String(),
    "dhash": pl.UInt64(),
    "etag": pl.String(),
    "last_modified": pl.String(),
    "fetched_at": pl.Datetime("ms", "UTC"),
}
"""Columns of the sidecar. ``offset_bytes`` is where the poster's own bytes begin in the tar."""

SHARD_FOLDER: Final = "shards"
"""Folder of an archive that holds its shards."""
TAR_SUFFIX: Final = ".tar"
SIDECAR_SUFFIX: Final = ".parquet"


def write_shard(
    folder: Place | Store,
    name: str,
    outcomes: Iterable[PosterRecord | Failure],
    body_of: Callable[[PosterRecord], bytes] = lambda record: record.fetched.body,
) -> ShardReceipt:
    """Write and commit one shard; an earlier shard of that name is replaced whole.

    Args:
        folder: Where the shard goes; a local one must exist.
        name: File stem, without a suffix.
        outcomes: One terminal outcome per requested poster, in any order.
        body_of: Where a record's bytes are, if not in the record.

    Returns:
        The receipt of the committed shard.

    Raises:
        OSError: The disk is full or not writable; nothing was committed and no temporary file is left.
        WorkFailed: The bucket cannot be written, or another crawl has taken the archive over.
    """
    ordered = sorted(outcomes, key=lambda outcome: outcome.movie_id)
    store = open_store(folder)
    with staging(store) as stage:
        tar, sidecar = (_temporary(stage / f"{name}{suffix}") for suffix in (TAR_SUFFIX, SIDECAR_SUFFIX))
        try:
            with tar.open("w+b") as stream:
                rows, size_bytes = _write_tar(stream, ordered, body_of)
                stream.seek(0)
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            pl.DataFrame(rows, schema=SIDECAR_SCHEMA, orient="row").write_parquet(sidecar)
            commit(store, (f"{name}{TAR_SUFFIX}", tar), (f"{name}{SIDECAR_SUFFIX}", sidecar))
        finally:
            tar.unlink(missing_ok=True)
            sidecar.unlink(missing_ok=True)
    failed = Counter(outcome.reason for outcome in ordered if isinstance(outcome, Failure))
    return ShardReceipt(
        name=name,
        ok=len(ordered) - failed.total(),
        failed=dict(sorted(failed.items())),
        size_bytes=size_bytes,
        sha256=digest,
    )


def committed_shards(folder: Place | Store) -> list[str]:
    """Names of the shards in a folder that are committed, in name order."""
    names = set(open_store(folder).names())
    stems = (name.removesuffix(SIDECAR_SUFFIX) for name in names if name.endswith(SIDECAR_SUFFIX))
    return sorted(stem for stem in stems if f"{stem}{TAR_SUFFIX}" in names)


def read_sidecar(folder: Place | Store, name: str) -> pl.DataFrame:
    """Read the index of one shard.

    Returns:
        One row per requested poster, in ``movie_id`` order, with the columns of ``SIDECAR_SCHEMA``.

    Raises:
        UnusableInput: The sidecar is missing, or is no Parquet file of this schema.
    """
    store = open_store(folder)
    file = f"{name}{SIDECAR_SUFFIX}"
    path = f"{store.url}/{file}"
    try:
        rows = pl.read_parquet(store.folder / file if store.folder is not None else io.BytesIO(store.read(file)))
    except (OSError, pl.exceptions.PolarsError) as error:
        msg = f"shard sidecar {path}: cannot be read ({_first_line(error)}); expected the Parquet file of a crawl"
        raise UnusableInput(msg) from error
    if missing := [column for column in SIDECAR_SCHEMA if column not in rows.columns]:
        msg = f"shard sidecar {path}: lacks {', '.join(missing)}; expected the columns of a crawl's sidecar"
        raise UnusableInput(msg)
    return rows.select(*SIDECAR_SCHEMA)


def read_outcomes(folder: Place | Store, name: str) -> list[PosterRecord | Failure]:
    """Read back what ``write_shard`` was given, without the bodies.

    Raises:
        UnusableInput: The sidecar cannot be read.
    """
    return [_outcome(row) for row in read_sidecar(folder, name).iter_rows(named=True)]


def read_index(archive: Place | Store) -> pl.DataFrame:
    """Read the index of a whole archive.

    Returns:
        One row per requested poster, with the columns of ``SIDECAR_SCHEMA`` and ``shard``, the shard's name, in shard
        order and then ``movie_id`` order.

    Raises:
        UnusableInput: ``archive`` holds no committed shard, or one that cannot be read.
    """
    store = open_store(archive)
    folder = store.within(SHARD_FOLDER)
    names = committed_shards(folder)
    if not names:
        msg = f"archive {store.url}: no committed shard in {folder.url}; expected a folder written by `keyart crawl`"
        raise UnusableInput(msg)
    return pl.concat([read_sidecar(folder, name).with_columns(shard=pl.lit(name)) for name in names])


def count_outcomes(folder: Place | Store) -> tuple[int, dict[str, int]]:
    """Count a folder's posters: how many are stored, and how many are not for each reason, the most frequent first."""
    store = open_store(folder)
    counts: Counter[str | None] = Counter()
    for name in committed_shards(store):
        counts.update(read_sidecar(store, name)["reason"])
    ok = counts.pop(None, 0)
    return ok, {reason: count for reason, count in counts.most_common() if reason is not None}


@contextmanager
def local_tar(folder: Place | Store, name: str) -> Generator[Path]:
    """Give a shard's tar as a local file: the tar itself, or a copy that is gone after the block.

    Raises:
        UnusableInput: The tar is missing.
    """
    store = open_store(folder)
    if store.folder is not None:
        yield store.folder / f"{name}{TAR_SUFFIX}"
        return
    with tempfile.TemporaryDirectory(prefix="keyart-") as stage:
        path = Path(stage) / f"{name}{TAR_SUFFIX}"
        store.copy_to(path.name, path)
        yield path


def open_shard(folder: Place | Store, name: str) -> ShardReader:
    """Open a shard for reading: on a disk it is mapped; from a bucket it is fetched whole, once, and mapped too.

    Raises:
        UnusableInput: The tar is missing or empty.
    """
    with local_tar(folder, name) as path:
        return ShardReader(path)


class ShardReader:
    """Posters of one committed shard by offset, through a memory map.

    Example:
        >>> with ShardReader(Path("archive/shards/shard-00000.tar")) as shard:  # doctest: +SKIP
        ...     body = shard.read(offset_bytes=512, size_bytes=14_000)
    """

    def __init__(self, path: Path) -> None:
        """Map the tar at ``path``.

        Raises:
            UnusableInput: The file is missing or empty.
        """
        try:
            with path.open("rb") as stream:
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            msg = f"shard {path}: cannot be read ({_first_line(error)}); expected the tar of a crawl"
            raise UnusableInput(msg) from error

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Copy one poster's bytes; shorter than ``size_bytes`` if the tar was cut."""
        return self._map[offset_bytes : offset_bytes + size_bytes]

    def close(self) -> None:
        """Release the map."""
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _write_tar(
    stream: BinaryIO,
    outcomes: Sequence[PosterRecord | Failure],
    body_of: Callable[[PosterRecord], bytes],
) -> tuple[list[tuple[object, ...]], int]:
    """Write the posters; returns the sidecar's rows, and the tar's size."""
    rows: list[tuple[object, ...]] = []
    tar = TarWriter(stream)
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            rows.append(_failure_row(outcome))
        else:
            rows.append(_record_row(outcome, *tar.add(outcome, body_of(outcome))))
    return rows, tar.close()


def _record_row(record: PosterRecord, offset_bytes: int, size_bytes: int) -> tuple[object, ...]:
    fetched = record.fetched
    return (
        record.movie_id,
        Status.OK,
        None,
        fetched.http_status,
        fetched.attempts,
        fetched.request.url,
        offset_bytes,
        size_bytes,
        record.height,
        record.width,
        record.sha256,
        record.dhash,
        fetched.etag,
        fetched.last_modified,
        fetched.fetched_at,
    )


def _outcome(row: dict[str, Any]) -> PosterRecord | Failure:
    request = PosterRequest(
        movie_id=row["movie_id"], url=row["url"], etag=row["etag"], last_modified=row["last_modified"]
    )
    if row["status"] != Status.OK:
        return Failure(
            request=request,
            reason=Reason(row["reason"]),
            attempts=row["attempts"],
            fetched_at=row["fetched_at"],
            http_status=row["http_status"],
        )
    fetched = Fetched(
        request=request,
        body=b"",
        http_status=row["http_status"],
        attempts=row["attempts"],
        fetched_at=row["fetched_at"],
        etag=row["etag"],
        last_modified=row["last_modified"],
    )
    return PosterRecord(
        fetched=fetched, height=row["height"], width=row["width"], sha256=row["sha256"], dhash=row["dhash"]
    )


def _failure_row(failure: Failure) -> tuple[object, ...]:
    head = (failure.request.movie_id, Status.FAILED, failure.reason, failure.http_status, failure.attempts)
    return (*head, failure.request.url, *(None,) * 8, failure.fetched_at)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
