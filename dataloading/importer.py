"""A folder of pictures that someone already has -> an archive and its catalogue, as a crawl would have left them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from crawler.archive import Manifest, opened_for_crawl
from crawler.catalog import CATALOG_SCHEMA, write_catalog
from crawler.errors import UnusableInput
from crawler.frontier import measure
from crawler.progress import Advance, silent
from crawler.records import Failure, Fetched, PosterRecord, PosterRequest, Reason
from crawler.shards import committed_shards, read_index, write_shard
from crawler.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

CATALOG_NAME: Final = "catalog.parquet"
"""Beside the shards; what `keyart dataset` wants."""
SHARD_SIZE: Final = 1000
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})

_FILE_COLUMN: Final = "filename"
_LIST_SEPARATOR: Final = "|"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What was imported."""

    archive: str
    catalog: str
    posters: int
    failed: dict[str, int]
    """Reason -> files that are no poster; they are rows of the archive as well."""
    genres: dict[str, int]
    """First genre -> files."""

    def __str__(self) -> str:
        failed = ", ".join(f"{reason} {count:,}" for reason, count in self.failed.items()) or "none"
        genres = ", ".join(f"{genre} {count:,}" for genre, count in list(self.genres.items())[:12])
        return (
            f"{self.posters:,} posters in {self.archive}, their catalogue in {self.catalog}\n"
            f"files that are no poster: {failed}\n"
            f"first genres: {genres or 'none'}\n"
            f"next: keyart dataset {self.archive} {self.catalog} -o dataset --task genre"
        )


def import_folder(folder: Path, archive: Path, table: Path | None = None, advance: Advance = silent) -> ImportReport:
    """Turn an ImageFolder, or a folder with a CSV, into an archive; the same call again goes on where it stopped.

    Args:
        folder: Without ``table``, a folder of folders: each is a first genre, as torchvision's ImageFolder has it.
        archive: Where the archive goes.
        table: CSV with a column ``filename`` (in ``folder``) and any of the catalogue's columns; ``genres`` with ``|``
            between. A movie without a ``movie_id`` is numbered by its file name's place in the alphabet, from 1.
        advance: Receives finished files.

    Raises:
        UnusableInput: There is nothing to import, or the CSV cannot be used.
        WorkFailed: The archive cannot be written.
    """
    catalog = _from_table(folder, table) if table is not None else _from_folders(folder)
    selected = catalog.select("movie_id", "poster_path")
    catalog_digest, requested = measure(selected.lazy())
    manifest = Manifest(
        catalog_digest=catalog_digest,
        requested=requested,
        image_base=folder.resolve().as_uri(),
        shard_size=SHARD_SIZE,
    )
    with opened_for_crawl(archive, manifest) as shards, ThreadPoolExecutor() as pool:
        done = set(committed_shards(shards))
        for number, rows in enumerate(selected.iter_slices(SHARD_SIZE)):
            if (name := f"shard-{number:05d}") not in done:
                write_shard(shards, name, pool.map(partial(_read, folder), *rows.get_columns()))
            advance(len(rows))
    write_catalog(catalog, archive / CATALOG_NAME)
    index = read_index(archive)
    failed = index["reason"].drop_nulls().value_counts(sort=True)
    genres = catalog["first_genre"].drop_nulls().value_counts(sort=True)
    return ImportReport(
        archive=str(archive),
        catalog=str(archive / CATALOG_NAME),
        posters=len(index) - int(failed["count"].sum()),
        failed=dict(failed.iter_rows()),
        genres=dict(genres.iter_rows()),
    )


def _read(folder: Path, movie_id: int, poster_path: str) -> PosterRecord | Failure:
    path = folder / poster_path.removeprefix("/")
    request = PosterRequest(movie_id=movie_id, url=path.resolve().as_uri())
    try:
        body, when = path.read_bytes(), path.stat().st_mtime
    except OSError:
        now = datetime.now(UTC)
        return Failure(request=request, reason=Reason.MISSING, attempts=1, fetched_at=now)
    modified = datetime.fromtimestamp(when, UTC)
    return verify(Fetched(request=request, body=body, http_status=0, attempts=1, fetched_at=modified))


def _from_folders(folder: Path) -> pl.DataFrame:
    if not folder.is_dir():
        msg = f"folder {folder}: there is none; expected a folder with one folder of pictures for each genre"
        raise UnusableInput(msg)
    paths = sorted(path.relative_to(folder) for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        msg = (
            f"folder {folder}: holds no folder with pictures ({', '.join(sorted(SUFFIXES))}); expected one for each "
            f"genre, or a CSV given with --table"
        )
        raise UnusableInput(msg)
    genres = [path.parts[0] for path in paths]
    rows = {"filename": [path.as_posix() for path in paths], "first_genre": genres}
    return _catalog(pl.DataFrame(rows))


def _from_table(folder: Path, table: Path) -> pl.DataFrame:
    try:
        rows = pl.read_csv(table, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        msg = f"table {table}: cannot be read ({str(error).strip().splitlines()[0]}); expected a CSV with a header"
        raise UnusableInput(msg) from error
    if _FILE_COLUMN not in rows.columns or rows.is_empty():
        msg = f"table {table}: columns {', '.join(rows.columns)}, {len(rows)} rows; expected a column {_FILE_COLUMN}"
        raise UnusableInput(msg)
    rows = rows.sort(_FILE_COLUMN)
    if not any((folder / name).is_file() for name in rows[_FILE_COLUMN].drop_nulls()):
        msg = f"table {table}: none of its {len(rows)} files is in {folder}; expected file names relative to it"
        raise UnusableInput(msg)
    if "genres" in rows.columns:
        genres = pl.col("genres").str.split(_LIST_SEPARATOR)
        rows = rows.with_columns(genres=genres.list.eval(pl.element().filter(pl.element() != "")))
    try:
        return _catalog(rows)
    except pl.exceptions.PolarsError as error:
        msg = f"table {table}: {str(error).strip().splitlines()[0]}; expected numbers where the catalogue has numbers"
        raise UnusableInput(msg) from error


def _catalog(rows: pl.DataFrame) -> pl.DataFrame:
    """Bring rows in the order of ``filename`` to the columns of a catalogue."""
    given: dict[str, Any] = {}
    if "genres" in rows.columns and "first_genre" not in rows.columns:
        given["first_genre"] = pl.col("genres").list.first()
    if "first_genre" in rows.columns and "genres" not in rows.columns:
        given["genres"] = pl.concat_list("first_genre")
    if "movie_id" not in rows.columns:
        given["movie_id"] = pl.int_range(1, len(rows) + 1)
    if "title" not in rows.columns:
        given["title"] = pl.col(_FILE_COLUMN)  # no two movies share it, so it joins none
    rows = rows.with_columns(poster_path="/" + pl.col(_FILE_COLUMN), **given)
    absent = [pl.lit(None).alias(name) for name in CATALOG_SCHEMA if name not in rows.columns]
    catalog = rows.with_columns(absent).select(pl.col(name).cast(kind) for name, kind in CATALOG_SCHEMA.items())
    repeated = catalog.filter(pl.col("movie_id").is_duplicated() | pl.col("movie_id").is_null())["movie_id"]
    if len(repeated):
        msg = f"movie_id {repeated[0]}: stands in {len(repeated)} rows or is missing; expected one row a movie"
        raise UnusableInput(msg)
    return catalog.sort("movie_id")
