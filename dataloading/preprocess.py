"""The one specification of how a poster becomes the square that a network sees.

Three implementations follow it: ``reference`` (slow and right), ``native`` (CPU) and ``dali`` (GPU). It travels inside
the checkpoint's card and the engine's card, so serving cannot disagree with training.

A specification, a poster's size and its chance give a ``Draw``: all the numbers that an implementation needs.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final, Self

import numpy as np

from crawler.errors import UnusableInput
from dataloading.chance import Chance

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
ARTICLE_CROP: Final = 280
"""Side of the article's random crop, in pixels: more than a w185 poster has in either direction."""

ROTATION_DEGREES: Final = 15.0
CROP_SCALE: Final = (0.8, 1.0)
"""Share of the area that ``augment`` cuts."""
CROP_RATIO: Final = (3 / 4, 4 / 3)
"""Width over height that ``augment`` cuts."""
CROP_ATTEMPTS: Final = 10


class Method(StrEnum):
    """How a rectangular poster becomes a square."""

    RESIZE = "resize"
    """Stretch to the square: all of the poster, distorted."""
    CENTER_CROP = "center_crop"
    """Cut a centred square and resize it: no distortion, part of the poster lost.

    Without ``crop`` it is the largest square inside the poster. With it, the square has ``crop`` pixels a side and is
    padded where the poster is smaller: ``crop=224, size=224`` is the article's ``CenterCrop(224)``; nothing is resized.
    """
    PAD = "pad"
    """Pad to a square with ``pad_value`` and resize: all of the poster, undistorted, part of the square unused."""
    RANDOM_CROP = "random_crop"
    """Pad to at least ``crop`` pixels a side, cut a square of ``crop`` pixels at a random place, resize it."""
    SHORTER_SIDE = "shorter_side"
    """Resize the shorter side to 256/224 of ``size``, keep the centre: what the article validates with."""
    AUGMENT = "augment"
    """Random resized crop of 0.8 to 1.0 of the area, rotation up to 15 degrees, flip, centre crop."""


