"""The catalogue is clean, complete in its counts, and the same when it is cleaned again."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.catalog import CATALOG_SCHEMA, clean, read_catalog, read_raw, write_catalog
from crawler.errors import UnusableInput

DATA = Path(os.environ.get("KEYART_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}; KEYART_DATA names its folder")


def raw(**columns: list[object]) -> pl.DataFrame:
    """Raw rows with the four needed columns, as the CSV reader gives them."""
    rows = max((len(values) for values in columns.values()), default=1)
    defaults: dict[str, list[object]] = {
        "id": [str(number + 1) for number in range(rows)],
        "title": ["A title"] * rows,
        "genres": ["[]"] * rows,
        "poster_path": ["/a.jpg"] * rows,
    }
    return pl.DataFrame(defaults | columns)


messy_text = st.one_of(
    st.none(), st.text(max_size=12), st.sampled_from(["", " ", "nan", "0", "-1", "12", "1e3", "007"])
)
names = st.lists(st.text(max_size=6), max_size=3)
genre_lists = st.one_of(
    messy_text,
    names.map(lambda found: repr([{"id": 1, "name": name} for name in found])),
    names.map(lambda found: json.dumps([{"id": 1, "name": name} for name in found])),
)
raw_rows = st.fixed_dictionaries(
    {
        "id": messy_text,
        "imdb_id": messy_text,
        "title": messy_text,
        "genres": genre_lists,
        "poster_path": messy_text,
        "popularity": messy_text,
        "budget": messy_text,
        "revenue": messy_text,
        "release_date": st.one_of(messy_text, st.dates().map(str)),
        "belongs_to_collection": st.one_of(messy_text, st.text(max_size=6).map(lambda name: repr({"name": name}))),
    }
)


@settings(max_examples=150, deadline=None)
@given(st.lists(raw_rows, min_size=1, max_size=12))
def test_cleaning_twice_is_cleaning_once(rows: list[dict[str, str | None]]) -> None:
    """Whatever the text in the raw file, the catalogue has its schema, unique ids in order, and is a fixed point."""
    catalog, report = clean(pl.DataFrame(rows, schema=dict.fromkeys(rows[0], pl.String)))
    again, second = clean(catalog)
    assert catalog.schema == CATALOG_SCHEMA
    assert again.equals(catalog)
    assert sum(second.dropped.values()) == 0
    assert report.rows == report.movies + sum(report.dropped.values())
    assert catalog["movie_id"].is_sorted()
    assert catalog["movie_id"].is_unique().all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[{'id': 16, 'name': 'Animation'}, {'id': 35, 'name': 'Comedy'}]", ["Animation", "Comedy"]),
        ('[{"id": 1, "name": "Children\'s"}]', ["Children's"]),
        ("[{'id': 1, 'name': 'Say \"hi\"'}]", ['Say "hi"']),
        ('[{"id": 16, "name": "Animation", "extra": null}]', ["Animation"]),
        ("['Drama', 'Drama', ' War ']", ["Drama", "War"]),
        ("[]", []),
        ("", []),
        ("Drama", []),
        ("__import__('os')", []),
        (None, []),
    ],
)
def test_genre_lists_are_read_as_literals(text: str | None, expected: list[str]) -> None:
    """Python literals and JSON are read, quotes included; what is neither is no genre, and is never run."""
    catalog, _ = clean(raw(genres=[text]))
    assert catalog["genres"].to_list() == [expected]
    assert catalog["first_genre"].to_list() == [expected[0] if expected else None]


def test_each_dropped_row_counts_under_its_rule() -> None:
    """A shifted row, a row without a title and a repeated id are dropped, and each is counted once."""
    catalog, report = clean(raw(id=["1997-08-20", "5", "6", "5"], title=[None, "Kept", " ", "Repeated"]))
    assert catalog.select("movie_id", "title").rows() == [(5, "Kept")]
    assert report.dropped == {"malformed_id": 1, "no_title": 1, "repeated_id": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", None), ("999.99", None), ("1000", 1000.0), ("30000000", 3e7), ("-5", None), ("inf", None), ("x", None)],
)
def test_money_below_the_floor_is_missing(text: str, expected: float | None) -> None:
    """0 stands for unknown in the source; a ratio needs both sums."""
    catalog, _ = clean(raw(budget=[text], revenue=["2000"]))
    assert catalog["budget"].to_list() == [expected]
    assert catalog["revenue_budget_ratio"].is_null().to_list() == [expected is None]


def test_missing_poster_paths_are_null() -> None:
    """Empty and word-like nothing is null; what is there has one slash in front."""
    catalog, report = clean(raw(poster_path=["", "nan", None, "//x.jpg", "y.jpg"]))
    assert catalog["poster_path"].to_list() == [None, None, None, "/x.jpg", "/y.jpg"]
    assert report.without["poster"] == 3


def test_collection_is_the_name_in_the_literal() -> None:
    """`belongs_to_collection` becomes the collection's name, apostrophes included."""
    literal = "{'id': 10455, 'name': \"Child's Play Collection\", 'poster_path': None}"
    catalog, _ = clean(raw(belongs_to_collection=[literal]))
    assert catalog["collection"].to_list() == ["Child's Play Collection"]


