"""The long kill test: after fifty random kills of workers and drivers the tars are those of a quiet crawl."""

from __future__ import annotations

import hashlib
import io
import os
import random
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
from crawler.shards import committed_shards

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(3000)]

KEYART = Path(sys.executable).with_name("keyart")
KILLS = 50
MOVIES = 2_000
SHARD_SIZE = 20


def poster(movie_id: int) -> bytes:
    """A small real JPEG, another one for each movie."""
    stream = io.BytesIO()
    Image.new("RGB", (16 + movie_id % 5, 24), (movie_id * 2 % 256, movie_id // 128, 30)).save(stream, "JPEG")
    return stream.getvalue()


def tars(archive: Path) -> dict[str, str]:
    """Digest of each committed tar."""
    names = committed_shards(archive / "shards")
    return {name: hashlib.sha256((archive / "shards" / f"{name}.tar").read_bytes()).hexdigest() for name in names}


def crawling() -> list[int]:
    """Processes that are working on a shard on the tests' Ray, which is a child of this process."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "cmdline").read_bytes().startswith(b"ray::_crawl_shard"):
                parents = (entry / "stat").read_text().rpartition(")")[2].split()
                raylet = Path(f"/proc/{parents[1]}/stat").read_text().rpartition(")")[2].split()
                if int(raylet[1]) == os.getpid():
                    found.append(int(entry.name))
        except (OSError, ValueError):
            continue  # it ended while we looked
    return found


def test_fifty_kills_change_no_byte(ray_cluster: Cluster, tmp_path: Path) -> None:
    """`kill -9` of a worker or of the whole command, at random moments, and the same command again after it.

    Workers are one or eight; no poster is fetched twice but those of the shards in flight at a kill.
    """
    raw = {
        "id": range(1, MOVIES + 1),
        "title": [f"Movie {number}" for number in range(MOVIES)],
        "genres": ["['Comedy']"] * MOVIES,
        "poster_path": [f"/{number}.jpg" for number in range(1, MOVIES + 1)],
    }
    catalog = tmp_path / "catalog.parquet"
    write_catalog(clean(pl.DataFrame(raw))[0], catalog)
    own = os.environ | {"RAY_ADDRESS": ray_cluster.address}
    chance = random.Random(11)
    with PosterServer({f"{number}.jpg": poster(number) for number in range(1, MOVIES + 1)}, "127.0.1.1") as server:

        def start(archive: Path, workers: int, rate: str) -> subprocess.Popen[bytes]:
            call = [str(KEYART), "crawl", str(catalog), "-o", str(archive), "--image-base", server.base_url]
            more = ["--allow-private", "--shard-size", str(SHARD_SIZE), "--workers", str(workers), "--rate", rate]
            return subprocess.Popen(
                [*call, *more, "--connections", "16"], env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )

        with start(tmp_path / "quiet", 1, "inf") as quiet:
            assert quiet.wait() == 0
        asked, kills, in_flight, archive = len(server.requested), 0, 0, tmp_path / "archive"
        while kills < KILLS:
            with start(archive, workers := chance.choice([1, 8]), "12") as running:
                ours, end_s = kills, time.monotonic() + 120
                while not crawling() and running.poll() is None and time.monotonic() < end_s:
                    time.sleep(0.2)
                while kills < KILLS and running.poll() is None and kills < ours + 5:
                    time.sleep(chance.uniform(0.5, 4))
                    if chance.random() < 0.3:
                        running.kill()
                        kills, in_flight = kills + 1, in_flight + workers
                    elif working := crawling():
                        os.kill(chance.choice(working), signal.SIGKILL)
                        kills, in_flight = kills + 1, in_flight + 1
                running.kill()
                in_flight += workers
            assert len(tars(archive)) < MOVIES // SHARD_SIZE, "the crawl ended before all kills"
        with start(archive, 8, "inf") as last:
            assert last.wait() == 0
        assert tars(archive) == tars(tmp_path / "quiet")
        assert verify(archive).posters == MOVIES
        assert len(server.requested) - asked <= MOVIES + in_flight * SHARD_SIZE
