"""A network takes from its weights what fits, says what did not, and always has a new head."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from crawler.errors import UnusableInput
from training.models import build, parameter_count
from training.weights import load_trunk

DATA = Path(os.environ.get("KEYART_DATA", Path(__file__).parents[3] / "shared" / "data"))


def save(path: Path, architecture: str, *, half: bool = True) -> dict[str, torch.Tensor]:
    """Write random weights of an architecture with a 1000-class head, convolutions in fp16."""
    torch.manual_seed(1)
    weights = timm.create_model(architecture, num_classes=1000).state_dict()
    stored = {name: tensor.half() if half and tensor.ndim == 4 else tensor for name, tensor in weights.items()}
    torch.save(stored, path)
    return stored


def test_a_weights_file_fills_the_trunk_and_not_the_head(tmp_path: Path) -> None:
    """Half-precision tensors arrive as float32; the head of another size is left out and listed."""
    stored = save(tmp_path / "trunk.pth", "test_resnet")
    model = build("test_resnet", 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items() if name.startswith("fc.")}
    loaded = load_trunk(model, "test_resnet", str(tmp_path / "trunk.pth"))
    state = model.state_dict()
    assert loaded.not_in_weights == ("fc.weight", "fc.bias")
    assert loaded.not_in_model == ()
    assert loaded.loaded == len(state) - 2
    assert loaded.origin.startswith("file:trunk.pth sha256:")
    for name, tensor in state.items():
        expected = before[name] if name in before else stored[name].float()
        assert tensor.dtype in {torch.float32, torch.int64}
        assert torch.equal(tensor.float(), expected), name


def test_a_safetensors_file_is_the_same_as_a_pth_file(tmp_path: Path) -> None:
    """The suffix decides how a file is read, not what it does."""
    safetensors.torch.save_file(save(tmp_path / "trunk.pth", "test_resnet"), tmp_path / "trunk.safetensors")
    models = [build("test_resnet", 2, weights=tmp_path / name) for name in ("trunk.pth", "trunk.safetensors")]
    images = torch.ones(1, 3, 32, 32)
    features = [model.eval().forward_features(images) for model in models]
    assert torch.equal(*features)


def test_a_resnet_d_takes_what_fits_from_a_plain_resnet(tmp_path: Path) -> None:
    """Its deep stem is new; its shortcuts average first, so their convolutions are found one place further."""
    stored = save(tmp_path / "plain.pth", "resnet18")
    model = build("resnet18d", 2)
    loaded = load_trunk(model, "resnet18d", str(tmp_path / "plain.pth"))
    new = [name for name in loaded.not_in_weights if not name.startswith(("fc.", "conv1."))]
    assert new == []
    assert loaded.not_in_model == ("conv1.weight",)
    shortcut = model.state_dict()["layer2.0.downsample.1.weight"]
    assert torch.equal(shortcut, stored["layer2.0.downsample.0.weight"].float())


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    """The message names a tensor and both shapes."""
    save(tmp_path / "plain.pth", "resnet18")
    with pytest.raises(
        UnusableInput, match=r"weights .*plain\.pth: \d+ tensors have another shape \(.*expected weights of resnet50"
    ):
        build("resnet50", 2, weights=tmp_path / "plain.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"No such file"),
        (b"not weights", r"not a weights file"),
    ],
)
def test_a_file_that_holds_no_weights_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    """One line, whatever the reason."""
    if content is not None:
        (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(UnusableInput, match=rf"weights .*bad\.pth: .*{message}"):
        build("test_resnet", 2, weights=tmp_path / "bad.pth")


def test_a_v1_network_has_its_strides_on_the_first_convolution() -> None:
    """Same tensors, other strides: the answers differ, the shapes do not."""
    torch.manual_seed(0)
    later, first = build("resnet50", 2).eval(), build("resnet50", 2, v1_stride=True).eval()
    first.load_state_dict(later.state_dict())
    assert first.layer2[0].conv1.stride == (2, 2)
    assert first.layer2[0].conv2.stride == (1, 1)
    with torch.inference_mode():
        images = torch.rand(1, 3, 64, 64)
        assert first(images).shape == later(images).shape
        assert not torch.allclose(first.forward_features(images), later.forward_features(images))


def test_v1_strides_need_bottlenecks() -> None:
    """A ResNet18 has none."""
    with pytest.raises(UnusableInput, match=r"v1_stride with 'resnet18': expected a ResNet of bottlenecks"):
        build("resnet18", 2, v1_stride=True)


def test_mish_replaces_every_relu() -> None:
    """The option goes through the whole network."""
    kinds = {type(module).__name__ for module in build("resnet18", 2, activation="mish").modules()}
    assert any("Mish" in kind for kind in kinds)
    assert "ReLU" not in kinds


def test_zero_gamma_begins_each_branch_at_zero() -> None:
    """The last norm of a residual branch has weight 0, and only there."""
    model = build("resnet18", 2, zero_gamma=True)
    assert not model.layer1[0].bn2.weight.any()
    assert model.layer1[0].bn1.weight.all()
    assert parameter_count(model) == parameter_count(build("resnet18", 2))


@pytest.mark.skipif(not DATA.exists(), reason="needs the real weights: set KEYART_DATA to their folder")
@pytest.mark.parametrize(
    ("architecture", "name", "v1_stride"),
    [("resnet18", "resnet18_distilled_fp16.pth", False), ("resnet50", "resnet50_imagenet_v1_fp16.pth", True)],
)
def test_the_supplied_weights_fill_all_but_the_head(architecture: str, name: str, *, v1_stride: bool) -> None:
    """Files with torchvision's names fit timm's networks."""
    model = build(architecture, 2, v1_stride=v1_stride)
    loaded = load_trunk(model, architecture, str(DATA / "weights" / name))
    assert loaded.not_in_weights == ("fc.weight", "fc.bias")
    with torch.inference_mode():
        assert torch.isfinite(model.eval()(torch.rand(1, 3, 64, 64))).all()
