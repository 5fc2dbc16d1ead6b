"""A draw and a poster's size -> the filter's weights, as the kernel takes them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from dataloading.kernels import taps
from dataloading.vectors import LANES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataloading.preprocess import Draw, Preprocess

PLANS_KEPT: Final = 1024
"""Weights that are remembered: posters of one size share them, at about 10 kB each."""

_Axis: TypeAlias = tuple[float, float, int, int, int, int]
"""Box start and length, poster length, frame length, corner and size, as ``kernels.taps`` takes them."""


@dataclass(frozen=True, slots=True)
class Down:
    """Weights of the rows."""

    top: int
    """First row of the poster that has any."""
    bottom: int
    """Last one, and one."""
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    weights: NDArray[np.float32]
    grey: NDArray[np.float32]
    """What the padding adds."""


@dataclass(frozen=True, slots=True)
class Across:
    """Weights of the columns, and what turns levels into the values of the batch."""

    left: int
    right: int
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    weights: NDArray[np.float32]
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]


class Weights:
    """Of one specification; shared by all threads."""

    def __init__(self, spec: Preprocess, scale: NDArray[np.float32], offset: NDArray[np.float32]) -> None:
        """Take float32 ``[3]``: what a level of each channel is multiplied by, and what is added then."""
        self._spec, self._scale, self._offset = spec, scale, offset
        self._down = lru_cache(PLANS_KEPT)(self._make_down)
        self._across = lru_cache(PLANS_KEPT)(self._make_across)

    def of(
        self, plan: Draw, shown_size: tuple[int, int], shrink: int, window: tuple[int, int] | None
    ) -> tuple[Down, Across]:
        """Plan a window of the frame, normalised; or (None) all of the frame as levels from 0 to 255, to be turned.

        Args:
            plan: What is done to the poster.
            shown_size: Of the poster, (height, width).
            shrink: What it was shrunk by while decoding.
            window: Where the square begins in the frame, (top, left).
        """
        top, left = window or (0, 0)
        out_height, out_width = (plan.frame_height, plan.frame_width) if window is None else (self._spec.size,) * 2
        height, width = (-(-side // shrink) for side in shown_size)
        down = self._down(plan.top / shrink, plan.height / shrink, height, plan.frame_height, top, out_height)
        across = self._across(
            (plan.left / shrink, plan.width / shrink, width, plan.frame_width, left, out_width),
            flip=plan.flip and window is not None,
            levels=window is None,
        )
        return down, across

    def _make_down(self, *axis: *_Axis) -> Down:
        first, count, weights, padding = taps(*axis, self._spec.antialias)
        return Down(*_extent(first, count), first, count, weights, padding * np.float32(self._spec.pad_value))

    def _make_across(self, axis: _Axis, *, flip: bool, levels: bool) -> Across:
        first, count, weights, padding = taps(*axis, self._spec.antialias)
        left, right = _extent(first, count)
        first[count == 0] = left
        if flip:
            first, count = np.ascontiguousarray(first[::-1]), np.ascontiguousarray(count[::-1])
            weights, padding = np.ascontiguousarray(weights[::-1]), padding[::-1]
        scale, offset = (np.ones(3, np.float32), np.zeros(3, np.float32)) if levels else (self._scale, self._offset)
        bias = offset[:, None] + scale[:, None] * padding * np.float32(self._spec.pad_value)
        scales = np.repeat(scale[:, None], LANES, axis=1)
        return Across(left, right, first, count, weights, scales, bias.astype(np.float32))


def _extent(first: NDArray[np.int64], count: NDArray[np.int64]) -> tuple[int, int]:
    """Give the first pixel that has any weight and the last, and one; some pixel where none has."""
    used = count > 0
    return (int(first[used].min()), int((first + count).max())) if used.any() else (0, 1)
