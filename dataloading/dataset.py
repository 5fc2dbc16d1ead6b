"""Archive index + catalogue + task -> a dataset folder: which posters exist, their targets and their split.

A dataset is a folder with ``dataset.parquet`` (a row a poster) and ``dataset.json`` (what it is); the latter is
written last and is the commit mark. The same archive, catalogue and options give the same bytes of ``dataset.parquet``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import polars as pl

from crawler.errors import UnusableInput
from crawler.records import Status
from crawler.shards import SHARD_FOLDER, read_index
from crawler.storage import is_local, open_store
from dataloading.groups import group_movies
from dataloading.labels import task_to_dict
from dataloading.report import DatasetReport
from dataloading.split import SPLITS, TEST, TRAIN, VALIDATION, Scheme, SplitOptions, count_leaks, split_movies

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataloading.labels import Task

TABLE: Final = "dataset.parquet"
CARD: Final = "dataset.json"
CARD_FORMAT: Final = 1
COLUMNS: Final = (
    "movie_id",
    "shard",
    "offset_bytes",
    "size_bytes",
    "target",
    "split",
    "group",
    "sha256",
)
"""Of the table. ``group`` is the smallest ``movie_id`` of the movies that belong together."""

DEFAULT_SPLIT: Final = SplitOptions()
"""70/10/20 by group."""

_GROUP_COLUMNS: Final = ("movie_id", "title", "collection", "year")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset that was built, with the archive that it points into."""

    folder: Path
    table: pl.DataFrame
    """A row a poster, in ``movie_id`` order, with ``COLUMNS``."""
    task: str
    vocabulary: tuple[str, ...]
    """Label names in the order of the targets."""
    archive: Path
    """Folder, or the URL of a bucket's folder as a path (``crawler.storage.open_store`` takes both)."""
    scheme: Scheme
    digest: str
    """SHA-256 of the table."""

    @classmethod
    def load(cls, folder: Path, archive: Path | None = None) -> Self:
        """Read a dataset.

        Args:
            folder: Written by ``build``.
            archive: Where the archive is, if it is no longer where it was.

        Raises:
            UnusableInput: The folder holds no dataset of this format, the table was changed, or the archive is gone.
        """
        card, body = _read_card(folder), _read_table(folder)
        digest = hashlib.sha256(body).hexdigest()
        if digest != card["digest"]:
            msg = (
                f"dataset {folder}: {TABLE} has SHA-256 {digest[:12]}, expected {card['digest'][:12]} as in {CARD}; "
                f"build it again with `keyart dataset`"
            )
            raise UnusableInput(msg)
        where = archive or Path(card["archive"])
        where = where if archive or not is_local(where) else folder / where
        if is_local(where) and not (where / SHARD_FOLDER).is_dir():
            msg = (
                f"archive {_tidy(where)} of dataset {folder}: there are no shards; expected the archive that the "
                f"dataset was built from, so put it back or build the dataset again with `keyart dataset`"
            )
            raise UnusableInput(msg)
        return cls(
            folder=folder,
            table=pl.read_parquet(io.BytesIO(body)),
            task=card["task"]["name"],
            vocabulary=tuple(card["vocabulary"]),
            archive=_tidy(where),
            scheme=Scheme(card["split"]["scheme"]),
            digest=digest,
        )

    def beside_archive(self, name: str) -> Path:
        """Say where a local file that follows from the archive goes: into it or, where it is in a bucket, here."""
        return (self.archive if is_local(self.archive) else self.folder) / name

    def counts(self) -> dict[str, dict[str, int]]:
        """Count the posters: label -> split -> posters; with several labels a movie, once for each of them."""
        return _count(self.vocabulary, self.table)

    def splits(self) -> dict[str, int]:
        """Count the posters: split -> posters."""
        return _count_splits(self.table)

    def targets(self, rows: pl.DataFrame) -> NDArray[np.int64]:
        """Give the targets of some rows.

        Returns:
            int64 [n], indices of the vocabulary; for a task with several labels a movie int64 [n, c] of 0 and 1.
        """
        if not rows.schema["target"].is_nested():
            return rows["target"].to_numpy()
        several = np.zeros((len(rows), len(self.vocabulary)), np.int64)
        for row, targets in enumerate(rows["target"].to_list()):
            several[row, targets] = 1
        return several

    def rows(self, split: str) -> pl.DataFrame:
        """Give the rows of one split, in ``movie_id`` order.

        Under the article's scheme ``test`` is its validation part: the article measured on what it selected on.

        Raises:
            UnusableInput: There is no such split.
        """
        if split not in SPLITS:
            msg = f"split {split!r}: expected one of {', '.join(SPLITS)}"
            raise UnusableInput(msg)
        if self.scheme is Scheme.ARTICLE and split == TEST:
            split = VALIDATION
        return self.table.filter(pl.col("split") == split)


