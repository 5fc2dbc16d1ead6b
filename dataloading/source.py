"""Dataset rows -> encoded posters, read by offset from an archive's shards."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

from crawler.errors import UnusableInput
from crawler.records import Reason
from crawler.shards import SHARD_FOLDER, TAR_SUFFIX, ShardReader

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl


class PosterSource:
    """The posters of a dataset table; safe to read from several threads.

    Shards are mapped when they are first needed and stay mapped: the page cache is the only cache.
    """

    def __init__(self, archive: Path, table: pl.DataFrame, *, check_hash: bool = False) -> None:
        """Take the rows of a dataset table; nothing is opened yet.

        Args:
            archive: Folder that holds ``shards``.
            table: Rows with ``shard``, ``offset_bytes``, ``size_bytes`` and ``sha256``.
            check_hash: Compare the SHA-256 of every poster that is read.
        """
        self._folder = archive / SHARD_FOLDER
        self._shards = table["shard"].to_list()
        self._offsets = table["offset_bytes"].to_list()
        self._sizes = table["size_bytes"].to_list()
        self._hashes = table["sha256"].to_list() if check_hash else None
        self._readers: dict[str, ShardReader | None] = {}
        self._lock = threading.Lock()

    def read(self, row: int) -> bytes | Reason:
        """Copy one poster's bytes, or say why they cannot be had.

        Args:
            row: Index of the table.
        """
        reader = self._reader(self._shards[row])
        if reader is None:
            return Reason.MISSING
        body = reader.read(self._offsets[row], self._sizes[row])
        if len(body) < self._sizes[row]:
            return Reason.MISSING
        if self._hashes is not None and hashlib.sha256(body).hexdigest() != self._hashes[row]:
            return Reason.CORRUPT
        return body

    def _reader(self, name: str) -> ShardReader | None:
        try:
            return self._readers[name]
        except KeyError:
            pass
        with self._lock:
            if name not in self._readers:
                try:
                    self._readers[name] = ShardReader(self._folder / f"{name}{TAR_SUFFIX}")
                except UnusableInput:  # a lost shard costs its posters, not the run
                    self._readers[name] = None
            return self._readers[name]
