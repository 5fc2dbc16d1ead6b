"""Posters -> a host on loopback that takes its time: ``python -m benchmarks.peers.slow_host FOLDER SECONDS``.

As ``poster_host``, but each answer leaves so many seconds after its request; other connections do not wait meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from benchmarks.peers.poster_host import Connection, read_answers, serve


class _SlowConnection(Connection):
    def __init__(self, answers: list[bytes], wait_s: float) -> None:
        super().__init__(answers)
        self._wait_s = wait_s

    def send(self, answer: bytes) -> None:
        asyncio.get_running_loop().call_later(self._wait_s, self._send_late, answer)

    def _send_late(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            super().send(answer)


if __name__ == "__main__":
    _answers, _wait_s = read_answers(Path(sys.argv[1])), float(sys.argv[2])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as _runner:
        _runner.run(serve(lambda: _SlowConnection(_answers, _wait_s)))
