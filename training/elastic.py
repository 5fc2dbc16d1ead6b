"""What a cluster has room for now -> how many workers a group of them begins with."""

from __future__ import annotations

from dataclasses import dataclass

from crawler.errors import UnusableInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Elastic:
    """How many workers a training may go on with, when some are lost or more can be had."""

    least: int
    most: int

    def __post_init__(self) -> None:
        """Check the range."""
        if not 1 <= self.least <= self.most:
            msg = f"--elastic {self.least} {self.most}: expected 1 or more workers, the smaller number first"
            raise UnusableInput(msg)

    def fitting(self, room: int, batch_size: int) -> int:
        """Give the most workers that there is room for and that divide a batch; 0 where there are too few.

        Example:
            >>> Elastic(least=1, most=4).fitting(3, 8)
            2
        """
        return next((n for n in range(min(self.most, room), self.least - 1, -1) if batch_size % n == 0), 0)
