"""An architecture's name and a weights file -> a network with a head for our labels.

Networks come from timm; a local weights file in timm's or torchvision's key names works wherever a pretrained name
does. The head is always new. What was loaded, and what was not, is part of the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import timm
import torch
from timm.models import resnet
from torch import nn

from crawler.errors import UnusableInput
from training.deep_and_wide import DeepAndWide
from training.weights import DEEP_AND_WIDE, Loaded, check_name, head_name, load_trunk

if TYPE_CHECKING:
    from pathlib import Path


class Activation(StrEnum):
    """Non-linearity of the whole network."""

    RELU = "relu"
    MISH = "mish"
    SILU = "silu"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecipe:
    """Which network, and where its trunk's weights come from."""

    architecture: str = "resnet18"
    """A timm name: ``resnet18``, ``resnet18d``, ``resnet50``, ``wide_resnet50_2``; or ``deep-and-wide``."""
    weights: str = ""
    """Empty for random, ``timm:NAME`` for pretrained weights by name, or the path of a local file."""
    activation: Activation = Activation.RELU
    zero_gamma: bool = False
    """Begin with each residual branch at zero (He et al., arXiv 1812.01187). Weights that are loaded overrule it."""
    v1_stride: bool = False
    """Stride on the first 1x1 convolution of a bottleneck, as in the first ResNet50, not on the 3x3."""
    drop_rate: float = 0.0
    """Dropout before the head, 0 to 1."""
    deep: str = "resnet18"
    """Of deep-and-wide: the timm name of the first trunk, which ``weights`` are for."""
    wide: str = "wide_resnet50_2"
    """Of deep-and-wide: the timm name of the second trunk."""
    wide_weights: str = ""
    """Of deep-and-wide: weights of the second trunk, as ``weights``."""
    binary_head: bool = False
    """For two labels: one number instead of two, half as many weights; its two logits are minus and plus half of it."""
    identity_stems: bool = True
    """Of deep-and-wide: let the added first convolutions begin as the identity, so that pretrained trunks see what they
    expect; False is the ablation."""

    def __post_init__(self) -> None:
        """Check what can be checked without building the network."""
        if self.activation not in list(Activation):
            msg = f"model.activation {str(self.activation)!r}: expected one of {', '.join(Activation)}"
            raise UnusableInput(msg)
        object.__setattr__(self, "activation", Activation(self.activation))
        if not 0 <= self.drop_rate < 1:
            msg = f"model.drop_rate {self.drop_rate}: expected a number from 0 up to 1"
            raise UnusableInput(msg)
        if self.wide_weights and self.architecture != DEEP_AND_WIDE:
            msg = f"model.wide_weights {self.wide_weights!r}: expected with model.architecture={DEEP_AND_WIDE} alone"
            raise UnusableInput(msg)
        for name in (self.architecture, self.deep, self.wide):
            check_name(name)

    def options(self) -> dict[str, Any]:
        """Arguments of ``build`` beyond architecture, classes and weights; they go into the card."""
        two = {"deep": self.deep, "wide": self.wide, "identity_stems": self.identity_stems}
        return {
            **(two if self.architecture == DEEP_AND_WIDE else {}),
            **({"binary_head": True} if self.binary_head else {}),
            "activation": str(self.activation),
            "zero_gamma": self.zero_gamma,
            "v1_stride": self.v1_stride,
            "drop_rate": self.drop_rate,
        }


def build(
    architecture: str,
    classes: int,
    *,
    weights: str | Path | None = None,
    activation: str = Activation.RELU,
    zero_gamma: bool = False,
    v1_stride: bool = False,
    drop_rate: float = 0.0,
    deep: str = "resnet18",
    wide: str = "wide_resnet50_2",
    identity_stems: bool = True,
    binary_head: bool = False,
) -> nn.Module:
    """Make a network that maps float [b, 3, h, w] to logits [b, classes].

    Args:
        architecture: A timm name.
        classes: Number of logits.
        weights: None or empty for random, ``timm:NAME``, or the path of a local file.
        activation: See ``ModelRecipe``, as for the rest.
        zero_gamma: Residual branches begin at zero.
        v1_stride: Stride on the first convolution of a bottleneck.
        drop_rate: Dropout before the head.
        deep: First trunk of ``deep-and-wide``.
        wide: Its second trunk.
        identity_stems: Whether its stems begin as the identity.
        binary_head: One number for two labels.

    Raises:
        UnusableInput: No such architecture, an option that it lacks, or weights that do not fit.

    Example:
        >>> build("resnet18", 2)(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 2])
    """
    if architecture == DEEP_AND_WIDE:
        first, second = (_timm(name, 0, activation=activation, zero_gamma=zero_gamma) for name in (deep, wide))
        model: nn.Module = DeepAndWide(first, second, classes, identity=identity_stems, drop_rate=drop_rate)
    else:
        model = _timm(architecture, classes, activation=activation, zero_gamma=zero_gamma, drop_rate=drop_rate)
    if v1_stride:
        _move_stride(model, architecture)
    if binary_head:
        _put_binary_head(model, classes)
    if weights:
        load_trunk(model, architecture, str(weights))
    return model


def _timm(architecture: str, classes: int, *, activation: str, zero_gamma: bool, drop_rate: float = 0.0) -> nn.Module:
    check_name(architecture)
    options: dict[str, Any] = {"drop_rate": drop_rate}
    if architecture.partition(".")[0] in timm.list_models(module="resnet"):
        options |= {"act_layer": activation, "zero_init_last": zero_gamma}
    elif activation != Activation.RELU or zero_gamma:
        msg = f"model.architecture {architecture!r}: activation and zero_gamma are for ResNets; leave them out"
        raise UnusableInput(msg)
    return timm.create_model(architecture, num_classes=classes, **options)


def load_recipe(model: nn.Module, recipe: ModelRecipe) -> Loaded:
    """Load what a recipe says into everything but the head; see ``load_trunk``."""
    return load_trunk(model, recipe.architecture, recipe.weights, recipe.wide_weights)


def parameter_count(model: nn.Module) -> int:
    """Count the trainable numbers of a network."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


class BinaryHead(nn.Module):
    """A linear layer with one output z, given as the logits -z/2 and z/2: their softmax is the sigmoid of z."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map [b, features] to logits [b, 2]."""
        half = self.linear(features) / 2
        return torch.cat([-half, half], dim=1)


def _put_binary_head(model: nn.Module, classes: int) -> None:
    if classes != 2:  # noqa: PLR2004 - that is what binary means
        msg = f"model.binary_head with {classes} labels: expected a task of two labels"
        raise UnusableInput(msg)
    name = head_name(model)
    setattr(model, name, BinaryHead(model.get_submodule(name).in_features))  # pyright: ignore[reportArgumentType]


def _move_stride(model: nn.Module, architecture: str) -> None:
    bottlenecks = [module for module in model.modules() if isinstance(module, resnet.Bottleneck)]
    if not bottlenecks:
        msg = f"model.v1_stride with {architecture!r}: expected a ResNet of bottlenecks, such as resnet50"
        raise UnusableInput(msg)
    for block in bottlenecks:
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
