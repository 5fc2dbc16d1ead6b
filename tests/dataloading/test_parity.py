"""One body over all implementations: whatever the shape and the method, they make the reference's pixels."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from crawler.errors import UnusableInput
from crawler.records import Reason
from dataloading.jpeg import shown_size
from dataloading.prepare import make_preparer
from dataloading.preprocess import Draw, Interpolation, Method, Preprocess, draw
from tests.dataloading.shapes import DRAWN, encoded, picture, real_posters

FAST = ["native", "dali"]
MEAN_BOUND = 0.5
"""Mean absolute difference over an image, on the scale of 0 to 255."""
LARGEST_BOUND = 3.0
SPECS = {
    **{str(method): Preprocess(method=method, pad_value=30) for method in Method},
    "article-center-crop": Preprocess(method=Method.CENTER_CROP, crop=224),
    "small": Preprocess(method=Method.PAD, size=64, pad_value=255),
    "resize-plain": Preprocess(antialias=False),
    "pad-plain": Preprocess(method=Method.PAD, antialias=False),
    "random-crop-plain": Preprocess(method=Method.RANDOM_CROP, antialias=False),
    "augment-plain": Preprocess(method=Method.AUGMENT, antialias=False),
    "resize-bicubic": Preprocess(interpolation=Interpolation.BICUBIC),
    "augment-bicubic": Preprocess(method=Method.AUGMENT, interpolation=Interpolation.BICUBIC),
    "resize-bicubic-plain": Preprocess(interpolation=Interpolation.BICUBIC, antialias=False),
}


def beyond(implementation: str, spec: Preprocess, found: np.ndarray) -> list[int]:
    """Images that are out of bounds.

    DALI turns in single precision: a pixel on the very edge of a turned frame may fall to the other side of it.
    """
    on_the_edge = 3 if implementation == "dali" and spec.method is Method.AUGMENT else 0
    largest = (found > LARGEST_BOUND).sum(axis=(1, 2, 3)) > on_the_edge
    return np.flatnonzero(largest | (found.mean(axis=(1, 2, 3)) > MEAN_BOUND)).tolist()


def draws(spec: Preprocess, bodies: list[bytes]) -> list[Draw]:
    """What training would draw, the movies numbered from 0."""
    sizes = [shown_size(body) for body in bodies]
    assert not any(isinstance(size, Reason) for size in sizes)
    return [draw(spec, *size, 1, 2, movie) for movie, size in enumerate(sizes)]


@lru_cache(maxsize=4)  # the implementations take turns over one specification
def truth(name: str, kind: str) -> np.ndarray:
    """What the reference makes, [b, 3, h, w]: of ``drawn`` posters, or of real ones with draws or ``without``."""
    bodies = posters(kind)
    prepared = make_preparer(SPECS[name], "reference").prepare(bodies, plans_of(name, kind))
    assert prepared.reasons == [None] * len(bodies)
    return prepared.images


def posters(kind: str) -> list[bytes]:
    """The bodies of a kind."""
    return list((DRAWN if kind == "drawn" else real_posters(24)).values())


def plans_of(name: str, kind: str) -> list[Draw] | None:
    """Their draws."""
    return None if kind == "without" else draws(SPECS[name], posters(kind))


def out_of_bounds(name: str, implementation: str, kind: str) -> list[int]:
    """Places of the posters that are not as the reference has them."""
    spec, bodies = SPECS[name], posters(kind)
    found = make_preparer(spec, implementation).prepare(bodies, plans_of(name, kind))
    assert found.reasons == [None] * len(bodies)
    difference = np.abs(found.images - truth(name, kind)) * np.array(spec.std, np.float32)[:, None, None] * 255
    return beyond(implementation, spec, difference)


@pytest.mark.parametrize("implementation", FAST)
@pytest.mark.parametrize("name", SPECS)
def test_drawn_posters_of_all_shapes(implementation: str, name: str) -> None:
    """Every shape stays within the bounds by itself."""
    assert [list(DRAWN)[place] for place in out_of_bounds(name, implementation, "drawn")] == []


@pytest.mark.parametrize("implementation", FAST)
@pytest.mark.parametrize("name", SPECS)
def test_real_posters(implementation: str, name: str) -> None:
    """So does every real poster, with draws and without."""
    for kind in ("real", "without"):
        assert out_of_bounds(name, implementation, kind) == []


@pytest.mark.parametrize("implementation", ["reference", *FAST])
def test_bad_posters_have_a_reason_and_leave_their_neighbours_alone(implementation: str) -> None:
    """A poster that does not decode is a value: its image is all 0, the others are as ever."""
    good, spec = DRAWN["portrait"], Preprocess(size=64)
    preparer = make_preparer(spec, implementation)
    memory = np.full((6, 3, 64, 64), 7, np.float32)
    too_large = encoded(picture(8200, 2), "PNG")
    found = preparer.prepare([good, b"", good[: len(good) // 2], b"GIF89a", too_large, good], out=memory)
    corrupt, foreign, large = Reason.CORRUPT, Reason.NOT_AN_IMAGE, Reason.TOO_LARGE
    assert found.reasons == [None, foreign, corrupt, foreign, large, None]
    assert found.images is memory
    assert not memory[1:5].any()
    alone = preparer.prepare([good]).images[0]
    assert np.array_equal(memory[0], alone)
    assert np.array_equal(memory[5], alone)


@pytest.mark.parametrize("implementation", ["reference", *FAST])
def test_memory_that_does_not_fit_is_refused(implementation: str) -> None:
    """The message gives the shape that was given and the one that was expected."""
    with pytest.raises(UnusableInput, match=r"float32 \(1, 3, 32, 32\); expected float32 \(2, 3, 32, 32\)"):
        make_preparer(Preprocess(size=32), implementation).prepare(
            [DRAWN["tiny"]] * 2, out=np.empty((1, 3, 32, 32), np.float32)
        )
