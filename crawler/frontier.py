"""Catalogue + finished shards -> the shard plans that are still to do. Pure: this is what makes a crawl resumable."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import polars as pl

from crawler.errors import UnusableInput
from crawler.records import PosterRequest, ShardPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

TMDB_IMAGE_BASE: Final = "https://image.tmdb.org/t/p/w185"
"""Where the posters of a TMDb catalogue are served, 185 pixels wide."""

_CHUNK: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which movies of a catalogue enter an archive; a movie without a poster path never does."""

    limit: int | None = None
    """At most so many movies, the most popular first; None takes all."""
    genres: tuple[str, ...] = ()
    """First genres to take, in any case; empty takes all."""
    per_genre: int | None = None
    """At most so many movies of each first genre, the most popular first."""

    def __post_init__(self) -> None:
        """Refuse numbers below 1."""
        for name, value in (("limit", self.limit), ("per-genre", self.per_genre)):
            if value is not None and value < 1:
                msg = f"--{name} {value}: expected a whole number of movies, 1 or more"
                raise UnusableInput(msg)


def select(catalog: pl.DataFrame | pl.LazyFrame, selection: Selection) -> pl.LazyFrame:
    """Choose the movies whose posters are fetched.

    Args:
        catalog: With the columns of ``crawler.catalog.CATALOG_SCHEMA``, in ``movie_id`` order. Without a limit it is
            read piece by piece, and may be larger than the memory.
        selection: What to take. Equal popularity is decided by the smaller id; unknown popularity comes last.

    Returns:
        ``movie_id`` and ``poster_path``, in ``movie_id`` order.

    Raises:
        UnusableInput: A genre does not occur in the catalogue.
    """
    movies = catalog.lazy()
    if selection.genres:
        wanted = _known_genres(movies, selection.genres)
        movies = movies.filter(pl.col("first_genre").str.to_lowercase().is_in(wanted))
    movies = movies.filter(pl.col("poster_path").is_not_null())
    if selection.per_genre is None and selection.limit is None:
        return movies.select("movie_id", "poster_path")
    movies = movies.sort("popularity", "movie_id", descending=[True, False], nulls_last=True)
    if selection.per_genre is not None:
        rank = pl.int_range(pl.len()).over("first_genre")
        movies = movies.filter(rank < selection.per_genre)
    if selection.limit is not None:
        movies = movies.head(selection.limit)
    return movies.select("movie_id", "poster_path").collect(engine="streaming").sort("movie_id").lazy()


def measure(selected: pl.LazyFrame) -> tuple[str, int]:
    """Hash and count what is to be fetched.

    Returns:
        A hex digest, the same for the same movies and poster paths wherever it is taken, and the number of movies.

    Raises:
        UnusableInput: Nothing is selected, or the movies are not in ``movie_id`` order.
    """
    total = hashlib.sha256()
    movies, last = 0, -1
    for chunk in _chunks(selected):
        ids = chunk["movie_id"]
        if ids[0] <= last or not (ids.diff().slice(1) > 0).all():
            msg = f"catalogue: rows near movie {ids[0]} are not in movie_id order; make it again with `keyart catalog`"
            raise UnusableInput(msg)
        last = ids[-1]
        movies += chunk.height
        total.update("".join(chunk.select(pl.format("{}\t{}\n", "movie_id", "poster_path")).to_series()).encode())
    if not movies:
        msg = "catalogue: no movie with a poster path is left to fetch; check --genres and the column poster_path"
        raise UnusableInput(msg)
    return total.hexdigest(), movies


def plans(selected: pl.LazyFrame, image_base: str, shard_size: int) -> Iterator[ShardPlan]:
    """Cut a selection into shards; which poster stands in which shard depends on the selection alone.

    Example:
        >>> selected = pl.LazyFrame({"movie_id": [2, 3, 5], "poster_path": ["/a.jpg", "/b.jpg", "/c.jpg"]})
        >>> [(plan.name, len(plan.requests)) for plan in plans(selected, "https://host/w185", 2)]
        [('shard-00000', 2), ('shard-00001', 1)]
    """
    rows = (row for chunk in _chunks(selected) for row in chunk.iter_rows())
    for index in count():
        part = islice(rows, shard_size)
        requests = tuple(PosterRequest(movie_id=movie_id, url=poster_url(image_base, path)) for movie_id, path in part)
        if not requests:
            return
        yield ShardPlan(name=f"shard-{index:05d}", requests=requests)


def revisits(
    names: Iterable[str], read: Callable[[str], pl.DataFrame], reasons: Collection[str]
) -> Iterator[ShardPlan]:
    """Plan what is to be asked for again in shards that exist.

    Args:
        names: Shards.
        read: Gives a shard's sidecar.
        reasons: Failed posters of these reasons are asked for again; empty asks for the stored ones, and to send only
            what has changed.
    """
    wanted = pl.col("reason").is_in(list(reasons)) if reasons else pl.col("reason").is_null()
    for name in names:
        again = read(name).filter(wanted)
        if again.height:
            columns = again.select("movie_id", "url", "etag", "last_modified").iter_rows(named=True)
            yield ShardPlan(name=name, requests=tuple(PosterRequest(**row) for row in columns), revisit=True)


def remaining(planned: Iterator[ShardPlan], committed: Collection[str]) -> Iterator[ShardPlan]:
    """Leave out the plans whose shard is committed."""
    return (plan for plan in planned if plan.name not in committed)


def poster_url(image_base: str, poster_path: str) -> str:
    """Join the image base and a poster path; a path cannot leave the base or add a query.

    Example:
        >>> poster_url("https://host/t/p/w185/", "/a b.jpg?x")
        'https://host/t/p/w185/a%20b.jpg%3Fx'
    """
    parts = [part for part in poster_path.split("/") if part not in ("", ".", "..")]
    return f"{image_base.rstrip('/')}/{quote('/'.join(parts))}"


def check_image_base(image_base: str) -> str:
    """Return the image base without a trailing slash.

    Raises:
        UnusableInput: It is no absolute http or https URL.
    """
    try:
        parts = urlsplit(image_base)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        msg = f"--image-base {image_base}: expected an http or https URL without a query, like {TMDB_IMAGE_BASE}"
        raise UnusableInput(msg)
    return image_base.rstrip("/")


def _chunks(selected: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    return (chunk for chunk in selected.collect_batches(chunk_size=_CHUNK, maintain_order=True) if chunk.height)


def _known_genres(movies: pl.LazyFrame, genres: tuple[str, ...]) -> list[str]:
    wanted = [genre.strip().lower() for genre in genres]
    names = movies.select(pl.col("first_genre").drop_nulls().unique().sort()).collect()["first_genre"].to_list()
    known = {name.lower() for name in names}
    for genre in wanted:
        if genre not in known:
            msg = (
                f"--genres {genre}: no movie of the catalogue has this first genre; expected one of {', '.join(names)}"
            )
            raise UnusableInput(msg)
    return wanted
