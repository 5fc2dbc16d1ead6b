"""What DALI alone can get wrong: files that it refuses, batches of any size, and the device."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from crawler.errors import UnusableInput
from crawler.records import Reason
from dataloading.dali import BATCH, DaliPreparer, plain_jpeg_size
from dataloading.native import NativePreparer
from dataloading.prepare import Layout, Number, Output
from dataloading.preprocess import Preprocess
from dataloading.reference import ReferencePreparer
from tests.dataloading.shapes import DRAWN
from tests.dataloading.test_parity import SPECS, beyond, draws

GPU = Path("/dev/nvidia0").exists()


def without_tables(body: bytes) -> bytes:
    """A JPEG with a sound header and end, one of whose quantisation tables is gone: DALI raises for the whole batch."""
    begin = body.index(b"\xff\xdb")
    return body[:begin] + body[begin + 2 + int.from_bytes(body[begin + 2 : begin + 4], "big") :]


def test_a_jpeg_that_dali_refuses_does_not_end_the_run(caplog: pytest.LogCaptureFixture) -> None:
    """It has the reference's reason; its neighbours, and the next batch, are what they are without it."""
    good, bad = DRAWN["portrait"], without_tables(DRAWN["portrait"])
    assert plain_jpeg_size(bad) == (278, 185)
    preparer = DaliPreparer(Preprocess(size=64), threads=1)
    expected = ReferencePreparer(Preprocess(size=64)).prepare([good, bad, good])
    assert expected.reasons == [None, Reason.CORRUPT, None]
    caplog.set_level(logging.INFO)
    for times in (1, 2):
        found = preparer.prepare([good, bad, good])
        assert found.reasons == expected.reasons
        assert caplog.text.count("DALI refused a batch") == times
        np.testing.assert_allclose(found.images, expected.images, atol=3 / 255 / min(Preprocess().std))
    assert preparer.prepare([good]).reasons == [None]


def test_batches_of_any_size_are_taken() -> None:
    """More posters than a graph takes at once go in turns; none are no batch."""
    preparer = DaliPreparer(Preprocess(size=16), threads=1)
    many = preparer.prepare([DRAWN["portrait"], DRAWN["square"]] * BATCH)
    np.testing.assert_array_equal(many.images[::2], np.broadcast_to(many.images[0], many.images[::2].shape))
    np.testing.assert_array_equal(many.images[1::2], np.broadcast_to(many.images[1], many.images[::2].shape))
    assert preparer.prepare([]).images.shape == (0, 3, 16, 16)


@pytest.mark.parametrize("number", [Number.FLOAT16, Number.UINT8])
def test_other_forms_of_a_batch_are_natives(number: Number) -> None:
    """Half precision and bytes, channels last; what goes the reference's way included."""
    bodies = [DRAWN[shape] for shape in ("portrait", "cmyk", "w500")] + [b"nothing"]
    spec, output = Preprocess(method="center_crop", size=64), Output(number=number, layout=Layout.NHWC)
    found = DaliPreparer(spec, threads=1, output=output).prepare(bodies)
    expected = NativePreparer(spec, threads=1, output=output).prepare(bodies)
    assert found.reasons == expected.reasons
    assert found.images.dtype == expected.images.dtype == output.memory_type
    bound = 3 if number is Number.UINT8 else 3 / 255 / min(spec.std)
    assert np.abs(found.images.astype(float) - expected.images.astype(float)).max() <= bound
    with pytest.raises(UnusableInput, match="dali number bfloat16: expected float32, float16, uint8"):
        DaliPreparer(spec, output=Output(number=Number.BFLOAT16))


@pytest.mark.skipif(GPU, reason="there is a GPU")
def test_missing_gpu_is_said() -> None:
    """The message says what the machine has."""
    with pytest.raises(UnusableInput, match=r"dali device 'gpu': expected auto, cpu.*this machine has no NVIDIA GPU"):
        DaliPreparer(Preprocess(), device="gpu")


@pytest.mark.gpu
@pytest.mark.skipif(not GPU, reason="no NVIDIA GPU")
@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("name", SPECS)
def test_both_devices_are_within_bounds(device: str, name: str) -> None:
    """On a machine with a GPU, the CPU twin and the mixed decoder both make the reference's pixels."""
    spec, bodies = SPECS[name], list(DRAWN.values())
    plans = draws(spec, bodies)
    found = DaliPreparer(spec, device=device).prepare(bodies, plans)
    expected = ReferencePreparer(spec).prepare(bodies, plans)
    assert found.reasons == expected.reasons
    difference = np.abs(found.images - expected.images) * np.array(spec.std, np.float32)[:, None, None] * 255
    assert [list(DRAWN)[place] for place in beyond("dali", spec, difference)] == []
