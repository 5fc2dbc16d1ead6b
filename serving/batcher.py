"""Single requests -> full batches: a batch runs when it is full or when its oldest member has waited long enough."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

from crawler.errors import UnusableInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Refusal(StrEnum):
    """Why an item was not computed."""

    FULL = "queue_full"
    """More items are waiting than the queue holds."""
    LATE = "deadline_passed"
    """Its deadline passed before its turn came, or before its batch was done."""
    STOPPING = "stopping"
    """The batcher is being closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatcherOptions:
    """How items become batches."""

    largest: int = 16
    """Items a batch, at most."""
    wait_s: float = 0.004
    """How long the oldest item waits for others while a runner is free."""
    queue: int = 256
    """Items that may wait."""
    runners: int = 3
    """Batches that run at the same time, each in a thread."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("largest", "queue", "runners"):
            if getattr(self, name) < 1:
                msg = f"batcher {name} {getattr(self, name)}: expected a whole number from 1 up"
                raise UnusableInput(msg)


@dataclass(slots=True, eq=False)
class _Entry(Generic[Item, Answer]):
    item: Item
    answer: asyncio.Future[Answer | Refusal]
    deadline: float
    since: float = field(default_factory=time.monotonic)


class Batcher(Generic[Item, Answer]):
    """Collects items from many coroutines and runs them together in threads."""

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Answer]],
        options: BatcherOptions,
        observe: Callable[[int, float], None],
    ) -> None:
        """Begin to accept items; needs a running event loop.

        Args:
            run: Computes one answer per item; called in a thread, several at a time.
            options: How items become batches.
            observe: Told of every batch: its size and how long its oldest member waited, in seconds.
        """
        self._run, self._options, self._observe = run, options, observe
        self._waiting: deque[_Entry[Item, Answer]] = deque()
        self._changed = asyncio.Condition()
        self._stopping = False
        self._pool = ThreadPoolExecutor(options.runners, thread_name_prefix="keyart-batch")
        self._runners = [asyncio.create_task(self._work()) for _ in range(options.runners)]

    @property
    def waiting(self) -> int:
        """Items whose batch has not begun."""
        return len(self._waiting)

    async def submit(self, items: Sequence[Item], timeout_s: float) -> list[Answer | Refusal]:
        """Have items computed; cancelling this call takes out those whose batch has not begun.

        Args:
            items: Accepted all together or not at all.
            timeout_s: After which an answer is of no use.

        Returns:
            One answer or refusal per item.
        """
        if self._stopping:
            return [Refusal.STOPPING] * len(items)
        if len(self._waiting) + len(items) > self._options.queue:
            return [Refusal.FULL] * len(items)
        deadline = time.monotonic() + timeout_s
        loop = asyncio.get_running_loop()
        entries = [_Entry[Item, Answer](item, loop.create_future(), deadline) for item in items]
        self._waiting.extend(entries)
        async with self._changed:
            self._changed.notify_all()
        try:
            done, _ = await asyncio.wait([entry.answer for entry in entries], timeout=timeout_s)
            return [entry.answer.result() if entry.answer in done else Refusal.LATE for entry in entries]
        finally:
            for entry in entries:
                entry.answer.cancel()

    async def close(self) -> None:
        """Accept nothing more, compute what waits, and end."""
        self._stopping = True
        async with self._changed:
            self._changed.notify_all()
        await asyncio.gather(*self._runners)
        self._pool.shutdown()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := await self._next():
            waited_s = time.monotonic() - batch[0].since
            self._observe(len(batch), waited_s)
            try:
                answers = await loop.run_in_executor(self._pool, self._run, [entry.item for entry in batch])
            except Exception as error:  # noqa: BLE001 - a bug in `run` belongs to those who wait, not to this loop
                for entry in batch:
                    if not entry.answer.done():
                        entry.answer.set_exception(error)
                continue
            for entry, answer in zip(batch, answers, strict=True):
                if not entry.answer.done():
                    entry.answer.set_result(answer)

    async def _next(self) -> list[_Entry[Item, Answer]]:
        """Wait for the next batch; empty when the batcher is closed and nothing is left."""
        async with self._changed:
            while True:
                self._drop_the_dead()
                if not self._waiting:
                    if self._stopping:
                        return []
                    await self._changed.wait()
                    continue
                left_s = self._waiting[0].since + self._options.wait_s - time.monotonic()
                if len(self._waiting) >= self._options.largest or left_s <= 0 or self._stopping:
                    size = min(self._options.largest, len(self._waiting))
                    return [self._waiting.popleft() for _ in range(size)]
                try:
                    await asyncio.wait_for(self._changed.wait(), left_s)
                except TimeoutError:
                    continue

    def _drop_the_dead(self) -> None:
        """Take out what nobody waits for any more."""
        now = time.monotonic()
        alive: deque[_Entry[Item, Answer]] = deque()
        for entry in self._waiting:
            if entry.answer.done():
                continue
            if entry.deadline <= now:
                entry.answer.set_result(Refusal.LATE)
                continue
            alive.append(entry)
        self._waiting = alive
