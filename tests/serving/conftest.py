"""A small trained-looking run, an archive of drawn noise, and a model exported from them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import torch

from crawler.shards import SHARD_FOLDER, write_shard
from serving.engine import Kind
from serving.export import ExportOptions, export
from tests.crawler.conftest import bucket  # noqa: F401 - a fixture of this folder too
from tests.serving.posters import SPEC, VOCABULARY, failure, poster, record, spread_labels
from tests.serving.server import OPTIONS, Server
from training import models
from training.checkpoint import Card, save_checkpoint

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose best checkpoint is a ResNet18 with fixed random weights, for 64-pixel squares."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    torch.manual_seed(0)
    network = models.build("resnet18", len(VOCABULARY), weights=None).eval()
    spread_labels(network, [poster(seed) for seed in range(60)])
    card = Card(
        architecture="resnet18",
        vocabulary=VOCABULARY,
        task="genre",
        preprocess=SPEC,
    )
    save_checkpoint(folder / "checkpoints" / "best", network.state_dict(), card)
    (folder / "run.json").write_text(json.dumps({"format": 1, "dataset": str(folder / "gone")}))
    return folder


@pytest.fixture(scope="session")
def posters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 60 posters."""
    folder = tmp_path_factory.mktemp("posters")
    for seed in range(60):
        (folder / f"{seed:02d}.jpg").write_bytes(poster(seed))
    return folder


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of 20 requested posters; in each one failed, one is no image and one is cut short."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / SHARD_FOLDER).mkdir()
    for shard in range(3):
        ids = range(shard * 100, shard * 100 + 17)
        outcomes = [*(record(movie_id, poster(movie_id)) for movie_id in ids), failure(shard * 100 + 17)]
        outcomes += [record(shard * 100 + 18, b"no image"), record(shard * 100 + 19, poster(1)[:900])]
        write_shard(folder / SHARD_FOLDER, f"shard-{shard:05d}", outcomes)
    return folder


@pytest.fixture(scope="session")
def model(run: Path, posters: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as an OpenVINO engine in fp32."""
    folder = tmp_path_factory.mktemp("models") / "fp32"
    export(run, folder, ExportOptions(calibration=posters))
    return folder


@pytest.fixture(scope="session")
def torch_model(run: Path, posters: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as a torch engine in fp32."""
    folder = tmp_path_factory.mktemp("models") / "torch"
    export(run, folder, ExportOptions(engine=Kind.TORCH, calibration=posters))
    return folder


@pytest.fixture(scope="session")
def port(model: Path) -> Generator[int]:
    """A server with small limits."""
    with Server(model, OPTIONS) as number:
        yield number


@pytest.fixture(scope="session")
def box_office(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network as a model of the box office, its last label left out of sight."""
    folder = tmp_path_factory.mktemp("models") / "box-office"
    shutil.copytree(model, folder)
    card = json.loads((folder / "card.json").read_text())
    card |= {"task": "box-office", "vocabulary": ["did poorly", "did well", "unknown"]}
    (folder / "card.json").write_text(json.dumps(card))
    return folder
