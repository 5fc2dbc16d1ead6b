"""Poster records and failures -> a committed shard, and back.

A shard is ``{name}.tar`` in WebDataset form (``{movie_id}.jpg`` and ``{movie_id}.json`` per poster) with
``{name}.parquet`` beside it: one row per requested poster, failures included. Both are written under temporary
names, synced and renamed; the sidecar is renamed last and is the commit mark. The bytes of the tar depend on the
posters and their ids alone: members stand in ``movie_id`` order with a fixed owner, mode and time.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import mmap
import os
import tarfile
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import polars as pl

from crawler.errors import UnusableInput
from crawler.records import Failure, Fetched, PosterRecord, PosterRequest, Reason, ShardReceipt, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from pathlib import Path
    from types import TracebackType

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
    folder: Path,
    name: str,
    outcomes: Iterable[PosterRecord | Failure],
    body_of: Callable[[PosterRecord], bytes] = lambda record: record.fetched.body,
) -> ShardReceipt:
    """Write and commit one shard; an earlier shard of that name is replaced whole.

    Args:
        folder: Where the shard goes; must exist.
        name: File stem, without a suffix.
        outcomes: One terminal outcome per requested poster, in any order.
        body_of: Where a record's bytes are, if not in the record.

    Returns:
        The receipt of the committed shard.

    Raises:
        OSError: The disk is full or not writable; nothing was committed and no temporary file is left.
    """
    ordered = sorted(outcomes, key=lambda outcome: outcome.movie_id)
    tar_path, sidecar_path = folder / f"{name}{TAR_SUFFIX}", folder / f"{name}{SIDECAR_SUFFIX}"
    tar_temporary, sidecar_temporary = _temporary(tar_path), _temporary(sidecar_path)
    try:
        with tar_temporary.open("w+b") as stream:
            rows = _write_tar(stream, ordered, body_of)
            stream.flush()
            os.fsync(stream.fileno())
            size_bytes = stream.tell()
            stream.seek(0)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        pl.DataFrame(rows, schema=SIDECAR_SCHEMA, orient="row").write_parquet(sidecar_temporary)
        _sync(sidecar_temporary)
        with _committing(folder):
            # A crash between the renames must not pair an old index with a new tar.
            sidecar_path.unlink(missing_ok=True)
            tar_temporary.replace(tar_path)
            sidecar_temporary.replace(sidecar_path)
            _sync(folder)
    finally:
        tar_temporary.unlink(missing_ok=True)
        sidecar_temporary.unlink(missing_ok=True)
    failed = Counter(outcome.reason for outcome in ordered if isinstance(outcome, Failure))
    return ShardReceipt(
        name=name,
        ok=len(ordered) - failed.total(),
        failed=dict(sorted(failed.items())),
        size_bytes=size_bytes,
        sha256=digest,
    )


def committed_shards(folder: Path) -> list[str]:
    """Names of the shards in a folder that are committed, in name order."""
    return sorted(path.stem for path in folder.glob(f"*{SIDECAR_SUFFIX}") if path.with_suffix(TAR_SUFFIX).exists())


def read_sidecar(folder: Path, name: str) -> pl.DataFrame:
    """Read the index of one shard.

    Returns:
        One row per requested poster, in ``movie_id`` order, with the columns of ``SIDECAR_SCHEMA``.

    Raises:
        UnusableInput: The sidecar is missing, or is no Parquet file of this schema.
    """
    path = folder / f"{name}{SIDECAR_SUFFIX}"
    try:
        rows = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        msg = f"shard sidecar {path}: cannot be read ({_first_line(error)}); expected the Parquet file of a crawl"
        raise UnusableInput(msg) from error
    if missing := [column for column in SIDECAR_SCHEMA if column not in rows.columns]:
        msg = f"shard sidecar {path}: lacks {', '.join(missing)}; expected the columns of a crawl's sidecar"
        raise UnusableInput(msg)
    return rows.select(*SIDECAR_SCHEMA)


def read_outcomes(folder: Path, name: str) -> list[PosterRecord | Failure]:
    """Read back what ``write_shard`` was given, without the bodies.

    Raises:
        UnusableInput: The sidecar cannot be read.
    """
    return [_outcome(row) for row in read_sidecar(folder, name).iter_rows(named=True)]


def read_index(archive: Path) -> pl.DataFrame:
    """Read the index of a whole archive.

    Returns:
        One row per requested poster, with the columns of ``SIDECAR_SCHEMA`` and ``shard``, the shard's name, in shard
        order and then ``movie_id`` order.

    Raises:
        UnusableInput: ``archive`` holds no committed shard, or one that cannot be read.
    """
    folder = archive / SHARD_FOLDER
    names = committed_shards(folder)
    if not names:
        msg = f"archive {archive}: no committed shard in {folder}; expected a folder written by `keyart crawl`"
        raise UnusableInput(msg)
    return pl.concat([read_sidecar(folder, name).with_columns(shard=pl.lit(name)) for name in names])


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
    stream: io.BufferedRandom,
    outcomes: Sequence[PosterRecord | Failure],
    body_of: Callable[[PosterRecord], bytes],
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                rows.append(_failure_row(outcome))
                continue
            body = body_of(outcome)
            _add(tar, f"{outcome.movie_id}.jpg", body)
            size_bytes = len(body)
            offset_bytes = tar.offset - _padded(size_bytes)
            _add(tar, f"{outcome.movie_id}.json", _sample_card(outcome))
            rows.append(_record_row(outcome, offset_bytes, size_bytes))
    return rows


def _add(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(body)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(body))


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _sample_card(record: PosterRecord) -> bytes:
    """Describe a poster by what follows from its bytes and its request alone, so that shards are reproducible."""
    card = {
        "movie_id": record.movie_id,
        "height": record.height,
        "width": record.width,
        "sha256": record.sha256,
        "dhash": f"{record.dhash:016x}",
    }
    return json.dumps(card, separators=(",", ":")).encode()


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


@contextmanager
def _committing(folder: Path) -> Generator[None]:
    """Let one process at a time commit: the workers of a killed crawl may outlive it into the next one."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
