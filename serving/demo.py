"""Nothing, or a folder of real posters -> the whole journey, one stage after the other, through the library."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import polars as pl

from crawler.archive import read_manifest
from crawler.catalog import clean, read_catalog, read_raw, write_catalog
from crawler.cluster import connected, crawl
from crawler.crawl import CrawlOptions
from crawler.drawn import draw_world
from crawler.errors import UnusableInput
from crawler.fetch import FetchOptions
from crawler.frontier import Selection
from crawler.origin import PosterServer
from crawler.progress import silent
from crawler.shards import SHARD_FOLDER, committed_shards, read_index
from dataloading.dataset import Dataset, build
from dataloading.labels import make_task
from serving.cluster import ScoreOptions, score
from serving.engine import load_card
from serving.export import ExportOptions, export
from serving.interval import gain, share
from serving.prediction import RowOptions
from serving.report import ReportOptions, write_report
from serving.summaries import DemoReport, Stage, start_of
from training.checkpoint import WEIGHTS
from training.cluster import train
from training.recipe import read_recipe
from training.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    from crawler.archive import Manifest
    from crawler.progress import Advance
    from dataloading.labels import Task

MOVIES: Final = 480
"""Drawn movies."""
SHARD_SIZE: Final = 200
PER_GENRE: Final = 1000
"""Real movies of each of the two genres, the most popular first."""
WORKERS: Final = 2
WEIGHTS_NAME: Final = "weights/resnet18_distilled_fp16.pth"
SCRATCH: Final = "scratch"
"""What ``weights`` is called where training begins from random weights."""
MANIFEST: Final = "demo.json"
FORMAT: Final = 1


class Bars(Protocol):
    """Draws the progress of a stage."""

    def __call__(self, label: str, total: int | None) -> AbstractContextManager[Advance]:
        """Give the function that is told of finished units while the block runs."""
        ...


@contextmanager
def no_bars(label: str, total: int | None) -> Generator[Advance]:
    """Draw nothing."""
    del label, total
    yield silent


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What a demo runs on."""

    data: Path | None = None
    """Folder with ``posters/`` and ``metadata/movies_metadata.csv``; None draws a world of its own."""
    weights: str | None = None
    """What training begins from: a file, ``timm:NAME``, or ``scratch``. None takes the file that lies in
    ``data/weights``, if there is one, and random weights otherwise."""
    movies: int = MOVIES
    """Drawn movies, where there is no ``data``."""
    corrections: tuple[str, ...] = ()
    """Of the recipe: ``field=value``."""


