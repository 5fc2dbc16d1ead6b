"""A study runs each arm on each seed once, compares arms on the same posters, and judges claims."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from crawler.catalog import write_catalog
from crawler.errors import UnusableInput, WorkFailed
from training.comparison import Verdict, judge
from training.experiment import report_study, run_study
from training.study import StudyFolder, read_study

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from dataloading.dataset import Dataset
    from training.experiment import StudyReport
    from training.study import Study

TINY = '"freeze=trunk", "model.architecture=test_resnet", "preprocess.size=32"'
STUDY = f"""
seeds = 2
[[arm]]
name = "plain"
task = "comedy-horror"
recipe = "drawn"
corrections = [{TINY}, "preprocess.method=resize"]
[[arm]]
name = "padded"
task = "comedy-horror"
recipe = "drawn"
corrections = [{TINY}, "preprocess.method=pad"]
[[arm]]
name = "as-written"
task = "comedy-horror"
split = "article"
seeds = 1
recipe = "drawn"
corrections = [{TINY}, "preprocess.method=resize"]
[[claim]]
text = "It tells comedies from horrors."
arm = "plain"
against = "comedy-horror-constant"
[[claim]]
text = "It is always wrong."
arm = "plain"
says = 0.0
[[claim]]
text = "Padding costs twice as much."
arm = "padded"
against = "plain"
figure = "cost"
says = 2.0
"""


@pytest.fixture(scope="module")
def places(
    dataset: Dataset, catalog: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Path]:
    """Archive, catalogue and the folder of a study."""
    root = tmp_path_factory.mktemp("study")
    write_catalog(catalog, root / "catalog.parquet")
    return dataset.archive, root / "catalog.parquet", root / "out"


@pytest.fixture(scope="module")
def study(places: tuple[Path, Path, Path]) -> Study:
    """The study above."""
    (places[1].parent / "study.toml").write_text(STUDY)
    return read_study(places[1].parent / "study.toml")


@pytest.fixture(scope="module")
def report(study: Study, places: tuple[Path, Path, Path]) -> StudyReport:
    """The study after it was run."""
    return run_study(study, *places)


def test_each_task_and_split_gets_the_baselines(study: Study) -> None:
    """What a constant, a colour histogram and the year reach stands beside every model, with the same seeds."""
    names = {arm.name: len(study.seeds_of(arm)) for arm in study.arms if arm.baseline}
    kinds = ("constant", "histogram", "year")
    fair, written = ({f"comedy-horror{split}-{kind}" for kind in kinds} for split in ("", "-article"))
    assert names == dict.fromkeys(fair, 2) | dict.fromkeys(written, 1)


def test_a_study_compares_its_arms(report: StudyReport) -> None:
    """The first arm has no difference to itself, the other an interval around its own."""
    results = {one.arm: one for one in report.results}
    first, other = results["plain"], results["padded"]
    assert (first.against, first.difference, first.p_value) == ("", None, None)
    assert other.against == "plain"
    assert other.difference is not None
    assert other.difference.low <= other.difference.estimate <= other.difference.high
    gap = other.figures["top1"].estimate - first.figures["top1"].estimate
    assert other.difference.estimate == pytest.approx(gap, abs=0.1)
    assert first.figures["top1"].estimate > first.majority
    assert report.left == ()
    constant = results["comedy-horror-constant"].figures
    assert constant["auroc"].estimate == pytest.approx(0.5)
    assert results["comedy-horror-histogram"].figures["auroc"].estimate > 0.6  # brightness is the label


def test_as_written_is_measured_on_what_it_was_chosen_on(places: tuple[Path, Path, Path], report: StudyReport) -> None:
    """The article's arm has a split of its own, and its test part is its validation part."""
    evaluation = json.loads((places[2] / "runs/as-written/0/evaluation.json").read_text())
    assert evaluation["test"] == evaluation["validation"]
    assert (places[2] / "datasets/comedy-horror-article-0").is_dir()
    assert next(one for one in report.results if one.arm == "as-written").split == "article"


def test_claims_are_judged_from_stored_results(
    study: Study, places: tuple[Path, Path, Path], report: StudyReport
) -> None:
    """The study in the folder is the one that was run; what was not measured is said to be so."""
    folder = StudyFolder(places[2])
    assert folder.read() == study
    verdicts = [one.verdict for one in judge(folder.read(), folder, report.results)]
    assert verdicts == [Verdict.NOT_RESOLVED, Verdict.NOT_RESOLVED, Verdict.NOT_MEASURED]  # two seeds are too few
    costs = {
        "plain": {"estimate": 1.0, "low": 0.99, "high": 1.01},
        "padded": {"estimate": 2, "low": 1.99, "high": 2.01},
    }
    folder.cost.write_text(json.dumps({"arms": costs}))
    assert judge(study, folder, report.results)[2].verdict is Verdict.HOLDS
    folder.cost.unlink()


def test_what_has_ended_is_not_run_again(study: Study, places: tuple[Path, Path, Path], report: StudyReport) -> None:
    """A second call trains nothing, and one run that is gone is the only one that is left."""
    files = {path: path.stat().st_mtime_ns for path in (places[2] / "runs").rglob("*.parquet")}
    assert len(files) == 5 + 9
    assert run_study(study, *places).results == report.results
    assert {path: path.stat().st_mtime_ns for path in (places[2] / "runs").rglob("*.parquet")} == files
    manifest = places[2] / "runs/padded/1/run.json"
    before = manifest.read_text()
    manifest.unlink()
    assert report_study(study, places[2]).left == ("padded, seed 1",)
    manifest.write_text(before)


def test_a_run_that_fails_does_not_stop_the_others(study: Study, places: tuple[Path, Path, Path]) -> None:
    """Its name and its reason are in the error; everything else has been run."""
    arms = STUDY.split("[[claim]]", maxsplit=1)[0].replace('"padded"', '"broken"')
    text = arms.replace("seeds = 2", "baselines = false\nseeds = 1")
    path = places[1].parent / "broken.toml"
    path.write_text(text)
    broken = places[1].parent / "broken"
    (broken / "runs/broken").mkdir(parents=True)
    (broken / "runs/broken/0").write_text("in the way")
    with pytest.raises(WorkFailed, match=r"1 of 3 runs failed; the first, broken, seed 0: run .*cannot be written"):
        run_study(read_study(path), *places[:2], broken)
    assert report_study(read_study(path), broken).left == ("broken, seed 0",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = 1", r"study .*: 'arm'; expected a TOML file with seeds = N"),
        (
            "seeds = 1\n[[arm]]\nname = 'a'\ntask = 'genre'\nrecipes = 'b'",
            r"unknown field 'recipes'; did you mean 'recipe'",
        ),
        ("seeds = 1\n" + 2 * "[[arm]]\nname = 'a'\ntask = 'genre'\nrecipe = 'b'\n", r"arm 'a' is there twice"),
        ("seeds = 1\n[[arm]]\nname = 'a'\ntask = 'genres'\n", r"expected either a recipe or a baseline"),
        ("seeds = 0\n[[arm]]\nname = 'a'\ntask = 'genre'\nrecipe = 'b'\n", r"seeds 0: expected a whole number"),
        (
            "seeds = 1\n[[arm]]\nname='abc'\ntask='genre'\nrecipe='b'\n[[claim]]\ntext='c'\narm='abd'\nsays=1",
            r"claim 'c': arm 'abd': no such arm; did you mean 'abc'",
        ),
    ],
)
def test_a_study_that_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    """The message has the file and what is wrong with it."""
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(UnusableInput, match=message):
        read_study(tmp_path / "study.toml")
