"""A loader that is killed leaves nothing behind, and whoever goes on from its state misses and repeats no poster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dataloading.dataset import Dataset, build
from dataloading.labels import Genre
from dataloading.loader import PosterLoader
from dataloading.order import LastStep
from dataloading.preprocess import Preprocess

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import World


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_killed_loaders_leave_nothing_and_lose_nothing(
    make_world: Callable[..., World], tmp_path: Path, kills: int
) -> None:
    """After each `kill -9`, with another world size: the same epochs, poster by poster, as one undisturbed run."""
    world = make_world(400)
    build(world.archive, world.write(), tmp_path / "dataset", Genre(classes=3))
    temporary, log = tmp_path / "temporary", tmp_path / "log"
    temporary.mkdir()
    before = sorted(path for path in tmp_path.rglob("*") if path != log)
    nursery = str(Path(__file__).with_name("loader_nursery.py"))
    subprocess.run(
        [sys.executable, nursery, str(tmp_path / "dataset"), str(log), str(kills), "1"],
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(Path(__file__).parents[2])},
        check=True,
    )
    assert sorted(path for path in tmp_path.rglob("*") if path != log) == before
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    seen = [movie_id for step in steps for movie_id in step["movie_ids"]]
    loader = PosterLoader(
        Dataset.load(tmp_path / "dataset"), Preprocess(size=16), split="train", seed=3, last=LastStep.PARTIAL
    )
    undisturbed: list[int] = []
    while len(undisturbed) < len(seen):
        undisturbed += [movie_id for batch in loader for movie_id in batch.movie_ids.tolist()]
    assert len(seen) >= kills
    assert seen == undisturbed[: len(seen)]
