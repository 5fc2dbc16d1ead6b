"""A small world to load from: an archive of real shards, made without a crawl, and its catalogue."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from PIL import Image

from crawler.records import Failure, Fetched, PosterRecord, PosterRequest, Reason
from crawler.shards import SHARD_FOLDER, write_shard
from tests.crawler.conftest import bucket  # noqa: F401 - a fixture of this folder too

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GENRES = ("Comedy", "Horror", "Drama")


def poster(movie_id: int, height: int = 36, width: int = 24) -> bytes:
    """A JPEG of a smooth random picture."""
    coarse = np.random.default_rng(movie_id).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(stream, "JPEG")
    return stream.getvalue()


@dataclass
class World:
    """A catalogue and an archive of its posters."""

    archive: Path
    movies: list[dict[str, object]] = field(default_factory=list)
    outcomes: list[PosterRecord | Failure] = field(default_factory=list)
    shard_size: int = 50

    def add(self, movie_id: int, *, body: bytes | None = None, dhash: int | None = None, **columns: object) -> None:
        """Add a movie with a poster of its own; ``columns`` replace those of the catalogue."""
        body = poster(movie_id) if body is None else body
        own = int.from_bytes(hashlib.sha256(str(movie_id).encode()).digest()[:8], "big")
        self._row(movie_id, columns)
        fetched = Fetched(request=_request(movie_id), body=body, http_status=200, attempts=1, fetched_at=NOON)
        digest = hashlib.sha256(body).hexdigest()
        record = PosterRecord(
            fetched=fetched, height=36, width=24, sha256=digest, dhash=own if dhash is None else dhash
        )
        self.outcomes.append(record)

    def add_failure(self, movie_id: int, **columns: object) -> None:
        """Add a movie whose poster could not be had."""
        self._row(movie_id, columns)
        request = _request(movie_id)
        failure = Failure(request=request, reason=Reason.NOT_FOUND, http_status=404, attempts=1, fetched_at=NOON)
        self.outcomes.append(failure)

    def write(self) -> pl.DataFrame:
        """Write the shards and return the catalogue."""
        folder = self.archive / SHARD_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        ordered = sorted(self.outcomes, key=lambda one: getattr(one, "movie_id", None) or one.request.movie_id)
        for number, begin in enumerate(range(0, len(ordered), self.shard_size)):
            write_shard(folder, f"shard-{number:05}", ordered[begin : begin + self.shard_size])
        schema = {
            "movie_id": pl.Int64,
            "imdb_id": pl.String,
            "title": pl.String,
            "year": pl.Int16,
            "genres": pl.List(pl.String),
            "first_genre": pl.String,
            "poster_path": pl.String,
            "popularity": pl.Float64,
            "budget": pl.Float64,
            "revenue": pl.Float64,
            "revenue_budget_ratio": pl.Float64,
            "collection": pl.String,
        }
        return pl.DataFrame(self.movies, schema=schema).sort("movie_id")

    def _row(self, movie_id: int, columns: dict[str, object]) -> None:
        genre = columns.get("first_genre", GENRES[movie_id % len(GENRES)])
        row = {
            "movie_id": movie_id,
            "title": f"Movie {movie_id}",
            "year": 1950 + movie_id % 70,
            "genres": [genre],
            "first_genre": genre,
            "poster_path": f"/{movie_id}.jpg",
            "popularity": float(movie_id),
            **columns,
        }
        self.movies.append(row)


def _request(movie_id: int) -> PosterRequest:
    return PosterRequest(movie_id=movie_id, url=f"http://127.0.0.1/{movie_id}.jpg")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world without movies."""
    return World(archive=tmp_path / "archive")


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[..., World]:
    """Make a world of some movies, the genres in turn."""

    def make(movies: int = 120, **options: object) -> World:
        world = World(archive=tmp_path / "archive", **options)
        for movie_id in range(1, movies + 1):
            world.add(movie_id)
        return world

    return make
