"""ONNX -> a TensorRT engine, and that engine. The GPU's engine, and the only file that knows TensorRT.

One code for TensorRT 10 and 11 (``tensorrt``) and for TensorRT-RTX (``tensorrt_rtx``): they share the strongly typed
network, in which precision is what the ONNX file says. TensorRT-RTX compiles without a GPU, for any GPU.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import onnx
import torch

from crawler.errors import UnusableInput, WorkFailed
from serving.engine import ONNX, Goal, Kind, Precision
from serving.engine_cache import ANY, EngineKey, cache_folder, find_or_compile, read_plan, write_plan
from serving.lanes import BUCKETS, Lane, TensorRtEngine
from serving.narrow import HALVES, narrowed, quantizable, quantized
from serving.ranges import magnitudes

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from serving.engine import EngineCard

MODULES: Final = {Kind.TENSORRT: "tensorrt", Kind.TENSORRT_RTX: "tensorrt_rtx"}
LANES: Final = {Goal.LATENCY: 1, Goal.THROUGHPUT: 2}
"""Streams: with two, one batch is copied while the other is computed."""
USUAL_BATCH: Final = 64
WORKSPACE_BYTES: Final = 2**32
DRIVER_FILE: Final = Path("/sys/module/nvidia/version")

logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Library:
    """One of the two packages, with what differs between them."""

    kind: Kind
    module: Any

    @property
    def portable(self) -> bool:
        """Whether an engine is compiled without a GPU, and runs on any."""
        return self.kind is Kind.TENSORRT_RTX

    @property
    def name(self) -> str:
        """Package and version."""
        return f"{self.kind} {self.module.__version__}"


def check_precision(kind: Kind, precision: Precision) -> None:
    """Refuse what cannot be compiled here.

    Raises:
        UnusableInput: The package is not installed, or there is no GPU and this compiler needs one.
    """
    library = _library(kind)
    if not library.portable and not torch.cuda.is_available():
        msg = f"engine {kind} {precision}: no NVIDIA GPU here; say --engine tensorrt-rtx, which compiles without one"
        raise UnusableInput(msg)


def runs_here(kind: Kind) -> bool:
    """Whether an engine can be run on this machine, and not only compiled."""
    del kind
    return torch.cuda.is_available()


def versions(kind: Kind) -> dict[str, str]:
    """Versions that a card states, beyond those of the reference."""
    return {str(kind): str(_library(kind).module.__version__)}


def hardware() -> str:
    """Name the GPU, or say that there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU; compiled for any"


def build(model: Path, card: EngineCard, checkpoint: Path, posters: list[NDArray[np.float32]]) -> None:
    """Rewrite a model's ONNX file in its precision, and compile it.

    Args:
        model: Folder with an fp32 ``model.onnx``; the engine is written beside it.
        card: Of the engine.
        checkpoint: Where the network is from; everything needed is in the ONNX file.
        posters: Prepared batches [b, 3, h, w] that set the ranges of int8 and fp8.

    Raises:
        UnusableInput: The weights do not fit the precision.
        WorkFailed: TensorRT cannot compile the network.
    """
    del checkpoint
    network = onnx.load(model / ONNX)
    if card.precision in HALVES:
        onnx.save(narrowed(network, card.precision), model / ONNX)
    elif card.precision is not Precision.FP32:
        ranges = magnitudes(network, list(quantizable(network)), posters, card.precision)
        onnx.save(quantized(network, ranges, card.precision), model / ONNX)
    library = _library(card.engine)
    plan = _compile(library, model / ONNX, card)
    write_plan(model / f"{_key(library, model, card).digest()}.plan", plan)


def load(model: Path, card: EngineCard, *, goal: Goal, threads: int | None, explains: bool) -> TensorRtEngine:
    """Load a model that ``keyart export --engine tensorrt`` or ``tensorrt-rtx`` wrote.

    Where the model has no engine for this GPU, driver and version of TensorRT, and the cache of this machine has none,
    it is compiled now and kept. See ``serving.engine.load_engine``.
    """
    del threads, explains  # a GPU has its own, and all outputs are at hand
    library = _library(card.engine)
    if not torch.cuda.is_available():
        msg = f"model {model}: a {card.engine} engine, and no NVIDIA GPU here; export the run with --engine openvino"
        raise UnusableInput(msg)
    trt_logger = _logger(library)
    runtime = library.module.Runtime(trt_logger)
    engines: list[Any] = []

    def accepts(plan: bytes) -> bool:
        engine = runtime.deserialize_cuda_engine(plan)
        engines[:] = [] if engine is None else [engine]
        return bool(engines)

    key, folders = _key(library, model, card), [model, cache_folder()]
    plan = find_or_compile(key, folders, lambda: _compile(library, model / ONNX, card), accepts)
    if not engines and not accepts(plan):
        msg = f"model {model}: {library.name} refuses the engine that it has just compiled; see its log"
        raise WorkFailed(msg)
    make_context, keep_kernels = _contexts(library, engines[0], key)
    outputs = {name: tuple(engines[0].get_tensor_shape(name))[1:] for name in card.outputs}
    graphs = not library.portable
    lanes = [Lane(make_context, card.input_shape, outputs, graphs=graphs) for _ in range(LANES[goal])]
    loaded = TensorRtEngine(card, lanes, owners=(runtime, engines[0]))
    keep_kernels()
    return loaded


