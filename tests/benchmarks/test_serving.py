"""The question about serving answers, and its load generator charges a stall to all who wait; no time is asserted."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from benchmarks.load import percentile
from benchmarks.serving import LIT, OURS, RAY, ROOF, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from benchmarks.findings import Options

STALL_S = 0.4


def test_serving_stands_beside_bulk_scoring(options: Options) -> None:
    """Throughput in a closed loop, latency in an open one, and the client's share of the cores are all said."""
    found = measure(options)
    rows = {row.name: row for row in found.rows}
    assert set(rows) == {OURS, ROOF}
    extra = rows[OURS].extra
    assert extra["failed"] == 0
    assert 0 < float(extra["p50, ms"]) <= float(extra["p99, ms"])
    assert str(extra["client CPU"]).endswith("%")
    assert {RAY, LIT} <= set(found.missing)


def test_a_stall_is_charged_to_every_request_that_was_due_meanwhile(tmp_path: Path) -> None:
    """An open loop does not wait for an answer before it sends the next, and counts from the time that was due."""
    with _server(stall_at=20) as port:
        seen = _load(tmp_path, port, requests=60, rate=100.0)
    delayed = [latency for latency in seen["latencies_s"] if latency > STALL_S / 4]
    assert len(seen["latencies_s"]) == 60
    assert len(delayed) >= 10, "at 100 a second, some 30 fall into the first three quarters of a stall of 0.4 s"


def test_a_closed_loop_answers_every_request(tmp_path: Path) -> None:
    """Each connection sends its next when it has its answer; what is not 200 counts as failed."""
    with _server() as port:
        seen = _load(tmp_path, port, requests=50)
        refused = _load(tmp_path, port, requests=5, path="/missing")
    assert (len(seen["latencies_s"]), seen["failed"], refused["failed"]) == (50, 0, 5)


def test_percentiles_are_values_that_were_seen() -> None:
    """The smallest value that at least the share does not exceed; never one in between."""
    values = [float(value) for value in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (50.0, 99.0, 100.0)


def _load(folder: Path, port: int, **how: object) -> dict[str, list[float]]:
    (folder / "body").write_bytes(b"poster")
    plan = {"address": ("127.0.0.1", port), "path": "/", "type": "image/jpeg", "bodies": [str(folder / "body")]}
    plan |= {"connections": 4, **how}
    command = [sys.executable, "-m", "benchmarks.load", json.dumps(plan)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@contextlib.contextmanager
def _server(stall_at: int = -1) -> Generator[int]:
    """Answer at once; the request of that number stops the whole server for a while, as a long collection would."""
    ready, ports, asked = threading.Event(), list[int](), 0
    stops: list[Callable[[], object]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        with contextlib.suppress(asyncio.IncompleteReadError):  # the client hung up
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(6)
                asked += 1
                if asked == stall_at:
                    time.sleep(STALL_S)  # noqa: ASYNC251 - that is the stall
                status = b"404 Not Found" if b"/missing" in head else b"200 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async def serve() -> None:
        stop = asyncio.Event()
        stops.append(functools.partial(asyncio.get_running_loop().call_soon_threadsafe, stop.set))
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            ports.append(server.sockets[0].getsockname()[1])
            ready.set()
            await stop.wait()
            await asyncio.sleep(0.05)  # for connections whose client has just hung up

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    yield ports[0]
    stops[0]()
    thread.join()
