"""A list may name files and URLs; each entry has its bytes or its reason, however the web behaves."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from crawler.fetch import FetchOptions
from crawler.records import Reason
from serving.lists import AHEAD, ListChunk, Reaching
from tests.serving.posters import poster

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

asked: Counter[str] = Counter()
REACHING = Reaching(rate=float("inf"), fetch=FetchOptions(allow_private=True, body_limit_bytes=50_000, attempts=1))


class Web(BaseHTTPRequestHandler):
    """Answers with the poster of a number, with too much, or with 404."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        asked[self.path] += 1
        name = self.path.strip("/")
        body = poster(int(name)) if name.isdecimal() else b"x" * 60_000
        self.send_response(404 if name in {"gone", "robots.txt"} else 200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def web() -> Generator[str]:
    """The address of a server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def chunk(root: Path, *entries: str, reaching: Reaching = REACHING) -> ListChunk:
    """A chunk of a list."""
    return ListChunk(name="part-00000", root=root, entries=entries, reaching=reaching)


def test_files_and_urls_stand_side_by_side(web: str, tmp_path: Path) -> None:
    """Bodies are whole; what is gone, too large or not there has its reason."""
    (tmp_path / "a.jpg").write_bytes(b"file")
    with chunk(tmp_path, "a.jpg", f"{web}/7", f"{web}/gone", f"{web}/large", "b.jpg").open() as posters:
        found = [posters.read(index) for index in range(len(posters))]
        assert found == [b"file", poster(7), Reason.NOT_FOUND, Reason.TOO_LARGE, Reason.MISSING]
        assert posters.sources[1] == f"{web}/7"


def test_every_url_is_fetched_once_and_only_a_little_ahead(web: str, tmp_path: Path) -> None:
    """Threads that read batches in any order get the right bodies; what is not read is not fetched to the end."""
    entries = [f"{web}/{index + 1000}" for index in range(3 * AHEAD)]
    asked.clear()
    with chunk(tmp_path, *entries).open() as posters:
        assert posters.read(0) == poster(1000)
    assert sum(asked.values()) <= AHEAD + 3
    numbers = range(2000, 2000 + 3 * AHEAD)  # others: what was given up may still arrive
    with chunk(tmp_path, *(f"{web}/{number}" for number in numbers)).open() as posters, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(posters.read, range(len(numbers))))
    assert found == [poster(number) for number in numbers]
    assert {asked[f"/{number}"] for number in numbers} == {1}


def test_private_addresses_are_refused_unless_allowed(web: str, tmp_path: Path) -> None:
    """A list from elsewhere cannot make us ask our own network."""
    careful = Reaching(fetch=FetchOptions(attempts=1))
    with chunk(tmp_path, f"{web}/1", reaching=careful).open() as posters:
        assert isinstance(posters.read(0), Reason)


def test_other_entries_have_another_digest(tmp_path: Path) -> None:
    """A list that names another URL or file, or whose file has changed, is another source."""
    first = chunk(tmp_path, "a.jpg", "http://example.com/1")
    assert first.digest() != chunk(tmp_path, "a.jpg", "http://example.com/2").digest()
    before = first.digest()
    (tmp_path / "a.jpg").write_bytes(b"now")
    assert first.digest() != before
