"""The loop under Ray Train: as many processes as there are workers, restarted when one dies. Only file with ray.

A training that fails with an error of its own (bad input, a full disk, a loss that is no number) ends with that error.
A worker that dies ends its group; a new group goes on from the last checkpoint.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # how soon an end or a death is seen
os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "600")  # a busy machine takes its time

import ray
import torch
from ray.exceptions import RayError, RayTaskError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from crawler.cluster import connected
from crawler.errors import KeyartError, UnusableInput, WorkFailed
from crawler.progress import silent
from dataloading.dataset import Dataset
from training.checks import check, default_device, with_absolute_weights
from training.elastic import Elastic
from training.follow import followed
from training.frozen import train_head
from training.loop import Trainer
from training.outcome import TrainReport, read_report
from training.ranks import Ranks
from training.recipe import Freeze, Recipe
from training.run_folder import RunFolder, check_same, new_manifest, read_manifest, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from crawler.progress import Advance

log = logging.getLogger(__name__)
Value = TypeVar("Value")

ROOM_WAIT_S: Final = 30.0
"""How long an elastic training waits for room for its least number of workers."""
RESTARTS: Final = 3
"""How often a group of workers is started again after one of them died."""
_RAY_TRAIN_ERROR: Final = TrainingFailedError.__mro__[1]
"""Base of what Ray Train says of a lost worker; it has no public name."""


def train(
    recipe: Recipe,
    dataset: Dataset | Path,
    run: Path,
    workers: int = 1,
    advance: Advance = silent,
    *,
    elastic: Elastic | None = None,
) -> TrainReport:
    """Train one recipe, or go on with it where an earlier call stopped.

    Args:
        recipe: Every choice of the run.
        dataset: A dataset or its folder.
        run: Folder for checkpoints and results; reachable by all workers.
        workers: Processes that share each batch, one GPU each where there are GPUs; 0 trains in this process.
        advance: Receives posters seen.
        elastic: Begin each group with as many workers as there is room for, instead of ``workers``.

    Raises:
        UnusableInput: Recipe, dataset, weights, run folder and workers do not fit together; nothing was written.
        WorkFailed: Workers died too often, the loss is not a number, or the disk is full.
    """
    started = time.perf_counter()
    folder = RunFolder(run.absolute())
    dataset = dataset if isinstance(dataset, Dataset) else Dataset.load(dataset.absolute())
    recipe = with_absolute_weights(recipe)
    manifest = read_manifest(folder)
    if manifest is not None:
        check_same(folder, manifest, recipe, dataset.digest)
        if manifest["status"] == "finished":
            return read_report(folder, manifest, time.perf_counter() - started)
    workers = workers if elastic is None else max(1, workers)
    check(recipe, dataset, 1 if elastic else workers)
    if recipe.freeze is Freeze.TRUNK:
        workers = 0  # one pass without gradients, then seconds
    with connected() if workers else _nothing():
        crew = _crew(elastic or workers, recipe.batch_size) if workers else None
        manifest = manifest or new_manifest(
            recipe,
            dataset=dataset.folder.absolute(),
            dataset_digest=dataset.digest,
            task=dataset.task,
            vocabulary=list(dataset.vocabulary),
        )
        _prepare(folder, manifest)
        plan = {"recipe": recipe.to_dict(), "dataset": str(dataset.folder.absolute()), "run": str(folder.path)}
        with followed(folder, advance):
            if recipe.freeze is Freeze.TRUNK:
                outcome = train_head(recipe, dataset, folder, device=default_device(), advance=advance)
            elif crew is None:
                outcome = _work(plan)
            else:
                outcome = _restarted(plan, lambda: _crew(elastic or workers, recipe.batch_size), folder, manifest)
                workers = manifest["attempts"][-1]["workers"]
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
    device = default_device()
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
    plan: dict[str, Any],
    crew: Callable[[], tuple[int, dict[str, float]]],
    folder: RunFolder,
    manifest: dict[str, Any],
) -> dict[str, Any]:
    """Run groups of workers until one of them finishes; ``crew`` says how many there are now, and what each gets."""
    for attempt in range(RESTARTS + 1):
        workers, share = crew()
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


def use_threads(count: int) -> None:
    """Let torch, and the loaders that ask it, use so many threads in this process."""
    torch.set_num_threads(count)


def each(
    work: Callable[..., Value], arguments: Sequence[tuple[Any, ...]], *, at_once: int
) -> Iterator[tuple[int, Value | KeyartError]]:
    """Do independent pieces of work over Ray, as many at once as resources allow.

    Each gets an equal share of the cluster's CPUs, and a GPU of its own where there are GPUs. A piece whose process
    dies is begun again; whoever writes files goes on with them.

    Args:
        work: A function of a module, to be called in a process of its own; with ``threads`` as its last argument.
        arguments: Of each piece, without ``threads``.
        at_once: At most so many at a time; 0 is one a GPU, or one a CPU where there is no GPU.

    Yields:
        The place of a piece in ``arguments`` and what it returned, or the error of ours that it ended with, in the
        order in which they end.
    """
    with connected():
        total = ray.cluster_resources()
        cpus, gpus = int(total.get("CPU", 1)), int(total.get("GPU", 0))
        limit = min(at_once or gpus or cpus, gpus or cpus, len(arguments))
        share = max(1, cpus // max(1, limit))
        remote: Any = ray.remote(num_cpus=share, num_gpus=1 if gpus else 0, max_retries=RESTARTS)(work)
        running: dict[Any, int] = {}
        waiting = list(enumerate(arguments))[::-1]
        while running or waiting:
            while waiting and len(running) < limit:
                place, values = waiting.pop()
                running[remote.remote(*values, share)] = place
            (ended, *_), _ = ray.wait(list(running), num_returns=1)
            place = running.pop(ended)
            try:
                yield place, ray.get(ended)
            except RayTaskError as error:
                cause = error.cause
                if not isinstance(cause, KeyartError):
                    raise
                yield place, cause


def _crew(wanted: int | Elastic, batch_size: int) -> tuple[int, dict[str, float]]:
    """Say how many workers begin, and what each of them gets.

    Raises:
        UnusableInput: The cluster has no room for them.
    """
    deadline = time.monotonic() + ROOM_WAIT_S
    while True:
        total = _answering() if isinstance(wanted, Elastic) else ray.cluster_resources()
        cpus, gpus = int(total.get("CPU", 0)), int(total.get("GPU", 0))
        room = gpus or cpus
        workers = wanted.fitting(room, batch_size) if isinstance(wanted, Elastic) else wanted
        if 0 < workers <= room:
            return workers, {"CPU": float(max(1, cpus // workers)), **({"GPU": 1.0} if gpus else {})}
        what = f"{gpus} GPUs" if gpus else f"{cpus} CPUs"
        if not isinstance(wanted, Elastic):
            msg = f"--workers {wanted}: the cluster has {what}; expected at most {room}"
            raise UnusableInput(msg)
        if time.monotonic() > deadline:
            msg = (
                f"--elastic {wanted.least} {wanted.most}: the cluster has {what} and a batch {batch_size} posters; "
                f"expected room for {wanted.least} or more workers whose number divides the batch"
            )
            raise UnusableInput(msg)
        time.sleep(1)  # a lost node may come back


def _answering() -> dict[str, float]:
    """Add up the resources of the nodes that answer: for a while Ray counts a lost node in."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    ping: Any = ray.remote(num_cpus=0)(lambda: None)
    asked = {
        ping.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(): node
        for node in alive
    }
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=ROOM_WAIT_S)
    for one in late:
        ray.cancel(one, force=True)
    found: dict[str, float] = {}
    for one in ready:
        try:
            ray.get(one)
        except RayError:
            continue  # it was lost in the meantime
        for name, amount in asked[one]["Resources"].items():
            found[name] = found.get(name, 0.0) + amount
    return found


def _prepare(folder: RunFolder, manifest: dict[str, Any]) -> None:
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        write_json(folder.manifest, manifest)
    except OSError as error:
        msg = f"run {folder.path}: cannot be written ({error.strerror}); choose another -o"
        raise UnusableInput(msg) from error


@contextmanager
def _nothing() -> Generator[None]:
    yield


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
