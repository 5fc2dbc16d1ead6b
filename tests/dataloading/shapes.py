"""Drawn and real posters of every shape that a preparer meets."""

from __future__ import annotations

import io
import os
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from PIL import Image

CHECKOUT: Final = Path(__file__).resolve().parents[2]
ORIENTATION_TAG: Final = 0x0112


@cache
def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """Soft colours, sharp rectangles and fine grain: what a poster is made of."""
    rng = np.random.default_rng([height, width, seed])
    coarse = rng.integers(0, 256, (4, 3, 3), dtype=np.uint8)
    pixels = np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    for _ in range(24):
        top, left = rng.integers(0, height), rng.integers(0, width)
        pixels[top : top + height // 9 + 1, left : left + width // 5 + 1] = rng.integers(0, 256, 3)
    pixels += rng.integers(-12, 13, pixels.shape, dtype=np.int16)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """Encode at quality 90 unless told otherwise."""
    body = io.BytesIO()
    image.save(body, kind, **({"quality": 90} | options if kind == "JPEG" else options))
    return body.getvalue()


def with_orientation(image: Image.Image, orientation: int) -> bytes:
    """A JPEG whose EXIF says how to turn it."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return encoded(image, exif=exif)


def drawn_posters() -> dict[str, bytes]:
    """Name of the shape -> encoded poster."""
    poster = picture(278, 185)
    shapes = {
        "portrait": encoded(poster),
        "landscape": encoded(picture(185, 278)),
        "square": encoded(picture(200, 200)),
        "exact": encoded(picture(224, 224)),
        "w342": encoded(picture(513, 342)),
        "w500": encoded(picture(750, 500)),
        "tiny": encoded(picture(9, 7)),
        "one-pixel": encoded(picture(1, 1)),
        "huge": encoded(picture(2400, 1600)),
        "tall": encoded(picture(1500, 31)),
        "wide": encoded(picture(17, 900)),
        "odd": encoded(picture(277, 183)),
        "grey": encoded(poster.convert("L")),
        "cmyk": encoded(poster.convert("CMYK")),
        "progressive": encoded(poster, progressive=True),
        "rough": encoded(poster, quality=15),
        "full-chroma": encoded(poster, subsampling="4:4:4"),
        "half-chroma": encoded(poster, subsampling="4:2:2"),
        "restarts": encoded(poster, restart_marker_rows=2),
        "png": encoded(poster, "PNG"),
        "png-alpha": encoded(poster.convert("RGBA"), "PNG"),
        "webp": encoded(poster, "WEBP"),
    }
    return shapes | {f"exif-{turn}": with_orientation(picture(200, 130), turn) for turn in range(2, 9)}


DRAWN: Final = drawn_posters()


def real_posters(count: int) -> dict[str, bytes]:
    """File name -> encoded poster, spread over the folder; skips the test where there are none."""
    folder = Path(os.environ.get("KEYART_DATA", CHECKOUT.parent / "shared" / "data")) / "posters"
    if not folder.is_dir():
        pytest.skip(f"no real posters in {folder}; set KEYART_DATA to a folder that has posters/")
    paths = sorted(folder.glob("*.jpg"))
    return {path.name: path.read_bytes() for path in paths[:: max(1, len(paths) // count)][:count]}
