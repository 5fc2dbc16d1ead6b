"""Nodes of a cluster, a slow host and a clock: what scaling is measured with on one machine."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, Any

import ray
from ray.cluster_utils import Cluster

from benchmarks.device import WAIT, install
from benchmarks.laps import ROOT
from benchmarks.timing import Lap
from benchmarks.tree import MemoryWatch, cpu_s
from crawler.errors import WorkFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path


def timed(what: str, work: Callable[[], int], posters: int) -> Lap:
    """Time a piece of work, and this process and everything below it while it lasts.

    Raises:
        WorkFailed: It did not do all posters.
    """
    before_s, started_s = cpu_s(os.getpid()), time.perf_counter()
    with MemoryWatch(os.getpid()) as watch:
        done = work()
        wall_s = time.perf_counter() - started_s
    if done != posters:
        msg = f"benchmark scaling, {what}: {done} of {posters} posters; a rate of fewer would mean nothing"
        raise WorkFailed(msg)
    return Lap(wall_s=wall_s, cpu_s=cpu_s(os.getpid()) - before_s, peak_bytes=watch.peak_bytes)


@contextlib.contextmanager
def cluster(nodes: int, engine_s: float) -> Generator[None]:
    """Have a cluster of nodes of one CPU, and a head that computes nothing, while the block runs."""
    # Idle workers stay: else a node that rested for a round would start Python anew in the next.
    settings = {"num_workers_soft_limit": 8, "idle_worker_killing_time_threshold_ms": 600_000}
    nodes_up = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": settings}
    )
    try:
        for _ in range(nodes):
            nodes_up.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        ray.init(
            address=nodes_up.address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={
                "worker_process_setup_hook": install,
                "env_vars": {WAIT: str(engine_s), "PYTHONPATH": str(ROOT)},
            },
        )
        yield
    finally:
        ray.shutdown()
        nodes_up.shutdown()


class _Idle:
    """Holds a node and does nothing."""

    def here(self) -> bool:
        """Answer that it is there."""
        return True


@contextlib.contextmanager
def held(nodes: int) -> Generator[None]:
    """Keep so many nodes from working while the block runs."""
    kind: Any = ray.remote(num_cpus=1)(_Idle)
    actors = [kind.remote() for _ in range(nodes)]
    ray.get([actor.here.remote() for actor in actors])
    try:
        yield
    finally:
        for actor in actors:
            ray.kill(actor)


@contextlib.contextmanager
def host(posters: Path, wait_s: float) -> Generator[str]:
    """Have a poster host that takes so long for each answer while the block runs; gives its address."""
    command = [sys.executable, "-m", "benchmarks.peers.slow_host", str(posters), str(wait_s)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:  # noqa: S603 - ours
        try:
            output: IO[str] | None = process.stdout
            port = output.readline().strip() if output else ""
            if not port:
                msg = "benchmark scaling: the poster host did not start; see its message above"
                raise WorkFailed(msg)
            yield f"http://localhost:{port}"
        finally:
            process.kill()
