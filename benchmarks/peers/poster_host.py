"""Posters -> a keep-alive host on loopback that costs as little as a host can, over http and verified https.

Run as a process of its own: ``python -m benchmarks.peers.poster_host FOLDER [CERTIFICATE]`` prints its port. Every
``/{number}.jpg`` is answered, from the folder's posters in turn. It understands just enough HTTP for clients that
send a GET and keep the connection; that is the point: about 30 microseconds of CPU per poster leave the machine to
the crawler that is measured. ``/clock`` answers when the first poster was asked for since the last ``/clock``, so
that a peer's own start is not taken for slowness.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import uvloop

POSTERS: Final = 500
"""Different posters; more would measure the page cache."""
_NUMBER: Final = re.compile(rb"^GET \S*?/(\d+)\.jpg")
_EMPTY: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_ASKED_S: Final[list[float]] = []
"""When the first poster was asked for."""


class Connection(asyncio.Protocol):
    """One client, who may send requests before earlier ones are answered."""

    def __init__(self, answers: list[bytes]) -> None:
        self._answers = answers
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers leave by."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        *requests, self._buffer = (self._buffer + data).split(b"\r\n\r\n")
        for request in requests:
            found = _NUMBER.match(request)
            if found is not None:
                if not _ASKED_S:
                    _ASKED_S.append(time.monotonic())
                self.send(self._answers[int(found[1]) % len(self._answers)])
            elif request.startswith(b"GET /clock"):
                body = str(_ASKED_S.pop() if _ASKED_S else 0.0).encode()
                self.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            else:
                self.send(_EMPTY)

    def send(self, answer: bytes) -> None:
        """Answer at once."""
        self._transport.write(answer)


def read_answers(folder: Path) -> list[bytes]:
    """Complete responses, one per poster."""
    bodies = (path.read_bytes() for path in sorted(folder.glob("*.jpg"))[:POSTERS])
    head = "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n"
    return [head.format(len(body)).encode() + body for body in bodies]


async def serve(connect: Callable[[], Connection], certificate: str | None = None) -> None:
    """Serve until killed; print the port when ready."""
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(connect, "127.0.0.1", 0, ssl=context, backlog=512)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as _runner:
        _answers = read_answers(Path(sys.argv[1]))
        _runner.run(serve(lambda: Connection(_answers), sys.argv[2] if sys.argv[2:] else None))
