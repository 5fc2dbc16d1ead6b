"""The input side of a crawl, in a process of its own: a catalogue's movies to shard plans, and what that takes.

``python -m benchmarks.peers.planning CATALOG`` prints movies, MiB before the catalogue is opened, MiB at most, seconds.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import polars as pl

import crawler.cluster  # noqa: F401 - what a crawl has in memory anyway
from crawler.frontier import Selection, measure, plans, select


def peak_mib() -> float:
    """Most memory so far. Not getrusage: a new process inherits its parent's peak there."""
    found = re.search(r"VmHWM:\s*([0-9]+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    _before, _started = peak_mib(), time.perf_counter()
    _selected = select(pl.scan_parquet(sys.argv[1]), Selection())
    _movies = measure(_selected)[1]
    _planned = sum(len(plan.requests) for plan in plans(_selected, "https://host", 1000))
    if _planned != _movies:
        sys.exit(f"planned {_planned} of {_movies} movies")
    sys.stdout.write(json.dumps([_movies, _before, peak_mib(), time.perf_counter() - _started]) + "\n")
