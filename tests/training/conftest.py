"""A dataset that a tiny network learns in seconds: dark and bright posters in real shards."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from crawler.records import Fetched, PosterRecord, PosterRequest
from crawler.shards import SHARD_FOLDER, write_shard
from dataloading.dataset import Dataset, build
from dataloading.labels import ComedyHorror
from training.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Generator

MOVIES = 80


def poster(movie_id: int, *, dark: bool) -> bytes:
    """A JPEG of coarse noise, 48 x 32, whose mean tells the class in most cases."""
    chance = np.random.default_rng(movie_id)
    low, high = (0, 170) if dark else (85, 256)
    coarse = chance.integers(low, high, (6, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((32, 48), Image.Resampling.BICUBIC).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Forty bright comedies and forty dark horrors."""
    root = tmp_path_factory.mktemp("dataset")
    (root / "archive" / SHARD_FOLDER).mkdir(parents=True)
    records: list[PosterRecord] = []
    movies: list[dict[str, object]] = []
    for movie_id in range(1, MOVIES + 1):
        genre = "Horror" if movie_id % 2 else "Comedy"
        body = poster(movie_id, dark=genre == "Horror")
        digest = hashlib.sha256(body).digest()
        request = PosterRequest(movie_id=movie_id, url=f"http://127.0.0.1/{movie_id}.jpg")
        fetched = Fetched(
            request=request, body=body, http_status=200, attempts=1, fetched_at=datetime(2026, 1, 1, tzinfo=UTC)
        )
        own_hash = int.from_bytes(digest[:8], "big")
        records.append(PosterRecord(fetched=fetched, height=48, width=32, sha256=digest.hex(), dhash=own_hash))
        movies.append(
            {
                "movie_id": movie_id,
                "title": f"Movie {movie_id}",
                "year": 1950 + movie_id % 70,
                "first_genre": genre,
                "popularity": float(movie_id),
                "collection": None,
            }
        )
    write_shard(root / "archive" / SHARD_FOLDER, "shard-00000", records)
    catalog = pl.DataFrame(movies, schema_overrides={"collection": pl.String, "year": pl.Int16})
    build(root / "archive", catalog, root / "dataset", ComedyHorror())
    return Dataset.load(root / "dataset")


@pytest.fixture
def recipe() -> Recipe:
    """A tiny network on 32 x 32 in float32: seven steps of eight posters an epoch."""
    return Recipe.from_dict(tiny_plain())


@pytest.fixture
def golden_recipe(recipe: Recipe) -> Recipe:
    """Three epochs at a rate so small that rounding does not grow."""
    return replace(recipe, epochs=3, optimizer=replace(recipe.optimizer, learning_rate=0.002))


def tiny_plain() -> dict[str, object]:
    """The tiny recipe as plain values."""
    return {
        "name": "tiny",
        "epochs": 2,
        "batch_size": 8,
        "precision": "fp32",
        "preprocess": {"method": "resize", "size": 32},
        "model": {"architecture": "test_resnet"},
        "optimizer": {"learning_rate": 0.05},
    }


@pytest.fixture(autouse=True)
def one_thread() -> Generator[None]:
    """Sums of one thread, so that figures do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
