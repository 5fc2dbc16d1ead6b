"""How many posters a second go from JPEG shards to committed Parquet, beside the engine alone and a plain script?

Method: every contender scores the same shard in this process, with all of its threads, in alternating rounds. The roof
is the engine on batches that lie prepared in memory. Ours is what one Ray worker does with a shard: map, decode,
prepare, infer, write, sync and rename; the start of Ray, once a call, is not in it. The plain script does the same with
Pillow, torchvision and PyTorch in float32.

Why it comes out so: scoring is bound by the engine's arithmetic. Decoding and preparing a w185 poster takes about a
tenth of an int8 ResNet18 at 224, on the same cores, so they cannot be hidden, only be made small; what is
hidden is everything that waits.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from cyclopts import Parameter

from benchmarks.timing import Lap, Measurement, alternate, faster
from benchmarks.verbs import BenchSummary
from crawler.errors import UnusableInput
from crawler.progress import progress_bar
from serving.bulk import SUFFIX, Job, score_chunk
from serving.engine import load_card, load_engine
from serving.predictor import BATCH
from serving.sources import ShardChunk, find_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OURS: Final = "keyart"
ROOF: Final = "engine alone"
PLAIN: Final = "plain script"
PLAIN_SHARE: Final = 5
"""The plain script is slow; it scores one poster in so many, in a shard of its own."""


@dataclass(frozen=True, slots=True)
class _Work:
    """A contender that is a function in this process."""

    do: Callable[[], object]

    def lap(self) -> Lap:
        """Do it once."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.do()
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return Lap(wall_s=time.perf_counter() - wall, cpu_s=time.process_time() - cpu, peak_bytes=peak_bytes)


def scoring(
    model: Path,
    archive: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("keyart-bench"),
    run: Path | None = None,
    rounds: int = 5,
) -> BenchSummary:
    """Measure bulk scoring beside the engine alone and a plain script.

    Example: keyart bench scoring MODEL ARCHIVE --run RUN

    Args:
        model: Folder written by `keyart export`.
        archive: Archive of `keyart crawl`; its first shard is scored.
        output: Folder for scoring.json and scoring.md.
        run: Run that the model is from, for the plain script; without it that row is left out.
        rounds: That count.
    """
    chunk = find_chunks(archive)[0]
    if not isinstance(chunk, ShardChunk):
        msg = f"archive {archive}: expected an archive written by `keyart crawl`"
        raise UnusableInput(msg)
    with tempfile.TemporaryDirectory() as folder, chunk.open() as posters:
        count = len(posters)
        contenders, units = _contenders(model, chunk, Path(folder), count), {OURS: count, ROOF: count}
        if run is not None:
            contenders[PLAIN], units[PLAIN] = _plain(run, chunk, Path(folder), count)
        with progress_bar("rounds", rounds) as advance:
            series = alternate(contenders, units, advance=advance, rounds=rounds)
    found = series.measurements
    verdict = [f"{name}: {_line(measurement)}" for name, measurement in found.items()]
    verdict.append(f"share of the engine alone: {faster(found[OURS], found[ROOF])}")
    if PLAIN in found:
        verdict.append(f"times the plain script: {faster(found[OURS], found[PLAIN])}")
    files = _write(output, model, verdict, found)
    return BenchSummary(question="bulk scoring", verdict=verdict, files=files, disturbed=series.disturbed)


def _contenders(model: Path, chunk: ShardChunk, folder: Path, count: int) -> dict[str, _Work]:
    card, threads = load_card(model), len(os.sched_getaffinity(0))
    job = Job(model=model.resolve(), model_digest=card.digest, out=folder)

    def ours() -> None:
        job.store.delete(f"{chunk.name}{SUFFIX}")
        score_chunk(job, chunk, threads)

    engine = load_engine(model, threads=threads)
    resident = np.random.default_rng(0).normal(size=(BATCH, *card.input_shape)).astype(np.float32)
    pool = ThreadPoolExecutor(engine.parallel)

    def alone() -> None:
        list(pool.map(engine.infer, [resident] * (count // BATCH)))
        if rest := count % BATCH:
            engine.infer(resident[:rest])

    return {OURS: _Work(ours), ROOF: _Work(alone)}


def _plain(run: Path, chunk: ShardChunk, folder: Path, count: int) -> tuple[_Work, int]:
    from benchmarks.peers import plain_scoring  # noqa: PLC0415 - brings torchvision
    from crawler.shards import local_tar, read_sidecar  # noqa: PLC0415 - as the rest of this peer

    part = folder / "part"
    part.mkdir()
    with local_tar(chunk.folder, chunk.name) as tar:
        shutil.copy(tar, part)
    rows = read_sidecar(chunk.folder, chunk.name).drop_nulls("offset_bytes").head(max(1, count // PLAIN_SHARE))
    rows.write_parquet(part / f"{chunk.name}.parquet")
    return _Work(lambda: plain_scoring.score(run, part, chunk.name, folder / "plain.out")), len(rows)


def _line(measurement: Measurement) -> str:
    return (
        f"{measurement.units_per_s:,.0f} posters/s, {measurement.units_per_cpu_s:,.0f} a CPU second, "
        f"{measurement.peak_bytes / 2**20:,.0f} MiB"
    )


def _write(output: Path, model: Path, verdict: list[str], found: Mapping[str, Measurement]) -> list[str]:
    output.mkdir(parents=True, exist_ok=True)
    card = load_card(model)
    about = {"model_id": card.model_id, "hardware": card.hardware, "versions": card.versions, "verdict": verdict}
    measurements = [asdict(entry) for entry in found.values()]
    (output / "scoring.json").write_text(json.dumps({**about, "measurements": measurements}, indent=2) + "\n")
    text = [f"# Bulk scoring, {card.model_id} on {card.hardware}", "", *(f"- {sentence}" for sentence in verdict)]
    (output / "scoring.md").write_text("\n".join(text) + "\n")
    return [str(output / "scoring.json"), str(output / "scoring.md")]
