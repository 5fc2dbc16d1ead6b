"""The verbs `catalog` and `crawl` as a user calls them: one line for a mistake, one JSON line at the end."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unittest import mock

import polars as pl
import pytest

import keyart
from crawler.catalog import clean, write_catalog

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")  # main reads sys.argv

RAW = "id,title,genres,poster_path\n862,Toy Story,\"[{'id': 16, 'name': 'Animation'}]\",/a.jpg\n1997-08-20,,,\n"


@dataclass(frozen=True)
class Done:
    """What a command said, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


def run(*words: object) -> Done:
    """Run the command in this process: starting twenty of them would take longer than all other tests."""
    out, errors = io.StringIO(), io.StringIO()
    code = 0
    with mock.patch.object(sys, "argv", ["keyart", *map(str, words)]), redirect_stdout(out), redirect_stderr(errors):
        try:
            keyart.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Done(code, out.getvalue(), errors.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good and bad files to name on the command line."""
    path = tmp_path_factory.mktemp("verbs")
    (path / "raw.csv").write_text(RAW)
    (path / "raw.xlsx").write_bytes(b"PK")
    (path / "no_genres.csv").write_text("id,title,poster_path\n1,A,/a.jpg\n")
    (path / "empty.csv").write_text("id,title,genres,poster_path\n")
    (path / "broken.parquet").write_bytes(b"PAR1")
    (path / "broken.jsonl").write_text("{not json\n")
    (path / "full").mkdir()
    (path / "full" / "thesis.txt").write_text("precious")
    rows = {"id": [1], "title": ["A"], "genres": ["['Comedy']"], "poster_path": ["/a.jpg"]}
    write_catalog(clean(pl.DataFrame(rows))[0], path / "catalog.parquet")
    return path


def test_catalog_ends_with_its_counts(folder: Path) -> None:
    """The summary is text for a person, or one JSON line."""
    done = run("catalog", folder / "raw.csv", "-o", folder / "out.parquet", "--json")
    summary = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert summary["dropped"] == {"malformed_id": 1, "no_title": 0, "repeated_id": 0}
    assert summary["first_genres"] == {"Animation": 1}
    assert pl.read_parquet(folder / "out.parquet")["movie_id"].to_list() == [862]
    assert "1 movies of 2 rows" in run("catalog", folder / "raw.csv", "-o", folder / "out.parquet").stdout


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("catalog nowhere.csv -o x", "metadata {f}/nowhere.csv: no such file; expected the movies_metadata.csv"),
        ("catalog raw.xlsx -o x", "metadata {f}/raw.xlsx: unknown kind of file; expected .csv, .csv.gz, .jsonl"),
        ("catalog no_genres.csv -o x", "metadata {f}/no_genres.csv: no column genres; it has id, title, poster_path;"),
        ("catalog empty.csv -o x", "metadata {f}/empty.csv: holds no row; expected one row per movie"),
        ("catalog broken.parquet -o x", "metadata {f}/broken.parquet: cannot be read as .parquet"),
        ("catalog broken.jsonl -o x", "metadata {f}/broken.jsonl: cannot be read as .jsonl"),
        ("crawl nowhere.parquet -o x", "catalogue {f}/nowhere.parquet: no such file; expected the Parquet file of"),
        ("crawl broken.parquet -o x", "catalogue {f}/broken.parquet: is no Parquet file; make one of raw metadata"),
        ("crawl raw.csv -o x", "catalogue {f}/raw.csv: is no Parquet file; make one of raw metadata"),
        ("crawl catalog.parquet -o full", "archive {f}/full: exists and is no archive (no archive.json); choose an"),
        ("crawl catalog.parquet -o x --image-base host/w185", "--image-base host/w185: expected an http or https URL"),
        ("crawl catalog.parquet -o x --rate 0", "--rate 0.0: expected requests per second above 0, or inf"),
        ("crawl catalog.parquet -o x --connections 0", "--connections 0: expected a whole number, 1 or more"),
        ("crawl catalog.parquet -o x --workers -1", "--workers -1: expected a whole number, 1 or more"),
        ("crawl catalog.parquet -o x --shard-size 0", "--shard-size 0: expected a whole number, 1 or more"),
        ("crawl catalog.parquet -o x --limit 0", "--limit 0: expected a whole number of movies, 1 or more"),
        ("crawl catalog.parquet -o x --genres noir", "--genres noir: no movie of the catalogue has this first genre"),
        ("crawl catalog.parquet -o x --rate fast", '--rate: unable to convert "fast" into float'),
    ],
)
def test_a_mistake_is_one_line(folder: Path, words: str, line: str) -> None:
    """Exit code 2; the line names the thing, the value and what was expected; nothing is written."""
    before = sorted(folder.rglob("*"))
    files = ("nowhere", "raw", "no_genres", "empty", "broken", "catalog.", "full", "x")
    verb, *rest = words.split()
    paths = [str(folder / word) if word.startswith(files) else word for word in rest]
    done = run(verb, *paths)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert line.format(f=folder) in done.stderr
    assert sorted(folder.rglob("*")) == before


def test_a_file_that_cannot_be_written_is_one_line(folder: Path) -> None:
    """The work failed: exit code 1."""
    done = run("catalog", folder / "raw.csv", "-o", folder / "raw.csv" / "catalog.parquet")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert len(done.stderr.splitlines()) == 1
