"""Card + files -> an engine: normalised posters in, logits out.

A model is a folder: ``card.json``, ``model.onnx``, and the files of the engine that was built from it. It is written
beside its final name and renamed, so it is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from crawler.errors import UnusableInput
from dataloading.preprocess import Preprocess

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

CARD: Final = "card.json"
ONNX: Final = "model.onnx"
CARD_FORMAT: Final = 1

INPUT: Final = "images"
"""Name of the network's one input: float32 [b, 3, h, w], normalised."""
LOGITS: Final = "logits"
"""Output [b, c]."""
EMBEDDINGS: Final = "embeddings"
"""Output [b, d]: what the last layer sees of a poster."""
MAPS: Final = "maps"
"""Output [b, c, h', w']: where in the poster each label's logit comes from; its mean over h' and w' is the logit."""


class Kind(StrEnum):
    """Library that runs an engine."""

    OPENVINO = "openvino"
    TORCH = "torch"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"

    @property
    def backend(self) -> Any:
        """The one module that knows the library."""
        return importlib.import_module(f"serving.{self.removesuffix('-rtx')}")


class Precision(StrEnum):
    """Number format of an engine's arithmetic; inputs and logits are float32 always."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"
    FP8 = "fp8"


class Goal(StrEnum):
    """What an engine is loaded for."""

    LATENCY = "latency"
    """One batch at a time, all threads on it."""
    THROUGHPUT = "throughput"
    """As many batches at a time as there are threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCard:
    """All that is needed to use the engine beside it, and to know how far it can be trusted."""

    engine: Kind
    precision: Precision
    architecture: str
    """Name that ``training.models.build`` understands."""
    vocabulary: tuple[str, ...]
    """Label names, in the order of the logits."""
    task: str
    preprocess: Preprocess
    """How posters were prepared in training; an engine uses ``preprocess.for_evaluation()``."""
    outputs: tuple[str, ...] = (LOGITS,)
    """Names of what the network puts out: ``logits``, and where it can ``embeddings`` and ``maps``."""
    model_options: dict[str, Any] = field(default_factory=dict[str, Any])
    checkpoint_digest: str = ""
    """SHA-256 of the checkpoint's weights."""
    digest: str = ""
    """SHA-256 over the engine's files and whatever else decides about its answers."""
    temperature: float = 1.0
    """Logits are divided by it before the softmax; fitted on validation posters."""
    calibration: dict[str, Any] = field(default_factory=dict[str, Any])
    """Where the temperature comes from, and the calibration error before and after."""
    parity: dict[str, Any] = field(default_factory=dict[str, Any])
    """Differences from the reference (see ``serving.parity.Parity``)."""
    forced: bool = False
    """Published although the parity figures are beyond their bound."""
    versions: dict[str, str] = field(default_factory=dict[str, str])
    hardware: str = ""
    """Processor or accelerator that the engine was built on."""

    @property
    def model_id(self) -> str:
        """Name that every prediction carries: short, and different for every engine."""
        return f"{self.architecture}-{self.task}-{self.precision}-{self.digest[:12]}"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one prepared poster."""
        return (3, self.preprocess.size, self.preprocess.size)

    @property
    def input_range(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Lowest and highest normalised value of each channel: black and white."""
        mean, std = self.preprocess.mean, self.preprocess.std
        return (
            (-mean[0] / std[0], -mean[1] / std[1], -mean[2] / std[2]),
            ((1 - mean[0]) / std[0], (1 - mean[1]) / std[1], (1 - mean[2]) / std[2]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Turn it into plain values; ``from_dict`` is the inverse."""
        plain = asdict(self)
        return {
            "format": CARD_FORMAT,
            "model_id": self.model_id,
            **plain,
            "vocabulary": list(self.vocabulary),
            "outputs": list(self.outputs),
            "preprocess": self.preprocess.to_dict(),
            "input": {"name": INPUT, "dtype": "float32", "shape": ["batch", *self.input_shape]},
            "input_range": [list(bound) for bound in self.input_range],
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> EngineCard:
        """Read it from ``card.json``.

        Raises:
            UnusableInput: The format is not one that this version reads, or a field is missing or wrong.
        """
        if (found := plain.get("format")) != CARD_FORMAT:
            msg = f"engine card: format {found!r}, expected {CARD_FORMAT}; export the run again"
            raise UnusableInput(msg)
        known: dict[str, Any] = {entry.name: plain[entry.name] for entry in fields(cls) if entry.name in plain}
        try:
            known |= {
                "engine": Kind(plain["engine"]),
                "precision": Precision(plain["precision"]),
                "vocabulary": tuple(plain["vocabulary"]),
                "outputs": tuple(plain["outputs"]),
                "preprocess": Preprocess.from_dict(plain["preprocess"]),
            }
            return cls(**known)
        except (KeyError, TypeError, ValueError) as error:
            msg = f"engine card: {error}; expected the card.json of a model written by `keyart export`"
            raise UnusableInput(msg) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Logits, and what the network knew on the way to them."""

    logits: NDArray[np.float32]
    """[b, c]."""
    embeddings: NDArray[np.float32]
    """[b, d]."""
    maps: NDArray[np.float32]
    """[b, c, h', w']."""


class Engine(Protocol):
    """A loaded network. Every method may be called from several threads at once."""

    @property
    def card(self) -> EngineCard:
        """What the engine is."""
        ...

    @property
    def parallel(self) -> int:
        """How many calls run at the same time; further ones wait."""
        ...

    def infer(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits.

        Args:
            images: float32 [b, 3, h, w], prepared and normalised as the card says; any b from 1 up.

        Returns:
            float32 [b, c], not yet divided by the temperature.
        """
        ...

    def explain(self, images: NDArray[np.float32]) -> Explanation:
        """Compute logits with embeddings and maps.

        Raises:
            UnusableInput: The network does not put them out (``card.outputs``).
        """
        ...


def load_engine(
    model: Path, *, goal: Goal = Goal.THROUGHPUT, threads: int | None = None, explains: bool = False
) -> Engine:
    """Load a model, ready to run.

    Args:
        model: Folder written by ``keyart export``.
        goal: Many batches at a time, or one as fast as can be.
        threads: CPU threads that the engine may use; None means all.
        explains: Whether ``explain`` will be called; an engine without it may be smaller and faster.

    Raises:
        UnusableInput: The folder holds no model, or one that cannot run on this machine.
    """
    card = load_card(model)
    if explains and MAPS not in card.outputs:
        msg = f"model {model}: {card.architecture} puts out {', '.join(card.outputs)}; expected embeddings and maps too"
        raise UnusableInput(msg)
    return card.engine.backend.load(model, card, goal=goal, threads=threads, explains=explains)


def load_card(model: Path) -> EngineCard:
    """Read a model's card.

    Raises:
        UnusableInput: There is no model in the folder, or its card cannot be read.
    """
    path = model / CARD
    try:
        plain = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        msg = f"model {model}: {path.name} cannot be read ({error}); expected a folder written by `keyart export`"
        raise UnusableInput(msg) from error
    return EngineCard.from_dict(plain)


def write_card(model: Path, card: EngineCard) -> None:
    """Write ``card.json`` into a model folder that is not yet published."""
    (model / CARD).write_text(json.dumps(card.to_dict(), indent=2) + "\n")


def files_digest(model: Path, card: EngineCard) -> str:
    """SHA-256 over all that decides about a model's answers: files, preprocessing, labels and temperature."""
    digest = hashlib.sha256()
    decides = (card.engine, card.precision, card.preprocess.to_dict(), card.vocabulary, card.temperature)
    digest.update(json.dumps(decides).encode())
    for path in sorted(model.iterdir()):
        if path.name != CARD:
            with path.open("rb") as stream:
                digest.update(path.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


@contextmanager
def publishing(model: Path) -> Generator[Path]:
    """Give a temporary folder to build a model in; it takes its name when the block ends well.

    Args:
        model: Final name; an earlier model there is replaced, anything else is not.

    Raises:
        UnusableInput: ``model`` exists and is no model.
    """
    if model.exists() and not (model / CARD).exists() and not _is_empty(model):
        msg = f"output {model}: exists and is no model; expected a new folder, or one written by `keyart export`"
        raise UnusableInput(msg)
    model.parent.mkdir(parents=True, exist_ok=True)
    temporary = model.with_name(f".{model.name}.{os.getpid()}.tmp")
    previous = model.with_name(f".{model.name}.{os.getpid()}.old")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if model.exists():
            model.rename(previous)
        temporary.rename(model)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(previous, ignore_errors=True)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
