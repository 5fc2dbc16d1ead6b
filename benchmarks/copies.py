"""How well the difference hash finds copies of a poster: precision and recall by kind of copy and by distance.

Method: real posters (the data folder; seeded sample) are changed the way that catalogues and hosts change them, saved
as JPEG again, and hashed by the crawler's own ``inspect``. Recall of a kind is the share of its copies within so many
bits of their original. Precision is over all pairs of originals and copies in the whole set: the share of pairs
within so many bits that come from one file. Different files that show the same poster count as wrong here, so
precision is a lower bound. The search is timed on as many hashes as the full catalogue has posters.

Command: ``python -m benchmarks.copies [POSTERS]`` prints Markdown.

Why it comes out so: the hash compares the mean brightness of 72 cells. Re-encoding and resizing change these means by
less than the differences between most neighbours. A border or a crop moves the picture under the grid, and each cell
then sees other pixels: a few per cent are enough to turn many bits. It is a detector of the same picture, not of the
same motif.
"""

from __future__ import annotations

import io
import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from crawler.duplicates import POSTER_DISTANCE, near_identical
from crawler.errors import UnusableInput
from crawler.verify import Inspected, inspect

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

DISTANCES: Final = (0, 2, 4, 6, 8, 10)
CATALOG: Final = 45_466
_SHARE: Final = 1_024
"""Hashes that are compared with all others in one step."""


def _scaled(factor: float) -> Callable[[Image.Image], Image.Image]:
    def change(picture: Image.Image) -> Image.Image:
        size = (round(picture.width * factor), round(picture.height * factor))
        return picture.resize(size, Image.Resampling.LANCZOS)

    return change


def _bordered(share: float, colour: str) -> Callable[[Image.Image], Image.Image]:
    def change(picture: Image.Image) -> Image.Image:
        edge = round(picture.width * share)
        framed = Image.new("RGB", (picture.width + 2 * edge, picture.height + 2 * edge), colour)
        framed.paste(picture, (edge, edge))
        return framed

    return change


def _cropped(share: float) -> Callable[[Image.Image], Image.Image]:
    def change(picture: Image.Image) -> Image.Image:
        across, down = round(picture.width * share), round(picture.height * share)
        return picture.crop((across, down, picture.width - across, picture.height - down))

    return change


def _same(picture: Image.Image) -> Image.Image:
    return picture


KINDS: Final[dict[str, tuple[Callable[[Image.Image], Image.Image], int]]] = {
    "saved again, quality 85": (_same, 85),
    "saved again, quality 50": (_same, 50),
    "saved again, quality 20": (_same, 20),
    "2.7 times as wide, quality 85": (_scaled(2.7), 85),
    "half as wide, quality 75": (_scaled(0.5), 75),
    "white border of 1 %, quality 85": (_bordered(0.01, "white"), 85),
    "white border of 3 %, quality 85": (_bordered(0.03, "white"), 85),
    "black border of 3 %, quality 85": (_bordered(0.03, "black"), 85),
    "1 % cropped from each side, quality 85": (_cropped(0.01), 85),
    "3 % cropped from each side, quality 85": (_cropped(0.03), 85),
}
"""Kind of copy -> what is done to the picture, and the quality of the JPEG."""


def measure(folder: Path, posters: int) -> str:
    """Make copies, hash and compare them.

    Args:
        folder: JPEG files.
        posters: How many of them are copied; all of them are compared.

    Returns:
        A Markdown table, and a line on the search.

    Raises:
        UnusableInput: There are no posters.
    """
    paths = sorted(folder.glob("*.jpg"))
    if not paths:
        msg = f"posters {folder}: no *.jpg in it; set KEYART_DATA to the folder that holds posters/"
        raise UnusableInput(msg)
    bodies = {path.read_bytes(): None for path in paths}  # each file's bytes once: those are no copies that anyone made
    hashes = [_dhash(body) for body in bodies]
    originals = np.array(hashes, np.uint64)
    chosen = random.Random(7).sample(range(len(bodies)), min(posters, len(bodies)))  # noqa: S311  seeded, not secret
    ordered = list(bodies)
    made = {kind: np.array([_copy(ordered[one], kind) for one in chosen], np.uint64) for kind in KINDS}
    every = np.concatenate([originals, *made.values()])
    sources = np.concatenate([np.arange(len(originals)), *[np.array(chosen)] * len(made)])
    rows = ["| kind of copy | " + " | ".join(f"{bits} bits" for bits in DISTANCES) + " |", "|---" * 7 + "|"]
    for kind, copies in made.items():
        bits = np.bitwise_count(copies ^ originals[chosen])
        rows.append(f"| {kind} | " + " | ".join(f"{100 * (bits <= most).mean():.1f} %" for most in DISTANCES) + " |")
    right, wrong = _pairs(every, sources)
    shares = [100 * right[: most + 1].sum() / max(1, (right + wrong)[: most + 1].sum()) for most in DISTANCES]
    strangers = _pairs(originals, np.arange(len(originals)))[1]
    rows.append("| **precision over all pairs** | " + " | ".join(f"{share:.2f} %" for share in shares) + " |")
    rows.append(
        "| pairs of different files | " + " | ".join(f"{strangers[: most + 1].sum():,}" for most in DISTANCES) + " |"
    )
    head = (
        f"{len(originals):,} different files, {len(chosen):,} of them copied {len(made)} times; the bound of "
        f"`keyart archive duplicates` is {POSTER_DISTANCE} bits."
    )
    return "\n".join(
        [
            head,
            "",
            *rows,
            "",
            _search(every),
        ]
    )


def _search(hashes: NDArray[np.uint64]) -> str:
    many = np.resize(hashes, CATALOG)
    near_identical(many[:100], POSTER_DISTANCE)  # compiled or loaded before it is timed
    started_s = time.process_time()
    near_identical(many, POSTER_DISTANCE)
    return f"Search among {CATALOG:,} hashes, all pairs: {time.process_time() - started_s:.2f} CPU seconds."


def _pairs(hashes: NDArray[np.uint64], sources: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count pairs by distance: those from one file, and those from two."""
    right, wrong = np.zeros(65, np.int64), np.zeros(65, np.int64)
    for start in range(0, len(hashes), _SHARE):
        block, own = hashes[start : start + _SHARE], sources[start : start + _SHARE]
        rest, theirs = hashes[start:], sources[start:]
        near = np.bitwise_count(block[:, None] ^ rest[None, :])
        left, other = np.nonzero(near <= DISTANCES[-1])
        left, other = left[other > left], other[other > left]
        same = own[left] == theirs[other]
        right += np.bincount(near[left, other][same], minlength=65)
        wrong += np.bincount(near[left, other][~same], minlength=65)
    return right, wrong


def _copy(body: bytes, kind: str) -> int:
    change, quality = KINDS[kind]
    stream = io.BytesIO()
    with Image.open(io.BytesIO(body)) as picture:
        change(picture.convert("RGB")).save(stream, "JPEG", quality=quality)
    return _dhash(stream.getvalue())


def _dhash(body: bytes) -> int:
    inspected = inspect(body)
    if not isinstance(inspected, Inspected):
        msg = f"a poster of {len(body)} bytes: is no poster ({inspected}); expected files that a crawl would keep"
        raise UnusableInput(msg)
    return inspected.dhash


if __name__ == "__main__":
    _data = Path(os.environ.get("KEYART_DATA", Path(__file__).parents[2] / "shared" / "data"))
    sys.stdout.write(measure(_data / "posters", int(sys.argv[1]) if len(sys.argv) > 1 else 2_000) + "\n")
