"""The demo goes the whole way, says what it found, and goes on where an earlier call stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import polars as pl
import pytest

from crawler.errors import UnusableInput
from crawler.shards import read_index
from serving.demo import DemoOptions, run_demo

if TYPE_CHECKING:
    from pathlib import Path

    from serving.summaries import DemoReport

SMALL = DemoOptions(movies=120, corrections=("epochs=2", "preprocess.size=64"))

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:`.*deprecated"),  # Ray copies its own old settings, and warns of each
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo of this module lies."""
    return tmp_path_factory.mktemp("demo") / "out"


@pytest.fixture(scope="module")
def first(folder: Path) -> DemoReport:
    """A small demo, gone through once."""
    return run_demo(folder, SMALL)


def digests(folder: Path, *patterns: str) -> dict[str, str]:
    """Hash of every file that matches."""
    files = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


KEPT = (
    "world/posters/*.jpg",
    "archive/shards/*.tar",
    "dataset/dataset.parquet",
    "run/checkpoints/best/weights.safetensors",
    "model/*",
    "predictions/*.parquet",
)


def test_every_stage_is_gone_through_and_told(first: DemoReport) -> None:
    """All eight stages run, each has a time and a line, and the screen says that the posters are drawn."""
    stages = ["draw", "catalog", "crawl", "dataset", "train", "export", "score", "report"]
    assert [stage.name for stage in first.stages] == stages
    assert all(stage.result and stage.seconds >= 0 for stage in first.stages)
    screen = str(first)
    assert "These posters are drawn by keyart" in screen
    assert len(screen.splitlines()) <= 24
    assert max(len(line) for line in screen.splitlines()) <= 120


def test_every_requested_poster_has_one_prediction(first: DemoReport, folder: Path) -> None:
    """The prediction files hold each poster of the archive once, the failed ones with their reason."""
    index = read_index(folder / "archive")
    rows = pl.concat([pl.read_parquet(path) for path in sorted((folder / "predictions").glob("*.parquet"))])
    assert sorted(rows["movie_id"]) == sorted(index["movie_id"])
    failed = rows.filter(pl.col("status") == "failed").select("movie_id", "reason").sort("movie_id")
    wanted = index.filter(pl.col("status") != "ok").select("movie_id", "reason").sort("movie_id")
    assert failed.equals(wanted)
    assert first.held_out == len(pl.read_parquet(folder / "run" / "predictions.parquet"))


def test_stated_figures_are_those_of_the_files(first: DemoReport, folder: Path) -> None:
    """Top-1, majority and gain on the screen follow from the stored predictions of the held-out posters."""
    rows = pl.read_parquet(folder / "run" / "predictions.parquet")
    right = (rows["target"] == rows["label"]).mean()
    majority = rows["target"].value_counts()["count"].max() / len(rows)  # pyright: ignore[reportOperatorIssue]
    assert first.top1["value"] == pytest.approx(right)
    assert first.majority == pytest.approx(majority)
    assert first.gain["value"] == pytest.approx(right - majority)
    assert first.gain["low"] <= first.gain["value"] <= first.gain["high"]
    evaluation = json.loads((folder / "run" / "evaluation.json").read_text())["test"]
    assert evaluation["top1"] == pytest.approx(right)


def test_a_second_call_makes_nothing_again(first: DemoReport, folder: Path) -> None:
    """Posters, tars, weights, model and predictions keep their bytes, and the figures are the same."""
    before = digests(folder, *KEPT)
    again = run_demo(folder, SMALL)
    assert digests(folder, *KEPT) == before
    assert "export" not in [stage.name for stage in again.stages]
    assert (again.top1, again.gain, again.held_out) == (first.top1, first.gain, first.held_out)


def test_a_crawl_that_was_cut_off_is_begun_again(first: DemoReport, folder: Path) -> None:
    """Half an archive, fetched from a server that is gone, ends as the same whole one."""
    before = digests(folder, *KEPT)
    sidecars = sorted((folder / "archive" / "shards").glob("*.parquet"))
    sidecars[-1].unlink()
    run_demo(folder, SMALL)
    assert digests(folder, *KEPT) == before


def test_predictions_of_another_model_are_made_again(first: DemoReport, folder: Path) -> None:
    """A model that is not this checkpoint's is replaced, with its predictions."""
    wanted = digests(folder, "predictions/*.parquet")
    card = folder / "model" / "card.json"
    card.write_text(card.read_text().replace(json.loads(card.read_text())["checkpoint_digest"], "0" * 64))
    again = run_demo(folder, SMALL)
    assert "export" in [stage.name for stage in again.stages]
    assert set(digests(folder, "predictions/*.parquet")) == set(wanted)


def test_another_demo_is_not_mixed_in(first: DemoReport, folder: Path) -> None:
    """The message names what differs, both values, and the way out."""
    other = dataclasses.replace(SMALL, movies=130)
    with pytest.raises(UnusableInput, match=r"made with movies 120, not 130; remove it, or choose another -o"):
        run_demo(folder, other)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    """A folder that holds no demo is refused, and nothing is written into it."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UnusableInput, match=r"exists and holds no demo"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "nowhere"], "--data nowhere: posters is not there; expected a folder with posters/ and metadata/"),
        (
            ["--weights", "gone.pth"],
            "--weights gone.pth: no such file; expected a file of weights, timm:NAME, or scratch",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, options: list[str], message: str) -> None:
    """A user's mistake ends with one line that names it, without a traceback, and nothing is written."""
    command = [sys.executable, "-m", "keyart", "demo", *options, "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (tmp_path / "out").exists()
