"""One loader in a process of its own, under whatever interpreter has its library.

- ``write MODULE DATASET FOLDER`` writes the training posters of a dataset in the loader's own format.
- ``epoch MODULE FOLDER SETTING`` loads one shuffled epoch and prints images, wall and CPU seconds after the warm-up,
  worker processes included, bytes of memory, and the versions of its packages.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import installed
from benchmarks.peers.loader import Poster, Setting

if TYPE_CHECKING:
    from collections.abc import Iterator


def training_posters(dataset: Path) -> Iterator[Poster]:
    """Read the training posters of a dataset that can be read."""
    from crawler.records import Reason  # noqa: PLC0415 - not needed for an epoch
    from dataloading.dataset import Dataset  # noqa: PLC0415
    from dataloading.source import PosterSource  # noqa: PLC0415

    found = Dataset.load(dataset)
    rows = found.rows("train")
    source = PosterSource(found.archive, rows)
    for row, (movie_id, target) in enumerate(rows.select("movie_id", "target").iter_rows()):
        body = source.read(row)
        if not isinstance(body, Reason):
            yield Poster(movie_id=movie_id, target=target, body=body, dataset=str(dataset))


def epoch(module: str, folder: Path, setting: Setting) -> dict[str, object]:
    """Load one epoch in this process."""
    loader = importlib.import_module(f"benchmarks.peers.{module}")
    stream = iter(loader.batches(folder, setting))
    for _ in range(setting.warm_up_batches):
        next(stream)
    memory_bytes, workers_began = _memory_bytes(), _worker_cpu_s()
    began, cpu_began, images, touched = time.perf_counter(), time.process_time(), 0, 0.0
    for batch in stream:
        images += len(batch)
        touched += float(batch[0, 0, 0, 0])  # the batch is there, not promised
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    del stream
    # a worker process is accounted for when it has ended, with its warm-up: that share is taken off
    workers_s = _worker_cpu_s() - workers_began
    workers_s *= images / (images + setting.warm_up_batches * setting.batch_size)
    return {
        "images": images,
        "wall_s": wall_s,
        "cpu_s": cpu_s + workers_s,
        "peak_bytes": memory_bytes,
        "versions": installed(loader.PACKAGES),
    }


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


if __name__ == "__main__":
    _verb, _module, _first, _second = sys.argv[1:]
    if _verb == "write":
        importlib.import_module(f"benchmarks.peers.{_module}").write(
            list(training_posters(Path(_first))), Path(_second)
        )
    else:
        sys.stdout.write(json.dumps(epoch(_module, Path(_first), Setting(**json.loads(_second)))) + "\n")
