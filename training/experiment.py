"""A study -> a grid of runs over arms and seeds, and a table that compares them.

Each seed divides the posters anew by groups of related movies and seeds its training too, so that the spread over seeds
holds both. Arms of one task see the same posters in each seed and are compared in pairs. What is finished stays.
"""

from __future__ import annotations

import fcntl
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from crawler.catalog import read_catalog
from crawler.errors import KeyartError, UnusableInput, WorkFailed
from crawler.progress import silent
from dataloading.dataset import Dataset, build
from dataloading.labels import make_task
from dataloading.split import SplitOptions
from training import cluster
from training.baselines import run_baseline
from training.checks import with_absolute_weights
from training.comparison import ArmResult, compare
from training.cost import measure_costs
from training.recipe import Freeze, Recipe, read_recipe
from training.run_folder import read_manifest, write_json
from training.study import Arm, Study, StudyFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crawler.progress import Advance

log = logging.getLogger(__name__)

_FIELDS = ("movie_id", "year", "budget")
"""Of the catalogue, that baselines look at."""
_MANIFEST_FIELDS = (
    "seed",
    "baseline",
    "task",
    "recipe_digest",
    "dataset_digest",
    "initial_weights",
    "tensors_not_in_weights",
    "precision",
    "threads_per_worker",
    "workers",
    "penalty",
    "revision",
    "versions",
    "machine",
    "started_at",
    "finished_at",
    "test_split_opened_at",
)
"""Of a run's manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReport:
    """What a study found so far."""

    study: str
    runs: int
    """That it has in all."""
    left: tuple[str, ...]
    """Runs that have not ended: ``arm, seed``."""
    results: tuple[ArmResult, ...]
    """Of arms of which at least one run has ended."""

    def __str__(self) -> str:
        width = max((len(one.arm) for one in self.results), default=0)
        head = f"{'arm':{width}}  {'task':14} {'split':8} seeds  top-1 (sd)       majority  difference, Holm p"
        lines = [head if self.results else "no run has ended"]
        for one in self.results:
            against = f"{one.difference} to {one.against}, p = {one.p_value:.3g}" if one.difference else "-"
            lines.append(
                f"{one.arm:{width}}  {one.task:14} {one.split:8} {one.seeds:5}  "
                f"{one.figures['top1'].estimate:6.2%} ({one.top1_sd:.2%})  {one.majority:7.2%}   {against}"
            )
        if self.left:
            lines.append(f"{len(self.left)} of {self.runs} runs are left, next {self.left[0]}")
        return "\n".join([*lines, f"written to {self.study}"])


def runs_left(study: Study, out: Path) -> list[tuple[Arm, int]]:
    """List the runs of a study that have not ended: a seed of all arms before the next."""
    folder = StudyFolder(out)
    most = max(len(study.seeds_of(arm)) for arm in study.arms)
    every = [(arm, seed) for seed in range(most) for arm in study.arms if seed in study.seeds_of(arm)]
    return [(arm, seed) for arm, seed in every if not folder.finished(arm, seed)]


def run_study(
    study: Study,
    archive: Path,
    catalog: Path,
    out: Path,
    *,
    workers: int = 0,
    at_once: int = 1,
    weights: str | None = None,
    advance: Advance = silent,
) -> StudyReport:
    """Run what is left of a study and compare its arms.

    Args:
        study: Arms and seeds.
        archive: Folder of a crawl.
        catalog: Catalogue that it was crawled from.
        out: Folder for datasets, runs and results.
        workers: Of each training; 0 trains in one process.
        at_once: Runs at a time over Ray, each in a process of its own; 0 is as many as there are GPUs, or CPUs where
            there are none. 1 runs them one after the other in this process.
        weights: Pretrained weights of all arms that do not name their own.
        advance: Receives finished runs.

    Raises:
        UnusableInput: A recipe, a task or the weights cannot be used; runs that were finished stay.
        WorkFailed: Runs failed; all others were run.
    """
    if workers and at_once != 1:
        msg = f"--workers {workers} with --at-once {at_once}: expected one of them; workers share one training"
        raise UnusableInput(msg)
    read_catalog(catalog)  # what is wrong with it shows now
    recipes = {arm.name: _recipe(arm, weights) for arm in study.arms if arm.recipe}
    folder = StudyFolder(out)
    folder.write(study)
    left = runs_left(study, out)
    advance(sum(len(study.seeds_of(arm)) for arm in study.arms) - len(left), f"{len(left)} runs left")
    jobs = [
        _Job(
            name=f"{arm.name}, seed {seed}",
            arm=arm,
            seed=seed,
            recipe=replace(recipes[arm.name], seed=seed).to_dict() if arm.recipe else {},
            workers=workers,
            out=str(out.absolute()),
            archive=str(archive.absolute()),
            catalog=str(catalog.absolute()),
        )
        for arm, seed in left
    ]
    failed: list[tuple[str, KeyartError]] = []
    for done, (place, error) in enumerate(_run(jobs, at_once), start=1):
        if error is not None:
            failed.append((jobs[place].name, error))
            log.warning("%s failed: %s", jobs[place].name, error)
        advance(1, f"{jobs[place].name}; {len(jobs) - done} left")
    report = report_study(study, out)
    if failed:
        name, error = failed[0]
        msg = f"study {out}: {len(failed)} of {len(jobs)} runs failed; the first, {name}: {error}"
        raise type(error)(msg) if len(failed) == len(jobs) else WorkFailed(msg)
    return report


def report_study(study: Study, out: Path) -> StudyReport:
    """Compare the arms of a study as far as they have been run, and write ``results.json``."""
    folder = StudyFolder(out)
    left = runs_left(study, out)
    results = compare(study, folder)
    plain = {"study": study.to_dict(), "left": len(left), "results": [one.to_dict() for one in results]}
    if folder.path.is_dir():
        write_json(folder.results, plain)
        write_json(folder.manifests, _manifests(study, folder))
    return StudyReport(
        study=str(out),
        runs=sum(len(study.seeds_of(arm)) for arm in study.arms),
        left=tuple(f"{arm.name}, seed {seed}" for arm, seed in left),
        results=results,
    )


def measure_study(
    study: Study, archive: Path, catalog: Path, out: Path, *, weights: str | None = None, advance: Advance = silent
) -> None:
    """Measure what a training step of each trained arm costs, and write ``cost.json``.

    Args:
        study: Whose arms; frozen trunks and baselines train no network.
        archive: Folder of a crawl.
        catalog: Catalogue that it was crawled from.
        out: Folder of the study.
        weights: Pretrained weights of all arms that do not name their own.
        advance: Receives timings.
    """
    folder = StudyFolder(out)
    arms: dict[str, tuple[Recipe, Dataset]] = {}
    for arm in study.arms:
        recipe = _recipe(arm, weights) if arm.recipe else None
        if recipe is not None and recipe.freeze is Freeze.NONE:
            arms[arm.name] = recipe, _dataset(folder, arm, 0, archive, catalog)
    write_json(folder.cost, measure_costs(arms, advance))


def _manifests(study: Study, folder: StudyFolder) -> list[dict[str, Any]]:
    """Say of each run that has ended what it was made from; without paths, so that it may be passed on."""
    return [
        {"arm": arm.name, **{name: value for name, value in manifest.items() if name in _MANIFEST_FIELDS}}
        for arm in study.arms
        for seed in study.seeds_of(arm)
        if folder.finished(arm, seed) and (manifest := read_manifest(folder.run(arm, seed))) is not None
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One run, as it travels to the process that does it."""

    name: str
    arm: Arm
    seed: int
    recipe: dict[str, Any]
    """Empty for a baseline."""
    workers: int
    out: str
    archive: str
    catalog: str


