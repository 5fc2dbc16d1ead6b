"""Posters that stay decoded on a device: the reference's pixels, the loader's order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from crawler.errors import UnusableInput
from crawler.records import Reason
from dataloading.dataset import Dataset, build
from dataloading.labels import Genre
from dataloading.loader import PosterLoader
from dataloading.preprocess import Interpolation, Preprocess
from dataloading.quarantine import OnBad
from dataloading.reference import ReferencePreparer
from dataloading.resident import ResidentLoader, ResidentPosters
from dataloading.torch_squares import make_squares
from tests.dataloading.shapes import DRAWN
from tests.dataloading.test_parity import SPECS, beyond, draws

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import World

BILINEAR = [name for name, spec in SPECS.items() if spec.interpolation is Interpolation.BILINEAR]
NO_GPU = pytest.mark.skipif(not Path("/dev/nvidia0").exists(), reason="no NVIDIA GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]
SHAPES = [
    "portrait",
    "landscape",
    "square",
    "w500",
    "tiny",
    "one-pixel",
    "odd",
    "grey",
    "cmyk",
    "exif-6",
    "png",
    "wide",
]
RANDOM = Preprocess(size=16, method="random_crop", crop=20)


@pytest.fixture
def dataset(make_world: Callable[..., World], tmp_path: Path) -> Dataset:
    """60 posters of three genres, two of them bad."""
    world = make_world(60)
    for movie_id, body in ((61, b"nothing"), (62, DRAWN["portrait"][:2000])):
        world.add(movie_id, body=body)
    build(world.archive, world.write(), tmp_path / "dataset", Genre(classes=3))
    return Dataset.load(tmp_path / "dataset")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", BILINEAR)
def test_squares_are_the_references(name: str, device: str) -> None:
    """Every shape and method within 0.5/255 on average and 3/255 at most, given the same draws."""
    spec, bodies = SPECS[name], [DRAWN[shape] for shape in SHAPES]
    plans = draws(spec, bodies)
    posters = ResidentPosters.read(bodies.__getitem__, len(bodies), torch.device(device), threads=2)
    assert posters.reasons == {}
    expected = ReferencePreparer(spec).prepare(bodies, plans).images
    found = make_squares(spec, [posters.poster(row) for row in range(len(bodies))], plans).cpu().numpy()
    difference = np.abs(found - expected) * np.array(spec.std, np.float32)[:, None, None] * 255
    assert [SHAPES[place] for place in beyond("torch", spec, difference)] == []


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("spec", [Preprocess(size=16), RANDOM])
def test_order_draws_and_replacements_are_the_loaders(dataset: Dataset, spec: Preprocess, device: str) -> None:
    """Batch for batch what a PosterLoader yields, over two epochs and a resume; bad posters included."""
    for on_bad in OnBad:
        ours = ResidentLoader(dataset, spec, split="train", device=device, batch_size=8, on_bad=on_bad)
        theirs = PosterLoader(dataset, spec, split="train", implementation="reference", batch_size=8, on_bad=on_bad)
        for loader in (ours, theirs):
            loader.load_state_dict({"epoch": 3, "samples_done": 16})
        for _ in range(2):
            for mine, other in zip(ours, theirs, strict=True):
                assert isinstance(mine.images, torch.Tensor)
                assert mine.images.device.type == device
                np.testing.assert_array_equal(mine.movie_ids, other.movie_ids)
                np.testing.assert_array_equal(mine.targets, other.targets)
                assert np.abs(mine.images.cpu().numpy() - other.images).max() < 3 / 255 / min(spec.std)
        assert ours.digest == theirs.digest
        assert ours.quarantine == theirs.quarantine
        assert set(ours.quarantine.values()) <= {Reason.CORRUPT, Reason.NOT_AN_IMAGE}


def test_batches_have_the_form_that_is_asked_for(dataset: Dataset) -> None:
    """Half precision and channels last, for a network that wants them so."""
    options = {"split": "train", "device": "cpu", "batch_size": 8, "shuffle": False}
    plain = next(iter(ResidentLoader(dataset, Preprocess(size=16), **options))).images
    found = next(
        iter(ResidentLoader(dataset, Preprocess(size=16), dtype=torch.float16, channels_last=True, **options))
    ).images
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, plain.to(torch.float16))


def test_what_it_cannot_do_is_refused(dataset: Dataset) -> None:
    """It has one filter."""
    with pytest.raises(UnusableInput, match="bicubic: posters on a device are resized bilinear only"):
        ResidentLoader(dataset, Preprocess(interpolation="bicubic"), split="train", device="cpu")
