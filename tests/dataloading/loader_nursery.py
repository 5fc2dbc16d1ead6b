"""Load a dataset in child processes, kill each with SIGKILL, and go on from the state that it wrote last.

``python loader_nursery.py DATASET LOG KILLS SEED``: every child loads in a world size of its own, one rank after the
other a batch at a time, and appends ``state, movie ids`` to LOG after each step. The parent forks before any thread is
started, so a child costs milliseconds instead of an interpreter's start.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from dataloading.dataset import Dataset
from dataloading.loader import PosterLoader
from dataloading.order import LastStep
from dataloading.preprocess import Preprocess

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - looked for, not used


def last_state(log: Path) -> dict[str, int]:
    """Read where the last child was."""
    lines = log.read_text().splitlines()
    return json.loads(lines[-1])["state"] if lines else {"epoch": 0, "samples_done": 0}


def drop_cut_line(log: Path) -> None:
    """Take back a line that a child was killed over."""
    text = log.read_text()
    log.write_text(text[: text.rfind("\n") + 1])


def load(dataset: Path, log: Path, world_size: int, batch_size: int) -> None:
    """Load until killed."""
    loaded, state = Dataset.load(dataset), last_state(log)
    ranks = [
        PosterLoader(
            loaded,
            Preprocess(size=16),
            split="train",
            rank=rank,
            world_size=world_size,
            batch_size=batch_size,
            last=LastStep.PARTIAL,
            seed=3,
        )
        for rank in range(world_size)
    ]
    for loader in ranks:
        loader.load_state_dict(state)
    with log.open("a", buffering=1) as stream:
        while True:
            for batches in zip(*ranks, strict=True):
                movie_ids = [movie_id for batch in batches for movie_id in batch.movie_ids.tolist()]
                stream.write(json.dumps({"state": ranks[0].state_dict(), "movie_ids": movie_ids}) + "\n")
                time.sleep(0.002)


def opened_for_sharing(child: int) -> list[str]:
    """What a child could leave behind: shared memory, locks and files other than the log."""
    maps = Path(f"/proc/{child}/maps").read_text().splitlines()
    files = [str(path.readlink()) for path in Path(f"/proc/{child}/fd").iterdir()]
    return [line for line in [*maps, *files] if SHARED_MEMORY in line or line.endswith((".tmp", ".lock"))]


def main(dataset: Path, log: Path, kills: int, seed: int) -> None:
    """Fork and kill."""
    chance = random.Random(seed)
    log.touch()
    for _ in range(kills):
        world_size, batch_size, before = chance.randint(1, 4), chance.randint(1, 9), log.stat().st_size
        child = os.fork()
        if child == 0:
            load(dataset, log, world_size, batch_size)
        while log.stat().st_size == before:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.05)
        os.kill(child, signal.SIGSTOP)  # so that nothing moves while we look
        os.waitpid(child, os.WUNTRACED)
        left = opened_for_sharing(child)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        drop_cut_line(log)
        if os.WTERMSIG(status) != signal.SIGKILL or left:
            sys.exit(f"the child ended with {status} and had {left}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
