"""How many posters a second does a loader deliver, epochs shuffled, and against which rivals?

Method: every contender writes the same posters in its own format to the same disk, then yields one shuffled epoch of
float32 [b, 3, size, size] batches, stretched with the antialiased filter and normalised. Each lap is a fresh process;
the first batches are not counted (worker processes start, kernels load, the page cache fills); rounds alternate over
the contenders in a shuffled order. CPU time and memory include worker processes.

Why it comes out so: the rivals decode and resize with Pillow in worker processes, which then send every batch of 19 MB
to the consumer through shared memory; ours decodes with libjpeg-turbo and resizes, normalises and stores in one
compiled pass per poster, in threads, straight into memory that is used again. What is left is mostly the decoding
itself, which the roof shows.

Command: ``keyart bench loading OUT --posters FOLDER``.
"""

from __future__ import annotations

import importlib
import json
import os
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

import benchmarks
from benchmarks.environments import interpreter
from benchmarks.findings import Findings, Options, Role, disturbance, figures, rows_of
from benchmarks.peers.loader import Setting
from benchmarks.peers.loading_worker import training_posters
from benchmarks.posters import find_posters
from benchmarks.timing import Lap
from crawler.catalog import read_catalog
from crawler.errors import UnusableInput, WorkFailed
from dataloading.dataset import Dataset, build
from dataloading.importer import CATALOG_NAME, import_folder
from dataloading.labels import make_task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.findings import Row

ROOT: Final = Path(benchmarks.__file__).resolve().parents[1]
OURS: Final = "keyart"
BASELINE: Final = "PyTorch DataLoader + ImageFolder"
ROOF: Final = "decode only"
CONTENDERS: Final[dict[str, tuple[str, str | None]]] = {
    OURS: ("loading_keyart", None),
    BASELINE: ("loading_torch", None),
    "WebDataset": ("loading_webdataset", "webdataset"),
    "MosaicML Streaming": ("loading_streaming", "mosaicml-streaming"),
    "LitData": ("loading_litdata", "litdata"),
    "DALI's own reader, cpu": ("loading_dali", None),
    ROOF: ("loading_roof", None),
}
"""Name -> its module in ``benchmarks.peers``, and the environment that it needs."""
QUICK: Final = (OURS, BASELINE, ROOF)
"""What a quick run does."""
MISSING: Final = {
    "FFCV": "has no wheel, and its build wants OpenCV's headers",
    "DALI gpu": "not yet measured on a GPU",
    "share of a GPU's step spent waiting": "not yet measured on a GPU",
}
POSTERS: Final = 4_000
QUICK_POSTERS: Final = 96
QUICK_SETTING: Final = {"batch_size": 4, "size": 64, "warm_up_batches": 2}
GENRES: Final = ("Comedy", "Horror")
GOAL: Final = 3.0
"""Times the DataLoader, as it was set before we began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One loader with the posters in its own format; what ``timing.alternate`` takes."""

    name: str
    python: Path
    folder: Path
    setting: Setting
    units: int
    """Posters that a lap is stated for; a loader that leaves out part of a batch more or less is scaled to it."""
    versions: dict[str, str] = field(default_factory=dict[str, str])

    def lap(self) -> Lap:
        """Load one epoch in a process of its own.

        Raises:
            WorkFailed: It stopped in the middle.
        """
        setting = json.dumps(asdict(self.setting))
        found: dict[str, Any] = json.loads(_work(self.name, self.python, "epoch", str(self.folder), setting))
        self.versions.update(found["versions"])
        scale = self.units / found["images"]
        return Lap(wall_s=found["wall_s"] * scale, cpu_s=found["cpu_s"] * scale, peak_bytes=found["peak_bytes"])


