"""The reference agrees with torchvision, and names what is wrong with a poster."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from crawler.records import Reason
from dataloading.preprocess import Draw, Interpolation, Method, Preprocess, draw
from dataloading.reference import ReferencePreparer, open_poster, prepare_pixels
from tests.dataloading.shapes import DRAWN, encoded, picture, with_orientation

BILINEAR = InterpolationMode.BILINEAR
SHAPES = ["portrait", "landscape", "square", "w500", "odd", "grey", "cmyk", "tiny", "exif-6"]


def torchvision_pixels(spec: Preprocess, poster: Image.Image, plan: Draw) -> np.ndarray:
    """The article's transforms on the box that was drawn: uint8 [h, w, 3]."""
    cut = functional.crop(poster, plan.top, plan.left, plan.height, plan.width)
    frame = functional.resize(cut, [plan.frame_height, plan.frame_width], BILINEAR)
    turned = functional.rotate(frame, plan.angle, BILINEAR)
    mirrored = functional.hflip(turned) if plan.flip else turned
    return np.array(functional.center_crop(mirrored, [spec.size, spec.size]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", list(Method))
def test_agrees_with_torchvision_on_the_same_box(method: Method, shape: str) -> None:
    """At most 1 of 255 apart, for every method of the article."""
    spec, poster = Preprocess(method=method), open_poster(DRAWN[shape])
    assert isinstance(poster, Image.Image)
    plan = draw(spec, poster.height, poster.width, 1, 2, 3)
    found = prepare_pixels(spec, DRAWN[shape], plan)
    assert isinstance(found, np.ndarray)
    assert np.abs(found.astype(int) - torchvision_pixels(spec, poster, plan)).max() <= 1


def test_agrees_with_the_articles_center_crop() -> None:
    """`crop=224, size=224` is `CenterCrop(224)`, which pads a w185 poster and resizes nothing."""
    spec = Preprocess(method=Method.CENTER_CROP, crop=224)
    expected = np.array(v2.CenterCrop(224)(Image.open(io.BytesIO(DRAWN["portrait"]))))
    assert np.array_equal(prepare_pixels(spec, DRAWN["portrait"]), expected)


@pytest.mark.parametrize("shape", ["portrait", "w500", "tiny"])
def test_plain_bilinear_agrees_with_torch(shape: str) -> None:
    """Without `antialias` it is torch's `interpolate` in float64, rounded once."""
    poster = open_poster(DRAWN[shape])
    pixels = torch.from_numpy(np.array(poster, np.float64)).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(pixels, (224, 224), mode="bilinear")[0].permute(1, 2, 0).round().numpy()
    found = prepare_pixels(Preprocess(antialias=False), DRAWN[shape])
    assert isinstance(found, np.ndarray)
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("interpolation", list(Interpolation))
def test_enlarging_is_the_same_with_and_without_antialias(interpolation: Interpolation) -> None:
    """The filter is widened for shrinking alone; only at the edge do Pillow's weights differ from a repeated edge."""
    soft = picture(100, 90).point(lambda level: 64 + level // 2)  # nothing to clip between the passes
    body = encoded(soft, "PNG")
    smooth, plain = (prepare_pixels(Preprocess(interpolation=interpolation, antialias=flag), body) for flag in (1, 0))
    assert isinstance(smooth, np.ndarray)
    assert isinstance(plain, np.ndarray)
    assert np.abs(smooth.astype(int) - plain)[8:-8, 8:-8].max() <= 2


def test_normalizes_as_torchvision() -> None:
    """ToTensor and Normalize give the same floats."""
    spec = Preprocess(method=Method.PAD, size=96)
    square = prepare_pixels(spec, DRAWN["portrait"])
    assert isinstance(square, np.ndarray)
    scaled = v2.functional.to_dtype(torch.from_numpy(square).permute(2, 0, 1), torch.float32, scale=True)
    expected = v2.functional.normalize(scaled, list(spec.mean), list(spec.std)).numpy()
    found = ReferencePreparer(spec).prepare([DRAWN["portrait"]]).images[0]
    assert np.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("turn", range(2, 9))
def test_posters_are_turned_by_their_exif(turn: int) -> None:
    """The same picture comes out whichever way it was stored: 5 to 8 have height and width exchanged."""
    poster = open_poster(with_orientation(picture(200, 130), turn))
    assert isinstance(poster, Image.Image)
    assert poster.size == ((200, 130) if turn >= 5 else (130, 200))
    corner = {2: (129, 0), 3: (129, 199), 4: (0, 199), 5: (0, 0), 6: (0, 199), 7: (129, 199), 8: (129, 0)}[turn]
    stored = np.array(Image.open(io.BytesIO(encoded(picture(200, 130)))), int)
    assert np.array_equal(np.array(poster)[0, 0], stored[corner[1], corner[0]])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.NOT_AN_IMAGE),
        (b"<html>not found</html>", Reason.NOT_AN_IMAGE),
        (DRAWN["portrait"][:-2000], Reason.CORRUPT),
        (DRAWN["portrait"][:20], Reason.CORRUPT),
        (DRAWN["png"][:-2000], Reason.CORRUPT),
        (encoded(picture(1, 8193), "PNG"), Reason.TOO_LARGE),
    ],
)
def test_names_what_is_wrong(body: bytes, reason: Reason) -> None:
    """Nothing that a file can hold is an exception."""
    assert open_poster(body) is reason
