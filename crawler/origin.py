"""Poster bytes -> a local web server that a crawl can fetch them from, in a thread of its own."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType


class PosterServer:
    """A poster host on loopback; what it does not have is a natural 404.

    Example:
        >>> with PosterServer({"a.jpg": b"..."}) as server:
        ...     server.base_url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(self, source: Mapping[str, bytes] | Path, address: str = "127.0.0.1") -> None:
        """Prepare; nothing listens before ``__enter__``.

        Args:
            source: File name -> bytes, or a folder. Only the last part of a requested path is looked at.
            address: Loopback address to listen on; politeness takes each one for a host of its own.
        """
        self._source = source
        self._address = address
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="poster-server", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._port = 0
        self._failure: OSError | None = None
        self.requested: list[str] = []
        """Paths in the order of their requests, without robots.txt."""
        self.arrived_s: list[float] = []
        """When each of them came, on the monotonic clock."""

    @property
    def base_url(self) -> str:
        """Where the posters are, without a trailing slash."""
        return f"http://{self._address}:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, self._address, 0)
        try:
            await site.start()
            self._port = runner.addresses[0][1]
        except OSError as error:
            self._failure = error
        else:
            self._ready.set()
            await self._stop.wait()
        finally:
            await runner.cleanup()
            self._ready.set()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path != "/robots.txt":
            self.requested.append(request.path)
            self.arrived_s.append(time.monotonic())
        body = self._body(PurePosixPath(request.path).name)
        if body is None:
            return web.Response(status=404, text="no such poster")
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        return web.Response(body=body, content_type="image/jpeg", headers={"ETag": etag})

    def _body(self, name: str) -> bytes | None:
        if isinstance(self._source, Path):
            path = self._source / name
            return path.read_bytes() if name and path.is_file() else None
        return self._source.get(name)
