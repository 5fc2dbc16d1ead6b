"""The question about near-identical posters answers; how fast anything is, is not asserted."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageOps

from benchmarks import duplicates
from benchmarks.duplicates import BRUTE, NUMPY, OURS, measure
from benchmarks.laps import LocalLaps
from crawler.drawn import draw_poster
from crawler.errors import WorkFailed
from crawler.verify import Inspected, inspect

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.findings import Options


def test_all_searches_find_the_same_groups(options: Options) -> None:
    """The run fails where they differ; what a quick run leaves out is named."""
    found = measure(options)
    assert {row.name for row in found.rows} == {OURS, NUMPY}
    assert BRUTE in found.missing


def test_contenders_that_disagree_end_the_run(tmp_path: Path) -> None:
    """Times of different answers cannot be compared."""
    pair, apart = np.array([0, 1], np.uint64), np.array([0, 2**40 - 1], np.uint64)
    contenders = {}
    for name, hashes in (("a", pair), ("b", apart)):
        np.save(tmp_path / f"{name}.npy", hashes)
        job = {"hashes": str(tmp_path / f"{name}.npy"), "distance": 4, "times": 1, "threads": 1}
        contenders[name] = LocalLaps("duplicates_keyart", job)
        contenders[name].lap()
    with pytest.raises(WorkFailed, match="a 1 groups of 2, b 0 groups of 0"):
        duplicates._check_agreement(contenders)


def test_turned_hashes_are_those_of_turned_pictures() -> None:
    """A mirror image's hash is worked out from its picture's; cells that are equal may differ."""
    body = draw_poster(seed=1, genre="Comedy", title="A", height=288, width=180)
    with Image.open(io.BytesIO(body)) as picture:
        hashes = [_hash(picture), _hash(ImageOps.mirror(picture)), _hash(ImageOps.flip(picture))]
    own = np.array(hashes[:1], np.uint64)
    assert _bits(duplicates._mirrored(own), hashes[1]) <= 6
    assert _bits(own.byteswap(), hashes[2]) <= 6


def _hash(picture: Image.Image) -> int:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=98)
    inspected = inspect(stream.getvalue())
    assert isinstance(inspected, Inspected)
    return inspected.dhash


def _bits(one: np.ndarray, other: int) -> int:
    return int(np.bitwise_count(one[0] ^ np.uint64(other)))
