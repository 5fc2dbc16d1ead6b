"""A run's best checkpoint -> ONNX, an engine, and a card that says how near it is to the reference."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx

from crawler.errors import UnusableInput, WorkFailed
from dataloading.dataset import CARD as DATASET_CARD
from dataloading.dataset import Dataset
from dataloading.split import TRAIN, VALIDATION
from serving import torch as reference
from serving.engine import (
    LOGITS,
    ONNX,
    EngineCard,
    Goal,
    Kind,
    Precision,
    files_digest,
    load_engine,
    publishing,
    write_card,
)
from serving.parity import BOUNDS, calibration_error, compare, fit_temperature, softmax
from serving.receipts import ExportReport
from serving.sample import Sample
from training.checkpoint import CARD, WEIGHTS, Card, load_card

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serving.parity import Parity

BEST: Final = Path("checkpoints/best")
MANIFEST: Final = "run.json"
REFERENCE: Final = ("keyart", "torch", "timm", "onnx")
"""Packages whose versions every card states."""
FITTING_POSTERS: Final = 300
"""That set the ranges of int8, at most."""
JUDGING_POSTERS: Final = 1000
"""That an engine is compared with the reference on, at most."""
FEWEST_TO_CALIBRATE: Final = 50
"""Labelled posters under which no temperature is fitted."""


class Measured(StrEnum):
    """What the figures of a card's parity are of."""

    ENGINE = "engine"
    NETWORK = "network"
    """The ONNX file that the engine was compiled from, its narrow arithmetic included, computed on the CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What to build from a checkpoint."""

    engine: Kind = Kind.OPENVINO
    """Library that runs it."""
    precision: Precision = Precision.FP32
    """Its arithmetic."""
    calibration: Path | None = None
    """Dataset, or folder of posters, to fit and judge the engine with; None means the run's own dataset."""
    force: bool = False
    """Publish an engine that is beyond the bound of its precision."""


DEFAULT: Final = ExportOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Samples:
    """Prepared posters: one set that an engine may be fitted to, another that it is judged by."""

    origin: str
    fitting: list[NDArray[np.float32]]
    judging: list[NDArray[np.float32]]
    targets: NDArray[np.int64] | None
    """Of the judging set, where known."""


def export(run: Path, model: Path, options: ExportOptions = DEFAULT) -> ExportReport:
    """Build an engine from a run's best checkpoint.

    Args:
        run: Folder written by ``keyart train``, or a checkpoint in it.
        model: Folder to write; an earlier model there is replaced.
        options: What to build.

    Raises:
        UnusableInput: The run, the posters, or the engine on this machine cannot be used.
        WorkFailed: The engine is beyond its bound; nothing was published.
    """
    engine, precision = options.engine, options.precision
    backend = engine.backend
    backend.check_precision(engine, precision)
    checkpoint = run if (run / CARD).exists() else run / BEST
    card = load_card(checkpoint)
    if card.several_labels:
        msg = f"run {run}: its task {card.task} gives a poster several labels; expected a task of one label a poster"
        raise UnusableInput(msg)
    network, outputs = reference.read_network(checkpoint, card.architecture, len(card.vocabulary), card.model_options)
    samples = _samples(run, card, options.calibration)
    draft = EngineCard(
        engine=engine,
        precision=precision,
        architecture=card.architecture,
        vocabulary=card.vocabulary,
        task=card.task,
        preprocess=card.preprocess,
        outputs=tuple(outputs),
        model_options=card.model_options,
        checkpoint_digest=_digest(checkpoint / WEIGHTS),
        versions={name: metadata.version(name) for name in REFERENCE} | backend.versions(engine),
        hardware=backend.hardware(),
    )
    with publishing(model) as folder:
        reference.write_onnx(network, outputs, card.preprocess.size, folder / ONNX)
        backend.build(folder, draft, checkpoint, samples.fitting)
        write_card(folder, draft)
        truth = reference.TorchEngine(network, outputs, replace(draft, engine=Kind.TORCH, precision=Precision.FP32))
        expected = np.concatenate([truth.infer(images) for images in samples.judging])
        measured, logits = _logits(folder, draft, samples.judging)
        parity = compare(expected, logits, samples.targets)
        beyond = parity.beyond(BOUNDS[precision])
        if measured is Measured.NETWORK:
            beyond.append("the engine itself was not compared, as it does not run on this machine")
        if beyond and not options.force:
            msg = (
                f"engine {engine} {precision}: {'; '.join(beyond)}; use a higher --precision, or --force to publish it"
            )
            raise WorkFailed(msg)
        entry = {"measured_on": str(measured), **_parity_entry(parity, precision, samples)}
        final = replace(draft, parity=entry, forced=bool(beyond))
        final = _calibrated(final, logits, samples)
        final = replace(final, digest=files_digest(folder, final))
        write_card(folder, final)
        size_bytes = sum(path.stat().st_size for path in folder.iterdir())
    return ExportReport(
        model=str(model),
        model_id=final.model_id,
        engine=engine,
        precision=precision,
        size_bytes=size_bytes,
        posters=parity.posters,
        mean_difference=parity.mean_difference,
        max_difference=parity.max_difference,
        top1_agreement=parity.top1_agreement,
        reference_accuracy=parity.reference_accuracy,
        engine_accuracy=parity.engine_accuracy,
        temperature=final.temperature,
        forced=final.forced,
        measured_on=measured,
    )


