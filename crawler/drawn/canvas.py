"""Seeds and colours -> pixels: the chance, the palettes and the brushes of the drawn posters.

Everything here gives the same bytes on every machine with the same Pillow and NumPy: choices come from a
generator's raw doubles and bytes, and pixels from integer arithmetic and Pillow's own filters. NumPy's transcendental
functions are left out on purpose, for their last bit depends on the processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Colour = tuple[int, int, int]
Choice = TypeVar("Choice")

SCALE: Final = 2
"""Posters are drawn this many times larger and then shrunk, which smooths every edge."""


class Dice:
    """Random choices that follow from a seed alone."""

    def __init__(self, *seed: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))

    def between(self, low: float, high: float) -> float:
        """Return a number from ``low`` up to ``high``."""
        return low + (high - low) * float(self._generator.random())

    def whole(self, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``, both included."""
        return low + int(float(self._generator.random()) * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return float(self._generator.random()) < probability

    def pick(self, options: Sequence[Choice]) -> Choice:
        """Return one of the options, all equally likely."""
        return options[self.whole(0, len(options) - 1)]

    def weighted(self, weights: Mapping[Choice, float]) -> Choice:
        """Return one of the keys, as likely as its value."""
        left = self.between(0, sum(weights.values()))
        for option, weight in weights.items():
            left -= weight
            if left < 0:
                return option
        return list(weights)[-1]

    def grey(self, height: int, width: int) -> Image.Image:
        """Return white noise: a grey picture of independent pixels."""
        noise = np.frombuffer(self._generator.bytes(height * width), dtype=np.uint8)
        return Image.fromarray(noise.reshape(height, width))


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The colours of one poster."""

    top: Colour
    """Of the sky or the backdrop, above."""
    bottom: Colour
    land: Colour
    ink: Colour
    """Of silhouettes; the darkest."""
    light: Colour
    """Of the moon, windows, glows and pale lettering; the brightest."""
    accent: Colour
    """What stands out."""

    def jittered(self, dice: Dice, reach: int) -> Palette:
        """Return it with every channel of every colour moved by up to ``reach``."""

        def moved(colour: Colour) -> Colour:
            red, green, blue = (min(255, max(0, level + dice.whole(-reach, reach))) for level in colour)
            return (red, green, blue)

        return Palette(
            top=moved(self.top),
            bottom=moved(self.bottom),
            land=moved(self.land),
            ink=moved(self.ink),
            light=moved(self.light),
            accent=moved(self.accent),
        )


def _palette(top: str, bottom: str, land: str, ink: str, light: str, accent: str) -> Palette:
    def colour(code: str) -> Colour:
        red, green, blue = bytes.fromhex(code)
        return (red, green, blue)

    return Palette(
        top=colour(top),
        bottom=colour(bottom),
        land=colour(land),
        ink=colour(ink),
        light=colour(light),
        accent=colour(accent),
    )


MOODS: Final[dict[str, tuple[Palette, ...]]] = {
    "night": (
        _palette("060a16", "24324a", "0d131f", "05070c", "e9e4c8", "9fb4c8"),
        _palette("0a0d10", "3a4238", "12160f", "060706", "dfe6c0", "7e9a4a"),
        _palette("10071a", "43294f", "150d1d", "08050b", "efd9e6", "b05a9a"),
    ),
    "dusk": (
        _palette("2a2350", "f08a4b", "3a2436", "150d1c", "ffe2a8", "e8503a"),
        _palette("43385f", "e7b08a", "4b3a45", "1d1620", "fff0d0", "d0607a"),
        _palette("1c3350", "f2b35c", "2a2a33", "10131a", "fff2c8", "d8742c"),
    ),
    "day": (
        _palette("3f8fd2", "d8eef8", "5b8c4a", "1d2a36", "ffffff", "e64b35"),
        _palette("7cc4e8", "fdf6df", "c9a86a", "2b2a2a", "ffffff", "1f6fb5"),
        _palette("e8eef0", "ffffff", "b9c4c6", "22282c", "ffffff", "d43b2f"),
    ),
    "candy": (
        _palette("ffd23f", "ffe98a", "ee4266", "2b1b3d", "fffdf0", "3bb3c3"),
        _palette("ff8fb1", "ffd9e2", "57c4a5", "3a2250", "ffffff", "f7b32b"),
        _palette("4fc3f7", "c8f4ff", "8bd450", "233058", "ffffff", "ff6f3c"),
    ),
    "earth": (
        _palette("8a6f4d", "d9bf8f", "5a4630", "241a12", "f7e9c8", "b5532a"),
        _palette("6b7a5a", "c8c49a", "4a4e34", "1e2016", "f2efd8", "a8642c"),
        _palette("9b8468", "e6d8bd", "6a5a48", "2a221b", "fbf3e2", "3f6b6e"),
    ),
    "blood": (
        _palette("1a0405", "7d1512", "2a0607", "0b0303", "f3d9c0", "d4201a"),
        _palette("3a0a0a", "c23a22", "2c0b0b", "100405", "ffe6cf", "ffb13b"),
    ),
    "mono": (
        _palette("1b1b1b", "8a8a8a", "2c2c2c", "0c0c0c", "f2f2f2", "c8102e"),
        _palette("c9c9c9", "f4f4f4", "9a9a9a", "161616", "ffffff", "e0a500"),
        _palette("4b5156", "b9bfc2", "30353a", "101214", "f0f3f5", "4aa3b8"),
    ),
    "neon": (
        _palette("0b0930", "4b1d8f", "14102e", "07051a", "d9fbff", "ff2e88"),
        _palette("04202c", "0b7285", "06222b", "020f14", "e6fff7", "ff8a1f"),
    ),
}
"""Palettes by mood. No genre owns a mood; genres only prefer some."""


class Canvas:
    """A picture while it is drawn, ``SCALE`` times as large as the poster will be.

    Places are shares: ``x`` of the width and ``y`` of the height, (0, 0) being the upper left corner.
    """

    def __init__(self, height: int, width: int) -> None:
        self.height = height * SCALE
        self.width = width * SCALE
        self.image = Image.new("RGB", (self.width, self.height))
        self.pen = ImageDraw.Draw(self.image)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return a place in pixels."""
        return (x * self.width, y * self.height)

    def replace(self, image: Image.Image) -> None:
        """Go on with another picture of the same size."""
        self.image = image
        self.pen = ImageDraw.Draw(image)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Fill an ellipse around a place; both radii are shares of the width."""
        cx, cy = self.at(x, y)
        a, b = rx * self.width, ry * self.width
        self.pen.ellipse((cx - a, cy - b, cx + a, cy + b), fill=colour)

    def polygon(self, places: Sequence[tuple[float, float]], colour: Colour) -> None:
        """Fill a polygon."""
        self.pen.polygon([self.at(x, y) for x, y in places], fill=colour)

    def stroke(self, places: Sequence[tuple[float, float]], width: float, colour: Colour) -> None:
        """Draw a line with round ends and joints; its width is a share of the poster's width."""
        pixels = max(1, round(width * self.width))
        points = [self.at(x, y) for x, y in places]
        self.pen.line(points, fill=colour, width=pixels, joint="curve")
        radius = pixels / 2
        for cx, cy in (points[0], points[-1]):
            self.pen.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=colour)

    def gradient(self, *colours: Colour) -> None:
        """Cover all with colours that run into each other, top to bottom."""
        column = np.array(colours, dtype=np.uint8).reshape(len(colours), 1, 3)
        smooth = Image.fromarray(column).resize((1, self.height), Image.Resampling.BICUBIC)
        self.image.paste(smooth.resize((self.width, self.height), Image.Resampling.NEAREST), (0, 0))

    def tint(self, colour: Colour, mask: Image.Image) -> None:
        """Lay a colour on through a grey mask of any size; white covers."""
        if mask.size != self.image.size:
            mask = mask.resize(self.image.size, Image.Resampling.BILINEAR)
        self.image.paste(colour, (0, 0), mask)

    def clouds(self, dice: Dice, colour: Colour, strength: float, cells: int = 3, stretch: float = 1.0) -> None:
        """Lay soft irregular patches of a colour over all: haze, smoke, old paper, weathered walls."""
        self.tint(colour, cloud_mask(dice, self.height, self.width, cells, stretch).point(_scaled(strength)))

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float = 1.0) -> None:
        """Add light around a place; the radius is a share of the width."""
        side = max(2, round(2 * radius * self.width))
        falling = [max(0, min(255, int((181 - level) * 1.9 * strength))) for level in range(256)]  # 181 at the rim
        mask = Image.radial_gradient("L").point(falling)
        mask = mask.resize((side, side), Image.Resampling.BILINEAR)
        cx, cy = self.at(x, y)
        light = Image.new("RGB", (side, side), colour)
        box = (round(cx - side / 2), round(cy - side / 2))
        self.image.paste(light, box, mask)

    def finish(self) -> Image.Image:
        """Shrink to the poster's own size."""
        return self.image.reduce(SCALE)


def cloud_mask(dice: Dice, height: int, width: int, cells: int, stretch: float = 1.0) -> Image.Image:
    """Return fractal noise as a grey picture: each octave has twice the cells and less weight."""
    rows = max(2, round(cells * height / width / stretch))
    mask = Image.new("L", (width // 2, height // 2), 0)
    for octave in range(4):
        grid = dice.grey(rows << octave, cells << octave)
        layer = grid.resize(mask.size, Image.Resampling.BICUBIC)
        mask = layer if octave == 0 else Image.blend(mask, layer, 0.36)
    return mask.resize((width, height), Image.Resampling.BILINEAR)


def soft(mask: Image.Image, radius: float) -> Image.Image:
    """Blur a mask, at half its size, which is four times as fast and looks the same."""
    return mask.reduce(2).filter(ImageFilter.GaussianBlur(radius / 2)).resize(mask.size, Image.Resampling.BILINEAR)


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """Return a colour between two; ``share`` 0 is the first, 1 the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return (red, green, blue)


def _scaled(strength: float) -> list[int]:
    return [min(255, int(level * strength)) for level in range(256)]
