"""Recipe and dataset -> a trained network in a RUN folder: plain torch, one process of possibly many.

All that training needs to go on is in the last checkpoint: weights, optimiser, loss scaler, running average, figures
and the loader's place in the epoch. Chance is a pure function of (seed, step, rank): there is no random state to keep.
"""

from __future__ import annotations

import contextlib
import json
import math
import resource
import time
from typing import TYPE_CHECKING, Final

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from crawler.errors import UnusableInput, WorkFailed
from dataloading.loader import PosterLoader
from training import evaluation, models, precision
from training.checkpoint import load_weights, save_checkpoint
from training.events import Events
from training.objective import draw_mixture, loss_of
from training.optimizer import learning_rate_at, make_optimizer
from training.run_folder import write_text
from training.saving import Learner, Position, Saver, best_epoch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from dataloading.dataset import Dataset
    from dataloading.loader import PosterBatch
    from training.ranks import Ranks
    from training.recipe import Recipe
    from training.run_folder import RunFolder

CHECK_EVERY_STEPS: Final = 10
"""How often the ranks compare their losses, so that a loss that is not a number stops all of them together."""
PROGRESS_EVERY_S: Final = 0.5


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
        self.loaded = models.load_recipe(network, recipe.model)
        memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.network = network = network.to(device, memory_format=memory_format)  # pyright: ignore[reportCallIssue]
        self.optimizer, self.scaler = make_optimizer(network, recipe.optimizer), self.numerics.scaler()
        self.average = (
            AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True)
            if recipe.ema_decay
            else None
        )
        self.learner = Learner(network=network, optimizer=self.optimizer, scaler=self.scaler, average=self.average)
        self.saver = Saver(recipe=recipe, dataset=dataset, run=run, ranks=ranks, origin=self.loaded.origin)
        self.position = self.saver.restore(self.learner) or Position()
        self.model = self._distributed()
        self.loader = self._loader("train")
        self.events: Events | None = None
        self.steps_per_epoch = len(self.loader)

    def train(self) -> None:
        """Run all epochs that are left, then evaluate the best of them.

        Raises:
            WorkFailed: The loss is not a number, or a checkpoint cannot be written; the last good one is untouched.
        """
        self.events = Events(self.run, self.position.step) if self.ranks.leads else None
        while self.position.epoch < self.recipe.epochs and not self._out_of_patience():
            started = time.perf_counter()
            posters_per_s, data_wait = self._epoch()
            train_loss = self.position.loss_sum / max(1, self.position.seen)
            outputs = self._outputs(self.learner.kept, "validation")
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
            if best_epoch(self.recipe, history) == line["epoch"]:
                figures = {"loss": scores.loss, "top1": scores.top1, "top3": scores.top3, "n": scores.n}
                self.saver.save_best(self.learner.kept, {"best_epoch": line["epoch"], "validation": figures})
            self.saver.save_last(self.learner, self.position)
            if self.events is not None:
                self.events.add(line, self.position.step, prefix="epoch")
        if self.events is not None:
            self.events.close()

    def finish(self) -> None:
        """Evaluate the best checkpoint on validation and, this once, on test; write what was found."""
        model = self.recipe.model
        network = models.build(model.architecture, len(self.dataset.vocabulary), **model.options())
        weights = load_weights(self.run.best)
        network.load_state_dict(weights)
        memory_format = torch.channels_last if self.recipe.channels_last else torch.contiguous_format
        network = network.to(self.device, memory_format=memory_format)  # pyright: ignore[reportCallIssue]
        found = {split: self._outputs(network, split) for split in ("validation", "test")}
        best = best_epoch(self.recipe, self.position.history)

        def write() -> None:
            figures = evaluation.write_results(self.run, found, self.dataset.vocabulary)
            save_checkpoint(self.run.best, weights, self.saver.card({"best_epoch": best, **figures}))

        self.saver.together(write)

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
            losses += self.step(batch).double() * len(batch.targets)
            here, unchecked = here + len(batch.targets), unchecked + len(batch.targets)
            self.position.step += 1
            every = self.recipe.checkpoint_every_steps
            due = every > 0 and self.position.step % every == 0
            if due or self.position.step % CHECK_EVERY_STEPS == 0:
                self._settle(losses, unchecked)
                unchecked = 0
            if due:
                self.saver.save_last(self.learner, self.position)
            elapsed = time.perf_counter() - started
            if self.ranks.leads and elapsed - shown > PROGRESS_EVERY_S:
                shown = elapsed
                self._show(here * self.ranks.world_size / elapsed, waited / elapsed)
        self._settle(losses, unchecked)
        elapsed = time.perf_counter() - started
        return here * self.ranks.world_size / elapsed, waited / elapsed

    def step(self, batch: PosterBatch) -> torch.Tensor:
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
                f"{self.saver.kept}"
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
        if self.events is not None:
            live = {name: standing[name] for name in ("loss", "images_per_s", "data_wait", "peak_memory_mb")}
            self.events.add(live, self.position.step, prefix="live")

    def _out_of_patience(self) -> bool:
        epoch, history = self.position.epoch, self.position.history
        return (
            self.recipe.patience > 0 and epoch > 0 and epoch - best_epoch(self.recipe, history) >= self.recipe.patience
        )

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