def build(
    archive: Path,
    catalog: pl.DataFrame,
    out: Path,
    task: Task,
    options: SplitOptions = DEFAULT_SPLIT,
) -> DatasetReport:
    """Label, group and split an archive's posters; write the dataset to ``out``.

    Args:
        archive: Folder that a crawl wrote, or its URL.
        catalog: The catalogue that it was crawled from.
        out: The dataset's folder; made if missing, an earlier dataset in it is replaced.
        task: What the posters are labelled for.
        options: How they are divided.

    Raises:
        UnusableInput: The archive holds no poster, the catalogue is another one, or a class has no poster to train on.
    """
    index = read_index(archive)
    stored = index.filter(pl.col("status") == Status.OK).unique("movie_id", keep="first", maintain_order=True)
    _check_catalog(catalog, task, archive, stored)
    labels = task.label(catalog, stored["movie_id"])
    _check_classes(labels.table, labels.vocabulary, f"task {task.name} in archive {archive}")
    movies = labels.table.join(catalog.select(_GROUP_COLUMNS), on="movie_id").join(stored, on="movie_id")
    keys = group_movies(movies, options.poster_distance)
    several = labels.table.schema["target"].is_nested()
    stratum = pl.col("target").list.last() if several else pl.col("target")  # the rarest, where there are several
    strata = movies.select("movie_id", "year", stratum=stratum).join(keys, on="movie_id")
    shares = options.scheme.shares
    alone = split_movies(strata.with_columns(group="movie_id"), shares, options.seed)
    split = alone if options.scheme is Scheme.ARTICLE else split_movies(strata, shares, options.seed)
    table = movies.join(keys.select("movie_id", "group"), on="movie_id").join(split, on="movie_id")
    table = table.select(COLUMNS).sort("movie_id")
    training = table.filter(pl.col("split") == TRAIN)
    _check_classes(training, labels.vocabulary, f"task {task.name}, training part of archive {archive}")
    group_sizes = table["group"].value_counts()["count"]
    body = _table_bytes(table)
    report = DatasetReport(
        dataset=str(out),
        task=task.name,
        scheme=options.scheme,
        posters=len(table),
        counts=_count(labels.vocabulary, table),
        splits=_count_splits(table),
        failed=int((index["status"] != Status.OK).sum()),
        unlabelled=len(stored) - len(table),
        groups=int((group_sizes > 1).sum()),
        largest_group=int(group_sizes.max()),  # pyright: ignore[reportArgumentType] - there are groups
        leaks_before=count_leaks(keys, alone),
        leaks_after=count_leaks(keys, split),
        digest=hashlib.sha256(body).hexdigest(),
    )
    card = {
        "format": CARD_FORMAT,
        "task": task_to_dict(task),
        "vocabulary": list(labels.vocabulary),
        "archive": _relative(archive, out),
        "digest": report.digest,
        "split": {**asdict(options), "shares": shares},
        "report": asdict(report),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / CARD).unlink(missing_ok=True)
    _write(out / TABLE, body)
    _write(out / CARD, (json.dumps(card, indent=2) + "\n").encode())
    return report


def _check_catalog(catalog: pl.DataFrame, task: Task, archive: Path, stored: pl.DataFrame) -> None:
    if missing := [name for name in (*_GROUP_COLUMNS, *task.columns) if name not in catalog.columns]:
        msg = f"catalogue: column {missing[0]} is missing; task {task.name} needs the columns of `keyart catalog`"
        raise UnusableInput(msg)
    if stored.is_empty():
        msg = f"archive {archive}: holds no poster, only failures; crawl it again with `keyart crawl`"
        raise UnusableInput(msg)
    if not stored["movie_id"].is_in(catalog["movie_id"].implode()).any():
        msg = (
            f"catalogue: has none of the {len(stored):,} movies of archive {archive}; expected the catalogue that the "
            f"archive was crawled from"
        )
        raise UnusableInput(msg)


def _check_classes(table: pl.DataFrame, vocabulary: tuple[str, ...], where: str) -> None:
    present = set(_each_target(table)["target"])
    if empty := [label for target, label in enumerate(vocabulary) if target not in present]:
        msg = f"{where}: class {empty[0]!r} has no poster; crawl more of it, or choose fewer classes or another task"
        raise UnusableInput(msg)


def _count(vocabulary: tuple[str, ...], table: pl.DataFrame) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {label: dict.fromkeys(SPLITS, 0) for label in vocabulary}
    for target, split, count in _each_target(table).group_by("target", "split").len().iter_rows():
        counts[vocabulary[target]][split] = count
    return counts


def _count_splits(table: pl.DataFrame) -> dict[str, int]:
    return {split: int((table["split"] == split).sum()) for split in SPLITS}


def _each_target(table: pl.DataFrame) -> pl.DataFrame:
    return table.explode("target") if table.schema["target"].is_nested() else table


def _table_bytes(table: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    table.write_parquet(stream, statistics=False)
    return stream.getvalue()


def _relative(archive: Path, out: Path) -> str:
    """Say where a local archive is from the dataset, since both may move together; or a bucket's URL."""
    store = open_store(archive)
    return store.url if store.folder is None else os.path.relpath(store.folder.resolve(), out.resolve())


def _write(path: Path, body: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(body)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    try:
        card = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        msg = f"dataset {folder}: {CARD} cannot be read ({error}); expected a folder written by `keyart dataset`"
        raise UnusableInput(msg) from error
    if not isinstance(card, dict) or card.get("format") != CARD_FORMAT:
        msg = f"dataset {folder}: {CARD} is not of format {CARD_FORMAT}; build it again with `keyart dataset`"
        raise UnusableInput(msg)
    return card


def _read_table(folder: Path) -> bytes:
    path = folder / TABLE
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"dataset {folder}: {TABLE} cannot be read ({error}); build it again with `keyart dataset`"
        raise UnusableInput(msg) from error


def _tidy(path: Path) -> Path:
    return Path(os.path.normpath(path))
