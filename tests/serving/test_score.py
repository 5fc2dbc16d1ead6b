"""Every requested poster has one row, equal to the torch network called by hand; nothing is scored twice or mixed."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from crawler.cluster import connected
from crawler.errors import UnusableInput
from crawler.shards import SHARD_FOLDER, write_shard
from crawler.storage import open_store
from dataloading.prepare import make_preparer
from serving.cluster import ScoreOptions, score
from serving.engine import load_card
from serving.parity import softmax
from serving.prediction import RowOptions
from tests.serving.posters import VOCABULARY, checkpoint_logits, failure, poster, record

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = pytest.mark.cluster

FULL = ScoreOptions(rows=RowOptions(probabilities=True))


@pytest.fixture(scope="module", autouse=True)
def ray(bucket: str) -> Generator[None]:
    """One local Ray for this module, whose workers know the bucket."""
    with connected(2):
        yield


def rows_of(predictions: Path) -> pl.DataFrame:
    """All rows of a folder of predictions, in file order."""
    return pl.concat([pl.read_parquet(path) for path in sorted(predictions.glob("*.parquet"))])


def by_hand(run: Path, model: Path, bodies: list[bytes]) -> np.ndarray:
    """Probabilities from the reference's preparation and the torch network."""
    images = make_preparer(load_card(model).preprocess.for_evaluation(), "native").prepare(bodies).images
    return softmax(checkpoint_logits(run, images))


def test_rows_equal_the_torch_network_by_hand(run: Path, model: Path, archive: Path, tmp_path: Path) -> None:
    """Every probability of every poster is the one that the checkpoint gives."""
    report = score(model, archive, tmp_path / "out", FULL)
    rows = rows_of(tmp_path / "out").filter(pl.col("status") == "ok")
    expected = by_hand(run, model, [poster(movie_id) for movie_id in rows["movie_id"]])
    found = np.array(rows["probabilities"].to_list())
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert rows["label"].to_list() == [VOCABULARY[index] for index in expected.argmax(axis=1)]
    assert len(rows["label"].unique()) > 1
    assert (report.posters, report.scored_now, report.chunks) == (60, 60, 3)


