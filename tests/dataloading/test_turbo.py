"""Part of a poster decoded: the same pixels as the whole of it, and no harm from damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.records import Reason
from dataloading import native
from dataloading.jpeg import read_header
from dataloading.native import NativePreparer
from dataloading.prepare import make_preparer
from dataloading.preprocess import Draw, Preprocess
from dataloading.turbo import Library, Region, RegionDecoder, load
from tests.dataloading.shapes import DRAWN, encoded, picture

CHROMA = ("4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1")
BODIES = [simplejpeg.encode_jpeg(np.array(picture(120, 97)), 90, "RGB", chroma.replace(":", "")) for chroma in CHROMA]
BODIES += [encoded(picture(61, 140), **options) for options in ({"progressive": True}, {"restart_marker_rows": 1})]
BODIES += [encoded(picture(90, 70).convert("L"))]

SMALL = Preprocess(size=16)
SMALL_CROP = Draw(top=8, left=30, height=16, width=30, frame_height=16, frame_width=30)


@pytest.fixture(scope="module")
def library() -> Library:
    """What the wheels of Pillow bring."""
    found = load()
    assert found is not None
    return found


def decode(decoder: RegionDecoder, body: bytes, region: Region, shrink: int = 1, **options: bool) -> np.ndarray | None:
    """The region's pixels alone."""
    header = read_header(body)
    assert not isinstance(header, Reason)
    height, width = -(-header.height // shrink), -(-header.width // shrink)
    memory = np.empty(3 * (region.bottom - region.top + 1) * width, np.uint8)
    found = decoder.decode(body, (height, width), region, memory, shrink=shrink, **options)
    if found is None:
        return None
    pixels, left = found
    return pixels[:, region.left - left : region.right - left]


@settings(max_examples=300, deadline=None)
@given(
    body=st.sampled_from(BODIES),
    shrink=st.sampled_from([1, 2, 4, 8]),
    edges=st.tuples(*(st.floats(0, 1),) * 4),
    scan_all=st.booleans(),
)
def test_a_region_has_the_pixels_of_the_whole(
    *, library: Library, body: bytes, shrink: int, edges: tuple[float, float, float, float], scan_all: bool
) -> None:
    """Bit for bit, for every kind of chroma, wherever the region lies and however the poster is shrunk."""
    header = read_header(body)
    assert not isinstance(header, Reason)
    height, width = -(-header.height // shrink), -(-header.width // shrink)
    whole = simplejpeg.decode_jpeg(body, min_height=height, min_width=width, min_factor=shrink)
    assert whole.shape == (height, width, 3)
    top, left = (min(int(edge * side), side - 1) for edge, side in zip(edges[:2], (height, width), strict=True))
    bottom, right = (
        begin + 1 + int(edge * (side - begin - 1))
        for begin, edge, side in zip((top, left), edges[2:], (height, width), strict=True)
    )
    found = decode(RegionDecoder(library), body, Region(top, bottom, left, right), shrink, scan_all=scan_all)
    assert found is not None
    assert np.array_equal(found, whole[top:bottom, left:right])


def test_damage_is_no_crash_and_leaves_the_decoder_usable(library: Library) -> None:
    """The answer of libjpeg itself is to end the process; here the same decoder goes on with the next poster."""
    body, decoder = BODIES[2], RegionDecoder(library)
    scan = body.index(b"\xff\xda") + 14
    everything = Region(0, 120, 0, 97)
    bad = {
        "cut in the scan": body[: len(body) // 2],
        "no table": body.replace(b"\xff\xdb", b"\xff\xe3"),
        "a stray marker": body[: scan + 300] + b"\xff\xd8\xff\xc0" + body[scan + 304 :],
    }
    for name, damaged in bad.items():
        assert decode(decoder, damaged, everything) is None, name
        assert np.array_equal(decode(decoder, body, everything), simplejpeg.decode_jpeg(body))
    with pytest.raises(AssertionError):
        decode(decoder, b"nothing", everything)
    assert decoder.decode(b"nothing", (120, 97), everything, np.empty(99999, np.uint8)) is None
    assert decoder.decode(body, (119, 97), everything, np.empty(99999, np.uint8)) is None, "another size than foreseen"


def test_damage_below_the_region_shows_when_all_is_scanned(library: Library) -> None:
    """Otherwise nothing below the last row is read, which is what makes it fast."""
    body, region = BODIES[2], Region(8, 24, 30, 60)
    late = len(body) * 4 // 5
    damaged = body[:late] + b"\xff\x02" + body[late + 2 :]
    expected = simplejpeg.decode_jpeg(body)[8:24, 30:60]
    decoder = RegionDecoder(library)
    assert np.array_equal(decode(decoder, damaged, region), expected)
    assert decode(decoder, damaged, region, scan_all=True) is None


@settings(max_examples=200, deadline=None)
@given(place=st.floats(0, 1), noise=st.binary(min_size=1, max_size=40))
def test_when_all_is_scanned_the_same_files_are_bad_as_for_the_reference(place: float, noise: bytes) -> None:
    """Whatever the damage and wherever it is; what is read of a good part is the reference's."""
    begin = 620 + int(place * (len(BODIES[2]) - 622 - len(noise)))
    damaged = BODIES[2][:begin] + noise + BODIES[2][begin + len(noise) :]
    expected = make_preparer(SMALL, "reference", threads=1).prepare([damaged], [SMALL_CROP])
    found = NativePreparer(SMALL, threads=1, scan_all=True).prepare([damaged], [SMALL_CROP])
    assert found.reasons == expected.reasons
    assert np.abs(found.images - expected.images).max() < 3 / 255 / min(SMALL.std)


def test_a_cut_file_is_corrupt_whatever_is_needed_of_it() -> None:
    """It has no end marker, which is looked for before anything is decoded."""
    cut = DRAWN["w500"][: len(DRAWN["w500"]) * 9 // 10]
    plan = Draw(top=0, left=0, height=50, width=50, frame_height=32, frame_width=32)
    assert NativePreparer(Preprocess(size=32)).prepare([cut], [plan]).reasons == [Reason.CORRUPT]


def test_without_a_library_of_pillows_the_pixels_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pillow built from source brings none: then posters are decoded whole."""
    bodies = [DRAWN[shape] for shape in ("portrait", "w500", "grey", "exif-6", "half-chroma")]
    spec = Preprocess(method="center_crop")
    expected = NativePreparer(spec).prepare(bodies).images
    monkeypatch.setattr(native, "load", lambda: None)
    assert np.array_equal(NativePreparer(spec).prepare(bodies).images, expected)


def test_posters_leave_no_memory_behind(library: Library) -> None:
    """Neither good ones nor bad ones: libjpeg's memory is its own."""

    def decode_many() -> None:
        decoder = RegionDecoder(library)
        for body in (BODIES[2], BODIES[2][:1000], BODIES[2].replace(b"\xff\xdb", b"\xff\xe3")) * 100:
            decode(decoder, body, Region(0, 120, 0, 97))

    def resident_kib() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4

    decode_many()
    before = resident_kib()
    for _ in range(5):
        decode_many()
    assert resident_kib() - before < 2_000, "KiB; what 1,500 posters hold is more than 20,000"
