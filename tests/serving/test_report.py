"""A report is one file that says what the run found, to everybody, and shows no poster that it must not."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crawler.catalog import clean, read_raw, write_catalog
from crawler.cluster import crawl
from crawler.crawl import CrawlOptions
from crawler.drawn import draw_world
from crawler.errors import UnusableInput
from crawler.fetch import FetchOptions
from crawler.origin import PosterServer
from dataloading.dataset import build
from dataloading.labels import make_task
from serving.cluster import ScoreOptions, score
from serving.engine import Kind
from serving.export import ExportOptions, export
from serving.prediction import RowOptions
from serving.report import ReportOptions, write_report
from training.cluster import train
from training.recipe import read_recipe

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on drawn posters, trained for two epochs in this process, and its predictions as the scorer writes them."""
    folder = tmp_path_factory.mktemp("report")
    world = draw_world(folder / "world", movies=120, seed=1)
    movies, _ = clean(read_raw(world.metadata))
    movies = movies.with_columns(title=pl.concat_str(pl.lit("<b>&"), "title"))  # a title is text, never a tag
    write_catalog(movies, folder / "catalog.parquet")
    with PosterServer(world.posters) as server:
        options = CrawlOptions(image_base=server.base_url, rate=1e9, fetch=FetchOptions(allow_private=True))
        crawl(movies, folder / "archive", options)
    build(folder / "archive", movies, folder / "dataset", make_task("genre"))
    recipe = read_recipe(Path("drawn"), ["epochs=2", "preprocess.size=48"])
    train(recipe, folder / "dataset", folder / "run", workers=0)
    _score(folder)
    return folder


def _score(folder: Path) -> None:
    export(folder / "run", folder / "model", ExportOptions(engine=Kind.TORCH))
    options = ScoreOptions(rows=RowOptions(probabilities=True, min_confidence=0.2))
    score(folder / "model", folder / "archive", folder / "predictions", options)


class Page(HTMLParser):
    """Collects what the tests ask of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.words: list[str] = []
        self._in_heading = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a tag."""
        self.tags.append((tag, dict(attrs)))
        self._in_heading = tag in {"h1", "h2"}

    def handle_data(self, data: str) -> None:
        """Remember text."""
        self.words.append(data)
        if self._in_heading and data.strip():
            self.headings.append(data)
            self._in_heading = False

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every tag of a name."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def run_text(place: Path) -> str:
    """The report of the run."""
    write_report(place / "run", place / "run.html", ReportOptions(catalog=place / "catalog.parquet"))
    return (place / "run.html").read_text()


@pytest.fixture(scope="module")
def predictions_text(place: Path) -> str:
    """The report of the predictions."""
    write_report(place / "predictions", place / "predictions.html", ReportOptions(catalog=place / "catalog.parquet"))
    return (place / "predictions.html").read_text()


def test_run_report_has_every_part(run_text: str) -> None:
    """Counts, the four methods, curves, confusion matrix, right and wrong examples, and the run's origin."""
    page = Page(run_text)
    assert page.headings[1:] == [
        "Result",
        "Movies",
        "Four ways to make a poster square",
        "Training",
        "What is taken for what",
        "Right, and sure of it",
        "Wrong, and sure of it",
        "How it was made",
    ]
    for method in ("resize:", "center_crop:", "pad:", "random_crop:"):
        assert any(method in words for words in page.words)


def test_run_report_states_the_files_figures(place: Path, run_text: str) -> None:
    """Accuracy and every count of the confusion matrix are those of evaluation.json."""
    evaluation = json.loads((place / "run" / "evaluation.json").read_text())["test"]
    assert f"<b>{evaluation['top1']:.1%}</b> of {evaluation['n']:,} held-out posters" in run_text
    rows = re.findall(r"<tr><td>(\w+)</td>((?:<td class=n>\d+</td>)+)</tr>", run_text)
    counts = {name: [int(count) for count in re.findall(r">(\d+)<", cells)] for name, cells in rows}
    for name, across in zip(evaluation["vocabulary"], evaluation["confusion"], strict=True):
        assert counts[name] == across