def compiled_plan(model: Path, card: EngineCard) -> bytes | None:
    """Bytes of the engine that was compiled into a model for this machine, where there is one."""
    return read_plan(model / f"{_key(_library(card.engine), model, card).digest()}.plan")


def _library(kind: Kind) -> _Library:
    try:
        return _Library(kind=kind, module=importlib.import_module(MODULES[kind]))
    except ImportError as error:
        package = "tensorrt-rtx-cu13" if kind is Kind.TENSORRT_RTX else "tensorrt"
        msg = f"engine {kind}: the package {package} is not installed ({error}); install it, or say --engine openvino"
        raise UnusableInput(msg) from error


def _logger(library: _Library) -> Any:
    """Pass what TensorRT says on to our log."""
    base = library.module.ILogger
    levels = {base.VERBOSE: logging.DEBUG, base.INFO: logging.DEBUG, base.WARNING: logging.INFO}

    class Log(base):
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            logger.log(levels.get(severity, logging.WARNING), "%s", message)

    return Log()


def _key(library: _Library, model: Path, card: EngineCard) -> EngineKey:
    device, driver = ANY, ANY
    if not library.portable:
        major, minor = torch.cuda.get_device_capability()
        device = f"{torch.cuda.get_device_name()} sm{major}{minor}"
        driver = DRIVER_FILE.read_text().strip() if DRIVER_FILE.exists() else str(torch.version.cuda)
    with (model / ONNX).open("rb") as stream:
        network = hashlib.file_digest(stream, "sha256").hexdigest()
    return EngineKey(
        network=network,
        library=library.name,
        device=device,
        driver=driver,
        precision=card.precision,
        shapes=_shapes(card),
    )


def _shapes(card: EngineCard) -> tuple[tuple[int, ...], ...]:
    return tuple((batch, *card.input_shape) for batch in (BUCKETS[0], USUAL_BATCH, BUCKETS[-1]))


def _compile(library: _Library, path: Path, card: EngineCard) -> bytes:
    """Compile a strongly typed network with one profile for all batch sizes."""
    trt = library.module
    builder = trt.Builder(_logger(library))
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, builder.logger)
    if not parser.parse_from_file(str(path)):
        found = parser.get_error(0) if parser.num_errors else "no reason given"
        msg = f"network {path}: {library.name} cannot read it ({found})"
        raise WorkFailed(msg)
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape(network.get_input(0).name, *_shapes(card))
    config.add_optimization_profile(profile)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    timings = None if library.portable else _timing_file(library)
    if timings is not None:
        config.set_timing_cache(config.create_timing_cache(read_plan(timings) or b""), ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        msg = f"network {path}: {library.name} could not compile it in {card.precision}; its log says why"
        raise WorkFailed(msg)
    if timings is not None:
        write_plan(timings, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def _network_flags(trt: Any) -> int:
    """Ask for strong types where they are not the only ones, as they are from TensorRT 11 on."""
    strong = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if strong is None else 1 << int(strong)


def _timing_file(library: _Library) -> Path:
    name = f"{library.name} {torch.cuda.get_device_name()}".replace(" ", "-").replace("/", "-")
    return cache_folder() / f"{name}.timings"


def _contexts(library: _Library, engine: Any, key: EngineKey) -> tuple[Callable[[], Any], Callable[[], None]]:
    """Give what makes execution contexts, and what keeps the kernels that the first batch has compiled.

    TensorRT-RTX compiles kernels for the GPU when they are first needed, and captures its CUDA graphs itself.
    """
    if not library.portable:
        return engine.create_execution_context, lambda: None
    trt = library.module
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    kernels = config.create_runtime_cache()
    path = cache_folder() / f"{key.digest()}.kernels"
    if (known := read_plan(path)) is not None:
        kernels.deserialize(known)
    config.set_runtime_cache(kernels)
    return (lambda: engine.create_execution_context(config)), lambda: write_plan(path, bytes(kernels.serialize()))
