"""How do crawling and scoring grow with the number of workers, and what does a shard cost beside its work?

Method: a Ray cluster of eight simulated nodes of one CPU each (``ray.cluster_utils.Cluster``) on this machine; of them
1, 2, 4 and 8 work, in shuffled rounds, each on as many shards as the others, so that perfect scaling takes the same
time at every size. Eight nodes cannot compute more than this machine's cores do, so what they wait for is made to
dominate, as it does in a large crawl: the poster host answers after 100 ms, and a worker has eight connections. Scoring
is that of ``keyart score`` on the shards just crawled, with an engine that waits as long as one on a slow device would
compute (200 ms for 16 posters); reading, decoding, preparing, writing and everything that Ray does are the real ones.
*Efficiency* is the rate with n workers divided by n times the rate with one.

A cost model is fitted to all laps by least squares: a lap takes ``fixed + shards * shard + sharing * (workers - 1)``
seconds, with laps of one and of two shards a worker to tell the first two apart. docs/scaling.md goes on from there.

Why it comes out so: plans go out, receipts come back, and no poster passes the driver, so workers do not wait for each
other. What is lost is at the end of a lap, when some workers are done, and on this machine's cores, which all nodes
share: the sharing term is theirs, and an upper bound of what the driver itself adds for each worker.

Command: ``keyart bench scaling OUT --posters FOLDER``.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
import ray

from benchmarks.findings import Findings, Role, Row, Table, disturbance
from benchmarks.nodes import cluster, held, host, timed
from benchmarks.posters import find_posters
from benchmarks.timing import Ratio, faster
from benchmarks.workbench import QUICK_POSTERS, set_up
from crawler.cluster import crawl
from crawler.crawl import CrawlOptions
from crawler.fetch import FetchOptions
from serving.cluster import ScoreOptions, score
from serving.engine import Kind
from serving.export import ExportOptions, export
from serving.predictor import BATCH

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.findings import Options
    from benchmarks.timing import Contender, Lap, Series

SIZES: Final = (1, 2, 4, 8)
QUICK_SIZES: Final = (1, 2)
HOST_S: Final = 0.1
"""How long the poster host takes to answer."""
ENGINE_S: Final = 0.2
"""How long the engine takes for a batch."""
CONNECTIONS_EACH: Final = 8
SHARDS_EACH: Final = 2
SHARD_POSTERS: Final = 160
GOAL: Final = 0.90
"""Efficiency with eight workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many work, and on how much."""

    workers: int
    shards_each: int
    shard_posters: int

    @property
    def posters(self) -> int:
        """In a lap."""
        return self.workers * self.shards_each * self.shard_posters

    def __str__(self) -> str:
        """As it stands in a table."""
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        return workers if self.shards_each > 1 else f"{workers}, one shard each"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """Seconds of a lap, as fitted: ``fixed + shards_each * shard + sharing * (workers - 1)``."""

    fixed_s: float
    shard_s: float
    sharing_s: float
    residual_s: float
    """Root of the mean square of what the model leaves."""
    waited_s: float
    """What a shard's waiting alone takes: the least that ``shard_s`` can be."""


@dataclass(slots=True, kw_only=True)
class _Crawl:
    """A lap of crawling."""

    size: Size
    base: str
    archive: Path

    def lap(self) -> Lap:
        """Crawl all shards anew."""
        numbers = range(self.size.posters)
        paths = [f"/{number}.jpg" for number in numbers]
        catalog = pl.DataFrame({"movie_id": numbers, "poster_path": paths}).lazy()
        options = CrawlOptions(
            image_base=self.base,
            rate=math.inf,
            connections=CONNECTIONS_EACH * self.size.workers,
            workers=self.size.workers,
            shard_size=self.size.shard_posters,
            fetch=FetchOptions(allow_private=True),
        )
        shutil.rmtree(self.archive, ignore_errors=True)
        return timed(f"crawl, {self.size}", lambda: crawl(catalog, self.archive, options).ok, self.size.posters)


@dataclass(slots=True, kw_only=True)
class _Score:
    """A lap of scoring; nodes that are not to work are held by actors that do nothing."""

    size: Size
    nodes: int
    model: Path
    archive: Path
    out: Path

    def lap(self) -> Lap:
        """Score all shards anew."""
        shutil.rmtree(self.out, ignore_errors=True)
        options = ScoreOptions(workers=self.nodes)
        with held(self.nodes - self.size.workers):
            return timed(
                f"score, {self.size}",
                lambda: score(self.model, self.archive, self.out, options).scored_now,
                self.size.posters,
            )


