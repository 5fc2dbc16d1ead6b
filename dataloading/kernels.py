"""Decoded poster -> one image of the batch, compiled: cut, pad, resize, rotate, keep the centre, mirror, normalise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(nogil=True, cache=True)
def vertical_first(cut_height: int, cut_width: int, out_height: int, out_width: int) -> bool:
    """Tell which direction is resized first, as the reference has it."""
    return cut_height > out_height and cut_height - out_height > 2 * (cut_width - out_width)


@njit(nogil=True, cache=True)
def _filter(x: float, bicubic: bool) -> float:
    x = abs(x)
    if not bicubic:
        return max(0.0, 1.0 - x)
    if x < 1.0:
        return (1.5 * x - 2.5) * x * x + 1.0
    if x < 2.0:
        return ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return 0.0


@njit(nogil=True, cache=True)
def taps(
    box_start: int,
    box_length: int,
    poster_length: int,
    frame_length: int,
    corner: int,
    size: int,
    bicubic: bool,
    antialias: bool,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Work out which pixels of the poster make each pixel of the square, along one axis.

    Returns:
        First pixel of the poster int32 ``[size]``, number of pixels int32 ``[size]``, their weights float32
        ``[size, k]``, and the weight of the padding float32 ``[size]``.
    """
    scale = box_length / frame_length
    stretch = max(scale, 1.0) if antialias else 1.0
    support = (2.0 if bicubic else 1.0) * stretch
    width = int(math.ceil(support)) * 2 + 1
    first = np.zeros(size, np.int32)
    count = np.zeros(size, np.int32)
    weights = np.zeros((size, width), np.float32)
    padding = np.zeros(size, np.float32)
    for i in range(size):
        center = (corner + i + 0.5) * scale
        low, high = int(math.floor(center - support + 0.5)), int(math.floor(center + support + 0.5))
        if antialias:  # as Pillow: what lies outside the box has no weight
            low, high = max(low, 0), min(high, box_length)
        start = min(max(box_start + min(max(low, 0), box_length - 1), 0), poster_length - 1)
        total = 0.0
        for j in range(low, high):
            total += _filter((j - center + 0.5) / stretch, bicubic)
        for j in range(low, high):
            weight = _filter((j - center + 0.5) / stretch, bicubic) / total
            at = box_start + min(max(j, 0), box_length - 1)  # without antialias: the edge of the box repeated
            if 0 <= at < poster_length:
                weights[i, at - start] += weight
                count[i] = max(count[i], at - start + 1)
            else:
                padding[i] += weight
        first[i] = start
    return first, count, weights, padding


@njit(nogil=True, cache=True)
def _resize(
    pixels: NDArray[np.uint8],
    box: NDArray[np.int64],
    frame: NDArray[np.int64],
    corner_y: int,
    corner_x: int,
    out_height: int,
    out_width: int,
    bicubic: bool,
    antialias: bool,
    pad_value: int,
) -> NDArray[np.uint8]:
    height, width, _ = pixels.shape
    first_y, count_y, weights_y, padding_y = taps(
        box[0], box[2], height, frame[0], corner_y, out_height, bicubic, antialias
    )
    first_x, count_x, weights_x, padding_x = taps(
        box[1], box[3], width, frame[1], corner_x, out_width, bicubic, antialias
    )
    out = np.empty((out_height, out_width, 3), np.uint8)
    if vertical_first(box[2], box[3], out_height, out_width):
        low, high = first_x.min(), (first_x + count_x).max()
        between = np.empty((out_height, max(high - low, 0), 3), np.float32)
        for y in range(out_height):
            for x in range(low, high):
                for c in range(3):
                    total = np.float32(padding_y[y] * pad_value)
                    for k in range(count_y[y]):
                        total += weights_y[y, k] * pixels[first_y[y] + k, x, c]
                    between[y, x - low, c] = _rounded(total) if antialias else total
        for y in range(out_height):
            for x in range(out_width):
                for c in range(3):
                    total = np.float32(padding_x[x] * pad_value)
                    for k in range(count_x[x]):
                        total += weights_x[x, k] * between[y, first_x[x] - low + k, c]
                    out[y, x, c] = _rounded(total)
        return out
    low, high = first_y.min(), (first_y + count_y).max()
    rows = np.empty((max(high - low, 0), out_width, 3), np.float32)
    for y in range(low, high):
        for x in range(out_width):
            for c in range(3):
                total = np.float32(padding_x[x] * pad_value)
                for k in range(count_x[x]):
                    total += weights_x[x, k] * pixels[y, first_x[x] + k, c]
                rows[y - low, x, c] = _rounded(total) if antialias else total
    for y in range(out_height):
        for x in range(out_width):
            for c in range(3):
                total = np.float32(padding_y[y] * pad_value)
                for k in range(count_y[y]):
                    total += weights_y[y, k] * rows[first_y[y] - low + k, x, c]
                out[y, x, c] = _rounded(total)
    return out


