"""A dataset has every labelled poster in exactly one split, no relatives on two sides, and the same bytes each time."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import polars as pl
import pytest

from crawler.errors import UnusableInput
from crawler.shards import SHARD_FOLDER, ShardReader
from dataloading.dataset import Dataset, build
from dataloading.labels import BoxOffice, ComedyHorror, Genre
from dataloading.split import Scheme, SplitOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import World


@pytest.fixture
def related(make_world: Callable[..., World]) -> World:
    """120 movies, and with them collections, remakes, copied posters and failures."""
    world = make_world(120)
    for number in range(20):
        genre = ("Comedy", "Horror")[number % 2]
        world.add(1000 + number, first_genre=genre, collection=f"Collection {number // 4}")
        world.add(2000 + number, first_genre=genre, title=f"movie {1 + number}!")
        world.add(3000 + number, first_genre=genre, dhash=0xFFFF << number)
        world.add(4000 + number, first_genre=genre, dhash=0xFFFF << number ^ 1)
        world.add_failure(5000 + number, first_genre=genre)
    return world


def test_relatives_never_stand_on_both_sides(related: World, tmp_path: Path) -> None:
    """Split movie by movie there are relatives on both sides; in the dataset there are none."""
    report = build(related.archive, related.write(), tmp_path / "dataset", Genre(classes=3))
    assert min(report.leaks_before.collection, report.leaks_before.title, report.leaks_before.poster) > 0
    assert report.leaks_after.any == 0
    table = Dataset.load(tmp_path / "dataset").table
    assert table.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1


def test_every_labelled_poster_is_in_exactly_one_split(related: World, tmp_path: Path) -> None:
    """A row a poster; failures and movies of other genres are left out and counted."""
    catalog = related.write()
    report = build(related.archive, catalog, tmp_path / "dataset", ComedyHorror())
    dataset = Dataset.load(tmp_path / "dataset")
    expected = catalog.filter(pl.col("first_genre").is_in(["Comedy", "Horror"]), pl.col("movie_id") < 5000)
    assert dataset.table["movie_id"].to_list() == expected["movie_id"].to_list()
    parts = [dataset.rows(split)["movie_id"].to_list() for split in ("train", "validation", "test")]
    assert sorted(movie_id for part in parts for movie_id in part) == expected["movie_id"].to_list()
    assert (report.posters, report.failed, report.unlabelled) == (len(expected), 20, 200 - len(expected))
    assert sum(sum(by_split.values()) for by_split in report.counts.values()) == len(expected)


def test_rows_lead_to_the_posters(related: World, tmp_path: Path) -> None:
    """Shard and offset of a row cut its poster out of the archive."""
    build(related.archive, related.write(), tmp_path / "dataset", ComedyHorror())
    bodies = {one.movie_id: one.fetched.body for one in related.outcomes if hasattr(one, "fetched")}
    for row in Dataset.load(tmp_path / "dataset").table.iter_rows(named=True):
        with ShardReader(related.archive / SHARD_FOLDER / f"{row['shard']}.tar") as shard:
            assert shard.read(row["offset_bytes"], row["size_bytes"]) == bodies[row["movie_id"]]


def test_same_input_gives_the_same_bytes(related: World, tmp_path: Path) -> None:
    """Whatever the order of the catalogue's rows; another seed gives another table."""
    catalog = related.write()
    shuffled = catalog.sample(fraction=1, shuffle=True, seed=3)
    reports = [
        build(related.archive, rows, tmp_path / name, Genre(classes=3), SplitOptions(seed=seed))
        for name, rows, seed in (("a", catalog, 0), ("b", shuffled, 0), ("c", catalog, 1))
    ]
    tables = [(tmp_path / name / "dataset.parquet").read_bytes() for name in "abc"]
    assert tables[0] == tables[1] != tables[2]
    assert reports[0].digest == reports[1].digest != reports[2].digest


def test_article_split_divides_movie_by_movie(related: World, tmp_path: Path) -> None:
    """80 and 20 %, relatives on both sides and said so; its test part is its validation part."""
    options = SplitOptions(scheme=Scheme.ARTICLE)
    report = build(related.archive, related.write(), tmp_path / "dataset", ComedyHorror(), options)
    dataset = Dataset.load(tmp_path / "dataset")
    assert set(dataset.table["split"]) == {"train", "validation"}
    assert len(dataset.rows("train")) / len(dataset.table) == pytest.approx(0.8, abs=0.02)
    assert report.leaks_after == report.leaks_before
    assert dataset.rows("test").equals(dataset.rows("validation"))


def test_box_office_counts_are_stated(make_world: Callable[..., World], tmp_path: Path) -> None:
    """The report has the counts of each label and split, and its text names them."""
    world = make_world(0)
    for movie_id in range(1, 101):
        world.add(movie_id, budget=1e6, revenue=2e6 if movie_id <= 70 else 5e5)
    report = build(world.archive, world.write(), tmp_path / "dataset", BoxOffice())
    assert report.counts == {
        "did poorly": {"train": 21, "validation": 3, "test": 6},
        "did well": {"train": 49, "validation": 7, "test": 14},
    }
    assert "100 posters for task box-office (grouped split)" in str(report)
    assert "did well            49           7          14" in str(report)


def test_dataset_and_archive_may_move_together(related: World, tmp_path: Path) -> None:
    """The archive is found relative to the dataset; moved alone, it can be named."""
    build(related.archive, related.write(), tmp_path / "dataset", ComedyHorror())
    new = tmp_path / "new"
    new.mkdir()
    for name in ("archive", "dataset"):
        shutil.move(tmp_path / name, new / name)
    assert Dataset.load(new / "dataset").archive == new / "archive"
    shutil.move(new / "archive", tmp_path / "elsewhere")
    with pytest.raises(UnusableInput, match=r"archive .*new/archive of dataset .*: there are no shards"):
        Dataset.load(new / "dataset")
    assert Dataset.load(new / "dataset", archive=tmp_path / "elsewhere").archive == tmp_path / "elsewhere"


def test_changed_table_is_refused(related: World, tmp_path: Path) -> None:
    """The table must have the digest that its card states."""
    build(related.archive, related.write(), tmp_path / "dataset", ComedyHorror())
    path = tmp_path / "dataset" / "dataset.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UnusableInput, match=r"dataset\.parquet has SHA-256 .*; build it again"):
        Dataset.load(tmp_path / "dataset")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"dataset\.json cannot be read .*; expected a folder written by `keyart dataset`"),
        ("{", r"dataset\.json cannot be read"),
        (json.dumps({"format": 99}), r"dataset\.json is not of format 1"),
    ],
)
def test_other_folders_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    """A folder without a dataset, or with one of another version, is named."""
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(UnusableInput, match=message):
        Dataset.load(tmp_path)
