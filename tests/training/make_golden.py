"""Makes golden.json again: run `python -m pytest tests/training/make_golden.py` after a change that is meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from training.cluster import train

if TYPE_CHECKING:
    from dataloading.dataset import Dataset
    from training.recipe import Recipe


def test_make_golden(golden_recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    """Train three epochs in float32 on one thread and store the losses."""
    train(golden_recipe, dataset, tmp_path / "run", workers=0)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    golden = {"tolerance": 1e-2, "losses": [(line["train_loss"], line["validation_loss"]) for line in lines]}
    (Path(__file__).parent / "golden.json").write_text(json.dumps(golden, indent=2) + "\n")
