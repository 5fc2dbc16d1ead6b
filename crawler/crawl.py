"""One shard plan -> one receipt: fetch, verify, write. Asynchronous, and without Ray."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import uvloop

from crawler.errors import UnusableInput
from crawler.fetch import Fetcher, FetchOptions
from crawler.frontier import TMDB_IMAGE_BASE, Selection, check_image_base
from crawler.politeness import Pacer
from crawler.records import Failure, Fetched, PosterRecord
from crawler.shards import write_shard
from crawler.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

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

    @property
    def rate_per_worker(self) -> float:
        """Requests per second of one worker."""
        return self.rate / self.workers_used if math.isfinite(self.rate) else math.inf

    @property
    def connections_per_worker(self) -> int:
        """Connections of one worker; together they never exceed the total."""
        return self.connections // self.workers_used


def crawl_shard(plan: ShardPlan, folder: Path, options: CrawlOptions) -> ShardReceipt:
    """Fetch the posters of one plan and commit them as one shard.

    Args:
        plan: What to fetch.
        folder: Where the shard goes; must exist.
        options: Shared by all plans of a crawl.

    Returns:
        The receipt of the committed shard.

    Raises:
        OSError: The disk is full or not writable; nothing was committed.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcomes = runner.run(_outcomes(plan.requests, options))
    return write_shard(folder, plan.name, outcomes)


async def _outcomes(requests: Sequence[PosterRequest], options: CrawlOptions) -> list[PosterRecord | Failure]:
    left = iter(requests)
    outcomes: list[PosterRecord | Failure] = []
    connections = options.connections_per_worker
    pace = Pacer(options.rate_per_worker)
    with ThreadPoolExecutor(1, thread_name_prefix="verify") as threads:
        async with Fetcher(options.fetch, connections, pace) as fetcher, asyncio.TaskGroup() as group:
            for _ in range(min(connections, len(requests))):
                group.create_task(_drain(left, fetcher, threads, outcomes))
    return outcomes


async def _drain(
    left: Iterator[PosterRequest],
    fetcher: Fetcher,
    threads: ThreadPoolExecutor,
    outcomes: list[PosterRecord | Failure],
) -> None:
    """Fetch one poster after the other until none is left."""
    loop = asyncio.get_running_loop()
    for request in left:
        fetched = await fetcher.fetch(request)
        if isinstance(fetched, Fetched):
            outcomes.append(await loop.run_in_executor(threads, verify, fetched))
        else:
            outcomes.append(fetched)
