"""How many posters a second reach committed shards: keyart, img2dataset, and a plain loop that keeps nothing.

Method: a keep-alive host on loopback (``peers/poster_host``, about 30 us of CPU per poster) shares this machine's
cores with the crawler. Posters are real ones where the data folder is there, else drawn ones. Systems run in shuffled
rounds after a warm-up that is not counted; each stores a fresh archive of sha256-hashed shards. keyart verifies every
poster by a full decode and computes its dhash in all rows, because it always does; img2dataset keeps bytes unread
(``no resize``, its fastest). Timed is the call, with Ray connected and modules imported; img2dataset's own pool start
is part of its call. CPU seconds are of the whole process tree, the host's excluded.

Why it comes out so: img2dataset opens a connection per poster in a thread per request, so https costs it a handshake
each; keyart's connections live through the whole crawl, and one loop, one verifying thread and one writer per worker
share the cores without waiting for each other. What keeps it below the plain loop is the decode (about 165 us
per poster), the tar and the hashes.

Command: ``python -m benchmarks.crawling [--quick]`` prints Markdown.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl
import trustme

from benchmarks.peers import img2dataset
from crawler.cluster import connected, crawl
from crawler.crawl import CrawlOptions
from crawler.drawn import draw_world
from crawler.errors import WorkFailed
from crawler.fetch import FetchOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

WORKERS: Final = 2
CONNECTIONS: Final = 64
PLAIN: Final = "plain loop, bodies thrown away (roof)"
OURS: Final = "keyart, verified and committed"
PEER: Final = "img2dataset, bytes unread"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlRow:
    """One system on one scheme."""

    system: str
    scheme: str
    images: int
    """Posters per round."""
    images_per_s: tuple[float, ...]
    """Per wall second, one figure a round."""
    images_per_cpu_s: tuple[float, ...]
    """Per CPU second of the whole process tree, one figure a round."""

    def __str__(self) -> str:
        """One row of a Markdown table."""
        rates = sorted(self.images_per_s)
        spread = f"{statistics.median(rates):,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f})"
        cpu = f"{statistics.median(self.images_per_cpu_s):,.0f}"
        return f"| {self.scheme} | {self.system} | {self.images:,} | {len(rates)} | {spread} | {cpu} |"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRow:
    """What the input side of a crawl of a very large catalogue needs."""

    movies: int
    before_mib: float
    """Resident memory with everything imported, before the catalogue is opened."""
    peak_mib: float
    """Highest resident memory after every plan was made."""
    seconds: float

    def __str__(self) -> str:
        """One line of text."""
        return (
            f"Planning {self.movies:,} movies: {self.seconds:,.0f} s and {self.peak_mib - self.before_mib:,.0f} MiB "
            f"({self.before_mib:,.0f} MiB before, {self.peak_mib:,.0f} MiB at most)."
        )


def run(*, quick: bool = False) -> list[CrawlRow | MemoryRow]:
    """Measure all systems on http and https.

    Args:
        quick: Fewer posters and rounds; the figures are then only a sign of life.

    Returns:
        One row per system and scheme, and the memory of a 10-million-row (quick: one-million-row) catalogue.

    Raises:
        WorkFailed: img2dataset cannot be installed, or a system did not store every poster.
    """
    rounds, fast, slow = (1, 2_000, 200) if quick else (5, 6_000, 200)
    peer = img2dataset.environment()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificate = _certificate(folder)
        os.environ["SSL_CERT_FILE"] = str(folder / "authority.pem")  # all three systems verify against it
        rows = [_memory(folder, 1_000_000 if quick else 10_000_000)]
        posters = _posters(folder)
        with _host(posters, None) as http, _host(posters, certificate) as https, connected(WORKERS):
            for scheme, base, peer_images in (("http", http, fast), ("https", https, slow)):
                systems: dict[str, tuple[int, Callable[[int], tuple[float, float]]]] = {
                    PLAIN: (fast, lambda images, base=base: _plain(base, images)),
                    OURS: (fast, lambda images, base=base: _ours(base, images, folder)),
                    PEER: (peer_images, lambda images, base=base: _peer(peer, base, images, folder)),
                }
                rows += _rounds(scheme, systems, rounds)
    return rows


def _rounds(
    scheme: str, systems: dict[str, tuple[int, Callable[[int], tuple[float, float]]]], rounds: int
) -> list[CrawlRow]:
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in systems}
    for turn in range(rounds + 1):
        for name in random.sample(list(systems), len(systems)):
            images, measure = systems[name]
            wall_s, cpu_s = measure(images if turn else min(images, 2_000))
            if turn:  # the first is the warm-up
                rates[name].append((images / wall_s, images / cpu_s))
    return [
        CrawlRow(
            system=name,
            scheme=scheme,
            images=images,
            images_per_s=tuple(wall for wall, _ in rates[name]),
            images_per_cpu_s=tuple(cpu for _, cpu in rates[name]),
        )
        for name, (images, _) in systems.items()
    ]


def _ours(base: str, images: int, folder: Path) -> tuple[float, float]:
    catalog = pl.DataFrame(
        {
            "movie_id": range(images),
            "poster_path": [f"/{number}.jpg" for number in range(images)],
        }
    ).lazy()
    options = CrawlOptions(
        image_base=base,
        rate=math.inf,
        connections=CONNECTIONS,
        workers=WORKERS,
        fetch=FetchOptions(allow_private=True),
    )
    with tempfile.TemporaryDirectory(dir=folder) as out:
        before_s = _cpu_s(os.getpid())
        started_s = time.perf_counter()
        report = crawl(catalog, Path(out) / "archive", options)
        wall_s = time.perf_counter() - started_s
        _check(OURS, report.ok, images)
        return wall_s, _cpu_s(os.getpid()) - before_s


def _plain(base: str, images: int) -> tuple[float, float]:
    half, share = images // WORKERS, CONNECTIONS // WORKERS
    calls = [
        [
            sys.executable,
            "-m",
            "benchmarks.peers.plain_loop",
            base,
            str(half * part),
            str(half * (part + 1)),
            str(share),
        ]
        for part in range(WORKERS)
    ]
    running = [subprocess.Popen(call, stdout=subprocess.PIPE, text=True) for call in calls]
    results = [json.loads(process.communicate()[0]) for process in running]
    _check(PLAIN, sum(result["images"] for result in results), images)
    return max(result["seconds"] for result in results), sum(result["cpu_s"] for result in results)


def _peer(python: Path, base: str, images: int, folder: Path) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(dir=folder) as out:
        urls = Path(out) / "urls.txt"
        urls.write_text("".join(f"{base}/{number}.jpg\n" for number in range(images)))
        script = Path(out) / "peer.py"  # a file: its processes are spawned and import the main module again
        script.write_text(img2dataset.SCRIPT)
        call = [str(python), str(script), str(urls), f"{out}/shards", str(CONNECTIONS // WORKERS)]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            msg = f"{PEER}: failed ({done.stderr.strip().splitlines()[-1]}); see benchmarks/peers/img2dataset.py"
            raise WorkFailed(msg)
        result = json.loads(done.stdout.strip().splitlines()[-1])
        _check(PEER, result["images"], images)
        return result["seconds"], result["cpu_s"]


def _memory(folder: Path, movies: int) -> MemoryRow:
    path = folder / "large.parquet"
    ids = pl.LazyFrame({"movie_id": pl.int_range(1, movies + 1, eager=True)})
    ids.with_columns(poster_path=pl.format("/{}.jpg", pl.col("movie_id").hash())).sink_parquet(
        path, row_group_size=65_536
    )
    script = (
        "import json, re, sys, time, polars as pl, crawler.cluster\n"
        "from pathlib import Path\n"
        "from crawler.frontier import Selection, measure, plans, select\n"
        # Not getrusage: a new process inherits its parent's peak there.
        "mib = lambda: int(re.search('VmHWM: *\\t *([0-9]+)', Path('/proc/self/status').read_text())[1]) / 1024\n"
        "before, started = mib(), time.perf_counter()\n"
        "selected = select(pl.scan_parquet(sys.argv[1]), Selection())\n"
        "movies = measure(selected)[1]\n"
        "assert sum(len(plan.requests) for plan in plans(selected, 'https://host', 1000)) == movies\n"
        "print(json.dumps([movies, before, mib(), time.perf_counter() - started]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    path.unlink()
    movies, before_mib, peak_mib, seconds = json.loads(done.stdout)
    return MemoryRow(movies=movies, before_mib=before_mib, peak_mib=peak_mib, seconds=seconds)


def _posters(folder: Path) -> Path:
    real = Path(os.environ.get("KEYART_DATA", Path(__file__).parents[2] / "shared" / "data")) / "posters"
    return real if real.is_dir() else draw_world(folder / "drawn").posters


@contextlib.contextmanager
def _host(posters: Path, certificate: Path | None) -> Generator[str]:
    call = [
        sys.executable,
        "-m",
        "benchmarks.peers.poster_host",
        str(posters),
        *([str(certificate)] if certificate else []),
    ]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = process.stdout.readline().strip() if process.stdout else ""
            yield f"{'https' if certificate else 'http'}://localhost:{port}"
        finally:
            process.kill()


def _certificate(folder: Path) -> Path:
    """Make an authority and a certificate for localhost; return the file with key and chain."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    path = folder / "localhost.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def _cpu_s(root: int) -> float:
    """CPU seconds of a process and of everything below it, ended children included."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended while we looked
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
                ticks[int(entry.name)] = sum(map(int, fields[11:15]))
    tree = {root}
    while more := {process for process, parent in parents.items() if parent in tree} - tree:
        tree |= more
    hosts = {process for process in tree if b"poster_host" in _command_line(process)}
    return sum(ticks[process] for process in tree - hosts) / os.sysconf("SC_CLK_TCK")


def _command_line(process: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def _check(system: str, stored: int, images: int) -> None:
    if stored != images:
        msg = f"{system}: stored {stored} of {images} posters; a rate of fewer posters would mean nothing"
        raise WorkFailed(msg)


if __name__ == "__main__":
    _found = run(quick="--quick" in sys.argv)
    _lines = [
        "| scheme | system | posters | rounds | posters/s, median (range) | per CPU s |",
        "|---|---|---|---|---|---|",
    ]
    _lines += [str(row) for row in _found if isinstance(row, CrawlRow)]
    _lines += ["", *(str(row) for row in _found if isinstance(row, MemoryRow))]
    sys.stdout.write("\n".join(_lines) + "\n")
