"""A folder of posters -> what the questions about training, scoring and serving work on: archive, dataset, run, models.

Real posters are labelled from ``posters_index.csv`` beside their folder where there is one, so that what an engine
loses in accuracy can be said; else labels alternate, and only speed is measured. The network is a ResNet18 with a head
fitted to the posters, from the weights beside them or from random ones: its speed depends on neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from benchmarks.posters import find_posters
from crawler.catalog import read_catalog
from crawler.shards import SHARD_FOLDER, committed_shards
from dataloading.dataset import Dataset, build
from dataloading.importer import CATALOG_NAME, import_folder
from dataloading.labels import make_task
from serving.export import ExportOptions, export
from serving.sources import ShardChunk
from training.cluster import train
from training.recipe import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.findings import Options
    from serving.engine import Precision

GENRES: Final = ("Comedy", "Horror")
INDEX: Final = "posters_index.csv"
WEIGHTS: Final = "weights/resnet18_distilled_fp16.pth"
ARCHITECTURE: Final = "resnet18"
SIZE: Final = 224
QUICK_SIZE: Final = 32
QUICK_POSTERS: Final = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """Posters that were imported, labelled and split."""

    folder: Path
    posters: int
    inputs: str
    """What they are, for under a table."""
    labelled: bool
    """Whether the labels mean anything."""
    size: int
    """Of the network's input."""
    weights: Path | None
    """That training begins from."""

    @property
    def archive(self) -> Path:
        """Shards of 1,000."""
        return self.folder / "archive"

    @property
    def dataset(self) -> Path:
        """Comedy against horror."""
        return self.folder / "dataset"

    @property
    def run(self) -> Path:
        """Made by ``fit_head``."""
        return self.folder / "run"

    def model(self, precision: Precision) -> Path:
        """Made by ``export_models``."""
        return self.folder / f"model-{precision}"

    def chunks(self, posters: int) -> list[ShardChunk]:
        """Give the shards that hold the first ``posters`` of them, or all where there are fewer."""
        folder = self.archive / SHARD_FOLDER
        names = committed_shards(folder)
        counts = [pl.scan_parquet(folder / f"{name}.parquet").select(pl.len()).collect().item() for name in names]
        kept, total = list[ShardChunk](), 0
        for name, count in zip(names, counts, strict=True):
            if total < posters:
                kept.append(ShardChunk(folder=folder, name=name))
                total += count
        return kept

    def recipe(self, **changes: object) -> Recipe:
        """Give the recipe that all contenders of a question share."""
        plain = {
            "name": "bench",
            "epochs": 1,
            "batch_size": 32,
            "preprocess": {"method": "resize", "size": self.size},
            "model": {"architecture": ARCHITECTURE, "weights": str(self.weights or "")},
            "optimizer": {"learning_rate": 0.01, "schedule": "constant"},
        }
        return Recipe.from_dict(plain | changes)

    def fit_head(self) -> None:
        """Train the last layer, so that there is a run to export."""
        train(self.recipe(freeze="trunk"), self.dataset, self.run, workers=0)

    def export_models(self, precisions: tuple[Precision, ...]) -> None:
        """Build an engine in each precision; ``force`` because an untrained network has no margin to lose."""
        for precision in precisions:
            export(self.run, self.model(precision), ExportOptions(precision=precision, force=True))


def set_up(options: Options, count: int) -> Workbench:
    """Import posters and make a dataset of them.

    Args:
        options: Where they are, and whether a few are enough.
        count: Posters.

    Raises:
        UnusableInput: The folder has too few.
    """
    count = min(count, QUICK_POSTERS) if options.quick else count
    table = _labelled(options, count)
    if table is None:
        source = find_posters(options.posters, count, options.cache)
        folder, inputs = source.paths[0].parent, str(source)
        genres = [GENRES[place % 2] for place in range(len(source.paths))]
        names = [path.name for path in source.paths]
        table = pl.DataFrame({"filename": names, "title": names, "genres": genres})
    else:
        assert options.posters is not None  # noqa: S101 - a table comes with a folder
        folder = options.posters
        mean_kb = sum((folder / name).stat().st_size for name in table["filename"]) / len(table) / 1000
        inputs = f"{len(table):,} real w185 posters of {mean_kb:.1f} kB on average"
    table.write_csv(options.scratch / "posters.csv")
    weights = options.posters.parent / WEIGHTS if options.posters is not None else None
    bench = Workbench(
        folder=options.scratch,
        posters=len(table),
        inputs=inputs,
        labelled="tmdb_id" in table.columns,
        size=QUICK_SIZE if options.quick else SIZE,
        weights=weights if weights is not None and weights.is_file() else None,
    )
    import_folder(folder, bench.archive, options.scratch / "posters.csv")
    build(bench.archive, read_catalog(bench.archive / CATALOG_NAME), bench.dataset, make_task("comedy-horror"))
    return bench


def training_posters(bench: Workbench) -> int:
    """Count the posters that a training sees in an epoch."""
    return len(Dataset.load(bench.dataset).rows("train"))


def _labelled(options: Options, count: int) -> pl.DataFrame | None:
    """Take labelled comedies and horror movies in equal parts, evenly spread, where labels lie beside the posters."""
    if options.posters is None or not (path := options.posters.parent / INDEX).is_file():
        return None
    table = pl.read_csv(path, infer_schema=False)
    parts = [table.filter(pl.col("first_genre") == genre) for genre in GENRES]
    half = count // len(GENRES)
    if any(len(part) < half for part in parts):
        return None
    every = [part.gather_every(len(part) // half).head(half) for part in parts]
    columns = ("filename", "title", "year", "genres", "tmdb_id")
    return pl.concat(every).select(columns).with_columns(movie_id="tmdb_id")