DEFAULT: Final = DemoOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a demo runs on."""

    metadata: Path
    posters: Path
    task: Task
    selection: Selection
    recipe: str
    """Name of a recipe that comes with keyart."""
    drawn: bool


class Clock:
    """Times the stages, and keeps what each had to say."""

    def __init__(self, bars: Bars) -> None:
        self.stages: list[Stage] = []
        self._bars = bars

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Generator[tuple[Advance, list[str]]]:
        """Time a stage; what is appended to the list is its line on the final screen."""
        begin = time.perf_counter()
        said: list[str] = []
        with self._bars(name, total) as advance:
            yield advance, said
        self.stages.append(Stage(name=name, seconds=round(time.perf_counter() - begin, 2), result="; ".join(said)))


def run_demo(out: Path, options: DemoOptions = DEFAULT, bars: Bars = no_bars) -> DemoReport:
    """Go the whole way from raw metadata to scored posters and a report.

    What an earlier call has finished in ``out`` is used; a stage that was interrupted goes on or is done again.

    Args:
        out: Folder for everything that is made.
        options: What to run on.
        bars: Draws progress.

    Raises:
        UnusableInput: The data or the weights are not there, or ``out`` holds something else.
        WorkFailed: A stage failed; the same call goes on.
    """
    begin = time.perf_counter()
    _check_data(options.data)
    recipe_weights = _weights(options.data, options.weights)
    _claim(out, options, recipe_weights)
    clock = Clock(bars)
    with connected(max(WORKERS, os.cpu_count() or 1)):
        world = _world(out, options, clock)
        _catalog(out, world, clock)
        _crawl(out, world, clock)
        _dataset(out, world, clock)
        _train(out, world, (*options.corrections, f"model.weights={recipe_weights}"), clock)
        _export(out, clock)
        _score(out, clock)
        _report(out, clock)
    return _summary(out, world, clock, time.perf_counter() - begin)


def _world(out: Path, options: DemoOptions, clock: Clock) -> World:
    if options.data is not None:
        return World(
            metadata=options.data / "metadata" / "movies_metadata.csv",
            posters=options.data / "posters",
            task=make_task("comedy-horror", per_class=PER_GENRE),
            selection=Selection(genres=("Comedy", "Horror"), per_genre=PER_GENRE),
            recipe="comedy-horror",
            drawn=False,
        )
    with clock.stage("draw", options.movies) as (advance, said):
        drawn = draw_world(out / "world", options.movies, advance=advance)
        said.append(f"{drawn.movies:,} posters of movies that do not exist")
    return World(
        metadata=drawn.metadata,
        posters=drawn.posters,
        task=make_task("genre"),
        selection=Selection(),
        recipe="drawn",
        drawn=True,
    )


def _catalog(out: Path, world: World, clock: Clock) -> None:
    with clock.stage("catalog") as (_, said):
        movies, report = clean(read_raw(world.metadata))
        write_catalog(movies, out / "catalog.parquet")
        dropped = ", ".join(f"{rule.replace('_', ' ')} {count:,}" for rule, count in report.dropped.items() if count)
        said.append(f"{report.movies:,} movies of {report.rows:,} rows (dropped: {dropped or 'none'})")


def _crawl(out: Path, world: World, clock: Clock) -> None:
    """Crawl over HTTP from a server of our own; a finished archive is only looked at."""
    archive, movies = out / "archive", read_catalog(out / "catalog.parquet")
    done = _finished_crawl(archive)
    with clock.stage("crawl") as (advance, said), PosterServer(world.posters) as server:
        options = CrawlOptions(
            image_base=done.image_base if done else server.base_url,
            rate=math.inf,
            workers=WORKERS,
            shard_size=SHARD_SIZE,
            selection=world.selection,
            fetch=FetchOptions(allow_private=True),  # our own server is on loopback
        )
        report = crawl(movies, archive, options, advance)
        failed = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in report.failed.items())
        said.append(f"{report.ok:,} of {report.requested:,} posters over HTTP, {report.shards} shards")
        said.append(f"failed: {failed or 'none'}")


def _finished_crawl(archive: Path) -> Manifest | None:
    """Return what a whole archive is of; half of one was fetched from a server that is gone, and is removed."""
    if not archive.exists():
        return None
    if committed_shards(archive / SHARD_FOLDER):
        manifest = read_manifest(archive)
        if len(read_index(archive)) == manifest.requested:
            return manifest
    shutil.rmtree(archive)
    return None


def _dataset(out: Path, world: World, clock: Clock) -> None:
    with clock.stage("dataset") as (_, said):
        report = build(out / "archive", read_catalog(out / "catalog.parquet"), out / "dataset", world.task)
        totals = {
            split: sum(counts[split] for counts in report.counts.values()) for split in ("train", "validation", "test")
        }
        said.append(
            f"task {report.task}, {len(report.counts)} labels: "
            + ", ".join(f"{name} {n:,}" for name, n in totals.items())
        )


def _train(out: Path, world: World, corrections: tuple[str, ...], clock: Clock) -> None:
    recipe = read_recipe(Path(world.recipe), corrections)
    dataset = Dataset.load(out / "dataset")
    with clock.stage("train", len(dataset.rows("train")) * recipe.epochs) as (advance, said):
        report = train(recipe, dataset, out / "run", WORKERS, advance)
        begin = start_of(report.initial_weights)
        said.append(f"{report.architecture} from {begin}, {report.epochs} epochs, {report.workers} workers")
        said.append(f"{report.images_per_s:,.0f} posters/s")


def _export(out: Path, clock: Clock) -> None:
    """Export, unless the model that is there is this checkpoint's; predictions of another model are of no use."""
    model, weights = out / "model", RunFolder(out / "run").best / WEIGHTS
    with weights.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if model.exists() and load_card(model).checkpoint_digest == digest:
        return
    shutil.rmtree(model, ignore_errors=True)
    shutil.rmtree(out / "predictions", ignore_errors=True)
    with clock.stage("export") as (_, said):
        report = export(out / "run", model, ExportOptions())
        said.append(f"{report.engine} {report.precision}, same first label as torch on {report.top1_agreement:.1%}")


