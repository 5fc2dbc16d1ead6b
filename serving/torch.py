"""A checkpoint's network in plain torch: the reference of all engines, and an engine itself."""

from __future__ import annotations

import os
import shutil
import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import torch

from crawler.errors import UnusableInput
from serving.engine import EMBEDDINGS, LOGITS, MAPS, EngineCard, Explanation, Goal, Kind, Precision
from training import models
from training.checkpoint import WEIGHTS, load_weights
from training.run_folder import machine

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

AUTOCAST: Final = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


class Explaining(torch.nn.Module):
    """A timm network that puts out its embeddings and class activation maps beside its logits.

    The maps are the last layer applied to every place of the last feature map; their mean is the logit, because the
    pooling before that layer is a mean and the layer is linear.

    Source:
        Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Turn images [b, 3, h, w] into logits [b, c], embeddings [b, d] and maps [b, c, h', w']."""
        features = self.network.forward_features(images)
        embeddings = self.network.forward_head(features, pre_logits=True)
        classifier = self.network.get_classifier()
        maps = torch.einsum("bdhw,cd->bchw", features, classifier.weight) + classifier.bias[None, :, None, None]
        return classifier(embeddings), embeddings, maps

    @staticmethod
    def suits(network: Any) -> bool:
        """Whether a network ends in mean pooling and one linear layer, as ResNets do."""
        return (
            hasattr(network, "forward_features")
            and hasattr(network, "forward_head")
            and isinstance(getattr(network, "fc", None), torch.nn.Linear)
            and getattr(getattr(network, "global_pool", None), "pool_type", "") == "avg"
        )


def read_network(
    folder: Path, architecture: str, classes: int, options: dict[str, Any]
) -> tuple[torch.nn.Module, list[str]]:
    """Build a checkpoint's network on the CPU, in evaluation mode.

    Args:
        folder: Holds ``weights.safetensors``.
        architecture: Name that ``training.models.build`` understands.
        classes: Labels in the vocabulary.
        options: Further arguments of ``training.models.build``.

    Returns:
        The network, which returns one tensor or a tuple, and the names of what it returns.

    Raises:
        UnusableInput: The weights are not those of that architecture.
    """
    network = models.build(architecture, classes, weights=None, **options)
    try:
        network.load_state_dict(load_weights(folder))
    except RuntimeError as error:
        msg = f"checkpoint {folder}: weights do not fit {architecture} with {classes} labels ({_first_line(error)})"
        raise UnusableInput(msg) from error
    if Explaining.suits(network):
        return Explaining(network).eval(), [LOGITS, EMBEDDINGS, MAPS]
    return network.eval(), [LOGITS]


def load(model: Path, card: EngineCard, *, goal: Goal, threads: int | None, explains: bool) -> TorchEngine:
    """Load a model that ``keyart export --engine torch`` wrote. See ``serving.engine.load_engine``."""
    del goal, explains  # torch has one way to run, and all outputs at hand
    network, outputs = read_network(model, card.architecture, len(card.vocabulary), card.model_options)
    if threads is not None:
        torch.set_num_threads(threads)
    return TorchEngine(network, outputs, card)


class TorchEngine:
    """``Engine`` in torch: on the GPU where there is one, else on the CPU."""

    def __init__(self, network: torch.nn.Module, outputs: list[str], card: EngineCard) -> None:
        self._card = card
        self._outputs = outputs
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        check_precision(Kind.TORCH, card.precision, self._device)
        self._network: Any = network.to(self._device)
        self._network.to(memory_format=torch.channels_last)

    @property
    def card(self) -> EngineCard:
        """What the engine is."""
        return self._card

    @property
    def parallel(self) -> int:
        """One: torch itself spreads a call over the threads."""
        return 1

    def infer(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits; see ``Engine.infer``."""
        return self._run(images)[0]

    def explain(self, images: NDArray[np.float32]) -> Explanation:
        """Compute logits, embeddings and maps; see ``Engine.explain``."""
        if MAPS not in self._outputs:
            msg = f"engine torch: {self._card.architecture} has no maps; expected a network with mean pooling"
            raise UnusableInput(msg)
        logits, embeddings, maps = self._run(images)
        return Explanation(logits=logits, embeddings=embeddings, maps=maps)

    def _run(self, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        number_format = AUTOCAST.get(self._card.precision)
        cast = torch.autocast(self._device.type, dtype=number_format) if number_format else nullcontext()
        with torch.inference_mode(), cast:
            batch = torch.from_numpy(images).to(self._device, memory_format=torch.channels_last)
            outputs = self._network(batch)
        tensors = outputs if isinstance(outputs, tuple) else (outputs,)
        return [tensor.float().cpu().numpy() for tensor in tensors]


def check_precision(kind: Kind, precision: Precision, device: torch.device | None = None) -> None:
    """Refuse what torch cannot compute here.

    Raises:
        UnusableInput: The precision is int8 or fp8, or fp16 without a GPU.
    """
    del kind
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if precision in {Precision.INT8, Precision.FP8}:
        msg = f"precision {precision}: the torch engine has fp32, bf16 and (on a GPU) fp16; say --engine openvino"
        raise UnusableInput(msg)
    if precision is Precision.FP16 and device.type == "cpu":
        msg = "precision fp16: the torch engine needs a GPU for it and this machine has none; say --precision bf16"
        raise UnusableInput(msg)


def write_onnx(network: torch.nn.Module, outputs: list[str], size: int, path: Path) -> None:
    """Write a network as ONNX with a dynamic batch.

    Args:
        network: In evaluation mode, on the CPU. From weights that lie channels last the exporter would make another
            graph, with the pooling in pieces, which NNCF quantises wrongly.
        outputs: Names of what it returns.
        size: Height and width of its input.
        path: File to write.
    """
    example = torch.zeros(2, 3, size, size)
    network.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue] - its stubs lack this form
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own exporter calls what torch deprecated
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["images"],
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
            dynamo=True,
            verbose=False,
        )
    if program is None:  # pragma: no cover - only without dynamo
        msg = "torch.onnx.export returned no program"
        raise TypeError(msg)
    program.save(os.fspath(path), external_data=False)


def build(model: Path, card: EngineCard, checkpoint: Path, posters: list[NDArray[np.float32]]) -> None:
    """Bring a checkpoint's weights into a model; torch needs no more than them, whatever the precision."""
    del card, posters
    shutil.copy(checkpoint / WEIGHTS, model / WEIGHTS)


def runs_here(kind: Kind) -> bool:
    """Say yes: torch runs on any machine."""
    del kind
    return True


def versions(kind: Kind) -> dict[str, str]:
    """Name nothing beyond the reference's versions, as this is the reference."""
    del kind
    return {}


def hardware() -> str:
    """Name the processor or GPU that the engine uses here."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else str(machine()["cpu"])


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
