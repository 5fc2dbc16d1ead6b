"""A shard holds what went in, at the offsets that its sidecar states; its bytes follow from the posters alone."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import webdataset

from crawler.errors import UnusableInput
from crawler.records import Failure, Fetched, PosterRecord, PosterRequest, Reason
from crawler.shards import ShardReader, committed_shards, read_sidecar, write_shard

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def record(movie_id: int, body: bytes, *, attempts: int = 1, fetched_at: datetime = NOON) -> PosterRecord:
    """A stored poster; its bytes need not be a picture for the shard format."""
    request = PosterRequest(movie_id=movie_id, url=f"http://127.0.0.1/{movie_id}.jpg")
    fetched = Fetched(request=request, body=body, http_status=200, attempts=attempts, fetched_at=fetched_at)
    return PosterRecord(
        fetched=fetched, height=278, width=185, sha256=hashlib.sha256(body).hexdigest(), dhash=2**64 - movie_id
    )


def failure(movie_id: int) -> Failure:
    """A poster that is not there."""
    request = PosterRequest(movie_id=movie_id, url=f"http://127.0.0.1/{movie_id}.jpg")
    return Failure(request=request, reason=Reason.NOT_FOUND, http_status=404, attempts=1, fetched_at=NOON)


@pytest.fixture
def outcomes() -> list[PosterRecord | Failure]:
    """Posters of awkward sizes, in no order, with a failure among them."""
    bodies = random.Random(7)
    sizes = {30: 1, 9: 511, 862: 512, 5: 513, 8844: 70_000}
    return [*(record(movie_id, bodies.randbytes(size)) for movie_id, size in sizes.items()), failure(17)]


def test_sidecar_has_one_row_per_requested_poster(tmp_path: Path, outcomes: list[PosterRecord | Failure]) -> None:
    """Failures are rows too, in `movie_id` order, and carry their reason and no offset."""
    receipt = write_shard(tmp_path, "shard-00000", outcomes)
    rows = read_sidecar(tmp_path, "shard-00000")
    assert rows["movie_id"].to_list() == [5, 9, 17, 30, 862, 8844]
    failed = rows.row(2, named=True)
    assert (failed["status"], failed["reason"], failed["http_status"]) == ("failed", "not_found", 404)
    assert failed["offset_bytes"] is None
    assert (receipt.ok, receipt.failed) == (5, {Reason.NOT_FOUND: 1})


def test_offsets_lead_to_the_posters_bytes(tmp_path: Path, outcomes: list[PosterRecord | Failure]) -> None:
    """`offset_bytes` and `size_bytes` cut exactly the poster out of the tar."""
    write_shard(tmp_path, "shard-00000", outcomes)
    stored = read_sidecar(tmp_path, "shard-00000").drop_nulls("offset_bytes")
    with ShardReader(tmp_path / "shard-00000.tar") as shard:
        for row in stored.iter_rows(named=True):
            body = shard.read(row["offset_bytes"], row["size_bytes"])
            assert hashlib.sha256(body).hexdigest() == row["sha256"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves the file to the GC
def test_webdataset_opens_the_shard(tmp_path: Path, outcomes: list[PosterRecord | Failure]) -> None:
    """The tar is read by the webdataset package, with the same bytes under the same keys."""
    write_shard(tmp_path, "shard-00000", outcomes)
    samples = list(webdataset.WebDataset(str(tmp_path / "shard-00000.tar"), shardshuffle=False))
    expected = {str(item.movie_id): item.fetched.body for item in outcomes if isinstance(item, PosterRecord)}
    assert {sample["__key__"]: sample["jpg"] for sample in samples} == expected


def test_tar_bytes_depend_on_the_posters_alone(tmp_path: Path, outcomes: list[PosterRecord | Failure]) -> None:
    """Order of arrival, attempts and time of day change the sidecar at most, never the tar."""
    again = [
        record(item.movie_id, item.fetched.body, attempts=3, fetched_at=NOON + timedelta(days=1))
        if isinstance(item, PosterRecord)
        else item
        for item in reversed(outcomes)
    ]
    assert write_shard(tmp_path, "a", outcomes).sha256 == write_shard(tmp_path, "b", again).sha256
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_shard_without_sidecar_is_not_committed(tmp_path: Path, outcomes: list[PosterRecord | Failure]) -> None:
    """The sidecar is the commit mark."""
    for name in ("shard-00000", "shard-00001"):
        write_shard(tmp_path, name, outcomes)
    (tmp_path / "shard-00000.parquet").unlink()
    assert committed_shards(tmp_path) == ["shard-00001"]


def test_failed_write_leaves_nothing_behind(tmp_path: Path, outcomes: list[PosterRecord | Failure]) -> None:
    """A name that cannot be written raises, and no temporary file stays."""
    (tmp_path / "shard-00000.tar").mkdir()
    with pytest.raises(OSError, match="shard-00000"):
        write_shard(tmp_path, "shard-00000", outcomes)
    assert [path.name for path in tmp_path.iterdir()] == ["shard-00000.tar"]


def test_unreadable_sidecar_is_named(tmp_path: Path) -> None:
    """The message names the file and what was expected."""
    (tmp_path / "shard-00000.parquet").write_bytes(b"not parquet")
    with pytest.raises(
        UnusableInput, match=r"shard-00000\.parquet: cannot be read .*expected the Parquet file of a crawl"
    ):
        read_sidecar(tmp_path, "shard-00000")
