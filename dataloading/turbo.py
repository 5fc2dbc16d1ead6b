"""Encoded JPEG -> the pixels of a region of it, through libjpeg-turbo's own interface.

The wheels of Pillow bring the library with all its functions; those that decode rows and columns alone
(``jpeg_skip_scanlines``, ``jpeg_crop_scanline``) have no binding in Python. So they are called here, from compiled code
that holds no lock of Python's. Where Pillow was built without its own libjpeg-turbo, ``load`` gives None, and the
caller decodes whole posters with simplejpeg instead.

A region's pixels are those that decoding the whole poster gives, bit by bit.

Source: libjpeg-turbo's ``libjpeg.txt`` ("Error handling", "Partial image decompression"), and ``jpeglib.h`` for the
layout of its structures, which version 6.2 of the interface has fixed.
"""

from __future__ import annotations

import ctypes
import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import llvmlite.binding as llvm
import numpy as np
import PIL
import simplejpeg
from llvmlite import ir
from numba import carray, cfunc, types  # pyright: ignore[reportPrivateImportUsage]

from dataloading.vectors import intrinsic

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

VERSION: Final = 62
"""Of libjpeg's interface; ``jpeg_CreateDecompress`` refuses another."""
FUNCTIONS: Final = (
    "jpeg_CreateDecompress",
    "jpeg_mem_src",
    "jpeg_read_header",
    "jpeg_start_decompress",
    "jpeg_crop_scanline",
    "jpeg_skip_scanlines",
    "jpeg_read_scanlines",
    "jpeg_std_error",
    "jpeg_destroy_decompress",
)
_CREATE, _SOURCE, _HEADER, _START, _CROP, _SKIP, _READ = range(len(FUNCTIONS) - 2)

CONTEXT: Final = 4
"""Pixels beside a region that its own depend on: chroma of half the size is enlarged with its neighbours."""
_BATCH_ROWS: Final = 16
_RGB: Final = 2  # JCS_RGB

# One block of memory a thread, in words of 8 bytes: what setjmp saves, addresses, the request and its answer, then
# libjpeg's two structures and pointers to rows.
_ADDRESSES: Final = 64
_REQUEST: Final = 80
_HEIGHT, _WIDTH, _SHRINK, _TOP, _BOTTOM, _LEFT, _RIGHT, _ALL, _OUT = range(_REQUEST, _REQUEST + 9)
_FOUND_LEFT, _FOUND_WIDTH, _CROP_LEFT, _CROP_WIDTH = range(_OUT + 1, _OUT + 5)
_ERRORS: Final = 128
_DECODER: Final = 160
_ROWS: Final = 256
_WORDS: Final = _ROWS + _BATCH_ROWS
_DECODER_BYTES: Final = 632
# Fields of jpeg_decompress_struct, in units of 4 bytes from the beginning of the block.
_AT: Final = 2 * _DECODER
_COLORS, _SCALE, _DENOMINATOR, _OUT_WIDTH, _OUT_HEIGHT, _LINE = (
    _AT + offset // 4 for offset in (64, 68, 72, 136, 140, 168)
)
_CLIENT: Final = _DECODER + 3
_WARNINGS: Final = _ERRORS + 16

_GUARD: Final = """
declare i32 @_setjmp(ptr) returns_twice
declare void @longjmp(ptr, i32) noreturn

; libjpeg's error_exit must not return: it goes back to where guard called, by what client_data points to
define void @on_error(ptr %decoder) {
  %slot = getelementptr i8, ptr %decoder, i64 24
  %saved = load ptr, ptr %slot
  call void @longjmp(ptr %saved, i32 1)
  unreachable
}

define void @on_message(ptr %decoder) {
  ret void
}

define i32 @guard(ptr %work, ptr %block, ptr %body, i64 %size) {
  %jumped = call i32 @_setjmp(ptr %block) returns_twice
  %failed = icmp ne i32 %jumped, 0
  br i1 %failed, label %bad, label %good
good:
  %result = call i32 %work(ptr %block, ptr %body, i64 %size)
  ret i32 %result
bad:
  ret i32 -1
}
"""


