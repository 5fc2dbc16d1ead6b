"""Difference hashes -> groups of near-identical posters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numba
import numpy as np
import polars as pl

from crawler.errors import UnusableInput
from crawler.records import Status
from crawler.shards import read_index

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crawler.storage import Place

POSTER_DISTANCE: Final = 4
"""Bits of 64 in which the dhash of near-identical posters may differ.

Measured on 16,256 real posters: enlarged by half and saved again at quality 80, 99.4 % stay within 4 bits, reduced to
half at quality 60 94.4 %; of the 132 million pairs of different files 31 are that close. More bits would join
strangers: 202 pairs at 6, 1,198 at 8.
"""

HASH_BITS: Final = 64
_BLOCK: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicatesReport:
    """Groups of posters that look the same."""

    archive: str
    distance: int
    """Bits of 64 in which two neighbours of a group may differ."""
    posters: int
    duplicates: int
    """Posters beyond the first of their group."""
    groups: tuple[tuple[int, ...], ...]
    """Movie ids of each group of two or more, the largest group first."""

    def __str__(self) -> str:
        """One screen for a person."""
        head = (
            f"{self.duplicates:,} of {self.posters:,} posters repeat another one within {self.distance} bits, "
            f"in {len(self.groups):,} groups"
        )
        shown = [f"  {' '.join(map(str, group[:12]))}{' ...' if len(group) > 12 else ''}" for group in self.groups[:15]]  # noqa: PLR2004  a screen
        more = [f"  and {len(self.groups) - 15:,} groups more; --json has all"] if len(self.groups) > 15 else []  # noqa: PLR2004
        return "\n".join([head, *shown, *more])


def duplicates(archive: Place, distance: int = POSTER_DISTANCE) -> DuplicatesReport:
    """Group the near-identical posters of an archive.

    Args:
        archive: Folder of the archive, or its URL.
        distance: Bits in which the hashes of two neighbours may differ.

    Raises:
        UnusableInput: It is no archive, or ``distance`` is not 0 to 63.
    """
    if not 0 <= distance < HASH_BITS:
        msg = f"--distance {distance}: expected 0 to {HASH_BITS - 1} bits"
        raise UnusableInput(msg)
    stored = read_index(archive).filter(pl.col("status") == Status.OK)
    clusters = pl.Series("cluster", near_identical(stored["dhash"].to_numpy(), distance))
    groups = (
        stored.select("movie_id")
        .with_columns(clusters)
        .group_by("cluster", maintain_order=True)
        .agg("movie_id")
        .filter(pl.col("movie_id").list.len() > 1)
        .sort(pl.col("movie_id").list.len(), descending=True, maintain_order=True)
    )
    found = tuple(tuple(group) for group in groups["movie_id"].to_list())
    return DuplicatesReport(
        archive=str(archive),
        distance=distance,
        posters=stored.height,
        duplicates=sum(len(group) - 1 for group in found),
        groups=found,
    )


def near_identical(hashes: NDArray[np.uint64], distance: int) -> NDArray[np.int64]:
    """Cluster hashes that differ in at most ``distance`` bits, directly or over others in between.

    Every pair is compared (45,466 posters: half a second on one core), so none is missed.

    Args:
        hashes: uint64 [n].
        distance: Bits, 0 to 63.

    Returns:
        int64 [n]: the index of the first member of each one's cluster.
    """
    distinct, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    roots = _cluster(distinct, np.uint64(distance))
    lowest = np.full(len(distinct), len(hashes), dtype=np.int64)
    np.minimum.at(lowest, roots, first)
    return lowest[roots][inverse]


@numba.njit(cache=True, nogil=True)
def _bit_count(word: Any) -> Any:  # pragma: no cover - compiled; LLVM knows the idiom as one instruction
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@numba.njit(cache=True, nogil=True)
def root(parents: Any, node: int) -> int:  # pragma: no cover - compiled
    """Find the smallest member of a node's set; paths are halved on the way."""
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@numba.njit(cache=True, nogil=True)
def unite(parents: Any, left: int, right: int) -> None:  # pragma: no cover - compiled
    """Make two sets one."""
    left, right = root(parents, left), root(parents, right)
    parents[max(left, right)] = min(left, right)  # so that the root is the smallest member


@numba.njit(cache=True, nogil=True)
def _cluster(hashes: Any, distance: Any) -> Any:  # pragma: no cover - compiled
    count = len(hashes)
    parents = np.arange(count)
    for left in range(count):
        for start in range(left + 1, count, _BLOCK):
            stop = min(start + _BLOCK, count)
            nearest = np.uint64(HASH_BITS)
            for right in range(start, stop):  # no branch: this loop is what vectorises
                nearest = min(nearest, _bit_count(hashes[left] ^ hashes[right]))
            if nearest <= distance:
                for right in range(start, stop):
                    if _bit_count(hashes[left] ^ hashes[right]) <= distance:
                        unite(parents, left, right)
    for node in range(count):
        parents[node] = root(parents, node)
    return parents
