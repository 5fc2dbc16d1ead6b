"""A folder -> an archive that one crawl at a time may write, and whose content cannot silently change its meaning."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from crawler.errors import UnusableInput, WorkFailed
from crawler.shards import SHARD_FOLDER

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

FORMAT: Final = "keyart-archive/1"
MANIFEST_NAME: Final = "archive.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an archive is a crawl of; it is written once and never changes."""

    format: str = FORMAT
    catalog_digest: str
    """Of the selected movies and their poster paths (``crawler.frontier.measure``)."""
    requested: int
    """Posters over all shards."""
    image_base: str
    shard_size: int


@contextmanager
def locked(archive: Path) -> Generator[Path]:
    """Hold an archive that exists for writing while the block runs.

    Yields:
        The folder of its shards.

    Raises:
        UnusableInput: It is no archive.
        WorkFailed: A crawl is writing to it.
    """
    read_manifest(archive)
    descriptor = os.open(archive, os.O_RDONLY)
    try:
        _lock(descriptor, archive)
        yield archive / SHARD_FOLDER
    finally:
        os.close(descriptor)


@contextmanager
def opened_for_crawl(archive: Path, manifest: Manifest) -> Generator[Path]:
    """Hold an archive for writing while the block runs; make it where there is none.

    Args:
        archive: Folder of the archive.
        manifest: What is about to be crawled; must be what the archive already holds.

    Yields:
        The folder of its shards, cleared of what killed workers left half written.

    Raises:
        UnusableInput: The archive belongs to another crawl, or the folder is no archive.
        WorkFailed: Another crawl is writing, or the folder cannot be written.
    """
    shards = archive / SHARD_FOLDER
    if (archive / MANIFEST_NAME).exists():
        _check_same(archive, read_manifest(archive), manifest)
    elif archive.exists() and (not archive.is_dir() or any(archive.iterdir())):
        msg = f"archive {archive}: exists and is no archive (no {MANIFEST_NAME}); choose an empty or new folder with -o"
        raise UnusableInput(msg)
    try:
        shards.mkdir(parents=True, exist_ok=True)
        lock = os.open(archive, os.O_RDONLY)
    except OSError as error:
        msg = f"archive {archive}: cannot be written ({error}); choose another place with -o"
        raise WorkFailed(msg) from error
    try:
        _lock(lock, archive)
        _write_manifest(archive, manifest)
        for left_over in shards.glob(".*.tmp"):
            left_over.unlink(missing_ok=True)
        yield shards
    finally:
        os.close(lock)


def read_manifest(archive: Path) -> Manifest:
    """Read what an archive is a crawl of.

    Raises:
        UnusableInput: There is no manifest, or none of this format.
    """
    path = archive / MANIFEST_NAME
    try:
        return Manifest(**json.loads(path.read_text()))
    except FileNotFoundError as error:
        msg = f"archive {archive}: no {MANIFEST_NAME} in it; expected a folder written by `keyart crawl`"
        raise UnusableInput(msg) from error
    except (OSError, ValueError, TypeError) as error:
        msg = f"archive {path}: cannot be read ({type(error).__name__}); expected the {FORMAT} of `keyart crawl`"
        raise UnusableInput(msg) from error


def _check_same(archive: Path, have: Manifest, wanted: Manifest) -> None:
    for name, value in asdict(wanted).items():
        found = getattr(have, name)
        if found != value:
            thing = {"catalog_digest": "another catalogue or selection", "requested": "another selection"}
            what = thing.get(name, f"{name} {found}, not {value}")
            msg = (
                f"archive {archive}: holds a crawl of {what}; crawl with the same catalogue and options to resume it, "
                "or choose a new folder with -o"
            )
            raise UnusableInput(msg)


def _lock(descriptor: int, archive: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however it ends
    except BlockingIOError as error:
        msg = f"archive {archive}: another crawl is writing to it; wait for it, or choose another folder with -o"
        raise WorkFailed(msg) from error


def _write_manifest(archive: Path, manifest: Manifest) -> None:
    path = archive / MANIFEST_NAME
    if path.exists():
        return
    temporary = archive / f".{MANIFEST_NAME}.tmp"
    temporary.write_text(json.dumps(asdict(manifest), indent=1) + "\n")
    temporary.replace(path)
