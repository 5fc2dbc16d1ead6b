"""Encoded posters -> a batch, in Pillow and NumPy: slow and right. What it makes defines the pixels.

- A poster is decoded by Pillow, turned by its EXIF orientation, and made RGB by Pillow's ``convert``.
- Resizing with ``antialias`` is Pillow's ``resize``: one direction after the other, 8 bits after each. Which goes first
  is told here as Pillow 13 has it (the height, where it shrinks by more than twice what the width does); earlier
  versions always began with the width. Without ``antialias``, each pixel is interpolated between the nearest 2
  (bilinear) or 4 (bicubic, a = -0.5 as in Pillow) in either direction, pixel centres aligned, the edge repeated, and
  rounded to 8 bits once.
- Rotating is Pillow's ``rotate`` with the same interpolation. The article left torchvision's default, nearest; that is
  not continuous in the angle, so no two implementations could be held to a bound.
- The article's ``ColorJitter()`` has no arguments and changes nothing; there is nothing to draw for it.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from crawler.records import Reason
from dataloading.jpeg import FORMATS, is_like_a_poster
from dataloading.prepare import LIMIT_SIDE, Prepared, batch_memory
from dataloading.preprocess import Draw, Interpolation, Preprocess, draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FILTERS: Final = {
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
}


class ReferencePreparer:
    """The specification as Pillow and NumPy carry it out.

    Example:
        >>> ReferencePreparer(Preprocess(size=32)).prepare([b"not a poster"]).reasons
        [<Reason.NOT_AN_IMAGE: 'not_an_image'>]
    """

    def __init__(self, spec: Preprocess, threads: int | None = None) -> None:
        self.spec = spec
        self._threads = threads

    def prepare(
        self,
        bodies: Sequence[bytes],
        draws: Sequence[Draw] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> Prepared:
        """Prepare a batch; see ``dataloading.prepare.Preparer``."""
        images = batch_memory(self.spec, bodies, draws, out)
        given = draws if draws is not None else [None] * len(bodies)
        with ThreadPoolExecutor(self._threads) as pool:
            reasons = list(pool.map(self._fill, images, bodies, given))
        return Prepared(images=images, reasons=reasons)

    def _fill(self, image: NDArray[np.float32], body: bytes, plan: Draw | None) -> Reason | None:
        square = prepare_pixels(self.spec, body, plan)
        if isinstance(square, Reason):
            image[...] = 0
            return square
        image[...] = normalized(self.spec, square)
        return None


def prepare_pixels(spec: Preprocess, body: bytes, plan: Draw | None = None) -> NDArray[np.uint8] | Reason:
    """Do everything but normalise.

    Returns:
        uint8 ``[size, size, 3]``, RGB; or why there is none.
    """
    poster = open_poster(body)
    if isinstance(poster, Reason):
        return poster
    plan = plan or draw(spec.for_evaluation(), poster.height, poster.width)
    return square_pixels(spec, poster, plan)


def open_poster(body: bytes) -> Image.Image | Reason:
    """Decode to RGB as it is shown, or say why not."""
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as image:
            if max(image.size) > LIMIT_SIDE:
                return Reason.TOO_LARGE
            image.load()
            return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError:
        return Reason.CORRUPT if is_like_a_poster(body) else Reason.NOT_AN_IMAGE
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return Reason.TOO_LARGE
    except (OSError, SyntaxError, ValueError, EOFError):  # Pillow's words for damage, by format and place
        return Reason.CORRUPT


def square_pixels(spec: Preprocess, poster: Image.Image, plan: Draw) -> NDArray[np.uint8]:
    """Carry out a draw.

    Args:
        spec: What is wanted.
        poster: RGB, as it is shown.
        plan: What is done to it.

    Returns:
        uint8 ``[size, size, 3]``, RGB.
    """
    size, window = spec.size, plan.window(spec.size)
    grey = (spec.pad_value,) * 3
    cut = poster
    if (plan.top, plan.left, plan.height, plan.width) != (0, 0, poster.height, poster.width):
        cut = Image.new("RGB", (plan.width, plan.height), grey)
        cut.paste(poster, (-plan.left, -plan.top))
    if not plan.angle:  # the window alone: the frame of a very long poster would not fit into memory
        square = _resized(spec, cut, plan, window, (size, size))
    else:
        frame = _resized(spec, cut, plan, (0, 0), (plan.frame_height, plan.frame_width))
        turned = frame.rotate(plan.angle, FILTERS[spec.interpolation], fillcolor=grey)
        top, left = window
        square = turned.crop((left, top, left + size, top + size))
    return np.array(ImageOps.mirror(square) if plan.flip else square)


def normalized(spec: Preprocess, square: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale to 0 to 1, subtract the mean, divide by the standard deviation.

    Args:
        spec: Gives the mean and the standard deviation.
        square: uint8 ``[h, w, 3]``.

    Returns:
        float32 ``[3, h, w]``.
    """
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (spec.mean, spec.std))
    return (square.transpose(2, 0, 1).astype(np.float32) / np.float32(255) - mean) / std


def _resized(
    spec: Preprocess, cut: Image.Image, plan: Draw, corner: tuple[int, int], shape: tuple[int, int]
) -> Image.Image:
    """Resize to the frame, and of it only the part of ``shape`` that begins at ``corner``: both (height, width)."""
    (top, left), (height, width) = corner, shape
    step_y, step_x = plan.height / plan.frame_height, plan.width / plan.frame_width
    if spec.antialias:
        across = left * step_x, min((left + width) * step_x, plan.width)  # Pillow refuses a rounding past the edge
        down = top * step_y, min((top + height) * step_y, plan.height)
        method = FILTERS[spec.interpolation]
        if cut.height > height and cut.height - height > 2 * (cut.width - width):
            cut = cut.resize((cut.width, height), method, box=(0, down[0], cut.width, down[1]))
            return cut.resize((width, height), method, box=(across[0], 0, across[1], height))
        cut = cut.resize((width, cut.height), method, box=(across[0], 0, across[1], cut.height))
        return cut.resize((width, height), method, box=(0, down[0], width, down[1]))
    pixels = np.asarray(cut, np.float64)
    rows = _between(spec, pixels, (top + np.arange(height) + 0.5) * step_y - 0.5)
    both = _between(spec, rows.transpose(1, 0, 2), (left + np.arange(width) + 0.5) * step_x - 0.5).transpose(1, 0, 2)
    return Image.fromarray(np.clip(np.floor(both + 0.5), 0, 255).astype(np.uint8))


def _between(spec: Preprocess, pixels: NDArray[np.float64], at: NDArray[np.floating]) -> NDArray[np.float64]:
    """Interpolate along the first axis at the positions ``at``, in pixels from the first pixel's centre."""
    first = np.floor(at).astype(np.int64)
    t = (at - first)[:, None, None]
    if spec.interpolation is Interpolation.BILINEAR:
        weights = {0: 1 - t, 1: t}
    else:  # Keys' cubic convolution with a = -0.5
        weights = {
            -1: ((-0.5 * t + 1) * t - 0.5) * t,
            0: (1.5 * t - 2.5) * t * t + 1,
            1: ((-1.5 * t + 2) * t + 0.5) * t,
            2: (0.5 * t - 0.5) * t * t,
        }
    last = len(pixels) - 1
    terms = (weight * pixels[np.clip(first + offset, 0, last)] for offset, weight in weights.items())
    return np.sum(list(terms), axis=0)
