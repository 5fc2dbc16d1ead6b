"""What every loader in the comparison is given."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Poster:
    """One poster that a contender writes in its own format."""

    movie_id: int
    target: int
    body: bytes
    dataset: str
    """Folder of the dataset that it is from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What every contender is given."""

    batch_size: int = 32
    threads: int = 2
    """Threads or worker processes."""
    size: int = 224
    warm_up_batches: int = 12
    """Not counted: worker processes start, kernels load, the page cache fills."""
