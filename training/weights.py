"""A weights file -> the trunk of a network, and what was and was not taken over."""

from __future__ import annotations

import difflib
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import safetensors
import safetensors.torch
import timm
import torch

from crawler.errors import UnusableInput, WorkFailed
from training.deep_and_wide import DeepAndWide

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

TIMM_PREFIX: Final = "timm:"
RANDOM: Final = "random"
DEEP_AND_WIDE: Final = "deep-and-wide"
"""The one architecture that timm does not have."""


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
    head = f"{head_name(model)}."
    body = {name: tensor for name, tensor in _renamed(found, wanted).items() if not name.startswith(head)}
    fitting = {name: tensor.to(wanted[name].dtype) for name, tensor in body.items() if name in wanted}
    wrong = [name for name, tensor in fitting.items() if tensor.shape != wanted[name].shape]
    if wrong or not fitting:
        shapes = [f"{name} is {list(fitting[name].shape)}, expected {list(wanted[name].shape)}" for name in wrong[:3]]
        more = "; ..." if len(wrong) > len(shapes) else ""
        detail = (
            f"{len(wrong)} tensors have another shape ({'; '.join(shapes)}{more})"
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


def check_name(architecture: str) -> None:
    """Refuse a name that nobody knows.

    Raises:
        UnusableInput: There is no such architecture; the text has a similar name.
    """
    if not timm.is_model(architecture) and architecture != DEEP_AND_WIDE:
        close = difflib.get_close_matches(architecture, [*timm.list_models(), DEEP_AND_WIDE], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "; `timm.list_models()` has them all"
        msg = f"model.architecture {architecture!r}: expected a name that timm knows, such as resnet18{hint}"
        raise UnusableInput(msg)


def head_name(model: nn.Module) -> str:
    """Name a network's last layer."""
    config: Any = model.pretrained_cfg
    return str(config["classifier"])


def _read(weights: str) -> tuple[str, dict[str, torch.Tensor]]:
    if weights.startswith(TIMM_PREFIX):
        name = weights.removeprefix(TIMM_PREFIX)
        check_name(name)
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
