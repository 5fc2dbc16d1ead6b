"""Path or URL -> a store of named objects, on a disk or in a bucket.

An object appears whole or not at all. On a disk it is written under a temporary name, synced and renamed; in a bucket
it is one PUT or one completed multipart upload, which S3 and Google Cloud Storage show only when it is complete.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from crawler.bucket import BucketStore
from crawler.disk import LocalStore
from crawler.errors import UnusableInput

Place: TypeAlias = str | Path
"""A local path, or an ``s3://`` or ``gs://`` URL; also a ``Path`` made from such a URL, which lost one slash."""

_URL: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/{1,2}(?P<rest>.*)", re.DOTALL)
_SCHEMES: Final = ("s3", "gs")


class Store(Protocol):
    """A folder of objects; its names are plain file names or relative paths with ``/`` between."""

    @property
    def url(self) -> str:
        """Where it is, as a person writes it."""
        ...

    @property
    def folder(self) -> Path | None:
        """The local folder, for what can be mapped instead of read; None where there is none."""
        ...

    def within(self, name: str) -> Store:
        """Open a folder in it; nothing is made before the first object is."""
        ...

    def names(self) -> list[str]:
        """List the objects directly in it, in name order; none where there is nothing yet.

        Raises:
            WorkFailed: It cannot be listed.
        """
        ...

    def exists(self, name: str) -> bool:
        """Say whether there is an object of this name."""
        ...

    def read(self, name: str) -> bytes:
        """Read a whole object.

        Raises:
            UnusableInput: There is none.
            WorkFailed: It cannot be read.
        """
        ...

    def read_range(self, name: str, offset_bytes: int, size_bytes: int) -> bytes:
        """Read a part of an object; shorter than ``size_bytes`` where the object ends.

        Raises:
            UnusableInput: There is no such object.
            WorkFailed: It cannot be read.
        """
        ...

    def copy_to(self, name: str, path: Path) -> None:
        """Read an object into a local file, without holding it in memory.

        Raises:
            UnusableInput: There is no such object.
            WorkFailed: It cannot be read, or the file not be written.
        """
        ...

    def put(self, name: str, body: bytes) -> str | None:
        """Write an object in one step; an earlier one of this name is replaced.

        Returns:
            The tag of its version, where the store gives one.

        Raises:
            WorkFailed: It cannot be written; what was there before is unchanged.
        """
        ...

    def put_file(self, name: str, path: Path) -> str | None:
        """Write an object from a local file in one step, without holding it in memory.

        Returns:
            The tag of its version, where the store gives one.

        Raises:
            WorkFailed: It cannot be written; what was there before is unchanged.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove an object; nothing happens where there is none.

        Raises:
            WorkFailed: It cannot be removed.
        """
        ...


def open_store(place: Place | Store) -> Store:
    """Open a local folder or a bucket by its path or URL; nothing is asked or made yet. An open store stays itself.

    Credentials and endpoint of ``s3://`` come from the usual environment variables (``AWS_ACCESS_KEY_ID``,
    ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``, ``AWS_REGION``, ``AWS_ENDPOINT_URL``) or the machine's role, those
    of ``gs://`` from ``GOOGLE_APPLICATION_CREDENTIALS``.

    Raises:
        UnusableInput: The URL is of another scheme, or names no bucket.

    Example:
        >>> open_store("/data/archive").url, open_store("s3://posters/archive/").url
        ('/data/archive', 's3://posters/archive')
    """
    if not isinstance(place, (str, Path)):
        return place
    parts = _URL.fullmatch(str(place))
    if parts is None:
        return LocalStore(Path(place))
    scheme, rest = parts["scheme"].lower(), parts["rest"].strip("/")
    if scheme == "file":
        return LocalStore(Path("/") / rest)
    if scheme not in _SCHEMES or not rest or re.search(r"[?#\x00-\x1f]", rest):
        msg = f"storage {place}: expected a local folder, s3://bucket/folder or gs://bucket/folder"
        raise UnusableInput(msg)
    return BucketStore(f"{scheme}://{rest}")


def is_local(place: Place) -> bool:
    """Say whether a path or URL names a place on this machine's disks."""
    return open_store(place).folder is not None
