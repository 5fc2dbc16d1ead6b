"""The loader yields every poster as its order says, wherever it is stopped, and no bad poster ends a run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawler.errors import UnusableInput, WorkFailed
from crawler.records import Reason
from dataloading.dataset import Dataset, build
from dataloading.labels import Genre
from dataloading.loader import IGNORED, PosterBatch, PosterLoader
from dataloading.memory import BatchMemory
from dataloading.order import LastStep
from dataloading.prepare import make_preparer
from dataloading.preprocess import Preprocess, draw
from dataloading.quarantine import OnBad
from dataloading.source import PosterSource
from tests.dataloading.conftest import poster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from conftest import World

SPEC = Preprocess(size=16)
RANDOM = Preprocess(size=16, method="random_crop", crop=20)


@pytest.fixture
def dataset(make_world: Callable[..., World], tmp_path: Path) -> Dataset:
    """120 posters of three genres."""
    world = make_world(120)
    build(world.archive, world.write(), tmp_path / "dataset", Genre(classes=3))
    return Dataset.load(tmp_path / "dataset")


def ids(batches: Iterable[PosterBatch]) -> list[int]:
    """Movies of some batches, in order."""
    return [movie_id for batch in batches for movie_id in batch.movie_ids.tolist()]


def damage(dataset: Dataset, movie_ids: Iterable[int], body: bytes = b"") -> None:
    """Overwrite the beginning of some posters in their shards."""
    for movie_id in movie_ids:
        row = dataset.table.row(by_predicate=pl.col("movie_id") == movie_id, named=True)
        with (dataset.archive / "shards" / f"{row['shard']}.tar").open("r+b") as stream:
            stream.seek(row["offset_bytes"])
            stream.write(body or b"\0" * row["size_bytes"])


@pytest.mark.parametrize("spec", [SPEC, RANDOM])
@pytest.mark.parametrize("implementation", ["reference", "native", "dali"])
def test_batches_hold_what_the_preparer_makes(dataset: Dataset, spec: Preprocess, implementation: str) -> None:
    """Image, id and target belong together, and are those of preparing the poster by itself."""
    rows = dataset.rows("train")
    by_id = {row["movie_id"]: (place, row["target"]) for place, row in enumerate(rows.iter_rows(named=True))}
    source, preparer = PosterSource(dataset.archive, rows), make_preparer(spec, implementation)
    seen = 0
    for batch in PosterLoader(
        dataset, spec, split="train", implementation=implementation, batch_size=7, epoch=4, seed=2
    ):
        assert (batch.images.dtype, batch.movie_ids.dtype, batch.targets.dtype) == (np.float32, np.int64, np.int64)
        assert batch.images.shape == (7, 3, 16, 16)
        for image, movie_id, target in zip(batch.images, batch.movie_ids, batch.targets, strict=True):
            place, expected = by_id[movie_id]
            plan = draw(spec, 36, 24, seed=2, epoch=4, movie_id=int(movie_id))
            alone = preparer.prepare([source.read(place)], [plan]).images[0]
            np.testing.assert_array_equal(image, alone)
            assert target == expected
            seen += 1
    assert seen >= len(rows)


def test_unshuffled_epoch_is_the_table_once(dataset: Dataset) -> None:
    """For measuring: every poster exactly once, in order, the last batch smaller."""
    loader = PosterLoader(dataset, SPEC, split="train", shuffle=False, batch_size=32)
    batches = list(loader)
    assert ids(batches) == dataset.rows("train")["movie_id"].to_list()
    assert [len(batch.targets) for batch in batches] == [32, 32, len(dataset.rows("train")) - 64]
    assert len(loader) == 3


def test_each_epoch_has_an_order_of_its_own(dataset: Dataset) -> None:
    """Iterating again is the next epoch; `set_epoch` goes to any; the same epoch and seed is the same order."""
    loader = PosterLoader(dataset, SPEC, split="train", last=LastStep.PARTIAL)
    first, second = ids(loader), ids(loader)
    assert first != second
    assert sorted(first) == sorted(second) == dataset.rows("train")["movie_id"].to_list()
    loader.set_epoch(0)
    assert ids(loader) == first
    assert loader.state_dict() == {"epoch": 1, "samples_done": 0}
    assert ids(PosterLoader(dataset, SPEC, split="train", seed=1, last=LastStep.PARTIAL)) != first


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    worlds=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(0, 6)), min_size=1, max_size=4),
    seed=st.integers(0, 9),
)
def test_resumed_epoch_yields_exactly_the_unseen_rest(
    dataset: Dataset, worlds: list[tuple[int, int, int]], seed: int
) -> None:
    """Stopped after some steps and resumed with other numbers of ranks and batch sizes, an epoch has every poster once.

    Within it each rank gets the same number of batches, and the digests of all parts add up to the undisturbed one's.
    """
    state = {"epoch": 3, "samples_done": 0}
    seen: list[int] = []
    digest = 0
    for number, (world_size, batch_size, steps) in enumerate([*worlds, (1, 8, 1000)]):
        options = {"world_size": world_size, "batch_size": batch_size, "seed": seed, "last": LastStep.PARTIAL}
        ranks = [
            PosterLoader(dataset, SPEC, split="train", rank=rank, threads=1, **options) for rank in range(world_size)
        ]
        streams = []
        for loader in ranks:
            loader.load_state_dict(state)
            streams.append(iter(loader))
        for _ in range(steps):
            batches = [next(stream, None) for stream in streams]
            assert len({batch is None for batch in batches}) == 1
            if batches[0] is None:
                break
            seen += ids(batch for batch in batches if batch is not None)
            assert len({str(loader.state_dict()) for loader in ranks}) == 1
            state = ranks[0].state_dict()
            assert state["samples_done"] == len(seen)
        for stream in streams:
            stream.close()
        digest += sum(loader.digest for loader in ranks)
        assert number < len(worlds) or state["samples_done"] == len(seen)
    undisturbed = PosterLoader(dataset, SPEC, split="train", seed=seed, epoch=3, last=LastStep.PARTIAL)
    assert ids(undisturbed) == seen
    assert sorted(seen) == dataset.rows("train")["movie_id"].to_list()
    assert digest % 2**64 == undisturbed.digest


@pytest.mark.parametrize(("last", "batches", "samples"), [("drop", 5, 80), ("repeat", 6, 96), ("partial", 6, 84)])
def test_ranks_share_an_epoch(dataset: Dataset, last: str, batches: int, samples: int) -> None:
    """84 posters on two ranks in batches of 8: both get the same number, by the rule of the last step."""
    ranks = [
        list(PosterLoader(dataset, SPEC, split="train", rank=rank, world_size=2, batch_size=8, last=LastStep(last)))
        for rank in range(2)
    ]
    assert [len(part) for part in ranks] == [batches, batches]
    seen = ids(ranks[0]) + ids(ranks[1])
    assert len(seen) == samples
    assert len(set(seen)) == min(samples, 84)


def test_bad_posters_are_replaced_the_same_way_each_time(dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    """Full batches, the others untouched, replacements by (seed, epoch, movie_id), one line in the log."""
    good = ids(PosterLoader(dataset, SPEC, split="train", seed=5))
    bad = dataset.rows("train")["movie_id"].to_list()[::4]
    damage(dataset, bad)
    loaders = [PosterLoader(dataset, SPEC, split="train", seed=5, threads=threads) for threads in (1, 4)]
    with caplog.at_level(logging.WARNING):
        first, second = (ids(loader) for loader in loaders)
    assert first == second
    assert len(first) == len(good)
    assert [(old, new) for old, new in zip(good, first, strict=True) if old != new and old not in bad] == []
    assert not set(first) & set(bad)
    assert dict(loaders[0].quarantine) == dict.fromkeys(bad, Reason.NOT_AN_IMAGE)
    lines = [line.getMessage() for line in caplog.records]
    assert len(lines) == 2
    assert f"{len(bad)} of 84 posters quarantined (not_an_image {len(bad)}), each replaced: {bad[0]}, " in lines[0]
    loaders[0].set_epoch(0)
    with caplog.at_level(logging.WARNING):
        assert ids(loaders[0]) == first
    assert len(caplog.records) == 2


def test_damage_below_the_crop_is_found_whatever_the_draw(make_world: Callable[..., World], tmp_path: Path) -> None:
    """Else a poster would be bad in the epochs whose crop reaches the damage, and a resumed run would see others."""
    world = make_world(30)
    tall = poster(31, height=600, width=48)
    world.add(31, body=tall[: len(tall) * 9 // 10] + b"\xff\x02" + tall[len(tall) * 9 // 10 + 2 :])
    build(world.archive, world.write(), tmp_path / "dataset", Genre(classes=3))
    dataset = Dataset.load(tmp_path / "dataset")
    split = dataset.table.row(by_predicate=pl.col("movie_id") == 31, named=True)["split"]
    for epoch in range(4):
        loader = PosterLoader(dataset, RANDOM, split=split, implementation="native", epoch=epoch, batch_size=2)
        list(loader)
        assert loader.quarantine == {31: Reason.CORRUPT}


def test_bad_posters_are_masked_when_measuring(dataset: Dataset) -> None:
    """A black image and the ignored target under the poster's own id, and no short batch."""
    bad = dataset.rows("test")["movie_id"].to_list()[3]
    damage(dataset, [bad])
    loader = PosterLoader(dataset, SPEC, split="test", shuffle=False, batch_size=8)
    for _ in range(2):
        batches = list(loader)
        assert ids(batches) == dataset.rows("test")["movie_id"].to_list()
        place = batches[0].movie_ids.tolist().index(bad)
        assert batches[0].targets[place] == IGNORED
        assert not batches[0].images[place].any()
        assert (batches[0].targets == IGNORED).sum() == 1


