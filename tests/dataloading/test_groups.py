"""Groups join what shares a collection, a title or a picture, directly or over others."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.duplicates import near_identical
from crawler.errors import UnusableInput
from dataloading.groups import group_movies, normalised_title


def movies(*rows: tuple[int, str, str | None, int]) -> pl.DataFrame:
    """Movies by (movie_id, title, collection, dhash)."""
    schema = {"movie_id": pl.Int64, "title": pl.String, "collection": pl.String, "dhash": pl.UInt64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def far(number: int) -> int:
    """Hashes that are 16 bits or more apart."""
    return sum(0xFF << (8 * bit) for bit in range(8) if number >> bit & 1 and bit < 7) | (
        0xFF << 56 if number.bit_count() % 2 else 0
    )


def test_relations_chain() -> None:
    """A collection, a remake's title and a picture join four movies; the group's name is its smallest id."""
    keys = group_movies(
        movies(
            (40, "Alien", "Alien Collection", far(1)),
            (30, "Aliens", "Alien Collection", far(2)),
            (20, "ALIENS!", None, far(3)),
            (10, "Something else", None, far(3) ^ 0b1111),
            (50, "Alone", None, far(4)),
        )
    )
    assert keys["movie_id"].to_list() == [10, 20, 30, 40, 50]
    assert keys["group"].to_list() == [10, 10, 10, 10, 50]
    assert keys["collection"].to_list() == [10, 20, 30, 30, 50]
    assert keys["title"].to_list() == [10, 20, 20, 40, 50]
    assert keys["poster"].to_list() == [10, 10, 30, 40, 50]


def test_titles_without_letters_do_not_join() -> None:
    """`...` and `?` have no title in common."""
    assert group_movies(movies((1, "...", None, far(1)), (2, "?!", None, far(2))))["group"].to_list() == [1, 2]


@pytest.mark.parametrize(
    ("title", "normal"),
    [
        ("Amélie", "amelie"),
        ("WALL·E", "walle"),
        ("七人の侍", "七人の侍"),
        ("2001: A Space Odyssey", "2001aspaceodyssey"),
    ],
)
def test_titles_are_reduced_to_letters_and_digits(title: str, normal: str) -> None:
    """Case, accents, blanks and signs do not count; letters of any script do."""
    assert pl.select(normalised_title(pl.lit(title))).item() == normal


@given(
    words=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12),
    changes=st.lists(st.tuples(st.integers(0, 11), st.sets(st.integers(0, 63), max_size=4)), max_size=24),
    distance=st.integers(0, 6),
)
def test_clusters_are_those_of_comparing_all_pairs(
    words: list[int], changes: list[tuple[int, set[int]]], distance: int
) -> None:
    """The compiled search finds the connected components that a plain double loop finds."""
    hashes = [*words, *(words[place % len(words)] ^ sum(1 << bit for bit in bits) for place, bits in changes)]
    roots = list(range(len(hashes)))
    for left in range(len(hashes)):
        for right in range(left):
            if (hashes[left] ^ hashes[right]).bit_count() <= distance:
                old, new = max(roots[left], roots[right]), min(roots[left], roots[right])
                roots = [new if root == old else root for root in roots]
    assert near_identical(np.array(hashes, np.uint64), distance).tolist() == roots


def test_more_than_one_block_is_searched() -> None:
    """Neighbours far apart in a long list are found, and no others."""
    hashes = np.random.default_rng(0).integers(0, 2**64, 3000, dtype=np.uint64)
    hashes[2999] = hashes[0] ^ np.uint64(1 << 63)
    roots = near_identical(hashes, 4)
    assert roots[2999] == 0
    assert np.count_nonzero(roots != np.arange(3000)) == 1


def test_distance_out_of_range_is_refused() -> None:
    """64 bits differ at most in 64."""
    with pytest.raises(UnusableInput, match="poster distance 64: expected 0 to 63 bits"):
        group_movies(movies((1, "a", None, 0)), poster_distance=64)
