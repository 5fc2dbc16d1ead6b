"""Recipe and dataset -> a trained network in a RUN folder: plain torch, one process of possibly many.

All that training needs to go on is in the last checkpoint: weights, optimiser, loss scaler, running average, figures and
the loader's place in the epoch. Chance is a pure function of (seed, step, rank), so there is no random state to keep.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import resource
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from crawler.errors import UnusableInput, WorkFailed
from dataloading.loader import PosterLoader
from training import evaluation, models, precision
from training.checkpoint import Card, load_state, load_weights, save_checkpoint
from training.objective import draw_mixture, loss_of
from training.optimizer import learning_rate_at, make_optimizer
from training.recipe import SelectBy
from training.run_folder import versions, write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from dataloading.dataset import Dataset
    from dataloading.loader import PosterBatch
    from training.metrics import Scores
    from training.ranks import Ranks
    from training.recipe import Recipe
    from training.run_folder import RunFolder

log = logging.getLogger(__name__)

CHECK_EVERY_STEPS: Final = 10
"""How often the ranks compare their losses, so that a loss that is not a number stops all of them together."""
PROGRESS_EVERY_S: Final = 0.5


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


class Trainer:
    """One rank's part in a training."""

    def __init__(
        self, recipe: Recipe, dataset: Dataset, run: RunFolder, *, device: torch.device, threads: int, ranks: Ranks
    ) -> None:
        """Build the network, and go on from the last checkpoint where there is one.

        Raises:
            UnusableInput: The recipe does not fit the dataset, the device or the number of ranks.
        """
        if recipe.batch_size % ranks.world_size:
            msg = f"batch_size {recipe.batch_size}: expected a multiple of the {ranks.world_size} workers"
            raise UnusableInput(msg)
        self.recipe, self.dataset, self.run, self.ranks, self.device = recipe, dataset, run, ranks, device
        self.threads = threads
        self.numerics = precision.choose(recipe.precision, device)
        torch.manual_seed(recipe.seed)
        network = models.build(recipe.model.architecture, len(dataset.vocabulary), **recipe.model.options())
        self.loaded = models.load_trunk(network, recipe.model.architecture, recipe.model.weights)
        memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.network = network.to(device, memory_format=memory_format)  # pyright: ignore[reportCallIssue]
        self.average = (
            AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True)
            if recipe.ema_decay
            else None
        )
        self.optimizer = make_optimizer(self.network, recipe.optimizer)
        self.scaler = self.numerics.scaler()
        self.position = Position()
        self.resumed_at: dict[str, int] | None = None
        if (state := load_state(run.last)) is not None:
            self._restore(state)
        self.model = self._distributed()
        self.loader = self._loader("train")
        self.steps_per_epoch = len(self.loader)

    def train(self) -> None:
        """Run all epochs that are left, then evaluate the best of them.

        Raises:
            WorkFailed: The loss is not a number, or a checkpoint cannot be written; the last good one is untouched.
        """
        while self.position.epoch < self.recipe.epochs and not self._out_of_patience():
            started = time.perf_counter()
            posters_per_s, data_wait = self._epoch()
            train_loss = self.position.loss_sum / max(1, self.position.seen)
            outputs = self._outputs(self._kept(), "validation")
            scores = outputs.scores()
            line = {
                "epoch": self.position.epoch + 1,
                "train_loss": train_loss,
                "validation_loss": scores.loss,
                "top1": scores.top1,
                "top3": scores.top3,
                "images_per_s": round(posters_per_s, 1),
                "lr": self.optimizer.param_groups[0]["lr"],
                "data_wait": round(data_wait, 4),
                "epoch_s": round(time.perf_counter() - started, 2),
                "peak_memory_mb": _peak_memory_mb(),
                "confusion": [list(row) for row in scores.confusion],
            }
            history = [*self.position.history, line]
            self.position = Position(epoch=self.position.epoch + 1, step=self.position.step, history=history)
            if self._best_epoch() == line["epoch"]:
                self._save_best(scores)
            self._save_last()

    def finish(self) -> dict[str, Any]:
        """Evaluate the best checkpoint on validation and, this once, on test; write what was found.

        Returns:
            The content of ``evaluation.json``.
        """
        network = models.build(
            self.recipe.model.architecture, len(self.dataset.vocabulary), **self.recipe.model.options()
        )
        weights = load_weights(self.run.best)
        network.load_state_dict(weights)
        memory_format = torch.channels_last if self.recipe.channels_last else torch.contiguous_format
        network = network.to(self.device, memory_format=memory_format)  # pyright: ignore[reportCallIssue]
        found = {split: self._outputs(network, split) for split in ("validation", "test")}
        report = {split: outputs.scores().to_dict(self.dataset.vocabulary) for split, outputs in found.items()}

        def write() -> None:
            evaluation.write_predictions(self.run.predictions, found["test"], self.dataset.vocabulary)
            write_json(self.run.evaluation, report)
            brief = {
                split: {key: scores[key] for key in ("loss", "top1", "top3", "n", "majority")}
                for split, scores in report.items()
            }
            save_checkpoint(self.run.best, weights, self._card({"best_epoch": self._best_epoch(), **brief}))

        self._write_together(write)
        return report

    def _epoch(self) -> tuple[float, float]:
        """Train on what is left of an epoch; return posters per second and the share of time waiting for batches."""
        self.model.train()
        self.loader.set_epoch(self.position.epoch)
        if self.position.samples_done:
            self.loader.load_state_dict({"epoch": self.position.epoch, "samples_done": self.position.samples_done})
        losses = torch.zeros((), dtype=torch.float64, device=self.device)
        started, waited, shown, here, unchecked = time.perf_counter(), 0.0, 0.0, 0, 0
        for batch, wait_s in _timed(iter(self.loader)):
            waited += wait_s
            losses += self._step(batch).double() * len(batch.targets)
            here, unchecked = here + len(batch.targets), unchecked + len(batch.targets)
            self.position.step += 1
            every = self.recipe.checkpoint_every_steps
            due = every > 0 and self.position.step % every == 0
            if due or self.position.step % CHECK_EVERY_STEPS == 0:
                self._settle(losses, unchecked)
                unchecked = 0
            if due:
                self._save_last()
            elapsed = time.perf_counter() - started
            if self.ranks.leads and elapsed - shown > PROGRESS_EVERY_S:
                shown = elapsed
                self._show(here * self.ranks.world_size / elapsed, waited / elapsed)
        self._settle(losses, unchecked)
        elapsed = time.perf_counter() - started
        return here * self.ranks.world_size / elapsed, waited / elapsed

    def _step(self, batch: PosterBatch) -> torch.Tensor:
        """Change the weights once; return this rank's mean loss."""
        recipe, step, rank = self.recipe, self.position.step, self.ranks.rank
        rate = learning_rate_at(recipe.optimizer, step, steps_per_epoch=self.steps_per_epoch, epochs=recipe.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(hash((recipe.seed, step, rank)))  # dropout; a hash of whole numbers is the same everywhere
        images, targets = evaluation.to_device(batch, self.device, channels_last=recipe.channels_last)
        cuts = min(recipe.optimizer.accumulate, len(targets))
        parts = list(zip(images.tensor_split(cuts), targets.tensor_split(cuts), strict=True))
        total = torch.zeros((), device=self.device)
        for index, (some, labels) in enumerate(parts):
            mixture = draw_mixture(recipe.objective, len(labels), recipe.seed, step, rank, index)
            with self._gradients_stay_here(index < len(parts) - 1):
                with self.numerics.autocast():
                    logits = self.model(mixture.images(some) if mixture else some)
                loss = loss_of(recipe.objective, logits.float(), labels, mixture) * (len(labels) / len(targets))
                self.scaler.scale(loss).backward()
            total += loss.detach()
        if recipe.optimizer.clip_norm:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.optimizer.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.network)
        return total

    def _settle(self, losses: torch.Tensor, count: int) -> None:
        """Add up what the ranks saw since the last time, and stop all of them if a loss is not a number."""
        loss_sum, seen = self.ranks.total([float(losses), float(count)], self.device)
        losses.zero_()
        if not math.isfinite(loss_sum):
            msg = (
                f"run {self.run.path}: the loss is not a number at step {self.position.step}; lower "
                f"optimizer.learning_rate {self.recipe.optimizer.learning_rate} or set optimizer.clip_norm; "
                f"{self.run.last if self.run.last.exists() else 'no checkpoint'} is the last good one"
            )
            raise WorkFailed(msg)
        self.position.loss_sum += loss_sum
        self.position.seen += int(seen)
        self.position.samples_done = int(self.loader.state_dict()["samples_done"])

    def _show(self, posters_per_s: float, data_wait: float) -> None:
        """Say where training stands, for whoever draws a progress bar."""
        posters = len(self.dataset.rows("train"))
        standing = {
            "epoch": self.position.epoch + 1,
            "epochs": self.recipe.epochs,
            "posters": self.position.epoch * posters + self.position.samples_done,
            "posters_total": self.recipe.epochs * posters,
            "loss": self.position.loss_sum / max(1, self.position.seen),
            "images_per_s": round(posters_per_s, 1),
            "data_wait": round(data_wait, 4),
            "peak_memory_mb": _peak_memory_mb(),
        }
        write_text(self.run.progress, json.dumps(standing) + "\n")

    def _best_epoch(self) -> int:
        """Number of the best epoch so far, counted from 1; the earlier among equals."""
        if self.recipe.select_by is SelectBy.TOP1:
            return max(self.position.history, key=lambda line: line["top1"])["epoch"]
        return min(self.position.history, key=lambda line: line["validation_loss"])["epoch"]

    def _out_of_patience(self) -> bool:
        epoch = self.position.epoch
        return self.recipe.patience > 0 and epoch > 0 and epoch - self._best_epoch() >= self.recipe.patience

    def _kept(self) -> nn.Module:
        """The network that is evaluated and kept: the running average where there is one."""
        return self.network if self.average is None else self.average.module

    def _outputs(self, network: nn.Module, split: str) -> evaluation.Outputs:
        self.ranks.share(network.buffers())  # each rank has seen other posters; what is kept is rank 0's
        return evaluation.run(
            network,
            self._loader(split),
            numerics=self.numerics,
            device=self.device,
            channels_last=self.recipe.channels_last,
            ranks=self.ranks,
        )

    def _loader(self, split: str) -> PosterLoader:
        training = split == "train"
        return PosterLoader(
            self.dataset,
            self.recipe.preprocess if training else self.recipe.preprocess.for_evaluation(),
            split=split,
            rank=self.ranks.rank,
            world_size=self.ranks.world_size,
            seed=self.recipe.seed,
            batch_size=self.recipe.batch_size // self.ranks.world_size,
            shuffle=training,
            threads=self.threads,
        )

    def _distributed(self) -> nn.Module:
        if self.recipe.compile:
            self.network.compile()
        if self.ranks.world_size == 1:
            return self.network
        device_ids = [self.device] if self.device.type == "cuda" else None
        # With more than two ranks the order of a sum depends on how gradients are bucketed. DDP buckets them anew after
        # the first step, but not where it looks for unused weights: a resumed run then adds up as an undisturbed one.
        steady = self.device.type == "cpu" and self.ranks.world_size > 2  # noqa: PLR2004
        return DistributedDataParallel(self.network, device_ids=device_ids, find_unused_parameters=steady)

    def _gradients_stay_here(self, wanted: bool) -> contextlib.AbstractContextManager[None]:  # noqa: FBT001
        """Keep gradients on this rank while parts of a batch are added up."""
        if wanted and isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return contextlib.nullcontext()

    def _card(self, metrics: dict[str, Any]) -> Card:
        model = self.recipe.model
        return Card(
            architecture=model.architecture,
            vocabulary=self.dataset.vocabulary,
            task=self.dataset.task,
            preprocess=self.recipe.preprocess,
            model_options=model.options(),
            recipe=self.recipe.to_dict(),
            metrics=metrics,
            dataset_digest=self.dataset.digest,
            initial_weights=self.loaded.origin,
            versions=versions(),
        )

    def _save_best(self, scores: Scores) -> None:
        metrics = {
            "best_epoch": self.position.epoch,
            "validation": {"loss": scores.loss, "top1": scores.top1, "top3": scores.top3, "n": scores.n},
        }
        self._write_together(lambda: save_checkpoint(self.run.best, self._kept().state_dict(), self._card(metrics)))

    def _save_last(self) -> None:
        """Write all that is needed to go on, and the lines of metrics so far."""
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.network.parameters()):
            msg = (
                f"run {self.run.path}: a weight is not a number after step {self.position.step}; lower "
                f"optimizer.learning_rate or set optimizer.clip_norm; {self.run.last} is the last good checkpoint"
            )
            raise WorkFailed(msg)
        state = {
            "position": asdict(self.position),
            "world_size": self.ranks.world_size,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }
        lines = "".join(json.dumps(line) + "\n" for line in self.position.history)

        def write() -> None:
            save_checkpoint(self.run.last, self.network.state_dict(), self._card({}), state)
            write_text(self.run.metrics, lines)

        self._write_together(write)

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(load_weights(self.run.last))
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.position = Position(**state["position"])
        self.resumed_at = {"epoch": self.position.epoch, "step": self.position.step}
        if state["world_size"] != self.ranks.world_size:
            log.warning(
                "run %s: goes on with %d workers after %d; the bits of its weights may differ",
                self.run.path,
                self.ranks.world_size,
                state["world_size"],
            )

    def _write_together(self, write: Callable[[], None]) -> None:
        """Let rank 0 write; where it fails, stop all ranks with the same message."""
        problem = ""
        if self.ranks.leads:
            try:
                write()
            except (OSError, RuntimeError, SafetensorError) as error:  # torch.save raises the second, on a full disk
                problem = str(error).splitlines()[0]
        if problem := self.ranks.gather(problem)[0]:
            kept = (
                f"{self.run.last} is the last good checkpoint" if self.run.last.exists() else "there is no checkpoint"
            )
            msg = f"run {self.run.path}: cannot be written ({problem}); free space and call again; {kept}"
            raise WorkFailed(msg)


def _timed(batches: Iterator[PosterBatch]) -> Iterator[tuple[PosterBatch, float]]:
    """Give each batch with the seconds it was waited for."""
    while True:
        started = time.perf_counter()
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch, time.perf_counter() - started


def _peak_memory_mb() -> int:
    """Most memory of this process, and of its GPU, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 + torch.cuda.max_memory_allocated() // 2**20
