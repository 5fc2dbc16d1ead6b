"""How many posters a second does a loader deliver, epochs shuffled, and against which rivals?

Method: every contender writes the same posters in its own format to the same disk, then yields one shuffled epoch of
float32 [b, 3, size, size] batches, stretched with the antialiased filter and normalised. Each measurement is a fresh
process; the first batches are not counted (worker processes start, kernels load, the page cache fills); rounds
alternate over the contenders in a shuffled order (``benchmarks.timing``). CPU time and memory include worker processes.

Why it comes out so: the rivals decode and resize with Pillow in worker processes, which then send every batch of 19 MB
to the consumer through shared memory; ours decodes with libjpeg-turbo and resizes, normalises and stores in one
compiled pass per poster, in threads, straight into memory that is used again. What is left is mostly the decoding
itself, which the roof shows.

Command: ``keyart bench loading DATASET -o docs/results/loading``; results with their machine stand in docs/results/.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from benchmarks.loading_report import OURS, LoadingReport, Row, markdown, svg
from benchmarks.machine import this_machine
from benchmarks.peers.loader import Poster, Setting
from benchmarks.timing import Lap, Series, alternate, faster
from crawler.errors import UnusableInput, WorkFailed
from crawler.progress import Advance, progress_bar, silent
from crawler.records import Reason
from dataloading.dataset import Dataset
from dataloading.source import PosterSource

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTENDERS: Final = {
    OURS: ("benchmarks.peers.loading_keyart", "numba"),
    "PyTorch DataLoader + ImageFolder": ("benchmarks.peers.loading_torch", "torch"),
    "WebDataset": ("benchmarks.peers.loading_webdataset", "webdataset"),
    "MosaicML Streaming": ("benchmarks.peers.loading_streaming", "mosaicml-streaming"),
    "LitData": ("benchmarks.peers.loading_litdata", "litdata"),
    "DALI's own reader, CPU": ("benchmarks.peers.loading_dali", "nvidia-dali-cuda130"),
    "roof: decode only": ("benchmarks.peers.loading_roof", "simplejpeg"),
}
"""Name -> module with ``write`` and ``batches``, and the package whose version is stated."""
BASELINE: Final = "PyTorch DataLoader + ImageFolder"
WARM_UP_BATCHES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One loader with the posters in its own format; what ``timing.alternate`` takes."""

    name: str
    folder: Path
    setting: Setting
    units: int
    """Posters that a lap is stated for; a loader that leaves out part of a batch more or less is scaled to it."""

    def lap(self) -> Lap:
        """Load one epoch in a process of its own.

        Raises:
            WorkFailed: It stopped in the middle.
        """
        arguments = json.dumps({"name": self.name, "folder": str(self.folder), "setting": asdict(self.setting)})
        command = [sys.executable, "-m", "benchmarks.loading", arguments]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this very module
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
            msg = f"contender {self.name}: stopped with {last!r}; run `{' '.join(command[:3])} '{arguments}'` to see"
            raise WorkFailed(msg)
        images, wall_s, cpu_s, peak_bytes = json.loads(ended.stdout.strip().splitlines()[-1])
        scale = self.units / images
        return Lap(wall_s=wall_s * scale, cpu_s=cpu_s * scale, peak_bytes=peak_bytes)


def loading(
    dataset: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    rounds: int = 5,
    threads: int = 2,
    batch_size: int = 32,
) -> LoadingReport:
    """Measure our loader beside PyTorch's DataLoader, WebDataset, MosaicML Streaming, LitData and DALI's reader.

    Example: `keyart bench loading dataset -o results --rounds 5`

    Args:
        dataset: Folder that `keyart dataset` wrote; its training posters are loaded.
        output: Folder for the result as JSON, Markdown and SVG.
        rounds: Measurements of each loader, alternating.
        threads: Threads or worker processes of each loader.
        batch_size: Posters a batch.
    """
    setting = Setting(batch_size=batch_size, threads=threads)
    with progress_bar("rounds", total=rounds) as advance:
        return measure(dataset, output=output, rounds=rounds, setting=setting, advance=advance)


