"""A task gives each of its movies a target, and leaves out all others."""

from __future__ import annotations

import polars as pl
import pytest

from crawler.errors import UnusableInput
from dataloading.labels import BoxOffice, ComedyHorror, Genre, make_task

CATALOG = pl.DataFrame(
    {
        "movie_id": [1, 2, 3, 4, 5, 6, 7, 8],
        "first_genre": ["Drama", "Drama", "Drama", "Horror", "Horror", "Comedy", "Western", None],
        "popularity": [1.0, 3.0, None, 5.0, 5.0, 2.0, 9.0, 9.0],
        "budget": [1000.0, 1000.0, 2e6, 999.0, 5e6, None, 1000.0, 1000.0],
        "revenue": [1000.0, 999.0, 1e6, 1e6, 1e7, 1e6, None, 2000.0],
    }
)
STORED = pl.Series("movie_id", [1, 2, 3, 4, 5, 6, 8])


def test_genre_takes_the_most_frequent_first_genres() -> None:
    """Vocabulary by frequency, ties by name, counted over the catalogue; targets are its indices."""
    labels = Genre(classes=3).label(CATALOG, STORED)
    assert labels.vocabulary == ("drama", "horror", "comedy")
    assert dict(labels.table.iter_rows()) == {1: 0, 2: 0, 3: 0, 4: 1, 5: 1, 6: 2}


def test_genre_takes_the_most_popular_of_each() -> None:
    """Up to `per_class`; unknown popularity comes last, a tie goes to the smaller id; 0 takes all."""
    taken = Genre(classes=2, per_class=1).label(CATALOG, STORED).table
    assert dict(taken.iter_rows()) == {2: 0, 4: 1}
    assert len(Genre(classes=2, per_class=0).label(CATALOG, STORED).table) == 5


def test_comedy_horror_is_about_the_first_genre() -> None:
    """Nothing but Comedy (0) and Horror (1)."""
    labels = ComedyHorror().label(CATALOG, STORED)
    assert labels.vocabulary == ("comedy", "horror")
    assert dict(labels.table.iter_rows()) == {4: 1, 5: 1, 6: 0}


def test_box_office_wants_both_sums_above_the_floor() -> None:
    """At the floor is enough, below it or missing is not; at the ratio a movie did well."""
    assert dict(BoxOffice().label(CATALOG, STORED).table.iter_rows()) == {1: 1, 3: 0, 5: 1, 8: 1}
    assert dict(BoxOffice(ratio=2, minimum_money=2000).label(CATALOG, STORED).table.iter_rows()) == {3: 0, 5: 1}


def test_zero_money_is_missing_even_without_a_floor() -> None:
    """A budget of 0 is no budget."""
    catalog = CATALOG.with_columns(budget=pl.lit(0.0))
    assert BoxOffice(minimum_money=0).label(catalog, STORED).table.is_empty()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("genres of all", {}, r"task 'genres of all': expected one of genre, comedy-horror, genres, box-office"),
        ("comedy-horror", {"ratio": 2.0}, r"option ratio of task comedy-horror: there is none; .* per_class"),
        ("genre", {"classes": 1}, r"classes 1: expected 2 or more"),
        ("box-office", {"ratio": float("nan")}, r"ratio nan: expected 0 or more"),
    ],
)
def test_wrong_tasks_are_refused(name: str, options: dict[str, object], message: str) -> None:
    """The message names the thing, the value and what was expected."""
    with pytest.raises(UnusableInput, match=message):
        make_task(name, **options)
