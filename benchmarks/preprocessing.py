"""How fast is each way to make a network's square from a poster, and what does it do to the poster?

Method: encoded posters in memory -> normalised float32 ``[32, 3, 224, 224]``, memory that is used again, every
competitor in a process of its own, all of them and all four methods in shuffled rounds. w185 posters are the files as
they are; w500 posters are the same enlarged to 750x500 and encoded again at quality 90. Random crops are drawn once, so
that all prepare the same boxes.

Why it comes out so: three quarters of our time is libjpeg-turbo's decode, which nobody here can avoid. What is left is
arithmetic on registers: sixteen rows at a time, only the multiplications that the filter asks for, and stores past the
caches. Pillow makes bytes between the passes and after them, pays for a fourth channel, and NumPy passes over the
square three more times to normalise it. The methods themselves differ little: all decode the whole poster.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from benchmarks.contest import BATCH, Entry, Job, PeerProcess, is_installed, simd_interpreter
from benchmarks.machine import Machine, this_machine
from benchmarks.timing import Measurement, Ratio, Series, alternate, faster
from crawler.drawn import draw_poster
from crawler.errors import UnusableInput, WorkFailed
from crawler.records import Reason
from dataloading.jpeg import shown_size
from dataloading.preprocess import IMAGENET_STD, Effect, Method, Preprocess, draw, effect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawler.progress import Advance

SIZE: Final = 224
METHODS: Final = (Method.RESIZE, Method.CENTER_CROP, Method.PAD, Method.RANDOM_CROP)
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
    Entry(name=REFERENCE, module="ours", variant="reference", filter="antialiased"),
    Entry(name="Pillow-SIMD", module="pillow", variant="", filter="antialiased", own_interpreter=True),
    Entry(name="Pillow", module="pillow", variant="", filter="antialiased"),
    Entry(name="torchvision on tensors", module="torchvision_tensor", variant="", filter="antialiased"),
    Entry(name="torchvision on PIL", module="torchvision_pil", variant="", filter="antialiased"),
    Entry(name="DALI cpu", module="dali_cpu", variant="", filter="antialiased"),
    Entry(name=OURS["plain"], module="ours", variant="plain", filter="plain"),
    Entry(name="OpenCV", module="opencv", variant="", filter="plain"),
    Entry(name=OURS["reduced"], module="ours", variant="scaled", filter="reduced", small_too=False),
    Entry(name="OpenCV, reduced decode", module="opencv", variant="reduced", filter="reduced", small_too=False),
    Entry(name="scikit-image, the article's", module="scikit_image", variant="", filter="gaussian", portion=0.25),
    Entry(name=ROOF, module="decode_only", variant="", filter="none"),
)
QUICK: Final = (OURS["antialiased"], REFERENCE, "Pillow", ROOF)
"""What a quick run does."""
W500: Final = (750, 500)
"""Height and width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Posters of one kind."""

    name: str
    paths: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]
    """Height and width of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One competitor on one method, one kind of poster, with so many threads."""

    source: str
    method: Method
    threads: int
    name: str
    filter: str
    posters_per_s: float
    posters_per_cpu_s: float
    peak_bytes: int
    spread: float
    """Half the range between the quartiles, as a share of the median."""
    roof_share: float
    """Rate divided by that of decoding alone, in the same rounds."""
    ours_is_faster: Ratio | None
    """By how much our row of the same filter is; None where there is none."""
    difference_mean: float | None
    """From the reference, in levels of 0 to 255; None where it makes no squares."""
    difference_largest: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodEffect:
    """What a method does to a typical poster of a source."""

    source: str
    method: Method
    kept: float
    distortion: float
    padding: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that was measured."""

    machine: Machine
    date: str
    posters: dict[str, int]
    """In a lap, by source."""
    rounds: int
    rows: tuple[Row, ...]
    effects: tuple[MethodEffect, ...]
    missing: dict[str, str]
    """Competitors that could not run, and why."""
    disturbed: dict[str, float]
    """By source and threads: median share of the processors that others took, where it is above the limit."""


