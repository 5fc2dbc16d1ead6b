"""(seed, epoch, rank, world size, samples done) -> which posters come next, without a state of its own.

An epoch is one sequence of all posters, the same for every rank. A *step* takes the next stretch of it and divides it
over the ranks, so that after any step exactly a prefix of the sequence has been seen, by whichever number of ranks.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GAMMA: Final = 0x9E3779B97F4A7C15
_MASK: Final = 2**64 - 1


class LastStep(StrEnum):
    """What happens to the end of an epoch that does not fill a batch on every rank."""

    PARTIAL = "partial"
    """Smaller batches whose sizes differ by at most one: every poster exactly once. A rank goes without a poster only
    where fewer posters are left than there are ranks."""
    REPEAT = "repeat"
    """Full batches, filled up from the beginning of the epoch's sequence: every poster at least once."""
    DROP = "drop"
    """The rest is left out: full batches, every poster at most once."""


def scramble(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix the bits of each word (splitmix64): a cheap hash that is the same on every machine and version.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    with np.errstate(over="ignore"):
        value = value + np.uint64(_GAMMA)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


def keyed(ids: NDArray[np.int64], *keys: int) -> NDArray[np.uint64]:
    """Hash ids under some keys, such as a seed and an epoch.

    Returns:
        uint64 [n], independent for each id and each tuple of keys.
    """
    state = np.zeros(1, dtype=np.uint64)
    for key in keys:
        state = scramble(state ^ np.uint64(key & _MASK))
    return scramble(scramble(ids.astype(np.uint64)) ^ state)


def epoch_sequence(movie_ids: NDArray[np.int64], *, seed: int, epoch: int, shuffle: bool) -> NDArray[np.int64]:
    """Give the order of one epoch.

    Args:
        movie_ids: int64 [n], distinct.
        seed: Of the run.
        epoch: Counted from 0.
        shuffle: False keeps the order of the table.

    Returns:
        int64 [n]: indices of ``movie_ids``.

    Example:
        >>> epoch_sequence(np.array([5, 9, 862]), seed=0, epoch=0, shuffle=False).tolist()
        [0, 1, 2]
    """
    if not shuffle:
        return np.arange(len(movie_ids))
    return np.argsort(keyed(movie_ids, seed, epoch), kind="stable")


def step_sizes(samples: int, *, world_size: int, batch_size: int, last: LastStep) -> list[int]:
    """Divide what is left of an epoch into steps.

    Args:
        samples: Posters not yet seen.
        world_size: Number of ranks.
        batch_size: Of each rank.
        last: What to do with the rest.

    Returns:
        Posters of each step over all ranks. They add up to ``samples`` but for ``DROP`` (less) and ``REPEAT`` (more).

    Example:
        >>> step_sizes(10, world_size=2, batch_size=3, last=LastStep.PARTIAL)
        [6, 4]
        >>> step_sizes(13, world_size=2, batch_size=3, last=LastStep.PARTIAL)
        [6, 5, 2]
    """
    full = world_size * batch_size
    steps, rest = divmod(samples, full)
    sizes = [full] * steps
    if not rest or last is LastStep.DROP:
        return sizes
    if last is LastStep.REPEAT:
        return [*sizes, full]
    if sizes and rest < world_size:  # the step before lends, so that no rank goes without
        lent = world_size - rest
        return [*sizes[:-1], full - lent, rest + lent]
    return [*sizes, rest]


def rank_share(size: int, *, rank: int, world_size: int) -> slice:
    """Give the part of a step of ``size`` posters that one rank takes.

    Example:
        >>> rank_share(5, rank=1, world_size=2)
        slice(3, 5, None)
    """
    small, larger = divmod(size, world_size)
    start = rank * small + min(rank, larger)
    return slice(start, start + small + (rank < larger))


def position_digest(epoch: int, positions: NDArray[np.int64], movie_ids: NDArray[np.int64]) -> int:
    """Digest which poster stood where in an epoch; the digests of any parts add up to that of the whole.

    Args:
        epoch: Counted from 0.
        positions: int64 [n], places in the epoch's sequence.
        movie_ids: int64 [n], what stood there.

    Returns:
        64 bits; add modulo 2**64.
    """
    hashes = scramble(keyed(movie_ids, epoch) ^ scramble(positions.astype(np.uint64)))
    return int(hashes.sum(dtype=np.uint64))