def _logits(folder: Path, card: EngineCard, batches: list[NDArray[np.float32]]) -> tuple[Measured, NDArray[np.float32]]:
    """Compute what is compared: the engine's logits, or those of its network where the engine does not run."""
    if card.engine.backend.runs_here(card.engine):
        built = load_engine(folder, goal=Goal.LATENCY)
        return Measured.ENGINE, np.concatenate([built.infer(images) for images in batches])
    from serving.openvino import compute  # noqa: PLC0415 - another engine's library

    results = compute(onnx.load(folder / ONNX), [LOGITS], batches)
    return Measured.NETWORK, np.concatenate([result[LOGITS] for result in results])


def _samples(run: Path, card: Card, calibration: Path | None) -> _Samples:
    """Prepare the posters; what an engine is fitted to is never what it is judged by."""
    spec = card.preprocess
    folder = calibration or _dataset_of(run)
    if (folder / DATASET_CARD).exists():
        dataset = Dataset.load(folder)
        if dataset.vocabulary != card.vocabulary:
            msg = f"dataset {folder}: labels {', '.join(dataset.vocabulary)}; expected {', '.join(card.vocabulary)}"
            raise UnusableInput(msg)
        fitting = Sample.of_dataset(dataset, TRAIN, FITTING_POSTERS)
        judging = Sample.of_dataset(dataset, VALIDATION, JUDGING_POSTERS)
    else:
        every = Sample.of_folder(folder, FITTING_POSTERS + JUDGING_POSTERS)
        fitting, judging = replace(every, bodies=every.bodies[::2]), replace(every, bodies=every.bodies[1::2])
    images, targets = judging.prepared(spec)
    return _Samples(origin=judging.origin, fitting=fitting.prepared(spec)[0], judging=images, targets=targets)


def _dataset_of(run: Path) -> Path:
    try:
        dataset = Path(json.loads((run / MANIFEST).read_text())["dataset"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = (
            f"run {run}: {MANIFEST} names no dataset ({error}); say --calibration with a dataset or a folder of posters"
        )
        raise UnusableInput(msg) from error
    if not (dataset / DATASET_CARD).exists():
        msg = f"run {run}: its dataset {dataset} is gone; say --calibration with a dataset or a folder of posters"
        raise UnusableInput(msg)
    return dataset


def _parity_entry(parity: Parity, precision: Precision, samples: _Samples) -> dict[str, Any]:
    return {
        **asdict(parity),
        "accuracy_drop": parity.accuracy_drop,
        "bound": asdict(BOUNDS[precision]),
        "posters_of": samples.origin,
    }


def _calibrated(card: EngineCard, logits: NDArray[np.float32], samples: _Samples) -> EngineCard:
    """Fit the temperature where there are enough labelled posters for it."""
    if samples.targets is None or len(samples.targets) < FEWEST_TO_CALIBRATE:
        return card
    temperature = fit_temperature(logits, samples.targets)
    errors = [calibration_error(softmax(logits, value), samples.targets) for value in (1.0, temperature)]
    fitted = {
        "posters": len(samples.targets),
        "posters_of": samples.origin,
        "error_before": round(errors[0], 5),
        "error_after": round(errors[1], 5),
    }
    return replace(card, temperature=temperature, calibration=fitted)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
