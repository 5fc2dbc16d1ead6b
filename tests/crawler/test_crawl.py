"""One plan becomes one shard, whatever memory there is for it."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from crawler.crawl import CrawlOptions, ShardCrawler
from crawler.errors import UnusableInput
from crawler.fetch import FetchOptions
from crawler.origin import PosterServer
from crawler.politeness import LocalLedger
from crawler.records import PosterRequest, Reason, ShardPlan
from crawler.shards import ShardReader, read_sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def noise(seed: int) -> bytes:
    """A JPEG of about 10 kB."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (80, 60, 3), np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


POSTERS = {f"{number}.jpg": noise(number) for number in range(40)}


@pytest.fixture(scope="module")
def server() -> Iterator[PosterServer]:
    """Forty posters."""
    with PosterServer(POSTERS) as running:
        yield running


def plan(server: PosterServer) -> ShardPlan:
    """Forty posters that are there and one that is not."""
    requests = (PosterRequest(movie_id=number, url=f"{server.base_url}/{number}.jpg") for number in range(41))
    return ShardPlan(name="shard-00000", requests=tuple(requests))


def options(**more: object) -> CrawlOptions:
    """As fast as a local server allows."""
    return CrawlOptions(rate=math.inf, connections=8, workers=1, fetch=FetchOptions(allow_private=True), **more)


def test_a_plan_becomes_a_shard_with_every_poster(server: PosterServer, tmp_path: Path) -> None:
    """The bytes in the shard are the server's; the missing poster is a row; one session serves several shards."""
    with ShardCrawler(options(), LocalLedger()) as crawler:
        receipt = crawler.crawl(plan(server), tmp_path)
        assert crawler.crawl(plan(server), tmp_path) == receipt
    assert (receipt.ok, receipt.failed) == (40, {Reason.NOT_FOUND: 1})
    with ShardReader(tmp_path / "shard-00000.tar") as shard:
        for row in read_sidecar(tmp_path, "shard-00000").drop_nulls("offset_bytes").iter_rows(named=True):
            assert shard.read(row["offset_bytes"], row["size_bytes"]) == POSTERS[f"{row['movie_id']}.jpg"]


def test_a_shard_beyond_the_memory_limit_is_the_same(server: PosterServer, tmp_path: Path) -> None:
    """Bodies that wait in a file give the same tar as bodies that wait in memory, and the file is gone after."""
    with ShardCrawler(options(), LocalLedger()) as crawler:
        receipt = crawler.crawl(plan(server), tmp_path)
    with ShardCrawler(options(spool_bytes=30_000), LocalLedger()) as crawler:
        assert crawler.crawl(plan(server), tmp_path) == receipt
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shard-00000.parquet", "shard-00000.tar"]


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"rate": math.nan}, "--rate nan: expected requests per second above 0"),
        ({"workers": 0}, "--workers 0: expected a whole number"),
        ({"image_base": "x"}, "--image-base x: expected an http or https URL"),
    ],
)
def test_unusable_options_are_refused(more: dict[str, object], line: str) -> None:
    """The message names the option as the command line has it."""
    with pytest.raises(UnusableInput, match=line):
        CrawlOptions(**more)


def test_a_worker_without_a_connection_does_not_start() -> None:
    """Connections are for all workers together, and each needs one."""
    few = CrawlOptions(connections=3, workers=8, rate=10)
    assert few.workers_used == 3
