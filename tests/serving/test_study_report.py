"""A study's report is made from its stored results alone, and shows no poster that it must not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from crawler.errors import UnusableInput
from serving.report import ReportOptions, write_report
from serving.study_report import confusion_shares
from training.run_folder import machine, versions
from training.study import Arm, Claim, Study, StudyFolder

if TYPE_CHECKING:
    from pathlib import Path

POSTERS = 120
LABELS = ["comedy", "horror"]
SKILL = {"model": 1.6, "worse": 0.2, "written": 1.6, "constant": 0.0}
"""How far a label moves an arm's logits."""
STUDY = Study(
    name="tiny",
    seeds=3,
    arms=(
        Arm(name="model", task="comedy-horror", recipe="drawn"),
        Arm(name="worse", task="comedy-horror", recipe="drawn"),
        Arm(name="written", task="comedy-horror", recipe="drawn", split="article"),
        Arm(name="constant", task="comedy-horror", baseline="constant"),
        Arm(name="missing", task="genre", recipe="drawn"),
    ),
    claims=(
        Claim(text="It sees <more> than nothing", arm="model", against="constant"),
        Claim(text="Worse is better", arm="worse", against="model"),
        Claim(text="About 10 %", arm="model", says=0.1),
        Claim(text="Ten genres 32 %", arm="missing", says=0.32),
        Claim(text="Worse costs twice as much", arm="worse", against="model", figure="cost", says=2.0),
    ),
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stored results as three seeds of each arm leave them, and no archive anywhere."""
    folder = StudyFolder(tmp_path_factory.mktemp("report") / "study")
    folder.write(STUDY)
    for arm in STUDY.arms[:-1]:
        for seed in STUDY.seeds_of(arm):
            store(folder, arm, seed)
    costs = {
        "model": {"estimate": 0.01, "low": 0.0099, "high": 0.0101},
        "worse": {"estimate": 0.02, "low": 0.0199, "high": 0.0201},
    }
    folder.cost.write_text(json.dumps({"arms": costs}))
    return folder.path


def store(folder: StudyFolder, arm: Arm, seed: int) -> None:
    """One finished run, made up."""
    chance = np.random.default_rng([seed, len(arm.name)])
    ids, targets = np.arange(1, POSTERS + 1), np.arange(POSTERS) % 2
    lean = SKILL[arm.name] * (2 * targets - 1) + (chance.normal(size=POSTERS) if SKILL[arm.name] else 0.0)
    first = 1 / (1 + np.exp(lean))
    dataset, run = folder.dataset(arm, seed), folder.run(arm, seed)
    dataset.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"movie_id": ids, "group": ids // 2}).write_parquet(dataset / "dataset.parquet")
    leaks = {
        "leaks_before": {"any": 7},
        "leaks_after": {"any": 0},
        "splits": {"train": 9, "validation": 1, "test": 120},
    }
    card = {"split": {"scheme": str(arm.split)}, "report": leaks, "digest": "abc"}
    (dataset / "dataset.json").write_text(json.dumps(card))
    run.path.mkdir(parents=True)
    said = np.stack([first, 1 - first], axis=1)
    pl.DataFrame(
        {
            "movie_id": ids,
            "target": [LABELS[target] for target in targets],
            "label": [LABELS[label] for label in said.argmax(axis=1)],
            "probabilities": said.astype(np.float32),
        },
        schema_overrides={"probabilities": pl.List(pl.Float32)},
    ).write_parquet(run.predictions)
    epochs = [{"epoch": epoch, "train_loss": 1 / epoch, "validation_loss": 1.1 / epoch} for epoch in (1, 2, 3)]
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in epochs))
    manifest = {"format": 1, "status": "finished", "vocabulary": LABELS, "revision": "0123", "machine": machine()}
    run.manifest.write_text(json.dumps(manifest | {"versions": versions(), "initial_weights": "random"}))


def test_the_page_has_every_claim_with_its_verdict(study: Path, tmp_path: Path) -> None:
    """Text from the study is text, never a tag; what was not measured is said to be so."""
    summary = write_report(study, tmp_path / "study.html", ReportOptions(pictures=False))
    page = (tmp_path / "study.html").read_text()
    assert summary.kind == "study"
    assert "It sees &lt;more&gt; than nothing" in page
    assert "data:image" not in page
    for drawn in (
        "Loss of model, mean of 3 seeds",
        "Confusion matrix of",
        "Reliability of",
        "Top-1 and cost of each arm",
    ):
        assert drawn in page
    assert page.count("<svg") >= 5


def test_the_tables_alone_are_markdown(study: Path, tmp_path: Path) -> None:
    """The verdicts are those of the made-up answers; each comparison has its power beside it."""
    write_report(study, tmp_path / "tables.md")
    text = (tmp_path / "tables.md").read_text()
    rows = {
        line.split("|")[1].strip(): line.rsplit("|", 2)[1].strip() for line in text.splitlines() if line.count("|") == 5
    }
    assert rows["It sees <more> than nothing"] == "holds"
    assert rows["Worse is better"] == "does not hold"
    assert rows["About 10 %"] == "does not hold"
    assert rows["Ten genres 32 %"] == "not measured"
    assert rows["Worse costs twice as much"] == "holds"
    assert "| worse | model | 120 |" in text
    assert "| written | article | 3 | 120 |" in text
    assert "| comedy-horror-article-0 | article | 9 | 1 | 120 | 7 | 0 | abc |" in text


def test_shares_of_a_confusion_have_intervals() -> None:
    """They add up to one for each true label, and each lies in its interval."""
    rows = pl.DataFrame(
        {
            "movie_id": range(40),
            "seed": [0] * 40,
            "group": range(40),
            "target": ["a"] * 30 + ["b"] * 10,
            "label": ["a"] * 20 + ["b"] * 20,
        }
    )
    counts, shares = confusion_shares(rows, ["a", "b"])
    assert counts == [[20, 10], [0, 10]]
    assert [sum(one.estimate for one in across) for across in shares] == pytest.approx([1, 1])
    assert all(one.low <= one.estimate <= one.high for across in shares for one in across)


def test_pictures_need_the_archive(study: Path, tmp_path: Path) -> None:
    """One line says what is missing; nothing is written."""
    with pytest.raises(UnusableInput, match=r"dataset"):
        write_report(study, tmp_path / "study.html")
    assert not (tmp_path / "study.html").exists()
