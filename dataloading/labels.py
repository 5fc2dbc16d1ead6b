"""Catalogue -> a target for every movie that a task is about."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

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
    """``movie_id`` int64, ``target`` int64 (an index of ``vocabulary``); in ``movie_id`` order."""


class Task(Protocol):
    """What a dataset is labelled for."""

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    """Columns of the catalogue that the task reads."""

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

    name: ClassVar[str] = "genre"
    columns: ClassVar[tuple[str, ...]] = ("movie_id", "first_genre", "popularity")
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
        counts = catalog.drop_nulls("first_genre").group_by("first_genre").len()
        genres = counts.sort(["len", "first_genre"], descending=[True, False])["first_genre"].head(self.classes)
        return _by_first_genre(catalog, stored, genres.to_list(), self.per_class)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComedyHorror:
    """Comedy against horror by first genre."""

    name: ClassVar[str] = "comedy-horror"
    columns: ClassVar[tuple[str, ...]] = ("movie_id", "first_genre", "popularity")
    per_class: int = 1000
    """At most this many movies a genre, the most popular first; 0 takes all."""

    def __post_init__(self) -> None:
        """Check the range."""
        _at_least("per_class", self.per_class, 0)

    def label(self, catalog: pl.DataFrame, stored: pl.Series) -> Labels:
        """Label by first genre; see ``Task.label``."""
        return _by_first_genre(catalog, stored, ["Comedy", "Horror"], self.per_class)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxOffice:
    """Whether a movie's revenue reached a multiple of its budget."""

    name: ClassVar[str] = "box-office"
    columns: ClassVar[tuple[str, ...]] = ("movie_id", "budget", "revenue")
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


TASKS: Final = {task.name: task for task in (Genre, ComedyHorror, BoxOffice)}
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
    known = list(kind.__dataclass_fields__)
    if unknown := [key for key in given if key not in known]:
        msg = f"option {unknown[0]} of task {name}: there is none; its options are {', '.join(known)}"
        raise UnusableInput(msg)
    return kind(**given)


def task_to_dict(task: Task) -> dict[str, Any]:
    """Turn a task into plain values: its name and its options."""
    return {"name": task.name, **asdict(task)}  # pyright: ignore[reportArgumentType] - every task is a dataclass


def _by_first_genre(catalog: pl.DataFrame, stored: pl.Series, genres: Sequence[str], per_class: int) -> Labels:
    chosen = catalog.filter(pl.col("movie_id").is_in(stored.implode()), pl.col("first_genre").is_in(genres))
    if per_class:
        by_popularity = chosen.sort(["popularity", "movie_id"], descending=[True, False], nulls_last=True)
        chosen = by_popularity.group_by("first_genre", maintain_order=True).head(per_class)
    target = pl.col("first_genre").replace_strict(genres, range(len(genres)), return_dtype=pl.Int64)
    return Labels(vocabulary=tuple(genre.lower() for genre in genres), table=_targets(chosen, target))


def _targets(movies: pl.DataFrame, target: pl.Expr) -> pl.DataFrame:
    return movies.select(pl.col("movie_id"), target.alias("target")).sort("movie_id")


def _at_least(name: str, value: float, lowest: float) -> None:
    if not value >= lowest:
        msg = f"{name} {value}: expected {lowest} or more"
        raise UnusableInput(msg)
