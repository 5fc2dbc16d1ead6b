"""Efficiency and the cost model are what they say; the question answers on simulated nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.device import WaitingEngine
from benchmarks.scaling import Size, efficiency, fit, measure
from benchmarks.timing import Lap, Measurement, Series
from dataloading.preprocess import Preprocess
from serving.engine import EngineCard, Kind, Precision

if TYPE_CHECKING:
    from benchmarks.findings import Options

SIZES = [Size(workers=n, shards_each=each, shard_posters=100) for n, each in ((1, 2), (2, 2), (4, 2), (8, 2), (1, 1))]


def _series(fixed_s: float, shard_s: float, sharing_s: float) -> Series:
    """Laps that take exactly what the model says."""
    measurements = {}
    for size in SIZES:
        wall_s = fixed_s + shard_s * size.shards_each + sharing_s * (size.workers - 1)
        laps = (Lap(wall_s=wall_s, cpu_s=1.0, peak_bytes=1),) * 2
        measurements[str(size)] = Measurement(name=str(size), units=size.posters, laps=laps)
    return Series(measurements=measurements, foreign=(0.0, 0.0), repeated=0)


def test_cost_model_finds_what_laps_are_made_of() -> None:
    """Fixed cost, shard and sharing come back from laps that were made of them."""
    model = fit(_series(0.5, 2.0, 0.05), SIZES, waited_s=1.9)
    found = (model.fixed_s, model.shard_s, model.sharing_s, model.residual_s)
    assert np.allclose(found, (0.5, 2.0, 0.05, 0.0), atol=1e-9)


def test_efficiency_is_one_where_more_workers_take_no_longer() -> None:
    """Each worker has as many shards as the only one had."""
    assert efficiency(_series(0.5, 2.0, 0.0), SIZES[0], SIZES[3]).value == pytest.approx(1.0)
    assert efficiency(_series(0.0, 2.0, 4.0 / 7), SIZES[0], SIZES[3]).value == pytest.approx(0.5)


def test_waiting_engine_answers_for_every_poster() -> None:
    """It has the card and the shapes of an engine, and computes nothing."""
    card = EngineCard(
        engine=Kind.TORCH,
        precision=Precision.FP32,
        architecture="resnet18",
        vocabulary=("a", "b"),
        task="genre",
        preprocess=Preprocess(size=32),
    )
    assert WaitingEngine(card, 0.0).infer(np.zeros((3, 3, 32, 32), np.float32)).shape == (3, 2)


@pytest.mark.cluster
@pytest.mark.slow
def test_crawling_and_scoring_are_measured_on_simulated_nodes(options: Options) -> None:
    """Every size does its share of posters, and the cost of a shard is fitted for both kinds of work."""
    found = measure(options)
    assert {row.cell["work"] for row in found.rows} == {"crawl", "score"}
    assert {row.name for row in found.rows} == {"1 worker", "2 workers", "1 worker, one shard each"}
    assert [row[0] for row in found.tables[0].rows] == ["crawl", "score"]
