"""The crawling benchmark stores what it counts, over http and https."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.crawl_contenders import Crawler, Host, host
from benchmarks.crawling import DISCARD, KEEP, LOOKED_AT, OURS, READ, measure
from benchmarks.posters import find_posters
from crawler.errors import WorkFailed

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from benchmarks.findings import Options


@pytest.fixture
def at(options: Options) -> Generator[Host]:
    """A host of drawn posters over http."""
    source = find_posters(None, 32, options.cache)
    with host(source.paths[0].parent, None) as found:
        yield found


@pytest.mark.cluster
def test_quick_form_crawls_over_http_and_https(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scheme has what may leave posters unread and what may not; planning a large crawl is told beside it."""
    monkeypatch.setenv("SSL_CERT_FILE", "")
    found = measure(options)
    cells = {(row.cell["scheme"], row.cell["asked"], row.name) for row in found.rows}
    assert {(scheme, READ, name) for scheme in ("http", "https") for name in (OURS, KEEP, DISCARD)} <= cells
    assert ("https", LOOKED_AT, OURS) in cells
    assert all(lap.wall_s > 0 and lap.cpu_s > 0 for row in found.rows for lap in row.laps)
    assert found.tables[0].rows[0][0] == "100,000"


def test_a_lap_begins_with_the_first_request(at: Host, tmp_path: Path) -> None:
    """A contender's own start is not taken for slowness: here nobody asks, and the clock has nothing to say."""
    assert at.first_request_s() == 0.0
    crawler = Crawler(name="nobody", host=at, posters=1, scratch=tmp_path, fetch=lambda *_: (0, 0.0))
    with pytest.raises(WorkFailed, match="nobody: stored 0 of 1 posters"):
        crawler.lap()
