"""Two trunks in one network, each seeing what it was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import timm
import torch

from crawler.errors import UnusableInput
from training.models import ModelRecipe, build
from training.weights import load_trunk

if TYPE_CHECKING:
    from pathlib import Path

TINY = {"deep": "test_resnet", "wide": "test_resnet"}


def test_identity_stems_show_the_trunks_the_image_itself() -> None:
    """Whatever a normalised image may hold, from the darkest value (-2.2) to the brightest (2.7): nothing is cut."""
    model = build("deep-and-wide", 2, **TINY).eval()
    images = torch.rand(2, 3, 32, 32) * 4.9 - 2.2
    with torch.inference_mode():
        for stem in (model.deep_stem, model.wide_stem):
            torch.testing.assert_close(stem(images), images, rtol=1e-4, atol=1e-5)


def test_random_stems_are_the_ablation() -> None:
    """They change the image and, with the corner of ReLU at 0, hold nothing below it."""
    stem = build("deep-and-wide", 2, identity_stems=False, **TINY).eval().deep_stem
    with torch.inference_mode():
        seen = stem(torch.randn(2, 3, 32, 32))
    assert float(seen.min()) == 0.0


def test_both_trunks_take_their_own_weights(tmp_path: Path) -> None:
    """The result lists what is new by its full name: stems, mixing convolution and head."""
    stored: dict[str, dict[str, torch.Tensor]] = {}
    for name in ("deep", "wide"):
        stored[name] = timm.create_model("test_resnet", num_classes=10).state_dict()
        torch.save(stored[name], tmp_path / f"{name}.pth")
    model = build("deep-and-wide", 3, **TINY)
    loaded = load_trunk(model, "deep-and-wide", str(tmp_path / "deep.pth"), str(tmp_path / "wide.pth"))
    state = model.state_dict()
    for name, weights in stored.items():
        assert torch.equal(state[f"{name}.layer1.0.conv1.weight"], weights["layer1.0.conv1.weight"])
    assert {one.partition(".")[0] for one in loaded.not_in_weights} == {"deep_stem", "wide_stem", "mix", "fc"}
    assert loaded.origin.startswith("deep file:deep.pth sha256:")
    assert "; wide file:wide.pth sha256:" in loaded.origin


def test_every_part_learns() -> None:
    """A gradient reaches each weight."""
    model = build("deep-and-wide", 2, **TINY)
    model(torch.rand(2, 3, 32, 32)).sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_options_of_deep_and_wide_are_for_it_alone() -> None:
    """Other networks' cards do not change; a second weights file for one trunk is refused."""
    assert "deep" not in ModelRecipe().options()
    assert ModelRecipe(architecture="deep-and-wide").options()["wide"] == "wide_resnet50_2"
    with pytest.raises(UnusableInput, match=r"model\.wide_weights 'w\.pth': expected with model\.architecture=deep-"):
        ModelRecipe(wide_weights="w.pth")
    with pytest.raises(UnusableInput, match=r"'wide_resnet50_3': .*did you mean 'wide_resnet50_2'"):
        ModelRecipe(architecture="deep-and-wide", wide="wide_resnet50_3")
