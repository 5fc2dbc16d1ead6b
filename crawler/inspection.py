"""Fetched bodies -> outcomes, in a thread beside the event loop, many for one wake-up.

Handing each poster over by itself costs more than fetching it: two threads then trade the interpreter lock with every
one. Bodies wait in a line instead; the thread takes all that have come, and tells the loop once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from crawler.monitor import Tally
from crawler.records import Failure, Fetched, PosterRecord
from crawler.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

LINE_BYTES: Final = 8 * 2**20
"""Bodies that may wait; whoever brings more waits first."""


class Inspection:
    """Verifies the bodies of one shard; used from one event loop."""

    def __init__(self, threads: ThreadPoolExecutor, keep: Callable[[PosterRecord], PosterRecord]) -> None:
        """Prepare.

        Args:
            threads: Of one thread; shared from one shard to the next.
            keep: Takes each record's body over; called in that thread.
        """
        self._threads = threads
        self._keep = keep
        self._line: list[Fetched] = []
        self._waiting_bytes = 0
        self._outcomes: list[PosterRecord | Failure] = []
        self._size_bytes = 0
        self._room = asyncio.Event()
        self._work: asyncio.Future[tuple[list[PosterRecord | Failure], int]] | None = None

    async def add(self, outcome: Fetched | Failure) -> None:
        """Bring one outcome of a fetch; returns at once unless too much is waiting.

        Raises:
            OSError: A body could not be kept: the disk is full.
        """
        if isinstance(outcome, Failure):
            self._outcomes.append(outcome)
            return
        self._line.append(outcome)
        self._waiting_bytes += len(outcome.body)
        self._start()
        while self._waiting_bytes > LINE_BYTES:
            self._room.clear()
            await self._room.wait()
            self._start()

    async def finish(self) -> list[PosterRecord | Failure]:
        """Wait until nothing is in line.

        Returns:
            All outcomes, in no order.

        Raises:
            OSError: A body could not be kept: the disk is full.
        """
        while self._line or self._work is not None:
            self._start()
            self._room.clear()
            await self._room.wait()
        return self._outcomes

    def tally(self) -> Tally:
        """Count what has ended so far."""
        failed = Counter(str(outcome.reason) for outcome in self._outcomes if isinstance(outcome, Failure))
        return Tally(ok=len(self._outcomes) - failed.total(), failed=dict(failed), size_bytes=self._size_bytes)

    def _start(self) -> None:
        """Give the thread all that waits, unless it is at work."""
        if self._work is None and self._line:
            batch, self._line = self._line, []
            self._work = asyncio.get_running_loop().run_in_executor(self._threads, self._verify, batch)
            self._work.add_done_callback(self._ended)
        elif self._work is not None and self._work.done():
            self._work.result()  # what went wrong in the thread is raised here

    def _verify(self, batch: list[Fetched]) -> tuple[list[PosterRecord | Failure], int]:
        """Run in the thread; returns the outcomes, and the bytes of those that are posters."""
        outcomes, size_bytes = [verify(fetched) for fetched in batch], 0
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, PosterRecord):
                size_bytes += len(outcome.fetched.body)
                outcomes[index] = self._keep(outcome)
        return outcomes, size_bytes

    def _ended(self, work: asyncio.Future[tuple[list[PosterRecord | Failure], int]]) -> None:
        self._room.set()
        if not work.cancelled() and work.exception() is None:
            outcomes, size_bytes = work.result()
            self._outcomes += outcomes
            self._size_bytes += size_bytes
            self._waiting_bytes = sum(len(fetched.body) for fetched in self._line)
            self._work = None
            self._start()
