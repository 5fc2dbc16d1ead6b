"""A peer in a process of its own: one line of JSON in, one out. Runs under any interpreter that has NumPy.

- ``{"job": name, "bodies": [paths], "boxes": [...], "batch": 32, "size": 224}`` loads posters and gives the versions.
- ``{"lap": name}`` does them all and gives ``wall_s``, ``cpu_s`` and ``peak_bytes``.
- ``{"pixels": path}`` saves the last batch of the latest lap.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Serve requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not become an answer
    module, threads, variant = sys.argv[1:]
    peer = importlib.import_module(f"benchmarks.peers.{module}")
    run = peer.make(int(threads), variant)
    jobs: dict[str, tuple[Any, Any, Any]] = {}
    bodies: dict[str, bytes] = {}
    last = np.empty(0, np.float32)
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        answer: dict[str, Any] = {}
        if "job" in request:
            paths = request["bodies"]
            bodies |= {path: Path(path).read_bytes() for path in paths if path not in bodies}
            out = aligned((request["batch"], 3, request["size"], request["size"]))
            jobs[request["job"]] = [bodies[path] for path in paths], [tuple(box) for box in request["boxes"]], out
            answer = versions(peer.PACKAGES)
        elif "lap" in request:
            forget_peak()
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            last = run(*jobs[request["lap"]])
            answer = {
                "wall_s": time.perf_counter() - wall_s,
                "cpu_s": time.process_time() - cpu_s,
                "peak_bytes": peak(),
            }
        elif "pixels" in request:
            np.save(request["pixels"], last)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def aligned(shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Memory on a cache line, the same for every peer."""
    size = int(np.prod(shape))
    memory = np.zeros(size + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    return memory[start : start + size].reshape(shape)


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of those that are installed here."""
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def forget_peak() -> None:
    """Let the kernel begin anew with the peak of our memory."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Most resident memory since ``forget_peak``, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
