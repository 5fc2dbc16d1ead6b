"""What an ONNX file says is what is computed: in 16 bits, or in bytes between explicit scales."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from crawler.errors import UnusableInput
from dataloading.prepare import make_preparer
from serving.narrow import narrowed, quantizable, quantized, types_of
from serving.openvino import compute
from serving.ranges import best_cut, histogram, magnitudes
from tests.serving.posters import SPEC, checkpoint_logits, poster

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def network(model: Path) -> onnx.ModelProto:
    """The fp32 network of a model."""
    return onnx.load(model / "model.onnx")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Sixteen prepared posters."""
    return make_preparer(SPEC.for_evaluation(), "native").prepare([poster(seed) for seed in range(16)]).images


@pytest.mark.parametrize(("number_format", "bound"), [("fp16", 0.02), ("bf16", 0.2)])
def test_half_network_says_what_the_checkpoint_says(
    run: Path, network: onnx.ModelProto, images: np.ndarray, number_format: str, bound: float
) -> None:
    """Every convolution computes in 16 bits, and logits come out as float32 near the checkpoint's."""
    half = narrowed(network, number_format)
    name = {"fp16": "FLOAT16", "bf16": "BFLOAT16"}[number_format]
    assert types_of(half)[f"Conv {name}"] == 20
    assert {output.type.tensor_type.elem_type for output in half.graph.output} == {onnx.TensorProto.FLOAT}
    (found,) = compute(half, ["logits"], [images])
    np.testing.assert_allclose(found["logits"], checkpoint_logits(run, images), atol=bound)


@pytest.mark.parametrize(("number_format", "name"), [("int8", "INT8"), ("fp8", "FLOAT8E4M3FN")])
def test_quantised_network_says_nearly_what_the_checkpoint_says(
    run: Path, network: onnx.ModelProto, images: np.ndarray, number_format: str, name: str
) -> None:
    """All convolutions but the first take bytes, between scales that calibration chose."""
    ranges = magnitudes(network, list(quantizable(network)), [images], number_format)
    narrow = quantized(network, ranges, number_format)
    counts = types_of(narrow)
    assert (counts[f"Conv {name}"], counts["Conv FLOAT16"]) == (19, 1)
    assert counts["QuantizeLinear FLOAT16"] == counts[f"DequantizeLinear {name}"] == 16 + 19
    (found,) = compute(narrow, ["logits"], [images])
    assert np.corrcoef(found["logits"].ravel(), checkpoint_logits(run, images).ravel())[0, 1] > 0.9


def test_weights_beyond_fp16_are_refused(network: onnx.ModelProto) -> None:
    """The message names the weights, their size and the way out."""
    huge = onnx.ModelProto()
    huge.CopyFrom(network)
    weights = huge.graph.initializer[0]
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * 1e6, weights.name))
    with pytest.raises(UnusableInput, match=r"weights .*conv1.*expected at most 65504 .*--precision bf16"):
        narrowed(huge, "fp16")


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1000))
def test_cut_is_never_worse_than_keeping_all(seed: int, largest: float) -> None:
    """Bytes with the chosen step lose no more, in the mean square, than bytes that reach the largest value."""
    values = np.abs(np.random.default_rng(seed).standard_t(3, 5000))
    values *= largest / values.max()
    cut = best_cut(histogram(values, largest), largest, 127)

    def error(limit: float) -> float:
        step = limit / 127
        return float(((np.clip(np.round(values / step), 0, 127) * step - values) ** 2).mean())

    assert 0 < cut <= largest * 1.0001
    assert error(cut) <= error(largest) * 1.05
