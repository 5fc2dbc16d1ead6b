"""A finished RUN folder -> what its training found."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.weights import RANDOM

if TYPE_CHECKING:
    from training.run_folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """What a finished training found."""

    run: str
    task: str
    architecture: str
    initial_weights: str
    epochs: int
    """That were run, over all calls."""
    best_epoch: int
    workers: int
    images_per_s: float
    """Posters per second while training, in the last epoch."""
    n: int
    """Posters of the test split."""
    top1: float
    """On test, of the best checkpoint; as are ``top3`` and ``loss``."""
    top3: float
    loss: float
    majority: float
    """What the most frequent label reaches on test."""
    restarts: int
    """Times that a worker died and training went on."""
    seconds: float
    """Of this call; near 0 where the run was finished before."""

    def __str__(self) -> str:
        gain = 100 * (self.top1 - self.majority)
        start = "from scratch (random weights)" if self.initial_weights == RANDOM else f"from {self.initial_weights}"
        died = f", {self.restarts} restart(s) after a worker died" if self.restarts else ""
        return (
            f"trained {self.architecture} on {self.task} {start}: {self.epochs} epochs in {self.seconds:.0f} s "
            f"with {self.workers} worker(s), {self.images_per_s:.0f} posters/s{died}\n"
            f"test split, {self.n} posters, checkpoint of epoch {self.best_epoch}: top-1 {self.top1:.1%}, "
            f"top-3 {self.top3:.1%}, loss {self.loss:.3f}\n"
            f"the most frequent label alone reaches {self.majority:.1%}: {gain:+.1f} points\n"
            f"written to {self.run}"
        )


def read_report(folder: RunFolder, manifest: dict[str, Any], seconds: float) -> TrainReport:
    """Collect the figures of a finished run from its files."""
    evaluation = json.loads(folder.evaluation.read_text())["test"]
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    card = json.loads((folder.best / "card.json").read_text())
    return TrainReport(
        run=str(folder.path),
        task=manifest["task"],
        architecture=manifest["recipe"]["model"]["architecture"],
        initial_weights=manifest["initial_weights"],
        epochs=len(lines),
        best_epoch=card["metrics"]["best_epoch"],
        workers=manifest["workers"],
        images_per_s=lines[-1]["images_per_s"],
        n=evaluation["n"],
        top1=evaluation["top1"],
        top3=evaluation["top3"],
        loss=evaluation["loss"],
        majority=evaluation["majority"],
        restarts=max(0, len(manifest["attempts"]) - 1),
        seconds=seconds,
    )
