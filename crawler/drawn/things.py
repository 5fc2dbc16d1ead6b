"""House, tree, town, heart, ship or car -> its shape on a canvas."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from crawler.drawn.canvas import mixed, soft

if TYPE_CHECKING:
    from crawler.drawn.canvas import Canvas, Colour, Dice


def skyline(canvas: Canvas, dice: Dice, base: float, tallest: float, colour: Colour, windows: Colour | None) -> None:
    """Draw a row of buildings that stand on ``base``; some have lit windows."""
    left = -0.02
    while left < 1:
        wide = dice.between(0.06, 0.16)
        top = base - tallest * dice.between(0.3, 1.0)
        canvas.polygon([(left, base), (left, top), (left + wide, top), (left + wide, base)], colour)
        if dice.chance(0.3):
            canvas.stroke([(left + wide / 2, top), (left + wide / 2, top - 0.05)], 0.008, colour)
        if windows:
            for column in range(1, int(wide / 0.022)):
                for row in range(1, int((base - top) / 0.022)):
                    if dice.chance(0.35):
                        wx, wy = canvas.at(left + column * 0.022, top + row * 0.022)
                        canvas.pen.rectangle((wx, wy, wx + 3, wy + 4), fill=windows)
        left += wide + dice.between(-0.01, 0.02)


def ridge(canvas: Canvas, dice: Dice, base: float, height: float, colour: Colour, *, rough: float = 1.0) -> None:
    """Draw hills or mountains across the whole width, from a line near ``base`` down; low ``rough`` is rolling."""
    heights = [dice.between(0, 1), dice.between(0, 1)]
    reach = 1.0
    for _ in range(5):
        finer: list[float] = []
        for one, other in pairwise(heights):
            finer += [one, (one + other) / 2 + reach * rough * dice.between(-0.5, 0.5)]
        heights = [*finer, heights[-1]]
        reach *= 0.5
    line = [(index / (len(heights) - 1), base - height * level) for index, level in enumerate(heights)]
    canvas.polygon([(0, 1), *line, (1, 1)], colour)


def bare_tree(canvas: Canvas, dice: Dice, place: tuple[float, float], size: float, colour: Colour) -> None:
    """Draw a leafless tree; ``size`` is its height as a share of the poster's."""

    def branch(x: float, y: float, length: float, angle: float, depth: int) -> None:
        tip = (x + length * math.sin(angle) * 1.5, y - length * math.cos(angle))
        canvas.stroke([(x, y), tip], 0.045 * size * 0.66 ** (4 - depth) * 2.2, colour)
        if depth:
            for turn in (-1, 1):
                branch(*tip, length * dice.between(0.6, 0.8), angle + turn * dice.between(0.25, 0.7), depth - 1)

    branch(*place, size * 0.34, dice.between(-0.12, 0.12), 4)


def pine(canvas: Canvas, place: tuple[float, float], size: float, colour: Colour) -> None:
    """Draw a fir tree; ``size`` is its height as a share of the poster's."""
    x, foot = place
    for step in range(4):
        low = foot - size * (0.1 + 0.2 * step)
        wide = size * (0.3 - 0.06 * step)
        canvas.polygon([(x - wide, low), (x + wide, low), (x, low - 0.34 * size)], colour)
    canvas.stroke([(x, foot), (x, foot - 0.2 * size)], 0.05 * size, colour)


def house(canvas: Canvas, dice: Dice, place: tuple[float, float], size: float, colour: Colour, windows: Colour) -> None:
    """Draw an old house with gables; ``size`` is its width as a share of the poster's."""
    x, foot = place
    for shift, wide, high in ((-0.3, 0.3, 0.62), (0.28, 0.34, 0.5), (0.0, 0.36, 0.8)):
        left, right = x + (shift - wide / 2) * size, x + (shift + wide / 2) * size
        top = foot - high * size * 0.66
        canvas.polygon([(left, foot), (left, top), (right, top), (right, foot)], colour)
        peak = top - dice.between(0.2, 0.34) * size
        canvas.polygon([(left - 0.03 * size, top), ((left + right) / 2, peak), (right + 0.03 * size, top)], colour)
        for row in range(2):
            if dice.chance(0.75):
                wx, wy = canvas.at(x + shift * size, top + (0.1 + 0.2 * row) * size)
                half = 0.035 * size * canvas.width
                canvas.pen.rectangle((wx - half, wy - half, wx + half, wy + 1.6 * half), fill=windows)


