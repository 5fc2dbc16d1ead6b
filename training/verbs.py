"""Command-line arguments -> a training: thin skins over ``training.cluster``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import Annotated

from cyclopts import Parameter

from crawler.progress import progress_bar
from dataloading.dataset import Dataset
from training.cluster import train as train_recipe
from training.outcome import TrainReport  # noqa: TC001 - the command line reads the annotations
from training.recipe import Freeze, read_recipe


def train(
    recipe: Path,
    *,
    dataset: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    workers: int = 1,
    corrections: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
    weights: str | None = None,
    freeze: Freeze | None = None,
) -> TrainReport:
    """Train one recipe on a dataset; the same command again goes on where it stopped.

    Example: `keyart train drawn --dataset dataset -o run --workers 2 --set epochs=3`

    Args:
        recipe: A TOML file, or the name of a recipe that comes with keyart: drawn, comedy-horror, ten-genres.
        dataset: Folder written by `keyart dataset`.
        output: Folder for checkpoints and results.
        workers: Processes that share each batch, one GPU each where there are GPUs; 0 trains in this process.
        corrections: field=value: corrects one field of the recipe, such as optimizer.learning_rate=0.01.
        weights: Pretrained weights: a local file, or timm:NAME; corrects model.weights.
        freeze: trunk: compute the trunk's features once and fit a linear head to them, in this process.
    """
    choices = read_recipe(recipe, corrections)
    if weights is not None:
        choices = replace(choices, model=replace(choices.model, weights=weights))
    if freeze is not None:
        choices = replace(choices, freeze=freeze)
    loaded = Dataset.load(dataset)
    frozen = choices.freeze is Freeze.TRUNK
    total = len(loaded.table) if frozen else len(loaded.rows("train")) * choices.epochs
    with progress_bar("train", total) as advance:
        return train_recipe(choices, loaded, output, workers, advance)
