"""Our loop and our loader; or, with ``resident``, the same step on one batch that lies in place: the roof."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dataloading.dataset import Dataset
from dataloading.loader import PosterBatch
from training.loop import Trainer
from training.ranks import Ranks
from training.recipe import Recipe
from training.run_folder import RunFolder
from training.saving import Position

PACKAGES = ("torch", "timm", "numba", "simplejpeg")


class _Laps(Trainer):
    def epoch(self) -> dict[str, float]:
        """Train on every poster once."""
        _, waited = self._epoch()
        loss = self.position.loss_sum / max(1, self.position.seen)
        self.position = Position(epoch=self.position.epoch + 1, step=self.position.step)
        return {"waited": waited, "loss": loss}

    def steps(self, batch: PosterBatch, count: int) -> dict[str, float]:
        """Train on one batch again and again."""
        self.model.train()
        loss = torch.zeros(())
        for _ in range(count):
            loss = self.step(batch)
            self.position.step += 1
        return {"waited": 0.0, "loss": float(loss)}


def make(job: dict[str, Any]) -> Callable[[], dict[str, float]]:
    """Build the network as ``keyart train`` does in one process."""
    torch.set_num_threads(job["threads"])
    run = RunFolder(Path(job["run"]))
    (run.path / "checkpoints").mkdir(parents=True, exist_ok=True)
    trainer = _Laps(
        Recipe.from_dict(job["recipe"]),
        Dataset.load(Path(job["dataset"])),
        run,
        device=torch.device("cpu"),
        threads=job["threads"],
        ranks=Ranks(),
    )
    if not job["resident"]:
        return trainer.epoch
    first = next(iter(trainer.loader))
    images = torch.from_numpy(first.images.copy()).to(memory_format=torch.channels_last)
    batch = PosterBatch(images=images, movie_ids=first.movie_ids, targets=first.targets)
    return lambda: trainer.steps(batch, job["steps"])
