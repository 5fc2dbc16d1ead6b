"""A URL of S3 or Google Cloud Storage -> a store of named objects. The only file that knows obstore.

An object is one PUT or one completed multipart upload, which both stores show only when it is complete.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import obstore
from obstore import exceptions as bucket_errors
from obstore.store import GCSStore, S3Store

from crawler.disk import missing_object, refused_object
from crawler.errors import UnusableInput, WorkFailed

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from obstore import ObjectMeta
    from obstore.store import ClientConfig, RetryConfig

_ENVIRONMENT: Final = ("AWS_", "GOOGLE_")
_RETRIES: Final = 5
_RETRY_S: Final = 60
_REQUEST_S: Final = 120
"""One request, the upload of a part included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Which of an object's versions is there."""

    tag: str
    """ETag: another one after every change."""
    modified_at: datetime
    """By the clock of the store."""


@dataclass(frozen=True)
class BucketStore:
    """A folder of a bucket; it can be sent to another process, which connects for itself."""

    url: str
    guard: tuple[str, str] | None = None
    """URL of the archive that this is a part of, and who holds its lease (``crawler.lease``)."""

    @property
    def folder(self) -> None:
        """Nothing that could be mapped."""
        return None

    def within(self, name: str) -> BucketStore:
        """Open a folder in it."""
        return BucketStore(f"{self.url}/{name}", self.guard)

    def held_by(self, archive_url: str, holder: str) -> BucketStore:
        """Open the same folder for the holder of an archive's lease."""
        return BucketStore(self.url, (archive_url, holder))

    def names(self) -> list[str]:
        """List the objects under its prefix, without what is below another slash."""
        try:
            listed = obstore.list_with_delimiter(self._bucket)
        except _FAILED as error:
            raise WorkFailed(refused_object(self.url, "listed", _first_line(error))) from error
        return sorted(entry["path"].rpartition("/")[2] for entry in listed["objects"])

    def exists(self, name: str) -> bool:
        """Say whether there is an object of this name."""
        return self.version(name) is not None

    def version(self, name: str) -> Version | None:
        """Say which version of an object is there; None where there is none."""
        try:
            found: ObjectMeta = obstore.head(self._bucket, name)
        except FileNotFoundError:
            return None
        except _FAILED as error:
            raise WorkFailed(refused_object(f"{self.url}/{name}", "read", _first_line(error))) from error
        return Version(tag=found["e_tag"] or "", modified_at=found["last_modified"])

    def read(self, name: str) -> bytes:
        """Read a whole object."""
        try:
            return bytes(obstore.get(self._bucket, name).bytes())
        except FileNotFoundError as error:
            raise UnusableInput(missing_object(f"{self.url}/{name}")) from error
        except _FAILED as error:
            raise WorkFailed(refused_object(f"{self.url}/{name}", "read", _first_line(error))) from error

    def read_range(self, name: str, offset_bytes: int, size_bytes: int) -> bytes:
        """Read a part of an object."""
        if not size_bytes:
            return b""
        try:
            return bytes(obstore.get_range(self._bucket, name, start=offset_bytes, length=size_bytes))
        except FileNotFoundError as error:
            raise UnusableInput(missing_object(f"{self.url}/{name}")) from error
        except _FAILED as error:
            if "416" in str(error):  # it ends before the range begins
                return b""
            raise WorkFailed(refused_object(f"{self.url}/{name}", "read", _first_line(error))) from error

    def copy_to(self, name: str, path: Path) -> None:
        """Read an object into a local file, piece by piece."""
        try:
            pieces = obstore.get(self._bucket, name).stream()
            with path.open("wb") as stream:
                for piece in pieces:
                    stream.write(piece)
        except FileNotFoundError as error:
            raise UnusableInput(missing_object(f"{self.url}/{name}")) from error
        except _FAILED as error:
            raise WorkFailed(refused_object(f"{self.url}/{name}", "read", _first_line(error))) from error

    def put(self, name: str, body: bytes) -> str:
        """Write an object with one PUT; returns its tag."""
        return self._put(name, body)

    def put_file(self, name: str, path: Path) -> str:
        """Write an object with one PUT or one multipart upload; returns its tag."""
        return self._put(name, path)

    def put_new(self, name: str, body: bytes) -> str | None:
        """Write an object if there is none; returns its tag, or None where another one was first."""
        try:
            return obstore.put(self._bucket, name, body, mode="create")["e_tag"] or ""
        except bucket_errors.AlreadyExistsError:
            return None
        except _FAILED as error:
            raise WorkFailed(refused_object(f"{self.url}/{name}", "written", _first_line(error))) from error

    def put_over(self, name: str, body: bytes, tag: str) -> str | None:
        """Write an object over the version with this tag; returns the new tag, or None where it is another one now."""
        try:
            return obstore.put(self._bucket, name, body, mode={"e_tag": tag})["e_tag"] or ""
        except (bucket_errors.PreconditionError, FileNotFoundError):
            return None
        except _FAILED as error:
            raise WorkFailed(refused_object(f"{self.url}/{name}", "written", _first_line(error))) from error

    def delete(self, name: str) -> None:
        """Remove an object."""
        try:
            obstore.delete(self._bucket, name)
        except FileNotFoundError:
            return
        except _FAILED as error:
            raise WorkFailed(refused_object(f"{self.url}/{name}", "deleted", _first_line(error))) from error

    def _put(self, name: str, body: bytes | Path) -> str:
        try:
            return obstore.put(self._bucket, name, body)["e_tag"] or ""
        except (*_FAILED, FileNotFoundError) as error:
            raise WorkFailed(refused_object(f"{self.url}/{name}", "written", _first_line(error))) from error

    @property
    def _bucket(self) -> S3Store | GCSStore:
        own = tuple(sorted(pair for pair in os.environ.items() if pair[0].startswith(_ENVIRONMENT)))
        return _connect(self.url, own)


_FAILED: Final = (bucket_errors.BaseError, OSError, ValueError)
"""How obstore says that a store refused or could not be reached."""


@functools.lru_cache(maxsize=32)
def _connect(url: str, environment: tuple[tuple[str, str], ...]) -> S3Store | GCSStore:
    """Prepare a client; it keeps its connections from one call to the next."""
    values = dict(environment)
    endpoint = values.get("AWS_ENDPOINT_URL_S3") or values.get("AWS_ENDPOINT_URL") or values.get("AWS_ENDPOINT") or ""
    client: ClientConfig = {"timeout": timedelta(seconds=_REQUEST_S), "allow_http": endpoint.startswith("http://")}
    retries: RetryConfig = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_S)}
    try:
        if url.startswith("gs://"):
            return GCSStore.from_url(url, client_options=client, retry_config=retries)
        region = values.get("AWS_REGION") or values.get("AWS_DEFAULT_REGION") or "us-east-1"
        if endpoint:
            return S3Store.from_url(url, region=region, endpoint=endpoint, client_options=client, retry_config=retries)
        return S3Store.from_url(url, region=region, client_options=client, retry_config=retries)
    except (*_FAILED, FileNotFoundError) as error:
        msg = f"storage {url}: cannot be opened ({_first_line(error)}); check the URL and the credentials"
        raise UnusableInput(msg) from error


def _first_line(error: Exception) -> str:
    """Say in a few words what went wrong: bucket errors come with pages of debug text and XML."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    code = re.search(r"<Code>(\w+)</Code>", text)
    return f"{line.partition(': <?xml')[0][-160:]}{f', {code[1]}' if code else ''}"
