"""Encoded posters -> a batch, on the CPU: libjpeg-turbo, then one compiled kernel, in threads without the GIL.

What is not a plain JPEG (CMYK, PNG, WebP, a damaged file) and what asks for bicubic filters takes the reference's way:
it is rare, and so there is one answer to it.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import simplejpeg

from crawler.records import Reason
from dataloading.jpeg import JpegHeader, read_header
from dataloading.kernels import SLACK_BYTES, resample, rotate, taps, to_bfloat16, to_bytes
from dataloading.prepare import FLOAT32_NCHW, LIMIT_SIDE, Layout, Number, Output, Prepared, batch_memory
from dataloading.preprocess import Draw, Interpolation, Preprocess, draw
from dataloading.reference import normalized, prepare_pixels
from dataloading.vectors import LANES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

AXES_KEPT: Final = 1024
"""Weights that are remembered: posters of one size share them, at about 10 kB each."""
PLAIN_COMPONENTS: Final = (1, 3)
"""Of the JPEGs that libjpeg-turbo decodes as Pillow does: grey and colour, not CMYK."""

_Axis: TypeAlias = tuple[float, float, int, int, int, int]
"""Box start and length, poster length, frame length, corner and size, as ``kernels.taps`` takes them."""


class NativePreparer:
    """The specification, fast; within 0.5/255 on average and 3/255 at most of the reference.

    Example:
        >>> NativePreparer(Preprocess(size=32)).prepare([b"not a poster"]).reasons
        [<Reason.NOT_AN_IMAGE: 'not_an_image'>]
    """

    def __init__(
        self,
        spec: Preprocess,
        threads: int | None = None,
        *,
        output: Output = FLOAT32_NCHW,
        scaled_decode: bool = False,
    ) -> None:
        """Compile nothing yet: the kernels are compiled at their first call on a machine, and kept on disk.

        Args:
            spec: What is done to the posters.
            threads: That work at the same time, the caller's among them; None: as many as this process may use.
            output: Form of the batch.
            scaled_decode: Let libjpeg-turbo halve a poster, once or more, that is shrunk by more than that anyway. Much
                faster from 448 pixels a side upwards, and no longer the reference's filter: see docs/preprocessing.md.
        """
        self.spec = spec
        self.threads = threads or len(os.sched_getaffinity(0))
        self._output = output
        self._squares = _Squares(spec, output, scaled_decode=scaled_decode)
        self._pool = ThreadPoolExecutor(max(1, self.threads - 1), thread_name_prefix="keyart-native")

    def prepare(
        self,
        bodies: Sequence[bytes],
        draws: Sequence[Draw] | None = None,
        out: NDArray[Any] | None = None,
    ) -> Prepared:
        """Prepare a batch; see ``dataloading.prepare.Preparer``.

        Memory that is used again (``out``) saves a quarter of the time: a new batch is cleared by the kernel first.
        """
        images = batch_memory(self.spec, bodies, draws, out, self._output)
        reasons: list[Reason | None] = [None] * len(bodies)
        positions = itertools.count()  # the next poster goes to whoever is free; a step of it is atomic

        def work() -> None:
            for at in _until(positions, len(bodies)):
                reasons[at] = self._squares.fill(images[at], bodies[at], draws[at] if draws is not None else None)

        others = [self._pool.submit(work) for _ in range(min(self.threads, len(bodies)) - 1)]
        work()
        for other in others:
            other.result()
        return Prepared(images=images, reasons=reasons)


def _until(positions: Iterator[int], end: int) -> Iterator[int]:
    return itertools.takewhile(lambda at: at < end, positions)


@dataclass(frozen=True, slots=True)
class _Down:
    """Weights of the rows, as ``kernels.resample`` takes them."""

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    weights: NDArray[np.float32]
    grey: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Across:
    """Weights of the columns, and what turns levels into the values of the batch."""

    left: int
    right: int
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    weights: NDArray[np.float32]
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]


class _Squares:
    """Fills one image of a batch; the weights that it remembers are shared by all threads."""

    def __init__(self, spec: Preprocess, output: Output, *, scaled_decode: bool) -> None:
        self._spec = spec
        self._output = output
        self._scaled_decode = scaled_decode
        self._normalize = output.number is not Number.UINT8
        mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
        self._scale, self._offset = np.ones(3, np.float32), np.zeros(3, np.float32)
        if self._normalize:
            self._scale, self._offset = np.divide(1, 255 * std, dtype=np.float32), -mean / std
        self._local = threading.local()
        self._plan = lru_cache(AXES_KEPT)(partial(draw, spec.for_evaluation()))
        self._down = lru_cache(AXES_KEPT)(self._make_down)
        self._across = lru_cache(AXES_KEPT)(self._make_across)

    def fill(self, image: NDArray[Any], body: bytes, plan: Draw | None) -> Reason | None:
        """Fill ``image`` from ``body``, or clear it and say why."""
        if self._output == FLOAT32_NCHW:
            return self._fill_floats(image, body, plan)
        planes: NDArray[np.float32] = self._memory("planes", (3, self._spec.size, self._spec.size), np.float32)
        reason = self._fill_floats(planes, body, plan)
        target = image if self._output.layout is Layout.NCHW else image.transpose(2, 0, 1)
        match self._output.number:
            case Number.UINT8:
                to_bytes(planes, target)
            case Number.BFLOAT16:
                to_bfloat16(planes, target)
            case Number.FLOAT32:
                target[...] = planes
        return reason

    def _fill_floats(self, image: NDArray[np.float32], body: bytes, plan: Draw | None) -> Reason | None:
        header = read_header(body)
        if not isinstance(header, JpegHeader) or not self._is_fast(header):
            return self._fill_slowly(image, body, plan)
        plan = plan or self._plan(*header.shown_size)
        shrink = self._shrink(plan)
        pixels = self._decode(body, header, shrink)
        if pixels is None:
            return self._fill_slowly(image, body, plan)
        if plan.angle:
            self._fill_rotated(image, pixels, plan, shrink)
        else:
            self._resample(image, pixels, plan, shrink, plan.window(self._spec.size))
        return None

    def _is_fast(self, header: JpegHeader) -> bool:
        limit = max(header.height, header.width) <= LIMIT_SIDE and min(header.height, header.width) > 0
        bilinear = self._spec.interpolation is Interpolation.BILINEAR
        return limit and bilinear and header.components in PLAIN_COMPONENTS

    def _shrink(self, plan: Draw) -> int:
        """By how much libjpeg-turbo may shrink: never below the size that is wanted."""
        if not self._scaled_decode:
            return 1
        most = min(plan.height / plan.frame_height, plan.width / plan.frame_width)
        return max(shrink for shrink in (1, 2, 4, 8) if shrink <= max(1, most))

    def _decode(self, body: bytes, header: JpegHeader, shrink: int) -> NDArray[np.uint8] | None:
        """Decode as it is shown: uint8 ``[h, w, 3]`` with slack behind it, valid until this thread's next call."""
        height, width = -(-header.height // shrink), -(-header.width // shrink)
        memory: NDArray[np.uint8] = self._memory("pixels", (3 * height * width + SLACK_BYTES,), np.uint8)
        try:
            pixels = simplejpeg.decode_jpeg(body, buffer=memory, min_height=height, min_width=width, min_factor=shrink)
        except ValueError:  # libjpeg-turbo found damage, perhaps harmless: Pillow decides
            return None
        return pixels if header.orientation == 1 else _upright(pixels, header.orientation)

    def _memory(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        """Give memory of at least that shape's size, the same to each call of a thread."""
        size = math.prod(shape)
        memory: NDArray[Any] | None = getattr(self._local, name, None)
        if memory is None or memory.size < size:
            memory = np.zeros(size, dtype)
            setattr(self._local, name, memory)
        return memory[:size].reshape(shape)

    def _fill_rotated(self, image: NDArray[np.float32], pixels: NDArray[np.uint8], plan: Draw, shrink: int) -> None:
        frame = np.empty((3, plan.frame_height, plan.frame_width), np.float32)
        self._resample(frame, pixels, replace(plan, flip=False), shrink, None)
        top, left = plan.window(self._spec.size)
        rotate(frame, plan.angle, top, left, plan.flip, self._spec.pad_value, self._scale, self._offset, image)

    def _fill_slowly(self, image: NDArray[np.float32], body: bytes, plan: Draw | None) -> Reason | None:
        square = prepare_pixels(self._spec, body, plan)
        if isinstance(square, Reason):
            image[...] = 0
            return square
        image[...] = normalized(self._spec, square) if self._normalize else square.transpose(2, 0, 1)
        return None

    def _resample(
        self,
        out: NDArray[np.float32],
        pixels: NDArray[np.uint8],
        plan: Draw,
        shrink: int,
        window: tuple[int, int] | None,
    ) -> None:
        """Make the window of the frame, normalised; or all of the frame as levels from 0 to 255."""
        top, left = window or (0, 0)
        _, out_height, out_width = out.shape
        height, width, _ = pixels.shape
        down = self._down(plan.top / shrink, plan.height / shrink, height, plan.frame_height, top, out_height)
        across = self._across(
            (plan.left / shrink, plan.width / shrink, width, plan.frame_width, left, out_width),
            flip=plan.flip,
            levels=window is None,
        )
        resample(
            pixels,
            across.left,
            across.right,
            down.first,
            down.count,
            down.weights,
            down.grey,
            across.first,
            across.count,
            across.weights,
            across.scale,
            across.bias,
            out,
        )

    def _make_down(self, *axis: *_Axis) -> _Down:
        first, count, weights, padding = taps(*axis, self._spec.antialias)
        return _Down(first, count, weights, padding * np.float32(self._spec.pad_value))

    def _make_across(self, axis: _Axis, *, flip: bool, levels: bool) -> _Across:
        first, count, weights, padding = taps(*axis, self._spec.antialias)
        used = count > 0
        left, right = (int(first[used].min()), int((first + count).max())) if used.any() else (0, 0)
        first[~used] = left
        if flip:
            first, count = np.ascontiguousarray(first[::-1]), np.ascontiguousarray(count[::-1])
            weights, padding = np.ascontiguousarray(weights[::-1]), padding[::-1]
        scale, offset = (np.ones(3, np.float32), np.zeros(3, np.float32)) if levels else (self._scale, self._offset)
        bias = offset[:, None] + scale[:, None] * padding * np.float32(self._spec.pad_value)
        scales = np.repeat(scale[:, None], LANES, axis=1)
        return _Across(left, right, first, count, weights, scales, bias.astype(np.float32))


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation: 2 to 4 mirror or turn by 180 degrees, 5 to 8 exchange the axes first."""
    if orientation >= 5:  # noqa: PLR2004
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    memory = np.empty(pixels.size + SLACK_BYTES, np.uint8)
    upright = memory[: pixels.size].reshape(pixels.shape)
    upright[...] = pixels
    return upright
