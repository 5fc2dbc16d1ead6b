"""A plain aiohttp loop. Without a folder it throws the bodies away: the roof of any aiohttp crawler.

Run as a process of its own: ``python -m benchmarks.peers.plain_loop BASE FIRST LAST CONNECTIONS [FOLDER]`` prints how
many posters came, and when they had. With a folder it does what one would write first: a file for each poster. No
check, no hash, no retry, nothing committed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
import uvloop

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES: Final = ("aiohttp", "uvloop")


async def fetch_all(base: str, numbers: Iterator[int], connections: int, folder: Path | None) -> int:
    """Fetch ``{base}/{number}.jpg`` for every number; return how many came."""
    came = 0

    async def drain(session: aiohttp.ClientSession) -> None:
        nonlocal came
        for number in numbers:
            async with session.get(f"{base}/{number}.jpg") as response:
                body = await response.read()
                came += bool(body)
                if folder is not None:
                    (folder / f"{number}.jpg").write_bytes(body)

    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(drain(session))
    return came


if __name__ == "__main__":
    _base, _first, _last, _connections = sys.argv[1], *map(int, sys.argv[2:5])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as _runner:
        _folder = Path(sys.argv[5]) if sys.argv[5:] else None
        _came = _runner.run(fetch_all(_base, iter(range(_first, _last)), _connections, _folder))
    sys.stdout.write(f"{_came} {time.monotonic()}\n")
