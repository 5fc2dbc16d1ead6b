"""A study's TOML file -> a grid of runs over arms and seeds, and a table that compares them.

Each seed divides the posters anew by groups of related movies and seeds its training too, so that the spread over seeds
holds both. Arms of one task see the same posters in each seed and are compared in pairs. What is finished stays.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from crawler.catalog import read_catalog
from crawler.errors import UnusableInput
from crawler.progress import silent
from dataloading.dataset import Dataset, build
from dataloading.labels import make_task
from dataloading.split import SplitOptions
from training.cluster import train
from training.recipe import read_recipe
from training.run_folder import write_json
from training.statistics import Interval, group_bootstrap, holm, mcnemar

if TYPE_CHECKING:
    from crawler.progress import Advance


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to train for one task."""

    name: str
    task: str
    recipe: str
    """A recipe file, or the name of one that comes with keyart."""
    corrections: tuple[str, ...] = ()
    """``field=value``, as for ``keyart train --set``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Arms that are compared over the same seeds."""

    name: str
    seeds: int
    arms: tuple[Arm, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """One arm over all seeds."""

    arm: str
    task: str
    seeds: int
    n: int
    """Posters that were tested, over all seeds."""
    top1: float
    """Mean over seeds, as are ``top3``, ``loss`` and ``majority``."""
    top1_sd: float
    """Standard deviation over seeds."""
    top3: float
    loss: float
    majority: float
    difference: Interval | None
    """Of top-1 to the first arm of the task, with a bootstrap over groups; None for that arm itself."""
    p_value: float | None
    """McNemar's test against the first arm, on the median seed, after Holm over the arms of the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReport:
    """What a study found."""

    study: str
    results: tuple[ArmResult, ...]

    def __str__(self) -> str:
        width = max(len(one.arm) for one in self.results)
        lines = [
            f"{'arm':{width}}  {'task':14} seeds  top-1 (sd)      top-3   majority  difference to the first, Holm p"
        ]
        for one in self.results:
            against = f"{one.difference}, p = {one.p_value:.3g}" if one.difference and one.p_value is not None else "-"
            lines.append(
                f"{one.arm:{width}}  {one.task:14} {one.seeds:5}  {one.top1:.2%} ({one.top1_sd:.2%})  "
                f"{one.top3:6.2%}  {one.majority:7.2%}   {against}"
            )
        return "\n".join([*lines, f"written to {self.study}"])


def read_study(path: Path) -> Study:
    """Read a study.

    Raises:
        UnusableInput: It is no TOML file with ``seeds`` and ``[[arm]]`` tables of known fields.
    """
    try:
        plain = tomllib.loads(path.read_text())
        tables: list[Any] = [dict(arm) | {"corrections": tuple(arm.get("corrections", ()))} for arm in plain["arm"]]
        arms = tuple(Arm(**table) for table in tables)
        study = Study(name=plain.get("name", path.stem), seeds=plain["seeds"], arms=arms)
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        msg = f"study {path}: {error}; expected a TOML file with seeds = N and [[arm]] tables of name, task and recipe"
        raise UnusableInput(msg) from error
    names = [arm.name for arm in study.arms]
    if twice := next((name for name in names if names.count(name) > 1), None):
        msg = f"study {path}: arm {twice!r} is there twice; expected names that differ"
        raise UnusableInput(msg)
    return study


def run_study(
    study: Study,
    archive: Path,
    catalog: Path,
    out: Path,
    *,
    workers: int = 0,
    weights: str | None = None,
    advance: Advance = silent,
) -> StudyReport:
    """Run what is left of a study and compare its arms.

    Args:
        study: Arms and seeds.
        archive: Folder of a crawl.
        catalog: Catalogue that it was crawled from.
        out: Folder for datasets, runs and results.
        workers: Of each training; 0 trains in this process.
        weights: Pretrained weights of all arms that do not name their own.
        advance: Receives finished runs.

    Raises:
        UnusableInput: A recipe, a task or the weights cannot be used; runs that were finished stay.
    """
    movies = read_catalog(catalog)
    recipes = {arm.name: read_recipe(Path(arm.recipe), arm.corrections) for arm in study.arms}
    for seed in range(study.seeds):
        for arm in study.arms:
            recipe = replace(recipes[arm.name], seed=seed)
            if weights is not None and not recipe.model.weights:
                recipe = replace(recipe, model=replace(recipe.model, weights=weights))
            train(recipe, _dataset(archive, movies, out, arm.task, seed), _run(out, arm, seed), workers)
            advance(1, f"{arm.name}, seed {seed}")
    report = StudyReport(study=str(out), results=_compare(study, out))
    write_json(out / "results.json", {"study": asdict(study), "results": [asdict(one) for one in report.results]})
    return report


def _dataset(archive: Path, movies: pl.DataFrame, out: Path, task: str, seed: int) -> Dataset:
    folder = out / "datasets" / f"{task}-{seed}"
    if not (folder / "dataset.json").exists():
        build(archive, movies, folder, make_task(task), SplitOptions(seed=seed))
    return Dataset.load(folder)


def _run(out: Path, arm: Arm, seed: int) -> Path:
    return out / "runs" / arm.name / str(seed)


def _compare(study: Study, out: Path) -> tuple[ArmResult, ...]:
    answers = {arm.name: _answers(study, out, arm) for arm in study.arms}
    results: list[ArmResult] = []
    for task in dict.fromkeys(arm.task for arm in study.arms):
        first, *others = [arm.name for arm in study.arms if arm.task == task]
        results.append(_summary(study, out, first, task, difference=None, p_value=None))
        p_values = [_median_seed_p(answers[first], answers[other]) for other in others]
        for other, p_value in zip(others, holm(p_values), strict=True):
            gain = _difference(answers[first], answers[other])
            results.append(_summary(study, out, other, task, difference=gain, p_value=p_value))
    return tuple(results)


def _answers(study: Study, out: Path, arm: Arm) -> pl.DataFrame:
    """One row per seed and poster of its test split: ``seed, movie_id, group, right``."""
    parts: list[pl.DataFrame] = []
    for seed in range(study.seeds):
        rows = pl.read_parquet(_run(out, arm, seed) / "predictions.parquet")
        groups = Dataset.load(out / "datasets" / f"{arm.task}-{seed}").table.select("movie_id", "group")
        right = rows.select("movie_id", right=pl.col("label") == pl.col("target"), seed=pl.lit(seed))
        parts.append(right.join(groups, on="movie_id"))
    return pl.concat(parts)


def _paired(first: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    return first.join(other.select("seed", "movie_id", other="right"), on=["seed", "movie_id"])


def _difference(first: pl.DataFrame, other: pl.DataFrame) -> Interval:
    """Mean difference of being right, averaged over the seeds that tested a poster, then resampled by group."""
    gain = pl.col("other").cast(pl.Float64) - pl.col("right").cast(pl.Float64)
    posters = _paired(first, other).group_by("movie_id", "group").agg(gain=gain.mean()).sort("movie_id")
    return group_bootstrap(posters["gain"].to_numpy(), posters["group"].to_numpy())


def _median_seed_p(first: pl.DataFrame, other: pl.DataFrame) -> float:
    """McNemar's test on the seed at which ``other`` does as well as it does at the median."""
    ranked = other.group_by("seed").agg(pl.col("right").mean()).sort("right", "seed")
    seed = int(ranked["seed"][(len(ranked) - 1) // 2])
    pairs = _paired(first, other).filter(pl.col("seed") == seed)
    return mcnemar(pairs["right"].to_numpy(), pairs["other"].to_numpy())


def _summary(
    study: Study, out: Path, name: str, task: str, *, difference: Interval | None, p_value: float | None
) -> ArmResult:
    tests: list[dict[str, Any]] = [
        json.loads((out / "runs" / name / str(seed) / "evaluation.json").read_text())["test"]
        for seed in range(study.seeds)
    ]
    means = {key: float(np.mean([test[key] for test in tests])) for key in ("top1", "top3", "loss", "majority")}
    spread = float(np.std([test["top1"] for test in tests], ddof=1)) if len(tests) > 1 else 0.0
    return ArmResult(
        arm=name,
        task=task,
        seeds=study.seeds,
        n=sum(test["n"] for test in tests),
        top1_sd=spread,
        difference=difference,
        p_value=p_value,
        **means,
    )
