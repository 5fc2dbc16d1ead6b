"""A poster enters a shard if its bytes decode to the end, and not for what they claim to be."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps

from crawler.records import Reason
from crawler.verify import Inspected, difference_hash, inspect


def picture(mode: str = "RGB", height: int = 278, width: int = 185) -> Image.Image:
    """A gradient with blocks: real detail at two scales."""
    y, x = np.mgrid[0:height, 0:width]
    red = (x * 255 // width).astype(np.uint8)
    green = ((x // 20 + y // 30) % 2 * 200).astype(np.uint8)
    blue = (y * 255 // height).astype(np.uint8)
    return Image.fromarray(np.stack([red, green, blue], axis=2)).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """Bytes of an image file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_claiming(height: int, width: int) -> bytes:
    """A PNG whose header promises more pixels than its few bytes hold."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


JPEG = encoded(picture())


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(JPEG, id="baseline"),
        pytest.param(encoded(picture(), progressive=True), id="progressive"),
        pytest.param(encoded(picture("L")), id="grey"),
        pytest.param(encoded(picture("CMYK")), id="cmyk"),
        pytest.param(
            encoded(picture(), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
            id="rotated",
        ),
    ],
)
def test_a_jpeg_is_kept_byte_for_byte(body: bytes) -> None:
    """Size is as stored, before any EXIF rotation; the hash is of the bytes that came."""
    inspected = inspect(body)
    assert isinstance(inspected, Inspected)
    assert inspected.body is body
    assert (inspected.height, inspected.width) == (278, 185)
    assert inspected.sha256 == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(encoded(picture(), "PNG"), id="png"),
        pytest.param(encoded(picture("RGBA"), "PNG"), id="png with alpha"),
        pytest.param(encoded(picture("P"), "PNG"), id="png with palette"),
        pytest.param(
            encoded(Image.fromarray(np.asarray(picture("L")).astype(np.uint16) * 257), "PNG"), id="16-bit png"
        ),
        pytest.param(encoded(picture(), "WEBP", quality=90), id="webp"),
    ],
)
def test_png_and_webp_become_jpeg(body: bytes) -> None:
    """A shard holds JPEG only; the picture stays the same to the eye and to the hash."""
    inspected = inspect(body)
    assert isinstance(inspected, Inspected)
    with Image.open(io.BytesIO(inspected.body)) as made:
        assert (made.format, made.size) == ("JPEG", (185, 278))
        wanted = np.asarray(picture("L" if body == encoded(picture("L"), "PNG") else "RGB").convert("L")).astype(int)
        assert np.abs(np.asarray(made.convert("L")).astype(int) - wanted).mean() < 12
    assert inspected.sha256 == hashlib.sha256(inspected.body).hexdigest()
    assert inspected == inspect(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", Reason.NOT_AN_IMAGE, id="empty"),
        pytest.param(b"<html>sorry</html>", Reason.NOT_AN_IMAGE, id="html"),
        pytest.param(encoded(picture(), "GIF"), Reason.NOT_AN_IMAGE, id="gif"),
        pytest.param(b"\xff\xd8\xff" + bytes(500), Reason.CORRUPT, id="jpeg signature alone"),
        pytest.param(JPEG[: len(JPEG) // 2], Reason.CORRUPT, id="half a jpeg"),
        pytest.param(JPEG[:-2], Reason.CORRUPT, id="jpeg without its end"),
        pytest.param(JPEG[:3000] + bytes(300) + JPEG[3300:], Reason.CORRUPT, id="jpeg with a hole"),
        pytest.param(encoded(picture(), "PNG")[:-200], Reason.CORRUPT, id="half a png"),
        pytest.param(encoded(picture(), "WEBP")[:-200], Reason.CORRUPT, id="half a webp"),
        pytest.param(png_claiming(60_000, 60_000), Reason.TOO_LARGE, id="pixel bomb"),
        pytest.param(png_claiming(6_000, 6_000), Reason.TOO_LARGE, id="pixel bomb below Pillow's own limit"),
    ],
)
def test_what_is_no_poster_has_a_reason(body: bytes, reason: Reason) -> None:
    """Bad bytes are a value, never an exception."""
    assert inspect(body) is reason


def test_the_pixel_limit_is_the_callers() -> None:
    """One pixel more than the limit is refused, the limit itself is not."""
    assert isinstance(inspect(JPEG, pixel_limit=278 * 185), Inspected)
    assert inspect(JPEG, pixel_limit=278 * 185 - 1) is Reason.TOO_LARGE


@given(st.binary(max_size=200), st.integers(0, len(JPEG) - 1))
def test_no_bytes_raise(noise: bytes, at: int) -> None:
    """Any bytes, behind a signature or in the middle of a JPEG too, end in a record or a reason."""
    for body in (noise, JPEG[:3] + noise, JPEG[:at] + noise + JPEG[at:]):
        assert isinstance(inspect(body), Inspected | Reason)


def slow_difference_hash(luma: np.ndarray) -> int:
    """The definition of the hash, cell by cell."""
    height, width = luma.shape
    bits = 0
    for row in range(8):
        rows = slice(row * height // 8, max((row + 1) * height // 8, row * height // 8 + 1))
        cells = [
            luma[rows, column * width // 9 : max((column + 1) * width // 9, column * width // 9 + 1)].astype(int)
            for column in range(9)
        ]
        for left, right in pairwise(cells):
            bits = bits << 1 | int(left.sum() * right.size > right.sum() * left.size)
    return bits


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)))
def test_kernel_follows_the_definition(luma: np.ndarray) -> None:
    """The compiled hash is the slow one, for every size."""
    assert difference_hash(luma) == slow_difference_hash(luma)


def test_the_hash_survives_another_encoding() -> None:
    """Another quality and another size move few of 64 bits; another picture moves many."""
    smaller = picture().resize((154, 231), Image.Resampling.LANCZOS)
    bodies = [
        JPEG,
        encoded(picture(), quality=40),
        encoded(smaller),
        encoded(ImageOps.invert(picture())),
    ]
    first, worse, small, other = (
        inspected.dhash for body in bodies if isinstance(inspected := inspect(body), Inspected)
    )
    assert (first ^ worse).bit_count() <= 4
    assert (first ^ small).bit_count() <= 6
    assert (first ^ other).bit_count() >= 20
