"""A fetch ends in a body or in a reason, in bounded time, whatever the other side does."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from crawler.fetch import Fetcher, FetchOptions, is_public, retry_after
from crawler.records import Failure, Fetched, PosterRequest, Reason

QUICK = FetchOptions(
    attempts=2,
    backoff_s=0.01,
    first_byte_s=0.3,
    idle_s=0.3,
    attempt_s=1,
    poster_s=3,
    body_limit_bytes=10_000,
    allow_private=True,
    ignore_robots=True,
)


async def fetch(path: str, handler: object, options: FetchOptions = QUICK) -> Fetched | Failure:
    """Serve every path with one handler and fetch one of them."""
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with Fetcher(options, connections=2) as fetcher:
            port = runner.addresses[0][1]
            return await fetcher.fetch(PosterRequest(movie_id=1, url=f"http://127.0.0.1:{port}{path}"))
    finally:
        await runner.cleanup()


class Server:
    """One answer after the other; counts the requests."""

    def __init__(self, *answers: web.Response) -> None:
        """Remember the answers; the last one is repeated."""
        self.answers = list(answers)
        self.requests: list[web.BaseRequest] = []

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """Give the next answer."""
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


def test_a_body_comes_with_what_the_next_crawl_needs() -> None:
    """The bytes, the status, the attempts, and the validators of a conditional request."""
    headers = {"ETag": '"v1"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    server = Server(web.Response(body=b"poster", headers=headers))
    fetched = asyncio.run(fetch("/a.jpg", server))
    assert isinstance(fetched, Fetched)
    assert (fetched.body, fetched.http_status, fetched.attempts) == (b"poster", 200, 1)
    assert (fetched.etag, fetched.last_modified) == ('"v1"', "Thu, 01 Jan 2026 00:00:00 GMT")
    assert server.requests[0].headers["User-Agent"].startswith("keyart/")


@pytest.mark.parametrize(
    ("status", "reason", "attempts"),
    [
        (404, Reason.NOT_FOUND, 1),
        (410, Reason.NOT_FOUND, 1),
        (403, Reason.REFUSED, 1),
        (204, Reason.PROTOCOL, 1),
        (408, Reason.TIMEOUT, 2),
        (425, Reason.RATE_LIMITED, 2),
        (429, Reason.RATE_LIMITED, 2),
        (500, Reason.SERVER_ERROR, 2),
        (503, Reason.SERVER_ERROR, 2),
    ],
)
def test_only_what_can_pass_is_tried_again(status: int, reason: Reason, attempts: int) -> None:
    """The reason follows from the status; the attempts are counted by the server too."""
    server = Server(web.Response(status=status))
    failure = asyncio.run(fetch("/a.jpg", server))
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.http_status, failure.attempts) == (reason, status, attempts)
    assert len(server.requests) == attempts


def test_a_second_attempt_can_succeed() -> None:
    """A server error that passes leaves a poster with two attempts."""
    fetched = asyncio.run(fetch("/a.jpg", Server(web.Response(status=502), web.Response(body=b"poster"))))
    assert isinstance(fetched, Fetched)
    assert fetched.attempts == 2


def test_a_declared_or_real_flood_is_cut() -> None:
    """A body above the limit is refused by its declared length, and by its real one."""

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(1000))

    for handler in (Server(web.Response(body=bytes(10_001))), endless):
        failure = asyncio.run(fetch("/a.jpg", handler))
        assert isinstance(failure, Failure)
        assert (failure.reason, failure.attempts) == (Reason.TOO_LARGE, 1)


@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_stalling_server_is_a_timeout(where: str) -> None:
    """Neither missing headers nor a body that stops are waited for without end."""

    async def stall(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        if where == "body":
            await response.prepare(request)
            await response.write(b"x")
        await asyncio.sleep(5)
        return response

    started = time.monotonic()
    failure = asyncio.run(fetch("/a.jpg", stall))
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.attempts) == (Reason.TIMEOUT, 2)
    assert time.monotonic() - started < 3


def test_redirects_are_followed_to_an_end() -> None:
    """A redirect leads to the body; a loop, or one to a file, does not."""
    turn = web.Response(status=302, headers={"Location": "/b.jpg"})
    fetched = asyncio.run(fetch("/a.jpg", Server(turn, web.Response(body=b"poster"))))
    assert isinstance(fetched, Fetched)
    for location in ("/a.jpg", "file:///etc/passwd", "ftp://127.0.0.1/a.jpg"):
        failure = asyncio.run(fetch("/a.jpg", Server(web.Response(status=301, headers={"Location": location}))))
        assert isinstance(failure, Failure)
        assert failure.reason is Reason.REDIRECT


@pytest.mark.parametrize("url", ["", "a.jpg", "file:///etc/passwd", "ftp://host/a.jpg", "http://", "http://[::1/x"])
def test_what_is_no_url_is_never_asked(url: str) -> None:
    """Only absolute http and https URLs are requested."""

    async def one() -> Fetched | Failure:
        async with Fetcher(QUICK, connections=1) as fetcher:
            return await fetcher.fetch(PosterRequest(movie_id=1, url=url))

    failure = asyncio.run(one())
    assert isinstance(failure, Failure)
    assert failure.reason is Reason.BAD_URL


def test_a_private_address_is_not_connected_to() -> None:
    """Without the option, nothing on this machine is asked, and the server sees no request."""
    server = Server(web.Response(body=b"secret"))
    failure = asyncio.run(fetch("/a.jpg", server, FetchOptions(attempts=1)))
    assert isinstance(failure, Failure)
    assert failure.reason is Reason.ADDRESS
    assert not server.requests


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",  # noqa: S104
     "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "2002:7f00:1::",
     "64:ff9b::127.0.0.1", "2001:db8::1"],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    """Private, loopback, link-local, shared, multicast and documentation ranges, also inside IPv6."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_addresses_that_are_public(address: str) -> None:
    """What is left is the web."""
    assert is_public(address)


def test_retry_after_in_both_forms() -> None:
    """Seconds, or a date; nonsense and the past ask for nothing."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after("7") == 7
    assert 28 < retry_after(soon) <= 30
    assert [retry_after(header) for header in (None, "", "soon", "-3", "Thu, 01 Jan 2015 00:00:00 GMT")] == [0] * 5
