"""Palette and dice -> a poster's scene of people: faces, couples, crowds, creatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from crawler.drawn import people, things
from crawler.drawn import place_scenes as places
from crawler.drawn.canvas import Canvas, mixed, soft

if TYPE_CHECKING:
    from crawler.drawn.canvas import Dice, Palette


def skull(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """A skull out of the dark, with something in its eyes."""
    canvas.gradient(palette.ink, palette.top, palette.ink)
    canvas.clouds(dice, palette.bottom, 0.7)
    x, y, size = dice.between(0.4, 0.6), dice.between(0.27, 0.4), dice.between(0.42, 0.66)
    people.skull(canvas, (x, y), size, palette.light, palette.ink)
    people.shade(canvas, palette.ink, right=dice.chance(0.5), edge=x)
    for sign in (-1, 1):
        canvas.glow(x + sign * 0.21 * size, y + 0.07 * size, 0.08, palette.accent, 0.8)


def drips(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """A frightened face behind something that runs down."""
    canvas.gradient(palette.top, palette.bottom)
    canvas.clouds(dice, palette.ink, 0.6)
    people.face(canvas, dice, (0.5, 0.42), dice.between(0.42, 0.6), palette, mood="fear")
    canvas.tint(palette.ink, Image.new("L", (8, 8), dice.whole(40, 130)))
    colour = dice.pick((palette.accent, palette.ink, (120, 8, 10)))
    x = 0.0
    canvas.polygon([(0, 0), (1, 0), (1, 0.06), (0, 0.06)], colour)
    while x < 1:
        canvas.stroke([(x, 0.02), (x, dice.between(0.06, 0.42))], dice.between(0.025, 0.06), colour)
        x += dice.between(0.05, 0.12)


def cracked(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """A face behind broken glass."""
    dice.pick((half_light, half_light, drips))(canvas, dice, palette)
    x, y = dice.between(0.3, 0.7), dice.between(0.25, 0.5)
    for _ in range(dice.whole(9, 15)):
        places = [(x, y)]
        dx, dy = dice.between(-0.2, 0.2), dice.between(-0.14, 0.14)
        for _ in range(4):
            px, py = places[-1]
            places.append((px + dx + dice.between(-0.05, 0.05), py + dy + dice.between(-0.04, 0.04)))
        canvas.stroke(places, 0.007, palette.light)


def eye(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """One eye, very near, and what it sees."""
    canvas.gradient(palette.ink, mixed(dice.pick(people.SKINS), palette.ink, 0.5), palette.ink)
    canvas.clouds(dice, palette.ink, 0.6)
    y, r = dice.between(0.34, 0.46), dice.between(0.17, 0.24)
    ratio = canvas.width / canvas.height
    upper = [(share / 20, y - (1 - (share / 10 - 1) ** 2) * r * ratio * 1.1) for share in range(21)]
    lower = [(share / 20, y + (1 - (share / 10 - 1) ** 2) * r * ratio * 0.9) for share in range(20, -1, -1)]
    canvas.polygon([*upper, *lower], (236, 230, 222))
    canvas.ellipse(0.5, y, r, r, dice.pick((palette.accent, palette.bottom, (90, 130, 110))))
    canvas.ellipse(0.5, y, r * 0.55, r * 0.55, (8, 8, 10))
    people.person(canvas, (0.5, y + 0.05), 0.1, people.silhouette(palette.light), pose="stand")
    canvas.polygon([(0, 0), (1, 0), *upper[::-1]], mixed(palette.ink, palette.top, 0.4))
    canvas.stroke(upper, 0.02, palette.ink)
    people.shade(canvas, palette.ink, right=dice.chance(0.5), edge=dice.between(0.4, 0.7))


def grin(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """One laughing face before a plain or a striped backdrop."""
    canvas.gradient(palette.bottom, palette.bottom)
    if dice.chance(0.6):
        things.rays(canvas, dice, (0.5, 0.45), palette.top, 180)
    people.face(
        canvas, dice, (dice.between(0.4, 0.6), dice.between(0.34, 0.44)), dice.between(0.46, 0.66), palette, mood="grin"
    )


def ensemble(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """People in a row, each in a colour of their own."""
    canvas.gradient(palette.light, palette.bottom)
    count = dice.whole(3, 5)
    canvas.ellipse(0.5, 0.84, 0.8, 0.2, mixed(palette.bottom, palette.land, 0.6))
    for index in range(count):
        x = (index + 0.5) / count + dice.between(-0.04, 0.04)
        colours = (
            dice.pick(people.SKINS),
            dice.pick((palette.accent, palette.land, palette.top, (240, 240, 240))),
            dice.pick((palette.ink, (50, 70, 120), (110, 90, 70))),
        )
        pose = dice.pick(("stand", "cheer", "hips", "walk"))
        wear = dice.pick(("", "", "hair", "dress hair", "hat"))
        people.person(
            canvas, (x, 0.84 + dice.between(-0.02, 0.02)), dice.between(0.46, 0.62), colours, pose=pose, wear=wear
        )


def party(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Balloons and confetti over somebody who cheers."""
    canvas.gradient(palette.top, palette.bottom)
    colours = (palette.accent, palette.land, palette.light, (250, 220, 80), (230, 90, 150))
    for _ in range(dice.whole(4, 9)):
        x, y, r = dice.between(0.05, 0.95), dice.between(0.05, 0.5), dice.between(0.06, 0.12)
        canvas.stroke([(x, y), (x + dice.between(-0.05, 0.05), y + 0.3)], 0.006, palette.ink)
        canvas.ellipse(x, y, r, r * 1.2, dice.pick(colours))
        canvas.ellipse(x - r * 0.35, y - r * 0.3, r * 0.2, r * 0.28, (255, 255, 255))
    for _ in range(70):
        x, y = dice.between(0, 1), dice.between(0, 0.9)
        canvas.polygon([(x, y), (x + 0.02, y + 0.006), (x + 0.012, y + 0.014)], dice.pick(colours))
    body = (dice.pick(people.SKINS), dice.pick(colours), palette.ink)
    people.person(
        canvas,
        (dice.between(0.35, 0.65), 0.9),
        dice.between(0.4, 0.6),
        body,
        pose="cheer",
        wear=dice.pick(("", "hair", "hat")),
    )


