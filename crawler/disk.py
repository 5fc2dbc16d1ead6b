"""A local folder -> a store of named objects. A file is written under a temporary name, synced and renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crawler.errors import UnusableInput, WorkFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class LocalStore:
    """A folder on a disk."""

    folder: Path

    @property
    def url(self) -> str:
        """The path."""
        return str(self.folder)

    def within(self, name: str) -> LocalStore:
        """Open a folder in it."""
        return LocalStore(self.folder / name)

    def names(self) -> list[str]:
        """List its files, without what is still being written."""
        try:
            with os.scandir(self.folder) as entries:
                return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise WorkFailed(refused_object(self.url, "listed", error.strerror or str(error))) from error

    def exists(self, name: str) -> bool:
        """Say whether there is a file of this name."""
        return (self.folder / name).is_file()

    def read(self, name: str) -> bytes:
        """Read a whole file."""
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError as error:
            raise UnusableInput(missing_object(f"{self.url}/{name}")) from error
        except OSError as error:
            raise WorkFailed(refused_object(f"{self.url}/{name}", "read", error.strerror or str(error))) from error

    def read_range(self, name: str, offset_bytes: int, size_bytes: int) -> bytes:
        """Read a part of a file."""
        try:
            with (self.folder / name).open("rb", buffering=0) as stream:
                return os.pread(stream.fileno(), size_bytes, offset_bytes)
        except FileNotFoundError as error:
            raise UnusableInput(missing_object(f"{self.url}/{name}")) from error
        except OSError as error:
            raise WorkFailed(refused_object(f"{self.url}/{name}", "read", error.strerror or str(error))) from error

    def copy_to(self, name: str, path: Path) -> None:
        """Copy a file."""
        try:
            shutil.copyfile(self.folder / name, path)
        except FileNotFoundError as error:
            raise UnusableInput(missing_object(f"{self.url}/{name}")) from error
        except OSError as error:
            raise WorkFailed(refused_object(f"{self.url}/{name}", "read", error.strerror or str(error))) from error

    def put(self, name: str, body: bytes) -> None:
        """Write a file under a temporary name, sync it and rename it."""
        self._replace(name, lambda temporary: temporary.write_bytes(body))

    def put_file(self, name: str, path: Path) -> None:
        """Copy a file under a temporary name, sync it and rename it."""
        self._replace(name, lambda temporary: shutil.copyfile(path, temporary))

    def delete(self, name: str) -> None:
        """Remove a file."""
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise WorkFailed(refused_object(f"{self.url}/{name}", "deleted", error.strerror or str(error))) from error

    def _replace(self, name: str, write: Callable[[Path], object]) -> None:
        path = self.folder / name
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        except OSError as error:
            raise WorkFailed(refused_object(str(path), "written", error.strerror or str(error))) from error
        finally:
            with contextlib.suppress(OSError):  # it was never made
                temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file or folder is on its disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def missing_object(url: str) -> str:
    """Say that there is no such object."""
    return f"storage {url}: there is no such object; check the path, or make it first"


def refused_object(url: str, done: str, why: str) -> str:
    """Say what a store would not do, and why."""
    return f"storage {url}: cannot be {done} ({why}); check that it is reachable and the permissions"
