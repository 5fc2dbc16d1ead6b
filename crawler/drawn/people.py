"""Person, face, skull or creature -> its shape on a canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from PIL import Image, ImageDraw

from crawler.drawn.canvas import mixed, soft

if TYPE_CHECKING:
    from crawler.drawn.canvas import Canvas, Colour, Dice, Palette

SKINS: Final[tuple[Colour, ...]] = (
    (250, 214, 184),
    (228, 178, 138),
    (198, 140, 98),
    (148, 96, 62),
    (96, 62, 44),
)

Limb = tuple[tuple[float, float], ...]

POSES: Final[dict[str, tuple[Limb, ...]]] = {
    # Arms and legs as joints; a body is 1 high, its feet at y 1 and the middle of its shoulders at (0, 0.2).
    "stand": (
        ((-0.1, 0.22), (-0.14, 0.38), (-0.13, 0.54)),
        ((0.1, 0.22), (0.14, 0.38), (0.13, 0.54)),
        ((-0.05, 0.52), (-0.06, 0.75), (-0.07, 0.98)),
        ((0.05, 0.52), (0.06, 0.75), (0.07, 0.98)),
    ),
    "walk": (
        ((-0.1, 0.22), (-0.16, 0.36), (-0.1, 0.5)),
        ((0.1, 0.22), (0.15, 0.38), (0.2, 0.5)),
        ((-0.04, 0.52), (-0.1, 0.74), (-0.18, 0.97)),
        ((0.04, 0.52), (0.12, 0.72), (0.12, 0.98)),
    ),
    "run": (
        ((-0.1, 0.22), (-0.24, 0.32), (-0.16, 0.44)),
        ((0.1, 0.22), (0.22, 0.34), (0.34, 0.24)),
        ((-0.04, 0.52), (-0.12, 0.72), (-0.36, 0.78)),
        ((0.04, 0.52), (0.24, 0.64), (0.2, 0.96)),
    ),
    "aim": (
        ((-0.1, 0.22), (0.06, 0.32), (0.3, 0.24)),
        ((0.1, 0.22), (0.22, 0.25), (0.36, 0.22)),
        ((-0.05, 0.52), (-0.12, 0.74), (-0.2, 0.98)),
        ((0.05, 0.52), (0.12, 0.74), (0.16, 0.98)),
    ),
    "cheer": (
        ((-0.1, 0.22), (-0.24, 0.1), (-0.28, -0.08)),
        ((0.1, 0.22), (0.24, 0.12), (0.3, -0.06)),
        ((-0.05, 0.52), (-0.12, 0.75), (-0.1, 0.98)),
        ((0.05, 0.52), (0.14, 0.74), (0.16, 0.98)),
    ),
    "hips": (
        ((-0.1, 0.22), (-0.24, 0.36), (-0.1, 0.47)),
        ((0.1, 0.22), (0.24, 0.36), (0.1, 0.47)),
        ((-0.05, 0.52), (-0.09, 0.75), (-0.12, 0.98)),
        ((0.05, 0.52), (0.09, 0.75), (0.12, 0.98)),
    ),
}


def silhouette(colour: Colour) -> tuple[Colour, Colour, Colour]:
    """Return the colours of somebody who is seen against the light."""
    return (colour, colour, colour)


def person(
    canvas: Canvas,
    place: tuple[float, float],
    size: float,
    colours: tuple[Colour, Colour, Colour],
    *,
    pose: str = "stand",
    wear: str = "",
    left: bool = False,
) -> None:
    """Draw a person.

    Args:
        canvas: What to draw on.
        place: Where the feet are.
        size: Body height as a share of the poster's height.
        colours: Of the head, the upper and the lower body; three times the same is a silhouette.
        pose: One of ``POSES``.
        wear: ``coat``, ``dress``, ``hat``, ``hair``, or several in one string.
        left: Face the other way.
    """
    x, foot = place
    sign = -1 if left else 1
    tall = size * canvas.height / canvas.width

    def at(bx: float, by: float) -> tuple[float, float]:
        return (x + sign * bx * tall, foot - (1 - by) * size)

    head, upper, lower = colours
    arms, legs = POSES[pose][:2], POSES[pose][2:]
    for limb in legs:
        canvas.stroke([at(*joint) for joint in limb], 0.075 * tall, lower)
    if "coat" in wear:
        canvas.polygon([at(-0.11, 0.2), at(0.11, 0.2), at(0.19, 0.82), at(-0.19, 0.82)], upper)
    elif "dress" in wear:
        canvas.polygon([at(-0.08, 0.2), at(0.08, 0.2), at(0.06, 0.42), at(0.2, 0.78), at(-0.2, 0.78)], upper)
    canvas.polygon([at(-0.12, 0.2), at(0.12, 0.2), at(0.08, 0.42), at(0.09, 0.56), at(-0.09, 0.56)], upper)
    canvas.stroke([at(-0.09, 0.215), at(0.09, 0.215)], 0.06 * tall, upper)
    for limb in arms:
        canvas.stroke([at(*joint) for joint in limb], 0.055 * tall, upper)
        canvas.ellipse(*at(*limb[-1]), 0.03 * tall, 0.03 * tall, head)
    canvas.stroke([at(0, 0.12), at(0, 0.2)], 0.06 * tall, head)
    cx, cy = at(0, 0.09)
    dark = lower if head != upper else head
    if "hair" in wear:
        canvas.ellipse(cx, cy + 0.02 * size, 0.085 * tall, 0.11 * tall, dark)
    canvas.ellipse(cx, cy, 0.062 * tall, 0.08 * tall, head)
    if "hat" in wear:
        canvas.ellipse(cx, cy - 0.035 * size, 0.13 * tall, 0.022 * tall, dark)
        canvas.polygon([at(-0.065, 0.06), at(0.065, 0.06), at(0.05, -0.02), at(-0.05, -0.02)], dark)
    elif head != upper:
        canvas.ellipse(cx, cy - 0.035 * size, 0.062 * tall, 0.04 * tall, dark)


def face(
    canvas: Canvas,
    dice: Dice,
    place: tuple[float, float],
    size: float,
    palette: Palette,
    *,
    mood: str,
) -> None:
    """Draw a large face: ``grin``, ``calm`` or ``fear``; ``size`` is its width as a share of the poster's."""
    x, y = place
    skin = dice.pick(SKINS)
    hair = dice.pick((palette.ink, (92, 56, 30), (214, 170, 92), (40, 34, 36), (150, 150, 150)))
    ratio = canvas.width / canvas.height
    half = size / 2

    def up(share: float) -> float:
        return y - share * half * ratio

    canvas.ellipse(x, up(0.35), half * 1.16, half * dice.between(1.1, 1.35), hair)
    canvas.polygon(
        [
            (x - half * 0.4, up(-0.7)),
            (x + half * 0.4, up(-0.7)),
            (x + half * 0.5, up(-1.9)),
            (x - half * 0.5, up(-1.9)),
        ],
        mixed(skin, palette.ink, 0.2),
    )
    canvas.ellipse(x, up(-2.3), half * 1.9, half * 0.95, dice.pick((palette.accent, palette.land, palette.ink)))
    canvas.ellipse(x, y, half * 0.92, half * 1.22, skin)
    canvas.polygon(
        [(x - half * 0.8, up(0.75)), (x + half * dice.between(-0.2, 0.8), up(1.3)), (x + half * 0.8, up(0.7))], hair
    )
    wide = {"grin": 0.17, "calm": 0.15, "fear": 0.24}[mood]
    for sign in (-1, 1):
        ex = x + sign * 0.4 * half
        canvas.ellipse(ex, up(0.15), half * 0.2, half * wide, (250, 250, 246))
        canvas.ellipse(ex + dice.between(-0.02, 0.02) * half, up(0.15), half * 0.1, half * 0.1, palette.ink)
        lift = {"grin": 0.52, "calm": 0.42, "fear": 0.6}[mood]
        inner = {"grin": 0.0, "calm": 0.0, "fear": 0.12}[mood]
        canvas.stroke(
            [(ex - sign * 0.2 * half, up(lift + inner)), (ex + sign * 0.24 * half, up(lift))], half * 0.08, hair
        )
    canvas.polygon(
        [(x, up(0.1)), (x - 0.13 * half, up(-0.28)), (x + 0.12 * half, up(-0.28))], mixed(skin, (120, 50, 30), 0.3)
    )
    _mouth(canvas, x, up(-0.62), half, mood)


