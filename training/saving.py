"""Where a training stands -> the checkpoints and figures that it goes on from, and back."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from crawler.errors import WorkFailed
from training.checkpoint import Card, keep_copies, load_state, load_weights, save_checkpoint
from training.recipe import SelectBy
from training.run_folder import versions, write_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn
    from torch.optim.swa_utils import AveragedModel

    from dataloading.dataset import Dataset
    from training.ranks import Ranks
    from training.recipe import Recipe
    from training.run_folder import RunFolder

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Position:
    """Where a training stands; what is kept in the last checkpoint beside tensors."""

    epoch: int = 0
    """Epochs finished."""
    samples_done: int = 0
    """Posters of the epoch under way that were seen, over all ranks."""
    step: int = 0
    """Steps finished, over all epochs."""
    seen: int = 0
    """Of these, posters that could be decoded."""
    loss_sum: float = 0.0
    """Of the posters seen, over all ranks."""
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """One line of metrics an epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """All tensors that change while training."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedModel | None
    """Running average of the weights, where the recipe asks for one."""

    @property
    def kept(self) -> nn.Module:
        """The network that is evaluated and kept: the running average where there is one."""
        return self.network if self.average is None else self.average.module


@dataclass(frozen=True, slots=True, kw_only=True)
class Saver:
    """Writes a run's checkpoints from rank 0, and reads the last one on every rank."""

    recipe: Recipe
    dataset: Dataset
    run: RunFolder
    ranks: Ranks
    origin: str
    """Where the weights began, for the card."""

    def save_best(self, network: nn.Module, metrics: dict[str, Any]) -> None:
        """Write the weights to be used from now on.

        Raises:
            WorkFailed: They cannot be written; on each rank.
        """
        self.together(lambda: save_checkpoint(self.run.best, network.state_dict(), self.card(metrics)))

    def save_last(self, learner: Learner, position: Position) -> None:
        """Write all that is needed to go on, and the lines of metrics so far.

        Raises:
            WorkFailed: A weight is not a number, or it cannot be written; on each rank.
        """
        if not all(bool(torch.isfinite(parameter).all()) for parameter in learner.network.parameters()):
            msg = (
                f"run {self.run.path}: a weight is not a number after step {position.step}; lower "
                f"optimizer.learning_rate {self.recipe.optimizer.learning_rate} or set optimizer.clip_norm; {self.kept}"
            )
            raise WorkFailed(msg)
        state = {
            "position": asdict(position),
            "world_size": self.ranks.world_size,
            "optimizer": learner.optimizer.state_dict(),
            "scaler": learner.scaler.state_dict(),
            "average": None if learner.average is None else learner.average.state_dict(),
        }
        lines = "".join(json.dumps(line) + "\n" for line in position.history)

        def write() -> None:
            save_checkpoint(self.run.last, learner.network.state_dict(), self.card({}), state)
            keep_copies(self.run.last, position.step, self.recipe.keep_checkpoints)
            write_text(self.run.metrics, lines)

        self.together(write)

    def restore(self, learner: Learner) -> Position | None:
        """Read the last checkpoint into ``learner`` and say where it stands; None where there is none."""
        state = load_state(self.run.last)
        if state is None:
            return None
        learner.network.load_state_dict(load_weights(self.run.last))
        learner.optimizer.load_state_dict(state["optimizer"])
        learner.scaler.load_state_dict(state["scaler"])
        if learner.average is not None:
            learner.average.load_state_dict(state["average"])
        if state["world_size"] != self.ranks.world_size:
            log.warning(
                "run %s: goes on with %d workers after %d; the bits of its weights may differ",
                self.run.path,
                self.ranks.world_size,
                state["world_size"],
            )
        return Position(**state["position"])

    def together(self, write: Callable[[], None]) -> None:
        """Let rank 0 write; where it fails, stop all ranks with the same message.

        Raises:
            WorkFailed: The disk is full, or the folder cannot be written.
        """
        problem = ""
        if self.ranks.leads:
            try:
                write()
            except (OSError, RuntimeError, SafetensorError) as error:  # torch.save raises the second on a full disk
                problem = str(error).splitlines()[0]
        if problem := self.ranks.gather(problem)[0]:
            msg = f"run {self.run.path}: cannot be written ({problem}); free space and call again; {self.kept}"
            raise WorkFailed(msg)

    @property
    def kept(self) -> str:
        """What is left after a failure, for messages."""
        return f"{self.run.last} is the last good checkpoint" if self.run.last.exists() else "there is no checkpoint"

    def card(self, metrics: dict[str, Any]) -> Card:
        """Describe the weights."""
        model = self.recipe.model
        return Card(
            architecture=model.architecture,
            vocabulary=self.dataset.vocabulary,
            task=self.dataset.task,
            several_labels=self.dataset.table.schema["target"].is_nested(),
            preprocess=self.recipe.preprocess,
            model_options=model.options(),
            recipe=self.recipe.to_dict(),
            metrics=metrics,
            dataset_digest=self.dataset.digest,
            initial_weights=self.origin,
            versions=versions(),
        )


def best_epoch(recipe: Recipe, history: list[dict[str, Any]]) -> int:
    """Number of the best epoch so far, counted from 1; the earlier among equals."""
    if recipe.select_by is SelectBy.TOP1:
        return max(history, key=lambda line: line["top1"])["epoch"]
    return min(history, key=lambda line: line["validation_loss"])["epoch"]