def measure(
    sources: Sequence[Source],
    *,
    threads: Sequence[int],
    rounds: int,
    cache: Path,
    quick: bool,
    advance: Advance,
) -> Findings:
    """Run the contest.

    Args:
        sources: Posters, by kind.
        threads: Numbers of threads to run it with.
        rounds: That count.
        cache: Folder for interpreters that are made.
        quick: Leave out most competitors.
        advance: Told after each round.
    """
    interpreters, missing = _interpreters(cache, quick=quick)
    rows: list[Row] = []
    versions: dict[str, str] = {}
    disturbed: dict[str, float] = {}
    for count in threads:
        for source in sources:
            entries = [entry for entry in ENTRIES if entry.name in interpreters]
            entries = [entry for entry in entries if entry.small_too or min(source.sizes[0]) >= 2 * SIZE]
            with contextlib.ExitStack() as stack:
                peers = [stack.enter_context(PeerProcess(entry, count, interpreters[entry.name])) for entry in entries]
                jobs = {
                    f"{peer.entry.name}|{method}": _job(peer, source, method, _portion(peer.entry, source))
                    for peer in peers
                    for method in METHODS
                }
                units = {name: job.posters for name, job in jobs.items()}
                series = alternate(jobs, units, advance=advance, rounds=rounds)
                differences = _differences(peers, source)
                for peer in peers:
                    versions |= peer.versions
            rows += _rows(source, count, entries, series, differences)
            if series.disturbed:
                disturbed[f"{source.name}, {count} threads"] = float(np.median(series.foreign))
    return Findings(
        machine=this_machine(versions),
        date=datetime.now(UTC).date().isoformat(),
        posters={source.name: len(source.paths) for source in sources},
        rounds=rounds,
        rows=tuple(rows),
        effects=tuple(_effect(source, method) for source in sources for method in METHODS),
        missing=missing,
        disturbed=disturbed,
    )


