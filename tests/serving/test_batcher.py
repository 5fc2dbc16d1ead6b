"""Items become batches when full or when the oldest has waited; what nobody waits for is not computed."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from serving.batcher import Batcher, BatcherOptions, Refusal


class Kitchen:
    """Doubles numbers, remembers the batches it was given, and can be held back."""

    def __init__(self, batches: list[tuple[int, float]] | None = None) -> None:
        self.batches: list[list[int]] = []
        self.observed = batches if batches is not None else []
        self.open = threading.Event()
        self.open.set()

    def __call__(self, items: list[int]) -> list[int]:
        """Cook one batch."""
        self.batches.append(items)
        assert self.open.wait(20)
        if 13 in items:
            msg = "thirteen"
            raise ArithmeticError(msg)
        return [2 * item for item in items]

    def batcher(self, **options: float) -> Batcher[int, int]:
        """A batcher over it, in the running loop."""
        return Batcher(self, BatcherOptions(**{"runners": 1, **options}), lambda *seen: self.observed.append(seen))


async def until(condition: object) -> None:
    """Wait for something that another thread does."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("what was waited for did not happen")


def test_full_batch_does_not_wait() -> None:
    """As many items as a batch holds run together, long before the oldest has waited its time."""

    async def scene() -> None:
        kitchen = Kitchen()
        batcher = kitchen.batcher(largest=4, wait_s=60)
        begin = time.monotonic()
        answers = await asyncio.gather(*(batcher.submit([item], 20) for item in range(4)))
        assert answers == [[0], [2], [4], [6]]
        assert time.monotonic() - begin < 20
        assert kitchen.batches == [[0, 1, 2, 3]]
        assert kitchen.observed[0][0] == 4
        await batcher.close()

    asyncio.run(scene())


def test_lone_item_runs_after_its_wait() -> None:
    """A batch that does not fill runs with what it has."""

    async def scene() -> None:
        kitchen = Kitchen()
        batcher = kitchen.batcher(largest=100, wait_s=0.01)
        assert await batcher.submit([21], 20) == [42]
        await batcher.close()

    asyncio.run(scene())


def test_full_queue_refuses_at_once() -> None:
    """Beyond the bound nothing is taken, and of several items together all or none."""

    async def scene() -> None:
        kitchen = Kitchen()
        kitchen.open.clear()
        batcher = kitchen.batcher(largest=1, wait_s=0, queue=2)
        first = asyncio.create_task(batcher.submit([1], 20))
        await until(lambda: kitchen.batches)
        second = asyncio.create_task(batcher.submit([2], 20))
        await until(lambda: batcher.waiting == 1)
        assert await batcher.submit([3, 4], 20) == [Refusal.FULL] * 2
        kitchen.open.set()
        assert await asyncio.gather(first, second) == [[2], [4]]
        assert kitchen.batches == [[1], [2]]
        await batcher.close()

    asyncio.run(scene())


def test_cancelled_item_is_not_computed() -> None:
    """Whoever goes away before the batch begins leaves the queue."""

    async def scene() -> None:
        kitchen = Kitchen()
        kitchen.open.clear()
        batcher = kitchen.batcher(largest=1, wait_s=0)
        first = asyncio.create_task(batcher.submit([1], 20))
        await until(lambda: kitchen.batches)
        second = asyncio.create_task(batcher.submit([2], 20))
        third = asyncio.create_task(batcher.submit([3], 20))
        await until(lambda: batcher.waiting == 2)
        second.cancel()
        kitchen.open.set()
        assert await asyncio.gather(first, third) == [[2], [6]]
        assert kitchen.batches == [[1], [3]]
        await batcher.close()

    asyncio.run(scene())


def test_deadline_is_honoured() -> None:
    """An item whose time is up is answered in time and never computed."""

    async def scene() -> None:
        kitchen = Kitchen()
        kitchen.open.clear()
        batcher = kitchen.batcher(largest=1, wait_s=0)
        first = asyncio.create_task(batcher.submit([1], 20))
        await until(lambda: kitchen.batches)
        assert await batcher.submit([2], 0.05) == [Refusal.LATE]
        kitchen.open.set()
        assert await first == [2]
        await batcher.close()
        assert kitchen.batches == [[1]]

    asyncio.run(scene())


def test_closing_computes_what_waits_and_takes_no_more() -> None:
    """Nothing that was accepted is lost."""

    async def scene() -> None:
        kitchen = Kitchen()
        kitchen.open.clear()
        batcher = kitchen.batcher(largest=2, wait_s=60)
        waiting = [asyncio.create_task(batcher.submit([item], 20)) for item in range(5)]
        await until(lambda: batcher.waiting == 3)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        assert await batcher.submit([9], 20) == [Refusal.STOPPING]
        kitchen.open.set()
        await closing
        assert await asyncio.gather(*waiting) == [[0], [2], [4], [6], [8]]

    asyncio.run(scene())


def test_fault_reaches_those_who_wait_and_nobody_else() -> None:
    """A bug in one batch is raised to its members; the next batch runs."""

    async def scene() -> None:
        batcher = Kitchen().batcher(largest=1, wait_s=0)
        with pytest.raises(ArithmeticError, match="thirteen"):
            await batcher.submit([13], 20)
        assert await batcher.submit([1], 20) == [2]
        await batcher.close()

    asyncio.run(scene())