def _score(out: Path, clock: Clock) -> None:
    with clock.stage("score") as (advance, said):
        options = ScoreOptions(rows=RowOptions(probabilities=True))
        report = score(out / "model", out / "archive", out / "predictions", options, advance)
        without = f", {sum(report.without_label.values()):,} of them with a reason in place of a label"
        said.append(f"{report.posters:,} rows{without if report.without_label else ''}")
        if report.scored_now:
            said.append(f"{report.posters_per_s:,.0f} posters/s")


def _report(out: Path, clock: Clock) -> None:
    with clock.stage("report") as (_, said):
        options = ReportOptions(catalog=out / "catalog.parquet")
        for source, name in (("run", "report.html"), ("predictions", "predictions.html")):
            written = write_report(out / source, out / name, options)
            said.append(f"{name} {written.size_bytes / 2**20:.1f} MiB")


def _summary(out: Path, world: World, clock: Clock, seconds: float) -> DemoReport:
    run = RunFolder(out / "run")
    evaluation = json.loads(run.evaluation.read_text())["test"]
    rows = pl.read_parquet(run.predictions)
    right = (rows["target"] == rows["label"]).to_numpy()
    frequent = rows["target"].value_counts().sort("count", "target", descending=[True, False])["target"][0]
    constant = (rows["target"] == frequent).to_numpy()
    return DemoReport(
        folder=str(out),
        drawn=world.drawn,
        task=world.task.name,
        weights=json.loads(run.manifest.read_text())["initial_weights"],
        labels=len(evaluation["vocabulary"]),
        held_out=len(rows),
        top1=asdict(share(int(np.count_nonzero(right)), len(rows))),
        majority=float(constant.mean()),
        majority_label=str(frequent),
        gain=asdict(gain(right, constant)),
        stages=tuple(clock.stages),
        seconds=round(seconds, 1),
    )


def _check_data(data: Path | None) -> None:
    if data is None:
        return
    for part in ("posters", "metadata/movies_metadata.csv"):
        if not (data / part).exists():
            msg = (
                f"--data {data}: {part} is not there; expected a folder with posters/ and metadata/movies_metadata.csv"
            )
            raise UnusableInput(msg)


def _weights(data: Path | None, weights: str | None) -> str:
    if weights == SCRATCH:
        return ""
    if weights is None:
        supplied = data / WEIGHTS_NAME if data else None
        return str(supplied.resolve()) if supplied and supplied.exists() else ""
    if not weights.startswith("timm:") and not Path(weights).is_file():
        msg = f"--weights {weights}: no such file; expected a file of weights, timm:NAME, or {SCRATCH}"
        raise UnusableInput(msg)
    return weights if weights.startswith("timm:") else str(Path(weights).resolve())


def _claim(out: Path, options: DemoOptions, weights: str) -> None:
    """Make the folder ours, or see that it is of the same demo.

    Raises:
        UnusableInput: It holds another demo, or something else.
    """
    wanted: dict[str, object] = {
        "format": FORMAT,
        "keyart": metadata.version("keyart"),
        "data": str(options.data.resolve()) if options.data else "drawn",
        "weights": weights or SCRATCH,
        "movies": PER_GENRE if options.data else options.movies,
        "corrections": list(options.corrections),
    }
    path = out / MANIFEST
    if path.exists():
        try:
            found = json.loads(path.read_text())
        except ValueError as error:
            msg = f"demo {path}: cannot be read ({error}); remove {out}, or choose another folder with -o"
            raise UnusableInput(msg) from error
        if found != wanted:
            name = next(name for name in wanted if found.get(name) != wanted[name])
            msg = f"demo {out}: made with {name} {found.get(name)}, not {wanted[name]}; remove it, or choose another -o"
            raise UnusableInput(msg)
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"demo {out}: exists and holds no demo (no {MANIFEST}); choose a new folder with -o"
        raise UnusableInput(msg)
    out.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(wanted, indent=1) + "\n")
    temporary.replace(path)
