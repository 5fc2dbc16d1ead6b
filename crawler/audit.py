"""Archive -> what is wrong with it, and what is in it."""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from crawler.archive import read_manifest
from crawler.errors import UnusableInput, WorkFailed
from crawler.progress import Advance, silent
from crawler.records import Status
from crawler.shards import SHARD_FOLDER, TAR_SUFFIX, committed_shards, local_tar, read_index, read_sidecar
from crawler.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from crawler.storage import Place, Store

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """An archive that is whole."""

    archive: str
    shards: int
    posters: int
    """Posters whose bytes were hashed."""
    missing_shards: int
    """Shards that are still to be crawled."""

    def __str__(self) -> str:
        """One line for a person."""
        left = f"; {self.missing_shards:,} shards are still to be crawled" if self.missing_shards else ""
        return f"{self.archive}: {self.shards:,} shards and {self.posters:,} posters are whole{left}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveStats:
    """What is in an archive."""

    archive: str
    requested: int
    """Rows in the sidecars so far."""
    ok: int
    failed: Mapping[str, int]
    """By reason, most frequent first."""
    shards: int
    size_bytes: int
    """Of all posters."""
    size_bytes_median: float
    height_median: float
    width_median: float
    same_bytes: int
    """Posters that repeat the bytes of another one."""
    same_dhash: int
    """Posters that look like another one (equal dhash); those with the same bytes included."""
    attempts_mean: float
    images_per_s: float
    """Stored posters by the time between the first and the last; pauses between crawls count as time."""

    def __str__(self) -> str:
        """One screen for a person."""
        reasons = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in self.failed.items())
        return "\n".join(
            [
                f"{self.ok:,} of {self.requested:,} posters in {self.shards:,} shards, {self.size_bytes / 1e6:,.1f} MB",
                f"  failed     {reasons or 'none'}",
                f"  median     {self.height_median:.0f}x{self.width_median:.0f}, {self.size_bytes_median:,.0f} bytes",
                f"  duplicates {self.same_bytes:,} with the same bytes, {self.same_dhash:,} with the same dhash",
                f"  crawl      {self.attempts_mean:.2f} attempts per poster, {self.images_per_s:,.1f} posters/s",
            ]
        )


def verify(archive: Place, advance: Advance = silent) -> VerifyReport:
    """Read every byte of an archive and compare it with its sidecars.

    Raises:
        UnusableInput: It is no archive.
        WorkFailed: Something is wrong; the text says what, shard by shard.
    """
    manifest = read_manifest(archive)
    folder = open_store(archive).within(SHARD_FOLDER)
    expected = [f"shard-{index:05d}" for index in range(-(-manifest.requested // manifest.shard_size))]
    committed = committed_shards(folder)
    problems = [f"{name}: not a shard of this crawl" for name in committed if name not in set(expected)]
    posters = 0
    for name in committed:
        index = expected.index(name) if name in expected else -1
        rows = min(manifest.shard_size, manifest.requested - index * manifest.shard_size)
        found = list(_shard_problems(folder, name, rows))
        problems += [f"{name}: {problem}" for problem in found]
        posters += 0 if found else read_sidecar(folder, name)["offset_bytes"].count()
        advance(1)
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        msg = (
            f"archive {archive}: {'; '.join(problems[:_SHOWN])}{more}; delete the .parquet file of each shard named "
            "here and crawl again with the same command"
        )
        raise WorkFailed(msg)
    return VerifyReport(
        archive=str(archive), shards=len(committed), posters=posters, missing_shards=len(expected) - len(committed)
    )


def stats(archive: Place) -> ArchiveStats:
    """Count what is in an archive.

    Raises:
        UnusableInput: It is no archive, or holds no shard.
    """
    read_manifest(archive)
    index = read_index(archive)
    stored = index.filter(pl.col("status") == Status.OK)
    reasons = index.drop_nulls("reason").group_by("reason").len().sort("len", "reason", descending=[True, False])
    milliseconds = stored["fetched_at"].dt.timestamp("ms").to_list()
    span_s = (max(milliseconds) - min(milliseconds)) / 1000 if milliseconds else 0.0
    return ArchiveStats(
        archive=str(archive),
        requested=index.height,
        ok=stored.height,
        failed=dict(reasons.iter_rows()),
        shards=index["shard"].n_unique(),
        size_bytes=int(stored["size_bytes"].sum()),
        size_bytes_median=_median(stored["size_bytes"]),
        height_median=_median(stored["height"]),
        width_median=_median(stored["width"]),
        same_bytes=stored.height - stored["sha256"].n_unique(),
        same_dhash=stored.height - stored["dhash"].n_unique(),
        attempts_mean=float(index["attempts"].cast(pl.Float64).sum() / max(1, index.height)),
        images_per_s=stored.height / span_s if span_s else 0.0,
    )


def _median(values: pl.Series) -> float:
    return float(values.cast(pl.Float64).quantile(0.5) or 0.0)


def _shard_problems(folder: Store, name: str, rows: int) -> Iterator[str]:
    """Say what is wrong with one committed shard."""
    try:
        sidecar = read_sidecar(folder, name)
    except UnusableInput as error:
        yield str(error)
        return
    if sidecar.height != rows:
        yield f"{sidecar.height} rows in the sidecar, expected {rows}"
    ids = sidecar["movie_id"]
    if not (ids.is_sorted() and ids.is_unique().all()):
        yield "movie ids in the sidecar are not in order, each once"
    if sidecar.filter((pl.col("status") == Status.OK) != pl.col("reason").is_null()).height:
        yield "a row of the sidecar is neither stored nor failed for a reason"
    stored = {row["movie_id"]: row for row in sidecar.drop_nulls("offset_bytes").iter_rows(named=True)}
    try:
        with local_tar(folder, name) as path, tarfile.open(path, "r:") as tar:
            yield from _member_problems(tar, stored)
    except (OSError, tarfile.TarError) as error:
        yield f"{name}{TAR_SUFFIX} is torn or no tar ({error})"


def _member_problems(tar: tarfile.TarFile, stored: Mapping[int, Mapping[str, Any]]) -> Iterator[str]:
    names: list[str] = []
    for member in tar:
        names.append(member.name)
        movie_id, _, suffix = member.name.rpartition(".")
        row = stored.get(int(movie_id)) if movie_id.isdecimal() else None
        stream = tar.extractfile(member)
        if row is None or stream is None:
            yield f"{member.name} has no row in the sidecar"
            continue
        body = stream.read()
        if suffix == "json":
            if not _same_card(body, row):
                yield f"{member.name} differs from the sidecar"
        elif (member.offset_data, len(body)) != (row["offset_bytes"], row["size_bytes"]):
            yield f"{member.name} is not at the offset in the sidecar, or is cut"
        elif hashlib.sha256(body).hexdigest() != row["sha256"]:
            yield f"{member.name} has other bytes than the sidecar's sha256"
    expected = [f"{movie_id}.{suffix}" for movie_id in sorted(stored) for suffix in ("jpg", "json")]
    if names != expected:
        missing = [name for name in expected if name not in set(names)]
        yield f"{missing[0]} is missing from the tar" if missing else "the members of the tar are not in order"


def _same_card(body: bytes, row: Mapping[str, Any]) -> bool:
    try:
        card = json.loads(body)
    except ValueError:
        return False
    return card == {
        "movie_id": row["movie_id"],
        "height": row["height"],
        "width": row["width"],
        "sha256": row["sha256"],
        "dhash": f"{row['dhash']:016x}",
    }
