"""The loading benchmark measures what it says, on every loader that is installed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchmarks.loading import BASELINE, OURS, measure
from benchmarks.peers.loader import Setting
from crawler.errors import UnusableInput
from dataloading.dataset import build
from dataloading.labels import Genre
from tests.dataloading.conftest import World

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset of 84 training posters."""
    world = World(archive=tmp_path / "archive")
    for movie_id in range(1, 121):
        world.add(movie_id)
    build(world.archive, world.write(), tmp_path / "dataset", Genre(classes=3))
    return tmp_path / "dataset"


def test_loaders_are_measured_and_written_down(dataset: Path, tmp_path: Path) -> None:
    """Rates, ratios to the baseline and memory, as JSON, Markdown and SVG; the baseline's ratio to itself is 1."""
    setting = Setting(batch_size=2, threads=1, size=16)
    report = measure(dataset, output=tmp_path / "out", rounds=1, setting=setting, names=(OURS, BASELINE))
    rows = {row.name: row for row in report.rows}
    assert rows[BASELINE].ratio == 1.0
    assert all(row.images_per_s > 0 and row.images_per_cpu_s > 0 and row.memory_mb > 10 for row in report.rows)
    assert json.loads((tmp_path / "out" / "loading.json").read_text())["posters"] == 84
    assert f"| {BASELINE} |" in (tmp_path / "out" / "loading.md").read_text()
    assert (tmp_path / "out" / "loading.svg").read_text().startswith("<svg")


def test_too_few_posters_are_refused(dataset: Path) -> None:
    """The message says how many are needed."""
    with pytest.raises(UnusableInput, match=r"has 84 training posters, expected .* at least 768 of them"):
        measure(dataset, setting=Setting(batch_size=32))