def heart(canvas: Canvas, place: tuple[float, float], size: float, colour: Colour) -> None:
    """Draw a heart; ``size`` is its width as a share of the poster's."""
    x, y = place
    ratio = canvas.width / canvas.height
    quarter = size / 4
    for sign in (-1, 1):
        canvas.ellipse(x + sign * quarter * 0.94, y, quarter * 1.04, quarter * 1.04, colour)
    tip = y + 2.3 * quarter * ratio
    side = y + 0.42 * quarter * ratio
    canvas.polygon(
        [(x - quarter * 1.86, side), (x, tip), (x + quarter * 1.86, side), (x, y - 0.2 * quarter * ratio)], colour
    )


def ship(canvas: Canvas, place: tuple[float, float], size: float, colour: Colour, sail: Colour) -> None:
    """Draw a sailing ship; ``size`` is its length as a share of the poster's width."""
    x, y = place

    def at(sx: float, sy: float) -> tuple[float, float]:
        return (x + sx * size, y - sy * size * canvas.width / canvas.height)

    canvas.polygon([at(-0.5, 0.16), at(0.52, 0.2), at(0.36, -0.06), at(-0.38, -0.06)], colour)
    for mast, tall in ((-0.25, 0.7), (0.02, 0.95), (0.28, 0.72)):
        canvas.stroke([at(mast, 0.1), at(mast, tall)], 0.014 * size, colour)
        for row in (0.0, 0.5):
            low, high = 0.2 + row * (tall - 0.2), 0.16 + (row + 0.48) * (tall - 0.2)
            canvas.polygon(
                [at(mast - 0.13, low), at(mast + 0.12, low), at(mast + 0.09, high), at(mast - 0.1, high)], sail
            )
    canvas.stroke([at(0.5, 0.18), at(0.72, 0.34)], 0.014 * size, colour)


def car(canvas: Canvas, place: tuple[float, float], size: float, colour: Colour, lamps: Colour) -> None:
    """Draw a car from the side; ``size`` is its length as a share of the poster's width."""
    x, y = place

    def at(cx: float, cy: float) -> tuple[float, float]:
        return (x + cx * size, y - cy * size * canvas.width / canvas.height)

    body = [(-0.5, 0.08), (-0.48, 0.22), (-0.26, 0.26), (-0.14, 0.4), (0.16, 0.4), (0.3, 0.25), (0.5, 0.2), (0.5, 0.08)]
    canvas.polygon([at(*corner) for corner in body], colour)
    canvas.polygon([at(-0.2, 0.27), at(-0.11, 0.37), (at(0.02, 0.37)), at(0.02, 0.27)], mixed(colour, lamps, 0.5))
    canvas.polygon([at(0.05, 0.27), at(0.05, 0.37), at(0.14, 0.37), at(0.23, 0.27)], mixed(colour, lamps, 0.5))
    for wheel in (-0.3, 0.3):
        canvas.ellipse(*at(wheel, 0.08), 0.095 * size, 0.095 * size, (14, 14, 16))
        canvas.ellipse(*at(wheel, 0.08), 0.045 * size, 0.045 * size, (150, 150, 155))
    canvas.ellipse(*at(0.49, 0.17), 0.03 * size, 0.025 * size, lamps)


def rays(canvas: Canvas, dice: Dice, place: tuple[float, float], colour: Colour, strength: int) -> None:
    """Draw beams that spread from a place over the whole poster."""
    mask = Image.new("L", canvas.image.size, 0)
    pen = ImageDraw.Draw(mask)
    cx, cy = canvas.at(*place)
    reach = 2 * canvas.height
    angle = dice.between(0, 1)
    while angle < 2 * math.pi + 1:
        wide = dice.between(0.04, 0.2)
        ends = [(cx + reach * math.cos(edge), cy + reach * math.sin(edge)) for edge in (angle, angle + wide)]
        pen.polygon([(cx, cy), *ends], fill=dice.whole(strength // 3, strength))
        angle += wide + dice.between(0.05, 0.3)
    canvas.tint(colour, soft(mask, 4))