def measure(options: Options) -> Findings:
    """Let all loaders take turns on the same posters.

    Raises:
        UnusableInput: There are too few posters.
        WorkFailed: A loader that takes part stopped in the middle.
    """
    setting = Setting(threads=options.threads, **(QUICK_SETTING if options.quick else {}))
    source = find_posters(options.posters, QUICK_POSTERS if options.quick else POSTERS, options.cache)
    dataset = _dataset(source.paths, options.scratch)
    posters = len(Dataset.load(dataset).rows("train"))
    units = (posters // setting.batch_size - setting.warm_up_batches) * setting.batch_size
    if units < setting.batch_size:
        msg = f"posters {options.posters}: {posters} are left to train on; expected more than {posters - units}"
        raise UnusableInput(msg)
    contestants, missing = _contestants(dataset, setting, units, options)
    series = options.take_turns(contestants, dict.fromkeys(contestants, units))
    rows = rows_of(series, {"threads": str(options.threads)}, {OURS: Role.OURS, ROOF: Role.ROOF})
    return Findings(
        rows=rows,
        inputs=f"{source}, {posters:,} of them to train on",
        method=(
            f"One shuffled epoch of batches of {setting.batch_size} x 3 x {setting.size} x {setting.size} float32 in a "
            "fresh process, with as many threads or worker processes as processors; each from its own format."
        ),
        verdict=tuple(_verdict(rows)),
        missing=MISSING | missing,
        disturbed=disturbance(series, "all loaders"),
        repeated=series.repeated,
        versions={name: version for one in contestants.values() for name, version in one.versions.items()},
    )


def _dataset(paths: Sequence[Path], scratch: Path) -> Path:
    """Import posters under alternating labels, which nobody looks at, and divide them."""
    folder = scratch / "posters"
    folder.mkdir()
    for path in paths:
        (folder / path.name).symlink_to(path.resolve())
    names = [path.name for path in paths]
    genres = [GENRES[place % 2] for place in range(len(names))]
    pl.DataFrame({"filename": names, "title": names, "genres": genres}).write_csv(scratch / "posters.csv")
    import_folder(folder, scratch / "archive", scratch / "posters.csv")
    catalog = read_catalog(scratch / "archive" / CATALOG_NAME)
    build(scratch / "archive", catalog, scratch / "dataset", make_task("comedy-horror", per_class=0))
    return scratch / "dataset"


def _contestants(
    dataset: Path, setting: Setting, units: int, options: Options
) -> tuple[dict[str, Contestant], dict[str, str]]:
    """Have every loader write the posters in its own format; say why one cannot."""
    found: dict[str, Contestant] = {}
    missing: dict[str, str] = {}
    posters = list(training_posters(dataset))
    for name, (module, environment) in CONTENDERS.items():
        if options.quick and name not in QUICK:
            missing[name] = "left out of a quick run"
            continue
        folder = options.scratch / module
        folder.mkdir()
        try:
            if environment is None:
                python = Path(sys.executable)
                importlib.import_module(f"benchmarks.peers.{module}").write(posters, folder)
            else:
                python = interpreter(environment, options.cache)
                _work(name, python, "write", str(dataset), str(folder))
        except (WorkFailed, ImportError) as error:
            missing[name] = str(error)
        else:
            found[name] = Contestant(name=name, python=python, folder=folder, setting=setting, units=units)
    return found, missing


def _work(name: str, python: Path, verb: str, *arguments: str) -> str:
    """Have a loader's process do something.

    Returns:
        The last line that it printed.

    Raises:
        WorkFailed: It stopped in the middle.
    """
    command = [str(python), "-m", "benchmarks.peers.loading_worker", verb, CONTENDERS[name][0], *arguments]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    if ended.returncode:
        said = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        msg = f"benchmark peer {name}: stopped with {said!r}; run `{shlex.join(command)}` to see"
        raise WorkFailed(msg)
    return (ended.stdout.strip().splitlines() or [""])[-1]


def _verdict(rows: Sequence[Row]) -> list[str]:
    shown = {row.name: figures(row, rows) for row in rows}
    lines: list[str] = []
    if BASELINE in shown and (ratio := shown[BASELINE].ours_is_faster):
        met = "reached" if ratio.value >= GOAL else "not reached"
        lines.append(f"Goal of {GOAL:g} times PyTorch's DataLoader {met}: {ratio}.")
    share = shown[OURS].roof_share
    if share is not None:
        lines.append(f"{shown[OURS].units_per_s:,.0f} posters/s, {share.value:.0%} of decoding alone.")
    return lines
