"""`keyart train` refuses what it cannot use with one line, exit code 2, and nothing written."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

import keyart
from crawler.errors import UnusableInput
from training.cluster import train
from training.recipe import read_recipe

if TYPE_CHECKING:
    from dataloading.dataset import Dataset


pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked")  # with sys.argv, as the command is

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process; give its exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["keyart", *map(str, words)])
        try:
            keyart.main()
            code = 0
        except SystemExit as ending:
            code = int(str(ending.code))
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "optimizer.learnin_rate=1"], "did you mean 'optimizer.learning_rate'?"),
        (["--weights", "nothing.pth"], "weights "),
        (["--weights", "timm:resnet81"], "did you mean"),
        (["--set", "batch_size=0"], "recipe field batch_size 0: expected a whole number of 1 or more"),
        (["--workers", "-1"], "--workers -1: expected 0 (this process) or more"),
        (["--set", "precision=fp16"], "precision 'fp16' on a CPU"),
    ],
)
def test_a_bad_call_is_one_line(call: Call, dataset: Dataset, tmp_path: Path, words: list[str], message: str) -> None:
    """The line names the thing, the value and what was expected."""
    fixed = ["train", "drawn", "--dataset", dataset.folder, "-o", tmp_path / "run", "--workers", 0]
    fixed = fixed[:-2] if "--workers" in words else fixed
    code, out, err = call(*fixed, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_dataset_that_is_not_one_is_named(call: Call, tmp_path: Path) -> None:
    """An empty folder is no dataset."""
    code, _, err = call("train", "drawn", "--dataset", tmp_path, "-o", tmp_path / "run")
    assert code == 2
    assert f"dataset {tmp_path}" in err


def test_a_dataset_whose_archive_moved_is_named(call: Call, dataset: Dataset, tmp_path: Path) -> None:
    """The archive's path is in the message, and nothing is written."""
    shutil.copytree(dataset.folder, tmp_path / "lonely" / "dataset")
    words = ["train", "drawn", "--dataset", tmp_path / "lonely" / "dataset", "-o", tmp_path / "run"]
    code, _, err = call(*words)
    assert code == 2
    assert f"archive {tmp_path / 'lonely' / 'archive'}" in err
    assert not (tmp_path / "run").exists()


def test_another_recipe_does_not_go_on_with_a_run(call: Call, dataset: Dataset, tmp_path: Path) -> None:
    """The first field that differs is named; the summary of the first call is one line of JSON."""
    tiny = ["--set", "epochs=1", "--set", "model.architecture=test_resnet", "--set", "preprocess.size=32"]
    words = ["train", "drawn", "--dataset", dataset.folder, "-o", tmp_path / "run", "--workers", 0, *tiny]
    code, out, err = call("--json", *words)
    assert code == 0, err
    assert json.loads(out)["epochs"] == 1
    code, _, err = call(*words, "--set", "seed=5")
    assert code == 2
    assert "begun with seed = 0, now 5; choose another -o" in err


def test_a_poster_without_a_target_is_named(dataset: Dataset, tmp_path: Path) -> None:
    """A table that was made by other means than `keyart dataset` is checked before anything is written."""
    target = pl.when(pl.col("movie_id") == 7).then(None).otherwise("target").alias("target")
    broken = replace(dataset, table=dataset.table.with_columns(target))
    with pytest.raises(UnusableInput, match=r"movie 7 has target None, expected 0 to 1"):
        train(read_recipe(Path("drawn")), broken, tmp_path / "run", workers=0)
    assert not (tmp_path / "run").exists()
