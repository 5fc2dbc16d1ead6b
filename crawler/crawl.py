"""One shard plan -> one receipt: fetch, verify, write. Asynchronous, and without Ray."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import socket
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import uvloop

from crawler.errors import UnusableInput
from crawler.fetch import Fetcher, FetchOptions
from crawler.frontier import TMDB_IMAGE_BASE, Selection, check_image_base
from crawler.politeness import Gate, LedgerClient
from crawler.records import Failure, Fetched, PosterRecord
from crawler.shards import write_shard
from crawler.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from crawler.records import PosterRequest, ShardPlan, ShardReceipt


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlOptions:
    """Where the posters come from, how fast, and how they are cut into shards."""

    image_base: str = TMDB_IMAGE_BASE
    """URL in front of each poster path."""
    rate: float = 20.0
    """Requests per second over all workers; infinity for no limit."""
    connections: int = 20
    """Open at once over all workers."""
    workers: int = 2
    """Shards in work at once, each in a process of its own."""
    shard_size: int = 1000
    """Posters requested per shard; also what a kill costs at most."""
    spool_bytes: int = 64 * 2**20
    """Bodies of one shard that wait in memory to be written, the others in a file; 1,000 posters have 14 MB."""
    selection: Selection = field(default_factory=Selection)
    fetch: FetchOptions = field(default_factory=FetchOptions)

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        check_image_base(self.image_base)
        if not self.rate > 0:
            msg = f"--rate {self.rate}: expected requests per second above 0, or inf for no limit"
            raise UnusableInput(msg)
        for name in ("connections", "workers", "shard_size"):
            if getattr(self, name) < 1:
                msg = f"--{name.replace('_', '-')} {getattr(self, name)}: expected a whole number, 1 or more"
                raise UnusableInput(msg)

    @property
    def workers_used(self) -> int:
        """Workers, but never more than connections: each worker needs one."""
        return min(self.workers, self.connections)


class ShardCrawler:
    """One event loop, one session and one verifying thread for all shards that a process works on.

    Example:
        >>> with ShardCrawler(CrawlOptions(), LocalLedger()) as crawler:  # doctest: +SKIP
        ...     receipt = crawler.crawl(plan, folder)
    """

    def __init__(self, options: CrawlOptions, ledger: LedgerClient) -> None:
        """Prepare; nothing is opened before ``__enter__``.

        Args:
            options: Shared by all workers of a crawl.
            ledger: Reaches the ledger that all workers share.
        """
        self._options = options
        worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        gate = Gate(ledger, worker=worker, rate=options.rate, connections=options.connections)
        self._fetcher = Fetcher(options.fetch, options.connections, gate)
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="verify")

    def __enter__(self) -> Self:
        self._runner.run(self._fetcher.open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._fetcher.close())
        self._runner.close()
        self._threads.shutdown()

    def crawl(self, plan: ShardPlan, folder: Path) -> ShardReceipt:
        """Fetch the posters of one plan and commit them as one shard.

        Args:
            plan: What to fetch.
            folder: Where the shard goes; must exist.

        Returns:
            The receipt of the committed shard.

        Raises:
            OSError: The disk is full or not writable; nothing was committed.
        """
        with Spool(folder, plan.name, self._options.spool_bytes) as spool:
            outcomes = self._runner.run(self._outcomes(plan.requests, spool))
            return write_shard(folder, plan.name, outcomes, spool.body)

    async def _outcomes(self, requests: Sequence[PosterRequest], spool: Spool) -> list[PosterRecord | Failure]:
        left = iter(requests)
        outcomes: list[PosterRecord | Failure] = []
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._options.connections, len(requests))):
                group.create_task(self._drain(left, spool, outcomes))
        return outcomes

    async def _drain(self, left: Iterator[PosterRequest], spool: Spool, outcomes: list[PosterRecord | Failure]) -> None:
        """Fetch one poster after the other until none is left."""
        loop = asyncio.get_running_loop()
        for request in left:
            outcome = await self._fetcher.fetch(request)
            if isinstance(outcome, Fetched):
                outcome = await loop.run_in_executor(self._threads, verify, outcome)
            outcomes.append(spool.keep(outcome) if isinstance(outcome, PosterRecord) else outcome)


class Spool:
    """Bodies that wait for their shard to be written: in memory, and beyond a limit in a nameless file."""

    def __init__(self, folder: Path, name: str, limit_bytes: int) -> None:
        """Prepare a spool in ``folder``; the file is made when it is needed."""
        self._path = folder / f".{name}.{os.getpid()}.spool.tmp"
        self._left_bytes = limit_bytes
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0
        self._file: int | None = None

    def keep(self, record: PosterRecord) -> PosterRecord:
        """Keep a record's body; what does not fit in memory leaves the record and goes to the file."""
        body = record.fetched.body
        self._left_bytes -= len(body)
        if self._left_bytes >= 0:
            return record
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            self._path.unlink()  # it ends with this process, however that ends
        written = os.pwrite(self._file, body, self._end)
        if written != len(body):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        self._places[record.movie_id] = (self._end, len(body))
        self._end += len(body)
        return dataclasses.replace(record, fetched=dataclasses.replace(record.fetched, body=b""))

    def body(self, record: PosterRecord) -> bytes:
        """Give back a body that was kept."""
        if (place := self._places.get(record.movie_id)) is None or self._file is None:
            return record.fetched.body
        offset_bytes, size_bytes = place
        return os.pread(self._file, size_bytes, offset_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
