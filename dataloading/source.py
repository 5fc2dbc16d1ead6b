"""Dataset rows -> encoded posters, read by offset from an archive's shards, on a disk or in a bucket."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crawler.bucket import BucketStore
from crawler.errors import UnusableInput
from crawler.records import Reason
from crawler.shards import SHARD_FOLDER, TAR_SUFFIX, ShardReader
from crawler.storage import open_store
from dataloading.cache import CacheOptions, ShardCache, whole_shards

if TYPE_CHECKING:
    import polars as pl

    from crawler.storage import Place, Store

_END_BYTES: Final = 4096
"""What follows a shard's last poster: its card and the end of the tar."""


class PosterSource:
    """The posters of a dataset table; safe to read from several threads.

    On a disk, shards are mapped when they are first needed and stay mapped: the page cache is the only cache. From a
    bucket they are fetched whole into a local cache (``dataloading.cache``). Where they do not all fit and the order
    is random, those that fit are kept, and posters of the others are fetched one by one.
    """

    def __init__(
        self,
        archive: Place | Store,
        table: pl.DataFrame,
        *,
        check_hash: bool = False,
        in_order: bool = True,
        cache: CacheOptions | None = None,
    ) -> None:
        """Take the rows of a dataset table; nothing is opened yet.

        Args:
            archive: Folder that holds ``shards``, or its URL.
            table: Rows with ``shard``, ``offset_bytes``, ``size_bytes`` and ``sha256``.
            check_hash: Compare the SHA-256 of every poster that is read.
            in_order: Posters are read more or less shard by shard.
            cache: For shards from a bucket; None takes it from the environment.
        """
        self._store = open_store(archive).within(SHARD_FOLDER)
        self._shards = table["shard"].to_list()
        self._offsets = table["offset_bytes"].to_list()
        self._sizes = table["size_bytes"].to_list()
        self._hashes = table["sha256"].to_list() if check_hash else None
        self._readers: dict[str, ShardReader | None] = {}
        self._lock = threading.Lock()
        self._cache: ShardCache | None = None
        self._whole = frozenset(self._shards)
        if isinstance(self._store, BucketStore):
            options = cache or CacheOptions.from_environment()
            self._cache = ShardCache(self._store, options)
            if not in_order:
                self._whole = whole_shards(self._shard_bytes(), options.limit_bytes)

    def read(self, row: int) -> bytes | Reason:
        """Copy one poster's bytes, or say why they cannot be had.

        Args:
            row: Index of the table.

        Raises:
            WorkFailed: The bucket cannot be read.
        """
        name, place = self._shards[row], (self._offsets[row], self._sizes[row])
        try:
            body = self._read(name, *place)
        except UnusableInput:  # a lost shard costs its posters, not the run
            return Reason.MISSING
        if len(body) < self._sizes[row]:
            return Reason.MISSING
        if self._hashes is not None and hashlib.sha256(body).hexdigest() != self._hashes[row]:
            return Reason.CORRUPT
        return body

    def _read(self, name: str, offset_bytes: int, size_bytes: int) -> bytes:
        if self._cache is None:
            reader = self._reader(name)
        elif name in self._whole:
            reader = self._cache.open(name)
        else:
            return self._store.read_range(f"{name}{TAR_SUFFIX}", offset_bytes, size_bytes)
        return b"" if reader is None else reader.read(offset_bytes, size_bytes)

    def _shard_bytes(self) -> dict[str, int]:
        """Say how large each shard is, by its last poster; those with most of the table's posters first."""
        ends: dict[str, int] = {}
        count: dict[str, int] = {}
        for name, offset, size in zip(self._shards, self._offsets, self._sizes, strict=True):
            ends[name] = max(ends.get(name, 0), offset + size + _END_BYTES)
            count[name] = count.get(name, 0) + 1
        return {name: ends[name] for name in sorted(ends, key=lambda one: (-count[one], one))}

    def _reader(self, name: str) -> ShardReader | None:
        try:
            return self._readers[name]
        except KeyError:
            pass
        with self._lock:
            if name not in self._readers:
                try:
                    self._readers[name] = ShardReader((self._store.folder or Path()) / f"{name}{TAR_SUFFIX}")
                except UnusableInput:
                    self._readers[name] = None
            return self._readers[name]
