"""A crawl over Ray resumes after any kill, and ends with the same tars as an undisturbed one."""

from __future__ import annotations

import fcntl
import hashlib
import io
import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from PIL import Image

from crawler.audit import stats, verify
from crawler.catalog import clean, scan_catalog, write_catalog
from crawler.cluster import CrawlReport, crawl
from crawler.crawl import CrawlOptions
from crawler.duplicates import duplicates
from crawler.errors import UnusableInput, WorkFailed
from crawler.fetch import FetchOptions
from crawler.frontier import Selection
from crawler.monitor import Observe, Snapshot, unseen
from crawler.origin import PosterServer
from crawler.removal import remove
from crawler.shards import ShardReader, committed_shards, read_index
from crawler.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ray.cluster_utils import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]  # a guard against hanging; a busy machine may take long

KEYART = Path(sys.executable).with_name("keyart")
MOVIES = 120
SHARD_SIZE = 20
GONE = 7
"""This movie's poster is not on the server."""


def poster(movie_id: int) -> bytes:
    """A small real JPEG, another one for each movie."""
    stream = io.BytesIO()
    Image.new("RGB", (16 + movie_id % 5, 24), (movie_id * 2 % 256, 90, 30)).save(stream, "JPEG")
    return stream.getvalue()


POSTERS = {f"{number}.jpg": poster(number) for number in range(1, MOVIES + 1) if number != GONE}
_ADDRESSES = itertools.count(2)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 movies on disk."""
    raw = pl.DataFrame(
        {
            "id": range(1, MOVIES + 1),
            "title": [f"Movie {number}" for number in range(MOVIES)],
            "genres": ["['Comedy']"] * MOVIES,
            "poster_path": [f"/{number}.jpg" for number in range(1, MOVIES + 1)],
            "popularity": [float(number) for number in range(MOVIES)],
        }
    )
    path = tmp_path_factory.mktemp("catalog") / "catalog.parquet"
    write_catalog(clean(raw)[0], path)
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[PosterServer]:
    """All posters but one."""
    with PosterServer(POSTERS) as running:
        yield running


@pytest.fixture
def command(catalog: Path, ray_cluster: Cluster) -> Callable[..., subprocess.Popen[str]]:
    """The crawl as a user starts it, on the cluster."""

    def start(archive: Path, server: PosterServer, *more: str) -> subprocess.Popen[str]:
        base = [str(KEYART), "crawl", str(catalog), "-o", str(archive), "--image-base", server.base_url, "--json"]
        call = [*base, "--allow-private", "--shard-size", str(SHARD_SIZE), "--connections", "8", *more]
        own = os.environ | {"RAY_ADDRESS": ray_cluster.address}
        return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=own)

    return start


@pytest.fixture
def crawl_here(catalog: Path, ray_cluster: Cluster) -> Callable[..., CrawlReport]:
    """The same in this process."""

    def call(archive: Path | str, server: PosterServer, observe: Observe = unseen, **more: object) -> CrawlReport:
        fetch = FetchOptions(allow_private=True, attempts=2, ignore_robots=True)
        given = {"rate": math.inf, "connections": 8, "shard_size": SHARD_SIZE, "fetch": fetch} | more
        return crawl(scan_catalog(catalog), archive, CrawlOptions(image_base=server.base_url, **given), observe=observe)

    return call


@pytest.fixture
def own_server() -> Iterator[PosterServer]:
    """The same posters on an address of its own, for tests that must not share another one's rate."""
    with PosterServer(POSTERS, f"127.0.0.{next(_ADDRESSES)}") as running:
        yield running


def tars(archive: Path) -> dict[str, str]:
    """Digest of each committed tar."""
    names = committed_shards(archive / "shards")
    return {name: hashlib.sha256((archive / "shards" / f"{name}.tar").read_bytes()).hexdigest() for name in names}


