"""Grouped movies -> train, validation and test, without a group on two sides.

Groups are taken whole, the large ones first and the single movies in order of label and decade; each goes to the
split that is furthest behind its share of the group's labels. So every label is divided as its shares say to within
a movie or so, and every decade nearly, however few movies it has.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import polars as pl

from dataloading.groups import POSTER_DISTANCE, RELATIONS
from dataloading.order import keyed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TRAIN: Final[str] = "train"
VALIDATION: Final[str] = "validation"
TEST: Final[str] = "test"
SPLITS: Final = (TRAIN, VALIDATION, TEST)


class Scheme(StrEnum):
    """How movies are divided."""

    GROUPED = "grouped"
    """70 % train, 10 % validation, 20 % test; a group never stands on two sides."""
    ARTICLE = "article"
    """80 % train and 20 % validation, movie by movie, as the article did: relatives on both sides, and the part that
    chooses the model also measures it."""

    @property
    def shares(self) -> dict[str, float]:
        """Share of each split; they add up to 1."""
        if self is Scheme.ARTICLE:
            return {TRAIN: 0.8, VALIDATION: 0.2}
        return {TRAIN: 0.7, VALIDATION: 0.1, TEST: 0.2}


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitOptions:
    """Every choice of a split."""

    scheme: Scheme = Scheme.GROUPED
    poster_distance: int = POSTER_DISTANCE
    """Bits of 64 in which the dhash of near-identical posters may differ."""
    seed: int = 0
    """Which of the equally good divisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaks:
    """Movies outside the training part that have a relative in it."""

    collection: int
    title: int
    poster: int
    any: int
    """Of any relation; at most the sum of the three."""

    def __str__(self) -> str:
        return f"{self.any} (collection {self.collection}, title {self.title}, near-identical poster {self.poster})"


def split_movies(movies: pl.DataFrame, shares: Mapping[str, float], seed: int = 0) -> pl.DataFrame:
    """Divide movies by group, stratified by label and decade.

    Args:
        movies: ``movie_id``, ``group`` int64, ``stratum`` int64 (the label), ``year`` (may be null); ids are distinct.
        shares: Split -> its share; they add up to 1.
        seed: Which of the equally good divisions.

    Returns:
        ``movie_id`` and ``split``, in ``movie_id`` order.

    Example:
        >>> movies = pl.DataFrame({"movie_id": [1, 2, 3], "group": [1, 1, 3], "stratum": [0, 0, 0], "year": [None] * 3})
        >>> split_movies(movies, {"train": 0.7, "test": 0.3})["split"].to_list()
        ['train', 'train', 'test']
    """
    ordered = movies.sort("movie_id")
    groups = ordered.group_by("group", maintain_order=True).agg(
        pl.len(), strata=pl.col("stratum"), stratum=pl.col("stratum").first(), decade=pl.col("year").first() // 10
    )
    tie = pl.Series("tie", keyed(groups["group"].to_numpy(), seed))
    groups = groups.with_columns(tie).sort(["len", "stratum", "decade", "tie"], descending=[True, False, False, False])
    chosen = _assign(groups["strata"].to_list(), shares)
    where = groups.select("group", split=pl.Series(chosen, dtype=pl.String))
    return ordered.select("movie_id", "group").join(where, on="group", how="left").select("movie_id", "split")


def count_leaks(keys: pl.DataFrame, split: pl.DataFrame) -> Leaks:
    """Count the movies outside the training part that have a relative in it.

    Args:
        keys: ``movie_id`` and a key for each relation, from ``groups.group_movies``.
        split: ``movie_id`` and ``split``.
    """
    rows = keys.join(split, on="movie_id")
    held_out = rows.filter(pl.col("split") != TRAIN)
    train = rows.filter(pl.col("split") == TRAIN)
    related = held_out.select(pl.col(relation).is_in(train[relation].implode()) for relation in RELATIONS)
    counts = {relation: int(related[relation].sum()) for relation in RELATIONS}
    return Leaks(**counts, any=related.select(pl.any_horizontal(RELATIONS).sum()).item())


def _assign(groups: Iterable[list[int]], shares: Mapping[str, float]) -> list[str]:
    """Give each group, as the strata of its members, to the split that is furthest behind in them."""
    seen: defaultdict[int, int] = defaultdict(int)
    taken: defaultdict[tuple[str, int], int] = defaultdict(int)
    chosen: list[str] = []
    for strata in groups:
        for stratum in strata:
            seen[stratum] += 1
        behind = {
            split: sum(share * seen[stratum] - taken[split, stratum] for stratum in strata)
            for split, share in shares.items()
        }
        split = max(behind, key=lambda name: round(behind[name], 9))  # a tie goes to the first, not to rounding errors
        for stratum in strata:
            taken[split, stratum] += 1
        chosen.append(split)
    return chosen
