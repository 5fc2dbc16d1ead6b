"""A peer's module and its job -> a process that does the job when it is told to: both ends of the line between them.

The peer's end is ``python -m benchmarks.laps MODULE JOB``: it imports ``benchmarks.peers.MODULE``, calls ``make(job)``
once, and the function that it gets once a lap. What the peer itself has to say of a lap (time spent waiting, a loss, a
count) goes back as plain numbers. An interpreter of its own keeps each contender's threads, memory and libraries apart.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, Self

import benchmarks
from benchmarks.machine import installed
from benchmarks.timing import Lap
from benchmarks.tree import MemoryWatch, cpu_s
from crawler.errors import WorkFailed

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

ROOT: Final = Path(benchmarks.__file__).resolve().parents[1]
"""What a peer's interpreter must find ``benchmarks`` in."""
LIMIT_S: Final = 900.0
"""Within which a peer must be ready, or have done a lap; one that hangs is ended."""
LAST_WORDS: Final = 300
"""Characters of what a dead peer said that an error message repeats."""


class Laps(Protocol):
    """A contender that says something of each lap."""

    words: list[dict[str, float]]
    """What the peer said, lap by lap; the first was a warm-up."""

    @property
    def versions(self) -> dict[str, str]:
        """Of the libraries that the peer names."""
        ...

    def lap(self) -> Lap:
        """Have the job done once."""
        ...


def said(laps: Laps, what: str) -> float:
    """Give the median over laps of something that the peer said; the first lap, a warm-up, does not count."""
    return statistics.median(lap[what] for lap in laps.words[1:] or laps.words)


class LapProcess:
    """One contender in a process of its own: what ``timing.alternate`` takes."""

    def __init__(
        self,
        name: str,
        module: str,
        job: Mapping[str, Any],
        *,
        python: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it; ``versions`` and ``lap`` wait until it is ready, so that several can start at once.

        Args:
            name: In error messages.
            module: Of ``benchmarks.peers``.
            job: What its ``make`` is told; plain values.
            python: Its interpreter; this one where left out.
            environment: Variables beyond our own.
        """
        self.name = name
        self.words: list[dict[str, float]] = []
        self._errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by ``close``
        settings = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "TOKENIZERS_PARALLELISM": "false"}
        command = [str(python or sys.executable), "-m", "benchmarks.laps", module, json.dumps(job)]
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **settings, **(environment or {})},
        )
        self._versions: dict[str, str] | None = None

    @property
    def versions(self) -> dict[str, str]:
        """Of the libraries that the peer names.

        Raises:
            WorkFailed: It ended before it was ready.
        """
        if self._versions is None:
            self._versions = self._ask(None)
        return self._versions

    def lap(self) -> Lap:
        """Have the job done once."""
        assert self.versions is not None  # noqa: S101 - that is, it is ready
        before_s = cpu_s(self._process.pid)
        with MemoryWatch(self._process.pid) as watch:
            answer = self._ask("lap")
        self.words.append(answer["said"])
        used_s = cpu_s(self._process.pid) - before_s
        return Lap(wall_s=answer["wall_s"], cpu_s=used_s, peak_bytes=watch.peak_bytes)

    def _ask(self, request: str | None) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 - what Popen was asked for
        assert stdout is not None  # noqa: S101
        limit = threading.Timer(LIMIT_S, self._process.kill)
        limit.start()
        try:
            if request is not None:
                stdin.write(f"{request}\n")
                stdin.flush()
            return json.loads(stdout.readline())
        except (OSError, ValueError) as error:
            self._process.kill()
            self._process.wait()
            self._errors.seek(0)
            words = " ".join(self._errors.read().strip().splitlines()[-1:])[-LAST_WORDS:]
            msg = f"benchmark peer {self.name}: {words or f'ended, or took more than {LIMIT_S:.0f} s'}"
            raise WorkFailed(msg) from error
        finally:
            limit.cancel()

    def close(self) -> None:
        """End it: it leaves when its line is closed, and is made to leave where it does not."""
        try:
            self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class LocalLaps:
    """One contender in this process, for a quick run: it spares an interpreter, and says nothing of memory."""

    def __init__(self, module: str, job: Mapping[str, Any]) -> None:
        """Import the peer and have it prepare."""
        peer = importlib.import_module(f"benchmarks.peers.{module}")
        self.words: list[dict[str, float]] = []
        self.versions = installed(peer.PACKAGES)
        self._lap = peer.make(job)

    def lap(self) -> Lap:
        """Have the job done once."""
        wall_s, used_s = time.perf_counter(), time.process_time()
        self.words.append(self._lap() or {})
        return Lap(wall_s=time.perf_counter() - wall_s, cpu_s=time.process_time() - used_s, peak_bytes=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How a contender is started."""

    module: str
    job: Mapping[str, Any]
    python: Path | None = None
    """Its interpreter, where it needs one of its own."""


@contextmanager
def together(starts: Mapping[str, Start], *, local: bool) -> Generator[dict[str, Laps]]:
    """Have several contenders ready while the block runs.

    Args:
        starts: By name.
        local: In this process rather than each in its own.

    Raises:
        WorkFailed: One of them ended before it was ready.
    """
    with ExitStack() as stack:
        contenders: dict[str, Laps] = {}
        for name, start in starts.items():
            if local:
                contenders[name] = LocalLaps(start.module, start.job)
            else:
                process = LapProcess(name, start.module, start.job, python=start.python)
                contenders[name] = stack.enter_context(process)
        for contender in contenders.values():
            assert contender.versions is not None  # noqa: S101 - that is, it is ready
        yield contenders


def main() -> None:
    """Be a peer: do the job once for each line on stdin."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not become an answer
    peer = importlib.import_module(f"benchmarks.peers.{sys.argv[1]}")
    lap = peer.make(json.loads(sys.argv[2]))
    _answer(answers, installed(peer.PACKAGES))
    for _ in sys.stdin:
        started_s = time.perf_counter()
        said = lap()
        _answer(answers, {"wall_s": time.perf_counter() - started_s, "said": said or {}})


def _answer(answers: IO[str], answer: Mapping[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
