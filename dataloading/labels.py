"""Catalogue -> a target for every movie that a task is about."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Protocol

import polars as pl

from crawler.errors import UnusableInput

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Movies with their targets."""

    vocabulary: tuple[str, ...]
    """Label names, lower case, in the order of the targets."""
    table: pl.DataFrame
    """``movie_id`` int64 and ``target``, in ``movie_id`` order. A target is an index of ``vocabulary``, int64, or for a
    task with several labels a movie a list of them."""


class Task(Protocol):
    """What a dataset is labelled for."""

    @property
    def name(self) -> str:
        """As the command line and a model's card have it."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the catalogue that the task reads."""
        ...

    def label(self, catalog: pl.DataFrame, stored: pl.Series) -> Labels:
        """Give every movie of the task that has a poster its target.

        Args:
            catalog: A row a movie.
            stored: ``movie_id`` of the movies whose poster is in the archive.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Genre:
    """The first genre, of the genres that most movies have first."""

    name: str = field(default="genre", init=False)
    columns: tuple[str, ...] = field(default=("movie_id", "first_genre", "popularity"), init=False, repr=False)
    classes: int = 10
    """How many genres, the most frequent first. They are counted over the whole catalogue, so that the vocabulary does
    not depend on which posters could be had."""
    per_class: int = 1000
    """At most this many movies a genre, the most popular first; 0 takes all."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _at_least("classes", self.classes, 2)
        _at_least("per_class", self.per_class, 0)

    def label(self, catalog: pl.DataFrame, stored: pl.Series) -> Labels:
        """Label by first genre; see ``Task.label``."""
        genres = most_frequent(catalog["first_genre"], self.classes)
        return label_by(pl.col("first_genre"), catalog, stored, genres, self.per_class)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComedyHorror:
    """Comedy against horror by first genre."""

    name: str = field(default="comedy-horror", init=False)
    columns: tuple[str, ...] = field(default=("movie_id", "first_genre", "popularity"), init=False, repr=False)
    per_class: int = 1000
    """At most this many movies a genre, the most popular first; 0 takes all."""

    def __post_init__(self) -> None:
        """Check the range."""
        _at_least("per_class", self.per_class, 0)

    def label(self, catalog: pl.DataFrame, stored: pl.Series) -> Labels:
        """Label by first genre; see ``Task.label``."""
        return label_by(pl.col("first_genre"), catalog, stored, ["Comedy", "Horror"], self.per_class)


