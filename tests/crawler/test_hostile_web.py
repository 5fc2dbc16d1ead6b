"""One route per bad day: each ends in one reason, in bounded time and memory, and the archive stays whole."""

from __future__ import annotations

import asyncio
import functools
import gzip
import io
import math
import random
import socket
import ssl
import struct
import sys
import time
import zlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

import polars as pl
import pytest
import trustme
from PIL import Image

from crawler.crawl import CrawlOptions, ShardCrawler
from crawler.fetch import Fetcher, FetchOptions
from crawler.politeness import LocalLedger
from crawler.records import Failure, Fetched, PosterRequest, Reason, ShardPlan
from crawler.shards import read_sidecar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from types import TracebackType

    Route = Callable[[asyncio.StreamWriter], AsyncIterator[bytes]]

MIB = 2**20


def png(height: int, width: int) -> bytes:
    """A tiny file that claims to be a large picture."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(MIB))) + chunk(b"IEND", b"")


GZIP_BOMB = gzip.compress(bytes(16 * MIB))
PIXEL_BOMB = png(60_000, 60_000)


def head(length: int | None, *lines: str, status: str = "200 OK") -> bytes:
    """The head of an answer."""
    fields = [f"HTTP/1.1 {status}", "Content-Type: image/jpeg", *lines]
    if length is not None:
        fields.append(f"Content-Length: {length}")
    return ("\r\n".join(fields) + "\r\n\r\n").encode()


async def endless_body() -> AsyncIterator[bytes]:
    """A body without end and without a stated length."""
    yield head(None)
    while True:
        yield bytes(64 * 1024)


async def lying_length() -> AsyncIterator[bytes]:
    """A stated length far above the limit."""
    yield head(2**40)
    while True:
        yield bytes(1024)


async def endless_chunks() -> AsyncIterator[bytes]:
    """Chunked transfer that never ends."""
    yield head(None, "Transfer-Encoding: chunked")
    while True:
        yield b"10000\r\n" + bytes(65_536) + b"\r\n"


async def slow_headers() -> AsyncIterator[bytes]:
    """One header byte after the other."""
    for byte in head(5) * 100:
        yield bytes([byte])
        await asyncio.sleep(0.1)


async def slow_body() -> AsyncIterator[bytes]:
    """A body that drips fast enough to never be idle."""
    yield head(100_000)
    while True:
        yield b"x"
        await asyncio.sleep(0.1)


async def silence() -> AsyncIterator[bytes]:
    """No answer at all."""
    await asyncio.sleep(30)
    yield b""


async def short_body() -> AsyncIterator[bytes]:
    """Fewer bytes than promised, then the end."""
    yield head(1000) + b"\xff\xd8\xff"


async def early_end() -> AsyncIterator[bytes]:
    """The connection ends before any answer."""
    return
    yield b""


async def gzip_bomb() -> AsyncIterator[bytes]:
    """A small body that would unpack to a thousand times its size."""
    yield head(len(GZIP_BOMB), "Content-Encoding: gzip") + GZIP_BOMB


async def pixel_bomb() -> AsyncIterator[bytes]:
    """A small file that claims 3.6 billion pixels."""
    yield head(len(PIXEL_BOMB)) + PIXEL_BOMB


async def html() -> AsyncIterator[bytes]:
    """An error page with status 200 and an image's type."""
    body = b"<html><body>Sorry!</body></html>"
    yield head(len(body)) + body


async def nothing() -> AsyncIterator[bytes]:
    """Zero bytes."""
    yield head(0)


async def header_flood() -> AsyncIterator[bytes]:
    """Ten thousand header lines."""
    yield head(0, *(f"X-Flood-{number}: {'x' * 100}" for number in range(10_000)))


async def endless_header() -> AsyncIterator[bytes]:
    """One header line without end."""
    yield b"HTTP/1.1 200 OK\r\nX-Endless: "
    while True:
        yield b"x" * 65_536


async def no_http() -> AsyncIterator[bytes]:
    """Another protocol."""
    yield b"SSH-2.0-OpenSSH_9.6\r\n"


async def redirect_loop() -> AsyncIterator[bytes]:
    """A redirect to itself."""
    yield head(0, "Location: ?again", status="302 Found")