def test_all_kinds_of_files_give_the_same_catalog(tmp_path: Path) -> None:
    """CSV, gzipped CSV, JSON lines with real lists, gzipped JSON lines and Parquet are the same movies."""
    genres = [{"id": 16, "name": "Animation"}, {"id": 35, "name": "Children's"}]
    rows = raw(id=["862", "2"], genres=[repr(genres), "[]"], title=["Toy, Story", 'Quote "this"'])
    as_csv = rows.write_csv().encode()
    objects = [row | {"id": int(row["id"]), "genres": genres if row["id"] == "862" else []} for row in rows.to_dicts()]
    as_lines = "".join(json.dumps(row) + "\n" for row in objects).encode()
    (tmp_path / "a.csv").write_bytes(as_csv)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(as_csv))
    (tmp_path / "a.jsonl").write_bytes(as_lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(as_lines))
    rows.write_parquet(tmp_path / "a.parquet")
    catalogs = [clean(read_raw(path))[0] for path in sorted(tmp_path.iterdir())]
    assert len(catalogs) == 5
    assert all(catalog.equals(catalogs[0]) for catalog in catalogs)
    assert catalogs[0]["genres"].to_list() == [[], ["Animation", "Children's"]]


def test_catalog_file_round_trip(tmp_path: Path) -> None:
    """What is written is read again; a file that is no catalogue is named."""
    catalog, _ = clean(raw(id=["3", "2"]))
    write_catalog(catalog, tmp_path / "deep" / "catalog.parquet")
    assert read_catalog(tmp_path / "deep" / "catalog.parquet").equals(catalog)
    catalog.drop("genres").write_parquet(tmp_path / "poor.parquet")
    with pytest.raises(UnusableInput, match=r"poor\.parquet: column genres is missing, expected List\(String\)"):
        read_catalog(tmp_path / "poor.parquet")


@needs_data
def test_the_whole_real_file() -> None:
    """45,466 rows: three shifted ones, 30 repeated ids, and the article's ten most frequent first genres."""
    catalog, report = clean(read_raw(DATA / "metadata" / "movies_metadata.csv"))
    assert (report.rows, report.movies) == (45_466, 45_430)
    assert report.dropped == {"malformed_id": 3, "no_title": 3, "repeated_id": 30}
    assert report.complete_as_written == 42_962
    assert report.complete_above_zero == 5_363
    assert report.complete == 5_296
    assert dict(report.first_genres) == {
        "Drama": 11_948,
        "Comedy": 8_815,
        "Action": 4_484,
        "Documentary": 3_402,
        "Horror": 2_619,
        "Crime": 1_683,
        "Thriller": 1_663,
        "Adventure": 1_508,
        "Romance": 1_191,
        "Animation": 1_122,
    }
    assert catalog.filter(pl.col("movie_id") == 862).select("title", "year", "budget", "revenue").rows() == [
        ("Toy Story", 1995, 30_000_000.0, 373_554_033.0)
    ]


@needs_data
def test_a_real_file_with_all_24_columns() -> None:
    """Overviews with line breaks and quotes do not shift rows; collections are read."""
    catalog, report = clean(read_raw(DATA / "metadata" / "movies_metadata_24col_5000.csv"))
    assert (report.rows, report.movies, report.without["poster"]) == (5_000, 4_999, 21)
    assert catalog["collection"].drop_nulls().len() == 825
    assert "Child's Play Collection" in catalog["collection"].to_list()