def _mouth(canvas: Canvas, x: float, y: float, half: float, mood: str) -> None:
    cx, cy = canvas.at(x, y)
    reach = half * canvas.width
    if mood == "grin":
        box = (cx - 0.46 * reach, cy - 0.5 * reach, cx + 0.46 * reach, cy + 0.36 * reach)
        canvas.pen.chord(box, 12, 168, fill=(122, 22, 28))
        teeth = (cx - 0.38 * reach, cy - 0.3 * reach, cx + 0.38 * reach, cy + 0.16 * reach)
        canvas.pen.chord(teeth, 12, 168, fill=(252, 250, 242))
    elif mood == "fear":
        canvas.ellipse(x, y, half * 0.2, half * 0.3, (58, 8, 12))
    else:
        canvas.stroke([(x - 0.24 * half, y), (x + 0.24 * half, y)], half * 0.07, (150, 72, 66))


def shade(canvas: Canvas, colour: Colour, *, right: bool, edge: float = 0.5) -> None:
    """Let one side of the poster sink into a colour, as light from the other side would."""
    mask = Image.new("L", canvas.image.size, 0)
    pen = ImageDraw.Draw(mask)
    split = round(edge * canvas.width)
    pen.rectangle((split, 0, canvas.width, canvas.height) if right else (0, 0, split, canvas.height), fill=225)
    canvas.tint(colour, soft(mask, 0.12 * canvas.width))


