"""A host on loopback and contenders that fetch its posters: what `keyart bench crawling` lets take turns."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

import benchmarks
from benchmarks.timing import Lap
from benchmarks.tree import MemoryWatch, cpu_s, memory_bytes
from crawler.cluster import crawl
from crawler.crawl import CrawlOptions
from crawler.errors import WorkFailed
from crawler.fetch import FetchOptions

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

ROOT: Final = Path(benchmarks.__file__).resolve().parents[1]
CONNECTIONS: Final = 64
Fetch = Callable[[str, int, Path], tuple[int, float]]
"""Of a host's base, posters and a folder: how many are stored, and when they were, by the system's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A poster host at work."""

    base: str
    pid: int

    def first_request_s(self) -> float:
        """When the first poster was asked for since this was last asked, by the system's clock; 0 if none was."""
        with urllib.request.urlopen(f"{self.base}/clock", context=_context(self.base), timeout=10) as answer:  # noqa: S310 - loopback
            return float(answer.read())


@contextlib.contextmanager
def host(posters: Path, certificate: Path | None) -> Generator[Host]:
    """Serve a folder's posters on loopback while the block runs, over https where there is a certificate."""
    call = [sys.executable, "-m", "benchmarks.peers.poster_host", str(posters)]
    call += [str(certificate)] if certificate else []
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=_environment()) as process:
        try:
            port = process.stdout.readline().strip() if process.stdout else ""
            yield Host(base=f"{'https' if certificate else 'http'}://localhost:{port}", pid=process.pid)
        finally:
            process.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Crawler:
    """A contender: fetch so many posters into a fresh folder, and say how many are stored."""

    name: str
    host: Host
    posters: int
    scratch: Path
    fetch: Fetch

    def lap(self) -> Lap:
        """Fetch once; timed from the first request that arrives until all is stored.

        Raises:
            WorkFailed: Not every poster was stored: a rate of fewer would mean nothing.
        """
        with tempfile.TemporaryDirectory(dir=self.scratch) as out:
            self.host.first_request_s()
            before_s, own = self._cpu_s(), memory_bytes(os.getpid())
            with MemoryWatch(os.getpid()) as watch:
                stored, end_s = self.fetch(self.host.base, self.posters, Path(out))
            used_s = self._cpu_s() - before_s
            started_s = self.host.first_request_s()
        if stored != self.posters:
            msg = f"{self.name}: stored {stored} of {self.posters} posters; a rate of fewer would mean nothing"
            raise WorkFailed(msg)
        peak = watch.peak_bytes - (0 if self.name == "keyart" else own)
        return Lap(wall_s=end_s - started_s, cpu_s=used_s, peak_bytes=max(0, peak - memory_bytes(self.host.pid)))

    def _cpu_s(self) -> float:
        return cpu_s(os.getpid()) - cpu_s(self.host.pid)


def ours(workers: int) -> Fetch:
    """keyart, with Ray connected before."""

    def fetch(base: str, posters: int, folder: Path) -> tuple[int, float]:
        options = CrawlOptions(
            image_base=base,
            rate=math.inf,
            connections=CONNECTIONS,
            workers=workers,
            fetch=FetchOptions(allow_private=True),
        )
        return crawl(numbered(posters), folder / "archive", options).ok, time.monotonic()

    return fetch


def numbered(posters: int) -> pl.LazyFrame:
    """A catalogue of so many posters that every host has."""
    return pl.DataFrame(
        {"movie_id": range(posters), "poster_path": [f"/{number}.jpg" for number in range(posters)]}
    ).lazy()


def plain_loop(workers: int, *, keep: bool) -> Fetch:
    """A plain aiohttp loop in so many processes; keeps a file for each poster, or nothing."""

    def fetch(base: str, posters: int, folder: Path) -> tuple[int, float]:
        share, parts = CONNECTIONS // workers, [posters * part // workers for part in range(workers + 1)]
        calls = [
            _module("plain_loop", base, str(first), str(last), str(share), *([str(folder)] if keep else []))
            for first, last in itertools.pairwise(parts)
        ]
        running = [subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=_environment()) for call in calls]
        said = [(process.communicate()[0] or "0 0").split() for process in running]
        return sum(int(came) for came, _ in said), max(float(end_s) for _, end_s in said)

    return fetch


def img2dataset(python: Path, mode: str) -> Fetch:
    """img2dataset in its own environment."""

    def fetch(base: str, posters: int, folder: Path) -> tuple[int, float]:
        urls = folder / "urls.txt"
        urls.write_text("".join(f"{base}/{number}.jpg\n" for number in range(posters)))
        call = _module("img2dataset", str(urls), str(folder / "shards"), str(CONNECTIONS // 2), mode, python=python)
        done = subprocess.run(call, capture_output=True, text=True, check=False, env=_environment())
        if done.returncode:
            msg = f"img2dataset: {done.stderr.strip().splitlines()[-1]}"
            raise WorkFailed(msg)
        stored, end_s = done.stdout.strip().splitlines()[-1].split()
        return int(stored), float(end_s)

    return fetch


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    """The roof of a crawl that looks at posters: libjpeg-turbo decodes as many as the others fetch."""

    work: Callable[[Sequence[bytes]], object]
    bodies: Sequence[bytes]

    def lap(self) -> Lap:
        """Decode them all."""
        wall_s, cpu = time.perf_counter(), time.process_time()
        self.work(self.bodies)
        wall_s, cpu = time.perf_counter() - wall_s, time.process_time() - cpu
        return Lap(wall_s=wall_s, cpu_s=cpu, peak_bytes=memory_bytes(os.getpid()))


def certificate(folder: Path) -> Path:
    """Make an authority and a certificate for localhost; let this process and its children trust it.

    Returns:
        The file with key and chain.
    """
    import trustme  # noqa: PLC0415 - for tests and this; the crawler does without

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    path = folder / "localhost.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(path))
    os.environ["SSL_CERT_FILE"] = str(folder / "authority.pem")  # all contenders verify against it
    return path


def _context(base: str) -> ssl.SSLContext | None:
    return ssl.create_default_context() if base.startswith("https") else None


def _module(name: str, *arguments: str, python: Path | None = None) -> list[str]:
    return [str(python or sys.executable), "-m", f"benchmarks.peers.{name}", *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