def test_lost_and_cut_shards_cost_their_posters_alone(dataset: Dataset) -> None:
    """Posters of a shard that is gone, or behind a cut, are missing; the others load."""
    shards = dataset.archive / "shards"
    (shards / "shard-00000.tar").unlink()
    with (shards / "shard-00001.tar").open("r+b") as stream:
        stream.truncate(5000)
    loader = PosterLoader(dataset, SPEC, split="train", on_bad=OnBad.MASK)
    assert len(ids(loader)) == 96
    lost = dataset.rows("train").filter(dataset.rows("train")["shard"] == "shard-00000")
    assert set(lost["movie_id"]) < set(loader.quarantine)
    assert set(loader.quarantine.values()) == {Reason.MISSING}


def test_hash_is_checked_on_request(dataset: Dataset, make_world: Callable[..., World]) -> None:
    """A poster that still decodes but is another picture is found by its hash only."""
    rows = dataset.rows("train").sort("size_bytes")
    small, large = rows.row(0, named=True), rows.row(-1, named=True)
    body = PosterSource(dataset.archive, rows).read(0)
    assert isinstance(body, bytes)
    damage(dataset, [large["movie_id"]], body)
    plain = PosterLoader(dataset, SPEC, split="train")
    checked = PosterLoader(dataset, SPEC, split="train", check_hash=True)
    ids(plain), ids(checked)
    assert not plain.quarantine
    assert dict(checked.quarantine) == {large["movie_id"]: Reason.CORRUPT}
    assert small["movie_id"] not in checked.quarantine


