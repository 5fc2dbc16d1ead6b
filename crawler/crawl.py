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
from typing import TYPE_CHECKING, Final, Self, TypeAlias

import uvloop

from crawler.commit import staging
from crawler.errors import UnusableInput
from crawler.fetch import Fetcher, FetchOptions
from crawler.frontier import TMDB_IMAGE_BASE, Selection, check_image_base
from crawler.inspection import Inspection
from crawler.politeness import Gate, LedgerClient
from crawler.records import Failure, PosterRecord, Reason
from crawler.shards import open_shard, read_outcomes, read_sidecar, write_shard
from crawler.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from crawler.monitor import Tally
    from crawler.records import PosterRequest, ShardPlan, ShardReceipt
    from crawler.storage import Place, Store


REPORT_S: Final = 1.0
"""Between two reports of a worker on the shard that it is at."""

Report: TypeAlias = "Callable[[str, Tally], None]"
"""Receives a shard's name and what has become of its posters so far."""


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
    spool_bytes: int = 16 * 2**20
    """Bodies of one shard that wait in memory to be written, the others in a file; 1,000 posters have 14 MB."""
    retry_failed: tuple[str, ...] = ()
    """Only ask again for the failed posters of shards that exist, of these reasons."""
    refresh: bool = False
    """Only ask again for the stored posters of shards that exist, and store what has changed."""
    selection: Selection = field(default_factory=Selection)
    fetch: FetchOptions = field(default_factory=FetchOptions)

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        check_image_base(self.image_base)
        for reason in self.retry_failed:
            if reason not in set(Reason):
                msg = f"--retry-failed {reason}: no such reason; expected all, or some of {', '.join(Reason)}"
                raise UnusableInput(msg)
        if self.retry_failed and self.refresh:
            msg = "--refresh: cannot be combined with --retry-failed; crawl twice, once with each"
            raise UnusableInput(msg)
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

    def __init__(self, options: CrawlOptions, ledger: LedgerClient, report: Report | None = None) -> None:
        """Prepare; nothing is opened before ``__enter__``.

        Args:
            options: Shared by all workers of a crawl.
            ledger: Reaches the ledger that all workers share.
            report: Is told once a second how far the shard in work is.
        """
        self._report = report
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

    def crawl(self, plan: ShardPlan, folder: Place | Store) -> ShardReceipt:
        """Fetch the posters of one plan and commit them as one shard.

        Args:
            plan: What to fetch.
            folder: Where the shard goes; a local one must exist.

        Returns:
            The receipt of the committed shard.

        Raises:
            OSError: The disk is full or not writable; nothing was committed.
            WorkFailed: The bucket cannot be written, or another crawl has taken the archive over.
        """
        store = open_store(folder)
        with staging(store) as stage, Spool(stage, plan.name, self._options.spool_bytes) as spool:
            outcomes = self._runner.run(self._outcomes(plan, spool))
            if not plan.revisit:
                return write_shard(store, plan.name, outcomes, spool.body)
            return _rewrite(store, plan.name, outcomes, spool)

    async def _outcomes(self, plan: ShardPlan, spool: Spool) -> list[PosterRecord | Failure]:
        left = iter(plan.requests)
        inspection = Inspection(self._threads, spool.keep)
        reporting = asyncio.create_task(self._tell(plan.name, inspection))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._options.connections, len(plan.requests))):
                    group.create_task(self._drain(left, inspection))
            return await inspection.finish()
        except ExceptionGroup as errors:  # one is enough to give the shard up, and its kind says why
            raise errors.exceptions[0] from errors
        finally:
            reporting.cancel()

    async def _tell(self, name: str, inspection: Inspection) -> None:
        while self._report is not None:
            await asyncio.sleep(REPORT_S)
            self._report(name, inspection.tally())

    async def _drain(self, left: Iterator[PosterRequest], inspection: Inspection) -> None:
        """Fetch one poster after the other until none is left."""
        for request in left:
            outcome = await self._fetcher.fetch(request)
            await inspection.add(outcome)
            self._fetcher.release(outcome)
            del outcome  # or its body would live until the next one has come


def _rewrite(folder: Store, name: str, outcomes: list[PosterRecord | Failure], spool: Spool) -> ShardReceipt:
    """Commit a new version of a shard: what came replaces what was stored, and what is gone leaves a row.

    A stored poster stays if its host could not be asked this time. Where nothing is new the same bytes are written.
    """
    old = {outcome.movie_id: outcome for outcome in read_outcomes(folder, name)}
    new = {
        outcome.movie_id: outcome
        for outcome in outcomes
        if isinstance(outcome, PosterRecord)
        or outcome.reason is Reason.NOT_FOUND
        or (outcome.reason is not Reason.UNCHANGED and isinstance(old[outcome.movie_id], Failure))
    }
    rows = read_sidecar(folder, name).select("movie_id", "offset_bytes", "size_bytes")
    places = {movie_id: (offset_bytes, size_bytes) for movie_id, offset_bytes, size_bytes in rows.iter_rows()}
    with open_shard(folder, name) as shard:

        def body_of(record: PosterRecord) -> bytes:
            return spool.body(record) if record.movie_id in new else shard.read(*places[record.movie_id])

        return write_shard(folder, name, (old | new).values(), body_of)


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
