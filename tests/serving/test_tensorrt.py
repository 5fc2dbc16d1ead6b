"""TensorRT-RTX compiles on every machine; what needs a GPU is marked so, and the cache of engines needs neither."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch

from crawler.errors import UnusableInput, WorkFailed
from serving.engine import Goal, Kind, Precision, load_card, load_engine
from serving.engine_cache import EngineKey, find_or_compile, read_plan, write_plan
from serving.export import ExportOptions, export
from serving.narrow import types_of
from serving.tensorrt import compiled_plan
from tests.serving.posters import checkpoint_logits

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt-rtx-cu13")

NO_GPU = not torch.cuda.is_available()
KEY = EngineKey(
    network="a", library="tensorrt 11.0", device="H100 sm90", driver="580.1", precision="fp16", shapes=((1, 3, 8, 8),)
)


@pytest.mark.skipif(not NO_GPU, reason="is about machines without a GPU")
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8])
def test_rtx_engine_is_compiled_without_a_gpu_and_published_by_force_alone(
    run: Path, posters: Path, tmp_path: Path, precision: Precision
) -> None:
    """Its network is in the precision, its plan is whole, and the card says that the engine itself was not compared."""
    options = {"engine": Kind.TENSORRT_RTX, "precision": precision, "calibration": posters}
    if precision is Precision.BF16:
        with pytest.raises(WorkFailed, match=r"the engine itself was not compared.*--force"):
            export(run, tmp_path / "model", ExportOptions(**options))
        assert list(tmp_path.iterdir()) == []
        return
    report = export(run, tmp_path / "model", ExportOptions(**options, force=True))
    card = load_card(tmp_path / "model")
    assert (card.forced, card.parity["measured_on"], report.measured_on) == (True, "network", "network")
    assert card.parity["top1_agreement"] > 0.8
    assert "not yet measured" in str(report)
    assert card.versions["tensorrt-rtx"].startswith("1.")
    network = onnx.load(tmp_path / "model" / "model.onnx")
    assert types_of(network)["Conv INT8"] == 19
    plan = compiled_plan(tmp_path / "model", card)
    assert plan is not None
    weights_size = sum(len(weights.raw_data) for weights in network.graph.initializer)
    assert len(plan) > weights_size / 4
    with pytest.raises(UnusableInput, match=r"a tensorrt-rtx engine, and no NVIDIA GPU here; .*--engine openvino"):
        load_engine(tmp_path / "model")


@pytest.mark.skipif(not NO_GPU, reason="is about machines without a GPU")
def test_engine_that_needs_a_gpu_to_compile_says_so(run: Path, tmp_path: Path) -> None:
    """The message names what is missing and what compiles here."""
    with pytest.raises(
        UnusableInput, match=r"engine tensorrt: the package tensorrt is not|engine tensorrt fp32: no NVI"
    ):
        export(run, tmp_path / "model", ExportOptions(engine=Kind.TENSORRT))


def test_compiled_engine_is_found_again(tmp_path: Path) -> None:
    """The same key compiles once; the model's own folder is looked at before the cache."""
    made: list[bytes] = []

    def make() -> bytes:
        made.append(b"plan")
        return b"plan"

    folders = [tmp_path / "model", tmp_path / "cache"]
    for _ in range(2):
        assert find_or_compile(KEY, folders, make, lambda _: True) == b"plan"
    assert len(made) == 1
    write_plan(tmp_path / "model" / f"{KEY.digest()}.plan", b"exported")
    assert find_or_compile(KEY, folders, make, lambda _: True) == b"exported"


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(EngineKey)])
def test_anything_else_compiles_anew(tmp_path: Path, field: str) -> None:
    """Another network, version, GPU, driver, precision or shape never gets an earlier engine."""
    find_or_compile(KEY, [tmp_path], lambda: b"old", lambda _: True)
    value = ((2, 3, 8, 8),) if field == "shapes" else "other"
    assert (
        find_or_compile(dataclasses.replace(KEY, **{field: value}), [tmp_path], lambda: b"new", lambda _: True)
        == b"new"
    )


def test_engine_that_cannot_be_used_is_compiled_anew(tmp_path: Path) -> None:
    """A file that was cut short and one that TensorRT refuses are both replaced."""
    path = tmp_path / f"{KEY.digest()}.plan"
    write_plan(path, b"whole")
    path.write_bytes(path.read_bytes()[:-1])
    assert read_plan(path) is None
    assert find_or_compile(KEY, [tmp_path], lambda: b"new", lambda _: True) == b"new"
    assert find_or_compile(KEY, [tmp_path], lambda: b"newer", lambda plan: plan == b"newer") == b"newer"
    assert read_plan(path) == b"newer"


@pytest.mark.gpu
@pytest.mark.skipif(NO_GPU, reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("kind", [Kind.TENSORRT, Kind.TENSORRT_RTX])
@pytest.mark.parametrize("precision", list(Precision))
def test_engine_equals_the_checkpoint_on_the_gpu(
    run: Path, posters: Path, tmp_path: Path, kind: Kind, precision: Precision
) -> None:
    """Logits of any batch size are near the torch network's, from host memory and from the device's."""
    if kind is Kind.TENSORRT:
        pytest.importorskip("tensorrt")
    options = ExportOptions(engine=kind, precision=precision, calibration=posters, force=True)
    assert export(run, tmp_path / "model", options).measured_on == "engine"
    engine = load_engine(tmp_path / "model", goal=Goal.THROUGHPUT, explains=True)
    images = np.random.default_rng(3).normal(size=(300, 3, 64, 64)).astype(np.float32)
    expected = checkpoint_logits(run, images)
    for size in (300, 1, 7):
        found = engine.infer(images[:size])
        assert np.corrcoef(found.ravel(), expected[:size].ravel())[0, 1] > 0.95
    on_device = engine.infer_on_device(torch.from_numpy(images).cuda()).cpu().numpy()
    np.testing.assert_allclose(on_device, engine.infer(images), rtol=1e-3, atol=1e-3)
    maps = engine.explain(images[:3]).maps
    assert maps.shape[:2] == (3, 3)
