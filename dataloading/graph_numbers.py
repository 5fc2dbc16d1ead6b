"""Draws -> the numbers that a DALI graph is fed with: what to decode, to cut, to resize, to turn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from dataloading.preprocess import Draw, Preprocess

CONTEXT: Final = 16
"""Pixels beside a region that are decoded with it: chroma of half the size is enlarged with its neighbours, and
decoders work in blocks."""


def numbers(
    spec: Preprocess, plans: Sequence[Draw], sizes: Sequence[tuple[int, int]], *, turned: bool
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Give the numbers of the draws, one row a poster, under the names of the graph's inputs.

    Args:
        spec: What is wanted.
        plans: A draw for each poster.
        sizes: Height and width of each poster as it is shown.
        turned: Whether the graph rotates.
    """
    size = spec.size
    regions = [region(plan, *shown) for plan, shown in zip(plans, sizes, strict=True)]
    yield "region_start", np.array([(top, left) for top, left, _, _ in regions], np.int32)
    yield "region_shape", np.array([(height, width) for _, _, height, width in regions], np.int32)
    windows = [plan.window(size) for plan in plans]
    starts = [(plan.top - place[0], plan.left - place[1]) for plan, place in zip(plans, regions, strict=True)]
    yield "start", np.array(starts, np.int32)
    yield "shape", np.array([(plan.height, plan.width) for plan in plans], np.int32)
    yield "mirror", np.array([plan.flip for plan in plans], np.int32)
    if turned:
        yield "angle", np.array([plan.angle for plan in plans], np.float32)
        yield "window", np.array(windows, np.int32)
        parts = [(0, 0, plan.frame_height, plan.frame_width) for plan in plans]
    else:
        parts = [(*window, size, size) for window in windows]
    rows = [
        Axis.of(plan.height, plan.frame_height, top, height, spec)
        for plan, (top, _, height, _) in zip(plans, parts, strict=True)
    ]
    columns = [
        Axis.of(plan.width, plan.frame_width, left, width, spec)
        for plan, (_, left, _, width) in zip(plans, parts, strict=True)
    ]
    axes = list(zip(rows, columns, strict=True))
    yield "size", np.array([(len(y.gain), len(x.gain)) for y, x in axes], np.float32)
    yield "low", np.array([(y.low, x.low) for y, x in axes], np.float32)
    yield "high", np.array([(y.high, x.high) for y, x in axes], np.float32)
    if not spec.antialias:
        return
    yield "margin", np.array([(-y.margin, -x.margin) for y, x in axes], np.int32)
    yield "extent", np.array([(y.extent, x.extent) for y, x in axes], np.int32)
    yield "row_gain", np.stack([y.gain[:, None, None] for y in rows])
    yield "column_gain", np.stack([x.gain[None, :, None] for x in columns])


def region(plan: Draw, height: int, width: int) -> tuple[int, int, int, int]:
    """Give the part of a poster that is decoded for a draw: (top, left, height, width).

    Example:
        >>> from dataloading.preprocess import Preprocess, draw
        >>> region(draw(Preprocess(method="center_crop"), 300, 200), 300, 200)
        (34, 0, 232, 200)
    """
    top, left = max(plan.top - CONTEXT, 0), max(plan.left - CONTEXT, 0)
    bottom = min(plan.top + plan.height + CONTEXT, height)
    right = min(plan.left + plan.width + CONTEXT, width)
    if bottom <= top or right <= left:  # nothing of the poster is seen; something must be decoded
        return 0, 0, height, width
    return top, left, bottom - top, right - left


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """How one side of a cut becomes one side of a square."""

    margin: int
    """Black pixels that the cut gets at either end."""
    extent: int
    """Of the cut with its margins, in pixels."""
    low: float
    """Where the part that becomes the square begins, in pixels of the cut with its margins."""
    high: float
    gain: NDArray[np.float32]
    """What makes up for the margins, for each pixel of the square."""

    @classmethod
    @lru_cache(maxsize=4096)  # nearly all posters have one of a few sizes
    def of(cls, length: int, frame: int, offset: int, size: int, spec: Preprocess) -> Axis:
        """Plan an axis: ``size`` pixels from ``offset`` on of the ``frame`` that a cut of ``length`` is resized to."""
        step = length / frame
        if not spec.antialias:
            low, high = offset * step, (offset + size) * step
            return cls(margin=0, extent=length, low=low, high=high, gain=np.ones(size, np.float32))
        scale = max(step, 1.0)
        margin = math.ceil(scale) + 1
        centres = (offset + np.arange(size) + 0.5) * step
        places = np.floor(centres)[:, None] + np.arange(-margin, margin + 1)
        weights = np.maximum(1 - np.abs(places + 0.5 - centres[:, None]) / scale, 0)
        inside = weights * ((places >= 0) & (places < length))
        return cls(
            margin=margin,
            extent=length + 2 * margin,
            low=margin + offset * step,
            high=margin + (offset + size) * step,
            gain=(weights.sum(axis=1) / inside.sum(axis=1)).astype(np.float32),
        )
