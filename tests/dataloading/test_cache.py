"""A dataset whose archive is in a bucket: the same batches, few bytes on the disk, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import pytest

from crawler.bucket import BucketStore
from crawler.errors import UnusableInput, WorkFailed
from crawler.records import Reason
from crawler.shards import read_index
from crawler.storage import open_store
from dataloading.cache import MARK, CacheOptions, ShardCache
from dataloading.dataset import Dataset, build
from dataloading.labels import Genre
from dataloading.loader import PosterLoader
from dataloading.preprocess import Preprocess
from dataloading.source import PosterSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import World

SPEC = Preprocess(size=16)


@dataclass(frozen=True)
class Counted(BucketStore):
    """A bucket that notes what is fetched whole, and what in parts."""

    whole: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    def within(self, name: str) -> Counted:
        """Count in the same lists."""
        return Counted(f"{self.url}/{name}", None, self.whole, self.parts)

    def copy_to(self, name: str, path: Path) -> None:
        """Note the name first."""
        self.whole.append(name)
        super().copy_to(name, path)

    def read_range(self, name: str, offset_bytes: int, size_bytes: int) -> bytes:
        """Note the name first."""
        self.parts.append(name)
        return super().read_range(name, offset_bytes, size_bytes)


@pytest.fixture
def remote(
    bucket: str, make_world: Callable[..., World], tmp_path: Path, request: pytest.FixtureRequest
) -> tuple[str, Dataset, Dataset]:
    """The URL of an archive of three shards, a dataset of it, and the same from the disk."""
    world = make_world(120)
    catalog = world.write()
    url = f"{bucket}/{request.node.name}"
    for path in (world.archive / "shards").iterdir():
        open_store(url).within("shards").put_file(path.name, path)
    build(world.archive, catalog, tmp_path / "near", Genre(classes=3))
    build(Path(url), catalog, tmp_path / "far", Genre(classes=3))
    return url, Dataset.load(tmp_path / "far"), Dataset.load(tmp_path / "near")


def files(folder: Path) -> list[str]:
    """Names in a cache, without its mark."""
    return sorted(path.name for path in folder.iterdir() if path.name != MARK)


def test_batches_from_a_bucket_are_those_from_the_disk(remote: tuple[str, Dataset, Dataset], tmp_path: Path) -> None:
    """Table and pixels; only the place in the card differs. A second loader fetches nothing."""
    url, far, near = remote
    assert far.digest == near.digest
    assert url in (far.folder / "dataset.json").read_text()
    options = CacheOptions(folder=tmp_path / "cache", limit_bytes=10**8)
    for _ in range(2):
        with mock.patch.dict(os.environ, {"KEYART_CACHE": str(options.folder), "KEYART_CACHE_GB": "0.1"}):
            loaders = [PosterLoader(dataset, SPEC, split="train") for dataset in (far, near)]
        for ours, theirs in zip(*loaders, strict=True):
            assert np.array_equal(ours.images, theirs.images)
            assert np.array_equal(ours.movie_ids, theirs.movie_ids)
        assert len(files(options.folder)) == 3
    store = Counted(url)
    PosterSource(store, far.table, cache=options).read(0)
    assert (store.whole, store.parts) == ([], [])


def test_a_small_cache_stays_small_and_fetches_single_posters(
    remote: tuple[str, Dataset, Dataset], tmp_path: Path
) -> None:
    """In random order the shards that fit are kept, and no shard is fetched twice; in order each is fetched once."""
    url, far, near = remote
    sizes = {path.name: path.stat().st_size for path in (near.archive / "shards").glob("*.tar")}
    limit_bytes = sum(sizes.values()) - min(sizes.values()) // 2
    expected = [PosterSource(near.archive, near.table).read(row) for row in range(len(near.table))]
    for in_order in (False, True):
        folder = tmp_path / f"cache-{in_order}"
        store = Counted(url)
        options = CacheOptions(folder=folder, limit_bytes=limit_bytes)
        source = PosterSource(store, far.table, in_order=in_order, cache=options)
        rows = np.arange(len(far.table)) if in_order else np.random.default_rng(0).permutation(len(far.table))
        assert all(source.read(int(row)) == expected[row] for row in rows)
        assert len(store.whole) == len(set(store.whole)) == (3 if in_order else 2)
        assert bool(store.parts) is not in_order
        assert sum(path.stat().st_size for path in folder.glob("*.tar")) <= limit_bytes


def test_several_at_once_fetch_a_shard_once(remote: tuple[str, Dataset, Dataset], tmp_path: Path) -> None:
    """Each has a cache object of its own, as processes have; the locks are between open files."""
    url, _, _ = remote
    store, found = Counted(f"{url}/shards"), list[bytes]()
    options = CacheOptions(folder=tmp_path / "cache", limit_bytes=10**8)

    def fetch() -> None:
        cache = ShardCache(store, options)
        found.extend(cache.open(f"shard-0000{number}").read(0, 512) for number in range(3))
        cache.close()

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 18
    assert len(set(found)) == 3
    assert sorted(store.whole) == [f"shard-0000{number}.tar" for number in range(3)]


def test_the_oldest_that_nobody_holds_goes_first(remote: tuple[str, Dataset, Dataset], tmp_path: Path) -> None:
    """What a process has open stays, and can be read to its end even after it was closed."""
    url, _, near = remote
    sizes = [path.stat().st_size for path in sorted((near.archive / "shards").glob("*.tar"))]
    options = CacheOptions(folder=tmp_path / "cache", limit_bytes=sizes[0] + sizes[1])
    holder, other = (ShardCache(BucketStore(f"{url}/shards"), options) for _ in range(2))
    held = holder.open("shard-00000")
    first = set(files(options.folder))
    other.open("shard-00001")
    other.close()
    other.open("shard-00002")
    assert first < set(files(options.folder))
    assert len(files(options.folder)) == 2
    holder.close()
    other.open("shard-00001")
    assert not first & set(files(options.folder))
    assert len(held.read(0, 512)) == 512


def test_a_shard_that_was_written_anew_is_fetched_anew(remote: tuple[str, Dataset, Dataset], tmp_path: Path) -> None:
    """The copy belongs to one version of the object."""
    url, _, _ = remote
    store, options = open_store(url).within("shards"), CacheOptions(folder=tmp_path / "cache", limit_bytes=10**8)
    assert isinstance(store, BucketStore)
    ShardCache(store, options).open("shard-00000")
    store.put("shard-00000.tar", b"another" * 100)
    assert ShardCache(store, options).open("shard-00000").read(0, 7) == b"another"


def test_what_is_missing_is_a_bad_poster_and_what_fails_ends_the_run(
    remote: tuple[str, Dataset, Dataset], tmp_path: Path
) -> None:
    """A lost shard costs its posters; a bucket that cannot be reached is no property of a poster."""
    url, far, _ = remote
    options = CacheOptions(folder=tmp_path / "cache", limit_bytes=10**8)
    open_store(url).within("shards").delete("shard-00002.tar")
    source = PosterSource(url, far.table, cache=options)
    last = far.table["shard"].to_list().index("shard-00002")
    assert source.read(last) is Reason.MISSING
    assert isinstance(source.read(0), bytes)
    with mock.patch.dict(os.environ, {"AWS_SECRET_ACCESS_KEY": "", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}):
        lonely = PosterSource(url, far.table, cache=options)
        with mock.patch("crawler.bucket._RETRIES", 0), pytest.raises(WorkFailed, match="cannot be read"):
            lonely.read(0)


def test_a_folder_with_other_files_is_no_cache(remote: tuple[str, Dataset, Dataset], tmp_path: Path) -> None:
    """Nothing that we did not fetch is ever removed."""
    url, far, _ = remote
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tar").touch()
    with pytest.raises(UnusableInput, match=r"holds other files; expected an empty or new folder in \$KEYART_CACHE"):
        PosterSource(url, far.table, cache=CacheOptions(folder=tmp_path / "mine", limit_bytes=1))
    with (
        mock.patch.dict(os.environ, {"KEYART_CACHE_GB": "many"}),
        pytest.raises(UnusableInput, match="KEYART_CACHE_GB 'many': expected a number of gigabytes above 0"),
    ):
        CacheOptions.from_environment()


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_killed_fetchers_leave_only_whole_shards(bucket: str, tmp_path: Path, kills: int) -> None:
    """After each `kill -9` the next ones go on; there is no half shard, no temporary file and no lock that holds."""
    url = f"{bucket}/kills-{kills}"
    store = BucketStore(url)
    for number in range(4):
        name = f"shard-{number}"
        store.put(f"{name}.tar", bytes(10_000_000) + name.encode())
    cache, limit_bytes = tmp_path / "cache", 25_000_000
    nursery = [sys.executable, str(Path(__file__).with_name("cache_nursery.py")), url, str(cache), str(limit_bytes)]
    root = {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([*nursery, str(kills), "1"], check=True, env=os.environ | root, timeout=280)
    assert all((cache / name).stat().st_size == 10_000_007 for name in files(cache))
    last = ShardCache(store, CacheOptions(folder=cache, limit_bytes=limit_bytes))
    assert [last.open(f"shard-{number}").read(10_000_000, 7) for number in range(4)] == [
        f"shard-{number}".encode() for number in range(4)
    ]
    assert len(files(cache)) == 2


def test_index_of_a_bucket_is_read_as_from_the_disk(remote: tuple[str, Dataset, Dataset]) -> None:
    """Whoever reads an archive may be given its URL."""
    url, _, near = remote
    assert read_index(url).equals(read_index(near.archive))