def test_every_requested_poster_has_one_row(model: Path, archive: Path, tmp_path: Path) -> None:
    """What the crawl missed and what does not decode are rows with a status and a reason."""
    report = score(model, archive, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert rows["movie_id"].to_list() == [shard * 100 + index for shard in range(3) for index in range(20)]
    failed = rows.filter(pl.col("status") == "failed")
    assert failed["reason"].to_list() == ["not_found", "not_an_image", "corrupt"] * 3
    assert failed.select("label", "probability", "rank", "probabilities").null_count().row(0) == (9, 9, 9, 9)
    assert report.without_label == {"not_found": 3, "not_an_image": 3, "corrupt": 3}


def test_second_call_scores_only_what_is_missing(model: Path, archive: Path, tmp_path: Path) -> None:
    """Finished files are not touched; the missing one comes back with the same bytes."""
    out = tmp_path / "out"
    score(model, archive, out)
    before = {path.name: (path.stat().st_ino, path.read_bytes()) for path in out.glob("*.parquet")}
    (out / "shard-00001.parquet").unlink()
    assert score(model, archive, out).scored_now == 20
    assert {name: (out / name).read_bytes() for name in before} == {name: body for name, (_, body) in before.items()}
    assert (out / "shard-00000.parquet").stat().st_ino == before["shard-00000.parquet"][0]
    assert score(model, archive, out).scored_now == 0


def test_source_may_grow(model: Path, archive: Path, tmp_path: Path) -> None:
    """A shard that a later crawl added is scored into the same folder."""
    grown = tmp_path / "archive"
    shutil.copytree(archive, grown)
    score(model, grown, tmp_path / "out")
    write_shard(grown / SHARD_FOLDER, "shard-00003", [record(900, poster(900)), failure(901)])
    report = score(model, grown, tmp_path / "out")
    assert (report.scored_now, report.posters) == (2, 62)


def test_changed_source_is_refused(model: Path, archive: Path, tmp_path: Path) -> None:
    """A shard with other posters than before never mixes with its old predictions."""
    changed = tmp_path / "archive"
    shutil.copytree(archive, changed)
    score(model, changed, tmp_path / "out")
    write_shard(changed / SHARD_FOLDER, "shard-00001", [record(100, poster(5))])
    with pytest.raises(UnusableInput, match=r"of another source \(shard-00001 differs.*give another output folder"):
        score(model, changed, tmp_path / "out")


def test_other_model_and_other_options_are_refused(
    torch_model: Path, model: Path, archive: Path, tmp_path: Path
) -> None:
    """The message names both sides and the fix, and the folder stays as it was."""
    score(model, archive, tmp_path / "out")
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    with pytest.raises(UnusableInput, match=r"of model resnet18-genre-fp32-\w+, not of .*give another output folder"):
        score(torch_model, archive, tmp_path / "out")
    with pytest.raises(UnusableInput, match=r"of options .*give another output folder"):
        score(model, archive, tmp_path / "out", FULL)
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before


def test_rows_hold_what_is_asked_for(model: Path, archive: Path, tmp_path: Path) -> None:
    """Top-k lists begin with the label, embeddings have the network's width, and doubt gets no label."""
    options = RowOptions(top_k=2, embeddings=True, min_confidence=0.6)
    score(model, archive, tmp_path / "out", ScoreOptions(rows=options))
    rows = rows_of(tmp_path / "out")
    scored = rows.filter(pl.col("status") != "failed")
    assert scored["top_labels"].list.len().unique().to_list() == [2]
    assert scored["embedding"].list.len().unique().to_list() == [512]
    sure = scored.filter(pl.col("status") == "ok")
    doubtful = scored.filter(pl.col("status") == "abstained")
    assert sure["label"].to_list() == sure["top_labels"].list.first().to_list()
    assert min(len(sure), len(doubtful)) > 0
    assert sure["probability"].min() >= 0.6 > doubtful["probability"].max()
    assert doubtful["label"].null_count() == len(doubtful)


def test_folder_list_and_table_give_the_same_rows(model: Path, posters: Path, tmp_path: Path) -> None:
    """The same posters have the same probabilities whichever way they are named; a file that is gone is a row."""
    names = sorted(path.name for path in posters.iterdir())
    listed = posters / "some.txt"
    listed.write_text("\n".join([*names, "gone.jpg"]) + "\n")
    table = tmp_path / "table.parquet"
    pl.DataFrame({"movie_id": range(60), "image": [(posters / name).read_bytes() for name in names]}).write_parquet(
        table
    )
    found = {}
    for kind, source in {"folder": posters, "list": listed, "table": table}.items():
        score(model, source, tmp_path / kind)
        found[kind] = rows_of(tmp_path / kind)
    listed.unlink()
    assert found["folder"]["source"].to_list() == names
    assert found["table"]["movie_id"].to_list() == list(range(60))
    assert found["list"].row(-1, named=True)["reason"] == "missing"
    for kind in ("list", "table"):
        np.testing.assert_allclose(found[kind]["probability"][:60], found["folder"]["probability"], rtol=1e-5)


def test_bucket_to_bucket_gives_the_same_bytes(model: Path, archive: Path, tmp_path: Path, bucket: str) -> None:
    """An archive and predictions in object storage: the files of a local run, once, and refused to another model."""
    for path in sorted((archive / SHARD_FOLDER).iterdir()):
        open_store(f"{bucket}/archive/{SHARD_FOLDER}").put_file(path.name, path)
    out = open_store(f"{bucket}/predictions")
    report = score(model, f"{bucket}/archive", out.url)
    assert (report.scored_now, report.posters) == (60, 60)
    score(model, archive, tmp_path / "out")
    names = [path.name for path in sorted((tmp_path / "out").glob("*.parquet"))]
    assert [name for name in out.names() if name.endswith(".parquet")] == names
    assert [out.read(name) for name in names] == [(tmp_path / "out" / name).read_bytes() for name in names]
    out.delete(names[1])
    assert score(model, f"{bucket}/archive", out.url).scored_now == 20
    with pytest.raises(UnusableInput, match=r"predictions s3://.*of options .*give another output folder"):
        score(model, f"{bucket}/archive", out.url, FULL)
    table = tmp_path / "table.parquet"
    pl.DataFrame({"movie_id": [1], "image": [poster(1)]}).write_parquet(table)
    open_store(bucket).put_file("table.parquet", table)
    assert score(model, f"{bucket}/table.parquet", tmp_path / "of-table").labels.keys() <= set(VOCABULARY)


def test_manifest_says_what_the_folder_is_of(model: Path, archive: Path, tmp_path: Path) -> None:
    """Model, options and every part of the source are in it."""
    score(model, archive, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["model_id"] == load_card(model).model_id
    assert sorted(manifest["chunks"]) == ["shard-00000", "shard-00001", "shard-00002"]
    assert manifest["vocabulary"] == list(VOCABULARY)
