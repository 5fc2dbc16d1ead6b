"""The loop under Ray Train: as many processes as there are workers, restarted when one dies. Only file with ray.

A training that fails with an error of its own (bad input, a full disk, a loss that is no number) ends with that error.
A worker that dies ends its group; a new group goes on from the last checkpoint.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # how soon an end or a death is seen
os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "600")  # a busy machine takes its time

import ray
import torch
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from crawler.cluster import connected
from crawler.errors import KeyartError, UnusableInput, WorkFailed
from crawler.progress import silent
from dataloading.dataset import Dataset
from training import models, precision
from training.frozen import train_head
from training.loop import Trainer
from training.outcome import TrainReport, read_report
from training.ranks import Ranks
from training.recipe import Freeze, Recipe
from training.run_folder import RunFolder, check_same, new_manifest, read_manifest, write_json

if TYPE_CHECKING:
    from collections.abc import Generator

    from crawler.progress import Advance

log = logging.getLogger(__name__)

RESTARTS: Final = 3
"""How often a group of workers is started again after one of them died."""
_RAY_TRAIN_ERROR: Final = TrainingFailedError.__mro__[1]
"""Base of what Ray Train says of a lost worker; it has no public name."""
POLL_S: Final = 0.3
"""How often the driver looks at where the workers stand."""


def train(
    recipe: Recipe, dataset: Dataset | Path, run: Path, workers: int = 1, advance: Advance = silent
) -> TrainReport:
    """Train one recipe, or go on with it where an earlier call stopped.

    Args:
        recipe: Every choice of the run.
        dataset: A dataset or its folder.
        run: Folder for checkpoints and results; reachable by all workers.
        workers: Processes that share each batch, one GPU each where there are GPUs; 0 trains in this process.
        advance: Receives posters seen.

    Raises:
        UnusableInput: Recipe, dataset, weights, run folder and workers do not fit together; nothing was written.
        WorkFailed: Workers died too often, the loss is not a number, or the disk is full.
    """
    started = time.perf_counter()
    folder = RunFolder(run.absolute())
    dataset = dataset if isinstance(dataset, Dataset) else Dataset.load(dataset.absolute())
    recipe = _with_absolute_weights(recipe)
    manifest = read_manifest(folder)
    if manifest is not None:
        check_same(folder, manifest, recipe, dataset.digest)
        if manifest["status"] == "finished":
            return read_report(folder, manifest, time.perf_counter() - started)
    _check(recipe, dataset, workers)
    if recipe.freeze is Freeze.TRUNK:
        workers = 0  # one pass without gradients, then seconds
    with _resources(workers) as share:
        manifest = manifest or new_manifest(
            recipe,
            dataset=dataset.folder.absolute(),
            dataset_digest=dataset.digest,
            task=dataset.task,
            vocabulary=list(dataset.vocabulary),
        )
        _prepare(folder, manifest)
        plan = {"recipe": recipe.to_dict(), "dataset": str(dataset.folder.absolute()), "run": str(folder.path)}
        with _followed(folder, advance):
            if recipe.freeze is Freeze.TRUNK:
                outcome = train_head(recipe, dataset, folder, device=_device(), advance=advance)
            elif workers == 0:
                outcome = _work(plan)
            else:
                outcome = _restarted(plan, workers, share, folder, manifest)
    outcome["test_split_opened_at"] = _now()
    manifest |= {"status": "finished", "finished_at": _now(), "workers": max(1, workers), **outcome}
    write_json(folder.manifest, manifest)
    return read_report(folder, manifest, time.perf_counter() - started)


def _work(plan: dict[str, Any]) -> dict[str, Any]:
    """One worker's whole life: train, evaluate, and say for the manifest what was used."""
    folder = RunFolder(Path(plan["run"]))
    ranks = Ranks.current()
    threads = int(plan.get("threads") or torch.get_num_threads())
    torch.set_num_threads(threads)
    device = _device()
    with folder.locked() if ranks.leads else _nothing():
        trainer = Trainer(
            Recipe.from_dict(plan["recipe"]),
            Dataset.load(Path(plan["dataset"])),
            folder,
            device=device,
            threads=threads,
            ranks=ranks,
        )
        trainer.train()
        trainer.finish()
    return {
        **trainer.loaded.to_dict(),
        "precision": str(trainer.numerics.precision),
        "threads_per_worker": threads,
        "device": device.type,
    }


def _restarted(
    plan: dict[str, Any], workers: int, share: dict[str, float], folder: RunFolder, manifest: dict[str, Any]
) -> dict[str, Any]:
    """Run groups of workers until one of them finishes."""
    for attempt in range(RESTARTS + 1):
        manifest["attempts"].append({"started_at": _now(), "workers": workers, "goes_on": folder.last.exists()})
        write_json(folder.manifest, manifest)
        try:
            return _group(plan | {"threads": int(share["CPU"])}, workers, share, folder)
        except TrainingFailedError as error:
            if own := _own_error(error):
                raise own from error
            if not _may_pass(error):
                raise
            reason = str(error).strip().splitlines()[-1]
            manifest["attempts"][-1]["ended_by"] = reason
            log.warning("run %s: a worker died (%s); attempt %d goes on", folder.path, reason, attempt + 2)
    msg = (
        f"run {folder.path}: workers died {RESTARTS + 1} times; see run.json for the reasons; the same command goes on"
    )
    raise WorkFailed(msg)


