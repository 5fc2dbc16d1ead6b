"""What is drawn for a poster follows from the specification, its size and its key alone."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.errors import UnusableInput
from dataloading.preprocess import Draw, Method, Preprocess, draw, effect

sides = st.integers(1, 4000)
keys = st.tuples(st.integers(0, 2**31), st.integers(0, 10_000), st.integers(0, 2**40))


def box(plan: Draw) -> tuple[int, int, int, int]:
    """Top, left, height, width."""
    return plan.top, plan.left, plan.height, plan.width


@pytest.mark.parametrize(
    ("method", "crop", "expected"),
    [
        ("resize", None, (0, 0, 278, 185)),
        ("center_crop", None, (46, 0, 185, 185)),
        ("center_crop", 224, (27, -19, 224, 224)),
        ("pad", None, (0, -46, 278, 278)),
        ("shorter_side", None, (0, 0, 278, 185)),
    ],
)
def test_box_of_a_w185_poster(method: str, crop: int | None, expected: tuple[int, int, int, int]) -> None:
    """The boxes of the article's code for a 185x278 poster."""
    assert box(draw(Preprocess(method=Method(method), crop=crop), 278, 185)) == expected


def test_shorter_side_keeps_the_centre_of_the_frame() -> None:
    """256 for 224, the aspect ratio kept, and the window in the middle."""
    plan = draw(Preprocess(method=Method.SHORTER_SIDE), 278, 185)
    assert (plan.frame_height, plan.frame_width, plan.window(224)) == (384, 256, (80, 16))


@given(height=sides, width=sides, key=keys)
def test_random_crop_shows_as_much_poster_as_the_square_can_hold(
    height: int, width: int, key: tuple[int, int, int]
) -> None:
    """Where the poster is larger than the crop the box lies inside it; where it is smaller all of it is in the box."""
    top, left, box_height, box_width = box(draw(Preprocess(method=Method.RANDOM_CROP), height, width, *key))
    assert (box_height, box_width) == (280, 280)
    for start, length in ((top, height), (left, width)):
        assert (0 <= start <= length - 280) if length >= 280 else (length - 280 <= start <= 0)


@given(height=sides, width=sides, key=keys)
def test_augmentation_stays_inside_the_poster(height: int, width: int, key: tuple[int, int, int]) -> None:
    """The box lies inside the poster and the angle within 15 degrees."""
    plan = draw(Preprocess(method=Method.AUGMENT), height, width, *key)
    assert 0 <= plan.top <= plan.top + plan.height <= height
    assert 0 <= plan.left <= plan.left + plan.width <= width
    assert min(plan.height, plan.width) > 0
    assert -15 <= plan.angle < 15


@pytest.mark.parametrize("method", ["random_crop", "augment"])
def test_every_part_of_the_key_changes_the_draw(method: str) -> None:
    """Seed, epoch and movie each matter, and the same key gives the same draw."""
    spec = Preprocess(method=Method(method))
    first = draw(spec, 278, 185, 1, 2, 3)
    assert first == draw(spec, 278, 185, 1, 2, 3)
    others = {draw(spec, 278, 185, *key) for key in [(0, 2, 3), (1, 3, 3), (1, 2, 4), (2, 1, 3), (3, 2, 1)]}
    assert len(others - {first}) == 5


def test_random_crops_cover_every_position_evenly() -> None:
    """Over many movies each of the 96 left offsets of a w185 poster comes up about as often as any other."""
    spec = Preprocess(method=Method.RANDOM_CROP)
    lefts = [draw(spec, 278, 185, 0, 0, movie_id).left for movie_id in range(9600)]
    counts = [lefts.count(-offset) for offset in range(96)]
    chi_squared = sum((count - 100) ** 2 / 100 for count in counts)
    assert sum(counts) == 9600
    assert chi_squared < 150  # 95 degrees of freedom: 1 in 3,000 for an even draw, and the key is fixed


@pytest.mark.parametrize("method", list(Method))
def test_evaluation_is_deterministic(method: Method) -> None:
    """The twin draws the same for every key and is its own twin."""
    twin = Preprocess(method=method).for_evaluation()
    assert not twin.is_random
    assert twin.for_evaluation() is twin
    assert draw(twin, 278, 185, 1, 2, 3) == draw(twin, 278, 185, 4, 5, 6)


@pytest.mark.parametrize("method", list(Method))
def test_specification_survives_its_card(method: Method) -> None:
    """`from_dict` is the inverse of `to_dict`."""
    spec = Preprocess(method=method, size=160, pad_value=7, antialias=False)
    assert Preprocess.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"crop": 4}, "preprocess crop 4: expected a whole number from 8 to 4096"),
        ({"size": 2.5}, "preprocess size 2.5: expected a whole number from 16 to 4096"),
        ({"crop": 280}, "preprocess crop 280: method resize cuts no such square; leave crop out"),
        ({"method": "squash"}, "preprocess method 'squash': expected one of resize, center_crop"),
    ],
)
def test_unusable_specification_is_named(field: dict[str, object], message: str) -> None:
    """The message names the field, its value and what was expected."""
    with pytest.raises(UnusableInput, match=re.escape(message)):
        Preprocess.from_dict(field)


@pytest.mark.parametrize(
    ("method", "crop", "kept", "distortion", "padding"),
    [
        ("resize", None, 1, 278 / 185, 0),
        ("center_crop", None, 185 / 278, 1, 0),
        ("center_crop", 224, 224 / 278, 1, 1 - 185 / 224),
        ("pad", None, 1, 1, 1 - 185 / 278),
        ("random_crop", None, 1, 1, 1 - 185 * 278 / 280**2),
        ("shorter_side", None, 224**2 / (256 * 384), 1, 0),
    ],
)
def test_effect_of_a_method_on_a_w185_poster(
    method: str, crop: int | None, kept: float, distortion: float, padding: float
) -> None:
    """Share kept, distortion and padding, to the pixel of the square that they are counted in."""
    plan = draw(Preprocess(method=Method(method), crop=crop), 278, 185)
    found = effect(plan, 278, 185, 224)
    assert math.isclose(found.kept, kept, rel_tol=0.01)
    assert math.isclose(found.distortion, distortion, rel_tol=0.003)
    assert math.isclose(found.padding, padding, abs_tol=0.005)


def test_rotation_shows_corners_of_padding() -> None:
    """A square turned by 15 degrees leaves the corners of a window of 224 in 256 without poster."""
    plan = Draw(top=0, left=0, height=256, width=256, frame_height=256, frame_width=256, angle=15.0)
    assert 0.005 < effect(plan, 256, 256, 224).padding < 0.05
    upright = Draw(top=0, left=0, height=256, width=256, frame_height=256, frame_width=256)
    assert effect(upright, 256, 256, 224).padding == 0
