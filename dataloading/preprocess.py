"""The one specification of how a poster becomes the square that a network sees.

Three implementations follow it: ``reference`` (slow and right), ``native`` (CPU) and ``dali`` (GPU). It travels inside
the checkpoint's card and the engine's card, so serving cannot disagree with training.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Final, Self

from crawler.errors import UnusableInput

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)


class Method(StrEnum):
    """How a rectangular poster becomes a square."""

    RESIZE = "resize"
    """Stretch to the square: all of the poster, distorted."""
    CENTER_CROP = "center_crop"
    """Cut the largest centred square and resize it: no distortion, part of the poster lost."""
    PAD = "pad"
    """Pad to a square with ``pad_value`` and resize: all of the poster, undistorted, part of the square unused."""
    RANDOM_CROP = "random_crop"
    """Pad to at least ``crop`` pixels a side, cut a square of ``crop`` pixels at a random place, resize it."""
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
    crop: int = 280
    """Side of the crop before resizing, in pixels (``random_crop`` only)."""
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
        for name, low, high in (("size", 8, 4096), ("crop", 8, 4096), ("pad_value", 0, 255)):
            if not low <= getattr(self, name) <= high:
                msg = f"preprocess {name} {getattr(self, name)}: expected a whole number from {low} to {high}"
                raise UnusableInput(msg)

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