def measure(
    dataset: Path,
    *,
    output: Path | None = None,
    rounds: int = 5,
    setting: Setting | None = None,
    names: Sequence[str] = tuple(CONTENDERS),
    advance: Advance = silent,
) -> LoadingReport:
    """Measure all contenders on the training posters of a dataset.

    Args:
        dataset: Folder that ``keyart dataset`` wrote.
        output: Folder for ``loading.json``, ``loading.md`` and ``loading.svg``; None writes nothing.
        rounds: Measurements of each contender.
        setting: Batch size, threads and image size.
        names: Contenders; the baseline must be one of them.
        advance: Receives finished rounds.

    Raises:
        UnusableInput: The dataset cannot be read, or has too few posters to measure.
        WorkFailed: A contender that takes part stopped in the middle.
    """
    setting = setting or Setting(threads=len(os.sched_getaffinity(0)))
    posters = _posters(dataset, setting)
    units = len(posters) // setting.batch_size * setting.batch_size - WARM_UP_BATCHES * setting.batch_size
    with tempfile.TemporaryDirectory(prefix="keyart-bench-") as temporary:
        missing = _write_all(posters, Path(temporary), names)
        contenders = {
            name: Contestant(name=name, folder=_folder(Path(temporary), name), setting=setting, units=units)
            for name in names
            if name not in missing
        }
        series = alternate(contenders, dict.fromkeys(contenders, units), advance=advance, rounds=rounds)
    report = LoadingReport(
        dataset=str(dataset),
        posters=len(posters),
        mean_bytes=sum(len(poster.body) for poster in posters) // len(posters),
        rounds=rounds,
        setting=asdict(setting),
        machine=this_machine(package for _, package in CONTENDERS.values()),
        rows=table_rows(series),
        missing=missing,
        repeated=series.repeated,
        disturbed=series.disturbed,
    )
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "loading.json").write_text(json.dumps(asdict(report), indent=2) + "\n")
        (output / "loading.md").write_text(markdown(report) + "\n")
        (output / "loading.svg").write_text(svg(report))
    return report


def _posters(folder: Path, setting: Setting) -> list[Poster]:
    dataset = Dataset.load(folder)
    rows = dataset.rows("train")
    if len(rows) < 2 * WARM_UP_BATCHES * setting.batch_size or rows.schema["target"].is_nested():
        msg = (
            f"dataset {folder}: has {len(rows)} training posters, expected one label each and at least "
            f"{2 * WARM_UP_BATCHES * setting.batch_size} of them to measure with"
        )
        raise UnusableInput(msg)
    source = PosterSource(dataset.archive, rows)
    where = str(folder.resolve())
    posters: list[Poster] = []
    for row, (movie_id, target) in enumerate(rows.select("movie_id", "target").iter_rows()):
        body = source.read(row)
        if not isinstance(body, Reason):
            posters.append(Poster(movie_id=movie_id, target=target, body=body, dataset=where))
    return posters


def _folder(temporary: Path, name: str) -> Path:
    return temporary / CONTENDERS[name][0].rpartition(".")[2]


def _write_all(posters: Sequence[Poster], temporary: Path, names: Sequence[str]) -> dict[str, str]:
    missing: dict[str, str] = {}
    for name in names:
        folder = _folder(temporary, name)
        folder.mkdir()
        try:
            importlib.import_module(CONTENDERS[name][0]).write(posters, folder)
        except ImportError as error:
            missing[name] = f"not installed ({error.name}); pip install 'keyart[bench]'"
    return missing


def run_once(name: str, folder: Path, setting: Setting) -> tuple[int, float, float, int]:
    """Load one epoch in this process.

    Returns:
        Images, wall seconds and CPU seconds after the warm-up, worker processes included, and bytes of memory.
    """
    stream = iter(importlib.import_module(CONTENDERS[name][0]).batches(folder, setting))
    for _ in range(WARM_UP_BATCHES):
        next(stream)
    memory_bytes, workers_began = _memory_bytes(), _worker_cpu_s()
    began, cpu_began, images, touched = time.perf_counter(), time.process_time(), 0, 0.0
    for batch in stream:
        images += len(batch)
        touched += float(batch[0, 0, 0, 0])  # the batch is there, not promised
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    del stream
    # a worker process is accounted for when it has ended, with its warm-up: that share is taken off
    workers_s = (_worker_cpu_s() - workers_began) * images / (images + WARM_UP_BATCHES * setting.batch_size)
    return images, wall_s, cpu_s + workers_s, memory_bytes


def _worker_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory_bytes() -> int:
    """Add up the proportional set sizes (Linux) of this process and its children; what they share counts once."""
    own = os.getpid()
    children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    total_kb = 0
    for process in [str(own), *children]:
        with contextlib.suppress(OSError):  # one that ended meanwhile
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total_kb += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kb * 1024


def table_rows(series: Series) -> list[Row]:
    """Sum up all rounds, the fastest loader first."""
    baseline = series.measurements[BASELINE]
    rows = [
        Row(
            name=name,
            images_per_s=round(measured.units_per_s, 1),
            ratio=faster(measured, baseline),
            images_per_cpu_s=round(measured.units_per_cpu_s, 1),
            memory_mb=round(measured.peak_bytes / 2**20),
        )
        for name, measured in series.measurements.items()
    ]
    return sorted(rows, key=lambda row: -row.images_per_s)


if __name__ == "__main__":
    _given: dict[str, Any] = json.loads(sys.argv[1])
    _found = run_once(_given["name"], Path(_given["folder"]), Setting(**_given["setting"]))
    sys.stdout.write(json.dumps(_found) + "\n")
