"""Fetched bytes -> a poster record, or the reason why they are no poster.

What may enter a shard is decided by a decode to the last byte under a pixel limit, never by a header or a file name.
A shard holds JPEG only: a JPEG is kept byte for byte, a PNG or WebP is turned into one (docs/decisions/0003).
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import simplejpeg
from numba import njit
from PIL import Image

from crawler.records import Failure, Fetched, PosterRecord, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIXEL_LIMIT: Final = 12_000_000
"""Pixels that a poster may have: twice the largest that TMDb serves (2000x3000)."""

CONVERTED_PIXEL_LIMIT: Final = 6_500_000
"""Pixels of a PNG or WebP: their decoders hold the picture several times over, 25 bytes a pixel."""

JPEG_QUALITY: Final = 95
"""Of a JPEG that is made from a PNG or WebP, without chroma subsampling."""

HASH_HEIGHT: Final = 8
HASH_WIDTH: Final = 8

_JPEG_SIGNATURE: Final = b"\xff\xd8\xff"
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """A picture that decoded to the end."""

    body: bytes
    """JPEG: the bytes that came, or those made from them."""
    height: int
    """Pixels, before any EXIF rotation."""
    width: int
    sha256: str
    """Hex digest of ``body``."""
    dhash: int
    """64-bit difference hash, unsigned; see ``difference_hash``."""


def verify(fetched: Fetched, pixel_limit: int = PIXEL_LIMIT) -> PosterRecord | Failure:
    """Decide whether a response body may enter a shard.

    Safe to call from several threads; decoding and hashing release the GIL.
    """
    inspected = inspect(fetched.body, pixel_limit)
    if isinstance(inspected, Reason):
        return Failure(
            request=fetched.request,
            reason=inspected,
            attempts=fetched.attempts,
            fetched_at=fetched.fetched_at,
            http_status=fetched.http_status,
        )
    if inspected.body is not fetched.body:
        fetched = dataclasses.replace(fetched, body=inspected.body)
    return PosterRecord(
        fetched=fetched,
        height=inspected.height,
        width=inspected.width,
        sha256=inspected.sha256,
        dhash=inspected.dhash,
    )


def inspect(body: bytes, pixel_limit: int = PIXEL_LIMIT) -> Inspected | Reason:
    """Decode a picture to its end.

    Args:
        body: Encoded bytes, of any origin.
        pixel_limit: A picture with more pixels is refused before it is decoded.

    Returns:
        What is stored of it, or why it cannot be.

    Example:
        >>> inspect(b"<html>not found</html>")
        <Reason.NOT_AN_IMAGE: 'not_an_image'>
    """
    if body.startswith(_JPEG_SIGNATURE):
        return _inspect_jpeg(body, pixel_limit)
    if body.startswith(_PNG_SIGNATURE) or (body[:4] == b"RIFF" and body[8:12] == b"WEBP"):
        return _inspect_other(body, pixel_limit)
    return Reason.NOT_AN_IMAGE


def difference_hash(luma: NDArray[np.uint8]) -> int:
    """Hash a picture by the signs of its horizontal brightness differences.

    The picture is averaged over a grid of 8 rows and 9 columns; bit (row, column), most significant first, says that a
    cell is brighter than its right neighbour. Near-identical pictures differ in few bits.

    Args:
        luma: uint8 [h, w], of any size.

    Returns:
        64 bits, unsigned.

    Source:
        N. Krawetz, "Kind of Like That", The Hacker Factor Blog, 2013 (dHash), with exact integer cell means.

    Example:
        >>> ramp = np.arange(90, dtype=np.uint8)[None, ::-1].repeat(80, axis=0)
        >>> f"{difference_hash(ramp):016x}"
        'ffffffffffffffff'
    """
    return int(_difference_bits(luma))


@njit(nogil=True, cache=True)
def _difference_bits(luma: NDArray[np.uint8]) -> Any:
    height, width = luma.shape
    bits = np.uint64(0)
    columns = np.empty(width, np.uint32)
    for row in range(HASH_HEIGHT):
        top = row * height // HASH_HEIGHT
        bottom = max((row + 1) * height // HASH_HEIGHT, top + 1)
        columns[:] = 0
        for y in range(top, bottom):
            line = luma[y]
            for x in range(width):  # along the memory and without a branch: this loop is what vectorises
                columns[x] += line[x]
        left_sum, left_count = np.int64(0), np.int64(1)
        for column in range(HASH_WIDTH + 1):
            left = column * width // (HASH_WIDTH + 1)
            right = max((column + 1) * width // (HASH_WIDTH + 1), left + 1)
            cell_sum = np.int64(0)
            for x in range(left, right):
                cell_sum += columns[x]
            cell_count = np.int64((bottom - top) * (right - left))
            if column > 0:
                # Means are compared as fractions, so that no rounding decides a bit.
                brighter = left_sum * cell_count > cell_sum * left_count
                bits = (bits << np.uint64(1)) | np.uint64(brighter)
            left_sum, left_count = cell_sum, cell_count
    return bits


def _inspect_jpeg(body: bytes, pixel_limit: int) -> Inspected | Reason:
    try:
        height, width = (int(side) for side in simplejpeg.decode_jpeg_header(body)[:2])
        if height * width > pixel_limit:
            return Reason.TOO_LARGE
        # Luma alone: every coefficient of every plane is still read, and nothing after that can fail.
        luma = simplejpeg.decode_jpeg(body, colorspace="GRAY")
    except ValueError:
        return Reason.CORRUPT
    return _inspected(body, luma[:, :, 0])


def _inspect_other(body: bytes, pixel_limit: int) -> Inspected | Reason:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sizes, which are checked here, and about odd metadata
            picture = Image.open(io.BytesIO(body), formats=("PNG", "WEBP"))
            if picture.height * picture.width > min(pixel_limit, CONVERTED_PIXEL_LIMIT):
                return Reason.TOO_LARGE
            picture.load()
            flat = _flat(picture)
            del picture  # what is not needed any more does not stand beside what comes next
            rgb = np.asarray(flat)
            del flat
    except Image.DecompressionBombError:
        return Reason.TOO_LARGE
    except (OSError, ValueError, SyntaxError, EOFError):  # how Pillow's readers say that a file is broken
        return Reason.CORRUPT
    made = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), JPEG_QUALITY, colorspace="RGB", colorsubsampling="444")
    return _inspect_jpeg(made, pixel_limit)


def _flat(picture: Image.Image) -> Image.Image:
    """8-bit RGB on white, as a browser on a white page shows it."""
    if picture.mode.startswith("I"):  # 16 bits a pixel: keep the high byte, where convert() would clip
        return Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    with_alpha = picture if picture.mode == "RGBA" else picture.convert("RGBA")
    white = Image.new("RGB", picture.size, "white")
    white.paste(with_alpha, mask=with_alpha.getchannel("A"))
    return white


def _inspected(body: bytes, luma: NDArray[np.uint8]) -> Inspected:
    return Inspected(
        body=body,
        height=luma.shape[0],
        width=luma.shape[1],
        sha256=hashlib.sha256(body).hexdigest(),
        dhash=difference_hash(luma),
    )
