"""An exported engine says what its checkpoint says, within the bound of its precision, or is not published."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from crawler.errors import UnusableInput, WorkFailed
from serving.engine import Kind, Precision, load_card, load_engine
from serving.export import ExportOptions, export
from serving.parity import BOUNDS, Bound
from tests.serving.posters import checkpoint_logits
from training.checkpoint import load_card as load_checkpoint_card
from training.checkpoint import save_checkpoint

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Seven prepared squares."""
    return np.random.default_rng(3).normal(size=(7, 3, 64, 64)).astype(np.float32)


@pytest.mark.parametrize("kind", ["model", "torch_model"])
def test_engine_equals_the_checkpoint(run: Path, images: np.ndarray, kind: str, request: pytest.FixtureRequest) -> None:
    """Logits of any batch size are those of the torch network."""
    engine = load_engine(request.getfixturevalue(kind))
    expected = checkpoint_logits(run, images)
    for size in (7, 1, 3):
        np.testing.assert_allclose(engine.infer(images[:size]), expected[:size], rtol=1e-3, atol=1e-3)


def test_a_run_with_several_labels_is_refused(run: Path, tmp_path: Path) -> None:
    """Its outputs are no shares of one; nothing is written."""
    card = replace(load_checkpoint_card(run / "checkpoints" / "best"), several_labels=True)
    save_checkpoint(tmp_path / "run" / "checkpoints" / "best", {}, card)
    with pytest.raises(UnusableInput, match="gives a poster several labels"):
        export(tmp_path / "run", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_maps_average_to_the_logits(model: Path, images: np.ndarray) -> None:
    """Where a logit comes from adds up to the logit; embeddings have the last layer's width."""
    explanation = load_engine(model, explains=True).explain(images)
    np.testing.assert_allclose(explanation.maps.mean(axis=(2, 3)), explanation.logits, rtol=1e-3, atol=1e-3)
    assert explanation.embeddings.shape == (7, 512)


def test_onnx_file_is_valid_with_a_dynamic_batch(model: Path) -> None:
    """The ONNX checker accepts it, and the first axis has a name instead of a size."""
    network = onnx.load(model / "model.onnx")
    onnx.checker.check_model(network)
    first = network.graph.input[0].type.tensor_type.shape.dim[0]
    assert first.dim_param
    assert [output.name for output in network.graph.output] == ["logits", "embeddings", "maps"]


def test_int8_is_int8(run: Path, posters: Path, tmp_path: Path, images: np.ndarray) -> None:
    """The quantised engine runs, stays near the checkpoint, and its network holds quantised weights."""
    report = export(run, tmp_path / "model", ExportOptions(precision=Precision.INT8, calibration=posters, force=True))
    weights_size = (tmp_path / "model" / "model.bin").stat().st_size
    assert weights_size < (tmp_path / "model" / "model.onnx").stat().st_size / 3
    expected, found = checkpoint_logits(run, images), load_engine(tmp_path / "model").infer(images)
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.95
    assert report.precision == "int8"


def test_engine_beyond_its_bound_is_not_published(
    run: Path, posters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message states the figures and the fix and no folder appears; `force` publishes it and the card says so."""
    monkeypatch.setitem(BOUNDS, Precision.BF16, Bound(mean_difference=0.0, disagreement=0.0))
    options = {"precision": Precision.BF16, "calibration": posters}
    with pytest.raises(WorkFailed, match=r"mean difference of probabilities 0\.\d+ \(bound 0\.0000\).*--force"):
        export(run, tmp_path / "model", ExportOptions(**options))
    assert list(tmp_path.iterdir()) == []
    export(run, tmp_path / "model", ExportOptions(**options, force=True))
    card = load_card(tmp_path / "model")
    assert card.forced
    assert card.parity["mean_difference"] > 0


def test_card_survives_writing_and_reading(model: Path, run: Path) -> None:
    """The card carries the checkpoint's preprocessing and labels, and its digest follows from the files."""
    card = load_card(model)
    checkpoint = load_checkpoint_card(run / "checkpoints" / "best")
    assert (card.preprocess, card.vocabulary) == (checkpoint.preprocess, checkpoint.vocabulary)
    assert card.model_id == f"resnet18-genre-fp32-{card.digest[:12]}"
    assert card.parity["posters"] == 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ExportOptions(engine=Kind.TORCH, precision=Precision.INT8),
            r"precision int8: the torch engine has .*openvino",
        ),
        (ExportOptions(), r"its dataset .* is gone; say --calibration"),
    ],
)
def test_unusable_export_names_the_fix(run: Path, tmp_path: Path, options: ExportOptions, message: str) -> None:
    """What cannot be built is one line that says what to do."""
    with pytest.raises(UnusableInput, match=message):
        export(run, tmp_path / "model", options)


def test_folder_that_is_no_model_is_not_replaced(run: Path, posters: Path, tmp_path: Path) -> None:
    """An output folder with other files in it is refused and left alone."""
    (tmp_path / "precious.txt").write_text("keep")
    with pytest.raises(UnusableInput, match="exists and is no model"):
        export(run, tmp_path, ExportOptions(calibration=posters))
    assert (tmp_path / "precious.txt").read_text() == "keep"
