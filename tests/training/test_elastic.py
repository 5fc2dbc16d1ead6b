"""A training goes on with as many workers as there is room for."""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from crawler.errors import UnusableInput
from training.cluster import train
from training.elastic import Elastic

if TYPE_CHECKING:
    from pathlib import Path

    from dataloading.dataset import Dataset
    from training.recipe import Recipe


@pytest.mark.parametrize(
    ("least", "most", "room", "batch_size", "expected"),
    [(1, 4, 3, 8, 2), (1, 4, 8, 8, 4), (2, 4, 1, 8, 0), (3, 3, 3, 8, 0), (1, 1, 5, 7, 1)],
)
def test_workers_divide_the_batch(least: int, most: int, room: int, batch_size: int, expected: int) -> None:
    """The most that there is room for, within the bounds."""
    assert Elastic(least=least, most=most).fitting(room, batch_size) == expected


@pytest.mark.parametrize("bounds", [(0, 2), (3, 2)])
def test_bounds_are_checked(bounds: tuple[int, int]) -> None:
    """One line with both numbers."""
    with pytest.raises(UnusableInput, match=rf"--elastic {bounds[0]} {bounds[1]}: expected 1 or more workers"):
        Elastic(least=bounds[0], most=bounds[1])


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore:`.*deprecated")
@pytest.mark.timeout(900)
def test_a_lost_node_leaves_fewer_workers_and_a_finished_run(
    recipe: Recipe, dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two nodes of one CPU; one is taken away in the middle. The rest goes on by itself from the last checkpoint."""
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    lost = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        cluster.wait_for_nodes()
        remover = threading.Thread(target=remove_at_step, args=(cluster, lost, tmp_path / "run", 6))
        remover.start()
        long = replace(recipe, epochs=8, checkpoint_every_steps=2)
        report = train(long, dataset, tmp_path / "run", elastic=Elastic(least=1, most=2))
        remover.join()
    finally:
        ray.shutdown()
        cluster.shutdown()
    attempts = json.loads((tmp_path / "run/run.json").read_text())["attempts"]
    assert [one["workers"] for one in attempts] == [2, 1]
    assert attempts[1]["goes_on"]
    assert report.epochs == 8


def remove_at_step(cluster: Any, node: Any, run: Path, step: int) -> None:
    """Take a node away once the last checkpoint stands at a step or after it."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        try:
            position = torch.load(run / "checkpoints/last/state.pt", weights_only=True)["position"]
        except (FileNotFoundError, NotADirectoryError):
            time.sleep(0.05)
            continue
        if position["step"] >= step:
            cluster.remove_node(node, allow_graceful=False)
            return
        time.sleep(0.05)
