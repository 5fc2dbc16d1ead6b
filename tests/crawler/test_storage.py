"""One body of tests over a disk and over a real S3 protocol server on loopback."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crawler.bucket import BucketStore
from crawler.disk import LocalStore
from crawler.errors import UnusableInput, WorkFailed
from crawler.storage import is_local, open_store

if TYPE_CHECKING:
    from crawler.storage import Store


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place that does not exist yet."""
    if request.param == "disk":
        return str(tmp_path / "archive")
    bucket: str = request.getfixturevalue("bucket")
    return f"{bucket}/{tmp_path.name}/archive"


@pytest.fixture
def store(place: str) -> Store:
    """A store with nothing in it."""
    return open_store(place)


def test_what_is_put_is_read(store: Store) -> None:
    """Whole, in part, and no further than it goes; and the last one put is what is there."""
    store.put("a.bin", b"0123456789")
    assert store.read("a.bin") == b"0123456789"
    assert store.read_range("a.bin", 3, 4) == b"3456"
    assert store.read_range("a.bin", 8, 40) == b"89"
    assert store.read_range("a.bin", 40, 4) == b""
    assert store.read_range("a.bin", 4, 0) == b""
    store.put("a.bin", b"new")
    assert store.read("a.bin") == b"new"


def test_a_file_is_put_like_bytes(store: Store, tmp_path: Path) -> None:
    """Also one that a bucket takes in several parts; the file stays."""
    body = bytes(range(256)) * (12 * 4096)
    path = tmp_path / "large"
    path.write_bytes(body)
    store.put_file("large.tar", path)
    assert store.read("large.tar") == body
    assert store.read_range("large.tar", len(body) - 3, 10) == body[-3:]
    assert path.exists()


def test_names_are_those_directly_inside(store: Store) -> None:
    """In order, without what lies in folders below; a place where nothing is yet has none."""
    assert store.names() == []
    for name in ("b.tar", "a.tar"):
        store.put(name, b"x")
    store.within("shards").put("c.tar", b"x")
    assert store.names() == ["a.tar", "b.tar"]
    assert store.within("shards").names() == ["c.tar"]
    assert store.within("nothing").names() == []


def test_delete_and_exists(store: Store) -> None:
    """Deleting what is not there is no error."""
    assert not store.exists("a")
    store.put("a", b"x")
    assert store.exists("a")
    store.delete("a")
    store.delete("a")
    assert not store.exists("a")


def test_a_missing_object_is_named(store: Store) -> None:
    """One line: what is missing and where."""
    for ask in (lambda: store.read("none.tar"), lambda: store.read_range("none.tar", 0, 4)):
        with pytest.raises(UnusableInput) as caught:
            ask()
        assert str(caught.value).startswith(f"storage {store.url}/none.tar: there is no such object")
        assert "\n" not in str(caught.value)


def test_a_store_travels_to_another_process(store: Store) -> None:
    """It is sent to workers, which connect for themselves."""
    store.put("a", b"x")
    assert pickle.loads(pickle.dumps(store)).read("a") == b"x"  # noqa: S301  our own bytes


def test_a_path_made_from_a_url_is_understood(tmp_path: Path) -> None:
    """``pathlib`` makes one slash of two; a local path is a local path, also as file:// URL."""
    assert open_store(Path("s3://bucket/a/b")) == BucketStore("s3://bucket/a/b")
    assert open_store("GS://bucket/a/") == BucketStore("gs://bucket/a")
    assert open_store(tmp_path) == open_store(tmp_path.as_uri()) == LocalStore(tmp_path)
    assert is_local("archive")
    assert not is_local("s3://bucket/archive")


@pytest.mark.parametrize("place", ["s3://", "ftp://host/x", "https://host/x", "s3://bucket/a?b", "s3://bucket/a\nb"])
def test_another_kind_of_url_is_refused(place: str) -> None:
    """The message says which there are."""
    with pytest.raises(UnusableInput, match=r"expected a local folder, s3://bucket/folder or gs://bucket/folder"):
        open_store(place)


def test_a_bucket_that_is_not_there_fails_in_one_line(bucket: str) -> None:
    """Neither a page of XML nor silence."""
    store = open_store("s3://no-such-bucket/archive")
    for ask in (store.names, lambda: store.put("a", b"x")):
        with pytest.raises(WorkFailed, match=r"storage s3://no-such-bucket/archive.*NoSuchBucket") as caught:
            ask()
        assert "\n" not in str(caught.value)
        assert "<" not in str(caught.value)


def test_a_full_or_forbidden_disk_fails_in_one_line(tmp_path: Path) -> None:
    """What was there before is unchanged, and no temporary file is left."""
    (tmp_path / "file").write_text("x")
    store = open_store(tmp_path / "file" / "below")
    with pytest.raises(WorkFailed, match=r"cannot be written \(Not a directory\)"):
        store.put("a", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_one_of_two_writers_is_first(bucket: str, tmp_path: Path) -> None:
    """A bucket decides who creates an object, and who changes the version that both have seen."""
    store = open_store(f"{bucket}/{tmp_path.name}")
    assert isinstance(store, BucketStore)
    tag = store.put_new("lock", b"a")
    assert tag
    assert store.put_new("lock", b"b") is None
    version = store.version("lock")
    assert version is not None
    assert version.tag == tag
    newer = store.put_over("lock", b"c", tag)
    assert newer
    assert store.put_over("lock", b"d", tag) is None
    assert store.read("lock") == b"c"
    store.delete("lock")
    assert store.put_over("lock", b"e", newer) is None
    assert store.version("lock") is None
