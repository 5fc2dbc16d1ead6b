"""Encoded posters -> a batch, on the CPU: libjpeg-turbo, then one compiled kernel, in threads without the GIL.

What is not a plain JPEG (CMYK, PNG, WebP, a damaged file), and bicubic filters, take the reference's way: they are rare, and
so there is one answer to each of them.
"""

from __future__ import annotations

import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import simplejpeg

from crawler.records import Reason
from dataloading.jpeg import JpegHeader, read_header
from dataloading.kernels import SLACK_BYTES, resample, rotate, taps
from dataloading.prepare import LIMIT_SIDE, Prepared, batch_memory
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


class NativePreparer:
    """The specification, fast; within 0.5/255 on average and 3/255 at most of the reference.

    Example:
        >>> NativePreparer(Preprocess(size=32)).prepare([b"not a poster"]).reasons
        [<Reason.NOT_AN_IMAGE: 'not_an_image'>]
    """

    def __init__(self, spec: Preprocess, threads: int | None = None) -> None:
        """Compile nothing yet: the kernels are compiled at their first call on a machine, and kept on disk.

        Args:
            spec: What is done to the posters.
            threads: That work at the same time, the caller's among them; None: as many as this process may use.
        """
        self.spec = spec
        self.threads = threads or len(os.sched_getaffinity(0))
        self._squares = _Squares(spec)
        self._pool = ThreadPoolExecutor(max(1, self.threads - 1), thread_name_prefix="keyart-native")

    def prepare(
        self,
        bodies: Sequence[bytes],
        draws: Sequence[Draw] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> Prepared:
        """Prepare a batch; see ``dataloading.prepare.Preparer``.

        Memory that is used again (``out``) saves a quarter of the time: a new batch is cleared by the kernel first.
        """
        images = batch_memory(self.spec, bodies, draws, out)
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
    """Fills one image of a batch; what it remembers is shared by all threads."""

    def __init__(self, spec: Preprocess) -> None:
        self._spec = spec
        self._fast = spec.interpolation is Interpolation.BILINEAR
        self._scale = np.array([1 / (255 * std) for std in spec.std], np.float32)
        self._offset = np.array([-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)], np.float32)
        self._decoder = _Decoder()
        evaluation = spec.for_evaluation()
        self._plan = lru_cache(AXES_KEPT)(lambda height, width: draw(evaluation, height, width))
        self._down = lru_cache(AXES_KEPT)(self._make_down)
        self._across = lru_cache(AXES_KEPT)(self._make_across)

    def fill(self, image: NDArray[np.float32], body: bytes, plan: Draw | None) -> Reason | None:
        """Fill ``image`` from ``body``, or clear it and say why."""
        pixels = self._decoder.decode(body) if self._fast else None
        if pixels is None:
            return self._fill_slowly(image, body, plan)
        plan = plan or self._plan(*pixels.shape[:2])
        if plan.angle:
            self._fill_rotated(image, pixels, plan)
        else:
            self._resample(image, pixels, plan, plan.window(self._spec.size), normalize=True)
        return None

    def _fill_rotated(self, image: NDArray[np.float32], pixels: NDArray[np.uint8], plan: Draw) -> None:
        frame = np.empty((3, plan.frame_height, plan.frame_width), np.float32)
        self._resample(frame, pixels, replace(plan, flip=False), (0, 0), normalize=False)
        top, left = plan.window(self._spec.size)
        rotate(frame, plan.angle, top, left, plan.flip, self._spec.pad_value, self._scale, self._offset, image)

    def _fill_slowly(self, image: NDArray[np.float32], body: bytes, plan: Draw | None) -> Reason | None:
        square = prepare_pixels(self._spec, body, plan)
        if isinstance(square, Reason):
            image[...] = 0
            return square
        image[...] = normalized(self._spec, square)
        return None

    def _resample(
        self,
        out: NDArray[np.float32],
        pixels: NDArray[np.uint8],
        plan: Draw,
        corner: tuple[int, int],
        *,
        normalize: bool,
    ) -> None:
        _, out_height, out_width = out.shape
        height, width, _ = pixels.shape
        down = self._down(plan.top, plan.height, height, plan.frame_height, corner[0], out_height)
        across = self._across(
            (plan.left, plan.width, width, plan.frame_width, corner[1], out_width), plan.flip, normalize
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

    def _make_down(self, *axis: int) -> _Down:
        first, count, weights, padding = taps(*axis, self._spec.antialias)
        return _Down(first, count, weights, padding * np.float32(self._spec.pad_value))

    def _make_across(self, axis: tuple[int, ...], flip: bool, normalize: bool) -> _Across:  # noqa: FBT001 - part of a key
        first, count, weights, padding = taps(*axis, self._spec.antialias)
        if flip:
            first, count, weights, padding = (
                np.ascontiguousarray(part[::-1]) for part in (first, count, weights, padding)
            )
        used = count > 0
        left, right = (first[used].min(), (first + count).max()) if used.any() else (0, 0)
        first[~used] = left
        scale, offset = (self._scale, self._offset) if normalize else (np.ones(3, np.float32), np.zeros(3, np.float32))
        bias = offset[:, None] + scale[:, None] * padding * np.float32(self._spec.pad_value)
        scales = np.repeat(scale[:, None], LANES, axis=1)
        return _Across(int(left), int(right), first, count, weights, scales, bias)


class _Decoder:
    """Decodes into memory that each thread uses again and again."""

    def __init__(self) -> None:
        self._local = threading.local()

    def decode(self, body: bytes) -> NDArray[np.uint8] | None:
        """Decode a plain JPEG as it is shown.

        Returns:
            uint8 ``[h, w, 3]``, RGB, with ``SLACK_BYTES`` behind it, valid until the next call of this thread; None where
            Pillow must look at it.
        """
        header = read_header(body)
        if (
            not isinstance(header, JpegHeader)
            or header.components not in PLAIN_COMPONENTS
            or max(header.height, header.width) > LIMIT_SIDE
        ):
            return None
        memory = self._memory(3 * header.height * header.width + SLACK_BYTES)
        try:
            pixels = simplejpeg.decode_jpeg(body, buffer=memory)
        except ValueError:  # libjpeg-turbo found damage, perhaps harmless
            return None
        return pixels if header.orientation == 1 else _upright(pixels, header.orientation)

    def _memory(self, size_bytes: int) -> NDArray[np.uint8]:
        memory: NDArray[np.uint8] | None = getattr(self._local, "memory", None)
        if memory is None or len(memory) < size_bytes:
            memory = self._local.memory = np.zeros(size_bytes, np.uint8)
        return memory


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
