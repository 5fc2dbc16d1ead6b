"""ONNX -> an OpenVINO engine, and that engine. The CPU's engine, and the only file that knows OpenVINO and NNCF."""

from __future__ import annotations

import io
import logging
import os
from contextlib import redirect_stdout
from importlib import metadata
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import openvino

from crawler.errors import UnusableInput
from serving.engine import EMBEDDINGS, INPUT, LOGITS, MAPS, ONNX, EngineCard, Explanation, Goal, Kind, Precision

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from numpy.typing import NDArray

DEVICE: Final = "CPU"
NETWORK: Final = "model.xml"
"""The quantised network; other precisions are compiled from the ONNX file itself."""
CAPABILITY: Final = {Precision.BF16: "BF16", Precision.FP16: "FP16", Precision.INT8: "INT8"}
ARITHMETIC: Final = {
    Precision.FP32: "f32",
    Precision.BF16: "bf16",
    Precision.FP16: "f16",
    Precision.INT8: "f32",  # of the few layers that are not quantised
}


def check_precision(kind: Kind, precision: Precision) -> None:
    """Refuse what this processor cannot compute.

    Raises:
        UnusableInput: The processor lacks the precision, or this engine does.
    """
    if precision is Precision.FP8:
        msg = f"precision fp8: the {kind} engine has fp32, bf16 and int8; say --engine tensorrt or tensorrt-rtx for fp8"
        raise UnusableInput(msg)
    capabilities = openvino.Core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
    wanted = CAPABILITY.get(precision)
    if wanted and wanted not in capabilities:
        have = [name for name in ARITHMETIC if CAPABILITY.get(name, "FP32") in capabilities]
        msg = f"precision {precision}: this processor has no {wanted} arithmetic; expected one of {', '.join(have)}"
        raise UnusableInput(msg)


def runs_here(kind: Kind) -> bool:
    """Say yes: there is always a CPU."""
    del kind
    return True


def versions(kind: Kind) -> dict[str, str]:
    """Versions that a card states, beyond those of the reference."""
    del kind
    return {name: metadata.version(name) for name in ("openvino", "nncf")}


def hardware() -> str:
    """Name the processor."""
    return str(openvino.Core().get_property(DEVICE, "FULL_DEVICE_NAME")).strip()


def build(model: Path, card: EngineCard, checkpoint: Path, posters: list[NDArray[np.float32]]) -> None:
    """Write the int8 form of a model's ONNX file beside it; the other precisions are compiled from ONNX itself.

    The layer that makes the maps stays in float: nothing but the picture for people depends on it.

    Args:
        model: Folder with ``model.onnx``.
        card: Of the engine.
        checkpoint: Where the network is from; everything needed is in the ONNX file.
        posters: Prepared batches [b, 3, h, w] that set the ranges of int8.
    """
    del checkpoint
    if card.precision is not Precision.INT8:
        return
    os.environ.setdefault("NNCF_CI", "1")  # or importing it reports its use over the network
    import nncf  # noqa: PLC0415 - brings half of SciPy; only an int8 export needs it

    nncf.set_log_level(logging.WARNING)
    network = openvino.Core().read_model(model / ONNX)
    with redirect_stdout(io.StringIO()):  # its progress bars would go where our summary goes
        quantised = nncf.quantize(
            network,
            nncf.Dataset(posters),
            subset_size=len(posters),
            ignored_scope=nncf.IgnoredScope(patterns=[".*einsum.*"], validate=False),
        )
    openvino.save_model(quantised, model / NETWORK, compress_to_fp16=False)


def load(model: Path, card: EngineCard, *, goal: Goal, threads: int | None, explains: bool) -> OpenVinoEngine:
    """Load a model that ``keyart export --engine openvino`` wrote. See ``serving.engine.load_engine``."""
    core = openvino.Core()
    path = model / (NETWORK if card.precision is Precision.INT8 else ONNX)
    try:
        network = core.read_model(path)
    except RuntimeError as error:
        msg = f"model {model}: {path.name} cannot be read ({str(error).strip().splitlines()[-1]}); export the run again"
        raise UnusableInput(msg) from error
    check_precision(card.engine, card.precision)
    if not explains:  # what nobody asks for is not computed
        network = _only_logits(network)
    cpus = threads or len(os.sched_getaffinity(0))
    settings = {
        "INFERENCE_PRECISION_HINT": ARITHMETIC[card.precision],
        "PERFORMANCE_HINT": goal.upper(),
        "INFERENCE_NUM_THREADS": cpus,
        "NUM_STREAMS": cpus if goal is Goal.THROUGHPUT else 1,
    }
    return OpenVinoEngine(core.compile_model(network, DEVICE, settings), card)


def compute(
    network: onnx.ModelProto, tensors: list[str], batches: list[NDArray[np.float32]]
) -> Generator[dict[str, NDArray[np.float32]]]:
    """Compute any tensors of an ONNX network, batch by batch, in float32 arithmetic between what the file narrows.

    Args:
        network: With one input.
        tensors: Names of outputs or of what lies before them.
        batches: float32 [b, 3, h, w].

    Yields:
        The tensors of each batch.
    """
    shown = onnx.ModelProto()
    shown.CopyFrom(network)
    outputs = {output.name for output in shown.graph.output}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in outputs)
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled: Any = core.compile_model(core.read_model(shown.SerializeToString()), DEVICE, settings)
    for batch in batches:
        results = compiled([batch])
        yield {name: np.array(results[name], np.float32) for name in tensors}


def _only_logits(network: Any) -> Any:
    make: Any = openvino.Model  # its stubs name two unrelated classes
    return make([network.output(LOGITS)], network.get_parameters(), LOGITS)


class OpenVinoEngine:
    """``Engine`` in OpenVINO on the CPU."""

    def __init__(self, compiled: Any, card: EngineCard) -> None:
        self._card = card
        self._compiled = compiled
        self._names = [next(iter(output.names)) for output in compiled.outputs]
        self._parallel = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self._parallel):
            self._idle.put(compiled.create_infer_request())
        # OpenVINO's Python binding looks NumPy up on its first call, and two threads that do so at once lock each other
        # out for ever; this call is made by one.
        self.infer(np.zeros((1, *card.input_shape), np.float32))

    @property
    def card(self) -> EngineCard:
        """What the engine is."""
        return self._card

    @property
    def parallel(self) -> int:
        """Requests that were made for it; a further call waits for one of them."""
        return self._parallel

    def infer(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits; see ``Engine.infer``."""
        return self._run(images)[LOGITS]

    def explain(self, images: NDArray[np.float32]) -> Explanation:
        """Compute logits, embeddings and maps; see ``Engine.explain``."""
        if MAPS not in self._names:
            msg = f"engine {self._card.model_id}: loaded for logits alone; load it with explains=True"
            raise UnusableInput(msg)
        outputs = self._run(images)
        return Explanation(logits=outputs[LOGITS], embeddings=outputs[EMBEDDINGS], maps=outputs[MAPS])

    def _run(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        request = self._idle.get()
        try:
            results = request.infer({INPUT: images}, share_inputs=True)
            return {name: np.array(results[name], np.float32) for name in self._names}
        finally:
            self._idle.put(request)
