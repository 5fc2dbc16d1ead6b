"""A study's stored results -> the sections of its report, and its tables as Markdown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from crawler.catalog import read_catalog
from crawler.records import Reason
from dataloading.dataset import Dataset
from dataloading.source import PosterSource
from serving.charts import heat_map, lines
from serving.page import Drawn, Section, card, columns, paragraph, table
from serving.pictures import Example, gallery, likeliest_first
from serving.study_charts import intervals, reliability, scatter
from serving.study_tables import StudyTables
from training.comparison import qualities, read_answers, vocabulary
from training.statistics import Interval, group_bootstrap
from training.study import StudyFolder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from serving.study_tables import Table
    from training.study import Arm

MISTAKES: Final = 8
"""Posters of a gallery."""


def study_sections(study: Path, catalog: Path | None, *, pictures: bool) -> Drawn:
    """Draw a study.

    Args:
        study: Folder written by ``keyart experiment``.
        catalog: For the titles of mistaken posters.
        pictures: Whether they are shown.

    Raises:
        UnusableInput: The folder holds no study, or pictures are wanted and the archive is gone.
    """
    found = StudyTables.read(StudyFolder(study))
    claims, *others = found.all()
    best = _best_of_each_task(found)
    sections = [
        Section(heading=claims.heading, body=_shown(claims)),
        Section(heading="Top-1 of every arm", body=columns(_levels(found))),
        Section(heading="Learning curves", body=columns(_curves(found))),
        Section(heading="What is taken for what", body=columns([_confusion(found, arm) for arm in best])),
        Section(heading="What a model's confidence is worth", body=columns([_trust(found, arm) for arm in best])),
        Section(heading="Quality and cost", body=_cost(found)),
        Section(
            heading="Wrong, and sure of it",
            body="".join(_mistakes(found, arm, catalog, pictures=pictures) for arm in best),
        ),
        *(Section(heading=one.heading, body=_shown(one)) for one in others),
    ]
    ended = len(found.manifests)
    return Drawn(
        title=f"Study {found.study.name}",
        subtitle=f"{len(found.results)} arms, {ended} runs have ended",
        sections=tuple(sections),
        posters=sum(one.n for one in found.results),
    )


def study_markdown(study: Path) -> tuple[str, int]:
    """Write a study's tables as Markdown, without figures and posters; give the number of answers they are about too.

    Raises:
        UnusableInput: The folder holds no study.
    """
    found = StudyTables.read(StudyFolder(study))
    text = "\n".join([f"# Study {found.study.name}", "", *(one.markdown() for one in found.all())])
    return text, sum(one.n for one in found.results)


def _shown(one: Table) -> str:
    return paragraph(one.note, "soft") + (table(one.head, one.rows) if one.rows else "")


def _levels(found: StudyTables) -> list[str]:
    cards: list[str] = []
    for task in dict.fromkeys(one.task for one in found.results):
        values = {_short(one.arm, task): one.figures["top1"] for one in found.results if one.task == task}
        claimed = {
            _short(one.arm, task): one.says
            for one in found.study.claims
            if one.says is not None and one.figure == "top1" and found.study[one.arm].task == task
        }
        marks = {name: says for name, says in claimed.items() if name in values}
        note = "" if not marks else paragraph("Hollow: what the article says.", "soft")
        cards.append(card(task, intervals(f"Top-1 of the arms of {task}, 95 % intervals", values, marks) + note))
    return cards


def _short(arm: str, task: str) -> str:
    """Leave the task out of an arm's name where it stands above the chart."""
    return arm.removeprefix(f"{task}-")


def _curves(found: StudyTables) -> list[str]:
    cards: list[str] = []
    for arm in found.study.arms:
        runs = [
            [json.loads(line) for line in found.folder.run(arm, seed).metrics.read_text().splitlines()]
            for seed in found.study.seeds_of(arm)
            if found.folder.finished(arm, seed)
        ]
        epochs = min((len(run) for run in runs), default=0)
        if epochs < 2:  # noqa: PLR2004 - a point is no curve
            continue
        series = {
            "training": [float(np.mean([run[epoch]["train_loss"] for run in runs])) for epoch in range(epochs)],
            "validation": [float(np.mean([run[epoch]["validation_loss"] for run in runs])) for epoch in range(epochs)],
        }
        drawn = lines(f"Loss of {arm.name}, mean of {len(runs)} seeds", series, share=False)
        cards.append(card(f"{arm.name}: loss, mean of {len(runs)} seeds", drawn))
    return cards or [paragraph("No arm has been trained for several epochs.")]


def _best_of_each_task(found: StudyTables) -> list[Arm]:
    """Give the model with the highest top-1 of each task, of those that are measured fairly."""
    best: dict[str, tuple[float, Arm]] = {}
    for one in found.results:
        arm = found.study[one.arm]
        level = one.figures["top1"].estimate
        if arm.baseline is None and arm.split == "grouped" and level > best.get(arm.task, (-1.0, arm))[0]:
            best[arm.task] = level, arm
    return [arm for _, arm in best.values()]