def find_posters(folder: Path | None, count: int, cache: Path) -> list[Source]:
    """Gather w185 posters and make w500 posters of them.

    Args:
        folder: JPEGs, of which ``count`` are taken, evenly spread; None draws posters instead.
        count: Of w185 posters; a quarter of them become w500 posters.
        cache: Folder for what is made.

    Raises:
        UnusableInput: ``folder`` holds too few posters that can be read.
    """
    small = _drawn(count, cache / "drawn-w185") if folder is None else _spread(folder, count)
    paths, sizes = _readable(small)
    if len(paths) < BATCH:
        msg = f"posters {folder}: {len(paths)} JPEGs can be read there; expected at least {BATCH}"
        raise UnusableInput(msg)
    large = [_enlarged(path, cache / "w500") for path in paths[: max(BATCH, count // 4)]]
    return [
        Source(name="w185", paths=tuple(paths), sizes=tuple(sizes)),
        Source(name="w500", paths=tuple(large), sizes=(W500,) * len(large)),
    ]


def _spread(folder: Path, count: int) -> list[Path]:
    paths = sorted(folder.glob("*.jpg"))
    return paths[:: max(1, len(paths) // count)][:count]


def _readable(paths: Sequence[Path]) -> tuple[list[Path], list[tuple[int, int]]]:
    sizes = {path: shown_size(path.read_bytes()) for path in paths}
    found = {path: size for path, size in sizes.items() if not isinstance(size, Reason)}
    return list(found), list(found.values())


def _drawn(count: int, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed}.jpg" for seed in range(count)]
    for seed, path in enumerate(paths):
        if not path.exists():
            genre = ("Comedy", "Horror")[seed % 2]
            path.write_bytes(draw_poster(seed=seed, genre=genre, title=f"Poster {seed}", height=278, width=185))
    return paths


def _enlarged(path: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    large = folder / path.name
    if not large.exists():
        with Image.open(path) as image:
            body = io.BytesIO()
            image.convert("RGB").resize((W500[1], W500[0]), Image.Resampling.LANCZOS).save(body, "JPEG", quality=90)
        large.write_bytes(body.getvalue())
    return large


def _interpreters(cache: Path, *, quick: bool) -> tuple[dict[str, Path], dict[str, str]]:
    """Find out which competitors can run, and with what; and why the others cannot."""
    found: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for entry in ENTRIES:
        if quick and entry.name not in QUICK:
            missing[entry.name] = "left out of a quick run"
        elif entry.own_interpreter:
            try:
                found[entry.name] = simd_interpreter(cache)
            except WorkFailed as error:
                missing[entry.name] = str(error)
        elif reason := is_installed(entry.module):
            missing[entry.name] = reason
        else:
            found[entry.name] = Path(sys.executable)
    return found, missing


def _portion(entry: Entry, source: Source) -> int:
    """Posters that it does in a lap: whole batches, one at least."""
    return max(BATCH, int(len(source.paths) * entry.portion) // BATCH * BATCH)


def _job(peer: PeerProcess, source: Source, method: Method, posters: int) -> Job:
    spec = Preprocess(method=method, size=SIZE)
    plans = [draw(spec, *size, movie_id=movie) for movie, size in enumerate(source.sizes[:posters])]
    boxes = [(plan.top, plan.left, plan.height, plan.width) for plan in plans]
    return peer.load(f"{source.name} {method} {posters}", source.paths[:posters], boxes, SIZE)


def _differences(peers: Sequence[PeerProcess], source: Source) -> dict[tuple[str, Method], tuple[float, float]]:
    """Compare one batch of each competitor with the reference's: mean and largest difference, in levels."""
    found: dict[tuple[str, Method], tuple[float, float]] = {}
    std = np.array(IMAGENET_STD, np.float32)[:, None, None]
    with tempfile.TemporaryDirectory() as folder:
        for method in METHODS:
            pixels: dict[str, np.ndarray] = {}
            for peer in peers:
                if peer.entry.name != ROOF:
                    _job(peer, source, method, BATCH).lap()
                    pixels[peer.entry.name] = peer.pixels(Path(folder) / "pixels.npy")
            for name, batch in pixels.items():
                levels = np.abs(batch - pixels[REFERENCE]) * std * 255
                found[name, method] = float(levels.mean()), float(levels.max())
    return found


def _rows(
    source: Source,
    threads: int,
    entries: Sequence[Entry],
    series: Series,
    differences: dict[tuple[str, Method], tuple[float, float]],
) -> list[Row]:
    def of(name: str, method: Method) -> Measurement:
        return series.measurements[f"{name}|{method}"]

    rows: list[Row] = []
    names = {entry.name for entry in entries}
    for method in METHODS:
        for entry in entries:
            found, ours = of(entry.name, method), OURS.get(entry.filter)
            mean, largest = differences.get((entry.name, method), (None, None))
            rows.append(
                Row(
                    source=source.name,
                    method=method,
                    threads=threads,
                    name=entry.name,
                    filter=entry.filter,
                    posters_per_s=found.units_per_s,
                    posters_per_cpu_s=found.units_per_cpu_s,
                    peak_bytes=found.peak_bytes,
                    spread=found.spread,
                    roof_share=1 / faster(of(ROOF, method), found).value,
                    ours_is_faster=faster(of(ours, method), found) if ours in names and ours != entry.name else None,
                    difference_mean=mean,
                    difference_largest=largest,
                )
            )
    return rows


def _effect(source: Source, method: Method) -> MethodEffect:
    spec = Preprocess(method=method, size=SIZE)
    sample = source.sizes[:BATCH]
    found: list[Effect] = [effect(draw(spec, *size, movie_id=movie), *size, SIZE) for movie, size in enumerate(sample)]
    kept, distortion, padding = (
        float(np.mean([getattr(one, name) for one in found])) for name in ("kept", "distortion", "padding")
    )
    return MethodEffect(source=source.name, method=method, kept=kept, distortion=distortion, padding=padding)