def _group(plan: dict[str, Any], workers: int, share: dict[str, float], folder: RunFolder) -> dict[str, Any]:
    """Run one group of workers to its end."""
    scratch = folder.path / ".ray"
    trainer = TorchTrainer(
        _work,
        train_loop_config=plan,
        torch_config=TorchConfig(),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu="GPU" in share, resources_per_worker=share),
        run_config=RunConfig(
            name=uuid.uuid4().hex, storage_path=str(scratch), failure_config=FailureConfig(max_failures=0)
        ),
    )
    try:
        outcome: Any = trainer.fit().return_value
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return outcome


def _own_error(error: TrainingFailedError) -> KeyartError | None:
    """Find the error of ours that ended a group, if one did."""
    failures: dict[int, Any] = getattr(error, "worker_failures", {})
    for failure in failures.values():
        cause = getattr(failure, "_base_exc", failure)
        if isinstance(cause, KeyartError):
            return cause
    return None


def _may_pass(error: TrainingFailedError) -> bool:
    """Tell a lost process or connection, which another attempt may not meet, from a bug."""
    failures: dict[int, Any] = getattr(error, "worker_failures", {})
    return not failures or any(
        not isinstance(failure, Exception) or isinstance(failure, RuntimeError | OSError | RayError | _RAY_TRAIN_ERROR)
        for failure in failures.values()
    )


def _check(recipe: Recipe, dataset: Dataset, workers: int) -> None:
    """Refuse what could only fail later.

    Raises:
        UnusableInput: The dataset lacks a target or a split, the weights do not fit, or the batch cannot be divided.
    """
    targets = dataset.table["target"]
    if targets.null_count() or not targets.is_between(0, len(dataset.vocabulary) - 1).all():
        bad = dataset.table.filter(targets.is_null() | ~targets.is_between(0, len(dataset.vocabulary) - 1)).row(
            0, named=True
        )
        msg = (
            f"dataset {dataset.folder}: movie {bad['movie_id']} has target {bad['target']}, expected 0 to "
            f"{len(dataset.vocabulary) - 1}; build it again with `keyart dataset`"
        )
        raise UnusableInput(msg)
    for split in ("train", "validation", "test"):
        if dataset.rows(split).is_empty():
            msg = f"dataset {dataset.folder}: no poster in its {split} split; build it again from more posters"
            raise UnusableInput(msg)
    if workers < 0:
        msg = f"--workers {workers}: expected 0 (this process) or more"
        raise UnusableInput(msg)
    precision.choose(recipe.precision, _device())
    if recipe.batch_size % max(1, workers):
        msg = f"batch_size {recipe.batch_size}: expected a multiple of the {workers} workers; --set batch_size=..."
        raise UnusableInput(msg)
    network = models.build(recipe.model.architecture, len(dataset.vocabulary), **recipe.model.options())
    models.load_recipe(network, recipe.model)


@contextmanager
def _resources(workers: int) -> Generator[dict[str, float]]:
    """Be connected to a Ray that has room for the workers; give what each of them gets."""
    if workers == 0:
        yield {}
        return
    with connected():
        total = ray.cluster_resources()
        cpus, gpus = int(total.get("CPU", 0)), int(total.get("GPU", 0))
        limit = gpus or cpus
        if workers > limit:
            what = f"{gpus} GPUs" if gpus else f"{cpus} CPUs"
            msg = f"--workers {workers}: the cluster has {what}; expected at most {limit}"
            raise UnusableInput(msg)
        yield {"CPU": float(max(1, cpus // workers)), **({"GPU": 1.0} if gpus else {})}


def _prepare(folder: RunFolder, manifest: dict[str, Any]) -> None:
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        write_json(folder.manifest, manifest)
    except OSError as error:
        msg = f"run {folder.path}: cannot be written ({error.strerror}); choose another -o"
        raise UnusableInput(msg) from error


@contextmanager
def _followed(folder: RunFolder, advance: Advance) -> Generator[None]:
    """Pass on where the workers stand, as they write it, while the block runs."""
    ended = threading.Event()
    told = 0

    def tell() -> None:
        nonlocal told
        try:
            standing = json.loads(folder.progress.read_text())
        except FileNotFoundError:
            return
        note = (
            f"epoch {standing['epoch']}/{standing['epochs']}, loss {standing['loss']:.3f}, "
            f"{standing['images_per_s']:.0f} posters/s, {standing['data_wait']:.1%} waiting, "
            f"{standing['peak_memory_mb']} MB"
        )
        advance(max(0, standing["posters"] - told), note)
        told = max(told, standing["posters"])

    def follow() -> None:
        while not ended.wait(POLL_S):
            tell()

    thread = threading.Thread(target=follow, name="follow-training", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        folder.progress.unlink(missing_ok=True)


@contextmanager
def _nothing() -> Generator[None]:
    yield


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def _with_absolute_weights(recipe: Recipe) -> Recipe:
    """Workers have a working directory of their own."""
    weights = recipe.model.weights
    if not weights or weights.startswith(models.TIMM_PREFIX):
        return recipe
    return replace(recipe, model=replace(recipe.model, weights=str(Path(weights).expanduser().absolute())))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
