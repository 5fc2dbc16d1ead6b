"""A study runs each arm on each seed once, and compares arms on the same posters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crawler.catalog import write_catalog
from crawler.errors import UnusableInput
from training.experiment import read_study, run_study

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from dataloading.dataset import Dataset

STUDY = """
seeds = 2
[[arm]]
name = "plain"
task = "comedy-horror"
recipe = "drawn"
corrections = ["freeze=trunk", "model.architecture=test_resnet", "preprocess.method=resize", "preprocess.size=32"]
[[arm]]
name = "padded"
task = "comedy-horror"
recipe = "drawn"
corrections = ["freeze=trunk", "model.architecture=test_resnet", "preprocess.method=pad", "preprocess.size=32"]
"""


def test_a_study_compares_its_arms_and_does_nothing_twice(
    dataset: Dataset, catalog: pl.DataFrame, tmp_path: Path
) -> None:
    """The first arm has no difference to itself, the other an interval around its own; a second call trains nothing."""
    (tmp_path / "study.toml").write_text(STUDY)
    write_catalog(catalog, tmp_path / "catalog.parquet")
    study = read_study(tmp_path / "study.toml")
    places = dataset.archive, tmp_path / "catalog.parquet", tmp_path / "study"
    first, other = run_study(study, *places).results
    assert (first.arm, first.difference, first.p_value) == ("plain", None, None)
    assert other.difference is not None
    assert other.difference.low <= other.difference.estimate <= other.difference.high
    assert other.difference.estimate == pytest.approx(other.top1 - first.top1, abs=0.1)
    assert first.top1 > first.majority
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "study/runs").rglob("*.parquet")}
    assert len(written) == 4
    assert run_study(study, *places).results == (first, other)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "study/runs").rglob("*.parquet")} == written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = 1", r"study .*: 'arm'; expected a TOML file with seeds = N"),
        ("seeds = 1\n[[arm]]\nname = 'a'\ntask = 'genre'\nrecipes = 'b'", r"unexpected keyword argument 'recipes'"),
        ("seeds = 1\n" + 2 * "[[arm]]\nname = 'a'\ntask = 'genre'\nrecipe = 'b'\n", r"arm 'a' is there twice"),
    ],
)
def test_a_study_that_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    """The message has the file and what is wrong with it."""
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(UnusableInput, match=message):
        read_study(tmp_path / "study.toml")
