"""A split tears no group apart, and divides every label and decade as its shares say."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataloading.split import Scheme, count_leaks, split_movies

SHARES = Scheme.GROUPED.shares


def movies(rows: list[tuple[int, int, int | None]]) -> pl.DataFrame:
    """Movies by (group, stratum, year); ids count up."""
    schema = {"group": pl.Int64, "stratum": pl.Int64, "year": pl.Int16}
    return pl.DataFrame(rows, schema=schema, orient="row").with_row_index("movie_id", 1).cast({"movie_id": pl.Int64})


@given(
    rows=st.lists(
        st.tuples(st.integers(1, 30), st.integers(0, 3), st.none() | st.integers(1890, 2017)), min_size=1, max_size=120
    ),
    seed=st.integers(0, 2**31),
)
def test_no_group_stands_on_two_sides(rows: list[tuple[int, int, int | None]], seed: int) -> None:
    """Every movie is in exactly one split, and all movies of a group are in the same."""
    given_movies = movies(rows)
    split = split_movies(given_movies, SHARES, seed)
    assert split["movie_id"].to_list() == given_movies["movie_id"].to_list()
    assert set(split["split"]) <= set(SHARES)
    sides = given_movies.join(split, on="movie_id").group_by("group").agg(pl.col("split").n_unique())
    assert sides["split"].to_list() == [1] * len(sides)


@given(rows=st.permutations([(number, number % 3, 1900 + number % 110) for number in range(200)]))
def test_order_of_the_rows_does_not_matter(rows: list[tuple[int, int, int | None]]) -> None:
    """The split follows from the movies, not from where they stand."""
    ordered = pl.DataFrame(
        [(group, group, s, y) for group, s, y in rows], schema=["movie_id", "group", "stratum", "year"], orient="row"
    )
    assert split_movies(ordered, SHARES).equals(split_movies(ordered.sort("movie_id"), SHARES))


def test_labels_and_decades_are_divided_by_their_shares() -> None:
    """Of single movies every label is right to one movie, and every decade of a label to two."""
    rows = [(number, number % 4, 1920 + (number * 7) % 100) for number in range(2000)]
    table = movies(rows).join(split_movies(movies(rows), SHARES), on="movie_id")
    table = table.with_columns(decade=pl.col("year") // 10)
    for keys, slack in ((["stratum"], 1.0), (["stratum", "decade"], 2.0)):
        for _, part in table.group_by(keys):
            for name, share in SHARES.items():
                assert abs((part["split"] == name).sum() - share * len(part)) <= slack


def test_groups_do_not_spoil_the_shares() -> None:
    """With a third of the movies in groups of 2 to 12, labels are still right to one percent."""
    groups = [group for group in range(100) for _ in range(2 + group % 11)] + list(range(1000, 2500))
    rows = [(group, group % 3, 1950 + group % 60) for group in groups]
    table = movies(rows).join(split_movies(movies(rows), SHARES), on="movie_id")
    for _, part in table.group_by("stratum"):
        for name, share in SHARES.items():
            assert (part["split"] == name).mean() == pytest.approx(share, abs=0.01)


def test_seed_chooses_among_equals() -> None:
    """Another seed gives another split; the same seed the same."""
    table = movies([(number, number % 2, 1990) for number in range(100)])
    assert split_movies(table, SHARES, 1).equals(split_movies(table, SHARES, 1))
    assert not split_movies(table, SHARES, 1).equals(split_movies(table, SHARES, 2))


def test_leaks_are_counted_by_relation() -> None:
    """A held-out movie counts once for each relation that it has with the training part, and once in all."""
    keys = pl.DataFrame(
        {"movie_id": [1, 2, 3, 4], "collection": [1, 1, 3, 4], "title": [1, 1, 3, 4], "poster": [1, 2, 1, 4]}
    )
    split = pl.DataFrame({"movie_id": [1, 2, 3, 4], "split": ["train", "test", "validation", "test"]})
    leaks = count_leaks(keys, split)
    assert (leaks.collection, leaks.title, leaks.poster, leaks.any) == (1, 1, 1, 2)
