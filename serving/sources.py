"""Archive, folder, list or table of posters -> chunks that are scored one by one.

A chunk is small enough to be sent to any worker, which opens it where it runs: poster bytes never pass the driver.
"""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import polars as pl

from crawler.errors import UnusableInput
from crawler.records import Reason, Status
from crawler.shards import SHARD_FOLDER, committed_shards, open_shard, read_sidecar
from crawler.storage import open_store
from serving.lists import ListChunk, Reaching
from serving.posters import Posters

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from crawler.storage import Place

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp")
LIST_SUFFIXES: Final = (".txt", ".list")
CHUNK_POSTERS: Final = 1000
"""Posters of a chunk where the source itself has no shards."""
ID_COLUMN: Final = "movie_id"
BODY_COLUMNS: Final = ("image", "body", "bytes", "jpg")
"""Names that a table's column of encoded images may have."""


class Chunk(Protocol):
    """A part of a source, scored as a whole into one prediction file."""

    @property
    def name(self) -> str:
        """File stem of its predictions."""
        ...

    def digest(self) -> str:
        """Identity of what is in it; two chunks with one digest give the same predictions."""
        ...

    @contextmanager
    def open(self) -> Generator[Posters]:
        """Open its posters for reading."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardChunk:
    """One committed shard of an archive."""

    folder: Place
    name: str

    def digest(self) -> str:
        """SHA-256 over ids, outcomes and the posters' own digests."""
        rows = read_sidecar(self.folder, self.name).select("movie_id", "status", "reason", "sha256")
        return hashlib.sha256(rows.write_csv().encode()).hexdigest()

    @contextmanager
    def open(self) -> Generator[Posters]:
        """Map the shard; failures of the crawl are entries too."""
        rows = read_sidecar(self.folder, self.name)
        columns = ("status", "reason", "offset_bytes", "size_bytes")
        places = list(rows.select(columns).iter_rows())
        with open_shard(self.folder, self.name) as shard:

            def read(index: int) -> bytes | Reason:
                status, reason, offset_bytes, size_bytes = places[index]
                if status != Status.OK:
                    return Reason(reason)
                body = shard.read(offset_bytes, size_bytes)
                return body if len(body) == size_bytes else Reason.MISSING

            yield Posters(movie_ids=rows["movie_id"].to_list(), sources=[None] * len(rows), read=read)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChunk:
    """Files under one folder."""

    name: str
    root: Path
    files: tuple[str, ...]
    """Paths below ``root``."""

    def digest(self) -> str:
        """SHA-256 over paths, sizes and times of change."""
        digest = hashlib.sha256()
        for file in self.files:
            path = self.root / file
            state = path.stat() if path.exists() else None
            digest.update(f"{file}\0{state.st_size if state else ''}\0{state.st_mtime_ns if state else ''}\n".encode())
        return digest.hexdigest()

    @contextmanager
    def open(self) -> Generator[Posters]:
        """Read each file when it is asked for."""

        def read(index: int) -> bytes | Reason:
            try:
                return (self.root / self.files[index]).read_bytes()
            except OSError:
                return Reason.MISSING

        yield Posters(movie_ids=[None] * len(self.files), sources=list(self.files), read=read)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableChunk:
    """Rows of a Parquet file with encoded images."""

    name: str
    source: Place
    column: str
    begin: int
    rows: int
    table_digest: str
    """SHA-256 of the file."""

    def digest(self) -> str:
        """Identity of the file and the rows in it."""
        return hashlib.sha256(f"{self.table_digest} {self.column} {self.begin} {self.rows}".encode()).hexdigest()

    @contextmanager
    def open(self) -> Generator[Posters]:
        """Read the rows."""
        with _local_file(self.source) as path:
            table = pl.scan_parquet(path)
            has_ids = ID_COLUMN in table.collect_schema()
            wanted = [self.column, *([ID_COLUMN] if has_ids else [])]
            rows = table.select(wanted).slice(self.begin, self.rows).collect()
        bodies = rows[self.column]

        def read(index: int) -> bytes | Reason:
            body = bodies[index]
            return Reason.MISSING if body is None else body

        yield Posters(
            movie_ids=rows[ID_COLUMN].cast(pl.Int64).to_list() if has_ids else [None] * len(rows),
            sources=[f"{str(self.source).rpartition('/')[2]}#{self.begin + index}" for index in range(len(rows))],
            read=read,
        )


