"""Palette and dice -> a poster's scene of places: houses, towns, woods, seas, mountains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from crawler.drawn import people, things
from crawler.drawn.canvas import Canvas, mixed, soft

if TYPE_CHECKING:
    from crawler.drawn.canvas import Dice, Palette


def haunted_house(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """A house on a hill before the moon."""
    canvas.gradient(palette.top, palette.bottom, palette.land)
    canvas.clouds(dice, palette.light, 0.35, stretch=2.5)
    x = dice.between(0.35, 0.65)
    if dice.chance(0.7):
        canvas.glow(x + 0.1, 0.27, 0.5, palette.light, 0.6)
        canvas.ellipse(x + 0.1, 0.27, 0.17, 0.17, palette.light)
    things.ridge(canvas, dice, 0.66, 0.08, palette.land, rough=0.6)
    things.house(canvas, dice, (x, 0.64), dice.between(0.4, 0.6), palette.ink, palette.accent)
    things.ridge(canvas, dice, 0.7, 0.07, palette.ink, rough=0.5)
    for _ in range(dice.whole(1, 3)):
        things.bare_tree(canvas, dice, (dice.between(0, 1), 0.82), dice.between(0.3, 0.5), palette.ink)


def dead_wood(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Somebody alone among bare trees."""
    canvas.gradient(palette.top, palette.bottom, palette.light)
    canvas.clouds(dice, palette.light, 0.5, stretch=2)
    for depth in range(3):
        shade = mixed(palette.bottom, palette.ink, 0.4 + 0.3 * depth)
        for _ in range(3):
            things.bare_tree(canvas, dice, (dice.between(0, 1), 0.78 + 0.06 * depth), 0.55 + 0.15 * depth, shade)
    canvas.clouds(dice, palette.light, 0.35, stretch=3)
    ink = people.silhouette(palette.ink)
    people.person(
        canvas, (dice.between(0.4, 0.6), 0.84), 0.22, ink, pose="stand", wear=dice.pick(("coat", "dress hair"))
    )
    things.ridge(canvas, dice, 0.86, 0.03, palette.ink, rough=0.6)


