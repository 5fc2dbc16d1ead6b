"""An audit finds every kind of damage, and says where it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import polars as pl
import pytest

from crawler.archive import Manifest, opened_for_crawl
from crawler.audit import stats, verify
from crawler.crawl import CrawlOptions, ShardCrawler
from crawler.drawn import draw_poster
from crawler.errors import UnusableInput, WorkFailed
from crawler.fetch import FetchOptions
from crawler.frontier import plans
from crawler.origin import PosterServer
from crawler.politeness import LocalLedger
from crawler.removal import remove
from crawler.shards import read_sidecar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POSTERS = {
    f"{number}.jpg": draw_poster(seed=number, genre="Comedy", title=f"Movie {number}", height=96, width=64)
    for number in range(1, 8)
}
POSTERS["8.jpg"] = POSTERS["7.jpg"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three shards of four; one poster is not there, two are the same."""
    selected = pl.LazyFrame({"movie_id": range(12), "poster_path": [f"/{number}.jpg" for number in range(12)]})
    folder = tmp_path / "archive"
    with PosterServer(POSTERS) as server:
        manifest = Manifest(catalog_digest="x", requested=12, image_base=server.base_url, shard_size=4)
        options = CrawlOptions(rate=math.inf, workers=1, fetch=FetchOptions(allow_private=True))
        with opened_for_crawl(folder, manifest) as shards, ShardCrawler(options, LocalLedger()) as crawler:
            for plan in plans(selected, server.base_url, 4):
                crawler.crawl(plan, shards)
    return folder


def test_a_whole_archive_passes(archive: Path) -> None:
    """Every poster was read and hashed; a shard that is still to come is not damage."""
    report = verify(archive)
    assert (report.shards, report.posters, report.missing_shards) == (3, 8, 0)
    (archive / "shards" / "shard-00001.parquet").unlink()
    report = verify(archive)
    assert (report.shards, report.posters, report.missing_shards) == (2, 4, 1)


def flip_a_byte(folder: Path) -> None:
    """One bit inside a poster."""
    row = read_sidecar(folder, "shard-00001").row(1, named=True)
    tar = bytearray((folder / "shard-00001.tar").read_bytes())
    tar[row["offset_bytes"] + 50] ^= 1
    (folder / "shard-00001.tar").write_bytes(tar)


def cut_the_tar(folder: Path) -> None:
    """The second half of a tar is gone."""
    tar = (folder / "shard-00001.tar").read_bytes()
    (folder / "shard-00001.tar").write_bytes(tar[: len(tar) // 2])


def swap_the_tars(folder: Path) -> None:
    """A tar beside another shard's sidecar."""
    (folder / "shard-00001.tar").write_bytes((folder / "shard-00000.tar").read_bytes())


def shift_an_offset(folder: Path) -> None:
    """A sidecar that points one block too far."""
    rows = read_sidecar(folder, "shard-00001").with_columns(pl.col("offset_bytes") + 512)
    rows.write_parquet(folder / "shard-00001.parquet")


def lose_a_row(folder: Path) -> None:
    """A sidecar with a poster less."""
    read_sidecar(folder, "shard-00001").head(3).write_parquet(folder / "shard-00001.parquet")


def break_the_sidecar(folder: Path) -> None:
    """A sidecar that is no Parquet."""
    (folder / "shard-00001.parquet").write_bytes(b"PAR1")


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (flip_a_byte, "5.jpg has other bytes than the sidecar's sha256"),
        (cut_the_tar, "shard-00001"),
        (swap_the_tars, "1.jpg has no row in the sidecar"),
        (shift_an_offset, "4.jpg is not at the offset in the sidecar"),
        (lose_a_row, "3 rows in the sidecar, expected 4"),
        (break_the_sidecar, "cannot be read"),
    ],
)
def test_damage_is_found_and_named(archive: Path, damage: Callable[[Path], None], found: str) -> None:
    """The message names the shard, what is wrong with it, and what to do."""
    damage(archive / "shards")
    with pytest.raises(WorkFailed, match=r"shard-00001: .*crawl again with the same command") as raised:
        verify(archive)
    assert found in str(raised.value)


def test_stats_count_everything(archive: Path) -> None:
    """Counts by status and reason, sizes, and posters that repeat another one."""
    found = stats(archive)
    assert (found.requested, found.ok, found.failed, found.shards) == (12, 8, {"not_found": 4}, 3)
    assert found.size_bytes == sum(len(body) for body in POSTERS.values())
    assert (found.height_median, found.width_median) == (96, 64)
    assert found.same_bytes == 1
    assert found.same_dhash >= 1
    assert found.attempts_mean == 1


def test_a_removed_poster_is_gone_and_leaves_a_row(archive: Path) -> None:
    """No tar holds its bytes any more, its row says why, and the rest is whole."""
    report = remove(archive, [2, 6, 0])
    assert (report.removed, report.shards) == (2, 2)
    assert verify(archive).posters == 6
    assert stats(archive).failed == {"not_found": 3, "removed": 3}
    assert not any(POSTERS["2.jpg"] in tar.read_bytes() for tar in (archive / "shards").glob("*.tar"))


@pytest.mark.parametrize(("movies", "line"), [([], "no movie was named"), ([2, 99], "movie 99 is not in it")])
def test_only_movies_of_the_archive_can_be_removed(archive: Path, movies: list[int], line: str) -> None:
    """A mistyped id removes nothing at all."""
    with pytest.raises(UnusableInput, match=line):
        remove(archive, movies)
    assert verify(archive).posters == 8


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    """The message says what was expected."""
    for look in (verify, stats):
        with pytest.raises(UnusableInput, match=r"no archive\.json in it; expected a folder written by"):
            look(tmp_path)
