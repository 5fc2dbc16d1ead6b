"""Archive and movie ids -> the archive without these movies' posters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from crawler.archive import locked
from crawler.errors import UnusableInput
from crawler.records import Failure, PosterRecord, Reason
from crawler.shards import committed_shards, open_shard, read_outcomes, read_sidecar, write_shard

if TYPE_CHECKING:
    from collections.abc import Collection

    from crawler.records import PosterRequest
    from crawler.storage import Place, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalReport:
    """What was taken out."""

    archive: str
    removed: int
    """Posters whose bytes are gone now."""
    shards: int
    """Shards that were written again."""

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.archive}: {self.removed:,} posters removed, {self.shards:,} shards written again"


def remove(archive: Place, movie_ids: Collection[int]) -> RemovalReport:
    """Take posters out of an archive; their rows stay, with the reason ``removed``.

    Each shard is written again and committed like any other, so that an interruption leaves it whole, before or after.

    Args:
        archive: Folder of the archive, or its URL.
        movie_ids: TMDb ids.

    Raises:
        UnusableInput: It is no archive, or a movie is not in it.
        WorkFailed: A crawl is writing to it.
    """
    with locked(archive) as folder:
        rows = {name: read_sidecar(folder, name) for name in committed_shards(folder)}
        known = {movie_id for sidecar in rows.values() for movie_id in sidecar["movie_id"]}
        if not movie_ids or not known.issuperset(movie_ids):
            which = f"movie {min(set(movie_ids) - known)} is not in it" if movie_ids else "no movie was named"
            msg = f"archive {archive}: {which}; expected TMDb ids of its movies, like 862"
            raise UnusableInput(msg)
        touched = {name: sidecar for name, sidecar in rows.items() if set(movie_ids) & set(sidecar["movie_id"])}
        removed = sum(_rewrite(folder, name, sidecar, movie_ids) for name, sidecar in touched.items())
        return RemovalReport(archive=str(archive), removed=removed, shards=len(touched))


def _rewrite(folder: Store, name: str, sidecar: pl.DataFrame, movie_ids: Collection[int]) -> int:
    now = datetime.now(UTC)
    places = {row["movie_id"]: (row["offset_bytes"], row["size_bytes"]) for row in sidecar.iter_rows(named=True)}
    outcomes = [
        outcome
        if outcome.movie_id not in movie_ids
        else Failure(request=_request(outcome), reason=Reason.REMOVED, attempts=0, fetched_at=now)
        for outcome in read_outcomes(folder, name)
    ]
    with open_shard(folder, name) as shard:
        write_shard(folder, name, outcomes, lambda record: shard.read(*places[record.movie_id]))
    return sidecar.filter(pl.col("movie_id").is_in(list(movie_ids)) & pl.col("offset_bytes").is_not_null()).height


def _request(outcome: PosterRecord | Failure) -> PosterRequest:
    return outcome.fetched.request if isinstance(outcome, PosterRecord) else outcome.request