class Interpolation(StrEnum):
    """Filter for resizing, as Pillow names it."""

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocess:
    """Every choice between a decoded poster and a normalised tensor.

    Example:
        >>> Preprocess(size=160).method
        <Method.RESIZE: 'resize'>
    """

    method: Method = Method.RESIZE
    size: int = 224
    """Height and width of the square, in pixels."""
    pad_value: int = 0
    """Grey level of the padding, 0 to 255."""
    crop: int | None = None
    """Side of the square that ``center_crop`` and ``random_crop`` cut before resizing, in pixels.

    None is the largest square for ``center_crop`` and the article's 280 for ``random_crop``.
    """
    interpolation: Interpolation = Interpolation.BILINEAR
    antialias: bool = True
    """Widen the filter when shrinking, as Pillow does; False samples between the nearest pixels only."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Of each RGB channel on a scale of 0 to 1."""
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        """Check the ranges and turn plain strings and lists, as TOML and JSON give them, into their types."""
        for name, kind in (("method", Method), ("interpolation", Interpolation)):
            value = getattr(self, name)
            if value not in list(kind):
                msg = f"preprocess {name} {str(value)!r}: expected one of {', '.join(kind)}"
                raise UnusableInput(msg)
            object.__setattr__(self, name, kind(value))
        for name in ("mean", "std"):
            values = tuple(float(value) for value in getattr(self, name))
            if len(values) != 3 or (name == "std" and min(values) <= 0):  # noqa: PLR2004 - RGB
                msg = f"preprocess {name} {values}: expected three numbers{', all above 0' if name == 'std' else ''}"
                raise UnusableInput(msg)
            object.__setattr__(self, name, values)
        for name, low, high in (("size", 16, 4096), ("crop", 8, 4096), ("pad_value", 0, 255)):
            value = getattr(self, name)
            if name == "crop" and value is None:
                continue
            if not isinstance(value, int) or not low <= value <= high:
                msg = f"preprocess {name} {value!r}: expected a whole number from {low} to {high}"
                raise UnusableInput(msg)
        if self.crop is not None and self.method not in {Method.CENTER_CROP, Method.RANDOM_CROP}:
            msg = f"preprocess crop {self.crop}: method {self.method} cuts no such square; leave crop out"
            raise UnusableInput(msg)
        if self.method is Method.RANDOM_CROP and self.crop is None:
            object.__setattr__(self, "crop", ARTICLE_CROP)

    @property
    def is_random(self) -> bool:
        """Whether two draws of one poster differ."""
        return self.method in {Method.RANDOM_CROP, Method.AUGMENT}

    def for_evaluation(self) -> Preprocess:
        """Return the deterministic twin; a specification without randomness is its own.

        Example:
            >>> Preprocess(method="random_crop").for_evaluation().method
            <Method.CENTER_CROP: 'center_crop'>
        """
        twin = {Method.RANDOM_CROP: Method.CENTER_CROP, Method.AUGMENT: Method.SHORTER_SIDE}
        return replace(self, method=twin[self.method]) if self.is_random else self

    def to_dict(self) -> dict[str, Any]:
        """Turn it into plain values for a card; ``from_dict`` is the inverse."""
        plain = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """Read it from a card or a recipe.

        Raises:
            UnusableInput: A field is unknown or out of range.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(plain) - set(known)):
            msg = f"preprocess field {unknown[0]!r}: expected one of {', '.join(known)}"
            raise UnusableInput(msg)
        return cls(**plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What is done to one poster, in this order.

    Cut the box out of the poster (outside it there is ``pad_value``), resize the cut to the frame, rotate the frame
    about its centre, keep its central ``size`` x ``size`` pixels, mirror, normalise. "The poster" is as it is shown:
    after its EXIF orientation.
    """

    top: int
    """Of the box, in pixels of the poster; negative where the box begins above it."""
    left: int
    height: int
    """Of the box; it may reach below the poster."""
    width: int
    frame_height: int
    """What the box is resized to, at least ``size``."""
    frame_width: int
    angle: float = 0.0
    """Degrees, counter-clockwise; corners that turn into view are ``pad_value``."""
    flip: bool = False
    """Mirror left and right."""

    def window(self, size: int) -> tuple[int, int]:
        """Where the central square begins in the frame: (top, left)."""
        return round((self.frame_height - size) / 2), round((self.frame_width - size) / 2)


