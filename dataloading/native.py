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
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import simplejpeg

from crawler.records import Reason
from dataloading.jpeg import PLAIN_COMPONENTS, JpegHeader, has_end, read_header
from dataloading.kernels import SLACK_BYTES, resample, rotate, to_bfloat16, to_bytes
from dataloading.prepare import FLOAT32_NCHW, LIMIT_SIDE, Layout, Number, Output, Prepared, batch_memory
from dataloading.preprocess import Draw, Interpolation, Preprocess, draw
from dataloading.reference import normalized, prepare_pixels
from dataloading.turbo import Region, RegionDecoder, load
from dataloading.weights import PLANS_KEPT, Across, Down, Weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from dataloading.turbo import Library

NEARLY_ALL: Final = 0.9
"""Share of a poster from which on it is decoded whole, which costs a little less a pixel."""


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
        scan_all: bool = False,
    ) -> None:
        """Compile nothing yet: the kernels are compiled at their first call on a machine, and kept on disk.

        Args:
            spec: What is done to the posters.
            threads: That work at the same time, the caller's among them; None: as many as this process may use.
            output: Form of the batch.
            scaled_decode: Let libjpeg-turbo halve a poster, once or more, that is shrunk by more than that anyway. Much
                faster from 448 pixels a side upwards, and no longer the reference's filter: see docs/preprocessing.md.
            scan_all: Read each JPEG to its end, though its last rows are cut away: then whether it counts as damaged
                does not depend on the draw.
        """
        self.spec = spec
        self.threads = threads or len(os.sched_getaffinity(0))
        self._output = output
        self._squares = _Squares(spec, output, scaled_decode=scaled_decode, scan_all=scan_all)
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
class _Pixels:
    """The decoded part of a poster."""

    levels: NDArray[np.uint8]
    """uint8 ``[h, w, 3]``, RGB, with slack behind it."""
    top: int
    """Where it lies in the poster."""
    left: int


class _Squares:
    """Fills one image of a batch; the weights that it remembers are shared by all threads."""

    def __init__(self, spec: Preprocess, output: Output, *, scaled_decode: bool, scan_all: bool) -> None:
        self._spec = spec
        self._output = output
        self._scaled_decode, self._scan_all = scaled_decode, scan_all
        self._library = load()
        self._normalize = output.number is not Number.UINT8
        mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
        self._scale, self._offset = np.ones(3, np.float32), np.zeros(3, np.float32)
        if self._normalize:
            self._scale, self._offset = np.divide(1, 255 * std, dtype=np.float32), -mean / std
        self._weights = Weights(spec, self._scale, self._offset)
        self._local = threading.local()
        self._plan = lru_cache(PLANS_KEPT)(partial(draw, spec.for_evaluation()))

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
            case Number.FLOAT32 | Number.FLOAT16:
                target[...] = planes
        return reason

    def _fill_floats(self, image: NDArray[np.float32], body: bytes, plan: Draw | None) -> Reason | None:
        header = read_header(body)
        if not isinstance(header, JpegHeader) or not self._is_fast(header) or not has_end(body):
            return self._fill_slowly(image, body, plan)
        plan = plan or self._plan(*header.shown_size)
        shrink = self._shrink(plan)
        window = None if plan.angle else plan.window(self._spec.size)
        down, across = self._weights.of(plan, header.shown_size, shrink, window)
        pixels = self._decode(body, header, shrink, down, across)
        if pixels is None:
            return self._fill_slowly(image, body, plan)
        if window is not None:
            _resample(image, pixels, down, across)
            return None
        frame: NDArray[np.float32] = self._memory("frame", (3, plan.frame_height, plan.frame_width), np.float32)
        _resample(frame, pixels, down, across)
        top, left = plan.window(self._spec.size)
        rotate(frame, plan.angle, top, left, plan.flip, self._spec.pad_value, self._scale, self._offset, image)
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

    def _decode(self, body: bytes, header: JpegHeader, shrink: int, down: Down, across: Across) -> _Pixels | None:
        """Decode what the weights need, as it is shown; valid until this thread's next call."""
        height, width = size = -(-header.height // shrink), -(-header.width // shrink)
        region = Region(down.top, down.bottom, across.left, across.right)
        nearly_all = region.area > NEARLY_ALL * height * width
        if self._library is None or nearly_all or header.orientation != 1:
            return self._decode_whole(body, header, size, shrink)
        memory = self._memory("pixels", (3 * (down.bottom - down.top + 1) * width + SLACK_BYTES,), np.uint8)
        decode = self._decoder(self._library).decode
        found = decode(body, size, region, memory, shrink=shrink, scan_all=self._scan_all)
        return None if found is None else _Pixels(found[0], down.top, found[1])

    def _decode_whole(self, body: bytes, header: JpegHeader, size: tuple[int, int], shrink: int) -> _Pixels | None:
        height, width = size
        memory = self._memory("pixels", (3 * height * width + SLACK_BYTES,), np.uint8)
        try:
            whole = simplejpeg.decode_jpeg(body, buffer=memory, min_height=height, min_width=width, min_factor=shrink)
        except ValueError:  # libjpeg-turbo found damage, perhaps harmless: Pillow decides
            return None
        return _Pixels(whole if header.orientation == 1 else _upright(whole, header.orientation), 0, 0)

    def _decoder(self, library: Library) -> RegionDecoder:
        if not hasattr(self._local, "decoder"):
            self._local.decoder = RegionDecoder(library)
        return self._local.decoder

    def _memory(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        """Give memory of at least that shape's size, the same to each call of a thread."""
        size = math.prod(shape)
        memory: NDArray[Any] | None = getattr(self._local, name, None)
        if memory is None or memory.size < size:
            memory = np.zeros(size, dtype)
            setattr(self._local, name, memory)
        return memory[:size].reshape(shape)

    def _fill_slowly(self, image: NDArray[np.float32], body: bytes, plan: Draw | None) -> Reason | None:
        square = prepare_pixels(self._spec, body, plan)
        if isinstance(square, Reason):
            image[...] = 0
            return square
        image[...] = normalized(self._spec, square) if self._normalize else square.transpose(2, 0, 1)
        return None


def _resample(out: NDArray[np.float32], pixels: _Pixels, down: Down, across: Across) -> None:
    resample(
        pixels.levels,
        pixels.top,
        pixels.left,
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
