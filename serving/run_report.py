"""A finished run -> the sections of its report."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from crawler.catalog import read_catalog
from crawler.errors import UnusableInput
from crawler.records import Reason
from dataloading.dataset import Dataset
from dataloading.source import PosterSource
from dataloading.split import SPLITS
from serving.charts import bars, heat_map, lines
from serving.interval import share
from serving.page import Drawn, Section, card, columns, paragraph, table
from serving.pictures import Example, gallery, likeliest_first, methods
from serving.summaries import start_of
from training.run_folder import RunFolder, read_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES: Final = 8
"""Posters of each gallery."""


def run_sections(run: Path, catalog: Path | None, *, pictures: bool) -> Drawn:
    """Draw a run.

    Args:
        run: Folder written by ``keyart train``.
        catalog: For titles and counts of all movies; None does without.
        pictures: Whether posters are shown.

    Raises:
        UnusableInput: The run is not finished, or its dataset or archive is gone.
    """
    folder = RunFolder(run)
    manifest = read_manifest(folder)
    if manifest is None or manifest.get("status") != "finished":
        msg = f"run {run}: not finished; the same `keyart train` command again goes on with it"
        raise UnusableInput(msg)
    evaluation = _read_json(folder.evaluation)["test"]
    epochs = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    kept = _read_json(folder.best / "card.json")["metrics"].get("best_epoch")
    dataset = Dataset.load(Path(manifest["dataset"]))
    movies = read_catalog(catalog) if catalog else None
    predictions = _with_places(pl.read_parquet(folder.predictions), dataset, movies)
    sections = (
        Section(heading="Result", body=_result(evaluation, manifest)),
        Section(heading="Movies", body=_movies(dataset, movies)),
        Section(heading="Four ways to make a poster square", body=_preparation(dataset, manifest, pictures=pictures)),
        Section(heading="Training", body=_curves(epochs, kept)),
        Section(heading="What is taken for what", body=_confusion(evaluation)),
        Section(heading="Right, and sure of it", body=_examples(predictions, dataset, right=True, pictures=pictures)),
        Section(heading="Wrong, and sure of it", body=_examples(predictions, dataset, right=False, pictures=pictures)),
        Section(heading="How it was made", body=_origin(manifest)),
    )
    recipe = manifest["recipe"]
    return Drawn(
        title=f"{manifest['task']}: {recipe['model']['architecture']} on posters",
        subtitle=f"run {run.name}, recipe {recipe['name']}, {len(epochs)} epochs, {manifest['finished_at']}",
        sections=sections,
        posters=evaluation["n"],
    )


def _result(evaluation: dict[str, Any], manifest: dict[str, Any]) -> str:
    top1 = share(round(evaluation["top1"] * evaluation["n"]), evaluation["n"])
    chance = 1 / len(evaluation["vocabulary"])
    begin = start_of(manifest["initial_weights"])
    chart = bars(
        "Share of held-out posters named right",
        {
            "top 1": evaluation["top1"],
            "top 3": evaluation["top3"],
            "most frequent": evaluation["majority"],
            "chance": chance,
        },
        unit="%",
    )
    lead = (
        f'<p class="lead"><b>{top1.value:.1%}</b> of {evaluation["n"]:,} held-out posters are named right '
        f"(95 % interval {top1.low:.1%} to {top1.high:.1%}); the most frequent label alone reaches "
        f"{evaluation['majority']:.1%}, chance {chance:.1%}.</p>"
    )
    note = paragraph(
        f"Training began from {begin}. No held-out movie shares a collection, a title or a poster with one that was "
        "trained on.",
        "soft",
    )
    return lead + columns([card("Named right", chart)]) + note


def _movies(dataset: Dataset, movies: pl.DataFrame | None) -> str:
    cards: list[str] = []
    if movies is not None:
        counts = movies["first_genre"].drop_nulls().value_counts(sort=True).head(12)
        cards.append(card("Catalogue by first genre", bars("Movies by first genre", dict(counts.iter_rows()))))
    by_split = {split: dataset.table.filter(pl.col("split") == split)["target"].value_counts() for split in SPLITS}
    found = {split: dict(counts.iter_rows()) for split, counts in by_split.items()}
    rows = [
        (name, *(int(found[split].get(target, 0)) for split in SPLITS))
        for target, name in enumerate(dataset.vocabulary)
    ]
    totals = ("all", *(sum(found[split].values()) for split in SPLITS))
    cards.append(card("Posters of this task", table(("label", *SPLITS), [*rows, totals])))
    return columns(cards)


def _preparation(dataset: Dataset, manifest: dict[str, Any], *, pictures: bool) -> str:
    rows = dataset.rows("test")
    body = PosterSource(dataset.archive, rows).read(len(rows) // 2)
    method = manifest["recipe"]["preprocess"]["method"]
    size = manifest["recipe"]["preprocess"]["size"]
    note = paragraph(f"This run used {method}, {size} x {size} pixels.", "soft")
    return note + (f"<p>{escape(body)}</p>" if isinstance(body, Reason) else methods(body, pictures=pictures))


def _curves(epochs: Sequence[dict[str, Any]], kept: int | None) -> str:
    loss = {
        "training": [line["train_loss"] for line in epochs],
        "validation": [line["validation_loss"] for line in epochs],
    }
    right = {"top 1": [line["top1"] for line in epochs], "top 3": [line["top3"] for line in epochs]}
    rows = [(line["epoch"], line["train_loss"], line["validation_loss"], line["top1"], line["top3"]) for line in epochs]
    figures = table(("epoch", "training loss", "validation loss", "top 1", "top 3"), rows)
    return (
        columns(
            [
                card("Loss", lines("Loss over the epochs", loss, share=False, mark=kept)),
                card(
                    "Named right, on validation",
                    lines("Share named right over the epochs", right, share=True, mark=kept),
                ),
            ]
        )
        + f"<details><summary>Figures of every epoch</summary>{figures}</details>"
    )


def _confusion(evaluation: dict[str, Any]) -> str:
    labels, counts = evaluation["vocabulary"], evaluation["confusion"]
    chart = heat_map("Confusion matrix of the held-out posters", labels, counts)
    worst = sorted(
        (
            (counts[row][column], labels[row], labels[column])
            for row in range(len(labels))
            for column in range(len(labels))
            if row != column
        ),
        reverse=True,
    )
    mistakes = table(("posters", "that are", "taken for"), [line for line in worst[:6] if line[0]])
    figures = table(("", *labels), [(name, *across) for name, across in zip(labels, counts, strict=True)])
    return columns(
        [
            card(
                "Rows: true label. Columns: predicted label.",
                chart + f"<details><summary>As a table</summary>{figures}</details>",
            ),
            card("Most frequent mistakes", mistakes),
        ]
    )


def _with_places(predictions: pl.DataFrame, dataset: Dataset, movies: pl.DataFrame | None) -> pl.DataFrame:
    """Add to each prediction where its poster lies, its title, and how sure it is."""
    places = dataset.table.select("movie_id", "shard", "offset_bytes", "size_bytes", "sha256")
    joined = predictions.join(places, on="movie_id").with_columns(sure=pl.col("probabilities").list.max())
    if movies is None:
        return joined.with_columns(title=pl.format("movie {}", "movie_id"))
    titles = movies.select("movie_id", title=pl.concat_str("title", pl.format(" ({})", "year"), ignore_nulls=True))
    return joined.join(titles, on="movie_id", how="left").with_columns(pl.col("title").fill_null("untitled"))


def _examples(predictions: pl.DataFrame, dataset: Dataset, *, right: bool, pictures: bool) -> str:
    agrees = pl.col("target") == pl.col("label")
    chosen = predictions.filter(agrees if right else ~agrees).sort("sure", "movie_id", descending=[True, False])
    chosen = (
        chosen.group_by("target", maintain_order=True).head(max(1, EXAMPLES // len(dataset.vocabulary))).head(EXAMPLES)
    )
    if chosen.is_empty():
        return paragraph("There is none.")
    source = PosterSource(dataset.archive, chosen)
    examples: list[Example] = []
    for row, line in enumerate(chosen.iter_rows(named=True)):
        body = source.read(row) if pictures else None
        examples.append(
            Example(
                body=None if isinstance(body, Reason) else body,
                title=line["title"],
                probabilities=likeliest_first(dataset.vocabulary, line["probabilities"]),
                truth=line["target"],
            )
        )
    return gallery(examples)


def _origin(manifest: dict[str, Any]) -> str:
    machine = manifest.get("machine", {})
    rows = [
        ("revision", manifest.get("revision", "unknown")),
        ("dataset digest", manifest["dataset_digest"]),
        ("recipe digest", manifest.get("recipe_digest", "")),
        ("seed", str(manifest.get("seed", ""))),
        ("workers", str(manifest.get("workers", ""))),
        ("precision", str(manifest.get("precision", ""))),
        (
            "machine",
            f"{machine.get('cpu')}, {machine.get('cores')} cores, {', '.join(machine.get('gpus', [])) or 'no GPU'}",
        ),
        ("versions", ", ".join(f"{name} {version}" for name, version in manifest.get("versions", {}).items())),
    ]
    return table(("", ""), rows)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        msg = f"run file {path}: cannot be read ({error}); expected a finished run of `keyart train`"
        raise UnusableInput(msg) from error