@pytest.fixture(scope="module")
def undisturbed(catalog: Path, server: PosterServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that was crawled in one go, by one worker."""
    archive = tmp_path_factory.mktemp("undisturbed") / "archive"
    call = [str(KEYART), "crawl", str(catalog), "-o", str(archive), "--image-base", server.base_url, "--rate", "inf"]
    subprocess.run(
        [*call, "--allow-private", "--shard-size", str(SHARD_SIZE), "--workers", "1"], check=True, capture_output=True
    )
    return archive


def descendants(root: int) -> dict[int, str]:
    """Every process below one, with its command line."""
    parents: dict[int, int] = {}
    lines: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                lines[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ").strip()
            except (OSError, ValueError):
                continue  # it ended while we looked
    below = {root}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return {pid: lines[pid] for pid in below - {root}}


def crawling() -> list[int]:
    """Processes that are working on a shard, of whatever crawl of these tests."""
    return [pid for pid, line in descendants(os.getpid()).items() if line.startswith("ray::_crawl_shard")]


def wait_for(condition: Callable[[], bool], seconds: float = 600) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_an_archive_has_a_row_for_every_poster(undisturbed: Path) -> None:
    """Stored ones decode to what the server has; the missing one is a row with its reason."""
    index = read_index(undisturbed)
    assert index["movie_id"].to_list() == list(range(1, MOVIES + 1))
    failed = index.filter(pl.col("status") != "ok")
    assert failed.select("movie_id", "reason", "http_status").rows() == [(GONE, "not_found", 404)]
    with ShardReader(undisturbed / "shards" / "shard-00001.tar") as shard:
        row = index.filter(pl.col("movie_id") == 25).row(0, named=True)
        assert shard.read(row["offset_bytes"], row["size_bytes"]) == poster(25)


def test_a_second_call_fetches_nothing(
    undisturbed: Path, crawl_here: Callable[..., CrawlReport], server: PosterServer
) -> None:
    """What is there is not asked for again, and not written again."""
    before, requests = tars(undisturbed), len(server.requested)
    report = crawl_here(undisturbed, server)
    assert (report.fetched, report.shards_before, report.ok) == (0, MOVIES // SHARD_SIZE, MOVIES - 1)
    assert report.failed == {"not_found": 1}
    assert len(server.requested) == requests
    assert tars(undisturbed) == before


def test_a_killed_driver_resumes_to_the_same_bytes(
    undisturbed: Path,
    command: Callable[..., subprocess.Popen[str]],
    crawl_here: Callable[..., CrawlReport],
    own_server: PosterServer,
    tmp_path: Path,
) -> None:
    """`kill -9` of the command costs at most the shards in flight; the tars are those of an undisturbed crawl."""
    archive = tmp_path / "archive"
    with command(archive, own_server, "--rate", "40") as running:
        wait_for(lambda: len(committed_shards(archive / "shards")) >= 2)
        running.kill()
    wait_for(lambda: not crawling())
    survived = tars(archive)
    assert 2 <= len(survived) < MOVIES // SHARD_SIZE
    with PosterServer(POSTERS) as other:  # the archive is of one host: its address stays
        assert other.base_url != own_server.base_url
        with pytest.raises(UnusableInput, match="image_base"):
            crawl_here(archive, other)
    requests = len(own_server.requested)
    crawl_here(archive, own_server, rate=40)
    assert tars(archive) == tars(undisturbed)
    assert len(own_server.requested) - requests == MOVIES - SHARD_SIZE * len(survived)
    assert not list((archive / "shards").glob(".*.tmp"))


def test_killed_workers_are_replaced(
    undisturbed: Path, crawl_here: Callable[..., CrawlReport], own_server: PosterServer, tmp_path: Path
) -> None:
    """`kill -9` of the workers in the middle of a shard: the same call ends well, with the same tars."""
    archive = tmp_path / "archive"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(crawl_here, archive, own_server, rate=40)
        for already in (1, 3):
            wait_for(lambda already=already: running.done() or len(committed_shards(archive / "shards")) >= already)
            wait_for(lambda: running.done() or bool(crawling()))
            for pid in crawling():
                os.kill(pid, signal.SIGKILL)
        assert running.result().ok == MOVIES - 1
    assert tars(archive) == tars(undisturbed)


def test_a_lost_node_is_done_again_elsewhere(
    undisturbed: Path,
    crawl_here: Callable[..., CrawlReport],
    own_server: PosterServer,
    tmp_path: Path,
    ray_cluster: Cluster,
) -> None:
    """A Ray node that dies in the middle takes its shards in flight with it, and nothing else."""
    archive = tmp_path / "archive"
    node = ray_cluster.add_node(num_cpus=4, object_store_memory=2**27)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(crawl_here, archive, own_server, rate=40, workers=8)
        wait_for(lambda: running.done() or len(committed_shards(archive / "shards")) >= 1)
        ray_cluster.remove_node(node, allow_graceful=False)
        assert running.result().ok == MOVIES - 1
    assert tars(archive) == tars(undisturbed)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_leaves_a_valid_archive(
    undisturbed: Path,
    command: Callable[..., subprocess.Popen[str]],
    own_server: PosterServer,
    tmp_path: Path,
    times: int,
) -> None:
    """One Ctrl-C ends the command with a line that says how to go on, two at once; what is committed is whole."""
    archive = tmp_path / "archive"
    with command(archive, own_server, "--rate", "20") as running:
        wait_for(lambda: len(committed_shards(archive / "shards")) >= 1)
        for _ in range(times):
            running.send_signal(signal.SIGINT)
            time.sleep(0.1)
        _, errors = running.communicate(timeout=600)
    assert running.returncode == 130, errors
    assert errors.splitlines()[-1] == "keyart: interrupted; the same command again goes on where it stopped"
    wait_for(lambda: not crawling())
    assert 1 <= verify(archive).shards < MOVIES // SHARD_SIZE
    assert tars(archive).items() <= tars(undisturbed).items()


def test_a_shard_that_cannot_be_written_ends_as_a_report(
    undisturbed: Path, crawl_here: Callable[..., CrawlReport], server: PosterServer, tmp_path: Path
) -> None:
    """The other shards are committed, one line says which is not, and the same command repairs it."""
    archive = tmp_path / "archive"
    shutil.copytree(undisturbed, archive)
    for name in ("shard-00002", "shard-00004"):
        (archive / "shards" / f"{name}.parquet").unlink()
        (archive / "shards" / f"{name}.tar").unlink()
    (archive / "shards" / "shard-00002.tar").mkdir()
    with pytest.raises(WorkFailed, match=r"1 of 2 shards could not be finished \(shard-00002: "):
        crawl_here(archive, server)
    assert "shard-00004" in tars(archive)
    (archive / "shards" / "shard-00002.tar").rmdir()
    crawl_here(archive, server)
    assert tars(archive) == tars(undisturbed)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
def test_a_full_disk_ends_as_a_report(
    undisturbed: Path, crawl_here: Callable[..., CrawlReport], server: PosterServer, tmp_path: Path
) -> None:
    """What fits is committed and whole; with room again the same command ends with the same tars."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)], check=True)
    try:
        with pytest.raises(WorkFailed, match=r"could not be finished .*No space left on device"):
            crawl_here(disk / "archive", server, workers=1)
        assert 1 <= verify(disk / "archive").shards < MOVIES // SHARD_SIZE
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        crawl_here(disk / "archive", server)
        assert tars(disk / "archive") == tars(undisturbed)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_the_rate_is_never_exceeded(
    undisturbed: Path, crawl_here: Callable[..., CrawlReport], own_server: PosterServer, tmp_path: Path
) -> None:
    """By the server's own log, no sliding second holds more requests than the rate, with four workers.

    Whoever looks on is told that limit meanwhile, and how far the crawl is between one shard and the next.
    """
    seen: list[Snapshot] = []
    crawl_here(tmp_path / "archive", own_server, seen.append, rate=15, workers=4)
    host = own_server.base_url.split("/")[2].partition(":")[0]
    assert any(0 < snapshot.rates.get(host, 0) <= 15 for snapshot in seen)
    assert any(snapshot.tally.done % SHARD_SIZE for snapshot in seen)
    assert (seen[-1].tally.ok, seen[-1].tally.failed, seen[-1].left) == (MOVIES - 1, {"not_found": 1}, 0)
    history = next((tmp_path / "archive" / "history").iterdir())
    assert pl.read_parquet(history)["ok"].to_list()[-1] == MOVIES - 1
    arrived_s = own_server.arrived_s
    assert len(arrived_s) == MOVIES
    most = max(sum(1 for other in arrived_s if start <= other < start + 1) for start in arrived_s)
    assert most <= 15
    assert tars(tmp_path / "archive") == tars(undisturbed)


def test_another_crawl_into_the_same_archive_is_refused(
    undisturbed: Path, crawl_here: Callable[..., CrawlReport], server: PosterServer
) -> None:
    """Another selection, shard size or host would change what the shards mean: one line says so, and the fix."""
    calls = {
        "another catalogue or selection": {"selection": Selection(limit=5)},
        "shard_size 20, not 7": {"shard_size": 7},
    }
    for named, more in calls.items():
        with pytest.raises(UnusableInput, match=f"{named}.*choose a new folder with -o"):
            crawl_here(undisturbed, server, **more)


def test_two_crawls_at_once_are_refused(
    undisturbed: Path, crawl_here: Callable[..., CrawlReport], server: PosterServer
) -> None:
    """One crawl at a time writes an archive."""
    descriptor = os.open(undisturbed, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(WorkFailed, match="another crawl is writing to it"):
            crawl_here(undisturbed, server)
    finally:
        os.close(descriptor)


def test_an_archive_in_a_bucket_is_the_one_of_a_disk(
    undisturbed: Path, crawl_here: Callable[..., CrawlReport], bucket: str, tmp_path: Path
) -> None:
    """Crawl, resume, repair, count, check and thin out, over the S3 protocol: the same tars, the same answers."""
    archive, posters = f"{bucket}/{tmp_path.name}", dict(POSTERS)
    shards = open_store(archive).within("shards")
    late = posters.pop("45.jpg")
    with PosterServer(posters, f"127.0.0.{next(_ADDRESSES)}") as server:
        assert crawl_here(archive, server).failed == {"not_found": 2}
        posters["45.jpg"] = late
        assert crawl_here(archive, server, retry_failed=("not_found",)).ok == MOVIES - 1
        shards.delete("shard-00003.parquet")
        requests = len(server.requested)
        again = crawl_here(archive, server)
        assert (again.ok, again.fetched, again.shards_before) == (MOVIES - 1, SHARD_SIZE, MOVIES // SHARD_SIZE - 1)
        assert len(server.requested) - requests == SHARD_SIZE
    assert {name: hashlib.sha256(shards.read(f"{name}.tar")).hexdigest() for name in committed_shards(shards)} == tars(
        undisturbed
    )
    assert verify(archive).posters == MOVIES - 1
    assert stats(archive).ok == MOVIES - 1
    assert duplicates(archive).groups == duplicates(undisturbed).groups
    assert remove(archive, [44]).removed == 1
    assert verify(archive).posters == MOVIES - 2
    shards.put("shard-00001.tar", shards.read("shard-00001.tar")[:3000])
    with pytest.raises(WorkFailed, match=r"shard-00001: "):
        verify(archive)
    assert open_store(archive).names() == ["archive.json"]