async def redirect_to_a_file() -> AsyncIterator[bytes]:
    """A redirect out of the web."""
    yield head(0, "Location: file:///etc/passwd", status="302 Found")


async def redirect_to_nonsense() -> AsyncIterator[bytes]:
    """A redirect to no URL."""
    yield head(0, "Location: http://[:::", status="302 Found")


BAD_DAYS: dict[Callable[[], AsyncIterator[bytes]], Reason] = {
    endless_body: Reason.TOO_LARGE,
    lying_length: Reason.TOO_LARGE,
    endless_chunks: Reason.TOO_LARGE,
    slow_headers: Reason.TIMEOUT,
    slow_body: Reason.TIMEOUT,
    silence: Reason.TIMEOUT,
    short_body: Reason.CONNECTION,
    early_end: Reason.CONNECTION,
    gzip_bomb: Reason.NOT_AN_IMAGE,
    pixel_bomb: Reason.TOO_LARGE,
    html: Reason.NOT_AN_IMAGE,
    nothing: Reason.NOT_AN_IMAGE,
    header_flood: Reason.PROTOCOL,
    endless_header: Reason.PROTOCOL,
    no_http: Reason.PROTOCOL,
    redirect_loop: Reason.REDIRECT,
    redirect_to_a_file: Reason.REDIRECT,
    redirect_to_nonsense: Reason.REDIRECT,
}


@functools.cache
def _largest(kind: str) -> bytes:
    """The most that may enter: 4 MiB of file, 12 million pixels of JPEG, 6.5 million of another format."""
    stream = io.BytesIO()
    if kind.startswith("JPEG"):
        picture = Image.new("RGB", (3000, 4000), (200, 90, 30))
    else:
        picture = Image.new("RGBA", (2000, 3250), (200, 90, 30, 128))
    picture.save(stream, kind.partition(" ")[0], progressive="progressive" in kind, subsampling=0)
    return stream.getvalue()


async def largest_body() -> AsyncIterator[bytes]:
    """A small poster in as many bytes as are allowed, called text: a comment fills them."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 24), (200, 90, 30)).save(stream, "JPEG")
    comment = b"\xff\xfe\xff\xff" + bytes(0xFFFD)
    body = stream.getvalue()[:2] + comment * 63 + stream.getvalue()[2:]
    yield head(len(body)).replace(b"image/jpeg", b"text/html")
    yield body


async def largest_progressive() -> AsyncIterator[bytes]:
    """The costliest JPEG: all coefficients of three full planes are in memory at once."""
    yield head(len(_largest("JPEG progressive"))) + _largest("JPEG progressive")


async def largest_webp() -> AsyncIterator[bytes]:
    """A tiny file with many pixels and transparency."""
    yield head(len(_largest("WEBP"))) + _largest("WEBP")


async def largest_png() -> AsyncIterator[bytes]:
    """The same as PNG."""
    yield head(len(_largest("PNG"))) + _largest("PNG")


LARGEST = (largest_body, largest_progressive, largest_webp, largest_png)
ROUTES = {f"/{route.__name__}": route for route in (*BAD_DAYS, *LARGEST)}


class HostileServer:
    """Writes a route's bytes, as they are, to whoever asks for it."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """Prepare; nothing listens before ``__aenter__``."""
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()
        self._answering: set[asyncio.Task[None]] = set()
        self.base_url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"https://localhost:{port}" if self._tls else f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if task := asyncio.current_task():
            self._answering.add(task)
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            path = request.split(b" ")[1].decode().partition("?")[0]
            if path in ROUTES:
                async for piece in ROUTES[path]():
                    writer.write(piece)
                    await writer.drain()
            else:
                writer.write(head(5) + b"fine!")
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            writer.close()


QUICK = FetchOptions(
    attempts=2,
    backoff_s=0.01,
    connect_s=2,
    first_byte_s=1,
    idle_s=1,
    attempt_s=2,
    poster_s=5,
    allow_private=True,
    ignore_robots=True,
)


