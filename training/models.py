"""An architecture's name and a weights file -> a network with a head for our labels.

Networks come from timm; a local weights file in timm's or torchvision's key names works wherever a pretrained name
does. The head is always new. What was loaded, and what was not, is part of the result.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import safetensors
import safetensors.torch
import timm
import torch
from timm.models import resnet
from torch import nn

from crawler.errors import UnusableInput, WorkFailed
from training.deep_and_wide import DeepAndWide

log = logging.getLogger(__name__)

TIMM_PREFIX: Final = "timm:"
RANDOM: Final = "random"
DEEP_AND_WIDE: Final = "deep-and-wide"
"""The one architecture that timm does not have."""


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
            _check_name(name)

    def options(self) -> dict[str, Any]:
        """Arguments of ``build`` beyond architecture, classes and weights; they go into the card."""
        two = {"deep": self.deep, "wide": self.wide, "identity_stems": self.identity_stems}
        return {
            **(two if self.architecture == DEEP_AND_WIDE else {}),
            "activation": str(self.activation),
            "zero_gamma": self.zero_gamma,
            "v1_stride": self.v1_stride,
            "drop_rate": self.drop_rate,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a network took from its weights."""

    origin: str = RANDOM
    """``random``, ``timm:NAME`` or ``file:NAME sha256:...``."""
    loaded: int = 0
    """Tensors that were taken over."""
    not_in_weights: tuple[str, ...] = ()
    """Tensors of the network that stayed as initialised; the head is always among them."""
    not_in_model: tuple[str, ...] = ()
    """Tensors of the weights that have no place in the network."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return {
            "initial_weights": self.origin,
            "tensors_loaded": self.loaded,
            "tensors_not_in_weights": list(self.not_in_weights),
            "tensors_not_in_model": list(self.not_in_model),
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
    if weights:
        load_trunk(model, architecture, str(weights))
    return model


def _timm(architecture: str, classes: int, *, activation: str, zero_gamma: bool, drop_rate: float = 0.0) -> nn.Module:
    _check_name(architecture)
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


def load_trunk(model: nn.Module, architecture: str, weights: str, wide_weights: str = "") -> Loaded:
    """Load pretrained weights into everything but the head.

    Half-precision tensors become float32. A ResNet-D takes what fits from a plain ResNet.

    Args:
        model: A network of ``build``.
        architecture: Its name, for messages.
        weights: ``timm:NAME`` or the path of a local file; empty loads nothing.
        wide_weights: The same of the second trunk of deep-and-wide.

    Raises:
        UnusableInput: The file cannot be read, or its tensors have other shapes than the network's.
        WorkFailed: Weights by name could not be downloaded.
    """
    if isinstance(model, DeepAndWide):
        return _load_two(model, weights, wide_weights)
    if not weights:
        return Loaded(not_in_weights=tuple(model.state_dict()))
    origin, found = _read(weights)
    wanted = model.state_dict()
    head = f"{_head_name(model)}."
    body = {name: tensor for name, tensor in _renamed(found, wanted).items() if not name.startswith(head)}
    fitting = {name: tensor.to(wanted[name].dtype) for name, tensor in body.items() if name in wanted}
    wrong = [name for name, tensor in fitting.items() if tensor.shape != wanted[name].shape]
    if wrong or not fitting:
        detail = (
            f"{len(wrong)} tensors have another shape ({wrong[0]} is {list(fitting[wrong[0]].shape)}, "
            f"expected {list(wanted[wrong[0]].shape)})"
            if wrong
            else f"no tensor has a name that the network knows (first: {next(iter(found), 'none')})"
        )
        msg = f"weights {weights}: {detail}; expected weights of {architecture}"
        raise UnusableInput(msg)
    model.load_state_dict(fitting, strict=False)
    result = Loaded(
        origin=origin,
        loaded=len(fitting),
        not_in_weights=tuple(name for name in wanted if name not in fitting),
        not_in_model=tuple(name for name in body if name not in wanted),
    )
    log.info(
        "%s: %d tensors loaded into %s; new: %s; left out: %s",
        origin,
        result.loaded,
        architecture,
        ", ".join(result.not_in_weights),
        ", ".join(result.not_in_model) or "none",
    )
    return result


def _load_two(model: DeepAndWide, weights: str, wide_weights: str) -> Loaded:
    """Load both trunks of deep-and-wide; names in the result say which."""
    parts = {"deep": load_trunk(model.deep, "its deep trunk", weights)}
    parts["wide"] = load_trunk(model.wide, "its wide trunk", wide_weights)
    own = [name for name in model.state_dict() if name.partition(".")[0] not in parts]
    return Loaded(
        origin=RANDOM if not (weights or wide_weights) else "; ".join(f"{n} {one.origin}" for n, one in parts.items()),
        loaded=sum(one.loaded for one in parts.values()),
        not_in_weights=tuple(f"{n}.{key}" for n, one in parts.items() for key in one.not_in_weights) + tuple(own),
        not_in_model=tuple(f"{n}.{key}" for n, one in parts.items() for key in one.not_in_model),
    )


def parameter_count(model: nn.Module) -> int:
    """Count the trainable numbers of a network."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _check_name(architecture: str) -> None:
    if not timm.is_model(architecture) and architecture != DEEP_AND_WIDE:
        close = difflib.get_close_matches(architecture, [*timm.list_models(), DEEP_AND_WIDE], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "; `timm.list_models()` has them all"
        msg = f"model.architecture {architecture!r}: expected a name that timm knows, such as resnet18{hint}"
        raise UnusableInput(msg)


def _move_stride(model: nn.Module, architecture: str) -> None:
    bottlenecks = [module for module in model.modules() if isinstance(module, resnet.Bottleneck)]
    if not bottlenecks:
        msg = f"model.v1_stride with {architecture!r}: expected a ResNet of bottlenecks, such as resnet50"
        raise UnusableInput(msg)
    for block in bottlenecks:
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def _head_name(model: nn.Module) -> str:
    config: Any = model.pretrained_cfg
    return str(config["classifier"])


def _read(weights: str) -> tuple[str, dict[str, torch.Tensor]]:
    if weights.startswith(TIMM_PREFIX):
        name = weights.removeprefix(TIMM_PREFIX)
        _check_name(name)
        try:
            return weights, timm.create_model(name, pretrained=True).state_dict()
        except (OSError, RuntimeError) as error:
            msg = f"weights {weights}: could not be downloaded ({type(error).__name__}); give a local file instead"
            raise WorkFailed(msg) from error
    path = Path(weights).expanduser()
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if path.suffix == ".safetensors":
            found: Any = safetensors.torch.load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        msg = f"weights {weights}: {error.strerror}; expected a local file, or timm:NAME for weights by name"
        raise UnusableInput(msg) from error
    except Exception as error:  # torch.load and safetensors raise what they like on foreign bytes
        msg = f"weights {weights}: not a weights file ({type(error).__name__}); expected .pth or .safetensors"
        raise UnusableInput(msg) from error
    for nest in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(nest), dict):
            found = found[nest]
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        msg = f"weights {weights}: holds {type(found).__name__}; expected a mapping of names to tensors"
        raise UnusableInput(msg)
    return f"file:{path.name} sha256:{digest}", found


def _renamed(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Shift ``downsample.N`` by one where the network averages first, as ResNet-D does, and the weights do not."""
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in found.items():
        block, separator, rest = name.partition(".downsample.")
        shifted = (
            separator and f"{block}.downsample.0.weight" not in wanted and f"{block}.downsample.2.weight" in wanted
        )
        taken = shifted and f"{block}.downsample.0.weight" in found
        index, _, leaf = rest.partition(".")
        renamed[f"{block}.downsample.{int(index) + 1}.{leaf}" if taken else name] = tensor
    return renamed
