"""How many posters a second does a loader deliver, epochs shuffled, and against which rivals?

Method: every contender writes the same posters in its own format to the same disk, then yields one shuffled epoch of
float32 [b, 3, size, size] batches, stretched with the antialiased filter and normalised. Each measurement is a fresh
process; the first batches are not counted (worker processes start, kernels load, the page cache fills); rounds
alternate over the contenders in a shuffled order. CPU time and memory include worker processes.

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
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from benchmarks.loading_report import LoadingReport, Row, markdown, svg
from benchmarks.peers.loader import Poster, Setting
from crawler.errors import UnusableInput, WorkFailed
from crawler.progress import Advance, progress_bar, silent
from crawler.records import Reason
from dataloading.dataset import Dataset
from dataloading.source import PosterSource

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTENDERS: Final = {
    "keyart": ("benchmarks.peers.loading_keyart", "numba"),
    "PyTorch DataLoader + ImageFolder": ("benchmarks.peers.loading_torch", "torch"),
    "WebDataset": ("benchmarks.peers.loading_webdataset", "webdataset"),
    "MosaicML Streaming": ("benchmarks.peers.loading_streaming", "mosaicml-streaming"),
    "LitData": ("benchmarks.peers.loading_litdata", "litdata"),
    "DALI's own reader, CPU": ("benchmarks.peers.loading_dali", "nvidia-dali-cuda130"),
    "roof: decode only": ("benchmarks.peers.loading_roof", "simplejpeg"),
}
"""Name -> module with ``write`` and ``batches``, and the package whose version is stated."""
OURS: Final = "keyart"
BASELINE: Final = "PyTorch DataLoader + ImageFolder"
WARM_UP_BATCHES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One epoch of one contender in a process of its own."""

    name: str
    images_per_s: float
    images_per_cpu_s: float
    """CPU time of worker processes included."""
    memory_mb: float
    """Of the process and its workers once batches flow; what they share counts once."""


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
    with progress_bar("loaders", total=rounds * len(CONTENDERS)) as advance:
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
        advance: Receives finished measurements.

    Raises:
        UnusableInput: The dataset cannot be read, or has too few posters to measure.
        WorkFailed: A contender that takes part stopped in the middle.
    """
    setting = setting or Setting(threads=len(os.sched_getaffinity(0)))
    posters = _posters(dataset, setting)
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="keyart-bench-") as temporary:
        missing = _write_all(posters, Path(temporary), names)
        names = [name for name in names if name not in missing]
        order = random.Random(0)  # noqa: S311 - only spreads the contenders over each round
        for _ in range(rounds):
            for name in order.sample(names, len(names)):
                runs.append(_measure(name, Path(temporary), setting))
                advance(1, name)
    report = LoadingReport(
        dataset=str(dataset),
        posters=len(posters),
        mean_bytes=sum(len(poster.body) for poster in posters) // len(posters),
        rounds=rounds,
        setting=asdict(setting),
        machine=_machine(),
        rows=_rows(names, runs),
        missing=missing,
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


def _measure(name: str, temporary: Path, setting: Setting) -> Run:
    arguments = json.dumps({"name": name, "folder": str(_folder(temporary, name)), "setting": asdict(setting)})
    command = [sys.executable, "-m", "benchmarks.loading", arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this very module
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        msg = f"contender {name}: stopped with {last!r}; expected one epoch, run `{' '.join(command[:3])} ...` to see"
        raise WorkFailed(msg)
    return Run(**json.loads(ended.stdout.strip().splitlines()[-1]))


def run_once(name: str, folder: Path, setting: Setting) -> Run:
    """Measure one epoch of one contender in this process."""
    stream = iter(importlib.import_module(CONTENDERS[name][0]).batches(folder, setting))
    for _ in range(WARM_UP_BATCHES):
        next(stream)
    memory_mb = _memory_mb()
    began, cpu_began, images, touched = time.perf_counter(), time.process_time(), 0, 0.0
    workers_began = _worker_cpu_s()
    for batch in stream:
        images += len(batch)
        touched += float(batch[0, 0, 0, 0])  # the batch is there, not promised
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    del stream
    # a worker process is accounted for when it has ended, with its warm-up: that share is taken off
    workers_s = (_worker_cpu_s() - workers_began) * images / (images + WARM_UP_BATCHES * setting.batch_size)
    return Run(
        name=name,
        images_per_s=images / wall_s,
        images_per_cpu_s=images / (cpu_s + workers_s),
        memory_mb=memory_mb,
    )


def _worker_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory_mb() -> float:
    """Add up the proportional set sizes (Linux) of this process and its children."""
    own = os.getpid()
    children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    total_kb = 0
    for process in [str(own), *children]:
        with contextlib.suppress(OSError):  # one that ended meanwhile
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total_kb += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kb / 1024


def _rows(names: Sequence[str], runs: Sequence[Run]) -> list[Row]:
    by_name = {name: [run for run in runs if run.name == name] for name in names}
    rows: list[Row] = []
    for name, own in by_name.items():
        ratios = [run.images_per_s / base.images_per_s for run, base in zip(own, by_name[BASELINE], strict=True)]
        rows.append(
            Row(
                name=name,
                version=_version(CONTENDERS[name][1]),
                images_per_s=round(statistics.median(run.images_per_s for run in own), 1),
                ratio=round(statistics.median(ratios), 2),
                ratio_low=round(min(ratios), 2),
                ratio_high=round(max(ratios), 2),
                images_per_cpu_s=round(statistics.median(run.images_per_cpu_s for run in own), 1),
                memory_mb=round(statistics.median(run.memory_mb for run in own)),
            )
        )
    return sorted(rows, key=lambda row: -row.images_per_s)


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


def _machine() -> dict[str, str]:
    model = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "processor": model,
        "cores": str(len(os.sched_getaffinity(0))),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load after (1, 5, 15 minutes)": load,
    }


if __name__ == "__main__":
    _given: dict[str, Any] = json.loads(sys.argv[1])
    _run = run_once(_given["name"], Path(_given["folder"]), Setting(**_given["setting"]))
    sys.stdout.write(json.dumps(asdict(_run)) + "\n")
