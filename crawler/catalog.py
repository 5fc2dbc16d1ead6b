"""Raw movie metadata -> the clean catalogue, and a count of every row that a rule dropped.

The raw file is the CSV of "The Movies Dataset" (24 columns, or any part of them that holds the four needed ones), or
the same rows as JSON lines or Parquet. Its faults: lists written as Python literals, rows whose columns are shifted,
repeated ids, money as text where 0 stands for unknown, empty poster paths.
"""

from __future__ import annotations

import ast
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import polars as pl

from crawler.errors import UnusableInput, WorkFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

CATALOG_SCHEMA: Final[dict[str, pl.DataType]] = {
    "movie_id": pl.Int64(),
    "imdb_id": pl.String(),
    "title": pl.String(),
    "year": pl.Int16(),
    "genres": pl.List(pl.String()),
    "first_genre": pl.String(),
    "poster_path": pl.String(),
    "popularity": pl.Float64(),
    "budget": pl.Float64(),
    "revenue": pl.Float64(),
    "revenue_budget_ratio": pl.Float64(),
    "collection": pl.String(),
}
"""Columns of the catalogue. ``genres`` is in TMDb order; rows are in ``movie_id`` order and ids are unique."""

MONEY_FLOOR: Final = 1000.0
"""US dollars. A budget or revenue below it is missing: the source writes 0 for unknown, and millions as 1 to 100."""

_NEEDED: Final = {"movie_id": "id", "title": "title", "genres": "genres", "poster_path": "poster_path"}
_MISSING_WORDS: Final = ("", "nan", "none", "null")


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogReport:
    """What cleaning kept and dropped, and the source article's two readings of "not missing"."""

    rows: int
    """In the raw file."""
    movies: int
    """In the catalogue."""
    dropped: Mapping[str, int]
    """Rows by the rule that dropped them; each row counts under the first rule that it breaks."""
    without: Mapping[str, int]
    """Movies of the catalogue that lack a poster path, a genre, a budget, a revenue or a collection."""
    complete_as_written: int
    """Movies with an alphanumeric title, a genre, a poster and any number, 0 included, as budget and as revenue."""
    complete_above_zero: int
    """The same where 0 is missing."""
    complete: int
    """The same where money below the floor is missing: what the columns ``budget`` and ``revenue`` hold."""
    first_genres: Mapping[str, int]
    """The ten most frequent first genres, most frequent first."""
    catalog: str = ""
    """File that was written, if any."""

    def __str__(self) -> str:
        """One screen for a person."""
        genres = ", ".join(f"{name} {count:,}" for name, count in self.first_genres.items())
        complete = (
            f"0 taken as a sum {self.complete_as_written:,}, 0 missing {self.complete_above_zero:,}, "
            f"below {MONEY_FLOOR:,.0f} missing {self.complete:,}"
        )
        lines = [
            f"{self.movies:,} movies of {self.rows:,} rows" + (f" -> {self.catalog}" if self.catalog else ""),
            "  dropped   " + ", ".join(f"{rule.replace('_', ' ')} {count:,}" for rule, count in self.dropped.items()),
            "  without   " + ", ".join(f"{what.replace('_', ' ')} {count:,}" for what, count in self.without.items()),
            f"  complete  {complete}",
            f"  genres    {genres or 'none'}",
        ]
        return "\n".join(lines)


