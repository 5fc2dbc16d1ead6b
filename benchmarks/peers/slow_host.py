"""Posters -> a host on loopback that takes its time: ``python -m benchmarks.peers.slow_host FOLDER SECONDS``.

As ``poster_host``, but each answer leaves so many seconds after its request; other connections do not wait meanwhile.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Final, cast

import uvloop

from benchmarks.peers.poster_host import read_answers

_NUMBER: Final = re.compile(rb"^GET \S*?/(\d+)\.jpg")
MISSING: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class _Connection(asyncio.Protocol):
    def __init__(self, answers: list[bytes], wait_s: float) -> None:
        self._answers, self._wait_s, self._buffer = answers, wait_s, b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        *requests, self._buffer = (self._buffer + data).split(b"\r\n\r\n")
        for request in requests:
            found = _NUMBER.match(request)
            answer = self._answers[int(found[1]) % len(self._answers)] if found else MISSING
            asyncio.get_running_loop().call_later(self._wait_s, self._answer, answer)

    def _answer(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def serve(answers: list[bytes], wait_s: float) -> None:
    """Serve until killed; print the port when ready."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(answers, wait_s), "127.0.0.1", 0, backlog=512)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as _runner:
        _runner.run(serve(read_answers(Path(sys.argv[1])), float(sys.argv[2])))
