"""What is fetched, and in which shard it stands, follows from the catalogue and the options alone."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.catalog import CATALOG_SCHEMA
from crawler.errors import UnusableInput
from crawler.frontier import Selection, check_image_base, measure, plans, poster_url, remaining, select

BASE = "https://host/w185"


def catalog(*rows: tuple[int, str | None, float | None, str | None]) -> pl.DataFrame:
    """A catalogue of (movie_id, first_genre, popularity, poster_path)."""
    known = pl.DataFrame(rows, schema=["movie_id", "first_genre", "popularity", "poster_path"], orient="row")
    missing = [pl.lit(None, dtype=kind).alias(name) for name, kind in CATALOG_SCHEMA.items() if name not in known]
    return known.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in CATALOG_SCHEMA.items())


MOVIES = catalog(
    (1, "Comedy", 5.0, "/1.jpg"),
    (2, "Horror", 9.0, "/2.jpg"),
    (3, "Comedy", 7.0, "/3.jpg"),
    (4, "Drama", None, "/4.jpg"),
    (5, "Horror", 9.0, "/5.jpg"),
    (6, "Comedy", 99.0, None),
)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), [1, 2, 3, 4, 5]),
        (Selection(limit=1), [2]),
        (Selection(limit=3), [2, 3, 5]),
        (Selection(genres=("comedy",)), [1, 3]),
        (Selection(genres=("Comedy", " horror"), per_genre=1), [2, 3]),
        (Selection(per_genre=1), [2, 3, 4]),
        (Selection(per_genre=1, limit=1), [2]),
    ],
)
def test_the_most_popular_enter(selection: Selection, expected: list[int]) -> None:
    """Popularity decides, then the smaller id; a movie without a poster path never enters."""
    assert select(MOVIES, selection).collect()["movie_id"].to_list() == expected


def test_an_unknown_genre_is_named() -> None:
    """The message says which genres there are."""
    with pytest.raises(UnusableInput, match=r"--genres noir: .* expected one of Comedy, Drama, Horror"):
        select(MOVIES, Selection(genres=("noir",)))


def test_an_empty_selection_is_refused() -> None:
    """Nothing to fetch is a mistake, not an empty archive."""
    with pytest.raises(UnusableInput, match="no movie with a poster path"):
        measure(select(MOVIES.filter(pl.col("movie_id") == 6), Selection()))


def test_a_catalog_out_of_order_is_refused() -> None:
    """Shards are cut from ids in order, each once; another order would cut other shards."""
    with pytest.raises(UnusableInput, match="not in movie_id order"):
        measure(select(pl.concat([MOVIES.head(2), MOVIES.head(2)]), Selection()))
    with pytest.raises(UnusableInput, match="not in movie_id order; make it again"):
        measure(select(MOVIES.reverse(), Selection(genres=("horror",))))


@given(st.integers(1, 60), st.integers(1, 70), st.sets(st.integers(0, 60)))
def test_plans_left_and_plans_done_are_all_plans(movies: int, shard_size: int, done: set[int]) -> None:
    """Every poster stands in exactly one plan, in id order; what is committed is not planned again."""
    selected = pl.LazyFrame({"movie_id": range(movies), "poster_path": ["/a.jpg"] * movies})
    everything = list(plans(selected, BASE, shard_size))
    assert [request.movie_id for plan in everything for request in plan.requests] == list(range(movies))
    committed = {f"shard-{index:05d}" for index in done}
    left = list(remaining(iter(everything), committed))
    assert left == [plan for plan in everything if plan.name not in committed]


def test_digest_changes_with_any_movie_or_path() -> None:
    """The digest is of the content, in order, and not of how it lies in memory."""
    selected = select(MOVIES, Selection())
    digest, movies = measure(selected)
    assert movies == 5
    assert measure(pl.concat([selected.head(2), selected.tail(3)])) == (digest, movies)
    assert measure(selected.head(4))[0] != digest
    assert measure(selected.with_columns(poster_path=pl.lit("/other.jpg")))[0] != digest


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a.jpg", f"{BASE}/a.jpg"),
        ("/../../etc/passwd", f"{BASE}/etc/passwd"),
        ("/./a//b.jpg", f"{BASE}/a/b.jpg"),
        ("/a b?c#d.jpg", f"{BASE}/a%20b%3Fc%23d.jpg"),
        ("/http://evil/x.jpg", f"{BASE}/http%3A/evil/x.jpg"),
        ("/ä.jpg", f"{BASE}/%C3%A4.jpg"),
    ],
)
def test_a_poster_path_stays_below_the_image_base(path: str, expected: str) -> None:
    """No path can leave the base, name another host or add a query."""
    assert poster_url(BASE, path) == expected


@pytest.mark.parametrize(
    "base", ["", "host/w185", "ftp://host", "file:///etc", "http://", "http://h:x", "http://h?q=1"]
)
def test_an_unusable_image_base_is_refused(base: str) -> None:
    """Only absolute http and https URLs without a query can stand in front of a path."""
    with pytest.raises(UnusableInput, match="expected an http or https URL"):
        check_image_base(base)
