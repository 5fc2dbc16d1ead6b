"""Seed, genre and title -> the JPEG bytes of a drawn poster."""

from __future__ import annotations

import io
from typing import Final

from PIL import Image, ImageChops

from crawler.drawn import lettering
from crawler.drawn.canvas import Canvas, Dice
from crawler.drawn.scenes import SCENES, stage
from crawler.errors import UnusableInput

GENRES: Final = tuple(SCENES)
"""Genres that can be drawn, as the catalogue spells them."""

WORN: Final = {"Horror": 0.6, "Thriller": 0.45, "Crime": 0.4, "Action": 0.35, "Documentary": 0.2}
PLAYFUL: Final = {"Comedy": 0.45, "Animation": 0.5, "Romance": 0.15, "Adventure": 0.15}


def draw_poster(*, seed: int, genre: str, title: str, height: int, width: int) -> bytes:
    """Draw one poster.

    Args:
        seed: What all choices follow from, 0 or above; the same seed gives the same bytes.
        genre: One of ``GENRES``.
        title: What is written on it.
        height: Of the poster, in pixels, at least 32.
        width: Of the poster, in pixels, at least 32.

    Returns:
        A JPEG file.

    Raises:
        UnusableInput: The genre is not one that can be drawn, or the poster is too small.

    Example:
        >>> draw_poster(seed=1, genre="Horror", title="The Cellar", height=278, width=185)[:2].hex()
        'ffd8'
    """
    if genre not in GENRES:
        msg = f"genre {genre!r}: expected one of {', '.join(GENRES)}"
        raise UnusableInput(msg)
    if min(height, width) < 32:  # noqa: PLR2004 - a title needs some room
        msg = f"poster of {height} x {width} pixels: expected at least 32 a side"
        raise UnusableInput(msg)
    dice = Dice(seed)
    canvas = Canvas(height, width)
    palette = stage(canvas, dice, genre)
    lettering.title(canvas, dice, title, palette, weathered=WORN.get(genre, 0.1), playful=PLAYFUL.get(genre, 0.05))
    lettering.small_print(canvas, dice, palette)
    return _encoded(_printed(canvas.finish(), dice), dice)


def redrawn(body: bytes, *, seed: int) -> bytes:
    """Return the same poster as another file: one row narrower, a little brighter, encoded again.

    Args:
        body: A poster as ``draw_poster`` returns it.
        seed: What the choices follow from.
    """
    dice = Dice(seed)
    with Image.open(io.BytesIO(body)) as image:
        lighter = image.convert("RGB").point([min(255, level + 4) for level in range(256)] * 3)
    return _encoded(lighter.resize((image.width - 1, image.height - 1), Image.Resampling.BICUBIC), dice)


def _printed(image: Image.Image, dice: Dice) -> Image.Image:
    """Add what print and film add: vignette, grain, sometimes a border or a fold."""
    if dice.chance(0.5):
        edge = Image.radial_gradient("L").point([max(0, level - 90) * 2 // 3 for level in range(256)])
        image.paste((0, 0, 0), (0, 0), edge.resize(image.size, Image.Resampling.BILINEAR))
    grain = dice.grey(image.height, image.width)
    if dice.chance(0.4):  # coarse grain
        grain = dice.grey(image.height // 2, image.width // 2).resize(image.size, Image.Resampling.BILINEAR)
    strength = dice.whole(8, 34)
    noise = grain.point([128 + (level - 128) * strength // 256 for level in range(256)])
    image = ImageChops.add(image, Image.merge("RGB", (noise, noise, noise)), offset=-128)
    if dice.chance(0.12):
        margin = dice.whole(4, 9)
        framed = Image.new("RGB", image.size, dice.pick(((246, 244, 236), (12, 12, 12))))
        framed.paste(image.crop((margin, margin, image.width - margin, image.height - margin)), (margin, margin))
        return framed
    return image


def _encoded(image: Image.Image, dice: Dice) -> bytes:
    stream = io.BytesIO()
    image.save(
        stream,
        "JPEG",
        quality=dice.whole(72, 94),
        subsampling=dice.weighted({2: 0.6, 1: 0.15, 0: 0.25}),
        progressive=dice.chance(0.2),
    )
    return stream.getvalue()
