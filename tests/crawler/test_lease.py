"""An archive in a bucket has one writer at a time, and its shards are whole or not there."""

from __future__ import annotations

import hashlib
import threading
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from crawler.archive import Manifest, opened_for_crawl
from crawler.bucket import BucketStore
from crawler.errors import UnusableInput, WorkFailed
from crawler.lease import LEASE_NAME, check_held, leased
from crawler.records import Failure, Fetched, PosterRecord, PosterRequest, Reason
from crawler.shards import committed_shards, open_shard, read_sidecar, write_shard

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = Manifest(catalog_digest="d", requested=2, image_base="https://host", shard_size=2)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def record(movie_id: int) -> PosterRecord:
    """A stored poster."""
    body = b"poster %d" % movie_id
    request = PosterRequest(movie_id=movie_id, url="https://host/a.jpg")
    fetched = Fetched(request=request, body=body, http_status=200, attempts=1, fetched_at=NOON)
    return PosterRecord(fetched=fetched, height=3, width=2, sha256=hashlib.sha256(body).hexdigest(), dhash=movie_id)


def failure(movie_id: int) -> Failure:
    """A poster that is not there."""
    request = PosterRequest(movie_id=movie_id, url="https://host/b.jpg")
    return Failure(request=request, reason=Reason.NOT_FOUND, http_status=404, attempts=1, fetched_at=NOON)


@pytest.fixture
def archive(bucket: str) -> BucketStore:
    """A place in the bucket where nothing is yet."""
    return BucketStore(f"{bucket}/{uuid.uuid4().hex}")


def test_a_second_writer_is_refused(archive: BucketStore) -> None:
    """While the first one renews its lease; it is given back at the end."""
    with leased(archive, lease_s=30, renew_s=0.2):
        with (
            pytest.raises(WorkFailed, match="another crawl is writing to it"),
            leased(archive, lease_s=30, renew_s=0.2),
        ):
            pass
        assert archive.exists(LEASE_NAME)
    assert archive.names() == []
    with leased(archive, lease_s=30, renew_s=0.2):
        assert archive.exists(LEASE_NAME)


def test_the_lease_of_a_killed_writer_is_taken_over(archive: BucketStore) -> None:
    """Once it has not been renewed for its time; what still works for the old one may not commit."""
    dead = archive.held_by(archive.url, "host 1 dead")
    archive.put(LEASE_NAME, b'{"holder": "host 1 dead", "renewal": "x"}')
    check_held(dead)
    with leased(archive, lease_s=1, renew_s=0.2) as held:
        check_held(held)
        with pytest.raises(WorkFailed, match="does not hold it any more"):
            write_shard(dead.within("shards"), "shard-00000", [record(1)])
        assert committed_shards(archive.within("shards")) == []
        write_shard(held.within("shards"), "shard-00000", [record(1)])
    assert committed_shards(archive.within("shards")) == ["shard-00000"]


def test_of_many_who_take_over_one_succeeds(archive: BucketStore) -> None:
    """The bucket decides, not a clock."""
    archive.put(LEASE_NAME, b"{}")
    done, inside = threading.Event(), []

    def try_it() -> None:
        try:
            with leased(archive, lease_s=3, renew_s=0.2):
                inside.append(1)
                done.wait(10)
        except WorkFailed:
            inside.append(0)

    threads = [threading.Thread(target=try_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads[:]:
        while len(inside) < 4 and thread.is_alive():
            thread.join(0.1)
    done.set()
    for thread in threads:
        thread.join()
    assert sorted(inside) == [0, 0, 0, 1]


def test_a_shard_in_a_bucket_is_the_one_of_a_disk(archive: BucketStore, tmp_path: Path) -> None:
    """The same receipt, rows and bytes; a shard whose sidecar is not there is not committed."""
    outcomes = [record(2), failure(1), record(5)]
    folder = archive.within("shards")
    assert write_shard(folder, "shard-00000", outcomes) == write_shard(tmp_path, "shard-00000", outcomes)
    assert read_sidecar(folder, "shard-00000").equals(read_sidecar(tmp_path, "shard-00000"))
    assert folder.read("shard-00000.tar") == (tmp_path / "shard-00000.tar").read_bytes()
    row = read_sidecar(folder, "shard-00000").row(1, named=True)
    with open_shard(folder, "shard-00000") as shard:
        assert shard.read(row["offset_bytes"], row["size_bytes"]) == record(2).fetched.body
    assert committed_shards(folder) == ["shard-00000"]
    folder.delete("shard-00000.parquet")
    assert committed_shards(folder) == []


def test_a_tar_that_another_writer_replaced_is_not_marked(
    archive: BucketStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An orphan that writes the same shard at the same moment leaves no mark beside a tar that it does not describe."""
    folder = archive.within("shards")
    put_file = BucketStore.put_file

    def interrupted(store: BucketStore, name: str, path: Path) -> str:
        tag = put_file(store, name, path)
        if name.endswith(".tar"):
            store.put(name, b"another crawl's tar")
        return tag

    monkeypatch.setattr(BucketStore, "put_file", interrupted)
    with pytest.raises(WorkFailed, match="another crawl wrote it at the same time"):
        write_shard(folder, "shard-00000", [record(1)])
    assert committed_shards(folder) == []


def test_a_place_with_other_things_is_no_archive(archive: BucketStore) -> None:
    """As on a disk: nothing is mixed."""
    archive.put("thesis.txt", b"precious")
    with pytest.raises(UnusableInput, match="exists and is no archive"), opened_for_crawl(archive.url, MANIFEST):
        pass
    assert archive.names() == ["thesis.txt"]
