"""Movies -> groups that must not be torn apart by a split.

Two movies belong together if they share a collection, a normalised title (a remake), or a near-identical poster. Each
of the three is a *relation* that gives every movie a key; a group is what the three joined by union-find connect.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
import polars as pl

from crawler.duplicates import HASH_BITS, POSTER_DISTANCE, near_identical, root, unite
from crawler.errors import UnusableInput

RELATIONS: Final = ("collection", "title", "poster")
"""Why two movies may belong together."""


def group_movies(movies: pl.DataFrame, poster_distance: int = POSTER_DISTANCE) -> pl.DataFrame:
    """Find the groups.

    Args:
        movies: ``movie_id``, ``title``, ``collection`` (may be null) and ``dhash`` uint64, a row a movie.
        poster_distance: Bits in which the dhash of two near-identical posters may differ, 0 to 63.

    Returns:
        ``movie_id``, one int64 key for each of ``RELATIONS`` (``collection``, ``title``, ``poster``; equal keys mean
        related) and ``group`` (the smallest ``movie_id`` of the group), in ``movie_id`` order.

    Raises:
        UnusableInput: ``poster_distance`` is out of range.

    Example:
        >>> movies = pl.DataFrame({"movie_id": [3, 5], "title": ["Psycho", "PSYCHO!"], "collection": [None, None]})
        >>> group_movies(movies.with_columns(dhash=pl.Series([0, 2**64 - 1], dtype=pl.UInt64)))["group"].to_list()
        [3, 3]
    """
    if not 0 <= poster_distance < HASH_BITS:
        msg = f"poster distance {poster_distance}: expected 0 to {HASH_BITS - 1} bits"
        raise UnusableInput(msg)
    ordered = movies.sort("movie_id")
    clusters = near_identical(ordered["dhash"].to_numpy(), poster_distance)
    title = normalised_title(pl.col("title"))
    keys = ordered.select(
        "movie_id",
        collection=_first_id(pl.col("collection")),
        title=_first_id(pl.when(title != "").then(title)),
        poster=pl.col("movie_id").gather(pl.Series(clusters)),
    )
    rows = {movie_id: row for row, movie_id in enumerate(keys["movie_id"].to_list())}
    links = [keys[relation].replace_strict(rows, return_dtype=pl.Int64).to_numpy() for relation in RELATIONS]
    roots = _join(np.stack(links))
    return keys.with_columns(group=keys["movie_id"].gather(pl.Series(roots)))


def normalised_title(title: pl.Expr) -> pl.Expr:
    """Reduce a title to its letters and digits, lower case and without accents.

    Example:
        >>> pl.select(normalised_title(pl.lit("Amélie: 2nd  Cut"))).item()
        'amelie2ndcut'
    """
    return title.str.normalize("NFKD").str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", "")


def _first_id(key: pl.Expr) -> pl.Expr:
    movie_id = pl.col("movie_id")
    return pl.when(key.is_null()).then(movie_id).otherwise(movie_id.min().over(key))


@numba.njit(cache=True, nogil=True)
def _join(links: Any) -> Any:  # pragma: no cover - compiled
    parents = np.arange(links.shape[1])
    for relation in range(links.shape[0]):
        for node in range(links.shape[1]):
            unite(parents, node, links[relation, node])
    for node in range(links.shape[1]):
        parents[node] = root(parents, node)
    return parents
