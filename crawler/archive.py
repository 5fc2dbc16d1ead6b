"""A folder -> an archive that one crawl at a time may write, and whose content cannot silently change its meaning."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from crawler.bucket import BucketStore
from crawler.errors import UnusableInput, WorkFailed
from crawler.lease import leased
from crawler.shards import SHARD_FOLDER
from crawler.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Generator

    from crawler.storage import Place, Store

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
def locked(archive: Place) -> Generator[Store]:
    """Hold an archive that exists for writing while the block runs.

    Yields:
        The folder of its shards.

    Raises:
        UnusableInput: It is no archive.
        WorkFailed: A crawl is writing to it.
    """
    store = open_store(archive)
    read_manifest(store)
    with _alone(store) as held:
        yield held.within(SHARD_FOLDER)


@contextmanager
def opened_for_crawl(archive: Place, manifest: Manifest) -> Generator[Store]:
    """Hold an archive for writing while the block runs; make it where there is none.

    Args:
        archive: Folder of the archive, or its URL.
        manifest: What is about to be crawled; must be what the archive already holds.

    Yields:
        The folder of its shards, cleared of what killed workers left half written.

    Raises:
        UnusableInput: The archive belongs to another crawl, or the folder is no archive.
        WorkFailed: Another crawl is writing, or the folder cannot be written.
    """
    store = open_store(archive)
    if store.exists(MANIFEST_NAME):
        _check_same(store, read_manifest(store), manifest)
    elif _is_taken(store):
        msg = (
            f"archive {store.url}: exists and is no archive (no {MANIFEST_NAME}); choose an empty or new folder with -o"
        )
        raise UnusableInput(msg)
    if store.folder is not None:
        try:
            (store.folder / SHARD_FOLDER).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"archive {store.url}: cannot be written ({error}); choose another place with -o"
            raise WorkFailed(msg) from error
    with _alone(store) as held:
        if not store.exists(MANIFEST_NAME):
            store.put(MANIFEST_NAME, (json.dumps(asdict(manifest), indent=1) + "\n").encode())
        else:  # it may have been made since we looked
            _check_same(store, read_manifest(store), manifest)
        if store.folder is not None:
            for left_over in (store.folder / SHARD_FOLDER).glob(".*.tmp"):
                left_over.unlink(missing_ok=True)
        yield held.within(SHARD_FOLDER)


def read_manifest(archive: Place | Store) -> Manifest:
    """Read what an archive is a crawl of.

    Raises:
        UnusableInput: There is no manifest, or none of this format.
    """
    store = open_store(archive)
    if not store.exists(MANIFEST_NAME):
        msg = f"archive {store.url}: no {MANIFEST_NAME} in it; expected a folder written by `keyart crawl`"
        raise UnusableInput(msg)
    try:
        return Manifest(**json.loads(store.read(MANIFEST_NAME)))
    except (ValueError, TypeError, WorkFailed) as error:
        kind = type(error).__name__
        msg = f"archive {store.url}/{MANIFEST_NAME}: cannot be read ({kind}); expected the {FORMAT} of `keyart crawl`"
        raise UnusableInput(msg) from error


def _check_same(store: Store, have: Manifest, wanted: Manifest) -> None:
    for name, value in asdict(wanted).items():
        found = getattr(have, name)
        if found != value:
            thing = {"catalog_digest": "another catalogue or selection", "requested": "another selection"}
            what = thing.get(name, f"{name} {found}, not {value}")
            msg = (
                f"archive {store.url}: holds a crawl of {what}; crawl with the same catalogue and options to resume "
                "it, or choose a new folder with -o"
            )
            raise UnusableInput(msg)


def _is_taken(store: Store) -> bool:
    if store.folder is None:
        return bool(store.names()) or bool(store.within(SHARD_FOLDER).names())
    return store.folder.exists() and (not store.folder.is_dir() or any(store.folder.iterdir()))


@contextmanager
def _alone(store: Store) -> Generator[Store]:
    """Be the only one who writes an archive: by a lock that ends with its process, or by a lease in a bucket."""
    if isinstance(store, BucketStore):
        with leased(store) as held:
            yield held
        return
    descriptor = os.open(store.url, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = f"archive {store.url}: another crawl is writing to it; wait for it, or choose another folder with -o"
            raise WorkFailed(msg) from error
        yield store
    finally:
        os.close(descriptor)