def test_predictions_report_counts_every_row(place: Path, predictions_text: str) -> None:
    """Labels, posters without a sure label, and failures by reason add up to all rows."""
    rows = pl.concat([pl.read_parquet(path) for path in sorted((place / "predictions").glob("*.parquet"))])
    failed = rows.filter(pl.col("status") == "failed")
    assert (
        f"<b>{len(rows) - len(failed):,}</b> of {len(rows):,} posters scored; {len(failed):,} could not be"
        in predictions_text
    )
    described = " ".join(re.findall(r"<desc[^>]*>(.*?)</desc>", predictions_text))
    for reason, count in failed["reason"].value_counts().iter_rows():
        assert f"{reason.replace('_', ' ')} {count}" in described
    for label, count in rows["label"].drop_nulls().value_counts().iter_rows():
        assert f"{label} {count}" in described


@pytest.mark.parametrize("text", ["run_text", "predictions_text"])
def test_nothing_outside_the_file_is_needed(text: str, request: pytest.FixtureRequest) -> None:
    """No script, no style sheet, no picture and no font comes from elsewhere."""
    page = Page(request.getfixturevalue(text))
    assert not page.all("script") + page.all("link") + page.all("iframe")
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:")
    style = re.search(r"<style>(.*?)</style>", request.getfixturevalue(text), re.DOTALL)
    assert style is not None
    assert not re.search(r"url\(|@import", style[1])


@pytest.mark.parametrize("text", ["run_text", "predictions_text"])
def test_pictures_and_charts_have_words(text: str, request: pytest.FixtureRequest) -> None:
    """Every picture has a text in its place, every chart a title and a description; the language is stated."""
    page = Page(request.getfixturevalue(text))
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("img")
    assert all(attributes.get("alt") for attributes in page.all("img"))
    assert all(attributes.get("role") == "img" and attributes.get("aria-labelledby") for attributes in page.all("svg"))
    assert len(page.all("title")) == len(page.all("svg")) + 1
    assert any("width=device-width" in (attributes.get("content") or "") for attributes in page.all("meta"))


def test_titles_are_text(run_text: str, predictions_text: str) -> None:
    """What stands in the catalogue is shown, never obeyed."""
    for text in (run_text, predictions_text):
        assert "<b>&amp;" not in text.replace("&lt;b&gt;&amp;", "")
        assert "&lt;b&gt;&amp;" in text


def test_without_pictures_no_poster_is_in_it(place: Path) -> None:
    """`--no-pictures` leaves out every poster, and keeps every figure."""
    for source in ("run", "predictions"):
        out = place / f"{source}-plain.html"
        summary = write_report(place / source, out, ReportOptions(pictures=False))
        assert not summary.pictures
        assert not Page(out.read_text()).all("img")
        assert "base64" not in out.read_text()
        assert "<svg" in out.read_text()


def test_an_unfinished_run_is_named(tmp_path: Path, place: Path) -> None:
    """The message says that the run is not finished and how to finish it."""
    manifest: dict[str, Any] = json.loads((place / "run" / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(manifest | {"status": "running"}))
    with pytest.raises(UnusableInput, match=r"not finished; the same `keyart train` command again goes on with it"):
        write_report(tmp_path, tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_a_folder_of_something_else_is_named(tmp_path: Path) -> None:
    """The message names the folder and what was expected in it."""
    with pytest.raises(UnusableInput, match=r"no run\.json, study\.json or manifest\.json in it; expected a folder of"):
        write_report(tmp_path, tmp_path / "out.html")
    with pytest.raises(UnusableInput, match=r"gone: no such folder"):
        write_report(tmp_path / "gone", tmp_path / "out.html")