def draw(  # noqa: PLR0913, PLR0917 - the size of the poster and the three parts of the key to its chance
    spec: Preprocess, height: int, width: int, seed: int = 0, epoch: int = 0, movie_id: int = 0
) -> Draw:
    """Decide what is done to one poster; the only place where chance enters.

    Args:
        spec: What is wanted.
        height: Of the poster as it is shown, in pixels.
        width: Likewise.
        seed: Of the run.
        epoch: Counted from 0.
        movie_id: TMDb id. With the two above it decides every random choice, whatever the batch, rank or worker.

    Example:
        >>> draw(Preprocess(method="pad"), 278, 185).left
        -46
    """
    square = spec.size, spec.size
    match spec.method:
        case Method.RESIZE:
            return _draw((0, 0, height, width), square)
        case Method.PAD:
            side = max(height, width)
            return _draw((_centred(height, side), _centred(width, side), side, side), square)
        case Method.CENTER_CROP:
            side = spec.crop or min(height, width)
            return _draw((_centred(height, side), _centred(width, side), side, side), square)
        case Method.RANDOM_CROP:
            side = spec.crop or ARTICLE_CROP
            chance = Chance(seed=seed, epoch=epoch, movie_id=movie_id)
            return _draw((_anywhere(chance, height, side), _anywhere(chance, width, side), side, side), square)
        case Method.SHORTER_SIDE:
            shorter, frame = min(height, width), frame_side(spec.size)
            return _draw((0, 0, height, width), (frame * height // shorter, frame * width // shorter))
        case Method.AUGMENT:
            chance = Chance(seed=seed, epoch=epoch, movie_id=movie_id)
            box, frame = _resized_crop(chance, height, width), frame_side(spec.size)
            angle = chance.uniform(-ROTATION_DEGREES, ROTATION_DEGREES)
            return _draw(box, (frame, frame), angle=angle, flip=chance.uniform() < 0.5)  # noqa: PLR2004 - a coin


def frame_side(size: int) -> int:
    """Side that is resized to before the centre is kept: 256 for 224, with the same margin left and right."""
    return size + 2 * round(size / 14)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a draw does to a poster."""

    kept: float
    """Share of the poster's area that is seen, 0 to 1."""
    distortion: float
    """By how much the width is stretched against the height, as a factor of at least 1; 1 is none."""
    padding: float
    """Share of the square that shows no poster, 0 to 1."""


def effect(plan: Draw, height: int, width: int, size: int) -> Effect:
    """Report what a draw does to a poster, by following every pixel of the square back to where it comes from.

    Args:
        plan: What is done.
        height: Of the poster as it is shown, in pixels.
        width: Likewise.
        size: Of the square.

    Example:
        >>> effect(draw(Preprocess(method="center_crop"), 300, 200, movie_id=862), 300, 200, 224).kept
        0.666...
    """
    top, left = plan.window(size)
    y, x = np.meshgrid(np.arange(size) + top + 0.5, np.arange(size) + left + 0.5, indexing="ij")
    y, x = y - plan.frame_height / 2, x - plan.frame_width / 2
    turn = math.radians(plan.angle)
    y, x = math.cos(turn) * y + math.sin(turn) * x, math.cos(turn) * x - math.sin(turn) * y
    step_y, step_x = plan.height / plan.frame_height, plan.width / plan.frame_width
    y, x = plan.top + (y + plan.frame_height / 2) * step_y, plan.left + (x + plan.frame_width / 2) * step_x
    seen = int(((y >= 0) & (y < height) & (x >= 0) & (x < width)).sum())
    stretch = step_y / step_x
    return Effect(
        kept=seen * step_y * step_x / (height * width),
        distortion=max(stretch, 1 / stretch),
        padding=1 - seen / size**2,
    )


def _draw(box: tuple[int, int, int, int], frame: tuple[int, int], *, angle: float = 0.0, flip: bool = False) -> Draw:
    top, left, height, width = box
    frame_height, frame_width = frame
    return Draw(
        top=top,
        left=left,
        height=height,
        width=width,
        frame_height=frame_height,
        frame_width=frame_width,
        angle=angle,
        flip=flip,
    )


def _centred(length: int, side: int) -> int:
    """Offset of a centred cut; where the two margins differ by a pixel, as torchvision has it."""
    return round((length - side) / 2) if length >= side else -((side - length) // 2)


def _anywhere(chance: Chance, length: int, side: int) -> int:
    """Offset of a cut that lies inside the poster or, where the poster is smaller, has all of it inside."""
    return chance.below(length - side + 1) if length >= side else -chance.below(side - length + 1)


def _resized_crop(chance: Chance, height: int, width: int) -> tuple[int, int, int, int]:
    """Draw a box as torchvision's ``RandomResizedCrop(scale=(0.8, 1.0))`` does: (top, left, height, width)."""
    low, high = CROP_RATIO
    for _ in range(CROP_ATTEMPTS):
        area = height * width * chance.uniform(*CROP_SCALE)
        ratio = math.exp(chance.uniform(math.log(low), math.log(high)))
        box_height, box_width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            return chance.below(height - box_height + 1), chance.below(width - box_width + 1), box_height, box_width
    box_height, box_width = min(height, round(width / low)), min(width, round(height * high))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width
