"""Shards in a bucket -> local files, at most so many bytes of them.

Whole shards are fetched into one folder, which all processes of a machine share. A shard is written into a file without
a name, which gets its name when it is complete: whoever is killed leaves nothing behind. When there are too many bytes,
the shards that were opened longest ago are removed, but for those that a process has open.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import struct
import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crawler.errors import UnusableInput, WorkFailed
from crawler.shards import TAR_SUFFIX, ShardReader

if TYPE_CHECKING:
    from collections.abc import Generator

    from crawler.bucket import BucketStore

log = logging.getLogger(__name__)

FOLDER_VARIABLE: Final = "KEYART_CACHE"
LIMIT_VARIABLE: Final = "KEYART_CACHE_GB"
LIMIT_GB: Final = 50.0
"""If nothing is said."""
MARK: Final = "keyart-shard-cache"
"""A file that says whose folder it is, so that nothing else is ever removed; its bytes are what is locked."""
_FLOCK: Final = "hhqqi4x"  # struct flock of a 64-bit Linux


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """Where fetched shards are kept, and how much of them."""

    folder: Path
    limit_bytes: int

    @classmethod
    def from_environment(cls) -> CacheOptions:
        """Take ``KEYART_CACHE`` (a folder; ``~/.cache/keyart/shards``) and ``KEYART_CACHE_GB`` (50).

        Raises:
            UnusableInput: The size is no number above 0.
        """
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        size = os.environ.get(LIMIT_VARIABLE) or str(LIMIT_GB)
        try:
            limit_bytes = int(float(size) * 1e9)
        except (ValueError, OverflowError):
            limit_bytes = 0
        if limit_bytes <= 0:
            msg = f"{LIMIT_VARIABLE} {size!r}: expected a number of gigabytes above 0"
            raise UnusableInput(msg)
        return cls(folder=Path(os.environ.get(FOLDER_VARIABLE) or home / "keyart" / "shards"), limit_bytes=limit_bytes)


class ShardCache:
    """The shards of one folder of a bucket; safe to use from several threads and processes."""

    def __init__(self, store: BucketStore, options: CacheOptions) -> None:
        """Make the folder.

        Raises:
            UnusableInput: The folder holds other things, or cannot be written.
        """
        self._store, self._options = store, options
        self._open: OrderedDict[str, tuple[ShardReader, int, int]] = OrderedDict()  # reader, descriptor, bytes
        self._lock = threading.Lock()
        folder = options.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # In this order: whoever else makes the cache just now writes the mark before anything else.
            if any(folder.iterdir()) and not (folder / MARK).exists():
                msg = f"cache {folder}: holds other files; expected an empty or new folder in ${FOLDER_VARIABLE}"
                raise UnusableInput(msg)
            (folder / MARK).touch()
        except OSError as error:
            msg = f"cache {folder}: cannot be written ({error.strerror}); choose another folder with ${FOLDER_VARIABLE}"
            raise UnusableInput(msg) from error

    def open(self, name: str) -> ShardReader:
        """Open a shard, fetched before or now; what this process opened longest ago is closed if it holds too much.

        A reader stays usable while it is referred to.

        Raises:
            UnusableInput: There is no such shard.
            WorkFailed: It cannot be fetched.
        """
        with self._lock:
            if name in self._open:
                self._open.move_to_end(name)
                return self._open[name][0]
        path = self._options.folder / self._file_name(name)
        descriptor = self._descriptor(name, path)
        os.utime(descriptor)  # the last time that it was opened
        size_bytes = os.fstat(descriptor).st_size
        reader = ShardReader(Path(f"/proc/self/fd/{descriptor}"))
        with self._lock:
            if name in self._open:  # another thread was faster
                os.close(descriptor)
                return self._open[name][0]
            self._open[name] = (reader, descriptor, size_bytes)
            while len(self._open) > 1 and sum(one[2] for one in self._open.values()) > self._options.limit_bytes:
                os.close(self._open.popitem(last=False)[1][1])  # its reader goes when nobody reads from it
        self._make_room()
        return reader

    def close(self) -> None:
        """Let the shards go; they stay on the disk for the next."""
        with self._lock:
            while self._open:
                os.close(self._open.popitem()[1][1])

    def __del__(self) -> None:
        self.close()

    def _file_name(self, name: str) -> str:
        """Name the copy of this version of a shard: a shard that is written anew is fetched anew."""
        version = self._store.version(f"{name}{TAR_SUFFIX}")
        if version is None:
            msg = f"storage {self._store.url}/{name}{TAR_SUFFIX}: there is no such object"
            raise UnusableInput(msg)
        key = f"{self._store.url}\n{name}\n{version.tag}"
        return f"{hashlib.sha256(key.encode()).hexdigest()[:32]}{TAR_SUFFIX}"

    def _descriptor(self, name: str, path: Path) -> int:
        """Open a copy, in a way that others see; fetch it first if need be, one process at a time."""
        with contextlib.suppress(FileNotFoundError):
            return _open_shared(path)
        with self._locked(zlib.crc32(path.name.encode()) + 1):
            while True:
                with contextlib.suppress(FileNotFoundError):
                    return _open_shared(path)
                self._fetch(name, path)

    def _fetch(self, name: str, path: Path) -> None:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            descriptor = os.open(path.parent, os.O_TMPFILE | os.O_RDWR, 0o644)
        except OSError as error:
            os.close(folder)
            msg = f"cache {path.parent}: cannot be written ({error.strerror}); choose another with ${FOLDER_VARIABLE}"
            raise WorkFailed(msg) from error
        try:
            unnamed = f"/proc/self/fd/{descriptor}"
            self._store.copy_to(f"{name}{TAR_SUFFIX}", Path(unnamed))
            os.fsync(descriptor)
            os.link(unnamed, path, src_dir_fd=folder, follow_symlinks=True)  # the folder makes Python follow the link
        finally:
            os.close(descriptor)
            os.close(folder)

    def _make_room(self) -> None:
        with self._locked(0):
            found = [(path, path.stat()) for path in self._options.folder.glob(f"*{TAR_SUFFIX}")]
            held_bytes = sum(status.st_size for _, status in found)
            for path, status in sorted(found, key=lambda one: one[1].st_mtime_ns):
                if held_bytes <= self._options.limit_bytes:
                    return
                if _removed(path):
                    held_bytes -= status.st_size

    @contextlib.contextmanager
    def _locked(self, place: int) -> Generator[None]:
        """Hold one byte of the mark: the lock ends with its process, and other bytes are free."""
        descriptor = os.open(self._options.folder / MARK, os.O_RDWR)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0))
            yield
        finally:
            os.close(descriptor)


def _open_shared(path: Path) -> int:
    """Open a copy and hold it: it is not removed before the descriptor is closed.

    Raises:
        FileNotFoundError: There is none, or it was removed just now.
    """
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not os.fstat(descriptor).st_nlink:
        os.close(descriptor)
        raise FileNotFoundError(path)
    return descriptor


def _removed(path: Path) -> bool:
    """Remove a copy that nobody holds."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        path.unlink()
        return True
    finally:
        os.close(descriptor)


def whole_shards(size_bytes: dict[str, int], limit_bytes: int) -> frozenset[str]:
    """Choose the shards that are kept whole where a random order would make others push each other out.

    Args:
        size_bytes: Of each shard, in the order of preference.
        limit_bytes: Of the cache.

    Example:
        >>> sorted(whole_shards({"a": 60, "b": 60, "c": 30}, limit_bytes=100))
        ['a', 'c']
    """
    chosen: set[str] = set()
    left = limit_bytes
    for name, size in size_bytes.items():
        if size <= left:
            chosen.add(name)
            left -= size
    return frozenset(chosen)
