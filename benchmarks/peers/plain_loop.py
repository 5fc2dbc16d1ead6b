"""The roof of any aiohttp crawler: a plain loop that fetches and throws the bodies away.

Run as a process of its own: ``python -m benchmarks.peers.plain_loop BASE FIRST LAST CONNECTIONS`` prints
``{"seconds": ..., "cpu_s": ..., "images": ...}``. No check, no hash, no shard, no retry.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING

import aiohttp
import uvloop

if TYPE_CHECKING:
    from collections.abc import Iterator


async def fetch_all(base: str, numbers: Iterator[int], connections: int) -> int:
    """Fetch ``{base}/{number}.jpg`` for every number; return how many came."""
    came = 0

    async def drain(session: aiohttp.ClientSession) -> None:
        nonlocal came
        for number in numbers:
            async with session.get(f"{base}/{number}.jpg") as response:
                came += bool(await response.read())

    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(drain(session))
    return came


if __name__ == "__main__":
    _base, _first, _last, _connections = sys.argv[1], *map(int, sys.argv[2:5])
    _started_s = time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as _runner:
        _images = _runner.run(fetch_all(_base, iter(range(_first, _last)), _connections))
    sys.stdout.write(
        json.dumps({"seconds": time.perf_counter() - _started_s, "cpu_s": time.process_time(), "images": _images})
        + "\n"
    )
