"""A TOML file -> a task of the user's own."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

import polars as pl

from crawler.errors import UnusableInput
from dataloading.labels import Labels, label_by, most_frequent

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTask:
    """Labels from a column of the catalogue or from an expression over its columns.

    Example of a file::

        name = "era"
        expression = "CASE WHEN year < 1980 THEN 'old' ELSE 'new' END"
        where = "year IS NOT NULL"
    """

    name: str
    """Of the task."""
    column: str = ""
    """Column whose values are the labels: text, true and false, whole numbers, or lists of text for several labels."""
    expression: str = ""
    """SQL expression over the catalogue's columns, in place of ``column``; polars evaluates it."""
    where: str = ""
    """SQL condition that a movie must meet."""
    vocabulary: tuple[str, ...] = ()
    """Values that are labels, in the order of their targets; by default all of them, the most frequent first."""
    per_class: int = 0
    """At most this many movies a label, the most popular first; 0 takes all. One label a movie only."""
    columns: tuple[str, ...] = field(default=("movie_id", "popularity"), init=False, repr=False)
    source: str = field(default="task", compare=False)
    """File that it was read from, for messages."""

    def __post_init__(self) -> None:
        """Check what can be checked without a catalogue."""
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        if bool(self.column) == bool(self.expression):
            found = "both" if self.column else "none"
            msg = f"task {self.source}: has {found} of column and expression, expected one of them"
            raise UnusableInput(msg)
        if self.per_class < 0:
            msg = f"task {self.source}: per_class {self.per_class}, expected 0 or more"
            raise UnusableInput(msg)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a task from a TOML file.

        Raises:
            UnusableInput: The file cannot be read, is no TOML, or has a field that a task does not have.
        """
        try:
            plain = tomllib.loads(path.read_text())
        except (OSError, ValueError) as error:
            msg = f"task {path}: cannot be read ({error}); expected a TOML file with a name and a column or expression"
            raise UnusableInput(msg) from error
        known = [one.name for one in fields(cls) if one.init and one.name != "source"]
        for name, value in plain.items():
            wanted: type = {"vocabulary": list, "per_class": int}.get(name, str)
            if name not in known or not isinstance(value, wanted):
                msg = f"task {path}: {name} = {value!r}, expected one of {', '.join(known)} with a fitting value"
                raise UnusableInput(msg)
        given: dict[str, Any] = {"name": path.stem, **plain, "source": str(path)}
        return cls(**given)

    def label(self, catalog: pl.DataFrame, stored: pl.Series) -> Labels:
        """Label by the column or expression; see ``dataloading.labels.Task.label``."""
        try:
            value = pl.col(self.column) if self.column else pl.sql_expr(self.expression)
            chosen = catalog.filter(pl.sql_expr(self.where)) if self.where else catalog
            values = chosen.select("movie_id", value=value)
        except pl.exceptions.PolarsError as error:
            reason = str(error).strip().splitlines()[0]
            msg = f"task {self.source}: {reason}; the catalogue has the columns {', '.join(catalog.columns)}"
            raise UnusableInput(msg) from error
        kind = values.schema["value"]
        several = kind == pl.List(pl.String)
        if several and self.per_class:
            msg = f"task {self.source}: per_class {self.per_class} with several labels a movie; leave it out"
            raise UnusableInput(msg)
        if not several and kind not in (pl.String(), pl.Boolean()) and not kind.is_integer():
            wanted = "text, true and false, whole numbers or lists of text"
            msg = f"task {self.source}: its values are {kind}, expected {wanted}"
            raise UnusableInput(msg)
        text = values["value"] if several else values["value"].cast(pl.String)
        own = chosen.with_columns(value=text)
        names = list(self.vocabulary) or most_frequent(text.explode() if several else text)
        return label_by(pl.col("value"), own, stored, names, self.per_class)
