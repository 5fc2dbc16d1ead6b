"""A list of paths and URLs -> a chunk whose posters are read or fetched when they are asked for."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from crawler.fetch import Fetcher, FetchOptions
from crawler.politeness import Gate, LocalLedger
from crawler.records import Failure, Fetched, PosterRequest, Reason
from serving.posters import Posters

if TYPE_CHECKING:
    from collections.abc import Generator
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

SCHEMES: Final = ("http://", "https://")
AHEAD: Final = 64
"""Posters that are fetched before they are asked for, of at most 4 MiB each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaching:
    """How the posters of a list are fetched from the web."""

    rate: float = 20.0
    """Requests per second to a host, of one worker; infinity for no limit."""
    connections: int = 20
    """Open at once, of one worker."""
    fetch: FetchOptions = field(default_factory=FetchOptions)
    """Deadlines, limits, and whether private addresses may be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListChunk:
    """Files and URLs of a list."""

    name: str
    root: Path
    """Where relative paths begin."""
    entries: tuple[str, ...]
    reaching: Reaching = field(default_factory=Reaching)

    def digest(self) -> str:
        """SHA-256 over entries, and over sizes and times of change of the files among them.

        What lies behind a URL is not part of it: it would have to be fetched twice.
        """
        digest = hashlib.sha256()
        for entry in self.entries:
            path = None if entry.startswith(SCHEMES) else self.root / entry
            state = path.stat() if path is not None and path.exists() else None
            digest.update(f"{entry}\0{state.st_size if state else ''}\0{state.st_mtime_ns if state else ''}\n".encode())
        return digest.hexdigest()

    @contextmanager
    def open(self) -> Generator[Posters]:
        """Read each file when it is asked for, and fetch URLs a little ahead of that."""
        urls = {index: entry for index, entry in enumerate(self.entries) if entry.startswith(SCHEMES)}
        with _Ahead(urls, self.reaching) as ahead:

            def read(index: int) -> bytes | Reason:
                if index in urls:
                    return ahead.read(index)
                try:
                    return (self.root / self.entries[index]).read_bytes()
                except OSError:
                    return Reason.MISSING

            yield Posters(movie_ids=[None] * len(self.entries), sources=list(self.entries), read=read)


class _Ahead:
    """Fetches URLs in their order on an event loop of its own, at most ``AHEAD`` before the last one asked for."""

    def __init__(self, urls: dict[int, str], reaching: Reaching) -> None:
        self._urls, self._reaching = urls, reaching
        self._order = iter(urls)
        self._bodies: dict[int, Future[bytes | Reason]] = {}
        self._asked = 0
        self._begun = 0
        self._changing = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="keyart-fetch", daemon=True)

    def __enter__(self) -> Self:
        if self._urls:
            worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
            gate = Gate(LocalLedger(), worker=worker, rate=self._reaching.rate, connections=self._reaching.connections)
            self._fetcher = Fetcher(self._reaching.fetch, self._reaching.connections, gate)
            self._thread.start()
            asyncio.run_coroutine_threadsafe(self._fetcher.open(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._urls:
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    def read(self, index: int) -> bytes | Reason:
        """Wait for the poster at an index, each of which is asked for once; called from several threads."""
        with self._changing:
            self._asked += 1
            while index not in self._bodies or self._begun < min(self._asked + AHEAD, len(self._urls)):
                following = next(self._order)
                self._begun += 1
                self._bodies[following] = asyncio.run_coroutine_threadsafe(self._fetch(following), self._loop)
            body = self._bodies[index]
        try:
            return body.result()
        finally:
            with self._changing:
                del self._bodies[index]

    async def _fetch(self, index: int) -> bytes | Reason:
        request = PosterRequest(movie_id=index, url=self._urls[index])
        outcome: Fetched | Failure = await self._fetcher.fetch(request)
        return outcome.body if isinstance(outcome, Fetched) else outcome.reason

    async def _end(self) -> None:
        """Give up what nobody asked for."""
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._fetcher.close()
