"""Posters that cannot be prepared -> what stands in their places, and one line about them."""

from __future__ import annotations

import logging
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from crawler.errors import WorkFailed
from dataloading.order import keyed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crawler.records import Reason

log = logging.getLogger(__name__)

REPLACEMENTS: Final = 64
"""Posters tried in place of a bad one; if all of them are bad, so is the archive."""
NAMED: Final = 10
"""Movies that the report names."""


class OnBad(StrEnum):
    """What stands in a batch in place of a poster that cannot be prepared."""

    REPLACE = "replace"
    """Another poster of the split, chosen by (seed, epoch, movie_id)."""
    MASK = "mask"
    """A black image with the target ``IGNORED``."""


class Quarantine:
    """The bad posters of a split, found one by one; safe to use from several threads."""

    def __init__(self, movie_ids: NDArray[np.int64], *, seed: int) -> None:
        """Begin without a bad poster.

        Args:
            movie_ids: int64 [n], the rows of the split.
            seed: Of the run; decides what replaces what.
        """
        self._movie_ids, self._seed = movie_ids, seed
        self._reasons: dict[int, Reason] = {}
        self._reported = 0

    @property
    def reasons(self) -> dict[int, Reason]:
        """Why, by movie."""
        return dict(self._reasons)

    def add(self, row: int, reason: Reason) -> None:
        """Note that a row's poster is bad."""
        self._reasons.setdefault(int(self._movie_ids[row]), reason)

    def reason(self, row: int) -> Reason | None:
        """Say why a row's poster is bad, or None."""
        return self._reasons.get(int(self._movie_ids[row]))

    def substitute(self, epoch: int, row: int) -> int:
        """Give the row itself or, where it is known to be bad, the first of its replacements that is not.

        The replacements follow from (seed, epoch, movie_id), so the choice does not depend on when a poster was found
        to be bad.

        Raises:
            WorkFailed: So many posters are bad that none was found.
        """
        if not self._reasons:
            return row
        movie_id, candidate = self._movie_ids[row : row + 1], row
        for attempt in range(REPLACEMENTS):
            if int(self._movie_ids[candidate]) not in self._reasons:
                return candidate
            candidate = int(keyed(movie_id, self._seed, epoch, attempt)[0] % np.uint64(len(self._movie_ids)))
        reason, count = Counter(self.reasons.values()).most_common(1)[0]
        msg = (
            f"dataset: {len(self._reasons):,} of {len(self._movie_ids):,} posters cannot be prepared ({count:,} "
            f"{reason}), too many to replace; check the archive"
        )
        raise WorkFailed(msg)

    def report(self, on_bad: OnBad) -> None:
        """Log one line if bad posters were found since the last report."""
        if len(self._reasons) > self._reported:
            self._reported = len(self._reasons)
            reasons = ", ".join(f"{reason} {count}" for reason, count in Counter(self.reasons.values()).items())
            log.warning(
                "%d of %d posters quarantined (%s), each %s: %s",
                self._reported,
                len(self._movie_ids),
                reasons,
                "masked" if on_bad is OnBad.MASK else "replaced",
                ", ".join(str(movie_id) for movie_id in sorted(self._reasons)[:NAMED]),
            )
