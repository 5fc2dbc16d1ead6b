"""Recipe and dataset -> a network whose trunk stayed as it was and whose head was fitted, in a RUN folder."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import torch

from training import evaluation, features, models, precision
from training.checkpoint import save_checkpoint
from training.probe import choose_head
from training.ranks import Ranks
from training.run_folder import write_text
from training.saving import Saver

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crawler.progress import Advance
    from dataloading.dataset import Dataset
    from training.recipe import Recipe
    from training.run_folder import RunFolder

FEATURES: Final = "features"
"""Folder of an archive that holds its posters' features, shared by all datasets of the archive."""


def train_head(
    recipe: Recipe, dataset: Dataset, run: RunFolder, *, device: torch.device, advance: Advance
) -> dict[str, Any]:
    """Compute features once, fit a head, and write the same files as a training of the whole network.

    The strength of the penalty is chosen on validation; there is no chance in it, so the seed changes the untrained
    weights of a random trunk alone.

    Returns:
        What was used, for the manifest.
    """
    started = time.perf_counter()
    torch.manual_seed(recipe.seed)
    model = models.build(recipe.model.architecture, len(dataset.vocabulary), **recipe.model.options())
    loaded = models.load_recipe(model, recipe.model)
    model = model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    numerics = precision.choose(recipe.precision, device)
    threads = torch.get_num_threads()
    origin = loaded.origin if recipe.model.weights else f"{loaded.origin} seed {recipe.seed}"
    found = features.extract(
        model,
        dataset,
        recipe.preprocess,
        dataset.beside_archive(FEATURES),
        keys={"architecture": recipe.model.architecture, **recipe.model.options(), "weights": origin},
        numerics=numerics,
        device=device,
        threads=threads,
        advance=advance,
    )
    extracted_s = time.perf_counter() - started
    parts = {split: found.of(dataset.rows(split)) for split in ("train", "validation", "test")}
    head = choose_head(parts["train"][1:], parts["validation"][1:], len(dataset.vocabulary))
    _set_head(model, head.weight, head.bias)
    outputs = {
        split: evaluation.Outputs(movie_ids=ids, targets=targets, logits=head.logits(values))
        for split, (ids, values, targets) in parts.items()
    }
    scores = {split: one.scores() for split, one in outputs.items()}
    line = {
        "epoch": 1,
        "train_loss": scores["train"].loss,
        "validation_loss": scores["validation"].loss,
        "top1": scores["validation"].top1,
        "top3": scores["validation"].top3,
        "images_per_s": round(len(found.movie_ids) / extracted_s, 1),
        "lr": None,
        "penalty": head.strength,
        "epoch_s": round(time.perf_counter() - started, 2),
        "confusion": [list(row) for row in scores["validation"].confusion],
    }
    saver = Saver(recipe=recipe, dataset=dataset, run=run, ranks=Ranks(), origin=loaded.origin)

    def write() -> None:
        kept = {split: outputs[split] for split in ("validation", "test")}
        figures = evaluation.write_results(run, kept, dataset.vocabulary)
        save_checkpoint(run.best, model.state_dict(), saver.card({"best_epoch": 1, **figures}))
        write_text(run.metrics, json.dumps(line) + "\n")

    saver.together(write)
    return {
        **loaded.to_dict(),
        "precision": str(numerics.precision),
        "threads_per_worker": threads,
        "device": device.type,
    }


def _set_head(model: Any, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    head = model.get_classifier()
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))
