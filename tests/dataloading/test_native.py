"""What the native preparer has beside the reference's pixels: forms of the batch, threads, a faster decode."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dataloading.native import NativePreparer
from dataloading.prepare import Layout, Number, Output, empty_batch, make_preparer
from dataloading.preprocess import Method, Preprocess
from tests.dataloading.shapes import DRAWN, real_posters

BODIES = [DRAWN[shape] for shape in ("portrait", "cmyk", "grey", "exif-6")]


@pytest.mark.parametrize("size", [16, 17, 100, 224])
@pytest.mark.parametrize("method", [Method.PAD, Method.AUGMENT])
def test_bytes_are_the_levels_before_normalising(size: int, method: Method) -> None:
    """uint8 in either layout is what the floats were before, rounded."""
    spec = Preprocess(method=method, size=size)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (spec.mean, spec.std))
    levels = (NativePreparer(spec).prepare(BODIES).images * std + mean) * 255
    for layout in Layout:
        found = NativePreparer(spec, output=Output(number=Number.UINT8, layout=layout)).prepare(BODIES).images
        assert found.dtype == np.uint8
        planes = found if layout is Layout.NCHW else found.transpose(0, 3, 1, 2)
        assert np.abs(planes - levels).max() <= 0.51


@pytest.mark.parametrize("layout", list(Layout))
def test_bfloat16_is_torchs(layout: Layout) -> None:
    """Bit for bit what torch makes of the floats."""
    spec = Preprocess()
    floats = torch.from_numpy(NativePreparer(spec).prepare(BODIES).images)
    halves = NativePreparer(spec, output=Output(number=Number.BFLOAT16, layout=layout)).prepare(BODIES).images
    found = torch.from_numpy(halves).view(torch.bfloat16)
    assert torch.equal(found if layout is Layout.NCHW else found.permute(0, 3, 1, 2), floats.to(torch.bfloat16))


def test_channels_last_floats_are_the_same_floats() -> None:
    """The layout changes the order alone."""
    spec = Preprocess(method=Method.CENTER_CROP, size=64)
    last = NativePreparer(spec, output=Output(layout=Layout.NHWC)).prepare(BODIES).images
    assert np.array_equal(last.transpose(0, 3, 1, 2), NativePreparer(spec).prepare(BODIES).images)


@pytest.mark.parametrize("offset", [0, 1, 4, 12, 15])
@pytest.mark.parametrize("size", [16, 100, 224])
def test_memory_that_is_not_aligned_is_filled_the_same(offset: int, size: int) -> None:
    """Whole cache lines are streamed into, wherever they begin; the rest is stored into."""
    spec, count = Preprocess(size=size), len(BODIES)
    aligned = empty_batch(count + 1, size)
    assert aligned.ctypes.data % 64 == 0
    memory = aligned.ravel()[offset : offset + count * 3 * size * size].reshape(count, 3, size, size)
    preparer = NativePreparer(spec)
    preparer.prepare(BODIES, out=memory)
    assert np.array_equal(memory, preparer.prepare(BODIES).images)


def test_threads_do_not_change_the_batch() -> None:
    """One thread or five, in any order: the same bytes."""
    bodies = list(DRAWN.values()) * 3
    alone, together = (NativePreparer(Preprocess(size=64), threads=count).prepare(bodies).images for count in (1, 5))
    assert np.array_equal(alone, together)


@pytest.mark.parametrize("shape", ["w500", "huge"])
@pytest.mark.parametrize("method", [Method.RESIZE, Method.PAD, Method.CENTER_CROP])
def test_scaled_decode_stays_within_its_own_bound(method: Method, shape: str) -> None:
    """The option's filter is not the reference's: 4/255 apart on average, on drawn posters, which are hard."""
    spec = Preprocess(method=method)
    exact = NativePreparer(spec).prepare([DRAWN[shape]]).images
    scaled = NativePreparer(spec, scaled_decode=True).prepare([DRAWN[shape]]).images
    difference = np.abs(exact - scaled) * np.array(spec.std, np.float32)[:, None, None] * 255
    assert 0 < difference.mean() < 4


def test_scaled_decode_changes_no_small_poster() -> None:
    """A w185 poster is not shrunk by two, so nothing is different."""
    bodies = list(real_posters(8).values())
    exact = NativePreparer(Preprocess()).prepare(bodies).images
    assert np.array_equal(NativePreparer(Preprocess(), scaled_decode=True).prepare(bodies).images, exact)


def test_without_wide_vectors_the_pixels_are_the_same(tmp_path: Path) -> None:
    """A processor with neither AVX-512 nor AVX gives the same picture: the same kernel in narrower vectors."""
    script = (
        "import sys, numpy as np; from dataloading.native import NativePreparer; from dataloading import vectors;"
        "from dataloading.preprocess import Preprocess; assert vectors.LANES == 8;"
        "body = open(sys.argv[1], 'rb').read();"
        "np.save(sys.argv[2], NativePreparer(Preprocess()).prepare([body]).images)"
    )
    (tmp_path / "poster.jpg").write_bytes(DRAWN["portrait"])
    narrow = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", script, str(tmp_path / "poster.jpg"), str(tmp_path / "found.npy")]
    subprocess.run(command, check=True, env=os.environ | narrow, cwd=Path(__file__).parents[2])
    expected = make_preparer(Preprocess(), "native").prepare([DRAWN["portrait"]]).images
    assert np.abs(np.load(tmp_path / "found.npy") - expected).max() < 1e-4