@njit(nogil=True, cache=True)
def _rounded(value: np.floating) -> np.floating:
    return min(max(np.floor(value + np.float32(0.5)), np.float32(0)), np.float32(255))


@njit(nogil=True, cache=True)
def _rotate(
    frame: NDArray[np.uint8], angle: float, top: int, left: int, size: int, pad_value: int
) -> NDArray[np.uint8]:
    """Rotate bilinearly as Pillow does, and keep the window."""
    height, width, _ = frame.shape
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    out = np.empty((size, size, 3), np.uint8)
    for i in range(size):
        for j in range(size):
            y, x = top + i + 0.5 - height / 2, left + j + 0.5 - width / 2
            y, x = cosine * y + sine * x + height / 2, cosine * x - sine * y + width / 2
            if not (0 <= y < height and 0 <= x < width):
                out[i, j] = pad_value
                continue
            y, x = y - 0.5, x - 0.5
            y0, x0 = int(math.floor(y)), int(math.floor(x))
            dy, dx = y - y0, x - x0
            ya, yb, xa, xb = max(y0, 0), min(y0 + 1, height - 1), max(x0, 0), min(x0 + 1, width - 1)
            for c in range(3):
                upper = frame[ya, xa, c] + (np.float64(frame[ya, xb, c]) - frame[ya, xa, c]) * dx
                lower = frame[yb, xa, c] + (np.float64(frame[yb, xb, c]) - frame[yb, xa, c]) * dx
                out[i, j, c] = int(upper + (lower - upper) * dy)
    return out


@njit(nogil=True, cache=True)
def prepare(
    pixels: NDArray[np.uint8],
    box: NDArray[np.int64],
    frame: NDArray[np.int64],
    angle: float,
    flip: bool,
    bicubic: bool,
    antialias: bool,
    pad_value: int,
    scale: NDArray[np.float32],
    offset: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Carry out one draw.

    Args:
        pixels: uint8 ``[h, w, 3]``, RGB, as the poster is shown.
        box: Top, left, height and width of the cut.
        frame: Height and width of the frame, top and left of the window in it.
        angle: Degrees, counter-clockwise.
        flip: Mirror left and right.
        bicubic: Rather than bilinear.
        antialias: Widen the filter when shrinking.
        pad_value: Grey level outside the poster.
        scale: Of each channel, from 0 to 255.
        offset: Added to each channel after scaling.
        out: float32 ``[3, size, size]``, filled.
    """
    size = out.shape[1]
    if angle == 0.0:
        square = _resize(pixels, box, frame, frame[2], frame[3], size, size, bicubic, antialias, pad_value)
    else:
        whole = _resize(pixels, box, frame, 0, 0, frame[0], frame[1], bicubic, antialias, pad_value)
        square = _rotate(whole, angle, frame[2], frame[3], size, pad_value)
    for c in range(3):
        for y in range(size):
            for x in range(size):
                source = size - 1 - x if flip else x
                out[c, y, x] = square[y, source, c] * scale[c] + offset[c]