@intrinsic
def _call(_typing: Any, _address: Any, _first: Any, _second: Any, _third: Any) -> Any:
    """Call a C function of up to three whole numbers or pointers; it gives an int."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.IntType(32), [word, word, word])
        return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])

    return types.int32(types.int64, types.int64, types.int64, types.int64), code


@cfunc(types.int32(types.voidptr, types.voidptr, types.int64), cache=True)
def _decode(block: Any, body: Any, size: int) -> int:  # pragma: no cover - compiled
    """Do what the request says; 0 if all went well, 1 if libjpeg warned of damage or found another size."""
    words, halves = carray(block, _WORDS, np.int64), carray(block, 2 * _WORDS, np.uint32)
    base = carray(block, 1, np.int64).ctypes.data
    decoder = base + 8 * _DECODER
    # made anew for each poster: libjpeg keeps tables, and a poster that lacks its own would take the last one's
    _call(words[_ADDRESSES + _CREATE], decoder, VERSION, _DECODER_BYTES)
    _call(words[_ADDRESSES + _SOURCE], decoder, carray(body, 1, np.int64).ctypes.data, size)
    _call(words[_ADDRESSES + _HEADER], decoder, 1, 0)
    halves[_COLORS], halves[_SCALE], halves[_DENOMINATOR] = _RGB, 1, words[_SHRINK]
    _call(words[_ADDRESSES + _START], decoder, 0, 0)
    width, height = np.int64(halves[_OUT_WIDTH]), np.int64(halves[_OUT_HEIGHT])
    if height != words[_HEIGHT] or width != words[_WIDTH]:  # the memory is for another
        return 1
    left, right = max(words[_LEFT] - CONTEXT, 0), min(words[_RIGHT] + CONTEXT, width)
    top, bottom = min(words[_TOP], height), min(words[_BOTTOM], height)
    words[_FOUND_LEFT], words[_FOUND_WIDTH] = 0, width
    if left > 0 or right < width:
        halves[2 * _CROP_LEFT], halves[2 * _CROP_WIDTH] = left, right - left
        _call(words[_ADDRESSES + _CROP], decoder, base + 8 * _CROP_LEFT, base + 8 * _CROP_WIDTH)
        words[_FOUND_LEFT], words[_FOUND_WIDTH] = halves[2 * _CROP_LEFT], halves[2 * _CROP_WIDTH]
    stride = 3 * words[_FOUND_WIDTH]
    if top > 0:
        _call(words[_ADDRESSES + _SKIP], decoder, top, 0)
    line = top
    while line < bottom:
        rows = min(_BATCH_ROWS, bottom - line)
        for row in range(rows):
            words[_ROWS + row] = words[_OUT] + (line - top + row) * stride
        found = _call(words[_ADDRESSES + _READ], decoder, base + 8 * _ROWS, rows)
        if found == 0:
            return 1
        line += found
    if words[_ALL] and line < height:  # the rest as well, as far as damage shows
        if height - 1 > line:
            _call(words[_ADDRESSES + _SKIP], decoder, height - 1 - line, 0)
        words[_ROWS] = words[_OUT] + (bottom - top) * stride
        _call(words[_ADDRESSES + _READ], decoder, base + 8 * _ROWS, 1)
    return 1 if words[_WARNINGS] else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """libjpeg-turbo, and what calls it."""

    jpeg: ctypes.CDLL
    guard: Any
    on_error: int
    on_message: int
    engine: Any
    """Owns the code of the three above."""


@cache
def load() -> Library | None:
    """Find the libjpeg-turbo that came with Pillow; None if there is none of this interface."""
    paths = sorted((Path(PIL.__file__).parents[1] / "pillow.libs").glob(f"libjpeg-*.so.{VERSION}.*"))
    try:
        jpeg = ctypes.CDLL(str(paths[0]))
        for name in FUNCTIONS:
            getattr(jpeg, name)
    except (IndexError, OSError, AttributeError) as error:
        log.info("posters are decoded whole, with simplejpeg: Pillow brought no libjpeg-turbo of its own (%s)", error)
        return None
    module = llvm.parse_assembly(_GUARD)
    engine = llvm.create_mcjit_compiler(module, llvm.Target.from_default_triple().create_target_machine(jit=True))
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64)
    library = Library(
        jpeg=jpeg,
        guard=kind(engine.get_function_address("guard")),
        on_error=engine.get_function_address("on_error"),
        on_message=engine.get_function_address("on_message"),
        engine=engine,
    )
    black = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
    if RegionDecoder(library).decode(black, (8, 8), Region(0, 8, 0, 8), np.empty(3 * 8 * 9, np.uint8)) is None:
        log.info("posters are decoded whole, with simplejpeg: %s has another interface than %s", paths[0], VERSION)
        return None
    return library


@dataclass(frozen=True, slots=True)
class Region:
    """Part of a poster, in pixels as stored; of the halved poster if it was halved while decoding."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        """In pixels."""
        return (self.bottom - self.top) * (self.right - self.left)


class RegionDecoder:
    """Decodes for one thread, with memory of its own."""

    def __init__(self, library: Library) -> None:
        """Lay out the memory; each poster has libjpeg's structures made in it anew."""
        self._library = library
        self._words = np.zeros(_WORDS, np.int64)
        base = self._words.ctypes.data
        self._block, self._decoder = ctypes.c_void_p(base), ctypes.c_void_p(base + 8 * _DECODER)
        library.jpeg.jpeg_std_error(ctypes.c_void_p(base + 8 * _ERRORS))
        self._words[_ERRORS], self._words[_ERRORS + 2] = library.on_error, library.on_message
        self._words[_DECODER], self._words[_CLIENT] = base + 8 * _ERRORS, base
        for place, name in enumerate(FUNCTIONS):
            self._words[_ADDRESSES + place] = ctypes.cast(getattr(library.jpeg, name), ctypes.c_void_p).value or 0

    def decode(  # noqa: PLR0913 - a poster, a part of it, where it goes and how
        self,
        body: bytes,
        size: tuple[int, int],
        region: Region,
        memory: NDArray[np.uint8],
        *,
        shrink: int = 1,
        scan_all: bool = False,
    ) -> tuple[NDArray[np.uint8], int] | None:
        """Decode at least a region, as RGB.

        Args:
            body: A JPEG of one or three components.
            size: Height and width that its header gives, shrunk.
            region: What is wanted.
            memory: For the pixels: one row more than the region has, each of the poster's whole width.
            shrink: By which libjpeg shrinks the poster: 1, 2, 4 or 8.
            scan_all: Read the file to its end, so that damage shows wherever it is.

        Returns:
            uint8 ``[rows, w, 3]``, the region's rows, and the column at which these begin, at most ``region.left``.
            None if what was read is damaged, perhaps harmlessly.
        """
        words, rows = self._words, region.bottom - region.top
        edges = region.top, region.bottom, region.left, region.right
        words[_HEIGHT : _OUT + 1] = (*size, shrink, *edges, scan_all, memory.ctypes.data)
        status = self._library.guard(_decode.address, self._block, body, len(body))
        self._library.jpeg.jpeg_destroy_decompress(self._decoder)
        if status != 0:
            return None
        width = int(words[_FOUND_WIDTH])
        return memory[: 3 * rows * width].reshape(rows, width, 3), int(words[_FOUND_LEFT])