def clean(raw: pl.DataFrame | pl.LazyFrame) -> tuple[pl.DataFrame, CatalogReport]:
    """Clean raw metadata; cleaning a catalogue again changes nothing.

    Rules, in order: a row whose id is no positive whole number is dropped (``malformed_id``: its columns are shifted),
    then a row without a title (``no_title``), then every row but the first of an id (``repeated_id``).

    Args:
        raw: Columns ``id`` (or ``movie_id``), ``title``, ``genres`` and ``poster_path``, and any of the others of
            ``read_raw``; values may be text.

    Returns:
        The catalogue, with the columns of ``CATALOG_SCHEMA`` in ``movie_id`` order, and the report.

    Raises:
        UnusableInput: A needed column is missing, or holds something that cannot be a column of that name.

    Example:
        >>> raw = pl.DataFrame({
        ...     "id": ["862", "1997-08-20"],
        ...     "title": ["Toy Story", None],
        ...     "genres": ["[{'id': 16, 'name': 'Animation'}]", None],
        ...     "poster_path": ["/a.jpg", None],
        ... })
        >>> catalog, report = clean(raw)
        >>> catalog["genres"].to_list(), report.dropped["malformed_id"]
        ([['Animation']], 1)
    """
    rows = raw.lazy().collect()
    _check_columns(rows.columns)
    money = {name: _number(rows, name) for name in ("budget", "revenue")}
    popularity = _number(rows, "popularity")
    tidy = pl.DataFrame(
        {
            "movie_id": _movie_ids(rows),
            "imdb_id": _text(rows, "imdb_id"),
            "title": _text(rows, "title"),
            "year": _years(rows),
            "genres": _genres(rows["genres"]),
            "poster_path": _poster_paths(rows),
            "popularity": popularity.set(~popularity.is_finite(), None),
            "collection": _collections(rows),
            "priced_as_written": money["budget"].is_not_null() & money["revenue"].is_not_null(),
            "priced_above_zero": (money["budget"] > 0) & (money["revenue"] > 0),
            **{name: sum_.set((sum_ < MONEY_FLOOR) | ~sum_.is_finite(), None) for name, sum_ in money.items()},
        }
    )
    identified = tidy.filter(pl.col("movie_id") > 0)
    titled = identified.filter(pl.col("title").is_not_null())
    movies = (
        titled.unique("movie_id", keep="first", maintain_order=True)
        .sort("movie_id")
        .with_columns(
            first_genre=pl.col("genres").list.first(),
            revenue_budget_ratio=pl.col("revenue") / pl.col("budget"),
        )
    )
    dropped = {
        "malformed_id": tidy.height - identified.height,
        "no_title": identified.height - titled.height,
        "repeated_id": titled.height - movies.height,
    }
    return movies.select(*CATALOG_SCHEMA), _report(movies, rows.height, dropped)


def read_raw(path: Path) -> pl.DataFrame:
    """Read raw metadata: ``.csv``, ``.csv.gz``, ``.jsonl``, ``.jsonl.gz`` or ``.parquet``.

    Returns:
        Every column of the file; those of a CSV are text.

    Raises:
        UnusableInput: The file is missing, of another kind, or cannot be parsed.
    """
    if not path.is_file():
        msg = f"metadata {path}: no such file; expected the movies_metadata.csv of The Movies Dataset"
        raise UnusableInput(msg)
    reader = _reader(path)
    try:
        rows = reader(path)
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        msg = f"metadata {path}: cannot be read as {''.join(path.suffixes[-2:])} ({reason})"
        raise UnusableInput(msg) from error
    if rows.is_empty():
        msg = f"metadata {path}: holds no row; expected one row per movie"
        raise UnusableInput(msg)
    _check_columns(rows.columns, str(path))
    return rows


