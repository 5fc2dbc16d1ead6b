"""The loading benchmark measures what it says, on every loader that is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.loading import BASELINE, Contestant, measure, table_rows
from benchmarks.loading_report import OURS, LoadingReport, svg
from benchmarks.machine import this_machine
from benchmarks.peers.loader import Setting
from benchmarks.timing import Lap, Measurement, Series
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


def test_a_lap_is_an_epoch_in_a_process_of_its_own(dataset: Path, tmp_path: Path) -> None:
    """Wall and CPU time are stated for the same number of posters, and memory is that of the process."""
    (tmp_path / "dataset.txt").write_text(str(dataset))
    setting = Setting(batch_size=2, threads=1, size=16)
    lap, twice = (
        Contestant(name=OURS, folder=tmp_path, setting=setting, units=units).lap() for units in (60, 60_000_000)
    )
    assert 0 < lap.wall_s < 60
    assert 0 < lap.cpu_s < 60
    assert lap.peak_bytes > 10 * 2**20
    assert twice.wall_s > 1000 * lap.wall_s


def test_result_has_rates_ratios_and_a_roof() -> None:
    """Fastest first, each with its ratio to the baseline of the same rounds; missing loaders are named."""
    laps = {OURS: (2.0, 3.0), BASELINE: (8.0, 9.0), "roof: decode only": (1.0, 1.0)}
    measurements = {
        name: Measurement(
            name=name, units=100, laps=tuple(Lap(wall_s=wall, cpu_s=2 * wall, peak_bytes=2**28) for wall in walls)
        )
        for name, walls in laps.items()
    }
    rows = table_rows(Series(measurements=measurements, foreign=(0.0, 0.0), repeated=0))
    assert [row.name for row in rows] == ["roof: decode only", OURS, BASELINE]
    assert (rows[1].images_per_s, rows[1].ratio.value, rows[1].images_per_cpu_s) == (40.0, 3.5, 20.0)
    report = LoadingReport(
        dataset="dataset",
        posters=1400,
        mean_bytes=13_000,
        rounds=2,
        repeated=0,
        disturbed=True,
        setting={"batch_size": 32, "threads": 2, "size": 224},
        machine=this_machine(["numpy"]),
        rows=rows,
        missing={"FFCV": "not installed"},
    )
    assert f"| {OURS} | 40 | 3.50 (3.00 to 4.00) | 20 | 256 |" in str(report)
    assert "| FFCV | - | - | - | not installed |" in str(report)
    assert "The machine was busy" in str(report)
    assert svg(report).startswith("<svg")


def test_too_few_posters_are_refused(dataset: Path) -> None:
    """The message says how many are needed."""
    with pytest.raises(UnusableInput, match=r"has 84 training posters, expected .* at least 768 of them"):
        measure(dataset, setting=Setting(batch_size=32))
