"""A written shard's two files -> a committed shard, on a disk or in a bucket. The sidecar is last: it is the mark."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from crawler.bucket import BucketStore
from crawler.disk import sync
from crawler.errors import WorkFailed
from crawler.lease import check_held

if TYPE_CHECKING:
    from collections.abc import Generator

    from crawler.storage import Store


@contextmanager
def staging(store: Store) -> Generator[Path]:
    """Give a local folder for files that are about to be committed: the store's own, so that a rename is enough."""
    if store.folder is not None:
        yield store.folder
        return
    with tempfile.TemporaryDirectory(prefix="keyart-") as name:
        yield Path(name)


def commit(store: Store, tar: tuple[str, Path], sidecar: tuple[str, Path]) -> None:
    """Make two staged files a shard; a crash at any point leaves the old one, the new one, or none.

    Args:
        store: Where the shard goes.
        tar: Its name, and the complete file that was staged.
        sidecar: The same of the sidecar.

    Raises:
        OSError: The disk is full or not writable.
        WorkFailed: The bucket cannot be written, or another crawl has taken the archive over.
    """
    if isinstance(store, BucketStore):
        _upload(store, tar, sidecar)
    elif store.folder is not None:
        _rename(store.folder, tar, sidecar)


def _rename(folder: Path, tar: tuple[str, Path], sidecar: tuple[str, Path]) -> None:
    for _, path in (tar, sidecar):
        sync(path)
    with _alone(folder):
        # A crash between the renames must not pair an old index with a new tar.
        (folder / sidecar[0]).unlink(missing_ok=True)
        tar[1].replace(folder / tar[0])
        sidecar[1].replace(folder / sidecar[0])
        sync(folder)


def _upload(store: BucketStore, tar: tuple[str, Path], sidecar: tuple[str, Path]) -> None:
    check_held(store)
    store.delete(sidecar[0])
    tag = store.put_file(*tar)
    store.put_file(*sidecar)
    # A worker of a killed crawl may commit the same shard at this moment: whoever does not find its own tar under the
    # mark takes the mark away, and the shard is fetched again.
    version = store.version(tar[0])
    if version is None or version.tag != tag:
        store.delete(sidecar[0])
        msg = f"storage {store.url}/{tar[0]}: another crawl wrote it at the same time; crawl again to repair the shard"
        raise WorkFailed(msg)


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Let one process at a time commit: the workers of a killed crawl may outlive it into the next one."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
