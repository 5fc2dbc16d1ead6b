"""Movies -> groups that must not be torn apart by a split.

Two movies belong together if they share a collection, a normalised title (a remake), or a near-identical poster. Each
of the three is a *relation* that gives every movie a key; a group is what the three joined by union-find connect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numba
import numpy as np
import polars as pl

from crawler.errors import UnusableInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

RELATIONS: Final = ("collection", "title", "poster")
"""Why two movies may belong together."""
POSTER_DISTANCE: Final = 4
"""Bits of 64 in which the dhash of near-identical posters may differ.

Measured on 16,256 real posters: enlarged by half and saved again at quality 80, 99.4 % stay within 4 bits, reduced to
half at quality 60 94.4 %; of the 132 million pairs of different files 31 are that close. More bits would join
strangers: 202 pairs at 6, 1,198 at 8.
"""

_HASH_BITS: Final = 64
_BLOCK: Final = 256


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
    if not 0 <= poster_distance < _HASH_BITS:
        msg = f"poster distance {poster_distance}: expected 0 to {_HASH_BITS - 1} bits"
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


def near_identical(hashes: NDArray[np.uint64], distance: int) -> NDArray[np.int64]:
    """Cluster hashes that differ in at most ``distance`` bits, directly or over others in between.

    Every pair is compared (45,466 posters: half a second on one core), so none is missed.

    Args:
        hashes: uint64 [n].
        distance: Bits, 0 to 63.

    Returns:
        int64 [n]: the index of the first member of each one's cluster.
    """
    distinct, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    roots = _cluster(distinct, np.uint64(distance))
    lowest = np.full(len(distinct), len(hashes), dtype=np.int64)
    np.minimum.at(lowest, roots, first)
    return lowest[roots][inverse]


def _first_id(key: pl.Expr) -> pl.Expr:
    movie_id = pl.col("movie_id")
    return pl.when(key.is_null()).then(movie_id).otherwise(movie_id.min().over(key))


@numba.njit(cache=True, nogil=True)
def _bit_count(word: Any) -> Any:  # pragma: no cover - compiled; LLVM knows the idiom as one instruction
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@numba.njit(cache=True, nogil=True)
def _root(parents: Any, node: int) -> int:  # pragma: no cover - compiled
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@numba.njit(cache=True, nogil=True)
def _unite(parents: Any, left: int, right: int) -> None:  # pragma: no cover - compiled
    left, right = _root(parents, left), _root(parents, right)
    parents[max(left, right)] = min(left, right)  # so that the root is the smallest member


@numba.njit(cache=True, nogil=True)
def _cluster(hashes: Any, distance: Any) -> Any:  # pragma: no cover - compiled
    count = len(hashes)
    parents = np.arange(count)
    for left in range(count):
        for start in range(left + 1, count, _BLOCK):
            stop = min(start + _BLOCK, count)
            nearest = np.uint64(_HASH_BITS)
            for right in range(start, stop):  # no branch: this loop is what vectorises
                nearest = min(nearest, _bit_count(hashes[left] ^ hashes[right]))
            if nearest <= distance:
                for right in range(start, stop):
                    if _bit_count(hashes[left] ^ hashes[right]) <= distance:
                        _unite(parents, left, right)
    for node in range(count):
        parents[node] = _root(parents, node)
    return parents


@numba.njit(cache=True, nogil=True)
def _join(links: Any) -> Any:  # pragma: no cover - compiled
    parents = np.arange(links.shape[1])
    for relation in range(links.shape[0]):
        for node in range(links.shape[1]):
            _unite(parents, node, links[relation, node])
    for node in range(links.shape[1]):
        parents[node] = _root(parents, node)
    return parents
