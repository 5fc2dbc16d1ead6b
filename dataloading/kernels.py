"""Decoded poster -> one image of the batch, compiled: cut, pad, resize, mirror and normalise in one go.

Sixteen (``LANES``) rows of the output are made at a time, from the pixels that they need to their place in the batch,
without leaving the first-level cache:

1. down: each row is a weighted sum of two or three rows of the poster, bytes to floats, contiguous;
2. the rows are transposed, so that a vector holds the same pixel and colour of sixteen rows;
3. across: each column is a weighted sum of two or three such vectors, for any position and any number of weights;
4. the columns are transposed back, normalised, and stored past the caches straight into the batch.

So every multiplication is one that the filter asks for, sixteen at a time, and there is no gather anywhere.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

from dataloading.vectors import (
    LANES,
    LINE_BYTES,
    fence,
    fused,
    load,
    load_bytes,
    spread,
    store,
    transpose,
    transpose_scaled,
    transpose_streamed,
    zeros,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRIP: Final = 4 * LANES
"""Bytes of a row that step 1 makes before step 2 turns them: few enough for the cache, enough to set up for."""
SLACK_BYTES: Final = STRIP
"""What must be readable behind a poster's last pixel, whatever it holds."""


@njit(nogil=True, cache=True)
def taps(
    box_start: float,
    box_length: float,
    poster_length: int,
    frame_length: int,
    corner: int,
    size: int,
    antialias: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Work out which pixels of the poster make each pixel of the output, along one axis, bilinearly.

    Args:
        box_start: Of the cut, in pixels of the poster.
        box_length: Likewise.
        poster_length: Likewise.
        frame_length: What the cut is resized to.
        corner: Where the output begins in the frame.
        size: Of the output.
        antialias: Widen the filter when shrinking, as Pillow does.

    Returns:
        First pixel int64 ``[size]``, number of pixels int64 ``[size]``, their weights float32 ``[size, k]``, and the
        weight of the padding float32 ``[size]``.
    """
    scale = box_length / frame_length
    support = max(scale, 1.0) if antialias else 1.0
    box_first, box_last = math.floor(box_start + 1e-6), math.ceil(box_start + box_length - 1e-6) - 1
    first, count = np.zeros(size, np.int64), np.zeros(size, np.int64)
    weights = np.zeros((size, math.ceil(support) * 2 + 2), np.float32)
    padding = np.zeros(size, np.float32)
    for i in range(size):
        center = box_start + (corner + i + 0.5) * scale
        low, high = math.floor(center - support + 0.5), math.floor(center + support + 0.5)
        if antialias:  # as Pillow: what lies outside the cut has no weight
            low, high = max(low, box_first), min(high, box_last + 1)
        total = 0.0
        for j in range(low, high):
            total += max(0.0, 1.0 - abs(j + 0.5 - center) / support)
        for j in range(low, high):
            weight = max(0.0, 1.0 - abs(j + 0.5 - center) / support) / total
            at = min(max(j, box_first), box_last)  # without antialias: the edge of the cut repeated
            if weight == 0.0:
                continue
            if at < 0 or at >= poster_length:
                padding[i] += weight
                continue
            if count[i] == 0:
                first[i] = at
            weights[i, at - first[i]] += weight
            count[i] = at - first[i] + 1
    return first, count, weights, padding


@njit(nogil=True, cache=True)
def resample(
    pixels: NDArray[np.uint8],
    pixels_top: int,
    pixels_left: int,
    left: int,
    right: int,
    first_y: NDArray[np.int64],
    count_y: NDArray[np.int64],
    weights_y: NDArray[np.float32],
    grey_y: NDArray[np.float32],
    first_x: NDArray[np.int64],
    count_x: NDArray[np.int64],
    weights_x: NDArray[np.float32],
    scale: NDArray[np.float32],
    bias: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Make one image.

    Args:
        pixels: uint8 ``[h, w, 3]``, RGB, with ``SLACK_BYTES`` behind it: the part of the poster that has weights.
        pixels_top: Row of the poster at which it begins.
        pixels_left: Column, likewise.
        left: First column of the poster that any weight needs.
        right: Last such column, and one.
        first_y: First row of the poster for each row of the output; see ``taps``.
        count_y: Number of rows.
        weights_y: Of these rows.
        grey_y: What the padding adds to each row, 0 to 255.
        first_x: First column for each column of the output.
        count_x: Number of columns.
        weights_x: Of these columns.
        scale: float32 ``[3, LANES]``: what a level of each channel is multiplied by.
        bias: float32 ``[3, width]``: what is added then, for each channel and column of the output.
        out: float32 ``[3, height, width]``, contiguous, both sides at least ``LANES``; filled.
    """
    _, height, width = out.shape
    stride = 3 * pixels.shape[1]
    origin = 3 * (left - pixels_left) - pixels_top * stride
    strips = (3 * (right - left) + STRIP - 1) // STRIP * STRIP
    turned, turned_at = _scratch(strips * LANES)
    rows, rows_at = _scratch(LANES * STRIP)
    tile, tile_at = _scratch(3 * LANES * LANES)
    shift = -out.ctypes.data % LINE_BYTES // 4  # where the first whole line of a row begins, if all rows are alike
    alike = width % LANES == 0 and out.ctypes.data % 4 == 0
    taps_x = weights_x.shape[1]
    for row in range(0, height, LANES):
        y = min(row, height - LANES)  # the last rows again, where the height is no multiple
        for strip in range(0, strips, STRIP):
            _down(pixels, stride, origin + strip, y, first_y, count_y, weights_y, grey_y, rows, rows_at)
            for i in range(0, STRIP, LANES):
                transpose(rows, rows_at + i, STRIP, turned, turned_at + (strip + i) * LANES, LANES)
        for column in range(shift - LANES if shift else 0, width, LANES):
            x = min(max(column, 0), width - LANES)  # the edges again, where they are no whole lines
            for j in range(LANES):
                at = turned_at + 3 * (first_x[x + j] - left) * LANES
                _across(turned, at, weights_x, (x + j) * taps_x, count_x[x + j], tile, tile_at + j * LANES)
            for c in range(3):
                at, to = tile_at + c * LANES * LANES, (c * height + y) * width + x
                factor, addend = load(scale, c * LANES), load(bias, c * width + x)
                if alike and x == column:
                    transpose_streamed(tile, at, LANES, out, to, width, factor, addend)
                else:
                    transpose_scaled(tile, at, LANES, out, to, width, factor, addend)
    fence()


@njit(nogil=True, cache=True)
def to_bytes(levels: NDArray[np.float32], out: NDArray[np.uint8]) -> None:
    """Round ``[3, h, w]`` levels of 0 to 255 into ``out``, of that shape and any strides."""
    for c in range(levels.shape[0]):
        for y in range(levels.shape[1]):
            for x in range(levels.shape[2]):
                out[c, y, x] = np.uint8(levels[c, y, x] + np.float32(0.5))


@njit(nogil=True, cache=True)
def to_bfloat16(values: NDArray[np.float32], out: NDArray[np.uint16]) -> None:
    """Round ``[3, h, w]`` values to the nearest bfloat16, as its bits, into ``out``, of that shape and any strides."""
    for c in range(values.shape[0]):
        for y in range(values.shape[1]):
            bits = values[c, y].view(np.uint32)
            for x in range(values.shape[2]):
                odd = (bits[x] >> np.uint32(16)) & np.uint32(1)
                out[c, y, x] = (bits[x] + np.uint32(0x7FFF) + odd) >> np.uint32(16)


@njit(nogil=True, cache=True)
def _scratch(size: int) -> tuple[NDArray[np.float32], int]:
    """Give memory and where in it a cache line begins."""
    memory = np.empty(size + LANES, np.float32)
    return memory, (-memory.ctypes.data % LINE_BYTES) // 4


@njit(nogil=True, cache=True)
def _down(
    pixels: NDArray[np.uint8],
    stride: int,
    column: int,
    y: int,
    first: NDArray[np.int64],
    count: NDArray[np.int64],
    weights: NDArray[np.float32],
    grey: NDArray[np.float32],
    rows: NDArray[np.float32],
    rows_at: int,
) -> None:
    """Make ``LANES`` strips of ``STRIP`` values: weighted sums of the poster's rows, the padding included."""
    width = weights.shape[1]
    for r in range(LANES):
        at, w, to, n = first[y + r] * stride + column, (y + r) * width, rows_at + r * STRIP, count[y + r]
        start = spread(grey, y + r)
        if n == 2:  # with two and three, by far the most frequent, the weights stay in registers
            a, b = spread(weights, w), spread(weights, w + 1)
            for i in range(0, STRIP, LANES):
                total = fused(load_bytes(pixels, at + i), a, start)
                store(rows, to + i, fused(load_bytes(pixels, at + stride + i), b, total))
        elif n == 3:
            a, b, c = spread(weights, w), spread(weights, w + 1), spread(weights, w + 2)
            for i in range(0, STRIP, LANES):
                total = fused(load_bytes(pixels, at + i), a, start)
                total = fused(load_bytes(pixels, at + stride + i), b, total)
                store(rows, to + i, fused(load_bytes(pixels, at + 2 * stride + i), c, total))
        else:
            for i in range(0, STRIP, LANES):
                total = start
                for k in range(n):
                    total = fused(load_bytes(pixels, at + k * stride + i), spread(weights, w + k), total)
                store(rows, to + i, total)


@njit(nogil=True, cache=True)
def _across(
    turned: NDArray[np.float32],
    at: int,
    weights: NDArray[np.float32],
    w: int,
    count: int,
    tile: NDArray[np.float32],
    to: int,
) -> None:
    """Make one column of three colours, ``LANES`` rows high."""
    plane = LANES * LANES
    if count == 2:
        a, b = spread(weights, w), spread(weights, w + 1)
        for c in range(3):
            total = fused(load(turned, at + c * LANES), a, zeros())
            store(tile, to + c * plane, fused(load(turned, at + (3 + c) * LANES), b, total))
        return
    red, green, blue = zeros(), zeros(), zeros()
    for k in range(count):
        factor, pixel = spread(weights, w + k), at + 3 * k * LANES
        red = fused(load(turned, pixel), factor, red)
        green = fused(load(turned, pixel + LANES), factor, green)
        blue = fused(load(turned, pixel + 2 * LANES), factor, blue)
    store(tile, to, red)
    store(tile, to + plane, green)
    store(tile, to + 2 * plane, blue)


@njit(nogil=True, cache=True)
def rotate(
    frame: NDArray[np.float32],
    angle: float,
    top: int,
    left: int,
    flip: bool,
    pad_value: int,
    scale: NDArray[np.float32],
    offset: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Rotate a frame bilinearly about its centre as Pillow does, keep a window of it, mirror and normalise.

    Args:
        frame: float32 ``[3, h, w]``, 0 to 255.
        angle: Degrees, counter-clockwise.
        top: Of the window in the frame.
        left: Likewise.
        flip: Mirror left and right.
        pad_value: Grey level outside the frame.
        scale: float32 ``[3]``: what a level of each channel is multiplied by.
        offset: float32 ``[3]``: what is added then.
        out: float32 ``[3, size, size]``; filled.
    """
    _, height, width = frame.shape
    size = out.shape[1]
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    for i in range(size):
        for j in range(size):
            y, x = top + i + 0.5 - height / 2, left + j + 0.5 - width / 2
            y, x = cosine * y + sine * x + height / 2, cosine * x - sine * y + width / 2
            to = size - 1 - j if flip else j
            if not (0 <= y < height and 0 <= x < width):
                for c in range(3):
                    out[c, i, to] = pad_value * scale[c] + offset[c]
                continue
            y0, x0 = math.floor(y - 0.5), math.floor(x - 0.5)
            dy, dx = np.float32(y - 0.5 - y0), np.float32(x - 0.5 - x0)
            ya, yb, xa, xb = max(y0, 0), min(y0 + 1, height - 1), max(x0, 0), min(x0 + 1, width - 1)
            for c in range(3):
                upper = frame[c, ya, xa] + (frame[c, ya, xb] - frame[c, ya, xa]) * dx
                lower = frame[c, yb, xa] + (frame[c, yb, xb] - frame[c, yb, xa]) * dx
                level = np.floor(upper + (lower - upper) * dy)  # Pillow cuts the fraction off here
                out[c, i, to] = level * scale[c] + offset[c]