def corridor(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Somebody at the end of a passage."""
    vanish = (dice.between(0.42, 0.58), dice.between(0.42, 0.52))
    canvas.gradient(palette.ink, palette.top)
    for step in range(8):
        near = 1 - step / 8
        shade = mixed(palette.bottom, palette.ink, near * 0.9 if step % 2 else near * 0.6 + 0.1)
        left, right = vanish[0] - near * 0.75, vanish[0] + near * 0.75
        top, bottom = vanish[1] - near * 0.6, vanish[1] + near * 0.6
        canvas.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], shade)
    canvas.glow(*vanish, 0.4, palette.light, 1.0)
    size = dice.between(0.2, 0.36)
    people.person(
        canvas,
        (vanish[0], vanish[1] + 0.62 * size),
        size,
        people.silhouette(palette.ink),
        pose=dice.pick(("stand", "walk", "run")),
        wear=dice.pick(("coat", "", "hair")),
    )
    canvas.clouds(dice, palette.ink, 0.4)


def explosion(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Somebody runs or shoots before a ball of fire."""
    canvas.gradient(palette.ink, palette.top, palette.bottom)
    x, y = dice.between(0.3, 0.7), dice.between(0.38, 0.52)
    things.rays(canvas, dice, (x, y), palette.light, 130)
    for radius, colour in ((0.6, palette.accent), (0.42, (255, 160, 40)), (0.22, (255, 244, 190))):
        canvas.glow(x, y, radius, colour, 1.1)
    if dice.chance(0.6):
        things.skyline(canvas, dice, 0.76, 0.3, mixed(palette.ink, palette.bottom, 0.25), None)
    canvas.clouds(dice, palette.ink, 0.6)
    canvas.polygon([(0, 0.78), (1, 0.74), (1, 1), (0, 1)], palette.ink)
    for _ in range(30):
        sx, sy = dice.between(0, 1), dice.between(0.2, 0.8)
        canvas.ellipse(sx, sy, 0.006, 0.006, (255, 190, 90))
    _hero(canvas, dice, palette)


def _hero(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    pose = dice.pick(("run", "aim", "aim", "walk", "stand"))
    size, x = dice.between(0.42, 0.62), dice.between(0.36, 0.64)
    left = dice.chance(0.5)
    people.person(
        canvas,
        (x, 0.86),
        size,
        people.silhouette(palette.ink),
        pose=pose,
        wear=dice.pick(("", "coat", "hair")),
        left=left,
    )
    if pose == "aim":
        sign = -1 if left else 1
        tall = size * canvas.height / canvas.width
        gun = (x + sign * 0.34 * tall, 0.86 - 0.79 * size)
        canvas.stroke([gun, (gun[0] + sign * 0.16 * tall, gun[1])], 0.03 * tall, palette.ink)
        canvas.glow(gun[0] + sign * 0.2 * tall, gun[1], 0.1, (255, 220, 120), 1.1)


def chase(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """A car comes out of a burning or a glittering town."""
    canvas.gradient(palette.top, palette.bottom)
    canvas.glow(0.5, 0.6, 0.8, palette.accent, 0.7)
    things.skyline(canvas, dice, 0.66, 0.42, mixed(palette.ink, palette.top, 0.4), palette.light)
    things.skyline(canvas, dice, 0.67, 0.22, palette.ink, palette.accent)
    canvas.polygon([(0, 0.66), (1, 0.66), (1, 1), (0, 1)], palette.land)
    canvas.polygon([(0.42, 0.66), (0.58, 0.66), (1.1, 1), (-0.1, 1)], palette.ink)
    for step in range(4):
        y = 0.69 + 0.07 * step
        canvas.polygon(
            [(0.495, y), (0.505, y), (0.51 + 0.01 * step, y + 0.04), (0.49 - 0.01 * step, y + 0.04)], palette.light
        )
    for _ in range(dice.whole(1, 3)):
        things.car(
            canvas,
            (dice.between(0.25, 0.75), dice.between(0.72, 0.84)),
            dice.between(0.35, 0.6),
            dice.pick((palette.accent, palette.land, palette.ink)),
            palette.light,
        )


def globe(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """The earth or another planet, seen from afar."""
    canvas.gradient(palette.ink, palette.top)
    for _ in range(90):
        canvas.ellipse(dice.between(0, 1), dice.between(0, 1), 0.003, 0.003, palette.light)
    x, y, r = dice.between(0.3, 0.7), dice.between(0.32, 0.6), dice.between(0.26, 0.48)
    canvas.glow(x, y, r * 1.35, palette.bottom, 0.9)
    mask = Image.new("L", canvas.image.size, 0)
    cx, cy = canvas.at(x, y)
    radius = r * canvas.width
    ImageDraw.Draw(mask).ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=255)
    below = canvas.image.copy()
    canvas.tint(palette.bottom, mask)
    canvas.clouds(dice, palette.land, 1.2, cells=5, stretch=2)
    canvas.clouds(dice, palette.light, 0.5, cells=5, stretch=3)
    ball = canvas.image
    below.paste(ball, (0, 0), mask)
    canvas.replace(below)
    shadow = Image.new("L", canvas.image.size, 0)
    ImageDraw.Draw(shadow).ellipse(
        (cx - 0.4 * radius, cy - 0.7 * radius, cx + 1.7 * radius, cy + 1.6 * radius), fill=190
    )
    inside = Image.new("L", canvas.image.size, 0)
    inside.paste(soft(shadow, 30), (0, 0), mask)
    canvas.tint(palette.ink, inside)


def lone_tree(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Somebody small in a wide field."""
    canvas.gradient(palette.top, palette.bottom, palette.light)
    canvas.clouds(dice, palette.light, 0.55, stretch=3)
    things.ridge(canvas, dice, 0.64, 0.05, mixed(palette.land, palette.bottom, 0.5), rough=0.4)
    canvas.polygon([(0, 0.66), (1, 0.66), (1, 1), (0, 1)], palette.land)
    canvas.clouds(dice, palette.ink, 0.3, cells=10, stretch=0.3)
    x = dice.between(0.2, 0.8)
    things.bare_tree(canvas, dice, (x, 0.72), dice.between(0.2, 0.36), palette.ink)
    body = (dice.pick(people.SKINS), dice.pick((palette.accent, palette.ink)), palette.ink)
    people.person(
        canvas,
        (1 - x, 0.78),
        dice.between(0.16, 0.3),
        body,
        pose=dice.pick(("walk", "stand")),
        wear=dice.pick(("coat", "dress hair", "")),
    )


def town(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """A lit window or a street, and somebody in it."""
    canvas.gradient(palette.top, palette.bottom)
    canvas.clouds(dice, palette.light, 0.3, stretch=2)
    things.skyline(canvas, dice, 0.8, 0.5, mixed(palette.land, palette.bottom, 0.4), palette.light)
    canvas.polygon([(0, 0.78), (1, 0.78), (1, 1), (0, 1)], palette.land)
    ink = people.silhouette(palette.ink)
    people.person(
        canvas,
        (dice.between(0.3, 0.7), 0.88),
        dice.between(0.26, 0.46),
        ink,
        pose="walk",
        wear=dice.pick(("coat", "coat hat", "dress hair")),
    )


def mountains(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Travellers before mountains."""
    canvas.gradient(palette.top, palette.bottom, palette.light)
    canvas.glow(dice.between(0.2, 0.8), 0.3, 0.5, palette.light, 0.8)
    canvas.clouds(dice, palette.light, 0.4, stretch=3)
    for depth in range(3):
        shade = mixed(palette.bottom, palette.land, 0.35 + 0.3 * depth)
        things.ridge(canvas, dice, 0.5 + 0.12 * depth, 0.3 - 0.08 * depth, shade, rough=1.3)
    things.ridge(canvas, dice, 0.84, 0.04, palette.ink, rough=0.6)
    for _ in range(dice.whole(0, 6)):
        things.pine(canvas, (dice.between(0, 1), 0.87), dice.between(0.1, 0.22), palette.ink)
    for index in range(dice.whole(1, 4)):
        people.person(
            canvas,
            (0.3 + 0.13 * index, 0.85),
            dice.between(0.14, 0.22),
            people.silhouette(palette.ink),
            pose="walk",
            wear=dice.pick(("hat", "coat", "")),
        )


def voyage(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """A ship on a high sea."""
    canvas.gradient(palette.top, palette.bottom)
    canvas.clouds(dice, palette.light, 0.6, stretch=2)
    canvas.glow(dice.between(0.2, 0.8), 0.25, 0.45, palette.light, 0.9)
    things.ship(
        canvas,
        (dice.between(0.4, 0.6), 0.64),
        dice.between(0.45, 0.75),
        palette.ink,
        mixed(palette.light, palette.land, 0.2),
    )
    for depth in range(4):
        shade = mixed(palette.land, palette.ink, 0.2 * depth)
        things.ridge(canvas, dice, 0.68 + 0.07 * depth, 0.05, shade, rough=0.9)


def ruin(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Somebody with a hat before a pyramid, framed by leaves."""
    canvas.gradient(palette.top, palette.bottom, palette.light)
    canvas.glow(0.5, 0.4, 0.6, palette.light, 0.9)
    x = dice.between(0.35, 0.65)
    canvas.polygon([(x - 0.5, 0.72), (x, 0.3), (x + 0.5, 0.72)], palette.land)
    canvas.polygon([(x, 0.3), (x + 0.5, 0.72), (x + 0.08, 0.72)], mixed(palette.land, palette.ink, 0.4))
    canvas.clouds(dice, palette.bottom, 0.3, stretch=3)
    canvas.polygon([(0, 0.7), (1, 0.72), (1, 1), (0, 1)], mixed(palette.land, palette.accent, 0.25))
    body = (dice.pick(people.SKINS), palette.land, palette.ink)
    people.person(
        canvas,
        (1 - x, 0.86),
        dice.between(0.26, 0.44),
        body,
        pose=dice.pick(("stand", "hips", "run", "walk")),
        wear="hat",
    )
    for _ in range(dice.whole(0, 12)):
        side, y = dice.pick((0.0, 1.0)), dice.between(0, 1)
        tip = (abs(side - dice.between(0.1, 0.3)), y + dice.between(-0.05, 0.12))
        canvas.polygon([(side, y - 0.03), tip, (side, y + 0.03)], palette.ink)


def under_water(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Fish with large eyes among bubbles."""
    canvas.gradient(palette.light, palette.top, palette.ink)
    things.rays(canvas, dice, (0.5, -0.1), palette.light, 80)
    for _ in range(24):
        r = dice.between(0.008, 0.03)
        canvas.ellipse(dice.between(0, 1), dice.between(0, 1), r, r, mixed(palette.top, palette.light, 0.6))
    ratio = canvas.width / canvas.height
    for _ in range(dice.whole(1, 4)):
        x, y, s = dice.between(0.25, 0.75), dice.between(0.2, 0.8), dice.between(0.12, 0.3)
        colour = dice.pick((palette.accent, palette.land, (250, 190, 60), (240, 120, 90)))
        sign = dice.pick((-1, 1))
        canvas.polygon(
            [
                (x - sign * 0.8 * s, y),
                (x - sign * 1.5 * s, y - 0.5 * s * ratio),
                (x - sign * 1.5 * s, y + 0.5 * s * ratio),
            ],
            colour,
        )
        canvas.ellipse(x, y, s, s * 0.66, colour)
        canvas.ellipse(x + sign * 0.08 * s, y, s * 0.12, s * 0.6, mixed(colour, (255, 255, 255), 0.7))
        canvas.ellipse(x + sign * 0.5 * s, y - 0.15 * s * ratio, s * 0.26, s * 0.26, (255, 255, 255))
        canvas.ellipse(x + sign * 0.56 * s, y - 0.15 * s * ratio, s * 0.13, s * 0.13, (20, 18, 30))