def test_archive_without_a_good_poster_fails(dataset: Dataset) -> None:
    """There is nothing to replace a poster with."""
    for shard in (dataset.archive / "shards").glob("*.tar"):
        shard.unlink()
    with pytest.raises(WorkFailed, match=r"of 84 posters cannot be prepared .*missing.*check the archive"):
        list(PosterLoader(dataset, SPEC, split="train"))


def test_batches_that_are_kept_stay_what_they_were(dataset: Dataset) -> None:
    """Memory is used again only when nobody refers to it, not even through a view of a view."""
    loader = PosterLoader(dataset, SPEC, split="train", batch_size=4, threads=2)
    kept = [(batch.images[1:][0], batch.images[1:][0].copy()) for batch in loader]
    for view, copy in kept:
        np.testing.assert_array_equal(view, copy)


def test_memory_is_used_again() -> None:
    """An array that nobody holds is handed out again; one in use is not."""
    memory = BatchMemory((2, 3), spare=2)
    first = memory.take()
    address = first.ctypes.data
    view = first[:1]
    del first
    other = memory.take()
    assert other.ctypes.data != address
    del view
    assert memory.take().ctypes.data == address


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, r"split 'dev': expected one of train, validation, test"),
        ({"rank": 2, "world_size": 2}, r"rank 2: expected 0 to 1 for a world size of 2"),
        ({"batch_size": 0}, r"batch size 0: expected 1 or more"),
        ({"implementation": "gpu"}, r"implementation 'gpu': expected auto, reference, native, dali"),
        (
            {"last": LastStep.DROP, "batch_size": 50, "world_size": 2},
            r"split train of dataset .*: has 84 posters, expected at least 100 for a batch of 50 on each of 2 ranks",
        ),
    ],
)
def test_wrong_choices_are_refused(dataset: Dataset, options: dict[str, object], message: str) -> None:
    """The message names the thing, the value and what was expected, before anything is read."""
    with pytest.raises(UnusableInput, match=message):
        PosterLoader(dataset, SPEC, **{"split": "train", **options})


def test_state_of_another_dataset_is_refused(dataset: Dataset) -> None:
    """More samples than there are cannot have been seen."""
    with pytest.raises(UnusableInput, match=r"loader state .*: expected an epoch from 0 and 0 to 84 samples_done"):
        PosterLoader(dataset, SPEC, split="train").load_state_dict({"epoch": 0, "samples_done": 85})
