"""The verbs of this stage, as the command line calls them."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - the command line reads the annotations
from typing import Annotated

from cyclopts import Parameter

from crawler.catalog import read_catalog
from dataloading.dataset import DatasetReport, build
from dataloading.groups import POSTER_DISTANCE
from dataloading.labels import make_task
from dataloading.split import Scheme, SplitOptions


def dataset(
    archive: Path,
    catalog: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    task: str,
    split: Scheme = Scheme.GROUPED,
    classes: int | None = None,
    per_class: int | None = None,
    ratio: float | None = None,
    minimum_money: float | None = None,
    poster_distance: int = POSTER_DISTANCE,
    seed: int = 0,
) -> DatasetReport:
    """Label, group and split an archive's posters for one task.

    Movies of one collection, one title or one picture never stand on both sides of the split.

    Example: `keyart dataset archive catalog.parquet -o dataset --task comedy-horror`

    Args:
        archive: Folder that `keyart crawl` wrote.
        catalog: Catalogue that it was crawled from.
        output: Folder for the dataset; an earlier dataset there is replaced.
        task: `genre` (the first genre, of the most frequent ones), `comedy-horror`, or `box-office` (revenue against
            budget).
        split: `grouped`: 70 % train, 10 % validation, 20 % test by groups of related movies. `article`: 80 % and 20 %,
            movie by movie, as the article did.
        classes: Number of genres (`genre`; default 10).
        per_class: At most this many movies a genre, the most popular first; 0 takes all (`genre` and `comedy-horror`;
            default 1000).
        ratio: Revenue over budget from which on a movie did well (`box-office`; default 1).
        minimum_money: Budget and revenue below this are missing (`box-office`; default 1000).
        poster_distance: Bits of 64 in which the hashes of near-identical posters may differ.
        seed: Which of the equally good divisions.
    """
    chosen = make_task(task, classes=classes, per_class=per_class, ratio=ratio, minimum_money=minimum_money)
    options = SplitOptions(scheme=split, poster_distance=poster_distance, seed=seed)
    return build(archive, read_catalog(catalog), output, chosen, options)