def _work(job: _Job, threads: int | None = None) -> None:
    """Do one run; with ``threads`` in a process of its own."""
    if threads is not None:
        cluster.use_threads(threads)
    folder = StudyFolder(Path(job.out))
    dataset = _dataset(folder, job.arm, job.seed, Path(job.archive), Path(job.catalog))
    run = folder.run(job.arm, job.seed)
    if job.arm.baseline is None:
        cluster.train(Recipe.from_dict(job.recipe), dataset, run.path, job.workers)
    else:
        movies = pl.scan_parquet(job.catalog).select(_FIELDS).collect()
        run_baseline(job.arm.baseline, dataset, movies, run, seed=job.seed)


def _dataset(folder: StudyFolder, arm: Arm, seed: int, archive: Path, catalog: Path) -> Dataset:
    """Read the dataset of a run; the first run that needs it builds it, others wait."""
    where = folder.dataset(arm, seed)
    where.mkdir(parents=True, exist_ok=True)
    with (where / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (where / "dataset.json").exists():
            options = SplitOptions(scheme=arm.split, seed=seed)
            build(archive, read_catalog(catalog), where, make_task(arm.task), options)
    return Dataset.load(where)


def _run(jobs: list[_Job], at_once: int) -> Iterator[tuple[int, KeyartError | None]]:
    """Do all runs; give the place of each that has ended, and its error."""
    if at_once != 1 and jobs:
        for place, answer in cluster.each(_work, [(job,) for job in jobs], at_once=at_once):
            yield place, answer if isinstance(answer, KeyartError) else None
        return
    for place, job in enumerate(jobs):
        try:
            _work(job)
        except KeyartError as error:
            yield place, error
        else:
            yield place, None


def _recipe(arm: Arm, weights: str | None) -> Recipe:
    recipe = read_recipe(Path(arm.recipe), arm.corrections)
    if weights is not None and not recipe.model.weights:
        recipe = replace(recipe, model=replace(recipe.model, weights=weights))
    return with_absolute_weights(recipe)