@pytest.mark.parametrize("route", BAD_DAYS, ids=lambda route: route.__name__)
def test_a_bad_day_ends_in_its_reason(route: Callable[[], AsyncIterator[bytes]], tmp_path: Path) -> None:
    """Each bad answer is one row with its reason, after at most two attempts of two seconds."""

    async def crawl() -> str:
        async with HostileServer() as server:
            plan = ShardPlan(
                name="shard-00000",
                requests=(PosterRequest(movie_id=1, url=f"{server.base_url}/{route.__name__}"),),
            )
            await asyncio.to_thread(_crawl, plan, tmp_path)
        return read_sidecar(tmp_path, "shard-00000")["reason"].item()

    started_s = time.monotonic()
    assert asyncio.run(crawl()) == BAD_DAYS[route]
    assert time.monotonic() - started_s < 15


def _crawl(plan: ShardPlan, folder: Path, connections: int = 4) -> None:
    options = CrawlOptions(rate=math.inf, connections=connections, workers=1, fetch=QUICK)
    with ShardCrawler(options, LocalLedger()) as crawler:
        crawler.crawl(plan, folder)


_CRAWL_ALONE = """
import math, pathlib, re, sys
from crawler.crawl import CrawlOptions, ShardCrawler
from crawler.fetch import FetchOptions
from crawler.politeness import LocalLedger
from crawler.records import PosterRequest, ShardPlan
folder, *urls = sys.argv[1:]
requests = tuple(PosterRequest(movie_id=number, url=url) for number, url in enumerate(urls))
fetch = FetchOptions(attempts=4, idle_s=20, first_byte_s=20, allow_private=True, ignore_robots=True)
with ShardCrawler(CrawlOptions(rate=math.inf, connections=64, workers=1, fetch=fetch), LocalLedger()) as crawler:
    crawler.crawl(ShardPlan(name="shard-00000", requests=requests), pathlib.Path(folder))
print(re.search("VmHWM: *\\t *([0-9]+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


def test_64_bad_days_at_once_stay_within_memory(tmp_path: Path) -> None:
    """64 connections that all flood, or send the largest pictures that are allowed: at most 512 MiB in the process."""
    floods = ["endless_body", "endless_chunks", "gzip_bomb", "pixel_bomb", "header_flood", "endless_header"] * 12
    largest = ["largest_body"] * 66 + ["largest_progressive", "largest_webp", "largest_png"]
    routes = random.Random(7).sample(floods + largest, len(floods + largest))

    async def crawl() -> str:
        async with HostileServer() as server:
            urls = [f"{server.base_url}/{route}" for route in routes]
            call = (sys.executable, "-c", _CRAWL_ALONE, str(tmp_path), *urls)
            alone = await asyncio.create_subprocess_exec(*call, stdout=asyncio.subprocess.PIPE)
            return (await alone.communicate())[0].decode()

    peak_mib = int(asyncio.run(crawl())) / 1024
    stored = read_sidecar(tmp_path, "shard-00000").filter(pl.col("status") == "ok")["movie_id"].to_list()
    assert stored == [number for number, route in enumerate(routes) if route in largest]
    assert peak_mib <= 512


def _tls(authority: trustme.CA, name: str, not_after: datetime | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name, not_after=not_after).configure_cert(context)
    return context


@pytest.mark.parametrize("fault", ["unknown authority", "wrong name", "expired"])
def test_a_wrong_certificate_is_refused(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS is verified, always; the one exempted host is not."""
    authority = trustme.CA()
    trusted = trustme.CA() if fault == "unknown authority" else authority
    trusted.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    not_after = datetime.now(UTC) - timedelta(days=1) if fault == "expired" else None
    tls = _tls(authority, "other.example" if fault == "wrong name" else "localhost", not_after)

    async def fetch(insecure_host: str | None) -> Fetched | Failure:
        options = FetchOptions(attempts=1, allow_private=True, ignore_robots=True, insecure_host=insecure_host)
        async with HostileServer(tls) as server, Fetcher(options, connections=1) as fetcher:
            return await fetcher.fetch(PosterRequest(movie_id=1, url=f"{server.base_url}/a.jpg"))

    refused = asyncio.run(fetch(None))
    assert isinstance(refused, Failure)
    assert refused.reason is Reason.TLS
    assert isinstance(asyncio.run(fetch("other.host")), Failure)
    assert isinstance(asyncio.run(fetch("localhost")), Fetched)