def measure(options: Options) -> Findings:
    """Crawl and score with more and more workers.

    Raises:
        UnusableInput: There are too few posters.
        WorkFailed: The host did not start, or posters are missing in the end.
    """
    workers, posters = (QUICK_SIZES, 16) if options.quick else (SIZES, SHARD_POSTERS)
    sizes = [Size(workers=n, shards_each=SHARDS_EACH, shard_posters=posters) for n in workers]
    sizes.append(Size(workers=1, shards_each=1, shard_posters=posters))
    bench = set_up(replace(options, quick=True), QUICK_POSTERS)  # a small network, for the engine only waits
    bench.fit_head()
    model = bench.folder / "model-torch"
    export(bench.run, model, ExportOptions(engine=Kind.TORCH, force=True))
    source = find_posters(options.posters, 200, options.cache)
    units = {str(size): size.posters for size in sizes}
    with host(source.paths[0].parent, HOST_S) as base, cluster(max(workers), ENGINE_S):
        crawls: dict[str, Contender] = {
            str(size): _Crawl(size=size, base=base, archive=options.scratch / f"crawl {size}") for size in sizes
        }
        crawled = options.take_turns(crawls, units)
        scores: dict[str, Contender] = {
            str(size): _Score(
                size=size,
                nodes=max(workers),
                model=model,
                archive=options.scratch / f"crawl {size}",
                out=options.scratch / f"score {size}",
            )
            for size in sizes
        }
        scored = options.take_turns(scores, units)
    both = {"crawl": crawled, "score": scored}
    waits = {"crawl": math.ceil(posters / CONNECTIONS_EACH) * HOST_S, "score": math.ceil(posters / BATCH) * ENGINE_S}
    models = {work: fit(series, sizes, waits[work]) for work, series in both.items()}
    return Findings(
        rows=tuple(row for work, series in both.items() for row in _rows(work, series, sizes)),
        inputs=(
            f"{source}; the host waits {1000 * HOST_S:.0f} ms an answer, the engine {1000 * ENGINE_S:.0f} ms a batch"
        ),
        method=(
            f"{max(workers)} simulated nodes of one CPU on one machine; {SHARDS_EACH} shards of {posters} posters "
            "for each "
            f"worker; {CONNECTIONS_EACH} connections a worker, no rate limit. CPU time and memory are those of the "
            "driver "
            "and everything below it: all nodes, their workers and the poster host."
        ),
        verdict=tuple(_verdict(both, models, sizes)),
        missing={"more than one machine": "there is one; nodes are simulated on its cores"},
        disturbed={key: value for work, series in both.items() for key, value in disturbance(series, work).items()},
        repeated=sum(series.repeated for series in both.values()),
        versions={"ray": ray.__version__},
        tables=(_costs(models),),
    )


def fit(series: Series, sizes: list[Size], waited_s: float) -> CostModel:
    """Fit the cost model to the seconds of all laps."""
    laps = [(size, lap.wall_s) for size in sizes for lap in series.measurements[str(size)].laps]
    matrix: NDArray[np.float64] = np.array([[1.0, size.shards_each, size.workers - 1] for size, _ in laps])
    seconds = np.array([wall_s for _, wall_s in laps])
    found, *_ = np.linalg.lstsq(matrix, seconds)
    fixed_s, shard_s, sharing_s = (float(value) for value in found)
    residual_s = float(np.sqrt(np.mean((matrix @ found - seconds) ** 2)))
    return CostModel(fixed_s=fixed_s, shard_s=shard_s, sharing_s=sharing_s, residual_s=residual_s, waited_s=waited_s)


def efficiency(series: Series, one: Size, many: Size) -> Ratio:
    """Rate with many workers, divided by as many times the rate with one."""
    gained, times = faster(series.measurements[str(many)], series.measurements[str(one)]), many.workers / one.workers
    return Ratio(value=gained.value / times, low=gained.low / times, high=gained.high / times)


def _rows(work: str, series: Series, sizes: list[Size]) -> list[Row]:
    rows: list[Row] = []
    for size in sizes:
        found = series.measurements[str(size)]
        extra: dict[str, float | str] = {}
        if size.shards_each == SHARDS_EACH:
            extra["efficiency"] = f"{efficiency(series, sizes[0], size).value:.1%}"
        if before := next((one for one in sizes if one.workers * 2 == size.workers), None):
            extra["of the last doubling"] = f"{efficiency(series, before, size).value:.1%}"
        laps, role = found.laps, Role.OURS
        rows.append(
            Row(
                cell={"work": work},
                name=str(size),
                role=role,
                unit="posters",
                units=size.posters,
                laps=laps,
                extra=extra,
            )
        )
    return rows


def _verdict(both: dict[str, Series], models: dict[str, CostModel], sizes: list[Size]) -> list[str]:
    one, most = sizes[0], max(sizes, key=lambda size: size.workers)
    sentences: list[str] = []
    for work, series in both.items():
        found, model = efficiency(series, one, most), models[work]
        sentences.append(
            f"{work.capitalize()} with {most.workers} workers runs at {found.value:.1%} of {most.workers} times one "
            "worker "
            f"({found.low:.1%} to {found.high:.1%}; goal {GOAL:.0%})."
        )
        sentences.append(
            f"{work.capitalize()}: a call costs {model.fixed_s:.2f} s, a shard {model.shard_s:.2f} s of which "
            f"{model.waited_s:.2f} s are the wait that was set, and each further worker "
            f"{1000 * model.sharing_s:.0f} ms."
        )
    return sentences


def _costs(models: dict[str, CostModel]) -> Table:
    rows = [
        (
            work,
            f"{model.fixed_s:.3f}",
            f"{model.shard_s:.3f}",
            f"{model.waited_s:.3f}",
            f"{model.sharing_s:.4f}",
            f"{model.residual_s:.3f}",
        )
        for work, model in models.items()
    ]
    return Table(
        title="Cost model, seconds of a lap",
        columns=("work", "a call", "a shard", "of it the wait", "each further worker", "left over (rms)"),
        rows=tuple(rows),
    )