@dataclass(frozen=True, slots=True, kw_only=True)
class Genres:
    """All genres of a movie at once: several labels a movie."""

    name: str = field(default="genres", init=False)
    columns: tuple[str, ...] = field(default=("movie_id", "genres", "popularity"), init=False, repr=False)
    classes: int = 10
    """How many genres, the most frequent in the catalogue first; a movie with none of them is left out."""

    def __post_init__(self) -> None:
        """Check the range."""
        _at_least("classes", self.classes, 2)

    def label(self, catalog: pl.DataFrame, stored: pl.Series) -> Labels:
        """Label by all genres; see ``Task.label``."""
        genres = most_frequent(catalog["genres"].explode(), self.classes)
        return label_by(pl.col("genres"), catalog, stored, genres)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxOffice:
    """Whether a movie's revenue reached a multiple of its budget."""

    name: str = field(default="box-office", init=False)
    columns: tuple[str, ...] = field(default=("movie_id", "budget", "revenue"), init=False, repr=False)
    ratio: float = 1.0
    """Revenue over budget at and above which a movie did well."""
    minimum_money: float = 1000.0
    """Budget and revenue below this are missing, not small (US dollars)."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _at_least("ratio", self.ratio, 0)
        _at_least("minimum_money", self.minimum_money, 0)

    def label(self, catalog: pl.DataFrame, stored: pl.Series) -> Labels:
        """Label by revenue over budget; see ``Task.label``."""
        known = catalog.filter(
            pl.col("movie_id").is_in(stored.implode()),
            (pl.col("budget") > 0) & (pl.col("budget") >= self.minimum_money),
            (pl.col("revenue") > 0) & (pl.col("revenue") >= self.minimum_money),
        )
        did_well = (pl.col("revenue") / pl.col("budget") >= self.ratio).cast(pl.Int64)
        return Labels(vocabulary=("did poorly", "did well"), table=_targets(known, did_well))


TASKS: Final = {"genre": Genre, "comedy-horror": ComedyHorror, "genres": Genres, "box-office": BoxOffice}
"""Task name -> its class."""


def make_task(name: str, **options: object) -> Task:
    """Make a task by its name.

    Args:
        name: One of ``TASKS``.
        options: Fields of the task; those that are None keep their default.

    Raises:
        UnusableInput: There is no such task, it has no such option, or a value is out of range.

    Example:
        >>> make_task("genre", classes=3).name
        'genre'
    """
    if name not in TASKS:
        msg = f"task {name!r}: expected one of {', '.join(TASKS)}"
        raise UnusableInput(msg)
    kind = TASKS[name]
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    known = [one.name for one in fields(kind) if one.init]
    if unknown := [key for key in given if key not in known]:
        msg = f"option {unknown[0]} of task {name}: there is none; its options are {', '.join(known)}"
        raise UnusableInput(msg)
    return kind(**given)


def task_to_dict(task: Task) -> dict[str, Any]:
    """Turn a task into plain values: its name and its options."""
    plain = asdict(task)  # pyright: ignore[reportArgumentType] - every task is a dataclass
    return {name: value for name, value in plain.items() if name != "columns"}


def most_frequent(values: pl.Series, count: int | None = None) -> list[str]:
    """Give the values that occur most often, the most frequent first and ties by name; nulls do not count."""
    counts = values.rename("value").drop_nulls().value_counts(name="count")
    return counts.sort(["count", "value"], descending=[True, False])["value"].head(count or len(counts)).to_list()


def label_by(
    value: pl.Expr, catalog: pl.DataFrame, stored: pl.Series, names: Sequence[str], per_class: int = 0
) -> Labels:
    """Label stored movies by a value of theirs.

    Args:
        value: String, or list of strings for several labels a movie.
        catalog: A row a movie.
        stored: ``movie_id`` of the movies whose poster is in the archive.
        names: The values that are labels, in the order of their targets; a movie with none of them is left out.
        per_class: At most this many movies a value, the most popular first; 0 takes all.
    """
    codes = pl.Enum(names)
    movies = catalog.filter(pl.col("movie_id").is_in(stored.implode())).with_columns(value=value)
    several = movies.schema["value"].is_nested()
    if several:
        named = pl.element().filter(pl.element().is_in(names)).cast(codes).to_physical().cast(pl.Int64).unique().sort()
        movies = movies.with_columns(target=pl.col("value").list.eval(named)).filter(pl.col("target").list.len() > 0)
    else:
        movies = movies.filter(pl.col("value").is_in(names))
        movies = movies.with_columns(target=pl.col("value").cast(codes).to_physical().cast(pl.Int64))
    if per_class:
        by_popularity = movies.sort(["popularity", "movie_id"], descending=[True, False], nulls_last=True)
        movies = by_popularity.group_by("target", maintain_order=True).head(per_class)
    return Labels(vocabulary=tuple(name.lower() for name in names), table=_targets(movies, pl.col("target")))


def _targets(movies: pl.DataFrame, target: pl.Expr) -> pl.DataFrame:
    return movies.select(pl.col("movie_id"), target.alias("target")).sort("movie_id")


def _at_least(name: str, value: float, lowest: float) -> None:
    if not value >= lowest:
        msg = f"{name} {value}: expected {lowest} or more"
        raise UnusableInput(msg)
