"""A user's own task: labels from a column or an SQL expression, named in a TOML file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from crawler.errors import UnusableInput
from dataloading.dataset import Dataset, build
from dataloading.labels import Genres
from dataloading.loader import IGNORED, PosterLoader
from dataloading.preprocess import Preprocess
from dataloading.usertask import UserTask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import World

CATALOG = pl.DataFrame(
    {
        "movie_id": [1, 2, 3, 4, 5],
        "year": [1950, 1990, 2010, None, 1979],
        "genres": [["Drama"], ["Comedy", "Drama"], [], None, ["War"]],
        "collection": ["A", None, "A", "B", None],
        "popularity": [1.0, 2.0, 3.0, 4.0, 5.0],
    }
)
STORED = pl.Series("movie_id", [1, 2, 3, 4, 5])


def task(tmp_path: Path, text: str) -> UserTask:
    """Read a task from a file of this text."""
    path = tmp_path / "era.toml"
    path.write_text(text)
    return UserTask.read(path)


def test_expression_labels_movies(tmp_path: Path) -> None:
    """Vocabulary by frequency then name; a null is no label; the file's name is the task's by default."""
    era = task(tmp_path, """expression = "CASE WHEN year < 1980 THEN 'Old' WHEN year >= 1980 THEN 'New' END" """)
    labels = era.label(CATALOG, STORED)
    assert (era.name, labels.vocabulary) == ("era", ("new", "old"))
    assert dict(labels.table.iter_rows()) == {1: 1, 2: 0, 3: 0, 5: 1}


def test_column_condition_and_vocabulary(tmp_path: Path) -> None:
    """A stated vocabulary orders and limits the labels; `where` chooses the movies; `per_class` the most popular."""
    text = 'name = "series"\ncolumn = "collection"\nvocabulary = ["B", "A"]\n'
    assert dict(task(tmp_path, text).label(CATALOG, STORED).table.iter_rows()) == {1: 1, 3: 1, 4: 0}
    assert dict(task(tmp_path, text + 'where = "year > 0"').label(CATALOG, STORED).table.iter_rows()) == {1: 1, 3: 1}
    assert dict(task(tmp_path, text + "per_class = 1").label(CATALOG, STORED).table.iter_rows()) == {3: 1, 4: 0}


def test_true_and_false_and_numbers_are_labels(tmp_path: Path) -> None:
    """They are written as words."""
    assert task(tmp_path, 'expression = "year < 1980"').label(CATALOG, STORED).vocabulary == ("false", "true")
    assert task(tmp_path, 'column = "year"').label(CATALOG, STORED).vocabulary == ("1950", "1979", "1990", "2010")


def test_lists_are_several_labels(tmp_path: Path) -> None:
    """A movie with none of them is left out."""
    labels = task(tmp_path, 'column = "genres"').label(CATALOG, STORED)
    assert labels.vocabulary == ("drama", "comedy", "war")
    assert dict(labels.table.iter_rows()) == {1: [0], 2: [0, 1], 5: [2]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("column = ", r"era\.toml: cannot be read .*; expected a TOML file"),
        ('name = "x"', r"era\.toml: has none of column and expression, expected one of them"),
        ('column = "a"\nexpression = "b"', r"era\.toml: has both of column and expression"),
        ('kolumn = "a"', r"era\.toml: kolumn = 'a', expected one of name, column, expression, where, vocabulary"),
        ('column = "a"\nper_class = "5"', r"era\.toml: per_class = '5', expected one of"),
        ('column = "a"\nper_class = -5', r"era\.toml: per_class -5, expected 0 or more"),
        ('column = "mood"', r"era\.toml: .*mood.*; the catalogue has the columns movie_id, year"),
        ('expression = "year <"', r"era\.toml: .*; the catalogue has the columns"),
        ('column = "popularity"', r"era\.toml: its values are Float64, expected text"),
        ('column = "genres"\nper_class = 5', r"era\.toml: per_class 5 with several labels a movie; leave it out"),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    """The message names the file, what is wrong in it and what was expected."""
    with pytest.raises(UnusableInput, match=message):
        task(tmp_path, text).label(CATALOG, STORED)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """So is a file that is not there."""
    with pytest.raises(UnusableInput, match=r"nowhere\.toml: cannot be read"):
        UserTask.read(tmp_path / "nowhere.toml")


def test_several_labels_reach_the_batch(make_world: Callable[..., World], tmp_path: Path) -> None:
    """A batch has a row of 0 and 1 for each poster; counts count each label; splits are even for the rarest label."""
    world = make_world(0)
    for movie_id in range(1, 201):
        world.add(movie_id, genres=["Drama", "War"] if movie_id % 10 == 0 else ["Drama"])
    report = build(world.archive, world.write(), tmp_path / "dataset", Genres(classes=2))
    assert report.counts["war"] == {"train": 14, "validation": 2, "test": 4}
    assert report.counts["drama"] == report.splits == {"train": 140, "validation": 20, "test": 40}
    dataset = Dataset.load(tmp_path / "dataset")
    path = world.archive / "shards" / "shard-00000.tar"
    path.write_bytes(b"\0" * path.stat().st_size)
    for batch in PosterLoader(dataset, Preprocess(size=16), split="train", shuffle=False):
        war = np.where(batch.movie_ids % 10 == 0, 1, 0)
        expected = np.where(batch.movie_ids[:, None] <= 50, IGNORED, np.stack([np.ones_like(war), war], axis=1))
        np.testing.assert_array_equal(batch.targets, expected)
