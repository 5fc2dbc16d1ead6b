"""The size in the header is the size of the decoded poster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crawler.records import Reason
from dataloading.jpeg import JpegHeader, read_header, shown_size
from dataloading.reference import open_poster
from tests.dataloading.shapes import DRAWN, real_posters


@pytest.mark.parametrize("shape", DRAWN)
def test_size_is_that_of_the_decoded_poster(shape: str) -> None:
    """For every format, and after the EXIF orientation."""
    poster = open_poster(DRAWN[shape])
    assert isinstance(poster, Image.Image)
    assert shown_size(DRAWN[shape]) == (poster.height, poster.width)


def test_size_of_real_posters() -> None:
    """The same holds for files as the image host made them."""
    for body in real_posters(64).values():
        poster = open_poster(body)
        assert isinstance(poster, Image.Image)
        assert shown_size(body) == (poster.height, poster.width)


@given(cut=st.integers(0, 700), noise=st.binary(max_size=40))
def test_damage_is_a_reason_and_never_an_exception(cut: int, noise: bytes) -> None:
    """Whatever the bytes are, there is a size or a reason."""
    body = DRAWN["exif-6"][:cut] + noise
    assert isinstance(read_header(body), JpegHeader | Reason)
    assert isinstance(shown_size(body), tuple | Reason)


def test_fill_bytes_before_a_marker_are_skipped() -> None:
    """T.81 allows any number of 0xFF before a marker."""
    body = DRAWN["portrait"]
    assert shown_size(body[:2] + b"\xff\xff" + body[2:]) == shown_size(body)
