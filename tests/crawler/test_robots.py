"""robots.txt is read as RFC 9309 has it, and obeyed unless the caller says otherwise."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from crawler.fetch import Fetcher, FetchOptions
from crawler.records import Failure, Fetched, PosterRequest, Reason
from crawler.robots import Robots

EXAMPLE = """\
User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
"""
"""The example of RFC 9309, 5.1."""


@pytest.mark.parametrize(
    ("agent", "path", "allowed"),
    [
        ("foobot", "/example/page.html", True),
        ("foobot", "/example/allowed.gif", True),
        ("foobot", "/other", False),
        ("FooBot", "/other", False),
        ("barbot", "/example/page.html", False),
        ("bazbot", "/example/page.html", False),
        ("bazbot", "/example/other", True),
        ("quxbot", "/example/", True),
        ("keyart", "/example/", False),
        ("keyart", "/a/b.gif", False),
        ("keyart", "/a/b.gif?x", True),
        ("keyart", "/robots.txt", True),
    ],
)
def test_the_example_of_the_rfc(agent: str, path: str, allowed: bool) -> None:  # noqa: FBT001
    """The group of the named agent holds alone; without one, the group for all."""
    assert Robots.parse(EXAMPLE, agent).allows(path) is allowed


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        ("Disallow: /example\nAllow: /example/page.gif", "/example/page.gif", True),
        ("Disallow: /p\nAllow: /p", "/poster.jpg", True),
        ("Disallow:", "/a", True),
        ("Disallow: /a/*/c$", "/a/b/c", False),
        ("Disallow: /a/*/c$", "/a/b/cd", True),
        ("Disallow: /foo/bar?baz=https://foo.bar", "/foo/bar?baz=https://foo.bar", False),
        ("Disallow: /%66oo", "/foo", False),
        ("Disallow: /ツ", "/%E3%83%84", False),
        ("Disallow: /a # why", "/ab", False),
        ("Nonsense\nDisallow: /a", "/a", False),
    ],
)
def test_the_longest_rule_decides(rules: str, path: str, allowed: bool) -> None:  # noqa: FBT001
    """Longest match, allow on a tie, `*` and `$`, escapes in any spelling, comments and noise."""
    assert Robots.parse(f"User-agent: *\n{rules}", "keyart").allows(path) is allowed


@given(st.text(), st.text(max_size=30))
def test_no_file_raises(text: str, path: str) -> None:
    """Any text is a robots.txt, and any path has an answer."""
    assert Robots.parse(text, "keyart").allows(path) in (True, False)


def test_a_pattern_cannot_take_forever() -> None:
    """Many stars are matched in time that grows with the text, not with its power."""
    robots = Robots.parse("User-agent: *\nDisallow: " + "/*a" * 5_000 + "$", "keyart")
    assert robots.allows("/" + "a/" * 20_000)


async def _fetch(status: int, text: str, *, ignore: bool = False) -> tuple[Fetched | Failure, list[str]]:
    asked: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request.path)
        return web.Response(status=status, text=text) if request.path == "/robots.txt" else web.Response(body=b"poster")

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    options = FetchOptions(attempts=2, backoff_s=0.01, allow_private=True, ignore_robots=ignore)
    try:
        async with Fetcher(options, connections=2) as fetcher:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/w185/a.jpg"
            await fetcher.fetch(PosterRequest(movie_id=1, url=url))
            return await fetcher.fetch(PosterRequest(movie_id=2, url=url)), asked
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "text", "reason", "requests"),
    [
        (200, "User-agent: keyart\nDisallow: /w185/", Reason.ROBOTS, 1),
        (200, "User-agent: other\nDisallow: /", None, 3),
        (404, "", None, 3),
        (403, "", None, 3),
        (500, "", Reason.SERVER_ERROR, 4),
    ],
)
def test_robots_decide_before_the_poster_is_asked_for(
    status: int, text: str, reason: Reason | None, requests: int
) -> None:
    """It is read once; a refusal asks for no poster; no file allows all; a broken host allows nothing."""
    outcome, asked = asyncio.run(_fetch(status, text))
    assert (outcome.reason if isinstance(outcome, Failure) else None) is reason
    assert len(asked) == requests
    assert ("/w185/a.jpg" in asked) is (reason is None)


def test_robots_can_be_ignored() -> None:
    """Where the owner agreed, nothing is asked but the poster."""
    outcome, asked = asyncio.run(_fetch(200, "User-agent: *\nDisallow: /", ignore=True))
    assert isinstance(outcome, Fetched)
    assert asked == ["/w185/a.jpg"] * 2
