"""Requests on a schedule -> latencies: a load generator for one server, in a process of its own.

``python -m benchmarks.load PLAN`` with a plan in JSON: ``address`` (host, port), ``path``, ``bodies`` (files),
``type``, ``requests``, ``connections``, and for an open loop ``rate``. It prints what it saw as JSON.

A *closed* loop keeps every connection busy: what the server can do. An *open* loop sends each request at a time that
was fixed beforehand (Poisson arrivals), whether or not earlier ones were answered, on whichever kept-alive connection
is idle or a new one; latency counts from the time that was fixed, so that a server that stalls is charged for every
request that would have come meanwhile (no coordinated omission). How late the generator itself was is said too.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import httptools
import uvloop

OK: Final = 200
SEED: Final = 7


@dataclass(slots=True)
class _Log:
    """What was seen."""

    latencies_s: list[float] = field(default_factory=list[float])
    late_s: list[float] = field(default_factory=list[float])
    """By how much the generator itself missed the schedule."""
    failed: int = 0
    """Answers other than 200, and connections that broke."""


class _Connection(asyncio.Protocol):
    """One kept-alive connection with at most one request under way."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(0)

    def on_message_complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(self._parser.get_status_code())
        self._parser = httptools.HttpResponseParser(self)

    async def ask(self, request: bytes) -> int:
        """Send a request; return the status of its answer, 0 if there is none."""
        if self._transport.is_closing():
            return 0
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        self._transport.close()


class _Load:
    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan, self.log = plan, _Log()
        self._requests = [_request(plan, Path(body).read_bytes()) for body in plan["bodies"]]
        self._idle: deque[_Connection] = deque()

    async def closed(self) -> None:
        """Keep every connection busy until all requests are answered."""
        numbers = iter(range(self._plan["requests"]))

        async def drain() -> None:
            connection = await self._connect()
            for number in numbers:
                await self._ask(connection, number, time.perf_counter())
            connection.close()

        await asyncio.gather(*(drain() for _ in range(self._plan["connections"])))

    async def open(self) -> None:
        """Send each request at its time."""
        chance = random.Random(SEED)  # noqa: S311 - a schedule, not a secret
        for _ in range(self._plan["connections"]):
            self._idle.append(await self._connect())
        due_s = time.perf_counter() + 0.1
        async with asyncio.TaskGroup() as group:
            for number in range(self._plan["requests"]):
                due_s += chance.expovariate(self._plan["rate"])
                if (wait_s := due_s - time.perf_counter()) > 0:
                    await asyncio.sleep(wait_s)
                self.log.late_s.append(time.perf_counter() - due_s)
                group.create_task(self._one(number, due_s))
        for connection in self._idle:
            connection.close()

    async def _one(self, number: int, due_s: float) -> None:
        connection = self._idle.popleft() if self._idle else await self._connect()
        await self._ask(connection, number, due_s)
        self._idle.append(connection)

    async def _ask(self, connection: _Connection, number: int, since_s: float) -> None:
        status = await connection.ask(self._requests[number % len(self._requests)])
        self.log.latencies_s.append(time.perf_counter() - since_s)
        self.log.failed += status != OK

    async def _connect(self) -> _Connection:
        host, port = self._plan["address"]
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, host, port)
        return connection


def _request(plan: dict[str, Any], body: bytes) -> bytes:
    head = f"POST {plan['path']} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {plan['type']}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def percentile(values: list[float], share: float) -> float:
    """Give the smallest value that at least ``share`` of all do not exceed.

    Example:
        >>> percentile([4.0, 1.0, 3.0, 2.0], 0.5)
        2.0
    """
    return sorted(values)[max(0, -(-int(share * 10_000) * len(values) // 10_000) - 1)]


def main() -> None:
    """Follow a plan and print what was seen."""
    plan = json.loads(sys.argv[1])
    load = _Load(plan)
    began_s, used_s = time.perf_counter(), time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(load.open() if "rate" in plan else load.closed())
    seen = {
        "wall_s": time.perf_counter() - began_s,
        "cpu_s": time.process_time() - used_s,
        "failed": load.log.failed,
        "latencies_s": [round(value, 6) for value in load.log.latencies_s],
        "late_s": percentile(load.log.late_s, 0.99) if load.log.late_s else 0.0,
    }
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