def write_catalog(catalog: pl.DataFrame, path: Path) -> None:
    """Write a catalogue as Parquet, whole or not at all.

    Raises:
        WorkFailed: The disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Small row groups let a crawl read a catalogue of any length piece by piece.
        catalog.write_parquet(temporary, row_group_size=65_536)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        msg = f"catalogue {path}: cannot be written ({error}); choose another place with -o"
        raise WorkFailed(msg) from error


def read_catalog(path: Path) -> pl.DataFrame:
    """Read and check a catalogue written by ``write_catalog``.

    Raises:
        UnusableInput: The file is missing, is no Parquet file, or lacks a column of ``CATALOG_SCHEMA``.
    """
    return scan_catalog(path).collect()


def scan_catalog(path: Path) -> pl.LazyFrame:
    """Check a catalogue's columns and leave its rows on disk.

    Raises:
        UnusableInput: As ``read_catalog``.
    """
    if not path.is_file():
        msg = f"catalogue {path}: no such file; expected the Parquet file of `keyart catalog RAW -o {path}`"
        raise UnusableInput(msg)
    try:
        rows = pl.scan_parquet(path, glob=False)
        schema = rows.collect_schema()
    except (OSError, pl.exceptions.PolarsError) as error:
        msg = f"catalogue {path}: is no Parquet file; make one of raw metadata with `keyart catalog RAW -o {path}`"
        raise UnusableInput(msg) from error
    for name, kind in CATALOG_SCHEMA.items():
        if schema.get(name) != kind:
            found = schema.get(name) or "missing"
            msg = f"catalogue {path}: column {name} is {found}, expected {kind}; make it again with `keyart catalog`"
            raise UnusableInput(msg)
    return rows.select(*CATALOG_SCHEMA)


def _reader(path: Path) -> Callable[[Path], pl.DataFrame]:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".csv"):
        return _read_csv
    if name.endswith((".jsonl", ".ndjson")):
        return _read_json_lines
    if name.endswith(".parquet") and name == path.name.lower():
        return pl.read_parquet
    msg = f"metadata {path}: unknown kind of file; expected .csv, .csv.gz, .jsonl, .jsonl.gz or .parquet"
    raise UnusableInput(msg)


def _read_csv(path: Path) -> pl.DataFrame:
    # Rows of another length than the header exist in the original; the id rule is what judges them.
    return pl.read_csv(path, infer_schema=False, truncate_ragged_lines=True)


def _read_json_lines(path: Path) -> pl.DataFrame:
    return pl.read_ndjson(path, infer_schema_length=None)


def _check_columns(columns: list[str], source: str = "raw rows") -> None:
    for name, raw_name in _NEEDED.items():
        if name not in columns and raw_name not in columns:
            have = ", ".join(columns[:8]) + (" ..." if len(columns) > len(columns[:8]) else "")
            msg = f"metadata {source}: no column {raw_name}; it has {have}; expected the columns of The Movies Dataset"
            raise UnusableInput(msg)


def _movie_ids(rows: pl.DataFrame) -> pl.Series:
    ids = rows["movie_id" if "movie_id" in rows.columns else "id"]
    return ids.cast(pl.String).str.strip_chars().cast(pl.Int64, strict=False)


def _text(rows: pl.DataFrame, name: str) -> pl.Series:
    """Text without surrounding white space; empty is missing."""
    if name not in rows.columns:
        return pl.Series(name, [None] * rows.height, dtype=pl.String)
    text = rows[name].cast(pl.String).str.strip_chars()
    return text.set(text == "", None)


def _number(rows: pl.DataFrame, name: str) -> pl.Series:
    if name in rows.columns and rows[name].dtype.is_numeric():
        return rows[name].cast(pl.Float64)
    return _text(rows, name).cast(pl.Float64, strict=False)


def _years(rows: pl.DataFrame) -> pl.Series:
    years = rows["year"].cast(pl.String) if "year" in rows.columns else _text(rows, "release_date").str.slice(0, 4)
    return years.cast(pl.Int16, strict=False)


def _poster_paths(rows: pl.DataFrame) -> pl.Series:
    """Paths as TMDb writes them, with exactly one slash in front."""
    paths = _text(rows, "poster_path").str.strip_chars_start("/")
    missing = paths.str.to_lowercase().is_in(_MISSING_WORDS)
    return ("/" + paths).set(missing, None)


def _genres(raw: pl.Series) -> pl.Series:
    """Names in the order given, each once; an empty list where there is none or it cannot be read."""
    if raw.dtype.base_type() is not pl.List:
        raw = _per_distinct_value(raw, _names_of_literal, pl.List(pl.String()))
    elif isinstance(cast("pl.List", raw.dtype).inner, pl.Struct):
        raw = raw.list.eval(pl.element().struct.field("name"))
    names = raw.cast(pl.List(pl.String())).list.eval(pl.element().str.strip_chars())
    filled = names.list.eval(pl.element().filter(pl.element().str.len_bytes() > 0)).list.unique(maintain_order=True)
    none = pl.lit([], dtype=pl.List(pl.String()))
    return filled.rename("genres").to_frame().select(pl.col("genres").fill_null(none))["genres"]


def _collections(rows: pl.DataFrame) -> pl.Series:
    """Name of the collection that a movie belongs to."""
    if "belongs_to_collection" not in rows.columns:
        return _text(rows, "collection")
    raw = rows["belongs_to_collection"]
    if isinstance(raw.dtype, pl.Struct):
        raw = raw.struct.field("name")
    else:
        raw = _per_distinct_value(raw, _name_of_literal, pl.String())
    return _text(pl.DataFrame({"collection": raw}), "collection")


def _per_distinct_value(raw: pl.Series, parse: Callable[[str], Any], dtype: pl.DataType) -> pl.Series:
    """Parse each distinct text once: 45,000 genre lists are 4,000 different ones."""
    text = raw.cast(pl.String).rename("text")
    distinct = text.drop_nulls().unique()
    parsed = pl.Series("parsed", [parse(value) for value in distinct], dtype=dtype)
    table = pl.DataFrame({"text": distinct, "parsed": parsed})
    return text.to_frame().join(table, on="text", how="left", maintain_order="left")["parsed"]


def _names_of_literal(text: str) -> list[str]:
    value = _literal(text)
    entries = cast("list[Any]", value) if isinstance(value, list) else []
    names = [cast("dict[str, Any]", entry).get("name") if isinstance(entry, dict) else entry for entry in entries]
    return [_unicode(name) for name in names if isinstance(name, str)]


def _name_of_literal(text: str) -> str | None:
    value = _literal(text)
    name = cast("dict[str, Any]", value).get("name") if isinstance(value, dict) else None
    return _unicode(name) if isinstance(name, str) else None


def _unicode(text: str) -> str:
    r"""Replace halves of characters, which an escape like ``\ud800`` can put into a literal."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _literal(text: str) -> object:
    """Read JSON, or a Python literal, or nothing: a field that is neither is a missing one, not a broken file."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None


def _report(movies: pl.DataFrame, rows: int, dropped: dict[str, int]) -> CatalogReport:
    described = (
        pl.col("title").str.contains(r"[\p{L}\p{N}]")
        & pl.col("first_genre").is_not_null()
        & pl.col("poster_path").is_not_null()
    )
    priced = pl.col("budget").is_not_null() & pl.col("revenue").is_not_null()
    counts = movies.select(
        poster=pl.col("poster_path").is_null().sum(),
        genre=pl.col("first_genre").is_null().sum(),
        budget=pl.col("budget").is_null().sum(),
        revenue=pl.col("revenue").is_null().sum(),
        collection=pl.col("collection").is_null().sum(),
        as_written=(described & pl.col("priced_as_written")).sum(),
        above_zero=(described & pl.col("priced_above_zero")).sum(),
        complete=(described & priced).sum(),
    ).row(0, named=True)
    top = (
        movies.drop_nulls("first_genre")
        .group_by("first_genre")
        .len()
        .sort("len", "first_genre", descending=[True, False])
        .head(10)
    )
    return CatalogReport(
        rows=rows,
        movies=movies.height,
        dropped=dropped,
        without={name: counts[name] for name in ("poster", "genre", "budget", "revenue", "collection")},
        complete_as_written=counts["as_written"],
        complete_above_zero=counts["above_zero"],
        complete=counts["complete"],
        first_genres=dict(top.iter_rows()),
    )