def sunset_couple(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Two people close together before a low sun, often over water."""
    canvas.gradient(palette.top, palette.bottom, palette.light)
    canvas.clouds(dice, palette.light, 0.35, stretch=3)
    canvas.glow(0.5, 0.52, 0.6, palette.light, 0.8)
    canvas.ellipse(0.5, 0.54, 0.2, 0.2, palette.light)
    canvas.polygon([(0, 0.62), (1, 0.62), (1, 1), (0, 1)], mixed(palette.bottom, palette.ink, 0.45))
    for _ in range(26):
        x, y = dice.between(0.1, 0.8), dice.between(0.63, 0.8)
        canvas.stroke([(x, y), (x + dice.between(0.05, 0.2), y)], 0.006, mixed(palette.bottom, palette.light, 0.7))
    things.ridge(canvas, dice, 0.83, 0.03, palette.ink, rough=0.4)
    _couple(canvas, dice, palette.ink, 0.84)


def big_heart(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """A heart with a couple in it."""
    canvas.gradient(palette.light, palette.bottom)
    canvas.clouds(dice, palette.top, 0.3)
    for _ in range(dice.whole(0, 7)):
        shade = mixed(palette.bottom, palette.accent, dice.between(0.2, 0.6))
        things.heart(canvas, (dice.between(0, 1), dice.between(0.05, 0.9)), dice.between(0.06, 0.16), shade)
    things.heart(canvas, (0.5, dice.between(0.3, 0.4)), dice.between(0.62, 0.86), palette.accent)
    _couple(canvas, dice, dice.pick((palette.light, palette.ink)), 0.66)


def _couple(canvas: Canvas, dice: Dice, ink: tuple[int, int, int], foot: float) -> None:
    middle, size = dice.between(0.42, 0.58), dice.between(0.28, 0.46)
    gap = 0.1 * size * canvas.height / canvas.width
    people.person(
        canvas,
        (middle - gap, foot),
        size,
        people.silhouette(ink),
        pose="stand",
        wear="coat" if dice.chance(0.4) else "",
    )
    people.person(
        canvas, (middle + gap, foot), size * 0.93, people.silhouette(ink), pose="hips", wear="dress hair", left=True
    )
    y = foot - 0.72 * size
    canvas.stroke([(middle - gap, y), (middle + gap, y + 0.02)], 0.05 * size, ink)


def two_faces(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Two faces side by side in soft light."""
    canvas.gradient(palette.top, palette.bottom)
    canvas.glow(0.5, 0.3, 0.7, palette.light, 0.7)
    mood = "grin" if dice.chance(0.45) else "calm"
    people.face(canvas, dice, (0.31, 0.36), dice.between(0.34, 0.42), palette, mood=mood)
    people.face(canvas, dice, (0.69, 0.4), dice.between(0.32, 0.4), palette, mood=mood)
    canvas.tint(palette.light, Image.new("L", (8, 8), dice.whole(0, 60)))


def half_light(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """A face, half of it in the dark."""
    canvas.gradient(palette.top, palette.bottom, palette.land)
    canvas.clouds(dice, palette.land, 0.5)
    x = dice.between(0.4, 0.6)
    people.face(canvas, dice, (x, dice.between(0.32, 0.4)), dice.between(0.5, 0.66), palette, mood="calm")
    people.shade(canvas, palette.ink, right=dice.chance(0.5), edge=x)


def halftone(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """A portrait printed in coarse dots."""
    inner = Canvas(canvas.height // 2, canvas.width // 2)
    inner.gradient(palette.light, palette.bottom)
    people.face(inner, dice, (0.5, 0.4), 0.6, palette, mood=dice.pick(("calm", "calm", "grin")))
    cells = dice.whole(34, 52)
    rows = round(cells * canvas.height / canvas.width)
    grey = inner.image.convert("L").resize((cells, rows), Image.Resampling.BOX)
    paper = mixed(palette.light, palette.bottom, 0.3)
    canvas.gradient(paper, paper)
    ink = dice.pick((palette.ink, palette.accent))
    for index, level in enumerate(grey.tobytes()):
        radius = (255 - level) / 255 * 0.62 / cells
        if radius > 0.1 / cells:
            canvas.ellipse((index % cells + 0.5) / cells, (index // cells + 0.5) / rows, radius, radius, ink)


def photograph(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """A photograph of a landscape or of a person, set on plain paper."""
    paper = dice.pick((palette.light, mixed(palette.light, palette.bottom, 0.5), palette.top))
    canvas.gradient(paper, paper)
    inner = Canvas(canvas.height // 2, canvas.width // 2)
    dice.pick((places.mountains, places.lone_tree, half_light, places.town))(inner, dice, palette)
    if dice.chance(0.5):
        inner.replace(inner.image.convert("L").convert("RGB"))
    top, high = dice.between(0.06, 0.2), dice.between(0.34, 0.52)
    part = inner.image.resize((round(0.8 * canvas.width), round(1.2 * canvas.height * 0.8)))
    high_px = round(high * canvas.height)
    canvas.image.paste(
        part.crop((0, part.height // 5, part.width, part.height // 5 + high_px)),
        (round(0.1 * canvas.width), round(top * canvas.height)),
    )
    if dice.chance(0.5):
        canvas.stroke([(0.1, top + high + 0.03), (0.9, top + high + 0.03)], 0.006, palette.ink)


def blinds(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """A man with a hat behind the light of a blind."""
    canvas.gradient(palette.bottom, palette.top)
    canvas.glow(0.5, 0.35, 0.8, palette.light, 0.6)
    ink = people.silhouette(palette.ink)
    people.person(
        canvas, (dice.between(0.4, 0.6), dice.between(1.2, 1.4)), dice.between(1.0, 1.2), ink, wear="coat hat"
    )
    mask = Image.new("L", canvas.image.size, 0)
    pen = ImageDraw.Draw(mask)
    step, slant = canvas.height // dice.whole(14, 22), dice.whole(-60, 60)
    for y in range(-80, canvas.height + 80, step):
        pen.polygon(
            [(0, y), (canvas.width, y + slant), (canvas.width, y + slant + step // 2), (0, y + step // 2)], fill=170
        )
    canvas.tint(palette.ink, soft(mask, 3))


def gang(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Men in coats, with long shadows, before a town or a wall."""
    canvas.gradient(palette.bottom, palette.light if dice.chance(0.4) else palette.bottom)
    canvas.clouds(dice, palette.top, 0.6)
    if dice.chance(0.5):
        things.skyline(canvas, dice, 0.7, 0.4, mixed(palette.bottom, palette.ink, 0.5), None)
    canvas.polygon([(0, 0.7), (1, 0.7), (1, 1), (0, 1)], mixed(palette.accent, palette.ink, 0.4))
    count = dice.whole(2, 4)
    for index in range(count):
        x = (index + 0.5) / count
        canvas.polygon(
            [(x - 0.04, 0.84), (x + 0.04, 0.84), (x + 0.3, 1), (x + 0.1, 1)], mixed(palette.accent, palette.ink, 0.7)
        )
        people.person(
            canvas,
            (x, 0.85),
            dice.between(0.44, 0.56),
            people.silhouette(palette.ink),
            pose=dice.pick(("stand", "walk", "aim")),
            wear=dice.pick(("coat hat", "coat", "coat hat")),
        )


def creatures(canvas: Canvas, dice: Dice, palette: Palette) -> None:
    """Round creatures on round hills."""
    canvas.gradient(palette.top, palette.bottom)
    for _ in range(dice.whole(0, 4)):
        x, y = dice.between(0, 1), dice.between(0.05, 0.35)
        for lobe in range(4):
            canvas.ellipse(x + 0.06 * lobe, y + dice.between(-0.01, 0.01), 0.07, 0.05, palette.light)
    for depth in range(2):
        shade = mixed(palette.land, palette.ink, 0.18 * depth)
        canvas.ellipse(dice.between(0, 1), 1.02 + 0.06 * depth, dice.between(0.7, 1.0), 0.5, shade)
        canvas.ellipse(dice.between(0, 1), 1.05 + 0.06 * depth, dice.between(0.7, 1.0), 0.45, shade)
    tones = (
        palette.accent,
        palette.land,
        (250, 200, 60),
        (120, 200, 110),
        (150, 110, 220),
        (90, 170, 230),
        palette.ink,
    )
    for _ in range(dice.whole(1, 3)):
        people.creature(
            canvas,
            dice,
            (dice.between(0.25, 0.75), dice.between(0.45, 0.74)),
            dice.between(0.3, 0.56),
            dice.pick(tones),
        )