def confusion_shares(rows: pl.DataFrame, labels: Sequence[str]) -> tuple[list[list[int]], list[list[Interval]]]:
    """Count what is taken for what over all seeds, with an interval for each share of a true label.

    Args:
        rows: ``read_answers`` of a task with one label a poster.
        labels: Its vocabulary.

    Returns:
        Posters by [true][predicted], and the share of the row with a bootstrap over groups.
    """
    counts: list[list[int]] = []
    shares: list[list[Interval]] = []
    for truth in labels:
        some = rows.filter(pl.col("target") == truth).sort("movie_id", "seed")
        groups = some["group"].to_numpy()
        counts.append([int((some["label"] == name).sum()) for name in labels])
        shares.append(
            [
                group_bootstrap((some["label"] == name).to_numpy().astype(float), groups, resamples=1000)
                if len(some)
                else Interval(estimate=0.0, low=0.0, high=0.0)
                for name in labels
            ]
        )
    return counts, shares


def _confusion(found: StudyTables, arm: Arm) -> str:
    rows = read_answers(found.study, found.folder, arm)
    labels = vocabulary(found.study, found.folder, arm)
    counts, shares = confusion_shares(rows, labels)
    drawn = heat_map(f"Confusion matrix of {arm.name}, all seeds", labels, counts)
    figures = [
        (name, *(f"{one.estimate:.0%} [{one.low:.0%}, {one.high:.0%}]" for one in across))
        for name, across in zip(labels, shares, strict=True)
    ]
    details = f"<details><summary>Shares of each true label, 95 %</summary>{table(('', *labels), figures)}</details>"
    return card(f"{arm.name}: rows true, columns predicted", drawn + details)


def _trust(found: StudyTables, arm: Arm) -> str:
    rows = read_answers(found.study, found.folder, arm)
    parts = [quality for quality, _ in qualities(rows, vocabulary(found.study, found.folder, arm))]
    bins = np.array([quality.reliability() for quality in parts])  # seeds, bins, (sure, true, count)
    counts = bins[:, :, 2].sum(axis=0)
    means = (bins[:, :, :2] * bins[:, :, 2:]).sum(axis=0) / np.maximum(counts, 1)[:, None]
    pooled = [(float(sure), float(true), int(count)) for (sure, true), count in zip(means, counts, strict=True)]
    return card(f"{arm.name}: all seeds", reliability(f"Reliability of {arm.name}", pooled))


def _cost(found: StudyTables) -> str:
    levels = {one.arm: one.figures["top1"].estimate for one in found.results}
    points = {name: (1000 * one.estimate, levels[name]) for name, one in found.costs.items() if name in levels}
    if not points:
        return paragraph("The cost of a training step was not measured in this study.")
    drawn = scatter("Top-1 and cost of each arm", points, across="ms of CPU a poster", up="top-1")
    return card("Training step and top-1", drawn)


def _mistakes(found: StudyTables, arm: Arm, catalog: Path | None, *, pictures: bool) -> str:
    """Show the posters that an arm is most wrongly sure of, one of each over all seeds."""
    rows = read_answers(found.study, found.folder, arm).filter(~pl.col("right"))
    rows = rows.with_columns(sure=pl.col("probabilities").list.max())
    rows = rows.sort("sure", "movie_id", descending=[True, False]).unique("movie_id", maintain_order=True)
    rows = rows.head(MISTAKES)
    if rows.is_empty():
        return paragraph(f"{arm.name}: there is none.")
    titles: dict[int, str] = {}
    if catalog is not None:
        movies = read_catalog(catalog).filter(pl.col("movie_id").is_in(rows["movie_id"].implode()))
        titles = dict(movies.select("movie_id", pl.format("{} ({})", "title", "year")).iter_rows())
    labels = vocabulary(found.study, found.folder, arm)
    bodies = _bodies(found, arm, rows) if pictures else {}
    examples = [
        Example(
            body=bodies.get(line["movie_id"]),
            title=titles.get(line["movie_id"]) or f"movie {line['movie_id']}",
            probabilities=likeliest_first(labels, line["probabilities"]),
            truth=_one(line["target"]),
        )
        for line in rows.iter_rows(named=True)
    ]
    return f"<h3>{arm.name}</h3>" + gallery(examples)


def _one(target: str | list[str]) -> str:
    return target if isinstance(target, str) else ", ".join(target)


def _bodies(found: StudyTables, arm: Arm, rows: pl.DataFrame) -> dict[int, bytes]:
    bodies: dict[int, bytes] = {}
    for (seed,), some in rows.group_by("seed"):
        dataset = Dataset.load(found.folder.dataset(arm, int(str(seed))))
        places: Any = dataset.table.filter(pl.col("movie_id").is_in(some["movie_id"].implode()))
        source = PosterSource(dataset.archive, places)
        for row, movie_id in enumerate(places["movie_id"]):
            body = source.read(row)
            if not isinstance(body, Reason):
                bodies[movie_id] = body
    return bodies