def skull(canvas: Canvas, place: tuple[float, float], size: float, bone: Colour, dark: Colour) -> None:
    """Draw a skull; ``size`` is its width as a share of the poster's."""
    x, y = place
    half = size / 2
    ratio = canvas.width / canvas.height
    canvas.ellipse(x, y, half, half * 1.02, bone)
    jaw = [(-0.55, 0.6), (0.55, 0.6), (0.48, 1.55), (-0.48, 1.55)]
    canvas.polygon([(x + jx * half, y + jy * half * ratio) for jx, jy in jaw], bone)
    for sign in (-1, 1):
        canvas.ellipse(x + sign * 0.42 * half, y + 0.2 * half * ratio, 0.28 * half, 0.32 * half, dark)
    canvas.polygon(
        [
            (x, y + 0.5 * half * ratio),
            (x - 0.14 * half, y + 0.82 * half * ratio),
            (x + 0.14 * half, y + 0.82 * half * ratio),
        ],
        dark,
    )
    for tooth in range(-3, 4):
        tx = x + tooth * 0.14 * half
        canvas.stroke([(tx, y + 1.08 * half * ratio), (tx, y + 1.5 * half * ratio)], 0.035 * half, dark)


def creature(canvas: Canvas, dice: Dice, place: tuple[float, float], size: float, colour: Colour) -> None:
    """Draw a round cartoon creature with large eyes; ``size`` is its width as a share of the poster's."""
    x, y = place
    half = size / 2
    ratio = canvas.width / canvas.height
    tall = dice.between(0.85, 1.35)
    dark = mixed(colour, (20, 10, 40), 0.35)
    for sign in (-1, 1):
        canvas.stroke(
            [(x + sign * 0.4 * half, y), (x + sign * 0.62 * half, y - 1.5 * tall * half * ratio)], 0.2 * half, dark
        )
        canvas.ellipse(x + sign * 0.5 * half, y + tall * half * ratio, 0.32 * half, 0.16 * half, dark)
    canvas.ellipse(x, y, half, half * tall, colour)
    canvas.ellipse(
        x, y + 0.35 * tall * half * ratio, half * 0.62, half * 0.55 * tall, mixed(colour, (255, 255, 255), 0.45)
    )
    eyes = (0.0,) if dice.chance(0.2) else (-0.34, 0.34)
    wide = 0.44 if len(eyes) == 1 else 0.32
    gaze = dice.between(-0.1, 0.1)
    for ex in eyes:
        canvas.ellipse(x + ex * half, y - 0.32 * half * ratio, half * wide, half * wide, (255, 255, 255))
        canvas.ellipse(
            x + (ex + gaze) * half, y - 0.3 * half * ratio, half * wide * 0.5, half * wide * 0.55, (24, 18, 30)
        )
        canvas.ellipse(x + (ex + gaze + 0.06) * half, y - 0.4 * half * ratio, half * 0.07, half * 0.07, (255, 255, 255))
    _mouth(canvas, x, y + 0.24 * half * ratio, half * 0.8, dice.pick(("grin", "grin", "calm")))
