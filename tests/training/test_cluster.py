"""Two workers train as one process does, and a death among them changes nothing but the time."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from crawler.cluster import connected
from crawler.errors import UnusableInput
from dataloading.loader import PosterLoader
from training import models
from training.checkpoint import load_weights
from training.cluster import train
from training.objective import loss_of
from training.optimizer import make_optimizer

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from dataloading.dataset import Dataset
    from training.recipe import Recipe

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore:`.*deprecated"),  # Ray copies its own old settings, and warns of each
]


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Generator[None]:
    """One Ray of two CPUs for all tests here."""
    with connected(2):
        yield


def test_a_step_of_two_workers_is_a_step_of_one_process(recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    """One epoch of one step; by hand: the mean of the gradients of both workers' posters."""
    posters = len(dataset.rows("train"))
    one_step = replace(recipe, epochs=1, batch_size=posters)
    train(one_step, dataset, tmp_path / "run", workers=2)
    torch.manual_seed(one_step.seed)
    model = models.build(one_step.model.architecture, 2, **one_step.model.options())
    model = model.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(model, one_step.optimizer)
    for rank in range(2):
        loader = PosterLoader(
            dataset, one_step.preprocess, split="train", rank=rank, world_size=2, batch_size=posters // 2
        )
        (batch,) = loader
        logits = model(torch.from_numpy(batch.images).to(memory_format=torch.channels_last))
        (loss_of(one_step.objective, logits, torch.from_numpy(batch.targets)) / 2).backward()
    optimizer.step()
    trained = load_weights(tmp_path / "run/checkpoints/last")
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(trained[name], parameter.detach(), rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.timeout(900)
def test_a_killed_worker_is_replaced_and_the_bits_stay(recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    """SIGKILL for the worker that writes, in the middle of an epoch; one call, no help."""
    recipe = replace(recipe, epochs=8, checkpoint_every_steps=2, optimizer=replace(recipe.optimizer, warmup_epochs=1))
    calm = train(recipe, dataset, tmp_path / "calm", workers=2)
    killer = threading.Thread(target=kill_writer, args=(tmp_path / "killed", 6))
    killer.start()
    report = train(recipe, dataset, tmp_path / "killed", workers=2)
    killer.join()
    assert report.restarts == 1
    assert replace(report, run="", seconds=0, images_per_s=0, restarts=0) == replace(
        calm, run="", seconds=0, images_per_s=0
    )
    for name in ("best", "last"):
        one, other = (load_weights(tmp_path / run / "checkpoints" / name) for run in ("calm", "killed"))
        assert all(torch.equal(one[key], other[key]) for key in one), name
    first, second = json.loads((tmp_path / "killed/run.json").read_text())["attempts"]
    assert not first["goes_on"]
    assert second["goes_on"]


def kill_writer(run: Path, step: int) -> None:
    """Kill the process that writes to a run, once its last checkpoint stands at a step or after it."""
    deadline = time.monotonic() + 700  # a busy machine takes its time
    while time.monotonic() < deadline:
        try:
            position = torch.load(run / "checkpoints/last/state.pt", weights_only=True)["position"]
        except (FileNotFoundError, NotADirectoryError):
            time.sleep(0.01)
            continue
        if position["step"] >= step:
            os.kill(int((run / ".lock").read_text()), signal.SIGKILL)
            return


def test_more_workers_than_the_cluster_has_are_refused(recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    """Nothing is written."""
    wide = replace(recipe, batch_size=12)
    with pytest.raises(UnusableInput, match=r"--workers 3: the cluster has 2 CPUs; expected at most 2"):
        train(wide, dataset, tmp_path / "run", workers=3)
    assert not (tmp_path / "run").exists()
