"""Encoded poster -> its size as it is shown, from the header alone.

Source: ITU-T T.81 (JPEG markers) and CIPA DC-008 (EXIF orientation).
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Final

from PIL import Image, UnidentifiedImageError

from crawler.records import Reason

FORMATS: Final = ("JPEG", "PNG", "WEBP")
"""What a poster may be encoded as, in Pillow's names."""
PLAIN_COMPONENTS: Final = (1, 3)
"""Of the JPEGs that libjpeg-turbo decodes as Pillow does: grey and colour, not CMYK."""
START: Final = b"\xff\xd8"
_END: Final = b"\xff\xd9"
_END_WITHIN: Final = 64
"""Bytes from the end of the file in which a whole JPEG has its end marker; a cut one has none."""
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_END_OR_SCAN: Final = frozenset({0xD9, 0xDA})
_APP1: Final = 0xE1
_EXIF: Final = b"Exif\x00\x00"
_ORIENTATION_TAG: Final = 0x0112
_TURNED: Final = frozenset({5, 6, 7, 8})
"""EXIF orientations that exchange height and width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegHeader:
    """What a JPEG says about itself before its first scan."""

    height: int
    """As stored, in pixels."""
    width: int
    components: int
    """1 grey, 3 colour, 4 CMYK or YCCK."""
    orientation: int
    """EXIF orientation, 1 to 8; 1 is upright."""

    @property
    def shown_size(self) -> tuple[int, int]:
        """Height and width after the EXIF orientation."""
        return (self.width, self.height) if self.orientation in _TURNED else (self.height, self.width)


def is_like_a_poster(body: bytes) -> bool:
    """Tell whether the first bytes are those of a format that is decoded."""
    return body.startswith((START, b"\x89PNG\r\n\x1a\n")) or (body[:4], body[8:12]) == (b"RIFF", b"WEBP")


def has_end(body: bytes) -> bool:
    """Tell whether a JPEG has its end, by its end marker."""
    return body.rfind(_END, -_END_WITHIN) >= 0


def read_header(body: bytes) -> JpegHeader | Reason:
    """Read a JPEG's markers up to its frame; nothing is decoded."""
    if body[:2] != START:
        return Reason.NOT_AN_IMAGE
    at, orientation = 2, 1
    while at + 4 <= len(body):
        if body[at] != 0xFF:  # noqa: PLR2004 - every marker begins so
            return Reason.CORRUPT
        marker = body[at + 1]
        if marker == 0xFF:  # noqa: PLR2004 - fill bytes may stand before a marker
            at += 1
            continue
        if marker in _ALONE:
            at += 2
            continue
        if marker in _END_OR_SCAN:
            return Reason.CORRUPT
        length = body[at + 2] << 8 | body[at + 3]
        if marker in _FRAMES:
            if at + 10 > len(body):
                return Reason.CORRUPT
            height, width, components = struct.unpack_from(">HHB", body, at + 5)
            return JpegHeader(height=height, width=width, components=components, orientation=orientation)
        if marker == _APP1 and body.startswith(_EXIF, at + 4):
            orientation = _orientation(body[at + 10 : at + 2 + length])
        at += 2 + length
    return Reason.CORRUPT


def shown_size(body: bytes) -> tuple[int, int] | Reason:
    """Give (height, width) of a JPEG, PNG or WebP after its EXIF orientation, from the header alone.

    Example:
        >>> shown_size(b"not a poster")
        <Reason.NOT_AN_IMAGE: 'not_an_image'>
    """
    header = read_header(body)
    if isinstance(header, JpegHeader):
        return header.shown_size
    if header is Reason.CORRUPT:
        return header
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as image:
            turned = image.getexif().get(_ORIENTATION_TAG) in _TURNED
            width, height = image.size
            return (width, height) if turned else (height, width)
    except UnidentifiedImageError:
        return Reason.CORRUPT if is_like_a_poster(body) else Reason.NOT_AN_IMAGE
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return Reason.TOO_LARGE
    except (OSError, SyntaxError, ValueError, EOFError):
        return Reason.CORRUPT


def _orientation(tiff: bytes) -> int:
    """Find the orientation in an EXIF block; 1 where there is none or it makes no sense."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(entries):
            tag, _kind, _count, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                return value if 1 <= value <= 8 else 1  # noqa: PLR2004 - eight ways to hold a camera
    except struct.error:
        return 1
    return 1
