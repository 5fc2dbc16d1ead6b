"""Command-line arguments -> a training: thin skins over ``training.cluster``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import Annotated

from cyclopts import Parameter

from crawler.progress import progress_bar
from dataloading.dataset import Dataset
from training.cluster import train as train_recipe
from training.elastic import Elastic
from training.experiment import StudyReport, measure_study, report_study, run_study
from training.outcome import TrainReport  # noqa: TC001 - the command line reads the annotations
from training.recipe import Freeze, read_recipe
from training.study import read_study


def train(
    recipe: Path,
    *,
    dataset: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    workers: int = 1,
    elastic: tuple[int, int] | None = None,
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
        elastic: MIN MAX: begin with as many workers between the two as there is room for, and when some are lost or
            the training is called again, go on with as many as there are then. The bits of the weights may differ.
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
        between = Elastic(least=elastic[0], most=elastic[1]) if elastic else None
        return train_recipe(choices, loaded, output, workers, advance, elastic=between)


def experiment(
    study: Path,
    *,
    archive: Path,
    catalog: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    workers: int = 0,
    at_once: int = 0,
    weights: str | None = None,
    left: Annotated[bool, Parameter(negative="")] = False,
    cost: Annotated[bool, Parameter(negative="")] = False,
) -> StudyReport:
    """Run a study's grid of arms and seeds, and compare the arms; the same command again does what is left.

    Example: `keyart experiment article --archive archive --catalog catalog.parquet -o study`

    Args:
        study: A TOML file with seeds = N, [[arm]] tables of name, task, recipe and corrections, and [[claim]] tables;
            or `article`: the whole programme of the article.
        archive: Folder written by `keyart crawl`.
        catalog: Catalogue that the archive was crawled from.
        output: Folder for datasets, runs and results.json.
        workers: Of each training, one training after the other; 0 trains each in one process.
        at_once: Trainings at a time, each in a process of its own with its share of the CPUs; 0 is one a GPU, or one a
            CPU where there is no GPU.
        weights: Pretrained weights of all arms whose recipe names none.
        left: Run nothing; say what is left, and compare what there is.
        cost: Then also measure what a training step of each arm costs, one arm after the other, for cost.json.
    """
    plan = read_study(study)
    if left:
        return report_study(plan, output)
    total = sum(len(plan.seeds_of(arm)) for arm in plan.arms)
    with progress_bar("runs", total) as advance:
        found = run_study(
            plan,
            archive,
            catalog,
            output,
            workers=workers,
            at_once=1 if workers else at_once,
            weights=weights,
            advance=advance,
        )
    if cost:
        with progress_bar("steps", None) as advance:
            measure_study(plan, archive, catalog, output, weights=weights, advance=advance)
    return found
