"""Catalogue row -> the frozen values that a poster passes through on its way into a shard."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class Status(StrEnum):
    """Where a requested poster ended."""

    OK = "ok"
    FAILED = "failed"


class Reason(StrEnum):
    """Why a poster could not be stored or scored. One enum for the whole of keyart."""

    NOT_FOUND = "not_found"
    """404 or 410."""
    REFUSED = "refused"
    """Any other 4xx."""
    RATE_LIMITED = "rate_limited"
    """429 until the attempts were used up."""
    SERVER_ERROR = "server_error"
    """5xx until the attempts were used up."""
    TIMEOUT = "timeout"
    """A deadline passed: connect, first byte, idle or total."""
    CONNECTION = "connection"
    """The connection was refused, reset or cut short."""
    DNS = "dns"
    """The host name did not resolve."""
    TLS = "tls"
    """The certificate or the handshake was not accepted."""
    REDIRECT = "redirect"
    """Too many redirects, or one to an address that is not allowed."""
    ADDRESS = "address"
    """The host is at a private, loopback or otherwise not public address, which was not allowed."""
    ROBOTS = "robots"
    """The host's robots.txt does not allow it."""
    PROTOCOL = "protocol"
    """The answer was not usable HTTP: malformed, oversized headers, or an unexpected status."""
    BAD_URL = "bad_url"
    """Not an absolute http or https URL."""
    TOO_LARGE = "too_large"
    """More bytes or more pixels than the limits allow."""
    NOT_AN_IMAGE = "not_an_image"
    """The bytes do not begin like any image format that is accepted."""
    CORRUPT = "corrupt"
    """An image by its header that does not decode to the end."""
    UNCHANGED = "unchanged"
    """304: what is stored is what the host has. Ends a refresh, and stands in no sidecar."""
    REMOVED = "removed"
    """Taken out of the archive on request; never fetched again."""
    MISSING = "missing"
    """The archive or folder names it, and its bytes are not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PosterRequest:
    """One poster that is to be fetched."""

    movie_id: int
    """TMDb id; the key of the poster everywhere."""
    url: str
    """Absolute http or https URL."""
    etag: str | None = None
    """Of the poster that is stored already; a host that still has it answers 304."""
    last_modified: str | None = None
    """Of the poster that is stored already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A complete response body, not yet looked at."""

    request: PosterRequest
    body: bytes
    http_status: int
    attempts: int
    fetched_at: datetime
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A poster that could not be had, as a value."""

    request: PosterRequest
    reason: Reason
    attempts: int
    fetched_at: datetime
    http_status: int | None = None

    @property
    def movie_id(self) -> int:
        """TMDb id."""
        return self.request.movie_id


@dataclass(frozen=True, slots=True, kw_only=True)
class PosterRecord:
    """A poster that decoded to the end and may enter a shard."""

    fetched: Fetched
    height: int
    """Pixels, as stored (before any EXIF rotation)."""
    width: int
    sha256: str
    """Hex digest of the body."""
    dhash: int
    """64-bit difference hash of the picture, unsigned."""

    @property
    def movie_id(self) -> int:
        """TMDb id."""
        return self.fetched.request.movie_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """The posters that one shard consists of; small enough to be sent to any worker."""

    name: str
    """File stem, ``shard-00042``."""
    requests: tuple[PosterRequest, ...]
    """In ``movie_id`` order."""
    revisit: bool = False
    """Whether the shard exists, and ``requests`` are only those of its posters that are asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReceipt:
    """What a finished shard reports to the driver; no poster bytes in it."""

    name: str
    ok: int
    failed: Mapping[Reason, int]
    """Failures by reason; reasons that did not occur are left out."""
    size_bytes: int
    """Of the tar."""
    sha256: str
    """Of the tar."""
