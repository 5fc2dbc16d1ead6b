"""How fast is each way to make a network's square from a poster, and what does it do to the poster?

Method: encoded posters in memory -> normalised float32 ``[32, 3, 224, 224]``, memory that is used again, every
competitor in a process of its own, all of them in shuffled rounds, method by method. w185 posters are the files as they
are; w342 and w500 posters are the same enlarged to 513x342 and 750x500 and encoded again at quality 90. Random crops
are drawn once, so that all prepare the same boxes. Fast competitors prepare the posters several times in a lap.

Why it comes out so: three quarters of our time is libjpeg-turbo's decode, which nobody here can avoid. What is left is
arithmetic on registers: sixteen rows at a time, only the multiplications that the filter asks for, and stores past the
caches. Pillow makes bytes between the passes and after them, pays for a fourth channel, and NumPy passes over the
square three more times to normalise it. The methods themselves differ little: all decode the whole poster.

Command: ``keyart bench preprocessing OUT --posters FOLDER``.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.contest import BATCH, Entry, Job, PeerProcess, interpreters
from benchmarks.findings import Findings, Options, Role, Row, disturbance
from benchmarks.posters import Source, enlarge, find_posters
from benchmarks.preprocessing_words import DALI_GPU, NOT_ON_A_GPU, quality_chart, quality_tables, verdict
from crawler.errors import WorkFailed
from dataloading.preprocess import IMAGENET_STD, Method, Preprocess, draw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.timing import Series

SIZE: Final = 224
METHODS: Final = (Method.RESIZE, Method.CENTER_CROP, Method.PAD, Method.RANDOM_CROP)
POSTERS: Final = 96
QUICK_POSTERS: Final = 32
KINDS: Final = ("w342", "w500")
"""That are made of w185 posters."""
LAP_S: Final = 0.12
"""Least length of a lap, reached by preparing the posters several times."""
MOST_TIMES: Final = 16
ROOF: Final = "decode only"
REFERENCE: Final = "keyart reference"
OURS: Final = {
    "antialiased": "keyart native",
    "plain": "keyart native, plain",
    "reduced": "keyart native, scaled decode",
}
"""By filter."""
ENTRIES: Final = (
    Entry(name=OURS["antialiased"], module="ours", variant="antialiased", filter="antialiased"),
    Entry(name=REFERENCE, module="ours", variant="reference", filter="antialiased", portion=0.5),
    Entry(name="Pillow-SIMD", module="pillow", variant="", filter="antialiased", environment="pillow-simd"),
    Entry(name="Pillow", module="pillow", variant="", filter="antialiased"),
    Entry(name="torchvision on tensors", module="torchvision_tensor", variant="", filter="antialiased"),
    Entry(name="torchvision on PIL", module="torchvision_pil", variant="", filter="antialiased"),
    Entry(name="DALI cpu", module="dali_cpu", variant="", filter="antialiased"),
    Entry(name=OURS["plain"], module="ours", variant="plain", filter="plain"),
    Entry(name="OpenCV", module="opencv", variant="", filter="plain", environment="opencv"),
    Entry(name=OURS["reduced"], module="ours", variant="scaled", filter="reduced", small_too=False),
    Entry(
        name="OpenCV, reduced decode",
        module="opencv",
        variant="reduced",
        filter="reduced",
        small_too=False,
        environment="opencv",
    ),
    Entry(
        name="scikit-image, the article's",
        module="scikit_image",
        variant="",
        filter="gaussian",
        portion=0.25,
        environment="scikit-image",
    ),
    Entry(name=ROOF, module="decode_only", variant="", filter="none"),
)
QUICK: Final = (OURS["antialiased"], REFERENCE, "Pillow", ROOF)
"""What a quick run does."""
CREDIBLE: Final = 10.0
"""Mean difference from the reference, of 255, above which a competitor did not make these squares at all."""


def measure(options: Options) -> Findings:
    """Run the contest.

    Raises:
        UnusableInput: There are too few posters.
        WorkFailed: A competitor stopped in the middle, or makes other squares than the rest.
    """
    entries = [entry for entry in ENTRIES if not options.quick or entry.name in QUICK]
    found, missing = interpreters(entries, options.cache)
    entries = [entry for entry in entries if entry.name in found]
    missing |= {entry.name: "left out of a quick run" for entry in ENTRIES if options.quick and entry.name not in QUICK}
    missing[DALI_GPU] = NOT_ON_A_GPU
    small = find_posters(options.posters, QUICK_POSTERS if options.quick else POSTERS, options.cache, least=BATCH)
    sources = [small]
    if not options.quick:
        sources += [enlarge(small, kind, POSTERS, options.cache) for kind in KINDS]
    rows: list[Row] = []
    versions: dict[str, str] = {}
    disturbed: dict[str, str] = {}
    repeated = 0
    for threads in [options.threads] if options.quick else sorted({1, options.threads}, reverse=True):
        for source in sources:
            with contextlib.ExitStack() as stack:
                peers = [
                    stack.enter_context(PeerProcess(entry, threads, found[entry.name]))
                    for entry in entries
                    if entry.small_too or min(source.sizes[0]) >= 2 * SIZE
                ]
                differences = _differences(peers, source)
                for method in METHODS:
                    series = _series(peers, source, method, options)
                    cell = {"posters": source.name, "threads": str(threads), "method": str(method)}
                    rows += _rows(series, cell, peers, differences[method])
                    repeated += series.repeated
                    disturbed |= disturbance(series, ", ".join((source.name, f"{threads} threads", str(method))))
                for peer in peers:
                    versions |= peer.versions
    return Findings(
        rows=tuple(rows),
        inputs="; ".join(map(str, sources)),
        method=(
            "Each competitor is a process of its own and fills the same float32 batch of 32; it is compared with our "
            "row of the same filter. *difference* is from the reference, mean and largest of 255 levels."
        ),
        verdict=tuple(verdict(rows, sources, options.studies)),
        missing=missing,
        disturbed=disturbed,
        repeated=repeated,
        versions=versions,
        tables=tuple(quality_tables(sources, options.studies)),
        charts=quality_chart(rows, sources, options.studies),
        pivot="method",
        headline={"threads": str(options.threads), "method": str(Method.RESIZE)},
    )


def _series(peers: Sequence[PeerProcess], source: Source, method: Method, options: Options) -> Series:
    """Find out how often each must prepare the posters to fill a lap, then let them take turns."""
    jobs: dict[str, Job] = {}
    for peer in peers:
        job = _job(peer, source, method, _portion(peer.entry, source))
        if not options.quick:
            times = min(MOST_TIMES, int(LAP_S / job.lap().wall_s) + 1)
            job = _job(peer, source, method, job.posters, times) if times > 1 else job
        jobs[peer.entry.name] = job
    units = {name: job.posters for name, job in jobs.items()}
    return options.take_turns(jobs, units)


def _portion(entry: Entry, source: Source) -> int:
    """Posters that it does in a lap: whole batches, one at least."""
    return max(BATCH, int(len(source.paths) * entry.portion) // BATCH * BATCH)


def _job(peer: PeerProcess, source: Source, method: Method, posters: int, times: int = 1) -> Job:
    spec, step = Preprocess(method=method, size=SIZE), len(source.paths) // posters
    chosen = range(0, posters * step, step)  # spread evenly: the first ones may be smaller than the rest
    plans = [draw(spec, *source.sizes[at], movie_id=at) for at in chosen]
    boxes = [(plan.top, plan.left, plan.height, plan.width) for plan in plans]
    name = f"{source.name} {method} {posters} x {times}"
    return peer.load(name, [source.paths[at] for at in chosen] * times, boxes * times, SIZE)


def _differences(peers: Sequence[PeerProcess], source: Source) -> dict[Method, dict[str, tuple[float, float]]]:
    """Compare one batch of each competitor with the reference's: mean and largest difference, in levels."""
    found: dict[Method, dict[str, tuple[float, float]]] = {}
    std = np.array(IMAGENET_STD, np.float32)[:, None, None]
    with tempfile.TemporaryDirectory() as folder:
        for method in METHODS:
            pixels: dict[str, np.ndarray] = {}
            for peer in peers:
                if peer.entry.name != ROOF:
                    _job(peer, source, method, BATCH).lap()
                    pixels[peer.entry.name] = peer.pixels(Path(folder) / "pixels.npy")
            found[method] = {}
            for name, batch in pixels.items():
                levels = np.abs(batch - pixels[REFERENCE]) * std * 255
                found[method][name] = float(levels.mean()), float(levels.max())
                if levels.mean() > CREDIBLE:
                    msg = f"benchmark peer {name}: {method} is {levels.mean():.0f} of 255 from the reference"
                    raise WorkFailed(msg)
    return found


def _rows(
    series: Series,
    cell: Mapping[str, str],
    peers: Sequence[PeerProcess],
    differences: Mapping[str, tuple[float, float]],
) -> list[Row]:
    rows: list[Row] = []
    for peer in peers:
        entry, measured = peer.entry, series.measurements[peer.entry.name]
        role = Role.ROOF if entry.name == ROOF else Role.OURS if entry.module == "ours" else Role.PEER
        extra: dict[str, float | str] = {"filter": entry.filter}
        if entry.name in differences:
            mean, largest = differences[entry.name]
            extra |= {"difference": round(mean, 3), "largest": round(largest, 1)}
        rows.append(
            Row(
                cell=cell,
                name=entry.name,
                role=role,
                unit="posters",
                units=measured.units,
                laps=measured.laps,
                against=OURS.get(entry.filter, OURS["antialiased"]),
                extra=extra,
            )
        )
    return rows
