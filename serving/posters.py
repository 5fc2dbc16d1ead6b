"""What a chunk of a source is when it is open: posters by their place in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawler.records import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Posters:
    """An open chunk: one entry per requested poster, in the order of the prediction file."""

    movie_ids: list[int | None]
    sources: list[str | None]
    """Path or address, where the poster has no id."""
    read: Callable[[int], bytes | Reason]
    """Encoded bytes of the poster at an index, or why there are none."""

    def __len__(self) -> int:
        return len(self.movie_ids)
