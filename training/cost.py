"""A study's arms -> what one poster's training step costs with each, measured in turn on the same batch."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from training.checks import default_device
from training.loop import Trainer
from training.ranks import Ranks
from training.run_folder import RunFolder, machine, versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crawler.progress import Advance
    from dataloading.dataset import Dataset
    from training.recipe import Recipe

ROUNDS: Final = 7
"""Timings of each arm; the arms take turns, so that a busy moment does not fall on one of them."""
WARM_UP: Final = 2


def measure_costs(arms: Mapping[str, tuple[Recipe, Dataset]], advance: Advance) -> dict[str, Any]:
    """Time a training step of each arm.

    On a CPU it is the process's own CPU time, over all threads: other work on the machine changes it little. On a GPU
    it is the time on the wall from one synchronisation to the next.

    Args:
        arms: Name -> recipe and a dataset of its task.
        advance: Receives timings.

    Returns:
        What ``cost.json`` holds: machine, versions, clock, and of each arm seconds a poster: median, least and most.
    """
    device, threads = default_device(), torch.get_num_threads()
    with tempfile.TemporaryDirectory() as nowhere:
        trainers = {
            name: Trainer(
                recipe, dataset, RunFolder(Path(nowhere) / name), device=device, threads=threads, ranks=Ranks()
            )
            for name, (recipe, dataset) in arms.items()
        }
        batches = {name: next(iter(trainer.loader)) for name, trainer in trainers.items()}
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        for turn in range(WARM_UP + ROUNDS):
            for name, trainer in trainers.items():
                trainer.model.train()
                started = _now(device)
                trainer.step(batches[name])
                if turn >= WARM_UP:
                    seconds[name].append((_now(device) - started) / len(batches[name].targets))
                advance(1, name)
    return {
        "clock": "wall" if device.type == "cuda" else "cpu of the process, all threads",
        "rounds": ROUNDS,
        "threads": threads,
        "machine": machine(),
        "versions": versions(),
        "arms": {
            name: {"estimate": float(np.median(some)), "low": min(some), "high": max(some), "seconds": some}
            for name, some in seconds.items()
        },
    }


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()
