"""A crawl over Ray resumes after any kill, and ends with the same tars as an undisturbed one."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from PIL import Image

from crawler.audit import verify
from crawler.catalog import clean, write_catalog
from crawler.origin import PosterServer
from crawler.shards import ShardReader, committed_shards, read_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.cluster

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
    with PosterServer(
        {f"{number}.jpg": poster(number) for number in range(1, MOVIES + 1) if number != GONE}
    ) as running:
        yield running


@pytest.fixture
def command(catalog: Path, server: PosterServer) -> Callable[..., list[str]]:
    """The crawl as a user calls it."""

    def build(archive: Path, *more: str, shard_size: int = SHARD_SIZE) -> list[str]:
        base = [str(KEYART), "crawl", str(catalog), "-o", str(archive), "--image-base", server.base_url, "--json"]
        return [*base, "--allow-private", "--shard-size", str(shard_size), "--connections", "8", *more]

    return build


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


def wait_for(condition: Callable[[], bool], seconds: float = 240) -> None:
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
    undisturbed: Path, command: Callable[..., list[str]], server: PosterServer
) -> None:
    """What is there is not asked for again, and not written again."""
    before, requests = tars(undisturbed), len(server.requested)
    done = subprocess.run(command(undisturbed), check=True, capture_output=True, text=True)
    summary = json.loads(done.stdout)
    assert (summary["fetched"], summary["shards_before"], summary["ok"]) == (0, MOVIES // SHARD_SIZE, MOVIES - 1)
    assert summary["failed"] == {"not_found": 1}
    assert len(server.requested) == requests
    assert tars(undisturbed) == before


def test_a_killed_driver_resumes_to_the_same_bytes(
    undisturbed: Path, command: Callable[..., list[str]], server: PosterServer, tmp_path: Path
) -> None:
    """`kill -9` of the command costs at most the shards in flight; the tars are those of an undisturbed crawl."""
    archive = tmp_path / "archive"
    running = subprocess.Popen(
        command(archive, "--rate", "40"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_for(lambda: len(committed_shards(archive / "shards")) >= 2)
    # Ray's own daemons may take a minute to notice; what would still fetch are its workers.
    below = [pid for pid, line in descendants(running.pid).items() if line.startswith("ray::") and "Agent" not in line]
    running.kill()
    running.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))
    survived = tars(archive)
    assert 2 <= len(survived) < MOVIES // SHARD_SIZE
    requests = len(server.requested)
    subprocess.run(command(archive, "--rate", "inf"), check=True, capture_output=True)
    assert tars(archive) == tars(undisturbed)
    assert len(server.requested) - requests == MOVIES - SHARD_SIZE * len(survived)
    assert not list((archive / "shards").glob(".*.tmp"))


def test_killed_workers_are_replaced(undisturbed: Path, command: Callable[..., list[str]], tmp_path: Path) -> None:
    """`kill -9` of the workers in the middle of a shard: the same call ends well, with the same tars."""
    archive = tmp_path / "archive"
    running = subprocess.Popen(
        command(archive, "--rate", "40"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for already in (1, 3):
        wait_for(lambda already=already: len(committed_shards(archive / "shards")) >= already)
        working = [pid for pid, line in descendants(running.pid).items() if line.startswith("ray::_crawl_shard")]
        assert working
        for pid in working:
            os.kill(pid, signal.SIGKILL)
    out, errors = running.communicate(timeout=120)
    assert running.returncode == 0, errors
    assert json.loads(out)["ok"] == MOVIES - 1
    assert tars(archive) == tars(undisturbed)


def test_ctrl_c_leaves_a_valid_archive(undisturbed: Path, command: Callable[..., list[str]], tmp_path: Path) -> None:
    """One Ctrl-C ends the command with a line that says how to go on; what is committed is whole and stays."""
    archive = tmp_path / "archive"
    running = subprocess.Popen(
        command(archive, "--rate", "20"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: len(committed_shards(archive / "shards")) >= 1)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert errors.splitlines()[-1] == "keyart: interrupted; the same command again goes on where it stopped"
    assert 1 <= verify(archive).shards < MOVIES // SHARD_SIZE
    assert tars(archive).items() <= tars(undisturbed).items()


def test_a_shard_that_cannot_be_written_ends_as_a_report(
    undisturbed: Path, command: Callable[..., list[str]], tmp_path: Path
) -> None:
    """The other shards are committed, one line says which is not, and the same command repairs it."""
    archive = tmp_path / "archive"
    shutil.copytree(undisturbed, archive)
    for name in ("shard-00002", "shard-00004"):
        (archive / "shards" / f"{name}.parquet").unlink()
        (archive / "shards" / f"{name}.tar").unlink()
    (archive / "shards" / "shard-00002.tar").mkdir()
    done = subprocess.run(command(archive, "--rate", "inf"), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "1 of 2 shards could not be finished (shard-00002: " in done.stderr.splitlines()[-1]
    assert "shard-00004" in tars(archive)
    (archive / "shards" / "shard-00002.tar").rmdir()
    subprocess.run(command(archive, "--rate", "inf"), check=True, capture_output=True)
    assert tars(archive) == tars(undisturbed)


def test_the_rate_is_never_exceeded(
    undisturbed: Path, command: Callable[..., list[str]], server: PosterServer, tmp_path: Path
) -> None:
    """By the server's own log, no sliding second holds more requests than the rate, with four workers."""
    already = len(server.arrived_s)
    call = command(tmp_path / "archive", "--rate", "12", "--workers", "4")
    subprocess.run(call, check=True, capture_output=True)
    arrived_s = server.arrived_s[already:]
    assert len(arrived_s) == MOVIES
    most = max(sum(1 for other in arrived_s if start <= other < start + 1) for start in arrived_s)
    assert most <= 12
    assert tars(tmp_path / "archive") == tars(undisturbed)


def test_another_crawl_into_the_same_archive_is_refused(undisturbed: Path, command: Callable[..., list[str]]) -> None:
    """Another selection, shard size or host would change what the shards mean: one line says so, and the fix."""
    calls = {
        "another catalogue or selection": command(undisturbed, "--limit", "5"),
        "shard_size 20, not 7": command(undisturbed, shard_size=7),
    }
    for named, call in calls.items():
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert named in done.stderr
        assert "choose a new folder with -o" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_two_crawls_at_once_are_refused(undisturbed: Path, command: Callable[..., list[str]]) -> None:
    """One crawl at a time writes an archive."""
    with subprocess.Popen(["flock", str(undisturbed), "sleep", "60"]) as holder:
        wait_for(lambda: bool(descendants(holder.pid)))
        done = subprocess.run(command(undisturbed), capture_output=True, text=True, check=False)
        for pid in descendants(holder.pid):
            os.kill(pid, signal.SIGKILL)
    assert done.returncode == 1
    assert "another crawl is writing to it" in done.stderr
