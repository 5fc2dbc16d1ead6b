"""One plan becomes one shard, whatever memory there is for it."""

from __future__ import annotations

import io
import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from crawler.crawl import CrawlOptions, ShardCrawler
from crawler.errors import UnusableInput
from crawler.fetch import FetchOptions
from crawler.frontier import revisits
from crawler.origin import PosterServer
from crawler.politeness import LocalLedger
from crawler.records import PosterRequest, Reason, ShardPlan
from crawler.shards import ShardReader, read_sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crawler.records import ShardReceipt


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


def revisit(folder: Path, reasons: tuple[str, ...] = ()) -> ShardReceipt:
    """Ask again for the stored posters of the one shard, or for the failed ones."""
    (again,) = revisits(["shard-00000"], partial(read_sidecar, folder), reasons)
    with ShardCrawler(options(), LocalLedger()) as crawler:
        return crawler.crawl(again, folder)


def test_failed_posters_are_repaired_in_place(tmp_path: Path) -> None:
    """Only what failed is asked for, and the shard becomes the one of a crawl without failures."""
    posters = {name: body for name, body in POSTERS.items() if name not in ("3.jpg", "7.jpg")}
    with PosterServer(posters) as server:
        (tmp_path / "a").mkdir()
        with ShardCrawler(options(), LocalLedger()) as crawler:
            first = crawler.crawl(plan(server), tmp_path / "a")
        assert first.failed == {Reason.NOT_FOUND: 3}
        asked = len(server.requested)
        posters |= POSTERS
        repaired = revisit(tmp_path / "a", (Reason.NOT_FOUND,))
        assert sorted(server.requested[asked:]) == ["/3.jpg", "/40.jpg", "/7.jpg"]
        (tmp_path / "b").mkdir()
        with ShardCrawler(options(), LocalLedger()) as crawler:
            assert crawler.crawl(plan(server), tmp_path / "b") == repaired


def test_a_refresh_stores_what_changed_and_marks_what_is_gone(tmp_path: Path) -> None:
    """Unchanged posters cost a 304; a changed one is a new version; a vanished one leaves a row and no bytes."""
    posters = dict(POSTERS)
    with PosterServer(posters) as server:
        with ShardCrawler(options(), LocalLedger()) as crawler:
            first = crawler.crawl(plan(server), tmp_path)
        assert revisit(tmp_path) == first
        posters["5.jpg"] = noise(999)
        del posters["6.jpg"]
        second = revisit(tmp_path)
    assert (second.ok, second.failed) == (39, {Reason.NOT_FOUND: 2})
    rows = {row["movie_id"]: row for row in read_sidecar(tmp_path, "shard-00000").iter_rows(named=True)}
    assert (rows[6]["status"], rows[6]["reason"], rows[6]["offset_bytes"]) == ("failed", "not_found", None)
    with ShardReader(tmp_path / "shard-00000.tar") as shard:
        for number in (4, 5, 39):
            body = shard.read(rows[number]["offset_bytes"], rows[number]["size_bytes"])
            assert body == (noise(999) if number == 5 else POSTERS[f"{number}.jpg"])


def test_a_refresh_keeps_what_cannot_be_asked(tmp_path: Path) -> None:
    """A host that is away takes no poster away."""
    with PosterServer(POSTERS) as server, ShardCrawler(options(), LocalLedger()) as crawler:
        first = crawler.crawl(plan(server), tmp_path)
    away = FetchOptions(allow_private=True, attempts=1, ignore_robots=True)
    (again,) = revisits(["shard-00000"], partial(read_sidecar, tmp_path), ())
    gone = CrawlOptions(rate=math.inf, connections=8, workers=1, fetch=away)
    with ShardCrawler(gone, LocalLedger()) as crawler:
        assert crawler.crawl(again, tmp_path) == first


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"rate": math.nan}, "--rate nan: expected requests per second above 0"),
        ({"retry_failed": ("never",)}, "--retry-failed never: no such reason; expected all, or some of not_found"),
        ({"retry_failed": ("dns",), "refresh": True}, "--refresh: cannot be combined with --retry-failed"),
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