def find_chunks(source: Place, reaching: Reaching | None = None) -> list[Chunk]:
    """Divide a source.

    Args:
        source: An archive of ``keyart crawl``, a folder of images (with its subfolders), a ``.txt`` file with one image
            path or URL a line, or a Parquet file with a column of encoded images; archives and Parquet files may lie in
            a bucket.
        reaching: How URLs are fetched.

    Returns:
        Chunks in name order; the same source gives the same chunks.

    Raises:
        UnusableInput: It is none of these, or holds no poster.
    """
    store = open_store(source)
    place = store.url if store.folder is None else store.folder.resolve()
    shards = store.within(SHARD_FOLDER)
    chunks: list[Chunk]
    if store.url.endswith(".parquet") and (store.folder is None or store.folder.is_file()):
        chunks = _table_chunks(place)
    elif store.folder is None or (store.folder / SHARD_FOLDER).is_dir():
        folder = shards.url if isinstance(place, str) else place / SHARD_FOLDER
        chunks = [ShardChunk(folder=folder, name=name) for name in committed_shards(shards)]
    else:
        chunks = _local_chunks(store.folder, reaching or Reaching())
    if not chunks:
        msg = f"source {store.url}: no poster in it; expected committed shards, or {', '.join(IMAGE_SUFFIXES)} files"
        raise UnusableInput(msg)
    return chunks


def _local_chunks(source: Path, reaching: Reaching) -> list[Chunk]:
    """Divide a folder of images, or a list."""
    if source.is_dir():
        root = source.resolve()
        return [FileChunk(name=name, root=root, files=part) for name, part in _parts(image_files(source))]
    if source.suffix in LIST_SUFFIXES and source.is_file():
        root = source.resolve().parent
        return [
            ListChunk(name=name, root=root, entries=part, reaching=reaching) for name, part in _parts(_listed(source))
        ]
    found = "a file" if source.exists() else "nothing there"
    msg = f"source {source}: {found}; expected an archive, a folder of images, a .txt list or a .parquet table"
    raise UnusableInput(msg)


def image_files(folder: Path) -> list[str]:
    """Paths of the images below a folder, relative to it, in name order.

    Raises:
        UnusableInput: There is no such folder.
    """
    if not folder.is_dir():
        msg = f"folder {folder}: not there; expected a folder of images"
        raise UnusableInput(msg)
    found = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _parts(entries: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for number, begin in enumerate(range(0, len(entries), CHUNK_POSTERS)):
        yield f"part-{number:05d}", tuple(entries[begin : begin + CHUNK_POSTERS])


def _listed(source: Path) -> list[str]:
    try:
        lines = source.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"source {source}: cannot be read as text ({error}); expected one image path or URL a line"
        raise UnusableInput(msg) from error
    return [line.strip() for line in lines if line.strip()]


def _table_chunks(source: Place) -> list[Chunk]:
    try:
        with _local_file(source) as path:
            schema = pl.read_parquet_schema(path)
            length = pl.scan_parquet(path).select(pl.len()).collect().item()
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, pl.exceptions.PolarsError) as error:
        msg = f"source {source}: cannot be read ({str(error).splitlines()[0]}); expected a Parquet file"
        raise UnusableInput(msg) from error
    column = next((name for name in BODY_COLUMNS if schema.get(name) == pl.Binary()), None)
    if column is None:
        msg = f"source {source}: columns {', '.join(schema)}; expected a binary column named {', '.join(BODY_COLUMNS)}"
        raise UnusableInput(msg)
    return [
        TableChunk(
            name=f"part-{number:05d}",
            source=source,
            column=column,
            begin=begin,
            rows=min(CHUNK_POSTERS, length - begin),
            table_digest=digest,
        )
        for number, begin in enumerate(range(0, length, CHUNK_POSTERS))
    ]


@contextmanager
def _local_file(source: Place) -> Generator[Path]:
    """Give a file as a local one: itself, or a copy that is gone after the block."""
    if isinstance(source, Path):
        yield source
        return
    folder, _, name = str(source).rpartition("/")
    with tempfile.TemporaryDirectory(prefix="keyart-") as stage:
        path = Path(stage) / name
        open_store(folder).copy_to(name, path)
        yield path
