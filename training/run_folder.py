"""A training's state and figures -> the files of its RUN folder, and back."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from crawler.errors import UnusableInput, WorkFailed

if TYPE_CHECKING:
    from collections.abc import Generator

    from training.recipe import Recipe

MANIFEST_FORMAT: Final = 1
PACKAGES: Final = ("keyart", "torch", "timm", "ray", "numpy", "polars")
"""Whose versions a manifest states."""
LOCK_WAIT_S: Final = 60.0
"""How long a training waits for an earlier one in the same folder to be gone."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where the files of one run lie."""

    path: Path

    @property
    def manifest(self) -> Path:
        """What was run, on what, with what."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """A JSON line an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def progress(self) -> Path:
        """Where the training stands now; gone when it has ended."""
        return self.path / "progress.json"

    @property
    def best(self) -> Path:
        """Checkpoint of the epoch that is best on validation."""
        return self.path / "checkpoints" / "best"

    @property
    def last(self) -> Path:
        """Checkpoint that training goes on from."""
        return self.path / "checkpoints" / "last"

    @property
    def evaluation(self) -> Path:
        """Quality of the best checkpoint on each split."""
        return self.path / "evaluation.json"

    @property
    def predictions(self) -> Path:
        """A row per poster of the test split."""
        return self.path / "predictions.parquet"

    @contextmanager
    def locked(self) -> Generator[None]:
        """Be the only training that writes here while the block runs.

        Raises:
            WorkFailed: Another training still writes here after a minute.
        """
        with (self.path / ".lock").open("a+") as stream:
            deadline = time.monotonic() + LOCK_WAIT_S
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        msg = f"run {self.path}: another training writes to it; wait for it to end or choose another -o"
                        raise WorkFailed(msg) from error
                    time.sleep(0.2)
            stream.truncate(0)
            stream.write(f"{os.getpid()}\n")  # for whoever wonders who it is
            stream.flush()
            yield


def new_manifest(
    recipe: Recipe, *, dataset: Path, dataset_digest: str, task: str, vocabulary: list[str]
) -> dict[str, Any]:
    """Say what is about to be run: recipe, data, versions, code revision and machine."""
    return {
        "format": MANIFEST_FORMAT,
        "status": "running",
        "recipe": recipe.to_dict(),
        "recipe_digest": recipe.digest(),
        "dataset": str(dataset),
        "dataset_digest": dataset_digest,
        "task": task,
        "vocabulary": vocabulary,
        "seed": recipe.seed,
        "versions": versions(),
        "revision": code_revision(),
        "machine": machine(),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "attempts": [],
    }


def read_manifest(run: RunFolder) -> dict[str, Any] | None:
    """Read ``run.json``, or None where no run was begun.

    Raises:
        UnusableInput: It cannot be read, or was written by another version.
    """
    if not run.manifest.exists():
        return None
    try:
        manifest: dict[str, Any] = json.loads(run.manifest.read_text())
    except (OSError, json.JSONDecodeError) as error:
        msg = f"run {run.path}: run.json cannot be read ({error}); expected a folder of `keyart train`"
        raise UnusableInput(msg) from error
    if manifest.get("format") != MANIFEST_FORMAT:
        msg = f"run {run.path}: run.json has format {manifest.get('format')!r}, expected {MANIFEST_FORMAT}"
        raise UnusableInput(msg)
    return manifest


def check_same(run: RunFolder, manifest: dict[str, Any], recipe: Recipe, dataset_digest: str) -> None:
    """Refuse to go on with a run under another recipe or on other data.

    Raises:
        UnusableInput: They differ; the text names the first field that does.
    """
    if manifest["dataset_digest"] != dataset_digest:
        msg = (
            f"run {run.path}: begun on a dataset of digest {manifest['dataset_digest'][:12]}, "
            f"now {dataset_digest[:12]}; choose another -o"
        )
        raise UnusableInput(msg)
    begun = type(recipe).from_dict(manifest["recipe"])  # fields that came later have their defaults
    before, now = _flat(begun.to_dict()), _flat(recipe.to_dict())
    for name in sorted(before | now):
        if before.get(name) != now.get(name):
            msg = (
                f"run {run.path}: begun with {name} = {before.get(name)!r}, now {now.get(name)!r}; "
                "choose another -o, or go on with the same recipe"
            )
            raise UnusableInput(msg)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file so that it is there whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def code_revision() -> str:
    """Commit of this checkout, with ``+changes`` where files differ from it; ``unknown`` outside a checkout."""
    here = Path(__file__).parent
    try:
        revision = _git(here, "rev-parse", "HEAD")
        return revision + ("+changes" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine() -> dict[str, Any]:
    """Say what the run runs on."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_bytes / 2**30, 1),
        "gpus": gpus,
        "system": platform.platform(),
    }


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]  # the fixed words above, no user's text
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat
