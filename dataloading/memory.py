"""Batches that are done with -> memory for the next ones."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class BatchMemory:
    """Arrays that are handed out again once nobody refers to them, so that their pages are touched but once.

    Example:
        >>> memory = BatchMemory((2, 3, 8, 8), spare=4)
        >>> view = memory.take()[:1]
        >>> memory.take() is view.base  # still in use
        False
    """

    def __init__(self, shape: Sequence[int], spare: int) -> None:
        """Keep up to ``spare`` float32 arrays of ``shape``."""
        self._shape, self._spare = tuple(shape), spare
        self._arrays: list[NDArray[np.float32]] = []
        self._lock = threading.Lock()
        self._unused = self._references([np.empty(0, np.float32)], 0)

    def take(self) -> NDArray[np.float32]:
        """Give an array that nobody else refers to; its contents are arbitrary."""
        with self._lock:
            for place in range(len(self._arrays)):
                if self._references(self._arrays, place) == self._unused:
                    return self._arrays[place]
            array = np.empty(self._shape, np.float32)
            if len(self._arrays) < self._spare:
                self._arrays.append(array)
            return array

    @staticmethod
    def _references(arrays: list[Any], place: int) -> int:
        return sys.getrefcount(arrays[place])
