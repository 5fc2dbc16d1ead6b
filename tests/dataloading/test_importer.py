"""Pictures that someone already has become an archive like any other."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import polars as pl
import pytest

from crawler.catalog import read_catalog
from crawler.errors import UnusableInput
from crawler.shards import read_index
from dataloading.dataset import Dataset, build
from dataloading.importer import import_folder
from dataloading.labels import Genre
from dataloading.loader import PosterLoader
from dataloading.preprocess import Preprocess
from tests.dataloading.conftest import poster

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """An ImageFolder of two genres, with a file that is no picture and one that is no file of interest."""
    for genre, start in (("Comedy", 0), ("Horror", 100)):
        (tmp_path / "pictures" / genre).mkdir(parents=True)
        for number in range(20):
            (tmp_path / "pictures" / genre / f"{number:02}.jpg").write_bytes(poster(start + number))
    (tmp_path / "pictures" / "Horror" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "pictures" / "Horror" / "notes.txt").write_text("not to be read")
    return tmp_path / "pictures"


def test_image_folder_becomes_an_archive(pictures: Path, tmp_path: Path) -> None:
    """Folder -> first genre, file -> poster with its bytes; from there on all else works."""
    report = import_folder(pictures, tmp_path / "archive")
    assert (report.posters, report.failed, report.genres) == (40, {"not_an_image": 1}, {"Horror": 21, "Comedy": 20})
    catalog = read_catalog(tmp_path / "archive" / "catalog.parquet")
    row = catalog.row(by_predicate=pl.col("poster_path") == "/Horror/07.jpg", named=True)
    index = read_index(tmp_path / "archive").row(by_predicate=pl.col("movie_id") == row["movie_id"], named=True)
    assert (row["first_genre"], row["genres"]) == ("Horror", ["Horror"])
    assert index["sha256"] == hashlib.sha256(poster(107)).hexdigest()
    build(tmp_path / "archive", catalog, tmp_path / "dataset", Genre(classes=2))
    loader = PosterLoader(Dataset.load(tmp_path / "dataset"), Preprocess(size=16), split="train", shuffle=False)
    assert sum(len(batch.targets) for batch in loader) == 28


def test_importing_again_changes_nothing(pictures: Path, tmp_path: Path) -> None:
    """The shards are there; the bytes stay."""
    first, _ = import_folder(pictures, tmp_path / "archive"), (pictures / "Comedy" / "00.jpg").unlink()
    tar = (tmp_path / "archive" / "shards" / "shard-00000.tar").read_bytes()
    (pictures / "Comedy" / "00.jpg").write_bytes(b"changed afterwards")
    assert import_folder(pictures, tmp_path / "archive") == first
    assert (tmp_path / "archive" / "shards" / "shard-00000.tar").read_bytes() == tar


def test_table_gives_the_catalogue(pictures: Path, tmp_path: Path) -> None:
    """Ids, titles, years, genres and money come from the CSV; a file that is not there is a failure with a reason."""
    (tmp_path / "table.csv").write_text(
        "filename,movie_id,title,year,genres,budget,remark\n"
        "Comedy/00.jpg,862,Toy Story,1995,Animation|Comedy,30000000,good\n"
        "Comedy/01.jpg,31357,Waiting to Exhale,,,,\n"
        "gone.jpg,5,Four Rooms,1995,Crime,,\n"
    )
    report = import_folder(pictures, tmp_path / "archive", tmp_path / "table.csv")
    assert (report.posters, report.failed) == (2, {"missing": 1})
    rows = read_catalog(tmp_path / "archive" / "catalog.parquet").select(
        "movie_id", "title", "year", "genres", "first_genre", "budget"
    )
    assert rows.rows() == [
        (5, "Four Rooms", 1995, ["Crime"], "Crime", None),
        (862, "Toy Story", 1995, ["Animation", "Comedy"], "Animation", 3e7),
        (31357, "Waiting to Exhale", None, None, None, None),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\na.jpg\n", r"columns file, 1 rows; expected a column filename"),
        ("filename\n", r"0 rows; expected a column filename"),
        ("filename\nelsewhere.jpg\n", r"none of its 1 files is in .*pictures; expected file names relative to it"),
        ("filename,year\nComedy/00.jpg,soon\n", r"expected numbers where the catalogue has numbers"),
        ("filename,movie_id\nComedy/00.jpg,7\nComedy/01.jpg,7\n", r"movie_id 7: stands in 2 rows"),
    ],
)
def test_unusable_tables_are_named(pictures: Path, tmp_path: Path, text: str, message: str) -> None:
    """What is wrong, and what was expected."""
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(UnusableInput, match=message):
        import_folder(pictures, tmp_path / "archive", tmp_path / "table.csv")


def test_command_imports(pictures: Path, tmp_path: Path) -> None:
    """`keyart archive import`, and its message where there is nothing to import."""
    command = [sys.executable, "-m", "keyart", "archive", "import"]
    done = [*command, str(pictures), "-o", str(tmp_path / "archive"), "--json"]
    said = subprocess.run(done, capture_output=True, text=True, check=True)
    assert json.loads(said.stdout)["posters"] == 40
    wrong = [*command, str(pictures / "Comedy"), "-o", str(tmp_path / "other")]
    said = subprocess.run(wrong, capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert "holds no folder with pictures" in said.stderr
