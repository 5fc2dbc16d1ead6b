"""Weights + card -> a checkpoint folder, and back.

A checkpoint is a folder with ``weights.safetensors``, ``card.json`` and, where training may go on from it,
``state.pt``. It is written beside its final name and renamed, so it is there whole or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import safetensors
import safetensors.torch
import torch

from crawler.disk import sync
from crawler.errors import UnusableInput
from dataloading.preprocess import Preprocess

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS: Final = "weights.safetensors"
CARD: Final = "card.json"
STATE: Final = "state.pt"
CARD_FORMAT: Final = 1
STEP_PREFIX: Final = "step-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """All that is needed to use the weights beside it, and to know where they come from."""

    architecture: str
    """Name that ``training.models.build`` understands, such as ``resnet18``."""
    vocabulary: tuple[str, ...]
    """Label names, in the order of the logits."""
    task: str
    """Name of the task, such as ``comedy-horror``."""
    preprocess: Preprocess
    several_labels: bool = False
    """Whether a poster may have several labels: each logit is then a yes or no of its own, by the sigmoid."""
    model_options: dict[str, Any] = field(default_factory=dict[str, Any])
    """Further arguments of ``training.models.build``."""
    recipe: dict[str, Any] = field(default_factory=dict[str, Any])
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])
    dataset_digest: str = ""
    """SHA-256 of the dataset table."""
    initial_weights: str = "random"
    """Where training began: ``random``, ``timm:NAME`` or ``file:NAME sha256:...``."""
    versions: dict[str, str] = field(default_factory=dict[str, str])

    def to_dict(self) -> dict[str, Any]:
        """Turn it into plain values; ``from_dict`` is the inverse."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            "format": CARD_FORMAT,
            **plain,
            "preprocess": self.preprocess.to_dict(),
            "vocabulary": list(self.vocabulary),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Card:
        """Read it from ``card.json``.

        Raises:
            UnusableInput: The format is not one that this version reads, or a field is missing.
        """
        rest = dict(plain)
        if (found := rest.pop("format", None)) != CARD_FORMAT:
            msg = f"model card: format {found!r}, expected {CARD_FORMAT}"
            raise UnusableInput(msg)
        try:
            rest["preprocess"] = Preprocess.from_dict(rest["preprocess"])
            rest["vocabulary"] = tuple(rest["vocabulary"])
            return cls(**rest)
        except (KeyError, TypeError) as error:
            msg = f"model card: {error}; expected the card.json of a keyart checkpoint"
            raise UnusableInput(msg) from error


def save_checkpoint(
    folder: Path, weights: dict[str, torch.Tensor], card: Card, state: dict[str, Any] | None = None
) -> None:
    """Write a checkpoint so that ``folder`` appears whole, replacing an earlier one.

    Args:
        folder: Where it goes; its parent is made if missing.
        weights: The model's ``state_dict``.
        card: What the weights are.
        state: What training needs to go on (optimiser, position, random state); tensors and plain values only.

    Raises:
        OSError: The disk is full or not writable; an earlier checkpoint of that name is untouched.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        safetensors.torch.save_file(contiguous, temporary / WEIGHTS)
        (temporary / CARD).write_text(json.dumps(card.to_dict(), indent=2) + "\n")
        if state is not None:
            torch.save(state, temporary / STATE)
        for path in [*temporary.iterdir(), temporary]:
            sync(path)
        previous = folder.with_name(f".{folder.name}.{os.getpid()}.old")
        if folder.exists():
            folder.rename(previous)
        temporary.rename(folder)
        shutil.rmtree(previous, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def keep_copies(last: Path, step: int, count: int) -> None:
    """Keep the newest checkpoints beside ``last`` as ``step-NNNNNNNN``, ``last`` included in ``count``.

    A copy shares the files of ``last``, which are replaced and never changed, so it takes no space of its own until
    ``last`` moves on.
    """
    if count > 1:
        copy = last.with_name(f"{STEP_PREFIX}{step:08d}")
        temporary = last.with_name(f".{copy.name}.{os.getpid()}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(last, temporary, copy_function=os.link)
        shutil.rmtree(copy, ignore_errors=True)
        temporary.rename(copy)
    for old in sorted(last.parent.glob(f"{STEP_PREFIX}*"))[: -count if count > 1 else None]:
        shutil.rmtree(old)


def load_card(folder: Path) -> Card:
    """Read a checkpoint's card.

    Raises:
        UnusableInput: There is no checkpoint in ``folder``, or its card cannot be read.
    """
    path = folder / CARD
    try:
        return Card.from_dict(json.loads(path.read_text()))
    except (OSError, json.JSONDecodeError) as error:
        msg = f"checkpoint {folder}: {path.name} cannot be read ({error}); expected a folder written by `keyart train`"
        raise UnusableInput(msg) from error


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read a checkpoint's weights onto the CPU.

    Raises:
        UnusableInput: The weights are missing or damaged.
    """
    path = folder / WEIGHTS
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        msg = f"checkpoint {folder}: {path.name} cannot be read ({error}); expected a safetensors file"
        raise UnusableInput(msg) from error


def load_state(folder: Path) -> dict[str, Any] | None:
    """Read what training needs to go on, or None where the checkpoint has weights alone."""
    path = folder / STATE
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None
