"""A network and a split -> logits of each poster, its figures, and the files that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
import torch

from dataloading.loader import IGNORED
from training.metrics import Scores, probabilities, score, sigmoid
from training.run_folder import write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from dataloading.loader import PosterBatch
    from training.precision import Numerics
    from training.ranks import Ranks
    from training.run_folder import RunFolder


MAIN_FIGURES: Final = ("loss", "top1", "top3", "n", "majority")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What a network says of the posters of one split, in ``movie_id`` order."""

    movie_ids: NDArray[np.int64]
    """[n], distinct."""
    targets: NDArray[np.int64]
    """[n], or for several labels a poster [n, c] of 0 and 1."""
    logits: NDArray[np.float32]
    """[n, c]."""

    def scores(self) -> Scores:
        """Measure them."""
        return score(self.logits, self.targets)


def to_device(batch: PosterBatch, device: torch.device, *, channels_last: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Give a batch's images, float32 [b, 3, h, w], and targets, int64 [b], on a device."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.as_tensor(batch.images).to(device, non_blocking=True, memory_format=memory_format)
    return images, torch.as_tensor(batch.targets).to(device, non_blocking=True)


@torch.inference_mode()
def run(
    model: nn.Module,
    batches: Iterable[PosterBatch],
    *,
    numerics: Numerics,
    device: torch.device,
    channels_last: bool,
    ranks: Ranks,
) -> Outputs:
    """Put this rank's batches through a network, and collect what all ranks got.

    Returns:
        The same on each rank; a poster that several ranks saw is there once, one that cannot be decoded is not.
    """
    model.eval()
    movie_ids: list[NDArray[np.int64]] = []
    targets: list[NDArray[np.int64]] = []
    logits: list[NDArray[np.float32]] = []
    for batch in batches:
        images, _ = to_device(batch, device, channels_last=channels_last)
        with numerics.autocast():
            output = model(images)
        movie_ids.append(batch.movie_ids)
        targets.append(batch.targets)
        logits.append(output.float().cpu().numpy())
    gathered = ranks.gather((movie_ids, targets, logits))
    all_ids = np.concatenate([part for ids, _, _ in gathered for part in ids])
    all_targets = np.concatenate([part for _, some, _ in gathered for part in some])
    all_logits = np.concatenate([part for _, _, some in gathered for part in some])
    masked = all_targets if all_targets.ndim == 1 else all_targets[:, 0]
    seen = np.flatnonzero(masked != IGNORED)  # a poster that cannot be decoded has no say
    distinct, first = np.unique(all_ids[seen], return_index=True)
    return Outputs(movie_ids=distinct, targets=all_targets[seen][first], logits=all_logits[seen][first])


def write_results(run: RunFolder, found: Mapping[str, Outputs], vocabulary: Sequence[str]) -> dict[str, Any]:
    """Write ``evaluation.json`` of all splits and ``predictions.parquet`` of test.

    Returns:
        The main figures by split, for a checkpoint's card.
    """
    report = {split: outputs.scores().to_dict(vocabulary) for split, outputs in found.items()}
    write_predictions(run.predictions, found["test"], vocabulary)
    write_json(run.evaluation, report)
    return {split: {name: scores[name] for name in MAIN_FIGURES} for split, scores in report.items()}


def write_predictions(path: Path, outputs: Outputs, vocabulary: Sequence[str]) -> None:
    """Write a row per poster: ``movie_id, target, label, probabilities``, the labels by name.

    With several labels a poster, ``target`` is a list of them, and ``label`` the likeliest one.
    """
    names = np.array(vocabulary)
    several = outputs.targets.ndim > 1
    targets = [names[row.astype(bool)].tolist() for row in outputs.targets] if several else names[outputs.targets]
    said = sigmoid(outputs.logits) if several else probabilities(outputs.logits)
    rows = pl.DataFrame(
        {
            "movie_id": outputs.movie_ids,
            "target": targets,
            "label": names[outputs.logits.argmax(axis=1)],
            "probabilities": said.astype(np.float32),
        },
        schema_overrides={"probabilities": pl.List(pl.Float32)},
    )
    temporary = path.with_name(f".{path.name}.tmp")
    rows.write_parquet(temporary)
    temporary.replace(path)
