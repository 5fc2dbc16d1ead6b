"""Poster request -> a complete response body, or the reason why there is none. The only file with an HTTP client."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
import ssl
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
from yarl import URL

from crawler.errors import UnusableInput
from crawler.politeness import Gate, Turn
from crawler.records import Failure, Fetched, PosterRequest, Reason
from crawler.robots import SIZE_LIMIT_BYTES, Robots

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

USER_AGENT: Final = "keyart/0.1 (+https://github.com/keyart/keyart)"
"""Who asks, and where to complain; ``FetchOptions.user_agent`` replaces it."""

PASSING: Final = frozenset(
    {
        Reason.TIMEOUT,
        Reason.CONNECTION,
        Reason.DNS,
        Reason.RATE_LIMITED,
        Reason.SERVER_ERROR,
    }
)
"""Reasons that may be gone a moment later; only these are tried again."""

LARGE_BYTES: Final = SIZE_LIMIT_BYTES
"""A body beyond this is large; the posters of a crawl are not, at any width but the original one."""
LARGE_AT_ONCE: Final = 8
"""Large bodies in memory; others wait unread in their sockets. 64 connections hold 32 MiB of them, 32 besides."""

_ERRORS: Final[tuple[tuple[tuple[type[Exception], ...], Reason], ...]] = (
    ((TimeoutError,), Reason.TIMEOUT),
    ((aiohttp.ClientConnectorDNSError,), Reason.DNS),
    ((aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError), Reason.TLS),
    ((aiohttp.ClientResponseError,), Reason.PROTOCOL),
    ((aiohttp.InvalidURL, ValueError), Reason.BAD_URL),
)
"""What an exception means, most special first."""

_TROUBLE: Final = frozenset({Reason.TIMEOUT, Reason.CONNECTION, Reason.SERVER_ERROR, Reason.RATE_LIMITED})
"""What slows a host down."""
_PUSHED_BACK: Final = frozenset({429, 503})

_OK: Final = 200
_UNCHANGED: Final = 304
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_GONE: Final = frozenset({404, 410})
_NOT_PUBLIC: Final = "the host's address is not public"
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_PASSING_STATUSES: Final = {408: Reason.TIMEOUT, 425: Reason.RATE_LIMITED, 429: Reason.RATE_LIMITED}


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """How one poster is asked for. Every wait has an end."""

    attempts: int = 5
    """Of one poster, the first included."""
    backoff_s: float = 0.5
    """Longest wait before the second attempt; it doubles with each, and a random share of it is waited."""
    longest_backoff_s: float = 30.0
    connect_s: float = 10.0
    """To a connected socket, TLS included."""
    first_byte_s: float = 15.0
    """From the start of an attempt to the complete response headers."""
    idle_s: float = 10.0
    """Between two pieces of the body."""
    attempt_s: float = 60.0
    """One attempt, redirects included."""
    poster_s: float = 180.0
    """All attempts and the waits between them; waiting for the rate limit is not counted."""
    redirects: int = 5
    body_limit_bytes: int = 4 * 2**20
    allow_private: bool = False
    """Whether loopback, private and link-local addresses may be asked."""
    insecure_host: str | None = None
    """The one host whose TLS certificate is not verified."""
    ignore_robots: bool = False
    """Only for hosts whose owner agreed."""
    user_agent: str = USER_AGENT

    def __post_init__(self) -> None:
        """Refuse limits below 0, and a fetch without any attempt."""
        if self.attempts < 1:
            msg = f"attempts {self.attempts}: expected 1 or more"
            raise UnusableInput(msg)
        for name in ("backoff_s", "connect_s", "first_byte_s", "idle_s", "attempt_s", "poster_s", "body_limit_bytes"):
            if getattr(self, name) <= 0:
                msg = f"{name} {getattr(self, name)}: expected a number above 0"
                raise UnusableInput(msg)


class Fetcher:
    """One session, one TLS context and one DNS cache for many posters.

    Example:
        >>> async def one() -> Fetched | Failure:
        ...     async with Fetcher(FetchOptions(), connections=4) as fetcher:
        ...         return await fetcher.fetch(PosterRequest(movie_id=862, url="file:///etc/passwd"))
        >>> asyncio.run(one()).reason
        <Reason.BAD_URL: 'bad_url'>
    """

    def __init__(self, options: FetchOptions, connections: int, gate: Gate | None = None) -> None:
        """Prepare; nothing is opened before ``open``.

        Args:
            options: Deadlines and limits.
            connections: Sockets open at once.
            gate: Lets each request pass when its host may be asked; None lets all pass.
        """
        self._options = options
        self._connections = connections
        self._gate = gate
        self._robots: dict[tuple[str, str], asyncio.Task[Robots | Reason]] = {}
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Open the session in the running event loop."""
        options = self._options
        connector = aiohttp.TCPConnector(
            limit=self._connections,
            ssl=ssl.create_default_context(),
            ttl_dns_cache=300,
            keepalive_timeout=30,
            socket_factory=None if options.allow_private else _public_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            # Bytes are kept as they came: a compressed body is not an image, and cannot blow up in memory.
            auto_decompress=False,
            headers={"User-Agent": options.user_agent, "Accept": "image/*", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(sock_connect=options.connect_s, sock_read=options.idle_s),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the session and its connections."""
        await self._session.close()

    async def fetch(self, request: PosterRequest) -> Fetched | Failure:
        """Fetch one poster, with as many attempts as it takes and the options allow; see ``release`` for the body."""
        options = self._options
        left_s = options.poster_s
        attempts = 0
        while True:
            attempts += 1
            answer = await self._follow(request.url, min(options.attempt_s, left_s), _conditions(request))
            if answer.reason is None:
                return Fetched(
                    request=request,
                    body=answer.body,
                    http_status=_OK,
                    attempts=attempts,
                    fetched_at=datetime.now(UTC),
                    etag=answer.headers.get("ETag"),
                    last_modified=answer.headers.get("Last-Modified"),
                )
            wait_s = _backoff(attempts, options)
            left_s -= answer.took_s + wait_s
            if answer.final or answer.reason not in PASSING or attempts == options.attempts or left_s <= 0:
                return Failure(
                    request=request,
                    reason=answer.reason,
                    attempts=attempts,
                    fetched_at=datetime.now(UTC),
                    http_status=answer.status,
                )
            await asyncio.sleep(wait_s)

    def release(self, outcome: Fetched | Failure) -> None:
        """Say that a body that ``fetch`` returned is in safe hands, so that another large one may come."""
        if isinstance(outcome, Fetched) and len(outcome.body) > LARGE_BYTES:
            self._large.release()

    async def _follow(
        self, url: str, left_s: float, conditions: Mapping[str, str] | None = None, *, robots: bool = False
    ) -> _Answer:
        """Ask once, along redirects; what goes wrong between here and the other side is an answer too."""
        took_s = 0.0
        answer = _Answer(reason=Reason.REDIRECT)
        for hop in range(self._options.redirects + 1):
            target = _target(url)
            if target is None:
                reason = Reason.REDIRECT if hop else Reason.BAD_URL
                return _Answer(reason=reason, took_s=took_s)
            if not robots and (refusal := await self._refusal(target)) is not None:
                return _Answer(reason=refusal, took_s=took_s)
            limit_bytes = SIZE_LIMIT_BYTES if robots else self._options.body_limit_bytes
            answer = await self._turn(target, left_s - took_s, limit_bytes, conditions)
            took_s += answer.took_s
            if answer.status not in _REDIRECTS:
                return answer if hop == 0 else replace(answer, took_s=took_s)
            url = _joined(target, answer.headers.get("Location", ""))
        return replace(answer, took_s=took_s)

    async def _refusal(self, target: URL) -> Reason | None:
        """Say why robots.txt forbids a request; it is read once per host and process."""
        if self._options.ignore_robots:
            return None
        origin = (target.scheme, target.raw_authority)
        asked = self._robots.get(origin)
        if asked is None:
            asked = self._robots[origin] = asyncio.create_task(self._read_robots(str(target.origin())))
        robots = asked.result() if asked.done() else await asyncio.shield(asked)
        if isinstance(robots, Reason):
            self._robots.pop(origin, None)  # unreachable: the next attempt asks again
            return robots
        return None if robots.allows(target.raw_path_qs) else Reason.ROBOTS

    async def _read_robots(self, origin: str) -> Robots | Reason:
        answer = await self._follow(f"{origin}/robots.txt", self._options.attempt_s, robots=True)
        if answer.reason is None:
            product = self._options.user_agent.partition("/")[0].split()[0]
            return Robots.parse(answer.body.decode("utf-8", "replace"), product)
        # RFC 9309, 2.3.1.3: a host that answers that it has none allows everything.
        return Robots() if answer.reason in (Reason.NOT_FOUND, Reason.REFUSED) else answer.reason

    async def _turn(
        self, target: URL, left_s: float, limit_bytes: int, conditions: Mapping[str, str] | None
    ) -> _Answer:
        """Wait for the host's permission, ask, and say how it went."""
        host = target.host or ""
        if self._gate is not None and (refusal := await self._gate.enter(host)) is not None:
            return _Answer(reason=refusal, final=True)
        clock = asyncio.get_running_loop().time
        started_s = clock()
        answer = _Answer(reason=Reason.CONNECTION)
        try:
            async with asyncio.timeout(left_s):
                answer = await self._get(target, limit_bytes, conditions)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            status = error.status if isinstance(error, aiohttp.ClientResponseError) else None
            answer = _Answer(reason=_reason_of_error(error), status=status or None)
        finally:
            took_s = clock() - started_s
            if self._gate is not None:
                pushed_back = answer.status in _PUSHED_BACK
                trouble = answer.reason if answer.reason in _TROUBLE else None
                wait_s = answer.retry_after_s if pushed_back else 0.0
                turn = Turn(latency_s=took_s, trouble=trouble, pushed_back=pushed_back, retry_after_s=wait_s)
                self._gate.leave(host, turn)
        return replace(answer, took_s=took_s)

    async def _get(self, target: URL, limit_bytes: int, conditions: Mapping[str, str] | None) -> _Answer:
        options = self._options
        verified = target.host != options.insecure_host
        async with asyncio.timeout(options.first_byte_s):
            response = await self._session.get(target, headers=conditions, allow_redirects=False, ssl=verified)
        try:
            if response.status in _REDIRECTS:
                return _Answer(status=response.status, headers=response.headers, reason=Reason.REDIRECT)
            if response.status != _OK:
                wait_s = retry_after(response.headers.get("Retry-After"))
                return _Answer(status=response.status, reason=_reason_of(response.status), retry_after_s=wait_s)
            if (response.content_length or 0) > limit_bytes:
                return _Answer(status=_OK, reason=Reason.TOO_LARGE)
            body = await self._read(response.content, limit_bytes)
            if body is None:
                return _Answer(status=_OK, reason=Reason.TOO_LARGE)
            return _Answer(status=_OK, headers=response.headers, body=body)
        finally:
            # A body read to its end leaves the connection open for the next poster; anything else closes it.
            response.release() if response.content.is_eof() else response.close()

    async def _read(self, content: aiohttp.StreamReader, limit_bytes: int) -> bytes | None:
        """Read a body of at most ``limit_bytes``; None where it is longer."""
        pieces: list[bytes] = []
        size_bytes, large = 0, False
        try:
            async for piece in content.iter_any():
                size_bytes += len(piece)
                if size_bytes > limit_bytes:
                    return None
                pieces.append(piece)
                if size_bytes > LARGE_BYTES and not large:
                    await self._large.acquire()
                    large = True
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            large = False  # from here on the caller answers for it
            return body
        finally:
            if large:
                self._large.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """One attempt's end; without a reason it is a success."""

    reason: Reason | None = None
    status: int | None = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    retry_after_s: float = 0.0
    took_s: float = 0.0
    final: bool = False
    """The host is not asked any more: another attempt would not be sent."""


class _NotPublicError(OSError):
    """Raised in place of a socket to an address that is not public."""


def _public_socket(address: tuple[Any, ...]) -> socket.socket:
    """Open a socket for the very address that is connected to, so that no later DNS answer can differ from it."""
    family, kind, protocol, _, where = address
    if not is_public(where[0]):
        raise _NotPublicError(_NOT_PUBLIC)
    return socket.socket(family, kind, protocol)


def is_public(address: str) -> bool:
    """Say whether an IP address is a public one, also where IPv6 wraps an IPv4 address.

    Example:
        >>> [is_public(address) for address in ("8.8.8.8", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1")]
        [True, False, False, False]
    """
    number = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(number, ipaddress.IPv6Address):
        inner = [number.ipv4_mapped, number.sixtofour, *(number.teredo or ())]
        if number in _NAT64:
            inner.append(ipaddress.IPv4Address(int(number) & 0xFFFFFFFF))
        if any(wrapped is not None and not is_public(str(wrapped)) for wrapped in inner):
            return False
        if number.ipv4_mapped is not None:
            return True
    return number.is_global and not number.is_multicast


def _conditions(request: PosterRequest) -> Mapping[str, str] | None:
    """Ask for a poster only if it is another one than what is stored."""
    conditions = {"If-None-Match": request.etag, "If-Modified-Since": request.last_modified}
    return {name: value for name, value in conditions.items() if value} or None


def _reason_of(status: int) -> Reason:
    if status == _UNCHANGED:
        return Reason.UNCHANGED
    if status in _GONE:
        return Reason.NOT_FOUND
    if status in _PASSING_STATUSES:
        return _PASSING_STATUSES[status]
    if 400 <= status < 500:  # noqa: PLR2004  the classes of HTTP
        return Reason.REFUSED
    return Reason.SERVER_ERROR if 500 <= status < 600 else Reason.PROTOCOL  # noqa: PLR2004


def _reason_of_error(error: Exception) -> Reason:
    for kinds, reason in _ERRORS:
        if isinstance(error, kinds):
            return reason
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, _NotPublicError):
        return Reason.ADDRESS
    return Reason.CONNECTION


def retry_after(header: str | None) -> float:
    """Read a Retry-After header in either form (RFC 9110, 10.2.3).

    Returns:
        Seconds to wait; 0 where the header is missing, unreadable or in the past.
    """
    if not header:
        return 0.0
    if header.strip().isdecimal():
        return float(header)
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _backoff(attempts: int, options: FetchOptions) -> float:
    """Exponential backoff with full jitter: a random share of a doubling wait."""
    longest = min(options.longest_backoff_s, options.backoff_s * 2 ** (attempts - 1))
    return random.uniform(0, longest)  # noqa: S311  spreads load, keeps no secret


def _target(url: str) -> URL | None:
    """Parse an absolute http or https URL; None for anything else."""
    try:
        target = URL(url)
    except ValueError:
        return None
    return target if target.scheme in ("http", "https") and target.host else None


def _joined(base: URL, location: str) -> str:
    """Resolve a redirect; what cannot be resolved becomes a URL that is refused."""
    try:
        return str(base.join(URL(location)))
    except ValueError:
        return ""
