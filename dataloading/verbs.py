"""The verbs of this stage, as the command line calls them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from crawler.catalog import read_catalog
from crawler.errors import UnusableInput
from crawler.progress import progress_bar
from dataloading.dataset import Dataset, build
from dataloading.groups import POSTER_DISTANCE
from dataloading.importer import ImportReport, import_folder
from dataloading.labels import make_task
from dataloading.report import DatasetReport, DatasetView
from dataloading.split import Scheme, SplitOptions
from dataloading.usertask import UserTask

dataset = App(name="dataset")
"""`keyart dataset`, and `keyart dataset show`."""


@dataset.default
def build_dataset(
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
        archive: Folder that `keyart crawl` wrote, or its URL: `s3://bucket/archive` or `gs://bucket/archive`.
        catalog: Catalogue that it was crawled from.
        output: Folder for the dataset; an earlier dataset there is replaced.
        task: `genre` (the first genre, of the most frequent ones), `comedy-horror`, `genres` (all of a movie's genres),
            `box-office` (revenue against budget), or a TOML file with a task of your own.
        split: `grouped`: 70 % train, 10 % validation, 20 % test by groups of related movies. `article`: 80 % and 20 %,
            movie by movie, as the article did.
        classes: Number of genres (`genre` and `genres`; default 10).
        per_class: At most this many movies a genre, the most popular first; 0 takes all (`genre` and `comedy-horror`;
            default 1000).
        ratio: Revenue over budget from which on a movie did well (`box-office`; default 1).
        minimum_money: Budget and revenue below this are missing (`box-office`; default 1000).
        poster_distance: Bits of 64 in which the hashes of near-identical posters may differ.
        seed: Which of the equally good divisions.
    """
    given = {"classes": classes, "per_class": per_class, "ratio": ratio, "minimum_money": minimum_money}
    if task.endswith(".toml") and any(value is not None for value in given.values()):
        msg = f"task {task}: its options stand in the file; leave them out of the command"
        raise UnusableInput(msg)
    chosen = UserTask.read(Path(task)) if task.endswith(".toml") else make_task(task, **given)
    options = SplitOptions(scheme=split, poster_distance=poster_distance, seed=seed)
    return build(archive, read_catalog(catalog), output, chosen, options)


@dataset.command
def show(folder: Path, /, *, catalog: Path | None = None) -> DatasetView:
    """Print a dataset's class counts and draw the genre histogram.

    Example: `keyart dataset show dataset --catalog catalog.parquet`

    Args:
        folder: Dataset that `keyart dataset` wrote.
        catalog: Draw the first genres of all its movies, as the article does; otherwise the dataset's own labels.
    """
    shown = Dataset.load(folder)
    counts = shown.counts()
    histogram = {label: sum(by_split.values()) for label, by_split in counts.items()}
    if catalog is not None:
        genres = read_catalog(catalog)["first_genre"].drop_nulls().value_counts(name="movies")
        histogram = dict(genres.iter_rows())
    return DatasetView(
        dataset=str(folder),
        task=shown.task,
        scheme=shown.scheme,
        posters=len(shown.table),
        archive=str(shown.archive),
        digest=shown.digest,
        counts=counts,
        splits=shown.splits(),
        histogram=histogram,
        histogram_of="movies by first genre" if catalog else "posters by label",
    )


archive = App(name="archive")
"""`keyart archive`: what the crawler's room does with archives, and the import of pictures from elsewhere."""
archive.command("crawler.verbs:archive_verify", name="verify", help="Read every byte and compare it with the sidecars.")
archive.command("crawler.verbs:archive_stats", name="stats", help="Count posters by status and reason.")
archive.command("crawler.verbs:archive_duplicates", name="duplicates", help="Group near-identical posters.")
archive.command("crawler.verbs:archive_remove", name="remove", help="Take posters out for good.")


@archive.command(name="import")
def import_archive(
    folder: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    table: Path | None = None,
) -> ImportReport:
    """Turn pictures that you already have into an archive with a catalogue.

    Example: `keyart archive import posters -o archive --table posters.csv`

    Args:
        folder: A folder with one folder of pictures for each genre or, with `--table`, any folder of pictures.
        output: Folder for the archive; the same command again goes on where it stopped.
        table: CSV with a column `filename` and any of movie_id, title, year, genres (with | between), first_genre,
            popularity, budget, revenue, collection.
    """
    with progress_bar("posters", total=None) as advance:
        return import_folder(folder, output, table, advance)
