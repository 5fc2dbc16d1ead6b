"""Titles, tag lines and credits -> letters on a poster, in Pillow's own embedded font."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, cast

from PIL import Image, ImageChops, ImageDraw, ImageFont

from crawler.drawn.canvas import cloud_mask, mixed, soft

if TYPE_CHECKING:
    from crawler.drawn.canvas import Canvas, Colour, Dice, Palette

BILLING: Final = (
    "A LANTERN HILL PICTURE  IN ASSOCIATION WITH NORTH PIER",
    "WITH MARA OLSEN  TOM REYES  IDA KWAN  MUSIC BY J. ABARA",
    "EDITED BY P. LINDT  PHOTOGRAPHED BY R. SOTO  A.S.C.",
    "PRODUCED BY N. FARROW  WRITTEN AND DIRECTED BY E. VANCE",
)
"""Credits of people who do not exist."""

WORN_BELOW: Final = 112
"""Grey level of the noise below which worn letters are thin."""

TAGLINES: Final = (
    "nothing will be the same",
    "this summer",
    "some doors stay closed",
    "everyone has a reason",
    "the year's best surprise",
    "based on a true story",
    "it began with a letter",
    "one night changes all",
)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # The embedded Aileron; Pillow loads it with its basic layout, which needs no library of the system's.
    return cast("ImageFont.FreeTypeFont", ImageFont.load_default(size))


def title(canvas: Canvas, dice: Dice, text: str, palette: Palette, *, weathered: float, playful: float) -> None:
    """Write the title, in one to three lines, where and how the dice say.

    Args:
        canvas: What to write on.
        dice: Where the choices come from.
        text: The title.
        palette: The poster's colours.
        weathered: Probability that the letters are worn.
        playful: Probability that they stand askew and outlined.
    """
    lines = _lines(text.upper() if dice.chance(0.75) else text, dice)
    width = dice.between(0.62, 0.92)
    bold = dice.chance(0.6)
    block = _block(lines, round(width * canvas.width), round(0.24 * canvas.height), bold=bold)
    if bold and dice.chance(weathered):
        worn = cloud_mask(dice, block.height, block.width, 14).point(
            [255 * (level > WORN_BELOW) for level in range(256)]
        )
        block = ImageChops.multiply(block, ImageChops.lighter(worn, Image.new("L", block.size, 110)))
    askew = dice.chance(playful)
    if askew:
        block = block.rotate(dice.between(-9, 9), Image.Resampling.BICUBIC, expand=True)
    top = dice.weighted({0.05: 0.3, 0.6: 0.25, 0.66: 0.45})
    left = round((canvas.width - block.width) * (0.5 if dice.chance(0.75) else dice.between(0.1, 0.9)))
    box = (left, min(round(top * canvas.height), round(0.86 * canvas.height) - block.height))
    behind = canvas.image.crop((box[0], box[1], box[0] + block.width, box[1] + block.height)).convert("L")
    dark = behind.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    pale = isinstance(dark, int) and dark < 128  # noqa: PLR2004 - the middle of 0 to 255
    colour = _title_colour(dice, palette, pale=pale)
    edge = palette.ink if pale else palette.light
    room = 32
    halo = Image.new("L", (block.width + 2 * room, block.height + 2 * room), 0)
    halo.paste(block, (room, room))
    halo = soft(halo, 14).point([min(255, 2 * level) for level in range(256)])
    canvas.image.paste(edge, (box[0] - room, box[1] - room), halo)
    if askew:
        canvas.image.paste(edge, (box[0] + 4, box[1] + 4), block)
    canvas.image.paste(colour, box, block)


def small_print(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Write a tag line and the credits, as small and as narrow as on a real poster."""
    foot = canvas.image.crop((0, round(0.9 * canvas.height), canvas.width, canvas.height)).convert("L")
    grey = foot.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    base = palette.light if isinstance(grey, int) and grey < 128 else palette.ink  # noqa: PLR2004
    if dice.chance(0.7):
        names = dice.whole(2, len(BILLING))
        block = _block(list(BILLING[:names]), round(0.8 * canvas.width * 1.9), 200, bold=False)
        narrow = block.resize((round(0.8 * canvas.width), round(block.height * 0.8)), Image.Resampling.BOX)
        canvas.image.paste(
            mixed(base, palette.land, 0.25), (round(0.1 * canvas.width), round(0.9 * canvas.height)), narrow
        )
    if dice.chance(0.5):
        line = _block([" ".join(dice.pick(TAGLINES))], round(dice.between(0.45, 0.75) * canvas.width), 40, bold=False)
        at = (round((canvas.width - line.width) / 2), round(dice.pick((0.02, 0.865)) * canvas.height))
        canvas.image.paste(base, at, line)


def _title_colour(dice: Dice, palette: Palette, *, pale: bool) -> Colour:
    if dice.chance(0.3):
        return palette.accent
    return palette.light if pale else palette.ink


def _lines(text: str, dice: Dice) -> list[str]:
    words = text.split()
    if len(words) == 1 or (len(words) == 2 and dice.chance(0.5)):  # noqa: PLR2004
        return [text]
    half = (len(words) + 1) // 2 if dice.chance(0.6) else max(1, len(words) - 1)
    return [" ".join(words[:half]), " ".join(words[half:])]


def _block(lines: list[str], width: int, height: int, *, bold: bool) -> Image.Image:
    """Return lines of text as a grey mask that fits into ``width`` and ``height``."""
    size = 40
    stroke = 1 if bold else 0
    longest = max(_font(size).getlength(line) for line in lines) + 2
    size = max(7, min(round(size * width / longest), round(height / len(lines) / 1.1)))
    font = _font(size)
    stroke *= max(1, size // 22)
    step = round(size * 1.04)
    wide = max(1, round(max(font.getlength(line) for line in lines)) + 4 * stroke + 4)
    mask = Image.new("L", (wide, step * len(lines) + size // 3 + 2 * stroke), 0)
    pen = ImageDraw.Draw(mask)
    for row, line in enumerate(lines):
        pen.text((wide / 2, step * row + stroke), line, fill=255, font=font, anchor="ma", stroke_width=stroke)
    return mask