def test_a_right_certificate_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusals above are about the fault, not about TLS."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))

    async def fetch() -> Fetched | Failure:
        async with HostileServer(_tls(authority, "localhost")) as server, Fetcher(QUICK, connections=1) as fetcher:
            return await fetcher.fetch(PosterRequest(movie_id=1, url=f"{server.base_url}/a.jpg"))

    assert isinstance(asyncio.run(fetch()), Fetched)


SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0.0.0.0",  # noqa: S104  asked, never bound
    "localhost",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "169.254.169.254",
    "10.0.0.1",
    "192.168.0.1",
    "[fe80::1]",
    "[fc00::1]",
    "[64:ff9b::7f00:1]",
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_a_private_address_is_connected_to(host: str) -> None:
    """Decimal, octal, hexadecimal, short, and IPv4 inside IPv6: no connection is even tried."""

    async def fetch() -> Fetched | Failure:
        async with HostileServer() as server, Fetcher(FetchOptions(attempts=1), connections=1) as fetcher:
            port = server.base_url.rpartition(":")[2]
            return await fetcher.fetch(PosterRequest(movie_id=1, url=f"http://{host}:{port}/a.jpg"))

    failure = asyncio.run(fetch())
    assert isinstance(failure, Failure)
    assert failure.reason in (Reason.ADDRESS, Reason.BAD_URL)


def test_a_name_that_rebinds_between_check_and_connect_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name first resolves to a public address, then to loopback: the address of the socket is what is checked."""
    asked: list[str] = []

    async def fetch() -> list[Fetched | Failure]:
        async with (
            HostileServer() as server,
            Fetcher(FetchOptions(attempts=1, connect_s=0.5), connections=1) as fetcher,
        ):
            port = int(server.base_url.rpartition(":")[2])

            async def rebinding(host: str, *_rest: object, **_more: object) -> list[tuple[object, ...]]:
                asked.append(host)
                address = "127.0.0.1" if len(asked) > 1 else "203.0.114.1"
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebinding)
            url = f"http://rebinding.example:{port}/a.jpg"
            return [await fetcher.fetch(PosterRequest(movie_id=number, url=url)) for number in range(2)]

    first, second = asyncio.run(fetch())
    assert isinstance(first, Failure)
    assert isinstance(second, Failure)
    assert second.reason in (Reason.ADDRESS, Reason.CONNECTION, Reason.TIMEOUT)
    assert Reason.ADDRESS in (first.reason, second.reason) or len(asked) == 1


def test_a_redirect_to_a_private_address_is_refused(tmp_path: Path) -> None:
    """The address is checked on every hop, not on the first alone."""
    secret_asked: list[bytes] = []

    async def secret(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secret_asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async def fetch() -> Fetched | Failure:
        inside = await asyncio.start_server(secret, "127.0.0.1", 0)
        port = inside.sockets[0].getsockname()[1]

        async def outside(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head(0, f"Location: http://127.0.0.1:{port}/secret", status="302 Found"))
            writer.close()

        public = await asyncio.start_server(outside, "127.0.0.2", 0)
        url = f"http://127.0.0.2:{public.sockets[0].getsockname()[1]}/a.jpg"
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("crawler.fetch.is_public", lambda address: address == "127.0.0.2")
                async with Fetcher(FetchOptions(attempts=1, ignore_robots=True), connections=1) as fetcher:
                    return await fetcher.fetch(PosterRequest(movie_id=1, url=url))
        finally:
            public.close()
            inside.close()

    failure = asyncio.run(fetch())
    assert isinstance(failure, Failure)
    assert failure.reason is Reason.ADDRESS
    assert not secret_asked


def test_titles_and_paths_name_nothing_in_an_archive(tmp_path: Path) -> None:
    """One poster for many movies, and any path: members are named by movie id, one each."""

    async def crawl() -> None:
        async with HostileServer() as server:
            urls = [f"{server.base_url}/html", f"{server.base_url}/html", f"{server.base_url}/../../../tmp/x.jpg"]
            requests = tuple(PosterRequest(movie_id=number, url=url) for number, url in enumerate(urls))
            await asyncio.to_thread(_crawl, ShardPlan(name="shard-00000", requests=requests), tmp_path)

    asyncio.run(crawl())
    assert read_sidecar(tmp_path, "shard-00000")["movie_id"].to_list() == [0, 1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shard-00000.parquet", "shard-00000.tar"]
