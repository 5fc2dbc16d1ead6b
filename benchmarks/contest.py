"""Peers -> processes that take turns: each in an interpreter of its own, so that memory and threads are its own too."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

import benchmarks
from benchmarks.environments import interpreter
from benchmarks.timing import Lap
from crawler.errors import WorkFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

ROOT: Final = Path(benchmarks.__file__).resolve().parents[1]
"""What a peer's interpreter must find ``benchmarks`` in."""
BATCH: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One competitor."""

    name: str
    module: str
    """Of ``benchmarks.peers``."""
    variant: str
    """What its ``make`` is told."""
    filter: str
    """Rows are compared with rows of the same filter only."""
    small_too: bool = True
    """Whether it differs from its siblings on posters that are not shrunk by two."""
    portion: float = 1.0
    """Of the posters, that it is given at least: less where a lap would outlast all others together."""
    environment: str | None = None
    """Of ``benchmarks.environments``, where its packages cannot stand beside ours."""


class PeerProcess:
    """One competitor at work."""

    def __init__(self, entry: Entry, threads: int, python: Path) -> None:
        """Start it.

        Raises:
            WorkFailed: It ended at once, as it does where its library is not installed.
        """
        self.entry = entry
        command = [str(python), "-m", "benchmarks.peers.worker", entry.module, str(threads), entry.variant]
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **limits}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.versions: dict[str, str] = {}

    def load(self, job: str, paths: Sequence[Path], boxes: Sequence[tuple[int, ...]], size: int) -> Job:
        """Give it posters to prepare, again and again."""
        request = {"job": job, "bodies": [str(path) for path in paths], "boxes": boxes, "batch": BATCH, "size": size}
        self.versions = self.ask(request)
        return Job(process=self, name=job, posters=len(paths))

    def pixels(self, path: Path) -> NDArray[np.float32]:
        """Give the last batch of its latest lap."""
        self.ask({"pixels": str(path)})
        return np.load(path)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises:
            WorkFailed: The process ended.
        """
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None  # noqa: S101 - what Popen was asked for
        assert stdout is not None  # noqa: S101
        assert stderr is not None  # noqa: S101
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            return json.loads(stdout.readline())
        except (OSError, json.JSONDecodeError) as error:
            self._process.kill()
            said = stderr.read().strip().splitlines()
            msg = f"benchmark peer {self.entry.name}: {said[-1] if said else 'ended without a word'}"
            raise WorkFailed(msg) from error

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One competitor with posters before it: what ``timing.alternate`` takes."""

    process: PeerProcess
    name: str
    posters: int
    """In a lap."""

    def lap(self) -> Lap:
        """Prepare all posters once."""
        return Lap(**self.process.ask({"lap": self.name}))


def interpreters(entries: Iterable[Entry], cache: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Find out with what each competitor can run; and why others cannot.

    Returns:
        Name -> interpreter, and name -> reason.
    """
    found: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for entry in entries:
        try:
            if entry.environment is not None:
                found[entry.name] = interpreter(entry.environment, cache)
            else:
                importlib.import_module(f"benchmarks.peers.{entry.module}")
                found[entry.name] = Path(sys.executable)
        except (WorkFailed, ImportError) as error:
            missing[entry.name] = str(error)
    return found, missing
